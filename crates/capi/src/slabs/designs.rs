//! The designs of slabs, and their tables in a block of pages that is nobody else's.

use super::memory::LinearMemory;
use super::{EINVAL, ENOMEM, Printed, Service, SlabOptions};
use crate::global::options;
use crate::pages::Machine;
use core::ffi::{c_int, c_uint};
use core::sync::atomic::AtomicU32;
use pagewright_addr::Order;
use pagewright_platform::carve::bytes_for;
use pagewright_platform::{Carve, Mutex, NoInterrupts};
use pagewright_slab::kmalloc::Classes;
use pagewright_slab::objects::{Design, Objects};
use pagewright_slab::slab::{ArraySpace, NodeCache, Slab, SlabCache, SlabConfig};
use pagewright_slab::slabs::{DebugOptions, NodeSlabs, Row, SlabCpu, SlabSpace, Slabs, Slot};
use pagewright_slab::slob::{Slob, SlobCache, SlobConfig};
use pagewright_slab::slub::Slub;
use pagewright_zone::figures::ZoneSource;

/// SLAB's least size of kmalloc (KMALLOC_SHIFT_LOW).
const SLAB_LEAST: c_uint = 32;

/// The design that C names (`enum pagewright_slab_design`).
pub(super) fn design(number: c_uint) -> Option<Design> {
    [Design::Slub, Design::Slab, Design::Slob].get(number as usize).copied()
}

/// How many tables there are of what.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    design: Design,
    caches: usize,
    nodes: usize,
}

impl Sizes {
    /// Of a machine whose nodes' numbers are below `nodes`.
    pub(super) const fn new(design: Design, caches: usize, nodes: usize) -> Self {
        Self { design, caches, nodes }
    }

    /// Arrays for other nodes: none where there is one.
    const fn aliens(&self) -> usize {
        if self.nodes > 1 { self.caches * self.nodes * self.nodes } else { 0 }
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        let Self { design, caches, nodes } = *self;
        let own = match design {
            Design::Slub | Design::SlubCpuSlabs => {
                bytes_for::<Slot>(caches)
                    + bytes_for::<Mutex<NodeSlabs>>(caches * nodes)
                    + bytes_for::<Row>(caches)
            }
            Design::Slab => {
                bytes_for::<Slot<SlabCache>>(caches)
                    + bytes_for::<Mutex<NodeCache>>(caches * nodes)
                    + bytes_for::<Mutex<Row>>(self.aliens())
                    + bytes_for::<u32>(nodes)
                    + bytes_for::<Row>(caches)
            }
            Design::Slob => bytes_for::<Slot<SlobCache>>(caches),
        };
        own + bytes_for::<SlabCpu<'_>>(1) + bytes_for::<AtomicU32>(caches)
    }
}

/// What kmalloc has of a design, with the least size that C asked for.
pub(super) const fn classes(design: Design, classes: Classes) -> Classes {
    match design {
        Design::Slab if classes.min_size < SLAB_LEAST => Classes { min_size: SLAB_LEAST, ..classes },
        _ => classes,
    }
}

/// Slabs whose tables lie in `room`, serving one processor.
pub(super) fn build(
    sizes: Sizes,
    machine: &Machine,
    memory: LinearMemory,
    mut room: Carve<'static>,
    (wanted, debug, classes): (&SlabOptions, DebugOptions<'static>, &Classes),
) -> Result<Service, c_int> {
    let Sizes { design, caches, nodes } = sizes;
    let (map, seed) = (*machine.base.map(), wanted.seed);
    let given = options();
    let largest = u8::try_from(given.max_order.wrapping_sub(1)).ok().and_then(Order::new).ok_or(EINVAL)?;
    let (page_shift, cache_line) = (machine.shift, given.cache_line);
    let rows = if design == Design::Slob { 0 } else { caches };
    let mut rows = Some(room.slice(rows, Row::new).ok_or(ENOMEM)?);
    let cpus: &[SlabCpu<'_>] =
        room.slice(1, || SlabCpu::new(rows.take().unwrap_or_default(), seed)).ok_or(ENOMEM)?;
    let ending = room.slice(caches, || AtomicU32::new(0)).ok_or(ENOMEM)?;
    let mut objects = match design {
        Design::Slub | Design::SlubCpuSlabs => {
            let slots = room.slice(caches, Slot::new).ok_or(ENOMEM)?;
            let lists = room.slice(caches * nodes, || Mutex::new(NodeSlabs::new())).ok_or(ENOMEM)?;
            let slub = Slub { page_shift, cache_line, largest, ..Slub::new(1) };
            let space = SlabSpace { slots, lists, cpus };
            let slabs = Slabs::new(map, memory, NoInterrupts, slub, space, &Printed, seed);
            let mut slabs = slabs.map_err(|_| EINVAL)?;
            slabs.watch(debug);
            slabs.create_kmalloc_caches(classes).map_err(|_| EINVAL)?;
            slabs.init_late();
            Objects::Slub(slabs)
        }
        Design::Slab => {
            let slots = room.slice(caches, Slot::new).ok_or(ENOMEM)?;
            let lists = room.slice(caches * nodes, || Mutex::new(NodeCache::new())).ok_or(ENOMEM)?;
            let aliens = room.slice(sizes.aliens(), || Mutex::new(Row::new())).ok_or(ENOMEM)?;
            let mut node = 0..nodes;
            let here = || u32::from(node.next() == Some(machine.node.index()));
            let node_cpus = room.slice(nodes, here).ok_or(ENOMEM)?;
            let space = ArraySpace { slots, lists, aliens, cpus, node_cpus };
            let zones: &dyn ZoneSource = &machine.allocator;
            let managed: u64 = zones.zones().map(|zone| zone.managed).sum();
            let max_order = SlabConfig::max_order_for(managed << page_shift.get());
            let config = SlabConfig { page_shift, cache_line, largest, max_order, ..SlabConfig::new(1) };
            let slab = Slab::new(map, memory, NoInterrupts, config, space, &Printed, seed);
            let mut slab = slab.map_err(|_| EINVAL)?;
            slab.create_kmalloc_caches(classes).map_err(|_| EINVAL)?;
            slab.init_late();
            Objects::Slab(slab)
        }
        Design::Slob => {
            let slots = room.slice(caches, Slot::new).ok_or(ENOMEM)?;
            let config = SlobConfig {
                page_shift,
                cache_line,
                largest,
                min_align: wanted.min_size,
                ..SlobConfig::new()
            };
            let slob = Slob::new(map, memory, NoInterrupts, config, slots, &Printed, seed);
            Objects::Slob(slob.map_err(|_| EINVAL)?)
        }
    };
    objects.set_grace_periods(&super::readers::SECTIONS);
    Ok(Service { objects, cpus, ending })
}
