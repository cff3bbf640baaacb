//! How SLAB lays a cache out: objects of a slab, its order, where its free list is, colours, and how many objects arrays hold.
//!
//! # A slab
//! ```text
//! colour | object | object | ... | object | rest | free list, if it is on the slab |
//! ```
//! The *free list* has an index for each object, of one byte where pages are small enough that no more than 255 objects are in one, else of two. It lies
//! ([`Management`]) in the object that is taken last, where that is large enough and nobody minds its contents; else in an object of kmalloc, where that
//! pays; else at the slab's end. The first object begins a number of cache lines behind the slab's start, a different one in each slab as far as the rest
//! allows (its *colour*), so that the same object of different slabs does not always fall into the same lines of a cache.
//!
//! # Its order
//! The least that leaves at most an eighth unused, but not above [`SlabConfig::max_order`] unless a single object needs that; the least that holds an
//! object where pages are to be reclaimable.
//!
//! Source: the behaviour of Linux 6.1's SLAB, and the `tunables` of its slabinfo.

#[cfg(test)]
mod tests;

use crate::objects::Tunables;
use crate::slub::{ObjectSpec, alignment, check_align};
use crate::{CacheFlags, GeometryError};
use pagewright_addr::{Order, PageShift};

/// Objects are at least so large where an index has one byte (SLAB_OBJ_MIN_SIZE).
const LEAST: u64 = 16;
/// A slab may have so many parts, of which one is left unused.
const PARTS: u64 = 8;

/// Where a slab's free list is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Management {
    /// At the slab's end.
    OnSlab,
    /// In an object of kmalloc (CFLGS_OFF_SLAB).
    OffSlab,
    /// In one of its free objects (CFLGS_OBJFREELIST_SLAB).
    InObject,
}

/// What a kernel's SLAB decides by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlabConfig {
    /// The size of a page.
    pub page_shift: PageShift,
    /// Bytes of a pointer: 4 or 8.
    pub word: u32,
    /// Bytes of a cache line.
    pub cache_line: u32,
    /// Processors that are possible.
    pub cpus: u32,
    /// `slab_max_order=`: 1 on machines with more than 32 MiB, else 0.
    pub max_order: Order,
    /// The page allocator's largest order.
    pub largest: Order,
}

/// Where everything lies. Lengths are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// An object as the user knows it.
    pub object_size: u64,
    /// From one object to the next.
    pub size: u64,
    /// The alignment of objects.
    pub align: u64,
    /// A slab is a block of this order.
    pub order: Order,
    /// Objects in a slab.
    pub objects: u32,
    /// Where the free list is.
    pub management: Management,
    /// Bytes of an index.
    pub index: u32,
    /// In how many ways slabs begin; at least 1.
    pub colours: u32,
    /// From one way to the next.
    pub colour_off: u64,
    /// What arrays hold. The cache begins with it.
    pub tunables: Tunables,
}

impl Layout {
    /// Bytes of the free list.
    pub const fn freelist(&self) -> u64 {
        self.objects as u64 * self.index as u64
    }
}

/// A slab as one kind of management allows it.
struct Attempt {
    order: Order,
    objects: u64,
    left: u64,
}

impl SlabConfig {
    /// A 64-bit kernel with 4 KiB pages, more than 32 MiB, and this many processors.
    pub const fn new(cpus: u32) -> Self {
        Self {
            page_shift: PageShift::SHIFT_4K,
            word: 8,
            cache_line: 64,
            cpus,
            max_order: Order::new(1).expect("below the limit"),
            largest: Order::new(10).expect("below the limit"),
        }
    }

    /// The largest order of a slab on a machine with so many bytes, unless the command line says it.
    pub const fn max_order_for(bytes: u64) -> Order {
        if bytes > 32 << 20 { Order::new(1).expect("below the limit") } else { Order::ZERO }
    }

    /// Objects of kmalloc as SLAB has them: they begin at cache lines, or at equal parts of them (ARCH_KMALLOC_FLAGS), so that 96 bytes take 128
    /// where lines have 64.
    ///
    /// Source: slabinfo of kernels with SLAB.
    pub const fn kmalloc(object: ObjectSpec) -> ObjectSpec {
        ObjectSpec { flags: object.flags.union(CacheFlags::HWCACHE_ALIGN), ..object }
    }

