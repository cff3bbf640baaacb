//! How much anybody does at a time under a zone's lock, without interrupts, on account of pages that wait for the rest of their pageblock.

use super::waiting::{at, shuffle};
use super::*;
use pagewright_page::Frames;
use pagewright_platform::Interrupts;
use pagewright_sim::pages::with_interrupted_machine;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{Context, NoHooks, TaskFlags};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Pages that are merged in one stretch without interrupts, and after which no other run is begun.
const PART: u64 = 256;
/// Pages that a CPU gives back in one, those counted of pageblocks that become whole.
const RETURNED: u64 = 1024;
const BLOCK: u32 = 512;

/// How many stretches without interrupts there were: in each a zone's lock is taken once at most.
#[derive(Default)]
struct Stretches(AtomicU64);

// SAFETY: there are no handlers.
unsafe impl Interrupts for &Stretches {
    type Before = ();

    fn disable(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn restore(&self, (): ()) {}
}

type Machine<'x, 'm, 's, 'a, 'i> = Pages<'x, 'm, 's, 'a, NoHooks, &'i Stretches>;

/// What `f` returns, and in how many stretches it was done.
fn stretches<R>(m: &Machine<'_, '_, '_, '_, '_>, count: &Stretches, f: impl FnOnce() -> R) -> (R, u64) {
    let (before, blocks) = (count.0.load(Relaxed), m.cpus());
    let result = f();
    assert_eq!(blocks, 1, "nobody else counts");
    (result, count.0.load(Relaxed) - before)
}

fn waiting(m: &Machine<'_, '_, '_, '_, '_>) -> u64 {
    m.allocator.waiting_pages(m.allocator.zones()[0].id())
}

fn free<'m, 'a>(m: &Machine<'_, 'm, '_, 'a, '_>, cx: &Context<'_, 'm, 'a>, pages: Vec<Frames<'a>>) {
    pages.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
    m.allocator.drain_local_pages(cx);
}

/// Everything is taken, and the pages for which `goes` holds are freed at random. The others.
fn part_freed<'m, 'a>(
    m: &Machine<'_, 'm, '_, 'a, '_>,
    cx: &Context<'_, 'm, 'a>,
    goes: impl Fn(u32) -> bool,
) -> Vec<Frames<'a>> {
    let (all, gfp) = (cx.with_task(TaskFlags::MEMALLOC), Gfp::GFP_ATOMIC | Gfp::NOWARN);
    let held = core::iter::from_fn(|| m.allocator.alloc_pages(&all, gfp, Order::ZERO).ok());
    let (mut freed, rest): (Vec<_>, Vec<_>) = held.partition(|page| goes(at(page)));
    shuffle(&mut freed, 3);
    free(m, cx, freed);
    rest
}

/// Does `then` on a machine of so many MiB, to which all comes back.
fn on_machine(
    mib: u64,
    then: impl for<'m, 'a> Fn(&Machine<'_, 'm, '_, 'a, '_>, &Stretches, &Context<'_, 'm, 'a>),
) {
    let count = Stretches::default();
    with_interrupted_machine(&machine(mib, 1), &count, |m| {
        let zone = m.allocator.zones()[0].id();
        let before = m.allocator.free_areas(zone).counts();
        m.on_cpu(0, |cx| {
            then(m, &count, cx);
            m.allocator.drain_local_pages(cx);
        });
        assert_eq!((m.allocator.free_areas(zone).counts(), m.allocator.validate()), (before, Ok(())));
    });
}

#[test]
fn pages_that_each_make_a_pageblock_whole_come_back_with_others_having_the_lock_in_between() {
    let mib = if cfg!(miri) { 8 } else { 64 };
    on_machine(mib, |m, count, cx| {
        let rest = part_freed(m, cx, |at| at % BLOCK != 77);
        let blocks = mib / 2;
        assert_eq!(rest.len() as u64, blocks);
        assert!(waiting(m) > (blocks - 3) * u64::from(BLOCK - 1), "{}", waiting(m));
        // The CPU keeps them until it is asked for all.
        rest.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
        let still = waiting(m) / u64::from(BLOCK - 1);
        assert!(still > 0);
        let ((), parts) = stretches(m, count, || m.allocator.drain_local_pages(cx));
        assert_eq!(waiting(m), 0);
        let pages = still * u64::from(BLOCK);
        assert!(parts >= pages / (RETURNED + u64::from(BLOCK)), "{still} pageblocks in {parts} parts");
    });
}

