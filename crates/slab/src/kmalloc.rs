//! The size classes of `kmalloc`: which caches there are, what they are called, which of them serves a size.
//!
//! Classes are powers of two, from the least that the architecture's devices can be given up to two pages; between 64 and 256 there are
//! two more, 96 and 192, where the least size leaves room for them. Each exists in several kinds. Larger sizes come from the page
//! allocator.
//!
//! Source: the caches of captured machines (slabinfo, and the attributes of /sys/kernel/slab).

#[cfg(test)]
mod tests;

use crate::CacheFlags;
use crate::slub::ObjectSpec;
use core::fmt;
use pagewright_addr::PageShift;

/// For whom memory is (`enum kmalloc_cache_type`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum KmallocKind {
    /// The kernel itself.
    Normal,
    /// A task's memory cgroup pays (`__GFP_ACCOUNT`).
    Accounted,
    /// Can be given back on demand (`__GFP_RECLAIMABLE`).
    Reclaimable,
    /// Devices that reach ZONE_DMA only (`__GFP_DMA`).
    Dma,
}

impl KmallocKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Accounted, Self::Reclaimable, Self::Dma];

    /// What stands before the size in a cache's name.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Normal => "kmalloc-",
            Self::Accounted => "kmalloc-cg-",
            Self::Reclaimable => "kmalloc-rcl-",
            Self::Dma => "dma-kmalloc-",
        }
    }

    /// The flags of such a cache, without KMALLOC, which all of them have.
    pub const fn flags(self) -> CacheFlags {
        match self {
            Self::Normal => CacheFlags::empty(),
            Self::Accounted => CacheFlags::ACCOUNT,
            Self::Reclaimable => CacheFlags::RECLAIM_ACCOUNT,
            Self::Dma => CacheFlags::CACHE_DMA,
        }
    }
}

/// Which classes a kernel has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Classes {
    /// The size of a page.
    pub page_shift: PageShift,
    /// The least size in bytes, a power of two (KMALLOC_MIN_SIZE): 8 with SLUB and 32 with SLAB, or more where a device's buffer must not
    /// share a cache line: 64 on arm, 128 on arm64.
    pub min_size: u32,
    /// The least alignment of every object (ARCH_KMALLOC_MINALIGN): 8, or the least size where devices demand that.
    pub min_align: u32,
    /// Whether there are caches that memory cgroups pay for (CONFIG_MEMCG_KMEM).
    pub accounted: bool,
    /// Whether there is ZONE_DMA.
    pub dma: bool,
}

/// The classes that are no powers of two.
const BETWEEN: [u32; 2] = [96, 192];

impl Classes {
    /// The largest size that a cache serves (KMALLOC_MAX_CACHE_SIZE): two pages.
    pub const fn max_size(&self) -> u32 {
        2 << self.page_shift.get()
    }

    /// The sizes of all classes in bytes, ascending.
    pub fn sizes(&self) -> impl Iterator<Item = u32> + use<> {
        let classes = *self;
        (self.min_size.max(1).ilog2()..=self.max_size().ilog2()).flat_map(move |shift| {
            let size = 1u32 << shift;
            let half = size / 2;
            // What lies between the last power of two and this one.
            let between = BETWEEN.into_iter().find(|&b| half < b && b < size && classes.has_between(b));
            between.into_iter().chain([size])
        })
    }

    /// The kinds and sizes of all caches, in the order in which Linux makes them: kind by kind. slabinfo has them the other way round.
    ///
    /// Source: slabinfo of captured machines.
    pub fn caches(&self) -> impl Iterator<Item = (KmallocKind, u32)> + use<> {
        let classes = *self;
        let kinds = KmallocKind::ALL.into_iter().filter(move |&kind| classes.has(kind));
        kinds.flat_map(move |kind| classes.sizes().map(move |size| (kind, size)))
    }

    /// Whether there are caches of a kind.
    pub const fn has(&self, kind: KmallocKind) -> bool {
        match kind {
            KmallocKind::Normal | KmallocKind::Reclaimable => true,
            KmallocKind::Accounted => self.accounted,
            KmallocKind::Dma => self.dma,
        }
    }

    /// The class that serves a size; `None` for no bytes, and for more than [`Self::max_size`].
    pub fn class_of(&self, bytes: u64) -> Option<u32> {
        if bytes == 0 || bytes > self.max_size().into() {
            return None;
        }
        let bytes = bytes as u32;
        let power = bytes.next_power_of_two().max(self.min_size);
        let between = BETWEEN.into_iter().find(|&b| power / 2 < bytes && bytes <= b && b < power);
        Some(between.filter(|&b| self.has_between(b)).unwrap_or(power))
    }

    /// What the cache of a class is made of: aligned to its size if that is a power of two.
    pub fn spec(&self, size: u32, kind: KmallocKind) -> ObjectSpec {
        let natural = if size.is_power_of_two() { size } else { 0 };
        ObjectSpec {
            size: size.into(),
            align: natural.max(self.min_align).into(),
            flags: kind.flags() | CacheFlags::KMALLOC,
            ctor: false,
        }
    }

    /// A class that is no power of two exists where the least size is at most a third of it: otherwise it would be no
    /// multiple of the alignment that devices demand.
    const fn has_between(&self, size: u32) -> bool {
        self.min_size <= size / 3
    }
}

/// The name of a class's cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name(pub KmallocKind, pub u32);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kind, size) = *self;
        let prefix = kind.prefix();
        match size {
            _ if size >= 1 << 20 && size.is_multiple_of(1 << 20) => write!(f, "{prefix}{}M", size >> 20),
            _ if size >= 1 << 10 && size.is_multiple_of(1 << 10) => write!(f, "{prefix}{}k", size >> 10),
            _ => write!(f, "{prefix}{size}"),
        }
    }
}
