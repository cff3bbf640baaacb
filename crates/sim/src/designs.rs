//! The designs of slabs on a hosted machine, whichever is asked for.

use crate::pages::Pages;
use crate::slabs::{HostedSlabsError, LinearRam};
use pagewright::slab::SlabSetup;
use pagewright::{Boot, CpuRoom};
use pagewright_addr::NodeId;
use pagewright_page::FrameIdx;
use pagewright_platform::{Carve, Interrupts, Mutex, NoInterrupts, Reader, ReaderHere, Readers};
use pagewright_slab::SlabCounters;
use pagewright_slab::kmalloc::Classes;
use pagewright_slab::memory::{PagesFor, SlabMemory};
use pagewright_slab::objects::{Design, ObjectAllocator, Objects};
use pagewright_slab::slab::{ArraySpace, NodeCache, Slab, SlabConfig};
use pagewright_slab::slabs::{
    CpuSlab, DebugOptions, NodeSlabs, Reports, Row, SlabContext, SlabCpu, SlabSpace, Slabs, Slot,
};
use pagewright_slab::slob::{Slob, SlobConfig};
use pagewright_slab::slub::Slub;
use pagewright_zone::alloc::Hooks;
use std::ptr::NonNull;

/// One design over a machine's page allocator.
pub struct HostedObjects<'p, 'k, 'x, 'm, 's, 'a, H> {
    /// The objects.
    pub objects: Objects<'k, 'a, NoInterrupts, LinearRam>,
    /// The page allocator below.
    pub pages: &'p Pages<'x, 'm, 's, 'a, H>,
    readers: &'k Readers<'k>,
    cpus: &'k [SlabCpu<'k>],
    nodes: &'k [NodeId],
}

impl<'k, 'a, H: Hooks> HostedObjects<'_, 'k, '_, '_, '_, 'a, H> {
    /// Whichever design it is.
    pub const fn allocator<'s>(&'s self) -> &'s (dyn ObjectAllocator<'k, 'a> + 's) {
        self.objects.allocator()
    }

    /// The node on which memory lies; `None` for memory that is not the machine's.
    pub fn node_of(&self, memory: NonNull<u8>) -> Option<NodeId> {
        let idx = FrameIdx::from_usize(self.objects.memory().frame_of(memory.addr().get()))?;
        self.pages.allocator.node_of(idx)
    }

    /// Runs `f` as CPU number `cpu`, which nobody else may be at the time.
    ///
    /// # Panics
    /// If there is no such CPU, or somebody is it already.
    pub fn on_cpu<R>(&self, cpu: usize, f: impl FnOnce(&SlabContext<'_, 'k, 'a>) -> R) -> R {
        self.pages.on_cpu(cpu, |context| {
            let pages = PagesFor { allocator: &self.pages.allocator, context };
            // SAFETY: `Pages` lets one at a time be this CPU, and this handle does not leave this thread; what one thread does as
            // it is ordered before what the next does.
            let here = unsafe { self.cpus[cpu].here() };
            f(&SlabContext::new(here, self.nodes[cpu], &pages))
        })
    }

    /// Runs `f` as [`Self::on_cpu`] does, as one that reads objects without a lock.
    ///
    /// # Panics
    /// As for [`Self::on_cpu`].
    pub fn reading<R>(&self, cpu: usize, f: impl FnOnce(&SlabContext<'_, 'k, 'a>, ReaderHere<'_>) -> R) -> R {
        self.on_cpu(cpu, |cx| {
            // SAFETY: nobody else is this CPU while the closure runs, and the handle cannot leave this thread.
            let here = unsafe { self.readers.here(cpu) };
            f(cx, here.expect("a reader for each CPU"))
        })
    }

    /// Runs `f` as the CPU that this thread is already, as a handler does that comes in between; `None` if it is none.
    pub fn on_this_cpu<R>(&self, f: impl FnOnce(&SlabContext<'_, 'k, 'a>) -> R) -> Option<R> {
        self.pages.on_this_cpu(|cpu, context| {
            let pages = PagesFor { allocator: &self.pages.allocator, context };
            // SAFETY: as in `on_cpu`, inside of which this thread is; the gate tells that the rows are in use.
            let here = unsafe { self.cpus[cpu].here() };
            f(&SlabContext::new(here, self.nodes[cpu], &pages))
        })
    }
}

/// What is looked at besides the objects.
#[derive(Clone, Copy, Debug)]
pub struct ObjectWatch<'w> {
    /// What SLUB's caches are watched for from the start, those of kmalloc too.
    pub debug: DebugOptions<'w>,
    /// Where pages that objects take are counted, if somebody wants to know them who has not the objects.
    pub counters: Option<&'w SlabCounters>,
}

