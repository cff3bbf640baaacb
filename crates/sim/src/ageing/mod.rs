//! A machine that grows old: a workload with a fixed seed that fragments memory as a kernel's users do, and a look at what is left.
//!
//! Pages of all mobilities come in mixed orders and live for times with a long tail: most unmovable ones are gone soon, some stay for good. Memory
//! is filled to nine tenths and kept there by giving up movable pages, as reclaim would; now and then a large user leaves with a third of
//! them, or the kernel wants most for itself. Meanwhile huge pages are asked for. Everything follows from the seed, so runs with different [`Policy`]s see the same requests as long
//! as these are served.
//!
//! Each fallback is replayed by [`check`] as it happens.

pub mod check;
mod world;

use crate::pages::{Pages, PlainMachine, with_watched_machine};
use crate::random::Random;
use check::{Rules, Violation};
use pagewright_addr::{NodeId, Order};
use pagewright_page::Frames;
use pagewright_zone::alloc::compact::Kcompactd;
use pagewright_zone::alloc::{Context, PageEvent, PageEvents, TaskFlags, ZoneCell};
use pagewright_zone::buddy::{Fallback, MigrateType, WatchFallbacks, ZoneId};
use pagewright_zone::{Gfp, ZoneKind};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};
use world::World;

/// What is done against fragmentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// A name for tables.
    pub name: &'static str,
    /// Pageblocks are grouped by mobility.
    pub grouping: bool,
    /// Before a page that stays enters a Movable pageblock, any other block that serves is taken; Linux takes the largest.
    pub spares_movable: bool,
    /// Watermarks rise where types were mixed (`watermark_boost_factor` 15000), and kswapd frees more.
    pub boost: bool,
    /// Memory is compacted for requests that find no block, and ahead of need (`compaction_proactiveness` 20).
    pub compaction: bool,
}

/// The policies that tables compare.
pub const POLICIES: [Policy; 7] = [
    Policy { name: "all on", grouping: true, spares_movable: false, boost: true, compaction: true },
    Policy { name: "all on, sparing", grouping: true, spares_movable: true, boost: true, compaction: true },
    Policy { name: "no compaction", grouping: true, spares_movable: false, boost: true, compaction: false },
    Policy { name: "no boost", grouping: true, spares_movable: false, boost: false, compaction: true },
    Policy { name: "grouping alone", grouping: true, spares_movable: false, boost: false, compaction: false },
    Policy { name: "sparing alone", grouping: true, spares_movable: true, boost: false, compaction: false },
    Policy { name: "nothing", grouping: false, spares_movable: false, boost: false, compaction: false },
];

/// A machine and how long it lives.
#[derive(Clone, Debug)]
pub struct Life {
    /// The machine; one CPU of it is used.
    pub machine: PlainMachine,
    /// Requests.
    pub ticks: u64,
    /// How often it is looked at, evenly.
    pub samples: u64,
    /// The seed.
    pub seed: u64,
}

/// What memory looks like at one moment. Blocks are pageblocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sample {
    /// Requests so far.
    pub tick: u64,
    /// Free pages, of all.
    pub free: u64,
    /// Free blocks: what a request for a huge page finds at once.
    pub free_blocks: u64,
    /// Blocks without a page that cannot move: what there would be if all movable pages went.
    pub clean_blocks: u64,
    /// Blocks of type Movable with pages that cannot move.
    pub polluted_blocks: u64,
}

/// A life, afterwards.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The looks.
    pub samples: Vec<Sample>,
    /// Blocks of the machine.
    pub blocks: u64,
    /// Huge pages that were asked for, and those that were had.
    pub huge: (u64, u64),
    /// Other requests that failed.
    pub failed: u64,
    /// Pages that compaction moved.
    pub moved: u64,
    /// Fallbacks.
    pub fallbacks: u64,
    /// Those that took a part of a pageblock; watermarks are boosted for these.
    pub fragmenting: u64,
    /// Those that left pages that stay in a Movable block.
    pub polluting: u64,
    /// Those of them where a smaller block of a type that moves as little would have served, which Linux passes over and who spares Movable
    /// pageblocks does not.
    pub passed_over: u64,
    /// What the checker found, the first of each run's.
    pub violations: Vec<Violation>,
    /// The fallbacks themselves, the first ones.
    pub events: Vec<Fallback>,
}

