//! Booting a [`Spec`], and what is left to look at.

use super::Spec;
use pagewright::cma::CmaArea;
use pagewright::crash::CrashKernel;
use pagewright::hugetlb::Pools;
use pagewright::numa::Distances;
use pagewright::percpu::AllocInfo;
use pagewright::pgtable::TableEvent;
use pagewright::reserved_mem::{Outcome, Verdict};
use pagewright::{Boot, BootError, EventSink, Level, Phase, Running, Tables, Workspace};
use pagewright_addr::{NodeId, PfnRange, PhysAddr, PhysRange};
use pagewright_firmware::Machine;
use pagewright_firmware::e820::E820Entry;
use pagewright_memblock::{Event, Flags, Memblock, Region, RegionMemory, Set, Sink};
use pagewright_page::flags_layout::PageFlagsLayout;
use pagewright_page::model::{MapSpace, NodeMap, SectionRun};
use pagewright_zone::ZoneKind;
use pagewright_zone::layout::{MemFlags, MemRange, NodeLayout};
use pagewright_zone::watermark::Cpus;
use std::cell::RefCell;
use std::fmt::Arguments;

/// Everything that a boot says.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) lines: RefCell<Vec<(Level, String)>>,
    pub(crate) events: RefCell<Vec<Event>>,
    pub(crate) phases: RefCell<Vec<Phase>>,
    pub(crate) tables: RefCell<Vec<TableEvent>>,
    /// Events are not kept.
    brief: bool,
}

impl Sink for Log {
    fn event(&self, event: &Event) {
        if !self.brief {
            self.events.borrow_mut().push(*event);
        }
    }
}

impl EventSink for Log {
    fn line(&self, level: Level, text: Arguments<'_>) {
        self.lines.borrow_mut().push((level, text.to_string()));
    }

    fn page_tables(&self, event: TableEvent) {
        self.tables.borrow_mut().push(event);
    }

    fn phase(&self, phase: Phase, memblock: &Memblock<'_>) {
        memblock.validate().unwrap_or_else(|v| panic!("memblock at {phase:?}: {v}"));
        self.phases.borrow_mut().push(phase);
    }
}

/// Slots for grown arrays.
struct Spare<'a>(&'a mut [Region]);

impl<'a> RegionMemory<'a> for Spare<'a> {
    fn claim(&mut self, _: PhysRange, slots: usize) -> Option<&'a mut [Region]> {
        let (claimed, rest) = std::mem::take(&mut self.0).split_at_mut_checked(slots)?;
        self.0 = rest;
        Some(claimed)
    }
}

/// A region of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bank {
    pub(crate) range: PhysRange,
    pub(crate) nid: Option<u16>,
    pub(crate) flags: Flags,
}

/// A zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Zone {
    pub(crate) nid: u16,
    pub(crate) kind: ZoneKind,
    pub(crate) pfns: PfnRange,
    pub(crate) present: u64,
}

/// What a boot came to.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) log: Vec<(Level, String)>,
    pub(crate) events: Vec<Event>,
    pub(crate) phases: Vec<Phase>,
    pub(crate) memory: Vec<Bank>,
    pub(crate) reserved: Vec<PhysRange>,
    pub(crate) cma: Vec<CmaArea>,
    pub(crate) crash: CrashKernel,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) online: Vec<u16>,
    /// Processors that are started.
    pub(crate) started: Vec<u32>,
    pub(crate) possible: Vec<u16>,
    pub(crate) distances: Distances,
    pub(crate) memstart: PhysAddr,
    pub(crate) dma_limit: PhysAddr,
    pub(crate) high_memory: PhysAddr,
    pub(crate) initrd: Option<PhysRange>,
    pub(crate) zones: Vec<Zone>,
    pub(crate) nodes: Vec<NodeLayout>,
    pub(crate) percpu: Option<AllocInfo>,
    pub(crate) pools: Pools,
    pub(crate) flags: Option<PageFlagsLayout>,
    pub(crate) mobility: bool,
    pub(crate) sections: u64,
    pub(crate) maps: Vec<PhysRange>,
    pub(crate) swiotlb: Option<PhysRange>,
    pub(crate) e820: Vec<E820Entry>,
    /// After the hand-over and the initcalls.
    pub(crate) after: After,
}

/// What the running page allocator says.
#[derive(Debug, Default)]
pub(crate) struct After {
    pub(crate) managed: Vec<(u16, ZoneKind, u64)>,
    pub(crate) cma_pages: u64,
    /// CmaTotal.
    pub(crate) total_cma: u64,
    pub(crate) total_at_init: u64,
    pub(crate) huge_pages: u64,
    pub(crate) min_free_kbytes: u64,
}

