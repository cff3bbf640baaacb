//! A cache's attributes, as the files below `/sys/kernel/slab/<cache>/` say them.

use super::Slabs;
use super::cache::CacheId;
use crate::CacheFlags;
use crate::memory::SlabMemory;
use crate::slab::MOST_NODES;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_platform::Interrupts;

/// The names of all attributes that can be read, in the order of a listing.
pub const NAMES: [&str; 30] = [
    "aliases",
    "align",
    "cache_dma",
    "cpu_partial",
    "cpu_slabs",
    "ctor",
    "destroy_by_rcu",
    "failslab",
    "hwcache_align",
    "min_partial",
    "object_size",
    "objects",
    "objects_partial",
    "objs_per_slab",
    "order",
    "partial",
    "poison",
    "reclaim_account",
    "red_zone",
    "remote_node_defrag_ratio",
    "sanity_checks",
    "shrink",
    "slab_size",
    "slabs",
    "slabs_cpu_partial",
    "store_user",
    "total_objects",
    "trace",
    "usersize",
    "validate",
];

/// By what a kernel was built that decides which of [`NAMES`] a cache has.
///
/// Source: the files of caches on captured machines, and the symbols that Documentation/ABI/testing/sysfs-kernel-slab names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuiltIn {
    /// CONFIG_SLUB_DEBUG.
    pub debug: bool,
    /// CONFIG_ZONE_DMA.
    pub zone_dma: bool,
    /// CONFIG_NUMA.
    pub numa: bool,
    /// CONFIG_FAILSLAB.
    pub failslab: bool,
}

impl BuiltIn {
    /// Everything.
    pub const ALL: Self = Self { debug: true, zone_dma: true, numa: true, failslab: true };

    /// Whether a cache has the attribute of that name, which is one.
    pub fn has(&self, name: &str) -> bool {
        match name {
            "cache_dma" => self.zone_dma,
            "failslab" => self.failslab,
            "remote_node_defrag_ratio" => self.numa,
            "objects" | "poison" | "red_zone" | "sanity_checks" | "slabs" | "store_user"
            | "total_objects" | "trace" | "validate" => self.debug,
            _ => true,
        }
    }
}

/// A count over the nodes, as it is read.
type Count = fn(&Nodes) -> u64;

/// What a cache has on one node.
struct Nodes {
    slabs: u64,
    partial: u64,
    objects: u64,
    /// Free objects in partial slabs.
    free: u64,
    /// Objects of partial slabs.
    in_partial: u64,
}

/// One attribute's text, without the file's line end.
pub struct Attribute<'s, 'k, 'a, I, M> {
    slabs: &'s Slabs<'k, 'a, I, M>,
    cache: CacheId,
    name: &'static str,
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// The attribute of that name; `None` if there is none, or no such cache any more.
    ///
    /// Sizes are in bytes. Counts have a part for each node that has any (`N0=..`), `slabs_cpu_partial` one for each processor (`C0=objects(slabs)`). Objects in processors' rows, and in their slabs,
    /// count as taken. Where processors have rows, `cpu_slabs` and `slabs_cpu_partial` count none.
    pub fn attribute(&self, cache: CacheId, name: &str) -> Option<Attribute<'_, 'k, 'a, I, M>> {
        self.info(cache)?;
        let name = NAMES.into_iter().find(|known| *known == name)?;
        Some(Attribute { slabs: self, cache, name })
    }

    fn on_node(&self, cache: CacheId, node: usize) -> Nodes {
        let mut found = Nodes { slabs: 0, partial: 0, objects: 0, free: 0, in_partial: 0 };
        let Some(info) = self.info(cache) else { return found };
        let _quiet = self.quiet();
        let lists = self.lists_of(cache, node).lock();
        (found.slabs, found.partial, found.objects) = (lists.slabs(), lists.partial.len, lists.objects);
        for head in lists.partial.iter(&self.map) {
            let objects = info.objects(self.map.word(head).order());
            found.in_partial += u64::from(objects);
            found.free += u64::from(objects - super::word::SlabWord::from_bits(self.map.data(head)).out());
        }
        found
    }
}

