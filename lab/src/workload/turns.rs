//! Operations, and who does them when: processors one after the other, or all at once.

use super::areas::{AreaPhase, VmAreas};
use super::blocks::Number;
use super::daemons::daemons;
use super::drive::Machine;
use super::numbers::Numbers;
use super::objects::{ObjectPhase, Objects};
use super::{Lifetime, Phase};
use pagewright_addr::Order;
use pagewright_zone::alloc::Context;
use pagewright_zone::buddy::MigrateType;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many operations a processor does before the next has its turn.
const TURN: u64 = 32;

/// What all processors share.
pub(super) struct Shared<'w> {
    pub(super) phase: &'w Phase,
    /// Pages that were free at the start.
    pub(super) memory: u64,
    /// Blocks that may be freed.
    pub(super) live: &'w Mutex<VecDeque<Number>>,
    pub(super) asked: [AtomicU64; Order::LIMIT],
    pub(super) failed: [AtomicU64; Order::LIMIT],
    pub(super) freed: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared<'_> {
    /// How many pages should be held after so many operations: the swing is a triangle.
    fn target(&self, done: u64) -> u64 {
        let Phase { fill, swing, period, .. } = *self.phase;
        let (at, half) = (done % period, (period / 2).max(1));
        let up = if at < half { at } else { period - at };
        // From `fill - swing` to `fill + swing`, in thousandths.
        let wave = (2 * swing * 10 * up.min(half)) / half;
        let share = (fill * 10 + wave).saturating_sub(swing * 10).min(990);
        self.memory / 1000 * share + self.memory % 1000 * share / 1000
    }

    /// One operation.
    fn step<'m, 's, 'a>(
        &self,
        pages: &Machine<'_, 'm, 's, 'a, '_>,
        cx: &Context<'_, 'm, 'a>,
        numbers: &mut Numbers,
        done: u64,
    ) {
        let (held, target) = (pages.allocator.hooks().pages(), self.target(done));
        // Around the target both go on; far from it only one does.
        let more =
            if held < target { held < target / 20 * 19 || numbers.percent(75) } else { numbers.percent(25) };
        let grows = more && held <= target + target / 20;
        // Where nothing can be freed, there is only one way to go on.
        if grows || (!self.free(pages, cx, numbers) && held < target) {
            self.allocate(pages, cx, numbers);
        }
    }

    fn allocate<'m, 's, 'a>(
        &self,
        pages: &Machine<'_, 'm, 's, 'a, '_>,
        cx: &Context<'_, 'm, 'a>,
        numbers: &mut Numbers,
    ) {
        let drawn = (self.phase.orders.at(numbers.next()), self.phase.masks.at(numbers.next()));
        let (Some(order), Some(gfp)) = drawn else { return };
        self.asked[order.index()].fetch_add(1, Relaxed);
        match pages.allocator.alloc_pages(cx, gfp, order) {
            Ok(frames) => {
                let movable = gfp.migrate_type(true) == Ok(MigrateType::Movable);
                let pinned = movable && numbers.percent(self.phase.pinned);
                let number = pages.allocator.hooks().keep(frames, movable, pinned);
                if !numbers.percent(self.phase.stay) {
                    lock(self.live).push_back(number);
                }
            }
            Err(_) => _ = self.failed[order.index()].fetch_add(1, Relaxed),
        }
    }

    /// Frees a block. False if there is none.
    fn free<'m, 's, 'a>(
        &self,
        pages: &Machine<'_, 'm, 's, 'a, '_>,
        cx: &Context<'_, 'm, 'a>,
        numbers: &mut Numbers,
    ) -> bool {
        let chosen = {
            let mut live = lock(self.live);
            match self.phase.lifetime {
                Lifetime::Random => {
                    let at = numbers.below(live.len() as u64) as usize;
                    live.swap_remove_back(at)
                }
                Lifetime::Oldest => live.pop_front(),
                Lifetime::Newest => live.pop_back(),
            }
        };
        let Some(number) = chosen else { return false };
        if let Some(frames) = pages.allocator.hooks().give_up(number) {
            pages.allocator.free_pages(cx, frames);
        }
        self.freed.fetch_add(1, Relaxed);
        true
    }
}

/// A part of the workload: blocks, and objects and areas if it has any.
pub(super) struct Both<'b> {
    pub(super) blocks: &'b Shared<'b>,
    pub(super) objects: Option<(&'b dyn Objects, &'b ObjectPhase<'b>)>,
    pub(super) areas: Option<(&'b dyn VmAreas, &'b AreaPhase<'b>)>,
}

impl Both<'_> {
    /// One turn of a processor: operations on blocks first, then those on objects, then those on areas.
    fn turn(
        &self,
        pages: &Machine<'_, '_, '_, '_, '_>,
        cpu: usize,
        numbers: &mut Numbers,
        count: u64,
        done: impl Fn(u64) -> u64,
    ) {
        let areas = self.areas.map_or(0, |(_, wanted)| wanted.share(numbers, count));
        let count = count - areas;
        let objects = self.objects.map_or(0, |(_, stored)| stored.share(numbers, count));
        pages.on_cpu(cpu, |cx| {
            (0..count - objects).for_each(|n| self.blocks.step(pages, cx, numbers, done(n)));
        });
        if let Some((store, stored)) = self.objects.filter(|_| objects > 0) {
            store.steps(stored, cpu, numbers, objects);
        }
        if let Some((vmalloc, wanted)) = self.areas.filter(|_| areas > 0) {
            vmalloc.steps(wanted, cpu, numbers, areas);
        }
    }
}

/// One thread is all processors in turn: the same seed does the same to the page.
pub(super) fn in_turns(
    pages: &Machine<'_, '_, '_, '_, '_>,
    both: &Both<'_>,
    numbers: &mut [Numbers],
    begin: u64,
    count: u64,
) {
    let mut at = 0;
    while at < count {
        for (cpu, numbers) in numbers.iter_mut().enumerate() {
            let turn = TURN.min(count - at);
            both.turn(pages, cpu, numbers, turn, |n| begin + at + n);
            at += turn;
        }
        pages.on_cpu(0, |cx| daemons(pages, cx, false));
    }
}

/// Each processor is a thread.
pub(super) fn at_once(
    pages: &Machine<'_, '_, '_, '_, '_>,
    (blocks, objects): (&Shared<'_>, Option<(&dyn Objects, &ObjectPhase<'_>)>),
    numbers: &mut [Numbers],
    begin: u64,
    count: u64,
) {
    let cpus = numbers.len() as u64;
    std::thread::scope(|scope| {
        for (cpu, numbers) in numbers.iter_mut().enumerate() {
            let mine = count / cpus + u64::from((cpu as u64) < count % cpus);
            scope.spawn(move || {
                let both = Both { blocks, objects, areas: None };
                let mut at = 0;
                while at < mine {
                    let turn = TURN.min(mine - at);
                    both.turn(pages, cpu, numbers, turn, |n| begin + (at + n) * cpus);
                    at += turn;
                }
            });
        }
    });
}
