use super::*;
use std::string::ToString;

#[test]
fn whole_largest_blocks_stay_untouched_until_they_are_needed() {
    let machine = Machine { reserved: std::vec![(0, 3)], ..Machine::flat(128) };
    let mut store = Store::default();
    let mut buddy = store.boot(&machine);
    // Frames 3..32 are 1 + 4 + 8 + 16; three largest blocks are behind them.
    assert_eq!(free_blocks(&buddy, FIRST), [1, 0, 1, 1, 1, 3]);
    assert_eq!(buddy.zones()[0].extents().frames(), 96);
    assert_eq!(buddy.zones()[0].free_pages(), 125);
    let block = buddy.alloc(FIRST, Request::movable(order(5))).unwrap();
    assert_eq!((pfn_of(&buddy, &block), block.len()), (32, 32), "the lowest one goes first");
    assert_eq!(buddy.zones()[0].extents().frames(), 64);
    assert_eq!(free_blocks(&buddy, FIRST), [1, 0, 1, 1, 1, 2]);
    buddy.free(block);
    assert_eq!(free_blocks(&buddy, FIRST), [1, 0, 1, 1, 1, 3]);
    buddy.validate().unwrap();
}

#[test]
fn without_room_for_extents_memory_is_initialised_as_it_comes() {
    let mut store = Store::default();
    let buddy = store.boot(&Machine { extents: 0, ..Machine::flat(128) });
    assert_eq!(buddy.zones()[0].extents().frames(), 0);
    assert_eq!(free_blocks(&buddy, FIRST), [0, 0, 0, 0, 0, 4]);
}

#[test]
fn the_smallest_block_that_fits_is_split() {
    let machine = Machine { reserved: std::vec![(0, 3)], ..Machine::flat(128) };
    let mut store = Store::default();
    let mut buddy = store.boot(&machine);
    let page = buddy.alloc(FIRST, Request::movable(order(1))).unwrap();
    assert_eq!(pfn_of(&buddy, &page), 4);
    assert_eq!(free_blocks(&buddy, FIRST), [1, 1, 0, 1, 1, 3]);
    buddy.validate().unwrap();
}

#[test]
fn everything_merges_again_when_everything_is_free() {
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine::flat(96));
    let mut pages: Vec<_> =
        core::iter::from_fn(|| buddy.alloc(FIRST, Request::unmovable(Order::ZERO)).ok()).collect();
    assert_eq!(pages.len(), 96);
    assert_eq!(buddy.zones()[0].free_pages(), 0);
    // Every other page first, so that all merging happens in the second half.
    for parity in [1, 0] {
        let (now, later): (Vec<_>, Vec<_>) =
            pages.into_iter().partition(|p| u64::from(p.start().get()) % 2 == parity);
        pages = later;
        now.into_iter().for_each(|p| buddy.free(p));
        buddy.validate().unwrap();
    }
    assert_eq!(free_blocks(&buddy, FIRST), [0, 0, 0, 0, 0, 3]);
}

#[test]
fn a_token_of_any_length_and_alignment_can_be_freed() {
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine::flat(64));
    let block = buddy.alloc(FIRST, Request::movable(order(5))).unwrap();
    let (low, rest) = buddy.map().split_at(block, 3);
    let (middle, high) = buddy.map().split_at(rest, 21);
    buddy.free(middle);
    buddy.validate().unwrap();
    // 3..24 is 1 + 4 + 8 + 8, and two neighbours of order 3 do not merge at 8.
    assert_eq!(free_blocks(&buddy, FIRST), [1, 0, 1, 2, 0, 1]);
    buddy.free(high);
    buddy.free(low);
    assert_eq!(free_blocks(&buddy, FIRST), [0, 0, 0, 0, 0, 2]);
}

#[test]
fn blocks_of_different_zones_do_not_merge_even_inside_a_pageblock() {
    // DMA ends at frame 20, in the middle of the pageblock 16..24.
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine { dma_end: 20, ..Machine::flat(64) });
    let normal = buddy.find(NodeId::ZERO, ZoneKind::Normal).unwrap();
    assert_eq!(free_blocks(&buddy, FIRST), [0, 0, 1, 0, 1, 0]);
    assert_eq!(free_blocks(&buddy, normal), [0, 0, 1, 1, 0, 1]);
    let block = buddy.alloc(FIRST, Request::movable(order(2))).unwrap();
    assert_eq!(pfn_of(&buddy, &block), 16);
    buddy.free(block);
    buddy.validate().unwrap();
    // The upper zone's first block has a type of its own: nothing set it, so it is Unmovable.
    assert_eq!(buddy.pageblock_counts(FIRST)[..2], [0, 3]);
    assert_eq!(buddy.pageblock_counts(normal)[..2], [1, 5]);
}

