//! Fallback between migrate types.

use super::*;
use MigrateType::{Movable, Reclaimable, Unmovable};

#[test]
fn an_unmovable_allocation_takes_over_a_large_block_with_its_pageblocks() {
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine::flat(64));
    let page = buddy.alloc(FIRST, Request::unmovable(Order::ZERO)).unwrap();
    assert_eq!(pfn_of(&buddy, &page), 0);
    // A whole largest block changed type: four pageblocks.
    assert_eq!(buddy.pageblock_counts(FIRST)[..3], [4, 4, 0]);
    assert_eq!(buddy.free_blocks_of(FIRST, order(4), Unmovable), 1);
    assert_eq!(buddy.free_blocks_of(FIRST, order(5), Movable), 1);
    buddy.validate().unwrap();
}

#[test]
fn the_next_such_allocation_needs_no_fallback() {
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine::flat(64));
    let _one = buddy.alloc(FIRST, Request::unmovable(Order::ZERO)).unwrap();
    let before = buddy.pageblock_counts(FIRST);
    let _two = buddy.alloc(FIRST, Request::unmovable(order(3))).unwrap();
    assert_eq!(buddy.pageblock_counts(FIRST), before);
}

#[test]
fn of_equal_blocks_reclaimable_prefers_the_unmovable_one() {
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine::flat(64));
    let unmovable = buddy.alloc(FIRST, Request::unmovable(order(5))).unwrap();
    buddy.free(unmovable);
    assert_eq!(buddy.free_blocks_of(FIRST, order(5), Unmovable), 1);
    let reclaimable = buddy.alloc(FIRST, Request::reclaimable(Order::ZERO)).unwrap();
    assert_eq!(pfn_of(&buddy, &reclaimable), 0);
    assert_eq!(buddy.pageblock_counts(FIRST)[..3], [0, 4, 4]);
    buddy.validate().unwrap();
}

#[test]
fn a_larger_block_beats_a_better_type() {
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine::flat(64));
    let _unmovable = buddy.alloc(FIRST, Request::unmovable(order(4))).unwrap();
    let reclaimable = buddy.alloc(FIRST, Request::reclaimable(Order::ZERO)).unwrap();
    // 16..32 is free and Unmovable, but 32..64 is larger.
    assert_eq!(pfn_of(&buddy, &reclaimable), 32);
}

/// Takes everything as movable pages and gives some frames back, so that free memory is scattered.
fn scattered<'x>(
    store: &'x mut Store<'x>,
    machine: &Machine,
    free: &[u64],
) -> (TestBuddy<'x>, Vec<Frames<'x>>) {
    let mut buddy = store.boot(machine);
    let mut kept = Vec::new();
    let pages: Vec<_> =
        core::iter::from_fn(|| buddy.alloc(FIRST, Request::movable(Order::ZERO)).ok()).collect();
    for page in pages {
        if free.contains(&pfn_of(&buddy, &page)) { buddy.free(page) } else { kept.push(page) }
    }
    (buddy, kept)
}

fn mark_as_user_pages(buddy: &TestBuddy<'_>, pages: &[Frames<'_>]) {
    for page in pages {
        buddy.map().set_flags(page.start(), pagewright_page::PageFlags::LRU);
    }
}

#[test]
fn a_pageblock_that_is_half_free_is_claimed_as_a_whole() {
    // Of the pageblock 8..16, four frames are free, none next to another, and the others are no reason to claim it.
    let mut store = Store::default();
    let (mut buddy, kept) = scattered(&mut store, &Machine::flat(32), &[8, 10, 12, 14]);
    mark_as_user_pages(&buddy, &kept);
    let _page = buddy.alloc(FIRST, Request::unmovable(Order::ZERO)).unwrap();
    assert_eq!(buddy.pageblock_counts(FIRST)[..3], [1, 3, 0]);
    assert_eq!(buddy.free_blocks_of(FIRST, order(0), Unmovable), 3);
    buddy.validate().unwrap();
}

#[test]
fn frames_of_another_zone_in_the_pageblock_are_left_alone() {
    // The pageblock 0..8 is shared by two nodes, of which the first goes on behind.
    let memory = std::vec![(0, 0, 4), (1, 4, 8), (0, 8, 32)];
    let mut store = Store::default();
    let (mut buddy, _kept) = scattered(&mut store, &Machine { memory, ..Machine::flat(0) }, &[0, 2]);
    let second = buddy.find(NodeId::new(1).unwrap(), ZoneKind::Normal).unwrap();
    let _page = buddy.alloc(FIRST, Request::unmovable(Order::ZERO)).unwrap();
    assert_eq!(buddy.zones()[second.index()].free_pages(), 4);
    buddy.validate().unwrap();
}

