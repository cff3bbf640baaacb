//! What is found to be wrong with objects, and who is told.

use super::Slabs;
use super::cache::{CacheName, Info};
use super::debug::{Site, Track};
use super::traces::Trace;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

/// Damage, or misuse. Addresses are those of objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// The object was free already.
    DoubleFree,
    /// No object begins at that address.
    InvalidPointer,
    /// The object belongs to another cache, to which it is given.
    WrongCache,
    /// What links a free object to the next leads nowhere: it was written after it was freed, or by a neighbour. The slab's other free objects are
    /// given up.
    FreePointer,
    /// There is no slab and no block of pages at that address.
    NotAllocated,
    /// Something was written before an object.
    LeftRedZone,
    /// Something was written behind an object.
    RightRedZone,
    /// Something was written behind what was asked for of kmalloc's memory.
    KmallocRedZone,
    /// A free object was written.
    Poison,
    /// Padding between objects was written.
    Padding,
    /// The rest of a slab, behind its last object, was written.
    SlabPadding,
    /// The record of an object's users was written.
    Track,
    /// What the page metadata says of the slab contradicts itself or the slab.
    SlabWord,
}

/// Bytes that are not what they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overwritten {
    /// The address of the first of them.
    pub first: usize,
    /// And of the last.
    pub last: usize,
    /// What the first is.
    pub found: u8,
    /// What it should be.
    pub expected: u8,
}

/// A finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// What it is.
    pub damage: Damage,
    /// The cache that the object belongs to, if one is known.
    pub cache: Option<CacheName>,
    /// The object's address.
    pub address: usize,
    /// The address of its slab; 0 if there is none.
    pub slab: usize,
    /// What was written over, as far as bytes tell.
    pub overwritten: Option<Overwritten>,
    /// Who took the object last, and who freed it before, where that is recorded.
    pub tracks: [Option<Track>; 2],
}

impl Report {
    pub(crate) const fn new(damage: Damage, cache: Option<CacheName>, address: usize) -> Self {
        Self { damage, cache, address, slab: 0, overwritten: None, tracks: [None; 2] }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.cache.as_ref().map_or("no cache", CacheName::as_str);
        let what = match self.damage {
            Damage::DoubleFree => "Object already free",
            Damage::InvalidPointer => "Invalid object pointer",
            Damage::WrongCache => "Object belongs to another cache",
            Damage::FreePointer => "Freechain corrupt",
            Damage::NotAllocated => "Address was not allocated",
            Damage::LeftRedZone => "Left Redzone overwritten",
            Damage::RightRedZone => "Right Redzone overwritten",
            Damage::KmallocRedZone => "kmalloc Redzone overwritten",
            Damage::Poison => "Poison overwritten",
            Damage::Padding => "Object padding overwritten",
            Damage::SlabPadding => "Padding overwritten",
            Damage::Track => "Object tracks overwritten",
            Damage::SlabWord => "Slab metadata corrupt",
        };
        write!(f, "BUG {name}: {what} {:#x}", self.address)?;
        if let Some(Overwritten { first, last, found, expected }) = self.overwritten {
            let offset = first.wrapping_sub(self.slab);
            write!(
                f,
                "\n{first:#x}-{last:#x} @offset={offset}. First byte {found:#x} instead of {expected:#x}"
            )?;
        }
        for (what, track) in ["Allocated in", "Freed in"].iter().zip(&self.tracks) {
            if let Some(track) = track {
                write!(f, "\n{what} {track}")?;
            }
        }
        Ok(())
    }
}

/// An operation on a traced cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traced {
    /// The cache.
    pub cache: CacheName,
    /// What was done.
    pub what: Trace,
    /// With which object.
    pub object: usize,
    /// Objects of its slab that are in use: with this one after it was allocated, and before it is freed.
    pub in_use: u32,
    /// The slab's first free object then, if there is any.
    pub first_free: Option<usize>,
    /// The place in the code, where Linux prints a stack trace; `None` if more places than are kept did such a thing.
    pub site: Option<Site>,
}

impl fmt::Display for Traced {
    /// Linux's line (`trace` in mm/slub), without what it prints behind it: the bytes of an object that is freed, and the stack.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cache, object, in_use, .. } = self;
        let what = match self.what {
            Trace::Alloc => "alloc",
            Trace::Free => "free",
        };
        write!(f, "TRACE {cache} {what} {object:#x} inuse={in_use} fp={:#x}", self.first_free.unwrap_or(0))
    }
}

/// Whoever is told of damage. What was found is contained: nothing wrong is followed, freed or handed out.
pub trait Reports: Sync {
    /// A finding; called with locks held, so it must not use slabs.
    fn report(&self, report: &Report);

    /// An operation on a cache with [`CacheFlags::TRACE`](crate::CacheFlags::TRACE); called as [`Self::report`] is.
    fn traced(&self, traced: &Traced) {
        let _ = traced;
    }

    /// Where the program called for the operation that is going on, if that is known better than by the line that called this library: it is
    /// what records of watched objects name. Asked once for each operation on a watched cache, without a lock; it must not use slabs.
    fn caller(&self) -> Option<Site> {
        None
    }
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reports for Silent {
    fn report(&self, _: &Report) {}
}

impl<I, M> Slabs<'_, '_, I, M> {
    pub(crate) fn report(&self, damage: Damage, info: Option<&Info>, address: usize) {
        self.found.fetch_add(1, Relaxed);
        self.reports.report(&Report::new(damage, info.map(|info| info.name), address));
    }
}
