//! The slabs of a hosted machine: RAM that is one stretch of host memory, and processors that threads can be.

use crate::SimError;
use crate::pages::Pages;
use crate::zeroed::Zeroed;
use core::fmt;
use core::ptr::NonNull;
use pagewright::slab::{SlabSetup, StartSlabsError};
use pagewright::{Boot, CpuRoom};
use pagewright_addr::{NodeId, PageShift};
use pagewright_page::{FrameIdx, PageMap};
use pagewright_platform::{Carve, Mutex, NoInterrupts, Reader, ReaderHere, Readers};
use pagewright_slab::kmalloc::Classes;
use pagewright_slab::memory::{PagesFor, SlabMemory};
use pagewright_slab::slabs::{
    DebugOptions, NodeSlabs, Reports, Row, SlabContext, SlabCpu, SlabSpace, Slabs, Slot,
};
use pagewright_slab::slub::Slub;
use pagewright_zone::alloc::{Context, Hooks};

/// The memory of every frame of one map, one behind the other as in a direct map.
pub struct LinearRam {
    memory: Zeroed,
    page_shift: PageShift,
}

impl LinearRam {
    /// Zeroed RAM for the frames of `map`, and those that it may get, of 4 KiB each, which the host backs where it is written.
    ///
    /// # Errors
    /// [`SimError::HostMemory`].
    pub fn new(map: &PageMap<'_>) -> Result<Self, SimError> {
        Self::of_pages(map, PageShift::SHIFT_4K)
    }

    /// The same of frames of this size.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn of_pages(map: &PageMap<'_>, page_shift: PageShift) -> Result<Self, SimError> {
        let block = page_shift.bytes() << map.sections().align().get();
        let align = usize::try_from(block).map_err(|_| SimError::HostMemory { bytes: block })?;
        let memory = Zeroed::new(map.capacity() << page_shift.get(), align)?;
        Ok(Self { memory, page_shift })
    }
}

// SAFETY: frames lie in one allocation in the order of their indices, from a multiple of the largest block's size on (index 0 is aligned to all orders), zeroed, for as long as the value
// lives; every pointer has the whole allocation's provenance. Nobody else has the allocation.
unsafe impl SlabMemory for LinearRam {
    #[inline]
    fn address(&self, idx: FrameIdx) -> Option<usize> {
        let at = idx.index() << self.page_shift.get();
        (at < self.memory.len()).then(|| self.memory.first().addr().get() + at)
    }

    #[inline(always)]
    fn frame_of(&self, address: usize) -> usize {
        // What lies below the memory wraps round to far beyond its end.
        address.wrapping_sub(self.memory.first().addr().get()) >> self.page_shift.get()
    }

    #[inline(always)]
    fn pointer(&self, address: usize) -> *mut u8 {
        self.memory.first().as_ptr().with_addr(address)
    }
}

/// Slabs over a machine's page allocator.
pub struct HostedSlabs<'p, 'k, 'x, 'm, 's, 'a, H> {
    /// The slabs.
    pub slabs: Slabs<'k, 'a, NoInterrupts, LinearRam>,
    /// The page allocator below.
    pub pages: &'p Pages<'x, 'm, 's, 'a, H>,
    /// Who reads objects that keep their type, one for each CPU.
    pub readers: &'k Readers<'k>,
    cpus: &'k [SlabCpu<'k>],
    nodes: &'k [NodeId],
}

impl<'k, 'm, 'a, H: Hooks> HostedSlabs<'_, 'k, '_, 'm, '_, 'a, H> {
    /// Runs `f` as CPU number `cpu`, which nobody else may be at the time.
    ///
    /// # Panics
    /// If there is no such CPU, or somebody is it already.
    pub fn on_cpu<R>(&self, cpu: usize, f: impl FnOnce(&SlabContext<'_, 'k, 'a>) -> R) -> R {
        self.on_cpu_with_pages(cpu, |cx, _| f(cx))
    }

    /// The same for one that uses the page allocator, too.
    ///
    /// # Panics
    /// As for [`Self::on_cpu`].
    pub fn on_cpu_with_pages<R>(
        &self,
        cpu: usize,
        f: impl FnOnce(&SlabContext<'_, 'k, 'a>, &Context<'_, 'm, 'a>) -> R,
    ) -> R {
        self.pages.on_cpu(cpu, |context| {
            let pages = PagesFor { allocator: &self.pages.allocator, context };
            // SAFETY: nobody else is this CPU of the page allocator's while the closure runs, so neither of ours, which are reached
            // here alone; the handle cannot leave this thread, and `Pages` orders what one thread does before what the next does.
            let here = unsafe { self.cpus[cpu].here() };
            f(&SlabContext::new(here, self.nodes[cpu], &pages), context)
        })
    }

    /// The node on which an object lies; `None` for memory that is not the machine's.
    pub fn node_of(&self, memory: NonNull<u8>) -> Option<NodeId> {
        let idx = FrameIdx::from_usize(self.slabs.memory().frame_of(memory.addr().get()))?;
        self.pages.allocator.node_of(idx)
    }

    /// Runs `f` as [`Self::on_cpu`] does, as one that reads objects without a lock.
    ///
    /// # Panics
    /// As for [`Self::on_cpu`].
    pub fn reading<R>(&self, cpu: usize, f: impl FnOnce(&SlabContext<'_, 'k, 'a>, ReaderHere<'_>) -> R) -> R {
        self.on_cpu(cpu, |cx| {
            // SAFETY: as for the CPU's own slabs: nobody else is this CPU while the closure runs, and the handle cannot leave this thread.
            let here = unsafe { self.readers.here(cpu) };
            f(cx, here.expect("a reader for each CPU"))
        })
    }
}

