//! One block of simulated RAM: host memory seen as atomic words of one width.

use crate::SimError;
use crate::zeroed::Zeroed;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// The base-2 logarithm of a block's size.
pub(super) const BLOCK_SHIFT: u32 = 21;
/// Bytes of a block: 2 MiB, more than any table.
pub(super) const BLOCK_BYTES: u64 = 1 << BLOCK_SHIFT;

/// Zeroed memory whose every access is atomic and [`BLOCK_BYTES`] long.
///
/// # Invariants
/// A block of a memory is only ever seen through one of its two accessors: accesses of two widths that race are
/// outside what Rust's memory model defines. `PhysMemory` chooses by its width, which never changes.
pub(super) enum Block {
    /// As 32-bit words.
    W32(Zeroed),
    /// As 64-bit words.
    W64(Zeroed),
}

impl Block {
    /// A zeroed block.
    ///
    /// # Errors
    /// [`SimError::HostMemory`].
    pub(super) fn new(width: super::EntryWidth) -> Result<Self, SimError> {
        let memory = Zeroed::new(BLOCK_BYTES, align_of::<AtomicU64>())?;
        Ok(match width {
            super::EntryWidth::Bits32 => Self::W32(memory),
            super::EntryWidth::Bits64 => Self::W64(memory),
        })
    }

    /// `count` words from word `first` on; `None` if the block ends before, or is one of 64-bit words.
    #[inline]
    pub(super) fn words32(&self, first: usize, count: usize) -> Option<&[AtomicU32]> {
        let Self::W32(memory) = self else { return None };
        inside(first, count, 4)?;
        // SAFETY: the block's memory was made by `new`: BLOCK_BYTES initialised bytes at a multiple of 8, for which every
        // pattern of bits is a value; `inside` found the words among them. It lives as long as self. It is reached
        // only through this method, which lends atomics, so no access to it is other than atomic and of this width.
        Some(unsafe { core::slice::from_raw_parts(memory.first().cast().add(first).as_ptr(), count) })
    }

    /// `count` words from word `first` on; `None` if the block ends before, or is one of 32-bit words.
    #[inline]
    pub(super) fn words64(&self, first: usize, count: usize) -> Option<&[AtomicU64]> {
        let Self::W64(memory) = self else { return None };
        inside(first, count, 8)?;
        // SAFETY: as in `words32`, which for a block of this kind lends nothing.
        Some(unsafe { core::slice::from_raw_parts(memory.first().cast().add(first).as_ptr(), count) })
    }
}

/// `None` unless words `first..first + count` of `bytes` each are in a block.
#[inline]
fn inside(first: usize, count: usize, bytes: usize) -> Option<()> {
    (first.checked_add(count)? <= BLOCK_BYTES as usize / bytes).then_some(())
}