/// How many events a report keeps.
const KEPT: usize = 4096;

/// The checker, as a watcher.
struct Checker {
    rules: Rules,
    report: Mutex<Report>,
}

impl WatchFallbacks for Checker {
    fn fallback(&self, event: &Fallback) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.fallbacks += 1;
        report.fragmenting += u64::from(event.is_fragmenting());
        report.polluting += u64::from(check::pollutes(event));
        report.passed_over += u64::from(check::passed_over_smaller(event));
        if let Err(violation) = check::replay(event, self.rules) {
            report.violations.push(violation);
        }
        if report.events.len() < KEPT {
            report.events.push(*event);
        }
    }
}

impl PageEvents for Checker {
    fn event(&self, _: &PageEvent<'_>) {}
}

/// At least `base`, and with each doubling half as often.
fn lifetime(random: &mut Random, base: u64) -> u64 {
    let doublings = random.below(1 << 12).trailing_zeros().min(12);
    (base << doublings) + random.below(base)
}

/// What somebody has.
enum Held<'a> {
    Movable,
    Kernel(Frames<'a>),
}

/// One life in progress.
struct Living<'p, 'x, 'z, 'm, 's, 'a> {
    pages: &'p Pages<'z, 'm, 's, 'a, &'x World>,
    cx: &'p Context<'p, 'm, 'a>,
    world: &'x World,
    kcompactd: Kcompactd,
    compaction: bool,
    random: Random,
    /// By object; numbers are not used twice.
    held: Vec<Option<Held<'a>>>,
    /// Movable objects, for whoever needs one to give up.
    movable: Vec<u32>,
    ends: BinaryHeap<Reverse<(u64, u32)>>,
    huge: (u64, u64),
    failed: u64,
    total: u64,
}

impl<'a> Living<'_, '_, '_, '_, '_, 'a> {
    fn free(&self) -> u64 {
        self.pages.allocator.zones().iter().map(|zone| zone.free_pages()).sum()
    }

    fn release(&mut self, object: u32) {
        let Some(held) = self.held[object as usize].take() else { return };
        let frames = match held {
            Held::Movable => self.world.leave(self.pages.base.map(), object),
            Held::Kernel(frames) => frames,
        };
        self.pages.allocator.free_pages(self.cx, frames);
    }

    /// Gives up a movable object, whichever. Whether there was one.
    fn reclaim_one(&mut self) -> bool {
        while !self.movable.is_empty() {
            let at = self.random.below(self.movable.len() as u64) as usize;
            let object = self.movable.swap_remove(at);
            if matches!(self.held[object as usize], Some(Held::Movable)) {
                self.release(object);
                return true;
            }
        }
        false
    }

