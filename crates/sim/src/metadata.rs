//! The page metadata's memory.

use crate::SimError;
use crate::zeroed::Zeroed;
use core::mem::MaybeUninit;
use pagewright_page::{PageMap, PageMeta, PageStorage};

/// Lazily zeroed host memory for a map's metadata.
pub struct Metadata {
    memory: Zeroed,
    slots: usize,
    /// Somebody had the slots before: they may no longer be zero.
    used: bool,
}

impl Metadata {
    /// For this many frames ([`pagewright_page::SectionTable::frames`]). A terabyte of 4 KiB frames asks for 8 GiB, of which
    /// the host gives only what is written.
    ///
    /// # Errors
    /// [`SimError::HostMemory`].
    pub fn new(frames: u64) -> Result<Self, SimError> {
        let bytes = PageMap::required_bytes(frames);
        let refused = SimError::HostMemory { bytes };
        let slots = usize::try_from(frames).map_err(|_| refused)?;
        Ok(Self { memory: Zeroed::new(bytes, align_of::<PageMeta>())?, slots, used: false })
    }

    /// The slots, for [`PageMap::new`]. The first time they are zero as they are; after that they are written.
    pub fn storage(&mut self) -> PageStorage<'_> {
        let first = self.memory.first().cast::<MaybeUninit<PageMeta>>();
        // SAFETY: the allocation holds `slots` times 32 bytes at PageMeta's alignment; MaybeUninit asks nothing of their
        // contents; the exclusive borrow of self stands for the exclusive use of the memory.
        let slots = unsafe { core::slice::from_raw_parts_mut(first.as_ptr(), self.slots) };
        if core::mem::replace(&mut self.used, true) {
            return PageStorage::zero(slots);
        }
        // SAFETY: allocated zeroed, and never handed out before.
        unsafe { PageStorage::assume_zeroed(slots) }
    }
}