#[test]
fn frames_below_the_zone_start_do_not_count() {
    // DMA has 0..4 of the pageblock 0..8, full of user pages.
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine { dma_end: 4, ..Machine::flat(32) });
    let normal = buddy.find(NodeId::ZERO, ZoneKind::Normal).unwrap();
    let mut kept = Vec::new();
    for zone in [FIRST, normal] {
        kept.extend(core::iter::from_fn(|| buddy.alloc(zone, Request::movable(Order::ZERO)).ok()));
    }
    let (free, kept): (Vec<_>, Vec<_>) = kept.into_iter().partition(|p| pfn_of(&buddy, p) == 4);
    let user: Vec<_> = kept.into_iter().filter(|p| pfn_of(&buddy, p) < 6).collect();
    mark_as_user_pages(&buddy, &user);
    buddy.pageblocks().set_migrate_type(FrameIdx::new(4), Movable);
    free.into_iter().for_each(|p| buddy.free(p));
    let _page = buddy.alloc(normal, Request::unmovable(Order::ZERO)).unwrap();
    assert_eq!(buddy.pageblocks().migrate_type(FrameIdx::new(4)), Unmovable);
    assert_eq!(
        buddy.pageblocks().migrate_type(FrameIdx::new(3)),
        Movable,
        "the lower zone's share is its own"
    );
}

#[test]
fn a_movable_allocation_that_cannot_have_the_pageblock_splits_the_smallest_block() {
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine { pageblock: 4, ..Machine::flat(32) });
    let pages: Vec<_> =
        core::iter::from_fn(|| buddy.alloc(FIRST, Request::unmovable(Order::ZERO)).ok()).collect();
    for page in pages {
        if [4, 5, 16].contains(&pfn_of(&buddy, &page)) {
            buddy.free(page);
        }
    }
    assert_eq!(free_blocks(&buddy, FIRST)[..2], [1, 1]);
    let page = buddy.alloc(FIRST, Request::movable(Order::ZERO)).unwrap();
    assert_eq!(pfn_of(&buddy, &page), 16);
    buddy.validate().unwrap();
}

#[test]
fn memory_in_use_that_may_be_unmovable_counts_as_alike() {
    // Three of eight are free; of the five others none is on an LRU list, so all may be the kernel's.
    let mut store = Store::default();
    let (mut buddy, _kept) = scattered(&mut store, &Machine::flat(32), &[8, 10, 12]);
    let _page = buddy.alloc(FIRST, Request::unmovable(Order::ZERO)).unwrap();
    assert_eq!(buddy.pageblock_counts(FIRST)[..3], [1, 3, 0]);
}

#[test]
fn a_pageblock_full_of_user_pages_keeps_its_type_but_lends_its_free_pages() {
    let mut store = Store::default();
    let (mut buddy, kept) = scattered(&mut store, &Machine::flat(32), &[8, 10, 12]);
    mark_as_user_pages(&buddy, &kept);
    let _page = buddy.alloc(FIRST, Request::unmovable(Order::ZERO)).unwrap();
    assert_eq!(buddy.pageblock_counts(FIRST)[..3], [0, 4, 0]);
    assert_eq!(buddy.free_blocks_of(FIRST, order(0), Unmovable), 2);
    assert_eq!(buddy.free_blocks_of(FIRST, order(0), Movable), 0);
    buddy.validate().unwrap();
}

#[test]
fn a_movable_allocation_takes_the_smallest_foreign_block_and_leaves_the_rest() {
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine::flat(32));
    let all = buddy.alloc(FIRST, Request::unmovable(order(5))).unwrap();
    let (page, rest) = buddy.map().split_at(all, 1);
    let (middle, high) = buddy.map().split_at(rest, 15);
    drop(high);
    buddy.free(page);
    drop(buddy.map().split_at(middle, 3).0);
    assert_eq!(free_blocks(&buddy, FIRST), [1, 0, 0, 0, 0, 0]);
    let page = buddy.alloc(FIRST, Request::movable(Order::ZERO)).unwrap();
    assert_eq!(pfn_of(&buddy, &page), 0);
    assert_eq!(buddy.pageblock_counts(FIRST)[..3], [4, 0, 0], "no pageblock changed its type");
    buddy.validate().unwrap();
}

#[test]
fn no_fragment_refuses_foreign_blocks_below_a_pageblock() {
    let mut store = Store::default();
    let (mut buddy, _kept) = scattered(&mut store, &Machine::flat(32), &[8, 9, 10, 11]);
    let careful = Request { no_fragment: true, ..Request::unmovable(Order::ZERO) };
    assert!(buddy.alloc(FIRST, careful).is_err());
    buddy.validate().unwrap();
    let mut store = Store::default();
    let (mut buddy, _kept) = scattered(&mut store, &Machine::flat(32), &[8, 9, 10, 11, 12, 13, 14, 15]);
    assert!(buddy.alloc(FIRST, careful).is_ok());
}

#[test]
fn a_pageblock_cut_by_the_zone_end_is_never_claimed() {
    // The zone ends at frame 28, in the middle of the pageblock 24..32.
    let machine = Machine { memory: std::vec![(0, 0, 28)], ..Machine::flat(0) };
    let mut store = Store::default();
    let (mut buddy, _kept) = scattered(&mut store, &machine, &[24, 26]);
    let _page = buddy.alloc(FIRST, Request::reclaimable(Order::ZERO)).unwrap();
    assert_eq!(buddy.pageblock_counts(FIRST)[Reclaimable.index()], 0);
    buddy.validate().unwrap();
}

#[test]
fn fallback_orders_are_those_of_linux() {
    assert_eq!(Unmovable.fallbacks(), [Reclaimable, Movable]);
    assert_eq!(Movable.fallbacks(), [Reclaimable, Unmovable]);
    assert_eq!(Reclaimable.fallbacks(), [Unmovable, Movable]);
    assert!(MigrateType::Cma.fallbacks().is_empty());
}