    /// What kswapd does when it was woken (`balance_pgdat`): frees up to the high watermarks and what was put on top of them; as long as there is enough, as
    /// many pages as were put there all the same; then it lowers the watermarks again and has whole blocks made of what it freed.
    fn kswapd(&mut self) {
        if !self.world.awake.take() {
            return;
        }
        let zones = self.pages.allocator.zones();
        let enough = |zone: &ZoneCell<'_, '_>| zone.free_pages() > zone.high_pages() + zone.boost_pages();
        let boosts: Vec<(ZoneId, u64)> = zones.iter().map(|zone| (zone.id(), zone.boost_pages())).collect();
        let boost: u64 = boosts.iter().map(|&(_, pages)| pages).sum();
        if zones.iter().any(enough) {
            let aim = self.free() + boost;
            while self.free() < aim && self.reclaim_one() {
                self.pages.allocator.drain_local_pages(self.cx);
            }
        }
        for zone in zones {
            // Pages of any zone come free, and most of them stay on this CPU's lists for a while.
            for _ in 0..4 * self.total {
                if enough(zone) || !self.reclaim_one() {
                    break;
                }
            }
        }
        boosts.into_iter().for_each(|(zone, pages)| self.pages.allocator.lower_boost(zone, pages));
        if boost > 0 && self.compaction {
            let pageblock = self.pages.base.pageblocks().order();
            if self.pages.allocator.wakeup_kcompactd(&self.kcompactd, pageblock, ZoneKind::Movable) {
                self.pages.allocator.kcompactd(self.cx, self.world, &self.kcompactd, 0, false);
            }
        }
    }

    fn allocate(&mut self, tick: u64) {
        let order = |n: u8| Order::new(n).unwrap_or_default();
        // Now and then the kernel itself wants most.
        let burst = tick % self.total < self.total / 10;
        let kind = if burst { 700 + self.random.below(300) } else { self.random.below(1000) };
        let pick = |random: &mut Random, from: &[u8]| order(from[random.below(from.len() as u64) as usize]);
        let base = if burst { self.total / 16 } else { self.total / 32 };
        let (gfp, order, life) = match kind {
            0..3 => (
                Gfp::GFP_TRANSHUGE,
                self.pages.base.pageblocks().order(),
                lifetime(&mut self.random, self.total / 64),
            ),
            3..700 => (Gfp::GFP_HIGHUSER_MOVABLE, Order::ZERO, lifetime(&mut self.random, self.total / 2)),
            700..850 => {
                let order = pick(&mut self.random, &[0, 0, 0, 0, 0, 1, 2, 3]);
                (Gfp::GFP_KERNEL | Gfp::RECLAIMABLE, order, lifetime(&mut self.random, base))
            }
            _ => {
                let order = pick(&mut self.random, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4]);
                // One in a hundred stays for good.
                let stays = self.random.below(100) == 0;
                let life = if stays { u64::MAX / 2 } else { lifetime(&mut self.random, base / 2) };
                (Gfp::GFP_KERNEL, order, life)
            }
        };
        let movable = gfp.contains(Gfp::MOVABLE);
        let huge = movable && !order.is_zero();
        self.huge.0 += u64::from(huge);
        // Before a request fails, movable pages go.
        let mut tries = if huge { 1 } else { 64 };
        let frames = loop {
            match self.pages.allocator.alloc_pages(self.cx, gfp | Gfp::NOWARN | Gfp::NORETRY, order) {
                Ok(frames) => break frames,
                Err(_) if tries > 1 => {
                    tries -= 1;
                    (0..16).for_each(|_| _ = self.reclaim_one());
                    self.pages.allocator.drain_local_pages(self.cx);
                }
                Err(_) => {
                    self.failed += u64::from(!huge);
                    return;
                }
            }
        };
        self.huge.1 += u64::from(huge);
        let object = self.held.len() as u32;
        self.held.push(Some(if movable {
            self.world.settle(self.pages.base.map(), frames, object);
            self.movable.push(object);
            Held::Movable
        } else {
            Held::Kernel(frames)
        }));
        self.ends.push(Reverse((tick + life, object)));
    }

    fn tick(&mut self, tick: u64) {
        while let Some(&Reverse((end, object))) = self.ends.peek()
            && end <= tick
        {
            self.ends.pop();
            self.release(object);
        }
        // Nine tenths are in use.
        while self.free() < self.total / 10 && self.reclaim_one() {}
        self.kswapd();
        // A large user leaves.
        if tick % (2 * self.total) == self.total / 3 {
            (0..self.movable.len() / 3).for_each(|_| _ = self.reclaim_one());
        }
        if self.compaction && tick % 4096 == 4095 {
            self.pages.allocator.kcompactd(self.cx, self.world, &self.kcompactd, 20, false);
        }
        self.allocate(tick);
    }

    fn look(&self, tick: u64) -> Sample {
        self.pages.allocator.drain_local_pages(self.cx);
        let blocks = self.pages.base.pageblocks();
        let pageblock = blocks.order();
        let mut stays = vec![false; self.pages.base.map().len().div_ceil(pageblock.pages()) as usize];
        for held in self.held.iter().flatten() {
            if let Held::Kernel(frames) = held {
                stays[(u64::from(frames.start().get()) / pageblock.pages()) as usize] = true;
            }
        }
        let is_movable = |at: usize| {
            let frame = at as u64 * pageblock.pages();
            blocks.migrate_type(pagewright_page::FrameIdx::new(frame as u32)) == MigrateType::Movable
        };
        let free_blocks = |zone: ZoneId| -> u64 {
            let by_order = self.pages.allocator.free_areas(zone).counts();
            by_order
                .iter()
                .enumerate()
                .skip(pageblock.index())
                .map(|(n, b)| b << (n - pageblock.index()))
                .sum()
        };
        Sample {
            tick,
            free: self.free(),
            free_blocks: self.pages.allocator.zones().iter().map(|zone| free_blocks(zone.id())).sum(),
            clean_blocks: stays.iter().filter(|&&stays| !stays).count() as u64,
            polluted_blocks: (0..stays.len()).filter(|&at| stays[at] && is_movable(at)).count() as u64,
        }
    }
}

