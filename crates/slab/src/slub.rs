//! How SLUB lays a cache out: an object's bytes, a slab's order, what is kept near.
//!
//! # An object
//! ```text
//! [left red zone] object, to a whole word [its red zone] [free pointer] [two tracks] [size asked for] [right red zone] padding
//! ```
//! Without debugging there is the object alone, and the free pointer lies in the middle of a free one, where overruns of a neighbour
//! reach it last.
//!
//! # A slab
//! A slab shall hold so many objects that processors come to the node's lock seldom (four for each doubling of processors, and four
//! more), waste little (a sixteenth; else an eighth, else a quarter), and have an order that fragmented memory still has
//! (at most 3). Where all three cannot be had, fewer objects do; where not even one object fits order 3, the order
//! grows.
//!
//! Source: Documentation/mm/slub.rst for the parameters, and the geometry of 5,000 caches on captured machines for the rules.

#[cfg(test)]
mod tests;

use crate::{CacheFlags, GeometryError};
use core::fmt;
use pagewright_addr::{Order, PageShift};

/// Objects in a slab can be counted in 15 bits (MAX_OBJS_PER_PAGE).
const MOST_OBJECTS: u64 = 32_767;
/// The least alignment of objects (ARCH_SLAB_MINALIGN): that of the longest integer in C, with words of either size. All object sizes in slabinfo of
/// 32-bit machines are multiples of it.
pub(crate) const MINALIGN: u64 = 8;
/// Objects begin below this distance from their slab's start, which is as far as the free lists of this library's slabs reach. Without a
/// parameter no slab of several objects is as large.
pub(crate) const REACH: u64 = (32 << 20) - MINALIGN;
/// Fractions of a slab that may be wasted, best first.
const FRACTIONS: [u64; 3] = [16, 8, 4];
/// PAGE_ALLOC_COSTLY_ORDER.
const COSTLY: Order = Order::new(3).expect("below the limit");
/// The largest order of 6.1's page allocator, unless an architecture is configured otherwise.
const LARGEST: Order = Order::new(10).expect("below the limit");
/// Least and most slabs that a node keeps though they are empty (MIN_PARTIAL, MAX_PARTIAL).
const PARTIAL: (u32, u32) = (5, 10);

/// What a kernel's SLUB decides by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slub {
    /// The size of a page.
    pub page_shift: PageShift,
    /// Bytes of a pointer: 4 or 8.
    pub word: u32,
    /// Processors that were present when the cache was made; if that was the first one alone, all that are possible.
    pub cpus: u32,
    /// Bytes of a cache line.
    pub cache_line: u32,
    /// `slub_min_order=`: smaller slabs are not made.
    pub min_order: Order,
    /// `slub_max_order=`: larger slabs are made only where an object needs them (PAGE_ALLOC_COSTLY_ORDER).
    pub max_order: Order,
    /// `slub_min_objects=`: so many objects a slab shall have; 0 to go by the processors.
    pub min_objects: u32,
    /// The page allocator's largest order (MAX_ORDER - 1 of 6.1).
    pub largest: Order,
    /// Whether processors keep lists of partial slabs (CONFIG_SLUB_CPU_PARTIAL).
    pub cpu_partial: bool,
}

/// What a cache's creator says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectSpec {
    /// Bytes of an object, as the user knows it.
    pub size: u64,
    /// The least alignment in bytes, a power of two, or 0.
    pub align: u64,
    /// What else.
    pub flags: CacheFlags,
    /// Whether a constructor fills new objects: they must keep their contents while they are free.
    pub ctor: bool,
}

/// Where everything lies. Lengths are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// An object as the user knows it.
    pub object_size: u64,
    /// From one object to the next.
    pub size: u64,
    /// The alignment of objects.
    pub align: u64,
    /// What a user's object takes, its red zone included: where metadata begins.
    pub inuse: u64,
    /// Where a free object holds the pointer to the next one.
    pub free_pointer: u64,
    /// What lies before each object to tell overruns downwards.
    pub left_red_zone: u64,
    /// A slab is a block of this order.
    pub order: Order,
    /// Objects in a slab.
    pub objects: u32,
    /// The order and objects where no such block is free: as small as one object allows.
    pub least: (Order, u32),
    /// Free objects that a processor may keep in partial slabs.
    pub cpu_partial: u32,
    /// Partial slabs that a processor keeps for that, half full as they are on average.
    pub cpu_partial_slabs: u32,
    /// Empty slabs that a node keeps.
    pub min_partial: u32,
}

