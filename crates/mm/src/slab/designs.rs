//! The design that the kernel was configured with, in service (CONFIG_SLUB, CONFIG_SLAB, CONFIG_SLOB).
//!
//! Who knows that his machines have SLUB uses [`Boot::kmem_cache_init`], and has nothing of the others in his image; [`Boot::objects_init`] serves by
//! whichever the configuration names, behind [`Objects`].

use super::cpus::ServedCpus;
use super::service::{SlabSetup, StartSlabsError, small};
use crate::Boot;
use crate::service::{CpuRoom, ServiceBytes};
use core::fmt;
use pagewright_addr::{NodeId, Order};
use pagewright_firmware::config;
use pagewright_platform::carve::bytes_for;
use pagewright_platform::{Carve, Interrupts, Mutex};
use pagewright_slab::objects::{Design, Objects};
use pagewright_slab::slab::{ArraySpace, NodeCache, Slab, SlabCache, SlabConfig};
use pagewright_slab::slabs::{CreateError, Row, SlabCpu, Slot};
use pagewright_slab::slob::{Slob, SlobCache, SlobConfig};
use pagewright_slab::slub::Slub;
use pagewright_slab::{GeometryError, SlabMemory};

/// A machine's objects, by the design of its configuration, serving all of its CPUs.
pub struct ObjectService<'k, 'a, I, M> {
    /// The objects.
    pub objects: Objects<'k, 'a, I, M>,
    /// The CPUs.
    pub cpus: ServedCpus<'k>,
}

impl<I, M> fmt::Debug for ObjectService<'_, '_, I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectService").field("cpus", &self.cpus).finish_non_exhaustive()
    }
}

impl<I: Interrupts, M: SlabMemory> ObjectService<'_, '_, I, M> {
    /// Ends the bootstrap (`kmem_cache_init_late`).
    pub fn init_late(&mut self) {
        match &mut self.objects {
            Objects::Slub(slabs) => slabs.init_late(),
            Objects::Slab(slab) => slab.init_late(),
            Objects::Slob(_) => {}
        }
    }
}

impl Boot<'_> {
    /// The design that the kernel has.
    pub const fn slab_design(&self) -> Design {
        match self.machine.config.slab {
            config::Slab::Slub => Design::Slub,
            config::Slab::Slab => Design::Slab,
            config::Slab::Slob => Design::Slob,
        }
    }

    /// By what this machine's SLAB lays caches out. Slabs may have two pages where the zones have more than 32 MiB.
    pub fn slab_config(&self) -> SlabConfig {
        let Slub { page_shift, word, cache_line, largest, .. } = self.slub();
        let nodes = self.layout.as_ref().map_or(&[][..], |layout| layout.nodes());
        // Linux counts what the page allocator manages, which is less by the kernel's image and tables.
        let present: u64 = nodes.iter().map(|node| node.present).sum();
        let cpus = self.possible_cpus.count();
        let max_order = SlabConfig::max_order_for(present << page_shift.get());
        let asked = self.params.slab_max_order.map(|n| u8::try_from(n.max(0)).ok().and_then(Order::new));
        let max_order = asked.map_or(max_order, |order| order.unwrap_or(largest).min(largest));
        SlabConfig { page_shift, word, cache_line, cpus, max_order, largest }
    }

    /// By what this machine's SLOB goes.
    pub fn slob_config(&self) -> SlobConfig {
        let Slub { page_shift, word, cache_line, largest, .. } = self.slub();
        SlobConfig { page_shift, word, cache_line, min_align: self.kmalloc_classes().min_align, largest }
    }

    /// How much memory [`Self::objects_init`] needs for `cpus` CPUs and so many caches besides kmalloc's.
    pub fn object_bytes(&self, caches: usize, cpus: usize) -> ServiceBytes {
        let (places, nodes) = (self.slab_places(caches), self.slab_nodes());
        let each = bytes_for::<SlabCpu<'_>>(cpus) + bytes_for::<NodeId>(cpus);
        match self.slab_design() {
            Design::Slub | Design::SlubCpuSlabs => self.slab_bytes(caches, cpus),
            Design::Slab => ServiceBytes {
                shared: each
                    + bytes_for::<Slot<SlabCache>>(places)
                    + bytes_for::<Mutex<NodeCache>>(places * nodes)
                    + bytes_for::<Mutex<Row>>(alien_arrays(places, nodes))
                    + bytes_for::<u32>(nodes),
                each_cpu: bytes_for::<Row>(places),
            },
            Design::Slob => ServiceBytes {
                shared: each + bytes_for::<Slot<SlobCache>>(caches),
                each_cpu: bytes_for::<Row>(0),
            },
        }
    }

    /// Puts objects in service by the configured design, as [`Self::kmem_cache_init`] does by SLUB. Only SLUB has caches that are watched or merged, so only it
    /// heeds `slub_debug=` and `slab_nomerge`.
    ///
    /// # Errors
    /// As there.
    pub fn objects_init<'k, 'a, I: Interrupts, M: SlabMemory>(
        &self,
        setup: SlabSetup<'k, 'a, I, M>,
        mut shared: Carve<'k>,
        cpus: impl ExactSizeIterator<Item = CpuRoom<'k>>,
    ) -> Result<ObjectService<'k, 'a, I, M>, StartSlabsError> {
        if self.slab_design() == Design::Slub {
            let service = self.kmem_cache_init(setup, shared, cpus)?;
            return Ok(ObjectService { objects: Objects::Slub(service.slabs), cpus: service.cpus });
        }
        let SlabSetup { map, memory, interrupts, caches, reports, seed } = setup;
        if self.slab_design() == Design::Slob {
            let slots = shared.slice(caches, Slot::new).ok_or(small("caches"))?;
            let cpus = ServedCpus::carve(&mut shared, cpus, 0, seed)?;
            let config = self.slob_config();
            let align = GeometryError::Alignment(config.min_align.into());
            let slob = Slob::new(map, memory, interrupts, config, slots, reports, seed);
            let slob = slob.map_err(|_| CreateError::Geometry(align))?;
            return Ok(ObjectService { objects: Objects::Slob(slob), cpus });
        }
        let (places, most) = (self.slab_places(caches), self.slab_nodes());
        let slots = shared.slice(places, Slot::new).ok_or(small("caches"))?;
        let lists = shared.slice(places * most, || Mutex::new(NodeCache::new()));
        let lists = lists.ok_or(small("lists of slabs"))?;
        let aliens = shared.slice(alien_arrays(places, most), || Mutex::new(Row::new()));
        let aliens = aliens.ok_or(small("arrays for other nodes"))?;
        let cpus = ServedCpus::carve(&mut shared, cpus, places, seed)?;
        let mut node = 0..most;
        let node_cpus = shared.slice(most, || {
            let node = node.next();
            node.map_or(0, |node| cpus.on_node(node)) as u32
        });
        let node_cpus = node_cpus.ok_or(small("the nodes' CPUs"))?;
        let space = ArraySpace { slots, lists, aliens, cpus: cpus.all(), node_cpus };
        let mut slab = Slab::new(map, memory, interrupts, self.slab_config(), space, reports, seed)?;
        slab.create_kmalloc_caches(&self.kmalloc_classes())?;
        Ok(ObjectService { objects: Objects::Slab(slab), cpus })
    }
}

/// How many arrays for other nodes SLAB has: none where there is one.
const fn alien_arrays(places: usize, nodes: usize) -> usize {
    if nodes > 1 { places * nodes * nodes } else { 0 }
}