#[test]
fn a_token_across_zones_is_given_back_to_each() {
    let machine = Machine { dma_end: 32, reserved: std::vec![(24, 40)], ..Machine::flat(64) };
    let mut store = Store::default();
    let (mut buddy, reserved) = boot_around(&mut store, &machine, |_| {});
    buddy.free_reserved(reserved);
    buddy.validate().unwrap();
    assert_eq!((buddy.zones()[0].free_pages(), buddy.zones()[1].free_pages()), (32, 32));
    assert_eq!((buddy.zones()[0].managed_pages(), buddy.zones()[1].managed_pages()), (32, 32));
}

#[test]
fn a_reserved_range_across_an_unaligned_zone_end_is_cut_there() {
    let machine = Machine { dma_end: 20, reserved: std::vec![(16, 24)], ..Machine::flat(64) };
    let mut store = Store::default();
    let (mut buddy, reserved) = boot_around(&mut store, &machine, |_| {});
    buddy.free_reserved(reserved);
    buddy.validate().unwrap();
    assert_eq!((buddy.zones()[0].free_pages(), buddy.zones()[1].free_pages()), (20, 44));
}

#[test]
fn blocks_whose_pageblock_is_not_movable_are_initialised_at_once() {
    let machine = Machine { reserved: std::vec![(0, 1)], ..Machine::flat(64) };
    let mut store = Store::default();
    let (buddy, _reserved) = boot_around(&mut store, &machine, |buddy| {
        buddy.pageblocks().set_migrate_type(FrameIdx::new(32), MigrateType::Unmovable);
    });
    buddy.validate().unwrap();
    assert_eq!(buddy.zones()[0].extents().frames(), 0);
    assert_eq!(buddy.free_blocks_of(FIRST, order(5), MigrateType::Unmovable), 1);
}

#[test]
fn a_page_whose_pair_may_soon_merge_is_used_last() {
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine::flat(32));
    let mut pages: Vec<_> =
        core::iter::from_fn(|| buddy.alloc(FIRST, Request::movable(Order::ZERO)).ok()).collect();
    // 2 and 3 merge; 16 and 20 are alone; 0 comes last, but only 1 keeps it from a block of four.
    for pfn in [2, 3, 16, 20, 0] {
        let at = pages.iter().position(|p| pfn_of(&buddy, p) == pfn).unwrap();
        buddy.free(pages.swap_remove(at));
    }
    let order_of_use: Vec<_> = (0..3)
        .map(|_| {
            let page = buddy.alloc(FIRST, Request::movable(Order::ZERO)).unwrap();
            pfn_of(&buddy, &page)
        })
        .collect();
    assert_eq!(order_of_use, [20, 16, 0]);
}

#[test]
fn a_hole_in_handed_over_memory_is_left_out() {
    let machine = Machine { memory: std::vec![(0, 8, 40), (0, 48, 64)], ..Machine::flat(0) };
    let mut store = Store::default();
    let (mut buddy, _, all) = store.empty(&machine);
    buddy.free_boot(all);
    assert_eq!((buddy.zones()[0].free_pages(), buddy.unzoned_pages()), (48, 16));
    buddy.validate().unwrap();
}

/// Boots a machine with one range of memory and one reserved range, whose token is kept; `before` runs when the buddy
/// has no memory yet.
fn boot_around<'x>(
    store: &'x mut Store<'x>,
    machine: &Machine,
    before: impl FnOnce(&mut TestBuddy<'x>),
) -> (TestBuddy<'x>, Reserved<'x>) {
    let (start, end) = machine.reserved[0];
    let (mut buddy, _, mut all) = store.empty(machine);
    before(&mut buddy);
    buddy.free_boot(all.take_front(start));
    let reserved = all.take_front(end - start).into_reserved();
    buddy.free_boot(all);
    (buddy, reserved)
}

#[test]
fn a_pageblock_that_begins_in_a_hole_is_unmovable() {
    let mut store = Store::default();
    let buddy = store.boot(&Machine { memory: std::vec![(0, 1, 64)], ..Machine::flat(0) });
    assert_eq!(buddy.pageblock_counts(FIRST)[..2], [1, 7]);
    assert_eq!(buddy.free_blocks_of(FIRST, order(0), MigrateType::Unmovable), 1);
}

