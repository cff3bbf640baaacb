//! Memory that need not be contiguous (`kvmalloc`): from kmalloc where that has it, else from the kernel's virtual space.
//!
//! A [`Kv`] is the family for one task on one processor: slabs, and a [`VirtSpace`] to fall back on (vmalloc). Which of them an address is of
//! is told by the address alone, so [`Kv::kvfree`] takes either. Addresses are numbers here, not pointers: on the hosted machine what vmalloc gave is reached
//! through the software MMU.
//!
//! As in 6.1, kmalloc makes little effort for more than a page (`__GFP_NORETRY`, no warning, `__GFP_NOFAIL` left to the fallback), requests of up to a
//! page never fall back, and neither do those that must not sleep: vmalloc's tables and its flush may.
//!
//! [`later`] has what is freed after readers have left (`kvfree_rcu`), or once no interrupt handler runs (`vfree_atomic`).

pub mod later;

pub use later::{KvLater, Wait};

use crate::memory::SlabMemory;
use crate::slabs::{SlabContext, SlabError, Slabs};
use core::fmt;
use core::panic::Location;
use core::ptr::NonNull;
use pagewright_addr::{NodeId, VirtAddr};
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

/// The largest request that falls back (`INT_MAX`).
const MOST: u64 = i32::MAX as u64;

/// The kernel's virtual space as kvmalloc falls back on it: vmalloc, on behalf of one task on one processor.
///
/// Memory that it gives is nobody else's until it is freed, and its addresses are none that slabs' memory has.
pub trait VirtSpace {
    /// Whether an address is in the space (`is_vmalloc_addr`), whatever is there.
    fn contains(&self, at: VirtAddr) -> bool;

    /// Allocates so many bytes (`__vmalloc_node`, by huge pages where they fit), zeroed with `__GFP_ZERO`, near a node if one is named. `caller` is who called
    /// kvmalloc: the area is called his, and so is a failure.
    fn alloc(
        &self,
        bytes: u64,
        gfp: Gfp,
        node: Option<NodeId>,
        caller: &'static Location<'static>,
    ) -> Option<VirtAddr>;

    /// Frees what begins there (`vfree`); `false` if nothing does.
    fn free(&self, at: VirtAddr) -> bool;

    /// Reads bytes; `false` if they are not mapped.
    fn read(&self, at: VirtAddr, into: &mut [u8]) -> bool;

    /// Writes bytes; `false` if they are not mapped. Of one aligned word an interrupt handler may ask, too.
    fn write(&self, at: VirtAddr, bytes: &[u8]) -> bool;
}

/// The kvmalloc family, for one task on one processor.
pub struct Kv<'r, 'c, 'k, 'a, I, M> {
    slabs: &'r Slabs<'k, 'a, I, M>,
    cx: &'r SlabContext<'c, 'k, 'a>,
    space: &'r dyn VirtSpace,
}

impl<I, M> fmt::Debug for Kv<'_, '_, '_, '_, I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kv").finish_non_exhaustive()
    }
}

impl<'r, 'c, 'k, 'a, I: Interrupts, M: SlabMemory> Kv<'r, 'c, 'k, 'a, I, M> {
    /// Over these slabs and that space.
    pub const fn new(
        slabs: &'r Slabs<'k, 'a, I, M>,
        cx: &'r SlabContext<'c, 'k, 'a>,
        space: &'r dyn VirtSpace,
    ) -> Self {
        Self { slabs, cx, space }
    }

    /// Allocates so many bytes (`kvmalloc`).
    ///
    /// # Errors
    /// As for [`Self::kvmalloc_node`].
    #[track_caller]
    pub fn kvmalloc(&self, bytes: usize, gfp: Gfp) -> Result<VirtAddr, SlabError> {
        self.kvmalloc_node(bytes, gfp, None)
    }

    /// The same, zeroed (`kvzalloc`).
    ///
    /// # Errors
    /// As for [`Self::kvmalloc_node`].
    #[track_caller]
    pub fn kvzalloc(&self, bytes: usize, gfp: Gfp) -> Result<VirtAddr, SlabError> {
        self.kvmalloc_node(bytes, gfp | Gfp::ZERO, None)
    }

    /// The same near a node, if one is named (`kvmalloc_node`).
    ///
    /// # Errors
    /// [`SlabError`] of kmalloc, where nothing else was tried; [`SlabError::TooLarge`] for more than 2 GiB less one byte; else
    /// [`SlabError::NoMemory`], of which the space knows more.
    #[track_caller]
    pub fn kvmalloc_node(&self, bytes: usize, gfp: Gfp, node: Option<NodeId>) -> Result<VirtAddr, SlabError> {
        let large = bytes as u64 > self.page();
        let mut first = gfp;
        if large {
            first = (first | Gfp::NOWARN) - Gfp::NOFAIL;
            if !first.contains(Gfp::RETRY_MAYFAIL) {
                first |= Gfp::NORETRY;
            }
        }
        let had = match node {
            Some(node) => self.slabs.kmalloc_node(self.cx, bytes, first, node),
            None => self.slabs.kmalloc(self.cx, bytes, first),
        };
        match had {
            // Whoever makes a pointer of it again may do so.
            Ok(memory) => Ok(VirtAddr::new(memory.as_ptr().expose_provenance() as u64)),
            Err(why) if !large || !gfp.may_block() => Err(why),
            Err(_) if bytes as u64 > MOST => Err(SlabError::TooLarge),
            Err(_) => {
                let at = self.space.alloc(bytes as u64, gfp, node, Location::caller());
                at.ok_or(SlabError::NoMemory)
            }
        }
    }