/// How far a boot may be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// To the end of memblock's time.
    Memblock,
    /// To the page allocator, which is checked but not used.
    Allocator,
    /// To the page allocator, from which blocks are taken and given back.
    Use,
    /// The same for machines that are small enough; others end with memblock's time.
    UseIfSmall,
}

/// Machines with more frames than this are not small.
const SMALL: u64 = 1 << 19;

/// What looks at a boot on its way, each once.
pub(crate) struct Hooks<'h> {
    /// At the end of memblock's time, if the boot came there.
    pub(crate) look: &'h mut dyn FnMut(&Boot<'_>),
    /// Where it stopped, if it did not.
    pub(crate) stopped: &'h mut dyn FnMut(&Boot<'_>),
    /// After the hand-over, before the initcalls.
    pub(crate) service: &'h mut dyn FnMut(&Boot<'_>, &mut Running<'_, '_, '_>),
    /// After the initcalls.
    pub(crate) last: &'h mut dyn FnMut(&Boot<'_>, &Running<'_, '_, '_>),
}

impl Default for Hooks<'_> {
    fn default() -> Self {
        let (look, stopped) =
            (Box::leak(Box::new(|_: &Boot<'_>| ())), Box::leak(Box::new(|_: &Boot<'_>| ())));
        Self {
            look,
            stopped,
            service: Box::leak(Box::new(|_: &Boot<'_>, _: &mut Running<'_, '_, '_>| ())),
            last: Box::leak(Box::new(|_: &Boot<'_>, _: &Running<'_, '_, '_>| ())),
        }
    }
}

