//! What a PC's firmware leaves in memory, read into values that outlive it: Xen's PVH start information ([`pvh`]), ACPI's tables
//! ([`acpi`]), the BIOS's own data and the older tables of processors ([`legacy`]).
//!
//! All of it is read through a [`Reader`], which knows where the processor sees physical memory. Nothing here believes what
//! it reads: what cannot be is an error with the operands.

pub mod acpi;
pub mod legacy;
pub mod pvh;
#[cfg(test)]
mod tests;

use pagewright_addr::PhysAddr;

/// Bytes of physical memory: `None` where the processor does not see so many.
pub type Reader<'r> = &'r dyn Fn(PhysAddr, u64) -> Option<&'r [u8]>;

/// A little-endian number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

/// The number of `len` bytes at `at`, 0 where there is nothing.
fn field(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes.get(at..at + len).map_or(0, number)
}

/// Whether the bytes add up to zero.
fn sums_up(bytes: &[u8]) -> bool {
    bytes.iter().fold(0_u8, |sum, b| sum.wrapping_add(*b)) == 0
}
