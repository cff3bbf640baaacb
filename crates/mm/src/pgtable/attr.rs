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

/// Changes what is mapped in a range. Leaves that already are as they should be stay whole; of others that reach beyond the
/// range only the part inside is changed, after splitting. Returns how many tables that took.
///
/// # Errors
/// [`TableError`]; pieces before the place are changed.
pub(crate) fn change_range(
    tree: &mut dyn KernelTree,
    range: VirtRange,
    change: &AttrChange,
    source: &mut dyn TableSource,
) -> Result<u64, TableError> {
    let (mut at, mut left, mut tables) = (range.start, range.len, 0);
    while left > 0 {
        let (found, len) = piece(tree, at, left)?;
        if let Some((leaf, level, start)) = found
            && change.apply(leaf.attr) != leaf.attr
        {
            let size = tree.shape().level(level).bytes();
            if start != at {
                tables += tree.split(at, source)?;
                continue;
            }
            if len < size {
                tables += tree.split(VirtAddr::new(at.get().wrapping_add(len)), source)?;
                continue;
            }
            if leaf.contiguous {
                // A group changes as one; its mark goes first.
                let small = tree.shape().page_bytes();
                tables += tree.split(VirtAddr::new(at.get().wrapping_add(small)), source)?;
                continue;
            }
            tree.protect(VirtRange { start: at, len }, change)?;
        }
        at = VirtAddr::new(at.get().wrapping_add(len));
        left -= len;
    }
    Ok(tables)
}