impl Spec {
    /// Boots the machine; `prepare` has its word first.
    ///
    /// Whatever happens, memblock must hold its invariants, and after a boot the page allocator must, too.
    pub(crate) fn boot_with(
        &self,
        depth: Depth,
        prepare: impl FnOnce(&mut Boot<'_>),
    ) -> (Result<Facts, BootError>, Log) {
        self.boot_looking(depth, prepare, |_| ())
    }

    /// The same; `look` sees what a boot that went well left behind.
    pub(crate) fn boot_looking(
        &self,
        depth: Depth,
        prepare: impl FnOnce(&mut Boot<'_>),
        look: impl FnOnce(&Boot<'_>),
    ) -> (Result<Facts, BootError>, Log) {
        let log = Log { brief: !self.record, ..Log::default() };
        let mut look = Some(look);
        let mut look = |boot: &Boot<'_>| look.take().into_iter().for_each(|look| look(boot));
        let hooks = Hooks { look: &mut look, ..Hooks::default() };
        let result = self.lend(|machine| run(self, machine, &log, depth, prepare, hooks));
        (result.expect("the firmware's tables can be read"), log)
    }

    /// Boots to a running page allocator; `look` sees what is there then.
    pub(crate) fn boot_to_the_end(
        &self,
        prepare: impl FnOnce(&mut Boot<'_>),
        look: impl FnOnce(&Boot<'_>),
    ) -> (Result<Facts, BootError>, Log) {
        let log = Log { brief: !self.record, ..Log::default() };
        let mut look = Some(look);
        let mut last = |boot: &Boot<'_>, _: &Running<'_, '_, '_>| {
            look.take().into_iter().for_each(|look| look(boot));
        };
        let hooks = Hooks { last: &mut last, ..Hooks::default() };
        let result = self.lend(|machine| run(self, machine, &log, Depth::Allocator, prepare, hooks));
        (result.expect("the firmware's tables can be read"), log)
    }

    /// Boots to a running page allocator with all hooks.
    pub(crate) fn boot_hooked(
        &self,
        prepare: impl FnOnce(&mut Boot<'_>),
        hooks: Hooks<'_>,
    ) -> Result<Facts, BootError> {
        let log = Log { brief: true, ..Log::default() };
        let result = self.lend(|machine| run(self, machine, &log, Depth::Allocator, prepare, hooks));
        result.expect("the firmware's tables can be read")
    }

    /// A boot that must succeed.
    #[track_caller]
    pub(crate) fn boot(&self) -> Facts {
        match self.boot_with(Depth::Use, |_| ()) {
            (Ok(facts), _) => facts,
            (Err(e), log) => panic!("the boot stopped: {e}\n{:#?}", log.lines.borrow()),
        }
    }

    /// A boot that must be refused.
    #[track_caller]
    pub(crate) fn refused(&self) -> BootError {
        match self.boot_with(Depth::Use, |_| ()) {
            (Ok(facts), _) => panic!("the boot went through: {:?}", facts.memory),
            (Err(e), _) => e,
        }
    }
}

/// Boots in memory of its own.
fn run(
    spec: &Spec,
    machine: &Machine<'_>,
    log: &Log,
    depth: Depth,
    prepare: impl FnOnce(&mut Boot<'_>),
    hooks: Hooks<'_>,
) -> Result<Facts, BootError> {
    let mut memory = vec![Region::default(); spec.slots.0];
    let mut reserved = vec![Region::default(); spec.slots.1];
    let mut slots = vec![Region::default(); 1 << 14];
    let mut spare = Spare(&mut slots);
    let blank = MemRange { pfns: PfnRange::default(), nid: NodeId::ZERO, flags: MemFlags::empty() };
    let mut ranges = vec![blank; 1 << 12];
    let possible = spec.config.max_numnodes() as usize;
    let mut nodes = vec![NodeLayout::EMPTY; possible];
    let mut zonelists = vec![NodeId::ZERO; possible * (possible + 1)];
    let mut sections = vec![SectionRun::EMPTY; 1 << 12];
    let mut subsections = vec![PfnRange::default(); 1 << 12];
    let mut node_maps = vec![NodeMap::EMPTY; possible];
    let mut tables = Box::new(Tables::new());
    let workspace = Workspace {
        memory: &mut memory,
        reserved: &mut reserved,
        region_memory: Some(&mut spare),
        ranges: &mut ranges,
        nodes: &mut nodes,
        zonelists: &mut zonelists,
        tables: &mut tables,
        maps: MapSpace { sections: &mut sections, subsections: &mut subsections, node_maps: &mut node_maps },
    };
    let mut boot = Boot::new(machine, workspace, log)?;
    prepare(&mut boot);
    let result = boot.run();
    boot.mb.validate().unwrap_or_else(|v| panic!("memblock after {result:?}: {v}"));
    // Regions that overlap each other are given back for each other, as in Linux.
    if depth != Depth::UseIfSmall {
        sound(&boot);
    }
    if let Err(e) = result {
        (hooks.stopped)(&boot);
        return Err(e);
    }
    super::model::check(&boot);
    (hooks.look)(&boot);
    let facts = collect(&boot, log);
    let frames: u64 = boot.mb.mem_pfn_ranges(None).map(|(r, _)| r.len()).sum();
    if depth == Depth::Memblock || (depth == Depth::UseIfSmall && frames > SMALL) {
        return Ok(facts);
    }
    let after = pagewright_sim::with_page_allocator(&mut boot, |boot, running| {
        let nodes: Vec<NodeId> = cpu_nodes(boot);
        let on_node = |nid: NodeId| nodes.iter().filter(|n| **n == nid).count() as u32;
        running.buddy.validate().unwrap_or_else(|v| panic!("after the hand-over: {v}"));
        running.watermarks.validate().unwrap_or_else(|v| panic!("after the hand-over: {v}"));
        (hooks.service)(boot, running);
        running.initcalls(boot, &Cpus { online: nodes.len() as u32, on_node: &on_node });
        running.buddy.validate().unwrap_or_else(|v| panic!("after the initcalls: {v}"));
        running.watermarks.validate().unwrap_or_else(|v| panic!("after the initcalls: {v}"));
        (hooks.last)(boot, running);
        if matches!(depth, Depth::Use | Depth::UseIfSmall) {
            super::usage::use_and_return(running);
        }
        let after = after(boot, running);
        if matches!(depth, Depth::Use | Depth::UseIfSmall) {
            super::service::serve_and_return(boot, running);
        }
        after
    });
    match after {
        Ok(after) => Ok(Facts {
            log: log.lines.borrow().clone(),
            phases: log.phases.borrow().clone(),
            cma: boot.cma.to_vec(),
            after,
            ..facts
        }),
        Err(pagewright_sim::HostedError::Boot(e)) => Err(e),
        Err(e) => panic!("the host: {e}"),
    }
}

/// What must hold at any point, also where a boot stopped: nothing is promised to anyone that is not reserved.
fn sound(boot: &Boot<'_>) {
    let taken = |range: PhysRange, what: &str| {
        let free = boot.mb.free_ranges(None, Flags::empty()).find(|(r, _)| r.overlaps(&range));
        assert!(free.is_none(), "{what} {range:?} is partly free: {free:?}");
    };
    for area in boot.cma.iter() {
        taken(area.range, "a CMA area");
    }
    for range in [boot.crash.main, boot.crash.low].into_iter().flatten() {
        taken(range, "the crash kernel");
    }
    for range in boot.memmap_areas.iter() {
        taken(*range, "a memory map");
    }
    if let Some(range) = boot.swiotlb {
        taken(range, "the bounce buffer");
    }
    for v in boot.reserved_mem.iter() {
        if matches!(v.outcome, Outcome::Reserved | Outcome::DmaPool | Outcome::Cma(_)) {
            taken(v.range, "a reserved region");
        }
    }
}

fn cpu_nodes(boot: &Boot<'_>) -> Vec<NodeId> {
    (0..boot.possible_cpus.ids()).map(|cpu| boot.node_of_cpu(cpu)).collect()
}

fn collect(boot: &Boot<'_>, log: &Log) -> Facts {
    let layout = boot.layout.as_ref().expect("zones after a boot");
    let mut zones = Vec::new();
    for node in layout.nodes().iter().filter(|n| n.possible) {
        for z in node.populated() {
            zones.push(Zone { nid: node.nid.get(), kind: z.kind, pfns: z.pfns(), present: z.present });
        }
    }
    Facts {
        log: log.lines.borrow().clone(),
        events: log.events.borrow().clone(),
        phases: log.phases.borrow().clone(),
        memory: boot
            .mb
            .regions(Set::Memory)
            .iter()
            .map(|r| Bank { range: r.range(), nid: r.nid().map(NodeId::get), flags: r.flags() })
            .collect(),
        reserved: boot.mb.regions(Set::Reserved).iter().map(Region::range).collect(),
        cma: boot.cma.iter().cloned().collect(),
        crash: boot.crash,
        verdicts: boot.reserved_mem.iter().cloned().collect(),
        started: boot.online_cpus().collect(),
        online: boot.nodes_online.iter().map(NodeId::get).collect(),
        possible: boot.nodes_possible.iter().map(NodeId::get).collect(),
        distances: boot.distances.clone(),
        memstart: boot.memstart,
        dma_limit: boot.dma_limit,
        high_memory: boot.high_memory,
        initrd: boot.initrd,
        zones,
        nodes: layout.nodes().iter().filter(|n| n.possible).copied().collect(),
        percpu: boot.percpu.clone(),
        pools: boot.huge_pools.clone(),
        flags: boot.page_flags,
        mobility: boot.mobility_grouping,
        sections: boot.model.as_ref().and_then(|m| m.sections()).map_or(0, |s| s.count()),
        maps: boot.memmap_areas.iter().copied().collect(),
        swiotlb: boot.swiotlb,
        e820: boot.e820.iter().flat_map(|t| t.entries().to_vec()).collect(),
        after: After::default(),
    }
}

fn after(boot: &Boot<'_>, running: &Running<'_, '_, '_>) -> After {
    let zones = running.buddy.zones();
    After {
        managed: zones.iter().map(|z| (z.nid().get(), z.kind(), z.managed_pages())).collect(),
        cma_pages: zones.iter().map(|z| z.cma_pages()).sum(),
        total_cma: boot.total_cma_pages,
        total_at_init: running.total_ram_at_init,
        huge_pages: running.huge_pages,
        min_free_kbytes: running.watermarks.min_free_kbytes(),
    }
}

impl Facts {
    /// The memory regions as (start, end) in MiB.
    pub(crate) fn ram_mib(&self) -> Vec<(u64, u64)> {
        self.memory.iter().map(|b| (b.range.start.get() >> 20, b.range.end.get() >> 20)).collect()
    }

    /// Bytes of memory.
    pub(crate) fn ram(&self) -> u64 {
        self.memory.iter().map(|b| b.range.len()).sum()
    }

    /// Whether all of the range is reserved.
    pub(crate) fn is_reserved(&self, range: PhysRange) -> bool {
        self.reserved.iter().any(|r| r.contains_range(&range))
    }

    /// Whether none of it is.
    pub(crate) fn is_free(&self, range: PhysRange) -> bool {
        !self.reserved.iter().any(|r| r.overlaps(&range))
    }

    /// Whether some line of the log contains this.
    pub(crate) fn said(&self, text: &str) -> bool {
        self.log.iter().any(|(_, line)| line.contains(text))
    }

    /// The lines that contain this.
    pub(crate) fn lines(&self, text: &str) -> Vec<&str> {
        self.log.iter().map(|(_, l)| l.as_str()).filter(|l| l.contains(text)).collect()
    }

    /// Expects a line.
    #[track_caller]
    pub(crate) fn expect(&self, text: &str) {
        assert!(self.said(text), "no line has {text:?}:\n{:#?}", self.log);
    }

    /// The zones as text: node, kind, first and last frame.
    pub(crate) fn zone(&self, nid: u16, kind: ZoneKind) -> Option<&Zone> {
        self.zones.iter().find(|z| z.nid == nid && z.kind == kind)
    }
}
