//! Reclaim, compaction and a killer that do as a script says, and a machine that is used up.

use super::super::*;
use crate::whole::with_plain_machine;
use pagewright_page::Frames;
use pagewright_zone::alloc::{
    AllocFlags, AllocRequest, CompactPriority, CompactResult, Failure, NodeReclaim, NotZeroed, Progress,
    Step, TaskFlags,
};
use pagewright_zone::buddy::ZoneId;
use pagewright_zone::{Gfp, NodeMask, ZoneKind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard};
use std::thread;

/// A node, a zone, a policy's nodes and a cpuset's, a task.
pub(super) type Told = (NodeId, ZoneKind, [Option<NodeMask>; 2], TaskFlags);

/// The answers; of a list the last one stays.
#[derive(Default)]
pub(super) struct Script {
    pub(super) freed: Mutex<Vec<u64>>,
    pub(super) reclaimable: u64,
    pub(super) compact: Mutex<Vec<CompactResult>>,
    pub(super) kills: AtomicU32,
    /// How often somebody gives memory back before it comes to that.
    pub(super) gives: AtomicU32,
    /// How often somebody else is killing already.
    pub(super) busy: AtomicU32,
    /// How often there are others who may free memory.
    pub(super) others: AtomicU32,
    pub(super) kswapd: bool,
    pub(super) node_reclaim: Option<NodeReclaim>,
    pub(super) dirty: Option<NodeId>,
    /// At this step memory really comes free.
    pub(super) free_at: Option<fn(Step) -> bool>,
    pub(super) zeroed: AtomicU64,
    pub(super) woken: Mutex<Vec<(NodeId, Order, ZoneKind)>>,
    pub(super) steps: Mutex<Vec<Step>>,
    pub(super) reports: Mutex<Vec<(Gfp, Order)>>,
    pub(super) told: Mutex<Vec<Told>>,
    pub(super) helper: Mutex<Option<(SyncSender<()>, Receiver<()>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

fn next<T: Copy>(list: &Mutex<Vec<T>>) -> Option<T> {
    let mut list = lock(list);
    if list.len() > 1 { Some(list.remove(0)) } else { list.first().copied() }
}

fn once(left: &AtomicU32) -> bool {
    left.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok()
}

impl Script {
    pub(super) fn zeroed(&self) -> u64 {
        self.zeroed.load(Relaxed)
    }
    pub(super) fn steps(&self) -> Vec<Step> {
        lock(&self.steps).clone()
    }
    pub(super) fn woken(&self) -> Vec<(NodeId, Order, ZoneKind)> {
        lock(&self.woken).clone()
    }
    pub(super) fn reports(&self) -> Vec<(Gfp, Order)> {
        lock(&self.reports).clone()
    }
    /// Notes what who makes memory is told: the highest zone, the nodes, those of the cpuset, the task.
    fn told(&self, request: &AllocRequest<'_>) {
        let masks = [request.nodes, request.mems_allowed].map(|nodes| nodes.copied());
        lock(&self.told).push((request.nid, request.highest, masks, request.task));
    }
    pub(super) fn forget(&self) {
        lock(&self.steps).clear();
        lock(&self.woken).clear();
        lock(&self.reports).clear();
    }
}

impl Hooks for &Script {
    fn zero(&self, frames: &Frames<'_>) -> Result<(), NotZeroed> {
        self.zeroed.fetch_add(frames.len(), Relaxed);
        Ok(())
    }
    fn has_kswapd(&self) -> bool {
        self.kswapd
    }
    fn wake_kswapd(&self, nid: NodeId, order: Order, highest: ZoneKind) {
        lock(&self.woken).push((nid, order, highest));
    }
    fn compact(&self, request: &AllocRequest<'_>, _: CompactPriority) -> CompactResult {
        self.told(request);
        next(&self.compact).unwrap_or(CompactResult::Skipped)
    }
    fn reclaim(&self, request: &AllocRequest<'_>) -> Progress {
        self.told(request);
        Progress { freed: next(&self.freed).unwrap_or(0) }
    }
    fn reclaimable_pages(&self, _: ZoneId) -> u64 {
        self.reclaimable
    }
    fn node_reclaim(&self, _: NodeId, _: Order, _: Gfp) -> NodeReclaim {
        self.node_reclaim.unwrap_or(NodeReclaim::NoScan)
    }
    fn node_dirty_ok(&self, nid: NodeId) -> bool {
        self.dirty != Some(nid)
    }
    fn oom_trylock(&self) -> bool {
        !once(&self.busy)
    }
    fn oom_notify(&self, request: &AllocRequest<'_>) -> bool {
        self.told(request);
        once(&self.gives)
    }
    fn out_of_memory(&self, request: &AllocRequest<'_>) -> bool {
        self.told(request);
        once(&self.kills)
    }
    fn wait_for_others(&self) -> bool {
        once(&self.others)
    }
    fn step(&self, step: Step) {
        lock(&self.steps).push(step);
        if self.free_at.is_some_and(|when| when(step))
            && let Some((ask, done)) = &*lock(&self.helper)
        {
            ask.send(()).unwrap();
            done.recv().unwrap();
        }
    }
    fn report(&self, failure: &Failure<'_>) {
        lock(&self.reports).push((failure.gfp, failure.order));
    }
}

/// A machine whose memory is all in use, and who asks for more.
pub(super) struct Used<'u> {
    pub(super) machine: PlainMachine,
    pub(super) task: TaskFlags,
    /// The nodes that the allocation is for.
    pub(super) nodes: Option<&'u NodeMask>,
    pub(super) cpuset: Option<&'u NodeMask>,
    /// Use up this node only.
    pub(super) only: Option<NodeId>,
    pub(super) node_reclaim_mode: u32,
    /// Use up this zone only.
    pub(super) fill: Gfp,
    /// Give so many pages back, most of what nobody may have who is not urgent.
    pub(super) left: usize,
}

impl Used<'_> {
    pub(super) fn of(machine: &PlainMachine) -> Self {
        Self {
            machine: machine.clone(),
            task: TaskFlags::empty(),
            nodes: None,
            cpuset: None,
            only: None,
            node_reclaim_mode: 0,
            fill: Gfp::GFP_KERNEL,
            left: 0,
        }
    }

