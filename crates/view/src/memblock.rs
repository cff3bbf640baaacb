//! `/sys/kernel/debug/memblock/memory` and `reserved`: one region a line.

use core::fmt::{self, Write};
use pagewright_memblock::{AddrWidth, Memblock, Set};

/// Writes the line of region `index`: its first and last address, in as many digits as `phys_addr_t` has.
///
/// # Errors
/// The writer's.
pub fn region(w: &mut dyn Write, width: AddrWidth, index: usize, first: u64, last: u64) -> fmt::Result {
    let width = if width == AddrWidth::Bits64 { 18 } else { 10 };
    writeln!(w, "{index:>4}: {first:#0width$x}..{last:#0width$x}")
}

/// Writes the file of one set; empty regions do not show.
///
/// # Errors
/// The writer's.
pub fn write(w: &mut dyn Write, memblock: &Memblock<'_>, set: Set) -> fmt::Result {
    let width = memblock.config().width;
    let live = memblock.regions(set).iter().filter(|r| r.size() > 0);
    live.enumerate().try_for_each(|(i, r)| region(w, width, i, r.base().get(), r.end().get() - 1))
}