/// Lone pages, none of which makes a pageblock whole: as many as a CPU keeps on a machine of 2 GiB.
#[test]
fn a_cpu_that_has_more_than_a_part_gives_it_back_with_others_having_the_lock_in_between() {
    if cfg!(miri) {
        return;
    }
    on_machine(2048, |m, count, cx| {
        let zone = m.allocator.zones()[0].id();
        let held = (0..8000).map(|_| m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap());
        let (mut freed, rest): (Vec<_>, Vec<_>) = held.partition(|page| at(page).is_multiple_of(2));
        m.allocator.drain_local_pages(cx);
        m.allocator.free_pages(cx, freed.pop().unwrap());
        let ((), alone) = stretches(m, count, || m.allocator.drain_local_pages(cx));
        // As many as it may keep.
        let most = m.allocator.list_figures(cx, zone).unwrap().high as usize;
        let later = freed.split_off(most - 1);
        freed.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
        let kept = u64::from(cx.cpu.enter().unwrap().count(zone));
        assert!(kept > RETURNED, "{kept}");
        let ((), parts) = stretches(m, count, || m.allocator.drain_local_pages(cx));
        assert_eq!(parts, alone + (kept - 1) / RETURNED, "{kept} pages, one page in {alone}");
        free(m, cx, later);
        free(m, cx, rest);
    });
}

/// Or he would be given a part of a larger block than there had to be.
#[test]
fn who_wants_a_larger_block_where_little_waits_merges_all_of_it() {
    for wanted in [order(2), order(5)] {
        on_machine(if cfg!(miri) { 8 } else { 64 }, |m, _, cx| {
            // A block as large as is wanted lies behind a larger one.
            let blocks = [BLOCK..BLOCK + 2 * (1 << wanted.get()), 3 * BLOCK..3 * BLOCK + (1 << wanted.get())];
            let goes = |at: u32| at.is_multiple_of(2) || blocks.iter().any(|block| block.contains(&at));
            let rest = part_freed(m, cx, goes);
            let all = waiting(m);
            assert!((PART + 1..16_384).contains(&all), "{all}");
            let one =
                m.allocator.alloc_pages(cx, Gfp::GFP_NOWAIT | Gfp::NOWARN, wanted).expect("it is there");
            assert_eq!((at(&one), waiting(m)), (3 * BLOCK, 0));
            m.allocator.free_pages(cx, one);
            free(m, cx, rest);
        });
    }
}

/// Or one request would pay for all that others freed, although there is what it wants.
#[test]
fn who_wants_a_larger_block_where_much_waits_merges_no_more_than_brings_one() {
    if cfg!(miri) {
        return;
    }
    // By the CPU's lists, and past them.
    for wanted in [order(2), order(5)] {
        on_machine(256, |m, count, cx| {
            // All of a block in the second pageblock and of one in the last; of the others every other page.
            let blocks = [BLOCK, 127 * BLOCK].map(|start| start..start + (1 << wanted.get()));
            let goes = |at: u32| at.is_multiple_of(2) || blocks.iter().any(|block| block.contains(&at));
            let rest = part_freed(m, cx, goes);
            let all = waiting(m);
            assert!(all > 30_000, "{all}");
            let gfp = Gfp::GFP_NOWAIT | Gfp::NOWARN;
            let one = m.allocator.alloc_pages(cx, gfp, wanted).expect("the first");
            assert_eq!(at(&one), BLOCK);
            let merged = all - waiting(m);
            assert!((256..=2048).contains(&merged), "{merged} of {all}");
            // There is one more, but far away.
            let (two, parts) = stretches(m, count, || m.allocator.alloc_pages(cx, gfp, wanted));
            let two = two.expect("it is there");
            assert_eq!((at(&two), waiting(m)), (127 * BLOCK, 0));
            assert!(parts >= (all - merged) / PART, "{parts} parts");
            // And now there is none.
            let none = m.allocator.alloc_pages(cx, gfp, wanted);
            assert!(none.is_err(), "{none:?}");
            [one, two].into_iter().for_each(|block| m.allocator.free_pages(cx, block));
            free(m, cx, rest);
        });
    }
}