    /// Bytes of an index into a slab's objects.
    pub const fn index(&self) -> u32 {
        if self.page_shift.bytes() >> 8 <= LEAST { 1 } else { 2 }
    }

    /// Most objects of a slab.
    pub const fn most(&self) -> u64 {
        (1 << (8 * self.index())) - 1
    }

    /// Lays a cache out. `class` says how large the object of kmalloc is that so many bytes get, if any is to be had.
    ///
    /// # Errors
    /// [`GeometryError`] for objects without bytes, for objects that the largest block does not hold, and for an alignment that is none.
    pub fn layout(
        &self,
        spec: &ObjectSpec,
        class: impl Fn(u64) -> Option<u64>,
    ) -> Result<Layout, GeometryError> {
        let limit = self.page_shift.bytes() << self.largest.get();
        if spec.size == 0 {
            return Err(GeometryError::NoBytes);
        }
        check_align(spec.align, limit)?;
        let too_large = GeometryError::TooLarge { bytes: spec.size, limit };
        if spec.size > limit {
            return Err(too_large);
        }
        let align = alignment(spec, self.cache_line, self.word);
        let least = if self.index() == 1 { LEAST } else { 0 };
        let size = spec.size.next_multiple_of(self.word.into()).max(least).next_multiple_of(align);

        let (management, found) = self.managed(spec, size, class).ok_or(too_large)?;
        let colour_off = align.max(self.cache_line.into());
        let most = if management == Management::OffSlab { super::word::COLOURS_OFF } else { u16::MAX.into() };
        let tunables = self.tunables(size);
        Ok(Layout {
            object_size: spec.size,
            size,
            align,
            order: found.order,
            objects: found.objects as u32,
            management,
            index: self.index(),
            colours: (found.left / colour_off).clamp(1, most) as u32,
            colour_off,
            tunables,
        })
    }

    /// The management that a cache gets, and its slabs with that.
    fn managed(
        &self,
        spec: &ObjectSpec,
        size: u64,
        class: impl Fn(u64) -> Option<u64>,
    ) -> Option<(Management, Attempt)> {
        let index = u64::from(self.index());
        let attempt = |extra, worth: &dyn Fn(u64) -> bool| self.attempt(spec.flags, size + extra, worth);
        // Contents of free objects that matter.
        let kept = spec.ctor || spec.flags.contains(CacheFlags::TYPESAFE_BY_RCU);
        if !kept
            && let Some(slab) = attempt(0, &|_| true)
            && slab.objects * index <= spec.size
        {
            return Some((Management::InObject, slab));
        }
        let pays = |objects: u64| class(objects * index).is_some_and(|class| class <= spec.size / 2);
        if let Some(slab) = attempt(0, &pays)
            && slab.left < slab.objects * index
        {
            return Some((Management::OffSlab, slab));
        }
        Some((Management::OnSlab, attempt(index, &|_| true)?))
    }

    /// The slab of objects that take `bytes` bytes each; only orders count at which `worth` so many objects.
    fn attempt(&self, flags: CacheFlags, bytes: u64, worth: &dyn Fn(u64) -> bool) -> Option<Attempt> {
        let orders = (0..=self.largest.get()).filter_map(Order::new);
        let slabs = orders.map(|order| {
            let slab = self.page_shift.bytes() << order.get();
            (slab, Attempt { order, objects: slab / bytes, left: slab % bytes })
        });
        let mut best = None;
        for (slab, found) in slabs.skip_while(|(_, found)| found.objects == 0) {
            if found.objects > self.most() {
                break;
            }
            if !worth(found.objects) {
                continue;
            }
            let last = flags.contains(CacheFlags::RECLAIM_ACCOUNT)
                || found.order >= self.max_order
                || found.left * PARTS <= slab;
            best = Some(found);
            if last {
                break;
            }
        }
        best
    }

    /// What arrays hold of objects that are `size` bytes apart (`enable_cpucache`): a processor's, how many move at a time, and the shared one.
    pub const fn tunables(&self, size: u64) -> Tunables {
        let page = self.page_shift.bytes();
        let limit: u32 = match size {
            _ if size > 128 << 10 => 1,
            _ if size > page => 8,
            1025.. => 24,
            257.. => 54,
            _ => 120,
        };
        let shared = if size <= page && self.cpus > 1 { 8 } else { 0 };
        Tunables { limit, batch: limit.div_ceil(2), shared }
    }
}
