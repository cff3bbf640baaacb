//! The page allocator in service: from the free lists that the boot filled to allocations on all CPUs.
//!
//! [`Running`] is what the boot ends with: one owner, free lists, watermarks. [`Running::serve`] puts each zone behind its
//! lock, gives every CPU lists of its own with the sizes that the watermarks have for them, and returns a [`Service`]. Until then
//! no CPU has lists, which is what Linux's boot pageset (high 0, batch 1) comes to.
//!
//! The caller brings the memory, for what all CPUs share and for each CPU apart, so that a CPU's lists lie in its own node as its
//! per-CPU area does: [`Running::service_bytes`] says how much. It may well come from the free lists themselves. Nothing
//! changes unless all of it is enough.
//!
//! Which CPU a thread of execution is on, only the embedder knows: it makes a CPU's handle
//! ([`PerCpu::here`](pagewright_platform::PerCpu::here)) and asks with [`Service::context`].

mod areas;

pub use areas::CmaAreas;

use crate::boot::Boot;
use crate::error::BootError;
use crate::running::Running;
use core::fmt;
use pagewright_addr::{NodeId, Order};
use pagewright_page::{FrameIdx, Shelf};
use pagewright_platform::carve::bytes_for;
use pagewright_platform::{Carve, Here, Interrupts, PerCpu};
use pagewright_zone::ZoneKind;
use pagewright_zone::alloc::pcp::Listed;
use pagewright_zone::alloc::{
    Attention, Context, Cpu, CpuPages, Fallbacks, Hooks, PageAllocator, ZoneCell, ZoneFigures, ZoneRef, pcp,
};
use pagewright_zone::buddy::{Base, BuddyZone};
use pagewright_zone::watermark::{Pageset, Watermarks, ZoneMarks};

/// A CPU that will use the page allocator, and the memory for its lists.
#[derive(Debug)]
pub struct CpuRoom<'m> {
    /// Its node. Its allocations start there, or where those of a node without memory do (`numa_mem_id`).
    pub node: NodeId,
    /// [`ServiceBytes::each_cpu`] bytes.
    pub memory: Carve<'m>,
}

/// How much memory [`Running::serve`] needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServiceBytes {
    /// For what all CPUs share.
    pub shared: u64,
    /// For each CPU's lists.
    pub each_cpu: u64,
}

impl ServiceBytes {
    /// All of it, for so many CPUs.
    pub const fn total(&self, cpus: usize) -> u64 {
        self.shared + self.each_cpu * cpus as u64
    }
}

/// A machine's page allocator, serving all of its CPUs.
pub struct Service<'m, 's, 'a, I, H> {
    /// The allocator.
    pub allocator: PageAllocator<'m, 'm, 's, 'a, I, H>,
    /// The contiguous areas that it was lent.
    pub cma: CmaAreas<'m>,
    base: Base<'a>,
    cpus: &'m [Cpu<'m, 'a>],
    nodes: &'m [NodeId],
}

impl<I, H> fmt::Debug for Service<'_, '_, '_, I, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

impl<'m, 'a, I: Interrupts, H: Hooks> Service<'m, '_, 'a, I, H> {
    /// The page map and pageblocks below the allocator.
    pub fn base(&self) -> &Base<'a> {
        &self.base
    }

    /// The CPUs, by their numbers.
    pub fn cpus(&self) -> &'m [Cpu<'m, 'a>] {
        self.cpus
    }

    /// A CPU's node.
    pub fn node(&self, cpu: usize) -> NodeId {
        self.nodes.get(cpu).copied().unwrap_or(NodeId::ZERO)
    }

    /// How an ordinary task asks on CPU number `cpu`, whose handle this is.
    pub fn context<'c>(
        &self,
        cpu: usize,
        here: Here<'c, Attention, CpuPages<'m, 'a>>,
    ) -> Context<'c, 'm, 'a> {
        Context::new(here, self.node(cpu))
    }
}

const fn small(what: &'static str) -> BootError {
    BootError::Space { what }
}

/// The sizes of a zone's per-CPU lists.
fn pageset(watermarks: &Watermarks<'_>, zone: &BuddyZone<'_, '_>) -> Pageset {
    marks(watermarks, zone).pageset
}

/// What CPUs keep lists of: single pages in kernels older than 5.13 ([`Boot::set_version`]), else also small blocks and a huge page's order. arm without
/// LPAE has pageblocks of the largest order, since Linux has no huge pages there, and no such list; its section pairs are as large as huge
/// pages elsewhere.
fn listed(boot: &Boot<'_>, pageblock: Order) -> Listed {
    if !boot.version.since(5, 13) {
        return Listed::Single;
    }
    let huge = boot.machine.config.hugetlb_page_order().min(pageblock.get().into());
    Listed::UpToHuge(Order::new(huge as u8).unwrap_or(pageblock))
}

/// A zone's figures; those of a zone that the watermarks do not know are nothing.
fn marks(watermarks: &Watermarks<'_>, zone: &BuddyZone<'_, '_>) -> ZoneMarks {
    let known = watermarks.zone(zone.nid(), zone.kind()).copied();
    known.unwrap_or_else(|| ZoneMarks::new(zone.nid(), zone.kind(), 0, false))
}