impl ObjectSpec {
    /// Objects of `size` bytes and nothing else.
    pub const fn new(size: u64) -> Self {
        Self { size, align: 0, flags: CacheFlags::empty(), ctor: false }
    }
}

impl Slub {
    /// A 64-bit kernel with 4 KiB pages and this many processors, as it is without parameters.
    pub const fn new(cpus: u32) -> Self {
        Self {
            page_shift: PageShift::SHIFT_4K,
            word: 8,
            cpus,
            cache_line: 64,
            min_order: Order::ZERO,
            max_order: COSTLY,
            min_objects: 0,
            largest: LARGEST,
            cpu_partial: true,
        }
    }

    /// Lays a cache out (`calculate_sizes`).
    ///
    /// # Errors
    /// [`GeometryError`] for objects without bytes, for objects that the largest block does not hold, for an alignment that is
    /// none, and for slabs of several objects beyond 32 MiB, which only `slub_min_order=` asks for.
    pub fn geometry(&self, spec: &ObjectSpec) -> Result<Geometry, GeometryError> {
        let limit = self.bytes(self.largest);
        if spec.size == 0 {
            return Err(GeometryError::NoBytes);
        }
        check_align(spec.align, limit)?;
        if spec.size > limit {
            return Err(GeometryError::TooLarge { bytes: spec.size, limit });
        }
        let object = self.object(spec);
        let order = self.order(object.size).ok_or(GeometryError::TooLarge { bytes: object.size, limit })?;
        let objects = self.objects(order, object.size) as u32;
        if object.left_red_zone + u64::from(objects.saturating_sub(1)) * object.size >= REACH {
            return Err(GeometryError::SlabTooLarge { bytes: self.bytes(order), limit: REACH });
        }
        let small = order_for(object.size, self.page_shift).unwrap_or(order).min(order);
        let keeps = self.cpu_partial && !spec.flags.intersects(CacheFlags::WATCHED);
        let cpu_partial = if keeps { near(object.size, self.page_shift) } else { 0 };
        Ok(Geometry {
            order,
            objects,
            least: (small, self.objects(small, object.size) as u32),
            cpu_partial,
            cpu_partial_slabs: (2 * cpu_partial).div_ceil(objects),
            min_partial: (object.size.ilog2() / 2).clamp(PARTIAL.0, PARTIAL.1),
            ..object
        })
    }

    /// Most objects that a processor keeps of a cache.
    pub(crate) const fn rooms(&self) -> u32 {
        near(1, self.page_shift)
    }

    /// The alignment that a cache gets (`calculate_alignment`): what was asked for, 8 bytes at least, a whole word, and with HWCACHE_ALIGN the
    /// smallest part of a cache line that holds an object.
    pub fn alignment(&self, spec: &ObjectSpec) -> u64 {
        alignment(spec, self.cache_line, self.word)
    }

    /// What an object is made of; what concerns slabs is left empty.
    fn object(&self, spec: &ObjectSpec) -> Geometry {
        let flags = spec.flags;
        let word = u64::from(self.word);
        let align = self.alignment(spec);
        let mut size = spec.size.next_multiple_of(word);
        if flags.contains(CacheFlags::RED_ZONE) && size == spec.size {
            // Nothing is left of the last word: the red zone gets one.
            size += word;
        }
        let inuse = size;
        // The contents of a free object are somebody's, or too short.
        let outside = flags.intersects(CacheFlags::POISON | CacheFlags::TYPESAFE_BY_RCU)
            || spec.ctor
            || flags.contains(CacheFlags::RED_ZONE) && spec.size < word;
        let free_pointer = if outside { size } else { spec.size / 2 / word * word };
        size += if outside { word } else { 0 };
        if flags.contains(CacheFlags::STORE_USER) {
            size += 2 * self.track();
            if flags.contains(CacheFlags::KMALLOC) {
                size += 4;
            }
        }
        let left_red_zone =
            if flags.contains(CacheFlags::RED_ZONE) { word.next_multiple_of(align) } else { 0 };
        if left_red_zone > 0 {
            size += word + left_red_zone;
        }
        Geometry {
            object_size: spec.size,
            size: size.next_multiple_of(align),
            align,
            inuse,
            free_pointer,
            left_red_zone,
            order: Order::ZERO,
            objects: 0,
            least: (Order::ZERO, 0),
            cpu_partial: 0,
            cpu_partial_slabs: 0,
            min_partial: 0,
        }
    }

