//! The page allocator of a hosted machine in service: zones behind locks, and CPUs that threads can be.

mod plain;

use pagewright::service::CmaAreas;
use pagewright::{Boot, BootError, CpuRoom, Running};
use pagewright_addr::NodeId;
use pagewright_page::{FrameIdx, Frames};
use pagewright_platform::{Carve, Interrupts, NoInterrupts, PerCpu};
use pagewright_zone::ZoneSet;
use pagewright_zone::alloc::pcp::Listed;
use pagewright_zone::alloc::{
    Attention, Context, Cpu, CpuPages, Fallbacks, Hooks, NotZeroed, PageAllocator, PageEvents, ZoneCell,
    ZoneFigures, ZoneRef, pcp,
};
use pagewright_zone::buddy::{Base, Buddy};
use pagewright_zone::debug::Debugging;
use pagewright_zone::layout::Layout;
use pagewright_zone::watermark::{Pageset, ZoneMarks};
use pagewright_zone::zonelist::ZoneLists;
pub use plain::{
    PlainMachine, Pluggable, with_debugged_machine, with_interrupted_machine, with_machine,
    with_plain_machine, with_pluggable_machine, with_watched_machine,
};
use std::sync::Mutex;

/// Hooks of a machine without reclaim whose frames have no contents that anybody reads, but for page tables, which are written whole: there is nothing to
/// zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoContents;

impl Hooks for NoContents {
    fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
        Ok(())
    }
}

/// A machine's allocator and its CPUs.
pub struct Pages<'x, 'm, 's, 'a, H, I = NoInterrupts> {
    /// The allocator.
    pub allocator: PageAllocator<'x, 'm, 's, 'a, I, H>,
    /// The page map and pageblocks below it.
    pub base: Base<'a>,
    /// The contiguous areas that a booted machine's boot lent it; none on plain machines, whose tests make their own.
    pub cma: Option<CmaAreas<'x>>,
    cpus: &'x [Cpu<'m, 'a>],
    nodes: &'x [NodeId],
    claimed: Mutex<Vec<bool>>,
}

