//! Changing permissions of ranges that need not begin and end where leaves do (Linux's "change page attr").

use super::{KernelTree, TableError};
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_pagetable::{AttrChange, Leaf, Level, TableSource, Unmapped};

/// A leaf, its level and its first address.
type Found = (Leaf, Level, VirtAddr);
/// What is done with a mapped piece of a range: the piece, the leaf that it lies in, the leaf's first address.
type See<'f> = dyn FnMut(&mut dyn KernelTree, VirtRange, &Leaf, VirtAddr) -> Result<(), TableError> + 'f;

/// One step over a range: the leaf at `at` or the hole there, and how many bytes of the range lie in it.
fn piece(tree: &dyn KernelTree, at: VirtAddr, left: u64) -> Result<(Option<Found>, u64), TableError> {
    let (found, level) = match tree.leaf(at) {
        Ok((leaf, level, start)) => (Some((leaf, level, start)), level),
        Err(Unmapped::Absent(level, _)) => (None, level),
        Err(Unmapped::Damaged(damage)) => {
            return Err(TableError::Walk(pagewright_pagetable::WalkError::Damaged(damage)));
        }
        Err(Unmapped::OutsideWindow) => (None, Level::PTE),
    };
    let size = tree.shape().level(level).bytes();
    Ok((found, left.min(size - (at.get() & (size - 1)))))
}

/// Calls `see` with each mapped piece of a range.
pub(crate) fn each_mapped(
    tree: &mut dyn KernelTree,
    range: VirtRange,
    see: &mut See<'_>,
) -> Result<(), TableError> {
    let (mut at, mut left) = (range.start, range.len);
    while left > 0 {
        let (found, len) = piece(tree, at, left)?;
        if let Some((leaf, _, start)) = found {
            see(tree, VirtRange { start: at, len }, &leaf, start)?;
        }
        at = VirtAddr::new(at.get().wrapping_add(len));
        left -= len;
    }
    Ok(())
}

/// Splits leaves until those of a range that a change makes different lie wholly inside it. Leaves that already are as they
/// should be stay whole. What addresses lead to is the same afterwards, and when it fails.
///
/// # Errors
/// [`TableError`]; splits before the place are done.
pub(crate) fn split_for(
    tree: &mut dyn KernelTree,
    range: VirtRange,
    change: &AttrChange,
    source: &mut dyn TableSource,
) -> Result<(), TableError> {
    let (mut at, mut left) = (range.start, range.len);
    while left > 0 {
        let (found, len) = piece(tree, at, left)?;
        if let Some((leaf, level, start)) = found
            && change.apply(leaf.attr) != leaf.attr
        {
            let after = |bytes| VirtAddr::new(at.get().wrapping_add(bytes));
            let cut = if start != at {
                Some(at)
            } else if len < tree.shape().level(level).bytes() {
                Some(after(len))
            } else if leaf.contiguous {
                // A group changes as one; its mark goes first.
                Some(after(tree.shape().page_bytes()))
            } else {
                None
            };
            if let Some(cut) = cut {
                tree.split(cut, source)?;
                continue;
            }
        }
        at = VirtAddr::new(at.get().wrapping_add(len));
        left -= len;
    }
    Ok(())
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
    let (mut at, mut left) = (range.start, range.len);
    while left > 0 {
        let (found, len) = piece(tree, at, left)?;
        if let Some((leaf, ..)) = found
            && change.apply(leaf.attr) != leaf.attr
        {
            tree.protect(VirtRange { start: at, len }, change)?;
        }
        at = VirtAddr::new(at.get().wrapping_add(len));
        left -= len;
    }
    Ok(())
}