    /// The steps of one allocation, and whether it got its pages. They are the last that the machine sees; all pages come back.
    pub(super) fn alloc(&self, script: &Script, gfp: Gfp, wanted: Order) -> (Vec<Step>, bool) {
        let last = self.machine.cpus.len();
        let mut machine = self.machine.clone();
        machine.cpus.push(machine.cpus[0]);
        with_plain_machine(&machine, script, |m| {
            let before = buddyinfo(m);
            let held = Mutex::new(vec![]);
            m.on_cpu(0, |cx| {
                let all = cx.with_task(TaskFlags::MEMALLOC);
                let mut fill = self.fill | Gfp::NOWARN;
                fill.set(Gfp::THISNODE, self.only.is_some());
                let nid = self.only.unwrap_or(cx.node);
                while let Ok(frames) = m.allocator.alloc_pages_node(&all, nid, fill, Order::ZERO) {
                    lock(&held).push(frames);
                }
                lock(&held).drain(..self.left).for_each(|page| m.allocator.free_pages(cx, page));
                m.allocator.drain_local_pages(cx);
                m.allocator.tuning().set_node_reclaim_mode(self.node_reclaim_mode);
            });
            script.forget();
            let (ask, asked) = sync_channel(0);
            let (answer, answered) = sync_channel(0);
            *lock(&script.helper) = Some((ask, answered));
            let got = thread::scope(|scope| {
                let held = &held;
                scope.spawn(move || {
                    while asked.recv().is_ok() {
                        m.on_cpu(last, |cx| {
                            let pages: Vec<_> = lock(held).drain(..1024).collect();
                            pages.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
                            m.allocator.drain_local_pages(cx);
                        });
                        answer.send(()).unwrap();
                    }
                });
                let got = m.on_cpu(0, |cx| {
                    let mut cx = cx.with_task(self.task);
                    if let Some(nodes) = self.cpuset {
                        cx = cx.in_cpuset(nodes, None);
                    }
                    m.allocator.alloc_pages_nodemask(&cx, cx.node, self.nodes, gfp, wanted).ok()
                });
                lock(&script.helper).take();
                got
            });
            let ok = got.is_some();
            let steps = script.steps();
            m.on_cpu(0, |cx| {
                let held = held.into_inner().unwrap();
                held.into_iter().chain(got).for_each(|frames| m.allocator.free_pages(cx, frames));
            });
            expect_all_back(m, &before);
            (steps, ok)
        })
    }
}

/// The steps as words.
pub(super) fn words(steps: &[Step]) -> String {
    let word = |step: &Step| match *step {
        Step::Warn(warning) => format!("warn {warning:?}"),
        Step::NoZone => "no zone".to_owned(),
        Step::WakeKswapd(nid) => format!("wake {}", nid.get()),
        Step::Attempt(flags) if flags.contains(AllocFlags::NO_WATERMARKS) => "try all".to_owned(),
        Step::Attempt(flags) if flags.contains(AllocFlags::OOM) => "try oom".to_owned(),
        Step::Attempt(flags) if flags.contains(AllocFlags::WMARK_HIGH) => "try high".to_owned(),
        Step::Attempt(flags) if flags.contains(AllocFlags::HARDER) => "try harder".to_owned(),
        Step::Attempt(_) => "try".to_owned(),
        Step::AnyNode => "any node".to_owned(),
        Step::ReclaimNode(nid, result) => format!("node {} {result:?}", nid.get()),
        Step::DirtyNode(nid) => format!("dirty {}", nid.get()),
        Step::Boost(_) => "boost".to_owned(),
        Step::Compact(priority, result) => format!("compact {priority:?} {result:?}"),
        Step::Reclaim(progress) => format!("reclaim {}", progress.freed),
        Step::DrainReserves => "drain".to_owned(),
        Step::LastReserves(some) => format!("last {some}"),
        Step::RetryReclaim => "more reclaim".to_owned(),
        Step::RetryCompact(priority) => format!("more compaction {priority:?}"),
        Step::OomBusy => "oom busy".to_owned(),
        Step::OomExcluded(why) => format!("no oom {why:?}"),
        Step::OomNotify => "given".to_owned(),
        Step::OomNoFs => "no fs".to_owned(),
        Step::Oom(progress) => format!("oom {progress}"),
        Step::VictimGivesUp => "victim".to_owned(),
        Step::Wait(any) => format!("wait {any}"),
        Step::Retry => "again".to_owned(),
        Step::Fail => "fail".to_owned(),
    };
    steps.iter().map(word).collect::<Vec<_>>().join(", ")
}