    /// Frees either kind (`kvfree`); address 0 is nothing. `false` if it is in the space and nothing begins there.
    ///
    /// # Safety
    /// It was allocated by this family over the same slabs and space, and nobody uses it from now on.
    #[track_caller]
    pub unsafe fn kvfree(&self, at: VirtAddr) -> bool {
        if at == VirtAddr::ZERO {
            return true;
        }
        if self.space.contains(at) {
            return self.space.free(at);
        }
        if let Some(memory) = self.memory(at) {
            // SAFETY: as the caller says; what is not the space's is kmalloc's.
            unsafe { self.slabs.kfree(self.cx, memory) };
        }
        true
    }

    /// Makes memory of `old` bytes larger (`kvrealloc`): the contents stay. Memory that is large enough stays where it is, and address 0 is
    /// allocated anew.
    ///
    /// # Errors
    /// As for [`Self::kvmalloc`]; the memory is as it was then. [`SlabError::Stale`] if what is in the space is not mapped.
    ///
    /// # Safety
    /// As for [`Self::kvfree`], if it succeeds, but for what it returns; there are `old` bytes, initialised.
    #[track_caller]
    pub unsafe fn kvrealloc(
        &self,
        at: VirtAddr,
        old: usize,
        bytes: usize,
        gfp: Gfp,
    ) -> Result<VirtAddr, SlabError> {
        if at != VirtAddr::ZERO && old >= bytes {
            return Ok(at);
        }
        let new = self.kvmalloc(bytes, gfp)?;
        let old = if at == VirtAddr::ZERO { 0 } else { old };
        // SAFETY: the old memory has so many bytes, as the caller says, and the new has more.
        if !unsafe { self.copy(at, new, old) } {
            // SAFETY: it was just allocated, and nobody knows it.
            unsafe { self.kvfree(new) };
            return Err(SlabError::Stale);
        }
        // SAFETY: as the caller says.
        unsafe { self.kvfree(at) };
        Ok(new)
    }

    /// Overwrites `bytes` bytes with zeroes, and frees it all (`kvfree_sensitive`).
    ///
    /// # Safety
    /// As for [`Self::kvfree`]; there are so many bytes.
    #[track_caller]
    pub unsafe fn kvfree_sensitive(&self, at: VirtAddr, bytes: usize) -> bool {
        if at == VirtAddr::ZERO {
            return true;
        }
        const ZEROES: [u8; 64] = [0; 64];
        let mut done = 0;
        while done < bytes {
            let part = (bytes - done).min(ZEROES.len());
            // SAFETY: as the caller says, these bytes are of the memory.
            unsafe { self.write(behind(at, done), &ZEROES[..part]) };
            done += part;
        }
        // SAFETY: as the caller says.
        unsafe { self.kvfree(at) }
    }

    const fn page(&self) -> u64 {
        self.slabs.slub.page_shift.bytes()
    }

    /// kmalloc's memory by its address.
    fn memory(&self, at: VirtAddr) -> Option<NonNull<u8>> {
        NonNull::new(self.slabs.memory.pointer(usize::try_from(at.get()).ok()?))
    }

    /// Reads bytes of either kind; `false` if they are not mapped.
    ///
    /// # Safety
    /// They lie inside memory of this family that the caller may read, and are initialised.
    pub unsafe fn read(&self, at: VirtAddr, into: &mut [u8]) -> bool {
        if self.space.contains(at) {
            return self.space.read(at, into);
        }
        let Some(memory) = self.memory(at) else { return false };
        // SAFETY: as the caller says; slabs' memory is not the caller's array.
        unsafe { memory.as_ptr().copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
        true
    }

    /// Writes bytes of either kind, and lets nobody leave that out; `false` if they are not mapped.
    ///
    /// # Safety
    /// They lie inside memory of this family that the caller may write.
    pub unsafe fn write(&self, at: VirtAddr, bytes: &[u8]) -> bool {
        if self.space.contains(at) {
            return self.space.write(at, bytes);
        }
        let Some(memory) = self.memory(at) else { return false };
        for (n, byte) in bytes.iter().enumerate() {
            // SAFETY: as the caller says.
            unsafe { memory.add(n).write_volatile(*byte) };
        }
        true
    }

    /// Copies from one memory to another; `false` if a part is not mapped.
    ///
    /// # Safety
    /// As for [`Self::read`] and [`Self::write`].
    unsafe fn copy(&self, from: VirtAddr, to: VirtAddr, bytes: usize) -> bool {
        let mut part = [0; 256];
        let mut done = 0;
        while done < bytes {
            let part = &mut part[..(bytes - done).min(256)];
            // SAFETY: as the caller says.
            let moved = unsafe { self.read(behind(from, done), part) && self.write(behind(to, done), part) };
            if !moved {
                return false;
            }
            done += part.len();
        }
        true
    }
}

/// The address of a byte of some memory.
const fn behind(at: VirtAddr, offset: usize) -> VirtAddr {
    VirtAddr::new(at.get() + offset as u64)
}
