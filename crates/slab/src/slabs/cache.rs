//! A cache as all processors see it.

use super::knobs::Knobs;
use super::places::Places;
use super::tenancy::Tenancy;
use crate::CacheFlags;
use crate::slub::{Geometry, ObjectSpec};
use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use pagewright_page::OwnerHandle;
use pagewright_zone::Gfp;

/// Which cache: a position in the table of caches and its generation, so that the handle of a destroyed cache is known to be stale.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct CacheId(pub(crate) OwnerHandle);

impl CacheId {
    /// No cache's.
    pub(crate) const NONE: Self = Self(OwnerHandle::NONE);

    /// Most places that a table of caches has: the rest of a handle's position tells a node where slabs are concerned.
    pub(crate) const PLACES: u32 = 1 << Self::NODE_SHIFT;
    const NODE_SHIFT: u32 = 16;

    #[inline(always)]
    pub(crate) const fn index(self) -> usize {
        (self.0.index() % Self::PLACES) as usize
    }

    /// The owner of the cache's slabs on a node. Of nodes that have no number there (more than 64) it is that of the first.
    pub(crate) fn home(self, node: usize) -> OwnerHandle {
        let index = self.0.index() as usize | node << Self::NODE_SHIFT;
        u32::try_from(index)
            .ok()
            .and_then(|index| OwnerHandle::new(index, self.0.generation()))
            .unwrap_or(self.0)
    }

    /// The node of a slab's owner.
    pub(crate) const fn node_of_home(owner: OwnerHandle) -> usize {
        (owner.index() / Self::PLACES) as usize
    }

    /// The cache of a slab's owner.
    pub(crate) fn of_home(owner: OwnerHandle) -> Self {
        OwnerHandle::new(owner.index() % Self::PLACES, owner.generation()).map_or(Self::NONE, Self)
    }

    /// The place of the cache whose slabs' frames are marked so, on whichever node; any place if the mark is none.
    #[inline(always)]
    pub(crate) const fn index_of_mark(mark: u32) -> usize {
        (mark % Self::PLACES) as usize
    }

    /// The handle as a number, never 0, for callers who can keep nothing else (C).
    pub const fn to_raw(self) -> u32 {
        self.0.index() | self.0.generation() << OwnerHandle::INDEX_BITS
    }

    /// The handle of a number. One that never was a cache's is as stale as one of a destroyed cache. `None` for what is no handle, as no table has that many
    /// places.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        let index = raw & ((1 << OwnerHandle::INDEX_BITS) - 1);
        match OwnerHandle::new(index, raw >> OwnerHandle::INDEX_BITS) {
            Some(handle) if index < Self::PLACES => Some(Self(handle)),
            _ => None,
        }
    }
}

/// Fills a new object once, when its slab is made (`ctor`): the object keeps that while it is free.
///
/// # Safety
/// It is called with the address of an object of the cache's size and alignment, writes inside it only, and calls no allocator.
pub type Ctor = unsafe extern "C" fn(NonNull<u8>);

/// Most bytes of a cache's name.
pub const NAME_BYTES: usize = 32;

/// A cache's name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CacheName {
    bytes: [u8; NAME_BYTES],
    len: u8,
}

impl CacheName {
    /// The name, unless it is empty or longer than [`NAME_BYTES`].
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; NAME_BYTES];
        bytes.get_mut(..name.len()).filter(|room| !room.is_empty())?.copy_from_slice(name.as_bytes());
        Some(Self { bytes, len: name.len() as u8 })
    }

    /// Makes it empty, to be written to.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("")
    }
}

impl fmt::Write for CacheName {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let at = usize::from(self.len);
        let room = self.bytes.get_mut(at..at + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len() as u8;
        Ok(())
    }
}

impl fmt::Debug for CacheName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for CacheName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a cache is asked to be (`kmem_cache_create_usercopy`).
#[derive(Clone, Copy, Debug)]
pub struct CacheSpec<'n> {
    /// Its name.
    pub name: &'n str,
    /// Its objects.
    pub object: ObjectSpec,
    /// What fills new objects.
    pub ctor: Option<Ctor>,
    /// Which bytes of an object user space may be given, and may give: first and length.
    pub usercopy: (u32, u32),
}

impl<'n> CacheSpec<'n> {
    /// Objects of these bytes and alignment, with these flags; nothing of them may be copied to users (`kmem_cache_create`).
    pub const fn new(name: &'n str, size: u64, align: u64, flags: CacheFlags) -> Self {
        let object = ObjectSpec { size, align, flags, ctor: false };
        Self { name, object, ctor: None, usercopy: (0, 0) }
    }

    /// The same with bytes that may be copied to users: the first, and how many. Such caches are merged with no other.
    #[must_use]
    pub const fn with_usercopy(self, first: u32, len: u32) -> Self {
        Self { usercopy: (first, len), ..self }
    }

    /// The same with a constructor.
    ///
    /// # Safety
    /// The constructor does what [`Ctor`] says.
    #[must_use]
    pub const unsafe fn with_ctor(self, ctor: Ctor) -> Self {
        let object = ObjectSpec { ctor: true, ..self.object };
        Self { ctor: Some(ctor), object, ..self }
    }
}

