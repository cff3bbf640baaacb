//! The slabs of a booted machine in service: kmalloc and caches of objects, for all of its CPUs.
//!
//! [`Boot::kmem_cache_init`] makes the tables out of memory that the caller brings ([`Boot::slab_bytes`] says how much), the cache that slabs need
//! for themselves and kmalloc's, all laid out as this machine's Linux would, and watches those that the command line names
//! (`slub_debug=`). [`SlabService::init_late`] ends the bootstrap. Objects come from the page allocator that whoever asks has in his
//! context, so no page is taken before the first object is.

use super::cpus::ServedCpus;
use crate::boot::{Boot, warning};
use crate::error::BootError;
use crate::service::{CpuRoom, ServiceBytes};
use core::fmt;
use pagewright_addr::NodeId;
use pagewright_page::PageMap;
use pagewright_platform::carve::bytes_for;
use pagewright_platform::{Carve, Interrupts, Mutex};
use pagewright_slab::kmalloc::KmallocKind;
use pagewright_slab::slabs::{
    CreateError, DebugOptions, NodeSlabs, Reports, Row, Silent, SlabCpu, SlabSpace, Slot,
};
use pagewright_slab::{SlabMemory, Slabs};

/// What slabs are told by their embedder.
pub struct SlabSetup<'k, 'a, I, M> {
    /// The map of the machine's frames.
    pub map: PageMap<'a>,
    /// Their memory.
    pub memory: M,
    /// What keeps interrupt handlers away.
    pub interrupts: I,
    /// How many caches there may be besides those of kmalloc.
    pub caches: usize,
    /// Who is told of damage.
    pub reports: &'k dyn Reports,
    /// What secrets and random orders begin with.
    pub seed: u64,
}

impl<'a, I, M> SlabSetup<'_, 'a, I, M> {
    /// Places for 64 caches, findings counted and told to nobody.
    pub const fn new(map: PageMap<'a>, memory: M, interrupts: I, seed: u64) -> Self {
        Self { map, memory, interrupts, caches: 64, reports: &Silent, seed }
    }
}

impl<I, M> fmt::Debug for SlabSetup<'_, '_, I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabSetup").field("caches", &self.caches).finish_non_exhaustive()
    }
}

/// Why slabs do not serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartSlabsError {
    /// The memory is too small.
    Boot(BootError),
    /// A cache could not be made.
    Cache(CreateError),
}

impl fmt::Display for StartSlabsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot(e) => e.fmt(f),
            Self::Cache(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for StartSlabsError {}

impl From<CreateError> for StartSlabsError {
    fn from(e: CreateError) -> Self {
        Self::Cache(e)
    }
}

pub(super) const fn small(what: &'static str) -> StartSlabsError {
    StartSlabsError::Boot(BootError::Space { what })
}

/// A machine's slabs, serving all of its CPUs.
pub struct SlabService<'k, 'a, I, M> {
    /// The slabs.
    pub slabs: Slabs<'k, 'a, I, M>,
    /// The CPUs.
    pub cpus: ServedCpus<'k>,
}

impl<I, M> fmt::Debug for SlabService<'_, '_, I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabService").field("cpus", &self.cpus).finish_non_exhaustive()
    }
}

impl<I: Interrupts, M: SlabMemory> SlabService<'_, '_, I, M> {
    /// Ends the bootstrap (`kmem_cache_init_late`).
    pub fn init_late(&mut self) {
        self.slabs.init_late();
    }
}

impl Boot<'_> {
    /// Places in the table of caches: one for the slabs' own, kmalloc's, and `caches` more.
    pub(super) fn slab_places(&self, caches: usize) -> usize {
        let classes = self.kmalloc_classes();
        let kinds = KmallocKind::ALL.into_iter().filter(|&kind| classes.has(kind)).count();
        1 + kinds * classes.sizes().count() + caches
    }

    /// How many nodes' lists each cache has: up to the last that may have memory.
    pub(super) fn slab_nodes(&self) -> usize {
        let nodes = self.layout.as_ref().map_or(&[][..], |layout| layout.nodes());
        nodes.iter().filter(|node| node.possible).map(|node| node.nid.index() + 1).max().unwrap_or(1)
    }

    /// How much memory [`Self::kmem_cache_init`] needs for `cpus` CPUs and so many caches besides kmalloc's.
    pub fn slab_bytes(&self, caches: usize, cpus: usize) -> ServiceBytes {
        let places = self.slab_places(caches);
        ServiceBytes {
            shared: bytes_for::<Slot>(places)
                + bytes_for::<Mutex<NodeSlabs>>(places * self.slab_nodes())
                + bytes_for::<SlabCpu<'_>>(cpus)
                + bytes_for::<NodeId>(cpus)
                + bytes_for::<u8>(self.params.slub_debug.map_or(0, str::len)),
            each_cpu: bytes_for::<Row>(places),
        }
    }

    /// Puts slabs in service for the CPUs `cpus`, in the order of their numbers (`kmem_cache_init`): kmalloc serves when this returns. A CPU's
    /// node is the one that its page allocations begin on ([`Service::node`](crate::Service::node)).
    ///
    /// Letters of `slub_debug=` that mean nothing here are skipped, with a line in the log.
    ///
    /// # Errors
    /// [`StartSlabsError`]: the memory is too small, or a cache cannot be laid out on the machine that this runs on. No page was
    /// taken then.
    pub fn kmem_cache_init<'k, 'a, I: Interrupts, M: SlabMemory>(
        &self,
        setup: SlabSetup<'k, 'a, I, M>,
        mut shared: Carve<'k>,
        cpus: impl ExactSizeIterator<Item = CpuRoom<'k>>,
    ) -> Result<SlabService<'k, 'a, I, M>, StartSlabsError> {
        let SlabSetup { map, memory, interrupts, caches, reports, seed } = setup;
        let places = self.slab_places(caches);
        let slots = shared.slice(places, Slot::new).ok_or(small("caches"))?;
        let lists = places * self.slab_nodes();
        let lists = shared.slice(lists, || Mutex::new(NodeSlabs::new())).ok_or(small("lists of slabs"))?;
        let options = self.debug_options(&mut shared).ok_or(small("the options of slabs"))?;
        let cpus = ServedCpus::carve(&mut shared, cpus, places, seed)?;
        let space = SlabSpace { slots, lists, cpus: cpus.all() };
        let mut slabs = Slabs::new(map, memory, interrupts, self.slub(), space, reports, seed)?;
        slabs.watch(options);
        slabs.set_merging(self.slab_merges());
        slabs.create_kmalloc_caches(&self.kmalloc_classes())?;
        Ok(SlabService { slabs, cpus })
    }

    /// What the command line says of watched caches, in memory that lasts as long as the slabs.
    fn debug_options<'k>(&self, memory: &mut Carve<'k>) -> Option<DebugOptions<'k>> {
        let Some(asked) = self.params.slub_debug else { return Some(DebugOptions::NONE) };
        let mut bytes = asked.bytes();
        let text: &'k [u8] = memory.slice(asked.len(), || bytes.next().unwrap_or(b';'))?;
        let text = core::str::from_utf8(text).unwrap_or_default();
        Some(DebugOptions::skipping(text, |letter| {
            warning!(self, "slub_debug option '{}' unknown. skipped", letter.0);
        }))
    }
}
