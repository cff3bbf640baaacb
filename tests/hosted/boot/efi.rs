//! What EFI leaves in memory, and what the kernel does with it.

mod arm64;
mod pc;
