//! The kernel's page tables run by run, entries and all, for programs that compare two sets of tables.

use super::tables;
use crate::{State, ViewError};
use core::fmt::{self, Write};
use pagewright_pagetable::RunKind;

/// One line for each run of leaves of one size that follow each other in both address spaces: first and last address, the first
/// leaf's frame, KiB of a leaf, its entry.
///
/// # Errors
/// [`ViewError`] for a machine without tables, or with damaged ones.
pub fn write(w: &mut dyn Write, state: &State<'_, '_, '_, '_, '_>) -> Result<(), ViewError> {
    tables(state.boot)?.with(|tree| {
        let (shape, mut written): (_, fmt::Result) = (tree.shape(), Ok(()));
        for part in tree.window().ranges().into_iter().filter(|part| !part.is_empty()) {
            tree.walk(part, &mut |run| {
                let RunKind::Leaf(leaf) = run.kind else { return };
                let word = tree.leaf_word(run.level, &leaf).unwrap_or(0);
                let (first, last) = (run.range.start.get(), run.range.last().get());
                let (size, phys) = (shape.level(run.level).bytes() >> 10, leaf.phys.get());
                if written.is_ok() {
                    written = writeln!(w, "{first:016x}-{last:016x} {phys:012x} {size:>8}K {word:016x}");
                }
            })?;
        }
        Ok(written?)
    })
}
