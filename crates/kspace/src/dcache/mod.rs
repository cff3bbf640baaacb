//! Data caches that have to be told: which of them alias, where shared mappings may lie, and what is flushed when.
//!
//! The same byte seen at two addresses can be in a cache twice, if lines are found by virtual addresses ([`CacheShape::aliases`]). Then a store
//! through one address is not seen through the other until the right lines were written back and forgotten. Linux's rules for that, as arm has
//! them, are here: [`colour`] places shared mappings so that their lines are shared as well, and [`Dcache`] flushes: a page that the kernel writes and
//! user code reads (`flush_dcache_page`, put off until somebody maps it), and pages that are copied or zeroed for user code, through windows whose
//! colour is that of the user's address. With virtual tags, what one address space maps twice is not cached there ([`Dcache::make_coherent`]), and a kmap's
//! lines go before it ends ([`FlushKmaps`]). The kernel's own aliases are [`Behaviour`]'s: areas that vmalloc maps and unmaps
//! ([`crate::vmalloc::OnCached`]), and what passes through them.
//!
//! What the operations do is the machine's ([`pagewright_platform::DataCache`]); the simulator has caches with contents, in which each flush that is
//! left out shows.

mod coherent;
pub mod colour;
mod copy;
mod flush;
mod high;
mod kmaps;
mod shape;
mod vmap;

pub use flush::{CacheCpu, CachedPage, FileMapping};
pub use high::{HighCpu, HighWindow};
pub use kmaps::FlushKmaps;
pub use shape::{CacheKind, CacheShape, CacheShapeError};

use crate::highmem::{KmapLocalError, Linear};
use crate::layout::{Kind, Layout};
use core::fmt;
use pagewright_addr::{PhysAddr, VirtRange};
use pagewright_pagetable::{Format, LockError, SlotError, Slots, TableMemory, UnmapError};

/// What of a cache decides about flushes (`cacheid`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Behaviour {
    /// Tags are virtual: any two addresses alias.
    Vivt,
    /// Tags are physical, and a way is larger than a page: addresses of different colours alias.
    ViptAliasing,
    /// Nothing aliases.
    NonAliasing,
}

impl Behaviour {
    /// That of a cache with pages of this size.
    pub const fn of(shape: &CacheShape, page_bytes: u64) -> Self {
        match shape.kind {
            CacheKind::Vivt => Self::Vivt,
            _ if shape.aliases(page_bytes) => Self::ViptAliasing,
            _ => Self::NonAliasing,
        }
    }
}

/// Why a page was not flushed, copied or zeroed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DcacheError<E> {
    /// The page is not in the linear map, and the CPU brings no kmaps or its cache has colours, with which there is no high memory.
    #[error("the page at {0:#x} has no address in the linear map")]
    NoAddress(PhysAddr),
    /// It gets no local kmap.
    #[error("{0}")]
    Kmap(KmapLocalError),
    /// A window cannot be mapped to it.
    #[error("{0}")]
    Window(SlotError),
    /// The access failed.
    #[error("{0}")]
    Access(E),
    /// Somebody else changes the page's mapping.
    #[error("{0}")]
    Locked(LockError),
    /// A mapping cannot be changed.
    #[error("{0}")]
    Tables(UnmapError),
}

/// The rules for one kernel's cache.
pub struct Dcache<'t, F: Format, M: TableMemory> {
    behaviour: Behaviour,
    linear: Linear,
    windows: Option<Windows<'t, F, M>>,
}

/// The pages at the top of addresses through which single pages of user code's colour are reached. They are one CPU's at a time: whoever uses
/// them holds a lock (`v6_lock`, `minicache_lock`) and stays where it is.
enum Windows<'t, F: Format, M: TableMemory> {
    /// From FLUSH_ALIAS_START on: to flush, to copy from and to copy to, a page for each of the colours.
    Aliasing(Slots<'t, F, M>),
    /// COPYPAGE_MINICACHE.
    Minicache(Slots<'t, F, M>),
}

impl<F: Format, M: TableMemory> fmt::Debug for Dcache<'_, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dcache").field("behaviour", &self.behaviour).finish_non_exhaustive()
    }
}

impl<'t, F: Format, M: TableMemory> Dcache<'t, F, M> {
    /// The addresses of a layout's windows, for [`Self::new`]; `None` if it has none.
    pub fn windows(layout: &Layout) -> Option<VirtRange> {
        let hull = |first: VirtRange, last: VirtRange| {
            VirtRange::from_len(first.start, last.last().get() - first.start.get() + 1)
        };
        let aliasing = layout.get(Kind::FlushAlias).zip(layout.get(Kind::CopyPageTo));
        aliasing.map(|(first, last)| hull(first, last)).or(layout.get(Kind::CopyPageMinicache))
    }

    /// The rules for a cache that behaves like that. `windows` are the slots of [`Self::windows`]; an aliasing VIPT cache cannot do without.
    pub fn new(behaviour: Behaviour, linear: Linear, windows: Option<Slots<'t, F, M>>) -> Option<Self> {
        let windows = match (behaviour, windows) {
            (Behaviour::ViptAliasing, Some(slots)) if u64::from(slots.count()) == 3 * colour::COLOURS => {
                Some(Windows::Aliasing(slots))
            }
            (Behaviour::ViptAliasing, _) => return None,
            (Behaviour::Vivt, Some(slots)) => Some(Windows::Minicache(slots)),
            _ => None,
        };
        Some(Self { behaviour, linear, windows })
    }

    /// How the cache behaves.
    pub const fn behaviour(&self) -> Behaviour {
        self.behaviour
    }
}