/// A SLUB cache's figures, which do not change while it exists but for those that are atomic.
#[derive(Debug)]
pub struct Info {
    pub(crate) name: CacheName,
    pub(crate) geometry: Geometry,
    pub(crate) flags: CacheFlags,
    pub(crate) ctor: Option<Ctor>,
    pub(crate) usercopy: (u32, u32),
    /// How much is kept near processors and nodes.
    pub(crate) knobs: Knobs,
    pub(crate) places: Places,
    /// What every page allocation for it asks for.
    pub(crate) gfp: Gfp,
    /// Bytes of an object that a user may use: grows when a cache is merged with it.
    pub(crate) object_size: AtomicUsize,
    /// How many were created that share it.
    pub(crate) users: AtomicU32,
}

impl Info {
    pub(crate) fn new(spec: &CacheSpec<'_>, name: CacheName, geometry: Geometry, secret: usize) -> Self {
        let flags = spec.object.flags;
        let mut gfp = Gfp::empty();
        gfp.set(Gfp::DMA, flags.contains(CacheFlags::CACHE_DMA));
        gfp.set(Gfp::DMA32, flags.contains(CacheFlags::CACHE_DMA32));
        gfp.set(Gfp::RECLAIMABLE, flags.contains(CacheFlags::RECLAIM_ACCOUNT));
        Self {
            name,
            flags,
            ctor: spec.ctor,
            usercopy: spec.usercopy,
            knobs: Knobs::new(&geometry, flags),
            places: Places::new(&geometry, secret),
            gfp,
            object_size: AtomicUsize::new(geometry.object_size as usize),
            users: AtomicU32::new(1),
            geometry,
        }
    }

    /// Bits that no object's address has: slabs begin at multiples of their size, objects at multiples of theirs from there.
    pub(crate) fn misaligned(&self) -> usize {
        // A slab has at least a page, of 4 KiB or more.
        let steps = (self.geometry.size as usize).trailing_zeros().min(12);
        (1 << steps) - 1
    }

    /// How many objects a slab of an order has.
    pub(crate) fn objects(&self, order: pagewright_addr::Order) -> u32 {
        if order == self.geometry.order { self.geometry.objects } else { self.geometry.least.1 }
    }
}

/// A place in the table of caches; `T` is what its design keeps of a cache.
///
/// # Invariants
/// While somebody lives here there is a `T`. It is written before he moves in, and no more until everybody who might read it is gone
/// (`Slabs::destroy`'s contract, and what `Tenancy` says of holders).
pub struct Slot<T = Info> {
    /// Which cache lives here, and who keeps it.
    pub(crate) tenancy: Tenancy,
    /// The last generation that was given out.
    generation: AtomicU32,
    /// How many slabs wait for readers.
    pub(crate) deferred: AtomicU32,
    info: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: `info` is written by `open` alone, whose caller holds the registry's lock and knows that nobody reads; readers come after
// it was published.
unsafe impl<T: Send + Sync> Sync for Slot<T> {}

impl<T> Slot<T> {
    /// A free place.
    pub const fn new() -> Self {
        Self {
            tenancy: Tenancy::new(),
            generation: AtomicU32::new(0),
            deferred: AtomicU32::new(0),
            info: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Whether nobody lives here.
    pub(crate) fn is_free(&self) -> bool {
        self.living() == 0
    }

    /// The cache at a place of a table.
    pub(crate) fn living_at(slots: &[Self], at: usize) -> Option<CacheId> {
        OwnerHandle::new(at as u32, slots.get(at)?.living()).map(CacheId)
    }

    /// The generation that lives here; 0 for none.
    #[inline(always)]
    pub(crate) fn living(&self) -> u32 {
        self.tenancy.living()
    }

    /// A cache moves in, under the registry's lock, in a place that is free.
    pub(crate) fn open(&self, info: T, generation: u32) {
        assert!(self.is_free(), "a cache cannot be made in a place where one is");
        // SAFETY: the place is free, so nobody reads it (the invariant), and the lock keeps other writers out.
        unsafe { (*self.info.get()).write(info) };
        self.generation.store(generation, Relaxed);
        self.tenancy.move_in(generation);
    }

    /// A cache moves into the first free place of a table, under the registry's lock.
    pub(crate) fn open_first(slots: &[Self], info: T) -> Result<CacheId, super::CreateError> {
        let full = super::CreateError::NoPlace { places: slots.len() };
        let at = slots.iter().position(Self::is_free).ok_or(full)?;
        let slot = slots.get(at).ok_or(full)?;
        let generation = slot.generation.load(Relaxed) % OwnerHandle::MAX_GENERATION + 1;
        let id =
            OwnerHandle::new(at as u32, generation).filter(|id| id.index() < CacheId::PLACES).ok_or(full)?;
        slot.open(info, generation);
        Ok(CacheId(id))
    }

    /// The cache of that generation.
    pub(crate) fn get(&self, id: CacheId) -> Option<&T> {
        if id == CacheId::NONE || self.living() != id.0.generation() {
            return None;
        }
        // SAFETY: there is a cache, so its info was written before (acquired with who lives here), and nobody writes it while it
        // may be read (the invariant).
        Some(unsafe { (*self.info.get()).assume_init_ref() })
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("living", &self.living()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
