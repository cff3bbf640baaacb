//! The kernel's page tables as they stand, run by run, for a program on the host to read: `dump=page-tables`.

use crate::console::{Console, Out};
use core::fmt::Write;
use pagewright::pgtable::KernelTables;
use pagewright_addr::VirtRange;
use pagewright_pagetable::RunKind;

/// What stands before the runs, in the form in which views are headed.
pub const HEADING: &str = "==> dump/page-tables <==";

/// One line for each run of leaves of one size that follow each other in both address spaces: first and last address, the first leaf's
/// frame, bytes of a leaf in KiB, its entry.
pub fn page_tables(console: &dyn Console, tables: &KernelTables<'_>) {
    let mut out = Out(console);
    // The console takes everything; a damaged tree ends early.
    let _ = writeln!(out, "{HEADING}");
    tables.with(|tree| {
        let shape = tree.shape();
        let parts = tree.window().ranges();
        for part in parts.into_iter().filter(|part: &VirtRange| !part.is_empty()) {
            let _ = tree.walk(part, &mut |run| {
                let RunKind::Leaf(leaf) = run.kind else { return };
                let word = tree.leaf_word(run.level, &leaf).unwrap_or(0);
                let (first, last) = (run.range.start.get(), run.range.last().get());
                let size = shape.level(run.level).bytes() >> 10;
                let phys = leaf.phys.get();
                let _ = writeln!(out, "{first:016x}-{last:016x} {phys:012x} {size:>8}K {word:016x}");
            });
        }
    });
    let _ = writeln!(out, "==> end <==");
}
