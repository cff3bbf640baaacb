//! kmalloc: no classes, but blocks that have their size before them.
//!
//! Before what is handed out lie as many bytes as its alignment has at least. The last four of them say:
//! ```text
//!  31              16 15               0
//! +------------------+------------------+
//! | sign             | bytes            |
//! +------------------+------------------+
//! ```
//! The sign is made of address, bytes and a secret: a pointer that kmalloc did not return has none there, or had one before it was freed, which takes
//! the sign away.

use super::Slob;
use super::blocks::Fit;
use crate::memory::SlabMemory;
use crate::objects::Design;
use crate::slabs::{Damage, SlabContext, SlabError};
use crate::usercopy::{Copied, Place, UsercopyError};
use core::ptr::NonNull;
use pagewright_addr::NodeId;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slob<'k, 'a, I, M> {
    fn min_align(&self) -> usize {
        self.config.min_align as usize
    }

    /// Allocates memory (`kmalloc`, `kmalloc_node`), aligned to the least alignment, and to its size where that is a power of two. No bytes are had at
    /// an address that nobody may use.
    ///
    /// # Errors
    /// [`SlabError`]; nothing has changed then.
    pub fn kmalloc(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        bytes: usize,
        gfp: Gfp,
        node: Option<NodeId>,
    ) -> Result<NonNull<u8>, SlabError> {
        let least = self.min_align();
        if bytes == 0 || bytes >= self.page_bytes() - least {
            return self.large().kmalloc(cx.pages, bytes, (gfp, node), || self.injected());
        }
        let natural = if bytes.is_power_of_two() { bytes } else { 0 };
        let fit = Fit { bytes: bytes + least, align: natural.max(least), behind: least };
        let address = self.take(cx.pages, node, gfp, fit)? + least;
        let memory = NonNull::new(self.memory.pointer(address)).ok_or(SlabError::NoMemory)?;
        // SAFETY: the last four of the bytes before it, which are the block's; aligned, since it is itself to at least as much.
        unsafe { memory.cast::<u32>().sub(1).write(bytes as u32 | self.sign(address, bytes) << 16) };
        if gfp.contains(Gfp::ZERO) {
            // SAFETY: so many bytes that were just taken.
            unsafe { memory.write_bytes(0, bytes) };
        }
        Ok(memory)
    }

    /// 16 bits that follow from where memory lies, how much it is, and the secret.
    fn sign(&self, address: usize, bytes: usize) -> u32 {
        let mixed = (address as u64 ^ self.secret as u64).wrapping_add((bytes as u64) << 40);
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u32
    }

    /// How many bytes were asked for of the memory at an address in a page of blocks; `None` where no size lies before it.
    ///
    /// # Safety
    /// What lies before it is nobody's who might write it: it was allocated by [`Self::kmalloc`], or is no more than looked at.
    unsafe fn asked_for(&self, address: usize) -> Option<usize> {
        let (_, base) = self.page_of(address)?;
        let from = address - base;
        if from < self.min_align() || !from.is_multiple_of(self.min_align()) {
            return None;
        }
        // SAFETY: inside the page and aligned, as just checked; initialised, as all memory of pages is.
        let stored = unsafe { self.memory.pointer(address - 4).cast::<u32>().read() };
        let bytes = (stored & 0xffff) as usize;
        let sound = bytes > 0 && from + bytes <= self.page_bytes();
        (sound && stored >> 16 == self.sign(address, bytes)).then_some(bytes)
    }

    /// Frees memory of [`Self::kmalloc`] (`kfree`). Objects of caches are not freed this way, unlike those of the other designs.
    ///
    /// # Safety
    /// It was allocated there, and nobody uses it from now on.
    pub unsafe fn kfree(&self, cx: &SlabContext<'_, 'k, 'a>, memory: NonNull<u8>) {
        let address = memory.addr().get();
        if self.page_of(address).is_none() {
            if !self.large().free(cx.pages, address) {
                self.report(Damage::NotAllocated, None, address);
            }
            return;
        }
        // SAFETY: as the caller says.
        let Some(bytes) = (unsafe { self.asked_for(address) }) else {
            return self.report(Damage::InvalidPointer, None, address);
        };
        let least = self.min_align();
        // SAFETY: the block's own bytes, see `kmalloc`; nobody uses it any more.
        unsafe {
            self.memory.pointer(address - 4).cast::<u32>().write(0);
            self.give(cx.pages, None, address - least, bytes + least);
        }
    }

    /// How many bytes of so many could be used, were they allocated (`kmalloc_size_roundup`): multiples of the least alignment, as 6.1 says.
    pub fn kmalloc_size_roundup(&self, bytes: usize) -> usize {
        bytes.checked_next_multiple_of(self.min_align()).unwrap_or(bytes)
    }

    /// How many bytes may be used of what was allocated (`ksize`): whole units; 0 of what was not.
    ///
    /// # Safety
    /// It was allocated by [`Self::kmalloc`] and not freed yet, or comes from elsewhere.
    pub unsafe fn ksize(&self, memory: NonNull<u8>) -> usize {
        let address = memory.addr().get();
        if let Some(bytes) = self.large().size(address) {
            return bytes;
        }
        // SAFETY: as the caller says.
        let asked = unsafe { self.asked_for(address) };
        asked.map_or(0, |bytes| bytes.next_multiple_of(super::Page::unit(self.page_bytes())))
    }

    /// Whether these bytes may be copied to user space, or from there: those of a page none of which is free, or of a block of pages. Linux's SLOB has no such check.
    ///
    /// # Errors
    /// [`UsercopyError`].
    pub fn check_heap_object(
        &self,
        memory: NonNull<u8>,
        bytes: usize,
        to_user: bool,
    ) -> Result<(), UsercopyError> {
        let address = memory.addr().get();
        let copied = Copied { design: Design::Slob, address, bytes, to_user };
        let Some((idx, base)) = self.page_of(address) else { return copied.in_block(&self.large()) };
        let from = address - base;
        let _quiet = self.quiet();
        let _lists = self.lists.lock();
        let used = bytes <= self.page_bytes() - from
            && self.page_at(base).is_used(self.word_of(idx).first, from, bytes).unwrap_or(false);
        if used { Ok(()) } else { Err(copied.refused(Place::Page, from)) }
    }
}