impl<I: Interrupts, M: SlabMemory> fmt::Display for Attribute<'_, '_, '_, I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(info) = self.slabs.info(self.cache) else { return Ok(()) };
        let g = &info.geometry;
        let flag = |f: &mut fmt::Formatter<'_>, flag| write!(f, "{}", u8::from(info.flags.contains(flag)));
        let by_node = |f: &mut fmt::Formatter<'_>, each: &dyn Fn(usize) -> u64| {
            // Each node is asked once, so that the parts are those of the sum.
            let (mut parts, nodes) = ([0; MOST_NODES], self.slabs.nodes);
            parts.iter_mut().take(nodes).enumerate().for_each(|(node, part)| *part = each(node));
            write!(f, "{}", parts.iter().sum::<u64>())?;
            let mut some = parts.iter().enumerate().filter(|(_, part)| **part > 0);
            some.try_for_each(|(node, part)| write!(f, " N{node}={part}"))
        };
        let count = |f: &mut fmt::Formatter<'_>, count: Count| {
            by_node(f, &|node| count(&self.slabs.on_node(self.cache, node)))
        };
        match self.name {
            "aliases" => write!(f, "{}", info.users.load(Relaxed).saturating_sub(1)),
            "align" => write!(f, "{}", g.align),
            "cpu_partial" => write!(f, "{}", info.knobs.cpu_partial()),
            "ctor" => info.ctor.map_or(Ok(()), |ctor| write!(f, "{:#x}", ctor as *const () as usize)),
            "min_partial" => write!(f, "{}", info.knobs.min_partial()),
            "remote_node_defrag_ratio" => write!(f, "{}", info.knobs.remote_node_defrag_ratio()),
            // They are there to be written.
            "shrink" | "validate" => Ok(()),
            "object_size" => write!(f, "{}", info.object_size.load(Relaxed)),
            "objs_per_slab" => write!(f, "{}", g.objects),
            "order" => write!(f, "{}", g.order.get()),
            "slab_size" => write!(f, "{}", g.size),
            "usersize" => write!(f, "{}", info.usercopy.1),
            "slabs_cpu_partial" => {
                // Half full, as they are on average.
                let both = |slabs: u64| (slabs * u64::from(g.objects) / 2, slabs);
                let of = |cpu: usize| self.slabs.count_cpu_partial(self.cache, cpu);
                let (objects, slabs) = both((0..self.slabs.cpus.len()).map(of).sum());
                write!(f, "{objects}({slabs})")?;
                (0..self.slabs.cpus.len())
                    .map(|cpu| (cpu, both(of(cpu))))
                    .filter(|(_, both)| both.1 > 0)
                    .try_for_each(|(cpu, (objects, slabs))| write!(f, " C{cpu}={objects}({slabs})"))
            }
            "cpu_slabs" => by_node(f, &|node| self.slabs.count_cpu_slabs(self.cache, node)),
            "failslab" => write!(f, "{}", u8::from(info.knobs.fails())),
            "trace" => flag(f, CacheFlags::TRACE),
            "cache_dma" => flag(f, CacheFlags::CACHE_DMA),
            "destroy_by_rcu" => flag(f, CacheFlags::TYPESAFE_BY_RCU),
            "hwcache_align" => flag(f, CacheFlags::HWCACHE_ALIGN),
            "poison" => flag(f, CacheFlags::POISON),
            "reclaim_account" => flag(f, CacheFlags::RECLAIM_ACCOUNT),
            "red_zone" => flag(f, CacheFlags::RED_ZONE),
            "sanity_checks" => flag(f, CacheFlags::CONSISTENCY_CHECKS),
            "store_user" => flag(f, CacheFlags::STORE_USER),
            "slabs" => count(f, |n| n.slabs),
            "partial" => count(f, |n| n.partial),
            "total_objects" => count(f, |n| n.objects),
            "objects" => count(f, |n| n.objects - n.free),
            "objects_partial" => count(f, |n| n.in_partial - n.free),
            other => unreachable!("{other} is in the list of names"),
        }
    }
}

impl<I, M> fmt::Debug for Attribute<'_, '_, '_, I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attribute").field("name", &self.name).finish_non_exhaustive()
    }
}
