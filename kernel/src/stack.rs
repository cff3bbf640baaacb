//! The image's own part of vmalloc space: the stack of the processor that boots and those of exceptions, so that a page without a mapping lies below each; windows for
//! devices' registers; addresses for tests. (The other processors start when vmalloc serves, on stacks that it has made.)

use crate::pages::Pages;
use core::fmt;
use pagewright::Boot;
use pagewright::pgtable::TableError;
use pagewright_addr::{Order, VirtAddr, VirtRange};
use pagewright_kspace::{Facts, Kind, Layout};
use pagewright_pagetable::{Attr, AttrFlags, MapOptions};

/// Bytes of a stack.
pub const STACK_BYTES: u64 = 128 << 10;
/// How many stacks there is room for.
pub const STACKS: u64 = 64;
/// Bytes of a window for registers.
pub const IO_BYTES: u64 = 2 << 20;
/// How many windows for registers there is room for.
pub const IO_WINDOWS: u64 = 8;
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

/// Where the image's own part of vmalloc space begins: arm64's image lies at the start of it.
fn base(boot: &Boot<'_>) -> Result<(VirtAddr, VirtRange), StackError> {
    let layout = Layout::of(&Facts::of(boot.machine, &boot.params)).ok();
    let room = layout.and_then(|layout| layout.get(Kind::Vmalloc)).ok_or(StackError::NoRoom)?;
    let start = room.start.get().wrapping_add((room.len / 4).min(256 << 20));
    Ok((VirtAddr::new(start).align_up(IO_BYTES), room))
}

/// `len` bytes at `offset` from there.
fn part(boot: &Boot<'_>, offset: u64, len: u64) -> Result<VirtRange, StackError> {
    let (start, room) = base(boot)?;
    let range = VirtRange::from_len(start.checked_add(offset).ok_or(StackError::NoRoom)?, len);
    if room.contains_range(&range) { Ok(range) } else { Err(StackError::NoRoom) }
}

/// The `n`th stack's bytes, of [`STACKS`]. Between two stacks lies as much without a mapping.
///
/// # Errors
/// [`StackError::NoRoom`].
pub fn stack_range(boot: &Boot<'_>, n: u64) -> Result<VirtRange, StackError> {
    if n >= STACKS {
        return Err(StackError::NoRoom);
    }
    part(boot, (2 * n + 1) * STACK_BYTES, STACK_BYTES)
}

/// The `n`th window for devices' registers, of [`IO_WINDOWS`].
///
/// # Errors
/// [`StackError::NoRoom`].
pub fn io_range(boot: &Boot<'_>, n: u64) -> Result<VirtRange, StackError> {
    if n >= IO_WINDOWS {
        return Err(StackError::NoRoom);
    }
    part(boot, STACKS * 2 * STACK_BYTES + n * IO_BYTES, IO_BYTES)
}

/// Addresses for tests, behind all others.
pub fn scratch_range(boot: &Boot<'_>) -> Option<VirtRange> {
    part(boot, STACKS * 2 * STACK_BYTES + IO_WINDOWS * IO_BYTES, IO_BYTES).ok()
}

/// All of the image's own part: what vmalloc gives to nobody.
pub fn own_range(boot: &Boot<'_>) -> Option<VirtRange> {
    part(boot, 0, STACKS * 2 * STACK_BYTES + (IO_WINDOWS + 1) * IO_BYTES).ok()
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