impl<'m, 's, 'a, H: Hooks, I: Interrupts> Pages<'_, 'm, 's, 'a, H, I> {
    /// Runs `f` as CPU number `cpu`, which nobody else may be at the time.
    ///
    /// # Panics
    /// If there is no such CPU, or somebody is it already.
    pub fn on_cpu<R>(&self, cpu: usize, f: impl FnOnce(&Context<'_, 'm, 'a>) -> R) -> R {
        let claim = |to: bool| {
            let mut claimed = self.claimed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            assert!(claimed[cpu] != to, "CPU {cpu} is in use");
            claimed[cpu] = to;
        };
        claim(true);
        // SAFETY: the claim was free and is given back only when `f` is done, and the handle cannot leave this thread; the
        // lock around the claims orders what one thread does as this CPU before what the next does.
        let here = unsafe { self.cpus[cpu].here() };
        let _being = Being::enter(self.number(), cpu);
        let result = f(&Context::new(here, self.nodes[cpu]));
        claim(false);
        result
    }

    /// Runs `f` as the CPU that this thread is already, as a handler does that comes in between; with the CPU's number. `None` if it is none.
    pub fn on_this_cpu<R>(&self, f: impl FnOnce(usize, &Context<'_, 'm, 'a>) -> R) -> Option<R> {
        let cpu = Being::of(self.number())?;
        // SAFETY: this thread is inside `on_cpu` of this machine as that CPU, whose handle it may use inside the use of the outer one.
        let here = unsafe { self.cpus[cpu].here() };
        Some(f(cpu, &Context::new(here, self.nodes[cpu])))
    }

    /// What tells this machine from others of this process.
    fn number(&self) -> usize {
        core::ptr::from_ref(&self.claimed).addr()
    }

    /// The word by which a CPU is reached.
    ///
    /// # Panics
    /// If there is no such CPU.
    pub fn attention(&self, cpu: usize) -> &Attention {
        self.cpus[cpu].shared()
    }

    /// Their nodes.
    pub fn nodes(&self) -> &[NodeId] {
        self.nodes
    }

    /// How many CPUs there are.
    pub fn cpus(&self) -> usize {
        self.cpus.len()
    }
}

thread_local! {
    /// Which CPUs of which machines this thread is, innermost last.
    static BEING: std::cell::RefCell<Vec<(usize, usize)>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// This thread is a CPU as long as the value exists.
struct Being;

impl Being {
    fn enter(machine: usize, cpu: usize) -> Self {
        BEING.with_borrow_mut(|being| being.push((machine, cpu)));
        Self
    }

    /// Which CPU of a machine it is.
    fn of(machine: usize) -> Option<usize> {
        BEING.with_borrow(|being| being.iter().rev().find(|(of, _)| *of == machine).map(|(_, cpu)| *cpu))
    }
}

impl Drop for Being {
    fn drop(&mut self) {
        BEING.with_borrow_mut(Vec::pop);
    }
}

/// Puts the page allocator of a booted machine in service for the processors that the boot started, in the host's memory, and hands it to
/// `then`. The zones are gone from `running` afterwards.
///
/// # Errors
/// As for [`Running::serve`].
pub fn with_service<'s, 'a, H: Hooks, R>(
    boot: &Boot<'_>,
    running: &mut Running<'_, 's, 'a>,
    hooks: H,
    then: impl FnOnce(&Pages<'_, '_, 's, 'a, H>, &Running<'_, 's, 'a>) -> R,
) -> Result<R, BootError> {
    with_watched_service(boot, running, hooks, Watchers::default(), then)
}

/// The same, with debugging that [`PageAllocator::set_debugging`] switches on, and somebody who is told of events once [`PageAllocator::set_events`] says so.
///
/// # Errors
/// As for [`Running::serve`].
pub fn with_watched_service<'s: 't, 't, 'a, H: Hooks, R>(
    boot: &Boot<'_>,
    running: &mut Running<'_, 's, 'a>,
    hooks: H,
    watchers: Watchers<'t>,
    then: impl FnOnce(&Pages<'_, '_, 't, 'a, H>, &Running<'_, 's, 'a>) -> R,
) -> Result<R, BootError> {
    let cpus = boot.online_cpus().last().map_or(1, |last| last as usize + 1);
    let bytes = running.service_bytes(boot, cpus);
    let words = |bytes: u64| vec![0_u64; bytes.div_ceil(8) as usize];
    let mut shared = words(bytes.shared);
    let mut lists: Vec<_> = (0..cpus).map(|_| words(bytes.each_cpu)).collect();
    let rooms = lists.iter_mut().enumerate().map(|(cpu, words)| {
        let node = boot.node_of_cpu(cpu as u32);
        CpuRoom { node, memory: Carve::of(words) }
    });
    let service = running.serve(boot, Carve::of(&mut shared), rooms, NoInterrupts, hooks)?;
    let nodes: Vec<_> = (0..cpus).map(|cpu| service.node(cpu)).collect();
    let (base, cpus, cma) = (*service.base(), service.cpus(), Some(service.cma));
    let claimed = Mutex::new(vec![false; cpus.len()]);
    let allocator = watchers.watch(service.allocator);
    Ok(then(&Pages { allocator, base, cma, cpus, nodes: &nodes, claimed }, running))
}

/// Who watches a machine.
#[derive(Clone, Copy, Default)]
pub struct Watchers<'w> {
    /// Debugging, if there is any.
    pub debugging: Option<&'w Debugging<'w>>,
    /// Who is told of events, if anybody.
    pub events: Option<&'w dyn PageEvents>,
}

impl std::fmt::Debug for Watchers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watchers({}, {})", self.debugging.is_some(), self.events.is_some())
    }
}

impl<'w> Watchers<'w> {
    fn watch<'z, 'm, 'a, I: Interrupts, H: Hooks>(
        self,
        allocator: PageAllocator<'z, 'm, 'w, 'a, I, H>,
    ) -> PageAllocator<'z, 'm, 'w, 'a, I, H>
    where
        'w: 'z,
    {
        let allocator = match self.debugging {
            Some(debugging) => allocator.with_debugging(debugging),
            None => allocator,
        };
        match self.events {
            Some(events) => allocator.with_events(events),
            None => allocator,
        }
    }
}

