//! Whole boots of small machines that are described in code, and the facts that they must show.

mod arm64_limits;
mod available;
mod chaos;
mod cma;
mod config;
mod cpus;
mod efi;
mod failing;
mod freed;
mod models;
mod numa;
mod placements;
mod reserved;
mod stack;
#[allow(dead_code, unused_imports, reason = "a file of tests uses some of it, the next one the rest")]
mod support;
