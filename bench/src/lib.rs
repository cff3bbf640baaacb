//! Measurements of Pagewright's paths.
//!
//! Instruction counts come from callgrind: a benchmark's program runs itself under valgrind, once for each measured
//! function, and collects only while that function runs. Counts repeat exactly for one compiler; they are
//! reported, and no test asserts them.

pub mod callgrind;
pub mod heaps;
pub mod hosted;
pub mod loops;
pub mod mix;
pub mod others;
pub mod ours;
pub mod region;
pub mod table;
pub mod two_threads;