impl<'s, 'a> Running<'_, 's, 'a> {
    /// How much memory [`Self::serve`] needs on this machine for `cpus` CPUs. To be asked after the initcalls, which decide
    /// the sizes of lists.
    pub fn service_bytes(&self, boot: &Boot<'_>, cpus: usize) -> ServiceBytes {
        let (zones, listed) = (self.buddy.zones(), listed(boot, self.buddy.pageblocks().order()));
        let orders = boot.layout.as_ref().map_or(0, |l| Fallbacks::required_len(l, zones.len()));
        let places = zones.iter().map(|z| pcp::required_places(pageset(&self.watermarks, z), listed)).sum();
        ServiceBytes {
            shared: bytes_for::<ZoneRef>(orders)
                + bytes_for::<Cpu<'_, '_>>(cpus)
                + bytes_for::<NodeId>(cpus)
                + bytes_for::<ZoneCell<'_, '_>>(zones.len())
                + CmaAreas::bytes(boot),
            each_cpu: bytes_for::<FrameIdx>(places)
                + bytes_for::<Shelf<'_>>(zones.len() * pcp::SHELVES)
                + bytes_for::<ZoneFigures>(zones.len()),
        }
    }

    /// Turns the free lists into an allocator that the CPUs `cpus`, in the order of their numbers, use at once. The zones leave [`Self::buddy`];
    /// what else this holds stays and stays right.
    ///
    /// `interrupts` keeps this machine's handlers away, `hooks` zeroes pages and makes memory when there is none.
    ///
    /// # Errors
    /// [`BootError::Space`] names what the memory is too small for; [`BootError::Unsupported`] for a boot without
    /// zonelists. Nothing has changed then.
    pub fn serve<'m, 't, I: Interrupts, H: Hooks>(
        &mut self,
        boot: &Boot<'_>,
        mut shared: Carve<'m>,
        cpus: impl ExactSizeIterator<Item = CpuRoom<'m>>,
        interrupts: I,
        hooks: H,
    ) -> Result<Service<'m, 't, 'a, I, H>, BootError>
    where
        's: 't,
        't: 'm,
        'a: 'm,
    {
        let (Some(layout), Some(lists)) = (&boot.layout, &boot.zonelists) else {
            return Err(BootError::Unsupported { what: "a page allocator before zonelists exist" });
        };
        let Self { buddy, watermarks, .. } = self;
        let kinds = watermarks.tunables.zones;
        let (base, zones) = buddy.parts();
        let listed = listed(boot, base.pageblocks().order());
        let room = shared.slice(Fallbacks::required_len(layout, zones.len()), || ZoneRef::EMPTY);
        let fallbacks = Fallbacks::build(lists, layout, zones, room.ok_or(small("fallback orders"))?)
            .map_err(|_| small("fallback orders"))?;

        let count = cpus.len();
        let mut rooms = cpus;
        let mut enough = true;
        let nodes = shared.slice(count, || NodeId::ZERO).ok_or(small("the CPUs' nodes"))?;
        let mut of_cpu = nodes.iter_mut();
        let cpus = shared.slice(count, || {
            let (node, lists) = match rooms.next() {
                Some(mut room) => {
                    let first = fallbacks.first(room.node, ZoneKind::Movable);
                    let node = first.map_or(room.node, |zone| zone.nid);
                    (node, cpu_lists(&mut room.memory, watermarks, zones, listed))
                }
                None => (NodeId::ZERO, None),
            };
            enough &= lists.is_some();
            let (shelves, figures) = lists.unwrap_or_default();
            if let Some(slot) = of_cpu.next() {
                *slot = node;
            }
            let pages = CpuPages::of_node(&base, kinds, &fallbacks, node, shelves, figures);
            PerCpu::new(Attention::new(), pages)
        });
        let cpus = cpus.filter(|_| enough).ok_or(small("per-CPU lists"))?;

        let cma = CmaAreas::make(boot, &mut shared)?;
        let mut left = zones.iter_mut();
        // Only what has room is made, so from here on nothing fails.
        let cells = shared.slice(left.len(), || match left.next() {
            Some(zone) => ZoneCell::new(zone.take(), base.largest_order(), &marks(watermarks, zone)),
            None => unreachable!("as many cells as zones"),
        });
        let cells = cells.ok_or(small("zones"))?;
        let allocator =
            PageAllocator::new(base, kinds, fallbacks, cells, cpus, interrupts, hooks).with_lists(listed);
        Ok(Service { allocator, cma, base, cpus, nodes })
    }
}

/// A CPU's lists and their figures.
type CpuLists<'m> = (&'m mut [Shelf<'m>], &'m mut [ZoneFigures]);

/// Empty lists of one CPU in its memory; `None` if that is too small.
fn cpu_lists<'m>(
    memory: &mut Carve<'m>,
    watermarks: &Watermarks<'_>,
    zones: &[BuddyZone<'_, '_>],
    listed: Listed,
) -> Option<CpuLists<'m>> {
    let sizes = |n: usize| pageset(watermarks, &zones[n]);
    let mut at = 0;
    let figures = memory.slice(zones.len(), || {
        at += 1;
        ZoneFigures::new(sizes(at - 1))
    })?;
    let places = (0..zones.len()).map(|n| pcp::required_places(sizes(n), listed)).sum();
    let mut places = memory.slice(places, FrameIdx::default)?;
    let (mut zone, mut made) = (0, None);
    let shelves = memory.slice(zones.len() * pcp::SHELVES, || {
        loop {
            let shelves = made.get_or_insert_with(|| {
                let wanted = pcp::required_places(sizes(zone), listed);
                let (mine, others) = core::mem::take(&mut places).split_at_mut(wanted);
                places = others;
                pcp::shelves(sizes(zone), listed, mine).into_iter()
            });
            match shelves.next() {
                Some(shelf) => return shelf,
                None => (zone, made) = (zone + 1, None),
            }
        }
    })?;
    Some((shelves, figures))
}
