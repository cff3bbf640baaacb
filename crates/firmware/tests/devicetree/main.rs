//! Device trees as Linux 6.1 reads them. Trees are made with dtoolkit's writer, which shares no code with the reader
//! under test; verdicts and numbers are what Linux 6.1.176 showed for the same trees.

mod build;
mod chosen;
mod cpus;
mod dma;
mod memory;
mod mutation;
mod numa;
mod phandle;
mod reserved;
mod structure;
mod unflatten;
