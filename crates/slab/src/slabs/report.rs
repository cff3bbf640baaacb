//! What is found to be wrong with objects, and who is told.

use super::cache::CacheName;
use core::fmt;

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
        };
        write!(f, "BUG {name}: {what} {:#x}", self.address)
    }
}

/// Whoever is told of damage. What was found is contained: nothing wrong is followed, freed or handed out.
pub trait Reports: Sync {
    /// A finding; called with locks held, so it must not use slabs.
    fn report(&self, report: &Report);
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reports for Silent {
    fn report(&self, _: &Report) {}
}