#[test]
fn memory_of_two_nodes_stays_apart() {
    let machine = Machine { memory: std::vec![(0, 0, 16), (1, 16, 32), (0, 32, 64)], ..Machine::flat(0) };
    let mut store = Store::default();
    let mut buddy = store.boot(&machine);
    let second = buddy.find(NodeId::new(1).unwrap(), ZoneKind::Normal).unwrap();
    assert_eq!(free_blocks(&buddy, FIRST), [0, 0, 0, 0, 1, 1]);
    assert_eq!(free_blocks(&buddy, second), [0, 0, 0, 0, 1, 0]);
    let block = buddy.alloc(second, Request::unmovable(order(4))).unwrap();
    assert_eq!(pfn_of(&buddy, &block), 16);
    assert_eq!(
        buddy.alloc(second, Request::unmovable(Order::ZERO)).unwrap_err(),
        AllocError::NoMemory { order: Order::ZERO }
    );
    let page = buddy.alloc_from([second, FIRST], Request::unmovable(Order::ZERO)).unwrap();
    assert_eq!(pfn_of(&buddy, &page), 32, "another type's memory is taken from its largest block");
}

#[test]
fn cma_areas_lend_to_movable_allocations_only() {
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine { cma: std::vec![(16, 32)], ..Machine::flat(32) });
    assert_eq!((buddy.zones()[0].cma_pages(), buddy.zones()[0].free_cma_pages()), (16, 16));
    assert_eq!(buddy.pageblock_counts(FIRST)[MigrateType::Cma.index()], 2);
    // They do not merge with the Movable block next to them.
    assert_eq!(free_blocks(&buddy, FIRST), [0, 0, 0, 0, 2, 0]);
    let unmovable = buddy.alloc(FIRST, Request::unmovable(order(4))).unwrap();
    assert_eq!(pfn_of(&buddy, &unmovable), 0);
    assert!(buddy.alloc(FIRST, Request::unmovable(Order::ZERO)).is_err());
    let not_cma = Request { cma: false, ..Request::movable(Order::ZERO) };
    assert!(buddy.alloc(FIRST, not_cma).is_err());
    let movable = buddy.alloc(FIRST, Request::movable(order(4))).unwrap();
    assert_eq!(pfn_of(&buddy, &movable), 16);
    assert_eq!(buddy.zones()[0].free_cma_pages(), 0);
    buddy.free(movable);
    assert_eq!(buddy.zones()[0].free_cma_pages(), 16);
    buddy.validate().unwrap();
}

#[test]
fn cma_is_used_first_once_it_is_most_of_what_is_free() {
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine { cma: std::vec![(32, 64)], ..Machine::flat(64) });
    let mut own = 0;
    let mut pages = Vec::new();
    while buddy.zones()[0].free_cma_pages() == 32 {
        pages.push(buddy.alloc(FIRST, Request::movable(Order::ZERO)).unwrap());
        own += 1;
    }
    // One page of the zone's own, then 32 of 63 free pages are CMA's.
    assert_eq!(own, 2);
    assert!(pfn_of(&buddy, &pages[1]) >= 32);
}

#[test]
fn the_nth_allocation_fails_on_request_and_changes_nothing() {
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine::flat(64));
    let before = free_blocks(&buddy, FIRST);
    buddy.fail_nth(2);
    let first = buddy.alloc(FIRST, Request::movable(order(2))).unwrap();
    let err = buddy.alloc_from([FIRST, FIRST], Request::movable(order(2))).unwrap_err();
    assert_eq!(err, AllocError::Injected { nth: 2 });
    assert_eq!(err.to_string(), "allocation 2 was made to fail");
    buddy.free(first);
    // Merged again into a block that is initialised now.
    assert_eq!(free_blocks(&buddy, FIRST), before);
    let _third = buddy.alloc(FIRST, Request::movable(order(2))).unwrap();
    buddy.validate().unwrap();
}

#[test]
fn requests_that_no_zone_can_meet_are_refused() {
    let mut store = Store::default();
    let mut buddy = store.boot(&Machine::flat(64));
    let err = buddy.alloc(FIRST, Request::movable(order(6))).unwrap_err();
    assert_eq!(err, AllocError::TooLarge { order: order(6), largest: order(5) });
    let nowhere = ZoneId(7);
    assert_eq!(
        buddy.alloc(nowhere, Request::movable(order(0))).unwrap_err(),
        AllocError::NoZone { zone: nowhere }
    );
}

