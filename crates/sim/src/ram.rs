//! Simulated RAM, block by block.
//!
//! The right to a frame's bytes is its token: `&Frames` reads, `&mut Frames` writes. Two tokens never cover the same
//! frame of one map, and each `Ram` has memory of its own for one map, so the slices never overlap.

use crate::SimError;
use crate::zeroed::Zeroed;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use pagewright_addr::PageShift;
use pagewright_page::{Frames, PageMap};
use pagewright_zone::debug::{Damage, DebugMemory};
use std::sync::OnceLock;

/// The bytes of every frame of one map.
pub struct Ram<'a> {
    map: PageMap<'a>,
    page_shift: PageShift,
    /// One for each block of the map's alignment order, made when one of its frames is first asked for.
    blocks: Vec<OnceLock<Zeroed>>,
    resident_bytes: AtomicU64,
}

impl<'a> Ram<'a> {
    /// Zeroed RAM for the frames of `map`, without any host memory as yet but one entry for each block.
    pub fn new(map: PageMap<'a>, page_shift: PageShift) -> Self {
        let blocks = map.capacity().div_ceil(map.sections().align().pages());
        Self {
            map,
            page_shift,
            blocks: (0..blocks).map(|_| OnceLock::new()).collect(),
            resident_bytes: AtomicU64::new(0),
        }
    }

    /// Reads the memory of `frames`.
    ///
    /// # Errors
    /// [`SimError`]: another map's token, frames in more than one block, or no host memory for the block.
    pub fn bytes<'f>(&'f self, frames: &'f Frames<'_>) -> Result<&'f [u8], SimError> {
        let (first, len) = self.locate(frames)?;
        // SAFETY: locate found `len` initialised bytes inside a block that lives as long as self. The token's
        // frames are in no other token of this map, and writing needs the token exclusively, which this borrow
        // of it excludes for as long as the slice lives.
        Ok(unsafe { core::slice::from_raw_parts(first.as_ptr(), len) })
    }

    /// Reads and writes the memory of `frames`.
    ///
    /// # Errors
    /// As for [`Self::bytes`].
    pub fn bytes_mut<'f>(&'f self, frames: &'f mut Frames<'_>) -> Result<&'f mut [u8], SimError> {
        let (first, len) = self.locate(frames)?;
        // SAFETY: as in `bytes`; the token is borrowed exclusively, so no other slice of these frames exists.
        Ok(unsafe { core::slice::from_raw_parts_mut(first.as_ptr(), len) })
    }

    /// How much host memory the blocks asked for; the host backs only the pages of them that were written.
    pub fn resident_bytes(&self) -> u64 {
        self.resident_bytes.load(Relaxed)
    }

    /// The first byte of the frames and how many there are: initialised memory inside one block.
    fn locate(&self, frames: &Frames<'_>) -> Result<(NonNull<u8>, usize), SimError> {
        if !self.map.owns(frames) {
            return Err(SimError::OtherMap);
        }
        let (start, count) = (frames.start(), frames.len());
        let align = self.map.sections().align();
        let within = u64::from(start.get()) & (align.pages() - 1);
        if within + count > align.pages() {
            return Err(SimError::AcrossBlocks { start: start.get(), frames: count });
        }
        let block = self.block(start.index() >> align.get())?;
        let offset = (within << self.page_shift.get()) as usize;
        let len = (count << self.page_shift.get()) as usize;
        debug_assert!(offset + len <= block.len());
        // SAFETY: within + count is at most a block's pages, and the block has that many pages of bytes.
        Ok((unsafe { block.first().add(offset) }, len))
    }

    /// The block's memory, made now if this is the first use.
    fn block(&self, number: usize) -> Result<&Zeroed, SimError> {
        let block = &self.blocks[number];
        if let Some(memory) = block.get() {
            return Ok(memory);
        }
        let bytes = self.map.sections().align().pages() << self.page_shift.get();
        let memory = Zeroed::new(bytes, self.page_shift.bytes() as usize)?;
        // Another thread may have been first; then its memory counts and ours goes back.
        Ok(block.get_or_init(|| {
            self.resident_bytes.fetch_add(bytes, Relaxed);
            memory
        }))
    }
}

/// Simulated RAM has no linear map that frames could be taken out of.
impl DebugMemory for Ram<'_> {
    fn fill(&self, frames: &mut Frames<'_>, byte: u8) {
        if let Ok(bytes) = self.bytes_mut(frames) {
            bytes.fill(byte);
        }
    }

    fn differs(&self, frames: &Frames<'_>, first: u64, len: u64, byte: u8) -> Option<Damage> {
        let at = |frames: u64| (frames << self.page_shift.get()) as usize;
        Damage::of(self.bytes(frames).ok()?.get(at(first)..at(first + len))?, byte)
    }
}
