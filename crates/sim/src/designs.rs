//! The designs of slabs on a hosted machine, whichever is asked for.

use crate::pages::Pages;
use crate::slabs::{HostedSlabsError, LinearRam};
use pagewright::slab::{SlabSetup, StartSlabsError};
use pagewright::{Boot, CpuRoom};
use pagewright_addr::NodeId;
use pagewright_page::FrameIdx;
use pagewright_platform::{Carve, Interrupts, Mutex, NoInterrupts, Reader, ReaderHere, Readers};
use pagewright_slab::SlabCounters;
use pagewright_slab::kmalloc::Classes;
use pagewright_slab::memory::{NoMemory, PagesFor, SlabMemory};
use pagewright_slab::objects::{Design, ObjectAllocator, Objects};
use pagewright_slab::slab::{ArraySpace, NodeCache, Slab, SlabConfig};
use pagewright_slab::slabs::{
    CpuSlab, CreateError, DebugOptions, NodeSlabs, Reports, Row, SlabContext, SlabCpu, SlabSpace, Slabs, Slot,
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
    let memory = LinearRam::new(pages.base.map()).expect("host memory for the machine's RAM");
    let kernel = SlabKernel::standard(nodes.len() as u32);
    let kernel = SlabKernel { classes: kernel.classes.filter(|_| caches >= 64), ..kernel };
    let made = with_kernels_design(design, &kernel, (memory, caches), pages, nodes, reports, then);
    made.expect("places for kmalloc's caches, and words of this host")
}

/// By what a kernel's slabs go, whichever design it has.
#[derive(Clone, Copy, Debug)]
pub struct SlabKernel<'o> {
    /// How SLUB lays out.
    pub slub: Slub,
    /// How SLAB does.
    pub slab: SlabConfig,
    /// How SLOB does.
    pub slob: SlobConfig,
    /// The caches of kmalloc with SLUB, and with SLAB, if they are made.
    pub classes: Option<[Classes; 2]>,
    /// Which of SLUB's caches are watched.
    pub watched: DebugOptions<'o>,
    /// Whether SLUB's are merged.
    pub merges: bool,
    /// Where pages that objects take are counted, if somebody wants to know them who has not the objects.
    pub counters: Option<&'o SlabCounters>,
}

impl SlabKernel<'static> {
    /// x86_64 with pages of 4 KiB and this many processors, laid out for this host's words.
    fn standard(cpus: u32) -> Self {
        let word = size_of::<usize>() as u32;
        Self {
            slub: Slub { word, ..Slub::new(cpus) },
            slab: SlabConfig { word, ..SlabConfig::new(cpus) },
            slob: SlobConfig { word, ..SlobConfig::new() },
            classes: Some([classes(8), classes(32)]),
            watched: DebugOptions::NONE,
            merges: true,
            counters: None,
        }
    }
}

impl<'o> SlabKernel<'o> {
    /// The kernel that boots, by its configuration and its command line.
    pub fn of(boot: &'o Boot<'_>) -> Self {
        Self {
            slub: boot.slub(),
            slab: boot.slab_config(),
            slob: boot.slob_config(),
            classes: Some([Design::Slub, Design::Slab].map(|design| boot.kmalloc_classes_of(design))),
            watched: boot.slub_debug(),
            merges: boot.slab_merges(),
            counters: None,
        }
    }

    /// How many places for caches a design needs for itself and kmalloc.
    pub(crate) fn own_caches(&self) -> usize {
        let counts = self.classes.iter().flatten().map(|classes| classes.caches().count());
        1 + counts.max().unwrap_or(0)
    }
}

/// A design as a kernel has it, in memory for all of the machine's RAM, with so many places for caches.
///
/// # Errors
/// [`CreateError`]: too few places for kmalloc's caches, or layouts that this host's words have no room for.
pub(crate) fn with_kernels_design<H: Hooks, R>(
    design: Design,
    kernel: &SlabKernel<'_>,
    (memory, caches): (LinearRam, usize),
    pages: &Pages<'_, '_, '_, '_, H>,
    nodes: &[NodeId],
    reports: &dyn Reports,
    then: impl FnOnce(&HostedObjects<'_, '_, '_, '_, '_, '_, H>) -> R,
) -> Result<R, CreateError> {
    let map = *pages.base.map();
    let most = pages.allocator.zones().iter().map(|z| z.nid().index() + 1).max().unwrap_or(1);
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
            let mut slabs = Slabs::new(map, memory, NoInterrupts, kernel.slub, space, reports, 0x5eed)?;
            slabs.watch(kernel.watched);
            slabs.set_merging(kernel.merges);
            if let Some([classes, _]) = &kernel.classes {
                slabs.create_kmalloc_caches(classes)?;
                slabs.init_late();
            }
            slabs.set_grace_periods(&readers);
            let objects = counted(Objects::Slub(slabs), kernel.counters);
            Ok(then(&HostedObjects { objects, pages, readers: &readers, cpus: &cpus, nodes }))
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
            let mut slab = Slab::new(map, memory, NoInterrupts, kernel.slab, space, reports, 0x5eed)?;
            if let Some([_, classes]) = &kernel.classes {
                slab.create_kmalloc_caches(classes)?;
                slab.init_late();
            }
            slab.set_grace_periods(&readers);
            let objects = counted(Objects::Slab(slab), kernel.counters);
            Ok(then(&HostedObjects { objects, pages, readers: &readers, cpus: &cpus, nodes }))
        }
        Design::Slob => {
            let slots: Vec<_> = (0..caches).map(|_| Slot::new()).collect();
            let slob = Slob::new(map, memory, NoInterrupts, kernel.slob, &slots, reports, 0x5eed);
            let mut slob = slob.expect("an alignment that is one");
            slob.set_grace_periods(&readers);
            let objects = counted(Objects::Slob(slob), kernel.counters);
            Ok(then(&HostedObjects { objects, pages, readers: &readers, cpus: &cpus, nodes }))
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

/// Lays the caches of a booted machine out by the design that its kernel was configured with, for its CPUs, and hands them to `then`. They have no memory, so machines of any size
/// and with words of any length do.
///
/// # Errors
/// [`StartSlabsError`].
pub fn with_booted_layouts<'a, H: Hooks, R>(
    boot: &Boot<'_>,
    pages: &Pages<'_, '_, '_, 'a, H>,
    then: impl FnOnce(&Objects<'_, 'a, NoInterrupts, NoMemory>) -> R,
) -> Result<R, StartSlabsError> {
    let bytes = boot.object_bytes(0, pages.cpus());
    let words = |bytes: u64| vec![0_u64; bytes.div_ceil(8) as usize];
    let mut shared = words(bytes.shared);
    let mut rows: Vec<_> = pages.nodes().iter().map(|&node| (node, words(bytes.each_cpu))).collect();
    let rooms = rows.iter_mut().map(|(node, words)| CpuRoom { node: *node, memory: Carve::of(words) });
    let setup = SlabSetup { caches: 0, ..SlabSetup::new(*pages.base.map(), NoMemory, NoInterrupts, 0x5eed) };
    let mut service = boot.objects_init(setup, Carve::of(&mut shared), rooms)?;
    service.init_late();
    Ok(then(&service.objects))
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
