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

    /// All its words, if it is a block of 32-bit words; else none.
    #[inline]
    pub(super) fn words32(&self) -> &[AtomicU32] {
        let Self::W32(memory) = self else { return &[] };
        // SAFETY: the block's memory was made by `new`: BLOCK_BYTES initialised bytes at a multiple of 8, for which every
        // pattern of bits is a value. It lives as long as self. It is reached only through this method, which
        // lends atomics, so no access to it is other than atomic and of this width.
        unsafe { core::slice::from_raw_parts(memory.first().as_ptr().cast(), (BLOCK_BYTES / 4) as usize) }
    }

    /// All its words, if it is a block of 64-bit words; else none.
    #[inline]
    pub(super) fn words64(&self) -> &[AtomicU64] {
        let Self::W64(memory) = self else { return &[] };
        // SAFETY: as in `words32`, which for a block of this kind lends nothing.
        unsafe { core::slice::from_raw_parts(memory.first().as_ptr().cast(), (BLOCK_BYTES / 8) as usize) }
    }
}