#[test]
fn tables_that_do_not_fit_are_refused_by_name() {
    let machine = Machine { memory: std::vec![(0, 0, 16), (1, 16, 32)], ..Machine::flat(0) };
    let ranges: Vec<_> = (0..2)
        .map(|n| MemRange {
            pfns: pfns(n * 16, n * 16 + 16),
            nid: NodeId::new(n as u16).unwrap(),
            flags: MemFlags::empty(),
        })
        .collect();
    let mut nodes = [NodeLayout::EMPTY; 2];
    let layout = crate::layout::free_area_init(machine.layout_config(), &ranges, &mut nodes).unwrap();
    let mut sections = [Section::EMPTY; 1];
    let table = SectionTable::build(&mut sections, [pfns(0, 32)], order(LARGEST)).unwrap();
    let mut slots = Vec::<PageMeta>::with_capacity(32);
    let (map, _all) = PageMap::new(PageStorage::zero(slots.spare_capacity_mut()), table).unwrap();
    let records: Vec<_> = (0..8).map(|_| AtomicU32::new(0)).collect();
    let zone = |n| BuddyZone::new(NodeId::new(n).unwrap(), ZoneKind::Normal, &mut []);
    let build = |zones: &[BuddyZone<'_, '_>], records: &[AtomicU32], pieces: &mut [ZonePiece]| {
        Pageblocks::build(&layout, &map, order(PAGEBLOCK), zones, records, pieces).map(|_| ()).unwrap_err()
    };
    let both = [zone(0), zone(1)];
    assert_eq!(
        build(&both, &records[..2], &mut [ZonePiece::EMPTY; 2]),
        PageblockError::RecordsTooShort { len: 2, required: 5 }
    );
    assert_eq!(
        build(&both, &records, &mut [ZonePiece::EMPTY; 1]),
        PageblockError::PiecesFull { capacity: 1 }
    );
    assert_eq!(
        build(&both[..1], &records, &mut [ZonePiece::EMPTY; 2]),
        PageblockError::NoZone { nid: NodeId::new(1).unwrap(), kind: ZoneKind::Normal }
    );
    let mut pieces = [ZonePiece::EMPTY; 2];
    let blocks = Pageblocks::build(&layout, &map, order(PAGEBLOCK), &both, &records, &mut pieces).unwrap();
    let mut one = [zone(0)];
    assert!(matches!(
        Buddy::new(map, blocks, &mut one, order(LARGEST), true),
        Err(BuddyError::MissingZone { zones: 1, .. })
    ));
    let mut two = [zone(0), zone(1)];
    assert!(matches!(
        Buddy::new(map, blocks, &mut two, order(LARGEST + 1), true),
        Err(BuddyError::Orders { .. })
    ));
}

#[test]
fn a_cma_area_that_does_not_fit_becomes_ordinary_memory() {
    // Not whole pageblocks; and whole ones, but in two zones.
    for (dma_end, area) in [(0, (25, 40)), (32, (24, 40))] {
        let machine = Machine { dma_end, reserved: std::vec![area], ..Machine::flat(64) };
        let mut store = Store::default();
        let (mut buddy, reserved) = boot_around(&mut store, &machine, |_| {});
        assert!(!buddy.fits_cma(&reserved));
        buddy.activate_cma(reserved);
        buddy.validate().unwrap();
        assert_eq!(buddy.zones().iter().map(|z| z.free_pages()).sum::<u64>(), 64);
        assert!(buddy.zones().iter().all(|z| z.cma_pages() == 0));
    }
}

#[test]
fn memory_in_no_zone_is_set_aside_and_counted() {
    let machine = Machine { normal_end: 48, reserved: std::vec![(40, 56)], ..Machine::flat(64) };
    let mut store = Store::default();
    let (mut buddy, reserved) = boot_around(&mut store, &machine, |_| {});
    assert_eq!((buddy.zones()[0].managed_pages(), buddy.unzoned_pages()), (40, 8));
    buddy.free_reserved(reserved);
    assert_eq!((buddy.zones()[0].managed_pages(), buddy.unzoned_pages()), (48, 16));
    assert_eq!(buddy.zones()[0].free_pages(), 48);
    buddy.validate().unwrap();
}