    /// Bytes of a record of who took or freed an object (`struct track`): an address, a handle of its stack, a processor, a process
    /// and a time.
    const fn track(&self) -> u64 {
        let word = self.word as u64;
        (word + 3 * 4).next_multiple_of(word) + word
    }

    /// The order of a slab of objects that are `size` bytes apart (`calculate_order`); `None` if the largest block holds none.
    fn order(&self, size: u64) -> Option<Order> {
        let wanted = match self.min_objects {
            0 => 4 * (u64::from(u32::BITS - self.cpus.leading_zeros()) + 1),
            asked => asked.into(),
        };
        let most = self.objects(self.max_order, size);
        (2..=wanted.min(most))
            .rev()
            .flat_map(|objects| FRACTIONS.map(|fraction| (objects, fraction)))
            .find_map(|(objects, fraction)| self.fits(size, objects, self.max_order, fraction))
            // One object, whatever is left over.
            .or_else(|| self.fits(size, 1, self.max_order, 1))
            .or_else(|| self.fits(size, 1, self.largest, 1))
    }

    /// The smallest order up to `most` that holds `objects` and wastes at most a part of it.
    fn fits(&self, size: u64, objects: u64, most: Order, fraction: u64) -> Option<Order> {
        if self.objects(self.min_order, size) > MOST_OBJECTS {
            // More could not be counted.
            let above = order_for(size * MOST_OBJECTS, self.page_shift)?.get();
            return Order::new(above.saturating_sub(1));
        }
        let first = self.min_order.max(order_for(objects * size, self.page_shift)?);
        (first.get()..=most.get()).filter_map(Order::new).find(|&order| {
            let slab = self.bytes(order);
            slab % size <= slab / fraction
        })
    }

    /// The order that so many bytes need (`get_order`).
    pub(crate) const fn order_for(&self, bytes: u64) -> Option<Order> {
        order_for(bytes, self.page_shift)
    }

    pub(crate) const fn bytes(&self, order: Order) -> u64 {
        self.page_shift.bytes() << order.get()
    }

    const fn objects(&self, order: Order, size: u64) -> u64 {
        self.bytes(order) / size
    }
}

/// The smallest order that holds so many bytes (`get_order`), if there is one.
pub(crate) const fn order_for(bytes: u64, page_shift: PageShift) -> Option<Order> {
    Order::new(page_shift.pages_for(bytes).next_power_of_two().trailing_zeros() as u8)
}

/// Whether an alignment can be asked for where the largest block has `limit` bytes; 0 is no wish.
pub(crate) const fn check_align(bytes: u64, limit: u64) -> Result<(), GeometryError> {
    match bytes {
        0 => Ok(()),
        _ if !bytes.is_power_of_two() => Err(GeometryError::Alignment(bytes)),
        _ if bytes > limit => Err(GeometryError::AlignmentTooLarge { bytes, limit }),
        _ => Ok(()),
    }
}

/// The alignment of a cache on a kernel with such cache lines and words; see [`Slub::alignment`].
pub(crate) fn alignment(spec: &ObjectSpec, cache_line: u32, word: u32) -> u64 {
    let mut align = spec.align;
    if spec.flags.contains(CacheFlags::HWCACHE_ALIGN) {
        let mut line = u64::from(cache_line);
        while line > 1 && spec.size <= line / 2 {
            line /= 2;
        }
        align = align.max(line);
    }
    align.max(MINALIGN).next_multiple_of(word.into())
}

/// Free objects that a processor may keep in partial slabs: few large ones, many small ones.
const fn near(size: u64, page_shift: PageShift) -> u32 {
    match size {
        _ if size >= page_shift.bytes() => 6,
        1024.. => 24,
        256.. => 52,
        _ => 120,
    }
}

/// The line with which SLUB introduces itself in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogLine {
    slub: Slub,
    cpu_ids: u32,
    node_ids: u32,
}

impl Slub {
    /// That line, for so many numbers of processors (`nr_cpu_ids`) and nodes (`nr_node_ids`).
    pub const fn to_log(&self, cpu_ids: u32, node_ids: u32) -> LogLine {
        LogLine { slub: *self, cpu_ids, node_ids }
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Slub { cache_line, min_order, max_order, min_objects, .. } = self.slub;
        let (min, max) = (min_order.get(), max_order.get());
        write!(f, "SLUB: HWalign={cache_line}, Order={min}-{max}, MinObjects={min_objects}, ")?;
        write!(f, "CPUs={}, Nodes={}", self.cpu_ids, self.node_ids)
    }
}
