//! `replay`: the memblock calls of a captured log, executed one by one on our memblock.
//!
//! [`log`] reads the calls.

pub mod log;