/// Lives a life under a policy, and gives everything back at its end.
///
/// # Panics
/// If the machine makes no sense, or the allocator's lists are not in order at a look.
pub fn age(life: &Life, policy: Policy) -> Report {
    let total = life.machine.ram.iter().map(|r| r.2).sum();
    let Policy { grouping, spares_movable, .. } = policy;
    let checker = Checker { rules: Rules { grouping, spares_movable }, report: Mutex::default() };
    let world = World::new(total as usize, policy.compaction, true);
    let machine = PlainMachine { mobility_grouping: grouping, ..life.machine.clone() };
    let lived = with_watched_machine(&machine, &world, &checker, |pages| {
        let factor = if policy.boost { 15_000 } else { 0 };
        pages.allocator.tuning().set_watermark_boost_factor(factor);
        pages.allocator.set_spares_movable_blocks(spares_movable);
        pages.allocator.set_events(true);
        pages.on_cpu(0, |cx| {
            let cx = &cx.with_task(TaskFlags::empty());
            let mut living = Living {
                pages,
                cx,
                world: &world,
                kcompactd: Kcompactd::new(NodeId::ZERO),
                compaction: policy.compaction,
                random: Random::new(life.seed),
                held: vec![],
                movable: vec![],
                ends: BinaryHeap::new(),
                huge: (0, 0),
                failed: 0,
                total,
            };
            let mut samples = vec![];
            for tick in 1..=life.ticks {
                living.tick(tick);
                if tick % (life.ticks / life.samples.max(1)).max(1) == 0 {
                    samples.push(living.look(tick));
                    assert_eq!(pages.allocator.validate(), Ok(()), "at request {tick}");
                }
            }
            (0..living.held.len() as u32).for_each(|object| living.release(object));
            pages.allocator.drain_local_pages(cx);
            assert_eq!(pages.allocator.validate(), Ok(()), "at the end");
            assert_eq!(living.free(), total, "every page is back");
            Report { samples, huge: living.huge, failed: living.failed, ..Report::default() }
        })
    });
    let checked = checker.report.into_inner().unwrap_or_else(PoisonError::into_inner);
    let blocks = total >> life.machine.pageblock.get();
    Report {
        samples: lived.samples,
        huge: lived.huge,
        failed: lived.failed,
        blocks,
        moved: world.moved.get(),
        ..checked
    }
}