/// Puts a buddy allocator's zones behind locks, makes the CPUs' lists in the host's memory, and hands all that to `then`.
/// The zones are empty afterwards.
#[expect(clippy::too_many_arguments, reason = "what a page allocator is made of")]
pub fn serve<'s, 'a, H: Hooks, R>(
    buddy: &mut Buddy<'_, 's, 'a>,
    kinds: ZoneSet,
    lists: &ZoneLists<'_>,
    layout: &Layout<'_>,
    marks: &[ZoneMarks],
    nodes: &[NodeId],
    hooks: H,
    then: impl FnOnce(&Pages<'_, '_, 's, 'a, H>) -> R,
) -> R {
    let (mut then, mut result) = (Some(then), None);
    let marks = (marks, Pageset::default(), false);
    let quiet = (NoInterrupts, hooks);
    serve_watched(buddy, kinds, lists, layout, marks, nodes, quiet, Watchers::default(), &mut |pages| {
        result = then.take().map(|then| then(pages));
    });
    result.expect("an allocator in service calls what comes then")
}

#[expect(clippy::too_many_arguments, reason = "what a page allocator is made of")]
fn serve_watched<'s, 'a, H: Hooks, I: Interrupts>(
    buddy: &mut Buddy<'_, 's, 'a>,
    kinds: ZoneSet,
    lists: &ZoneLists<'_>,
    layout: &Layout<'_>,
    (marks, room, single): (&[ZoneMarks], Pageset, bool),
    nodes: &[NodeId],
    (interrupts, hooks): (I, H),
    watchers: Watchers<'s>,
    then: &mut dyn FnMut(&Pages<'_, '_, 's, 'a, H, I>),
) {
    let (base, zones) = buddy.parts();
    let mut orders = vec![ZoneRef::EMPTY; Fallbacks::required_len(layout, zones.len())];
    let fallbacks = Fallbacks::build(lists, layout, zones, &mut orders).expect("as long as was asked for");
    let cells: Vec<_> = zones
        .iter_mut()
        .map(|zone| {
            let none = ZoneMarks::new(zone.nid(), zone.kind(), 0, false);
            let marks = marks.iter().find(|m| m.nid == zone.nid() && m.kind == zone.kind());
            ZoneCell::new(zone.take(), base.largest_order(), marks.unwrap_or(&none))
        })
        .collect();
    let listed = if single { Listed::Single } else { Listed::UpToHuge(base.pageblocks().order()) };
    // Lists of zones that may grow have room for more than they may hold now.
    let roomy = |cell: &ZoneCell<'_, '_>| {
        let now = cell.pageset();
        Pageset { high: now.high.max(room.high), batch: now.batch.max(room.batch) }
    };
    let places: usize = cells.iter().map(|c| pcp::required_places(roomy(c), listed)).sum();
    let mut rooms = vec![vec![FrameIdx::default(); places]; nodes.len()];
    let mut figures: Vec<Vec<_>> =
        nodes.iter().map(|_| cells.iter().map(|c| ZoneFigures::new(c.pageset())).collect()).collect();
    let mut shelves: Vec<Vec<_>> = rooms
        .iter_mut()
        .map(|room| {
            let mut room = &mut room[..];
            let of_zone = |cell: &ZoneCell<'_, '_>| {
                let wanted = pcp::required_places(roomy(cell), listed);
                let (mine, others) = std::mem::take(&mut room).split_at_mut(wanted);
                room = others;
                pcp::shelves(roomy(cell), listed, mine)
            };
            cells.iter().flat_map(of_zone).collect()
        })
        .collect();
    let cpus: Vec<_> = shelves
        .iter_mut()
        .zip(&mut figures)
        .zip(nodes)
        .map(|((shelves, figures), &node)| {
            let pages = CpuPages::of_node(&base, kinds, &fallbacks, node, shelves, figures);
            PerCpu::new(Attention::new(), pages)
        })
        .collect();
    let allocator = PageAllocator::new(base, kinds, fallbacks, &cells, &cpus, interrupts, hooks);
    let allocator = watchers.watch(allocator);
    let claimed = Mutex::new(vec![false; nodes.len()]);
    then(&Pages { allocator, base, cma: None, cpus: &cpus, nodes, claimed });
}