impl ObjectWatch<'_> {
    /// Nothing.
    pub const NONE: Self = Self { debug: DebugOptions::NONE, counters: None };
}

/// Builds a design with so many places for caches (from 64 on with those of kmalloc, as x86_64 has them) over a machine with these CPUs' nodes, and hands it to `then`.
///
/// # Panics
/// If the host has no memory for the machine's RAM.
pub fn with_design<H: Hooks, R>(
    design: Design,
    pages: &Pages<'_, '_, '_, '_, H>,
    nodes: &[NodeId],
    caches: usize,
    reports: &dyn Reports,
    then: impl FnOnce(&HostedObjects<'_, '_, '_, '_, '_, '_, H>) -> R,
) -> R {
    with_watched_design(design, pages, nodes, (caches, ObjectWatch::NONE), reports, then)
}

/// The same, watched.
///
/// # Panics
/// As for [`with_design`].
pub fn with_watched_design<H: Hooks, R>(
    design: Design,
    pages: &Pages<'_, '_, '_, '_, H>,
    nodes: &[NodeId],
    (caches, watch): (usize, ObjectWatch<'_>),
    reports: &dyn Reports,
    then: impl FnOnce(&HostedObjects<'_, '_, '_, '_, '_, '_, H>) -> R,
) -> R {
    let memory = LinearRam::new(pages.base.map()).expect("host memory for the machine's RAM");
    let map = *pages.base.map();
    let most = pages.allocator.zones().iter().map(|z| z.nid().index() + 1).max().unwrap_or(1);
    let word = size_of::<usize>() as u32;
    let mut rows: Vec<Vec<Row>> = nodes.iter().map(|_| (0..caches).map(|_| Row::new()).collect()).collect();
    let mut cpu_slabs: Vec<Vec<CpuSlab>> =
        nodes.iter().map(|_| (0..caches).map(|_| CpuSlab::new()).collect()).collect();
    let parts = rows.iter_mut().zip(&mut cpu_slabs).zip(0_u32..);
    let cpus = parts.map(|((rows, slabs), cpu)| match design {
        Design::SlubCpuSlabs => SlabCpu::with_slabs(cpu, slabs, 0x5eed + u64::from(cpu)),
        _ => SlabCpu::new(rows, 0x5eed + u64::from(cpu)),
    });
    let cpus: Vec<SlabCpu<'_>> = cpus.collect();
    let readers: Vec<Reader> = nodes.iter().map(|_| Reader::new()).collect();
    let readers = Readers::new(&readers);
    match design {
        Design::Slub | Design::SlubCpuSlabs => {
            let slots: Vec<Slot> = (0..caches).map(|_| Slot::new()).collect();
            let lists: Vec<_> = (0..caches * most).map(|_| Mutex::new(NodeSlabs::new())).collect();
            let space = SlabSpace { slots: &slots, lists: &lists, cpus: &cpus };
            let slub = Slub { word, ..Slub::new(nodes.len() as u32) };
            let slabs = Slabs::new(map, memory, NoInterrupts, slub, space, reports, 0x5eed);
            let mut slabs = slabs.expect("places for the first cache");
            slabs.watch(watch.debug);
            if caches >= 64 {
                slabs.create_kmalloc_caches(&classes(8)).expect("places for kmalloc's caches");
                slabs.init_late();
            }
            slabs.set_grace_periods(&readers);
            let objects = counted(Objects::Slub(slabs), watch.counters);
            then(&HostedObjects { objects, pages, readers: &readers, cpus: &cpus, nodes })
        }
        Design::Slab => {
            let slots: Vec<_> = (0..caches).map(|_| Slot::new()).collect();
            let lists: Vec<_> = (0..caches * most).map(|_| Mutex::new(NodeCache::new())).collect();
            let aliens = if most > 1 { caches * most * most } else { 0 };
            let aliens: Vec<_> = (0..aliens).map(|_| Mutex::new(Row::new())).collect();
            let on = |node: usize| nodes.iter().filter(|of| of.index() == node).count() as u32;
            let node_cpus: Vec<u32> = (0..most).map(on).collect();
            let space = ArraySpace {
                slots: &slots,
                lists: &lists,
                aliens: &aliens,
                cpus: &cpus,
                node_cpus: &node_cpus,
            };
            let config = SlabConfig { word, ..SlabConfig::new(nodes.len() as u32) };
            let slab = Slab::new(map, memory, NoInterrupts, config, space, reports, 0x5eed);
            let mut slab = slab.expect("words of this host");
            if caches >= 64 {
                slab.create_kmalloc_caches(&classes(32)).expect("places for kmalloc's caches");
                slab.init_late();
            }
            slab.set_grace_periods(&readers);
            let objects = counted(Objects::Slab(slab), watch.counters);
            then(&HostedObjects { objects, pages, readers: &readers, cpus: &cpus, nodes })
        }
        Design::Slob => {
            let slots: Vec<_> = (0..caches).map(|_| Slot::new()).collect();
            let config = SlobConfig { word, ..SlobConfig::new() };
            let slob = Slob::new(map, memory, NoInterrupts, config, &slots, reports, 0x5eed);
            let mut slob = slob.expect("an alignment that is one");
            slob.set_grace_periods(&readers);
            let objects = counted(Objects::Slob(slob), watch.counters);
            then(&HostedObjects { objects, pages, readers: &readers, cpus: &cpus, nodes })
        }
    }
}

/// The same objects, with their pages counted where somebody asked for that.
fn counted<'k, 'a, I: Interrupts, M: SlabMemory>(
    mut objects: Objects<'k, 'a, I, M>,
    counters: Option<&'k SlabCounters>,
) -> Objects<'k, 'a, I, M> {
    if let Some(counters) = counters {
        objects.count_in(counters);
    }
    objects
}

/// Puts the objects of a booted machine in service above its page allocator, by the design that its kernel was configured with, for the same CPUs and with so
/// many places for caches besides kmalloc's, and hands them to `then`.
///
/// # Errors
/// [`HostedSlabsError`]: the host has no memory for the machine's RAM, or the machine's words are not the host's.
pub fn with_booted_objects<'s, 'a, H: Hooks, R>(
    boot: &Boot<'_>,
    pages: &Pages<'_, '_, 's, 'a, H>,
    caches: usize,
    reports: &dyn Reports,
    then: impl FnOnce(&HostedObjects<'_, '_, '_, '_, 's, 'a, H>) -> R,
) -> Result<R, HostedSlabsError> {
    let map = *pages.base.map();
    let memory = LinearRam::of_pages(&map, boot.machine.config.page_shift).map_err(HostedSlabsError::Sim)?;
    let bytes = boot.object_bytes(caches, pages.cpus());
    let words = |bytes: u64| vec![0_u64; bytes.div_ceil(8) as usize];
    let mut shared = words(bytes.shared);
    let mut rows: Vec<_> = pages.nodes().iter().map(|&node| (node, words(bytes.each_cpu))).collect();
    let rooms = rows.iter_mut().map(|(node, words)| CpuRoom { node: *node, memory: Carve::of(words) });
    let setup = SlabSetup { caches, reports, ..SlabSetup::new(map, memory, NoInterrupts, 0x5eed) };
    let service = boot.objects_init(setup, Carve::of(&mut shared), rooms);
    let mut service = service.map_err(HostedSlabsError::Start)?;
    let readers: Vec<Reader> = pages.nodes().iter().map(|_| Reader::new()).collect();
    let readers = Readers::new(&readers);
    service.objects.set_grace_periods(&readers);
    service.init_late();
    let cpus = service.cpus.all();
    let objects = service.objects;
    Ok(then(&HostedObjects { objects, pages, readers: &readers, cpus, nodes: pages.nodes() }))
}

/// kmalloc's classes from a least size on.
const fn classes(min_size: u32) -> Classes {
    Classes {
        page_shift: pagewright_addr::PageShift::SHIFT_4K,
        min_size,
        min_align: 8,
        accounted: true,
        dma: false,
    }
}
