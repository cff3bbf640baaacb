//! Kernel stacks: in vmalloc space, so that a page without a mapping lies below each.

use crate::pages::Pages;
use core::fmt;
use pagewright::Boot;
use pagewright::pgtable::TableError;
use pagewright_addr::{Order, VirtAddr, VirtRange};
use pagewright_kspace::{Facts, Kind, Layout};
use pagewright_pagetable::{Attr, AttrFlags, MapOptions};

/// Bytes of a stack.
pub const STACK_BYTES: u64 = 64 << 10;
/// Data that the kernel alone reads and writes.
const DATA: Attr = Attr::normal(
    AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::GLOBAL).union(AttrFlags::ACCESSED),
);

/// Why there is no stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StackError {
    /// The kernel's layout has no vmalloc space, or not that much.
    NoRoom,
    /// There is no free block for it.
    NoMemory,
    /// It cannot be mapped.
    Tables(TableError),
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom => f.write_str("vmalloc space has no room for a stack"),
            Self::NoMemory => write!(f, "there is no free block of {STACK_BYTES} bytes for a stack"),
            Self::Tables(e) => write!(f, "a stack cannot be mapped: {e}"),
        }
    }
}

impl core::error::Error for StackError {}

/// The `n`th stack's bytes. Between two stacks lies as much without a mapping.
///
/// # Errors
/// [`StackError::NoRoom`].
pub fn stack_range(boot: &Boot<'_>, n: u64) -> Result<VirtRange, StackError> {
    let layout = Layout::of(&Facts::of(boot.machine, &boot.params)).ok();
    let room = layout.and_then(|layout| layout.get(Kind::Vmalloc)).ok_or(StackError::NoRoom)?;
    // arm64's image lies at the start of vmalloc space.
    let image = (room.len / 4).min(256 << 20);
    let start = VirtAddr::new(room.start.get().wrapping_add(image)).align_up(STACK_BYTES);
    let start = start.checked_add((2 * n + 1) * STACK_BYTES).ok_or(StackError::NoRoom)?;
    let range = VirtRange::from_len(start, STACK_BYTES);
    if room.contains_range(&range) { Ok(range) } else { Err(StackError::NoRoom) }
}

/// Makes the `n`th stack. Returns its bytes: the stack's top is behind the last of them, and what lies below the first is not
/// mapped. The caller makes the new entries visible to the processor.
///
/// # Errors
/// [`StackError`].
pub fn map_stack(boot: &Boot<'_>, pages: &Pages, n: u64) -> Result<VirtRange, StackError> {
    let range = stack_range(boot, n)?;
    let order = (STACK_BYTES >> pages.page_shift().get()).trailing_zeros() as u8;
    let frames = Order::new(order).and_then(|order| pages.alloc(order).ok());
    let mut frames = frames.ok_or(StackError::NoMemory)?;
    pages.zero(&mut frames);
    let phys = pages.phys(&frames);
    let tables = boot.pgtable.ok_or(StackError::NoRoom)?;
    tables
        .with(|tree| tree.map(range, phys, DATA, &MapOptions::PAGES, &mut pages.tables()))
        .map_err(|e| StackError::Tables(e.into()))?;
    // The stack lasts as long as the image: a token that is dropped leaves its frames taken.
    drop(frames);
    Ok(range)
}
