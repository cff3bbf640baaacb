//! Page-table entries as the software MMU reads and updates them.

use super::{BLOCK_BYTES, EntryWidth, PhysMemory};
use core::sync::atomic::Ordering::{AcqRel, Acquire};
use pagewright_addr::PhysAddr;

/// Bytes of one entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EntryBytes {
    Four,
    Eight,
}

impl EntryBytes {
    /// How many.
    pub(crate) const fn get(self) -> u64 {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

impl PhysMemory {
    /// The entry at `at`, read at once unless it is wider than the memory's words; `None` outside RAM or when misaligned.
    pub(crate) fn load_entry(&self, at: PhysAddr, bytes: EntryBytes) -> Option<u64> {
        if !at.is_aligned(bytes.get()) || !self.is_ram(at, bytes.get()) {
            return None;
        }
        let at = at.get();
        Some(match (self.width, bytes) {
            (EntryWidth::Bits64, EntryBytes::Eight) | (EntryWidth::Bits32, EntryBytes::Four) => self.load(at),
            (EntryWidth::Bits64, EntryBytes::Four) => (self.load(at & !7) >> (8 * (at & 4))) & 0xffff_ffff,
            (EntryWidth::Bits32, EntryBytes::Eight) => self.load(at) | (self.load(at + 4) << 32),
        })
    }

    /// Replaces the entry `old` at `at` by `new`, at once. `false` if it is no longer `old`.
    ///
    /// Where entries are wider than the memory's words only the low half is replaced: the bits that hardware sets are
    /// there in every format.
    pub(crate) fn replace_entry(&self, at: PhysAddr, bytes: EntryBytes, old: u64, new: u64) -> bool {
        if self.load_entry(at, bytes) != Some(old) {
            return false;
        }
        let inside = (at.get() % BLOCK_BYTES) as usize;
        let replaced = self.block_or_new(at.get()).and_then(|block| {
            Some(match self.width {
                EntryWidth::Bits32 => {
                    let cell = &block.words32(inside / 4, 1)?[0];
                    cell.compare_exchange(old as u32, new as u32, AcqRel, Acquire).is_ok()
                }
                EntryWidth::Bits64 => {
                    let cell = &block.words64(inside / 8, 1)?[0];
                    let shift = 8 * (at.get() & 7 & !(bytes.get() - 1));
                    let mask = if bytes == EntryBytes::Four { 0xffff_ffff << shift } else { u64::MAX };
                    let swap = |word: u64| {
                        (word & mask == (old << shift) & mask)
                            .then_some((word & !mask) | ((new << shift) & mask))
                    };
                    cell.try_update(AcqRel, Acquire, swap).is_ok()
                }
            })
        });
        replaced == Some(true)
    }
}