/// Puts slabs of a booted machine in service, above its page allocator, for the same CPUs and with so many places for caches besides kmalloc's, and hands
/// them to `then`.
///
/// # Errors
/// [`HostedSlabsError`]: the host has no memory for the machine's RAM, or the machine's words are not the host's.
pub fn with_booted_slabs<'s, 'a, H: Hooks, R>(
    boot: &Boot<'_>,
    pages: &Pages<'_, '_, 's, 'a, H>,
    caches: usize,
    reports: &dyn Reports,
    then: impl FnOnce(&HostedSlabs<'_, '_, '_, '_, 's, 'a, H>) -> R,
) -> Result<R, HostedSlabsError> {
    let map = *pages.base.map();
    let memory = LinearRam::of_pages(&map, boot.machine.config.page_shift).map_err(HostedSlabsError::Sim)?;
    let bytes = boot.slab_bytes(caches, pages.cpus());
    let words = |bytes: u64| vec![0_u64; bytes.div_ceil(8) as usize];
    let mut shared = words(bytes.shared);
    let mut rows: Vec<_> = pages.nodes().iter().map(|&node| (node, words(bytes.each_cpu))).collect();
    let rooms = rows.iter_mut().map(|(node, words)| CpuRoom { node: *node, memory: Carve::of(words) });
    let setup = SlabSetup { caches, reports, ..SlabSetup::new(map, memory, NoInterrupts, 0x5eed) };
    let service = boot.kmem_cache_init(setup, Carve::of(&mut shared), rooms);
    let mut service = service.map_err(HostedSlabsError::Start)?;
    let readers: Vec<Reader> = pages.nodes().iter().map(|_| Reader::new()).collect();
    let readers = Readers::new(&readers);
    service.slabs.set_grace_periods(&readers);
    service.init_late();
    let cpus = service.cpus.all();
    Ok(then(&HostedSlabs { slabs: service.slabs, pages, readers: &readers, cpus, nodes: pages.nodes() }))
}

/// Why a hosted machine has no slabs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostedSlabsError {
    /// The host does not give the memory.
    Sim(SimError),
    /// They cannot be laid out.
    Start(StartSlabsError),
}

impl fmt::Display for HostedSlabsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sim(e) => e.fmt(f),
            Self::Start(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for HostedSlabsError {}

/// Builds slabs with so many places for caches (from 64 on with those of kmalloc, as x86_64 has them) over a machine with these CPUs' nodes, and hands them to `then`.
///
/// # Panics
/// If the host has no memory for the machine's RAM.
pub fn with_slabs<'s, 'a, H: Hooks, R>(
    pages: &Pages<'_, '_, 's, 'a, H>,
    nodes: &[NodeId],
    caches: usize,
    reports: &dyn Reports,
    then: impl FnOnce(&HostedSlabs<'_, '_, '_, '_, 's, 'a, H>) -> R,
) -> R {
    with_watched_slabs(pages, nodes, (caches, DebugOptions::NONE), reports, then)
}

/// The same with caches watched from the start, those of kmalloc too.
///
/// # Panics
/// As for [`with_slabs`].
pub fn with_watched_slabs<'s, 'a, H: Hooks, R>(
    pages: &Pages<'_, '_, 's, 'a, H>,
    nodes: &[NodeId],
    (caches, watched): (usize, DebugOptions<'_>),
    reports: &dyn Reports,
    then: impl FnOnce(&HostedSlabs<'_, '_, '_, '_, 's, 'a, H>) -> R,
) -> R {
    let memory = LinearRam::new(pages.base.map()).expect("host memory for the machine's RAM");
    let most = pages.allocator.zones().iter().map(|z| z.nid().index() + 1).max().unwrap_or(1);
    let slots: Vec<Slot> = (0..caches).map(|_| Slot::new()).collect();
    let lists: Vec<_> = (0..caches * most).map(|_| Mutex::new(NodeSlabs::new())).collect();
    let mut rows: Vec<Vec<Row>> = nodes.iter().map(|_| (0..caches).map(|_| Row::new()).collect()).collect();
    let cpus: Vec<SlabCpu<'_>> =
        rows.iter_mut().enumerate().map(|(cpu, rows)| SlabCpu::new(rows, 0x5eed + cpu as u64)).collect();
    let readers: Vec<Reader> = nodes.iter().map(|_| Reader::new()).collect();
    let readers = Readers::new(&readers);
    let space = SlabSpace { slots: &slots, lists: &lists, cpus: &cpus };
    let slub = Slub { word: size_of::<usize>() as u32, ..Slub::new(nodes.len() as u32) };
    let mut slabs = Slabs::new(*pages.base.map(), memory, NoInterrupts, slub, space, reports, 0x5eed)
        .expect("places for the first cache");
    slabs.watch(watched);
    if caches >= 64 {
        let classes = Classes {
            page_shift: PageShift::SHIFT_4K,
            min_size: 8,
            min_align: 8,
            accounted: true,
            dma: false,
        };
        slabs.create_kmalloc_caches(&classes).expect("places for kmalloc's caches");
        slabs.init_late();
    }
    slabs.set_grace_periods(&readers);
    then(&HostedSlabs { slabs, pages, readers: &readers, cpus: &cpus, nodes })
}
