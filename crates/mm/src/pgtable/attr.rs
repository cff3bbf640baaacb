//! Changing permissions of ranges that need not begin and end where leaves do (Linux's "change page attr").
//!
//! Ranges are looked at run by run: memory that is mapped page by page has hundreds of leaves that say the same.

use super::{KernelTree, TableError};
use arrayvec::ArrayVec;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_pagetable::{AttrChange, Leaf, Level, Run, RunKind, TableSource};

/// Runs that one look finds; for more it looks again.
const ROOM: usize = 8;

/// Leaves of a range that follow each other in both address spaces: the part of them that lies in the range, their level, and the
/// first of them with its address, which may lie before the range.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    /// The addresses.
    pub(crate) range: VirtRange,
    /// The leaves' level.
    pub(crate) level: Level,
    leaf: Leaf,
    start: VirtAddr,
}

impl Piece {
    /// What of a run lies in `range`; `None` for what leads nowhere.
    fn of(run: &Run, range: VirtRange) -> Option<Self> {
        let RunKind::Leaf(leaf) = run.kind else { return None };
        let start = run.range.start.max(range.start);
        let last = run.range.last().min(range.last());
        let len = last.get().checked_sub(start.get())? + 1;
        Some(Self { range: VirtRange { start, len }, level: run.level, leaf, start: run.range.start })
    }

    /// Where its first byte lies.
    pub(crate) fn phys(&self) -> u64 {
        self.leaf.phys.get().wrapping_add(self.range.start.get() - self.start.get())
    }
}

/// The first pieces of a range that are wanted, and what is left of the range behind them.
fn pieces(
    tree: &dyn KernelTree,
    range: VirtRange,
    wanted: &dyn Fn(&Leaf) -> bool,
) -> Result<(ArrayVec<Piece, ROOM>, Option<VirtRange>), TableError> {
    let mut found = ArrayVec::new();
    let mut full = false;
    tree.walk(range, &mut |run| {
        if let Some(piece) = Piece::of(run, range).filter(|piece| wanted(&piece.leaf)) {
            full |= found.try_push(piece).is_err();
        }
    })
    .map_err(TableError::Walk)?;
    let behind = found.last().filter(|_| full).map(|last: &Piece| last.range.last().get().wrapping_add(1));
    let rest =
        behind.map(|at| VirtRange { start: VirtAddr::new(at), len: range.last().get().wrapping_sub(at) + 1 });
    Ok((found, rest))
}

/// What is done with a mapped piece of a range.
type See<'f> = dyn FnMut(&mut dyn KernelTree, &Piece) -> Result<(), TableError> + 'f;

/// Calls `see` with each mapped piece of a range. It must leave the range itself as it is.
pub(crate) fn each_mapped(
    tree: &mut dyn KernelTree,
    range: VirtRange,
    see: &mut See<'_>,
) -> Result<(), TableError> {
    let mut left = Some(range);
    while let Some(range) = left.filter(|range| !range.is_empty()) {
        let (found, rest) = pieces(tree, range, &|_| true)?;
        found.iter().try_for_each(|piece| see(tree, piece))?;
        left = rest;
    }
    Ok(())
}

/// Splits leaves until those of a range that a change makes different lie wholly inside it. Leaves that already are as they
/// should be stay whole. What addresses lead to is the same afterwards, and when it fails.
///
/// `unit`, if there is one, is the size of the pieces in which the change is made: larger leaves are split, even where all of them
/// changes.
///
/// # Errors
/// [`TableError`]; splits before the place are done.
pub(crate) fn split_for(
    tree: &mut dyn KernelTree,
    range: VirtRange,
    unit: Option<u64>,
    change: &AttrChange,
    source: &mut dyn TableSource,
) -> Result<(), TableError> {
    if range.is_empty() {
        return Ok(());
    }
    loop {
        let shape = tree.shape();
        let mut cut = None;
        tree.walk(range, &mut |run| {
            let RunKind::Leaf(leaf) = run.kind else { return };
            if cut.is_some() || change.apply(leaf.attr) == leaf.attr {
                return;
            }
            if run.range.start < range.start {
                cut = Some(range.start);
            } else if leaf.contiguous {
                // A group changes as one; its mark goes first.
                cut = Some(VirtAddr::new(run.range.start.get().wrapping_add(shape.page_bytes())));
            } else if let Some(unit) = unit.filter(|unit| *unit < shape.level(run.level).bytes()) {
                cut = Some(VirtAddr::new(run.range.start.get().wrapping_add(unit)));
            } else if run.range.last() > range.last() {
                cut = Some(VirtAddr::new(range.last().get().wrapping_add(1)));
            }
        })
        .map_err(TableError::Walk)?;
        match cut {
            Some(cut) => tree.split(cut, source)?,
            None => return Ok(()),
        };
    }
}

/// Changes what is mapped in a range that was split for it ([`split_for`]): no table is needed.
///
/// # Errors
/// [`TableError`] where the tables are damaged.
pub(crate) fn apply(
    tree: &mut dyn KernelTree,
    range: VirtRange,
    change: &AttrChange,
) -> Result<(), TableError> {
    let mut left = Some(range);
    while let Some(range) = left.filter(|range| !range.is_empty()) {
        let (found, rest) = pieces(tree, range, &|leaf| change.apply(leaf.attr) != leaf.attr)?;
        for piece in &found {
            tree.protect(piece.range, change)?;
        }
        left = rest;
    }
    Ok(())
}
