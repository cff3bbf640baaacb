//! Damage that validation must find.

use super::*;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_page::{MapViolation, PageFlags, State};

/// What is found of damage to a machine of two zones that share the pageblock at frame 40: untouched extents in the
/// first, blocks in lists in both, a CMA area of 8 frames at 128.
fn damaged(damage: impl FnOnce(&mut TestBuddy<'_>)) -> Result<(), Violation> {
    let machine = Machine {
        memory: std::vec![(0, 0, 160)],
        reserved: std::vec![(96, 97)],
        cma: std::vec![(128, 136)],
        dma_end: 44,
        ..Machine::flat(0)
    };
    let mut store = Store::default();
    let mut buddy = store.boot(&machine);
    assert_eq!(buddy.validate(), Ok(()));
    damage(&mut buddy);
    buddy.validate()
}

fn idx(n: u32) -> FrameIdx {
    FrameIdx::new(n)
}

#[test]
fn damage_below_the_buddy_is_caught() {
    let found = damaged(|b| {
        b.ground.map.set_flags(idx(96), PageFlags::LOCKED);
    });
    assert_eq!(found, Ok(()), "a reserved frame may be locked");
    let found = damaged(|b| b.ground.map.set_data(idx(0), 1));
    assert_eq!(found, Err(Violation::Map(MapViolation::Touched { idx: idx(0) })));
    let zone = |b: &TestBuddy<'_>, block: usize| b.ground.blocks.records[block].load(Relaxed);
    let found = damaged(|b| b.ground.blocks.records[2].store(zone(b, 8), Relaxed));
    let (recorded, of) = (Some(ZoneId(1)), Some(ZoneId(0)));
    let violation = PageblockViolation::Zone { block: 2, recorded, found: of };
    assert_eq!(found, Err(Violation::Pageblocks(violation)));
    let found = damaged(|b| b.ground.blocks.records[5].store(zone(b, 4), Relaxed));
    assert_eq!(found, Err(Violation::Pageblocks(PageblockViolation::Mixed { block: 5 })));
    let found = damaged(|b| b.ground.blocks.records[8].store(zone(b, 8) | 7, Relaxed));
    assert!(matches!(found, Err(Violation::Pageblocks(PageblockViolation::Migrate { block: 8, .. }))));
    let pieces = [
        ZonePiece { start: 0, end: 44, zone: ZoneId(0) },
        ZonePiece { start: 43, end: 160, zone: ZoneId(1) },
    ];
    let found = damaged(|b| {
        let blocks = Pageblocks { pieces: &pieces, ..b.ground.blocks };
        let validated = blocks.validate(b.ground.map.len(), 2);
        assert_eq!(validated, Err(PageblockViolation::Piece { index: 1 }), "frame 43 is in two zones");
        assert_eq!(
            b.ground.blocks.validate(100, 2),
            Err(PageblockViolation::Piece { index: 1 }),
            "past the map"
        );
        assert_eq!(
            b.ground.blocks.validate(b.ground.map.len(), 1),
            Err(PageblockViolation::Piece { index: 1 }),
            "no such zone"
        );
    });
    assert_eq!(found, Ok(()));
}

#[test]
fn damaged_lists_are_caught() {
    let (zone, largest) = (ZoneId(1), order(3));
    let list = |b: &TestBuddy<'_>| b.zones[1].list(largest, MigrateType::Movable).head().unwrap();
    let mut at = None;
    let found = damaged(|b| {
        at = Some(list(b));
        b.ground.map.set_prev(list(b), Some(idx(0)));
    });
    let entry = |i| Violation::Entry { zone, order: largest, migrate: MigrateType::Movable, idx: i };
    assert_eq!(found, Err(entry(at.unwrap())));
    let found = damaged(|b| b.ground.map.set_list(list(b), MigrateType::Reclaimable as u32));
    assert_eq!(found, Err(entry(at.unwrap())));
    // A block that leaves its list without anybody noticing.
    let found = damaged(|b| drop(b.ground.map.take_block(list(b), largest)));
    let fields = MapViolation::Fields { idx: at.unwrap(), state: State::Owned };
    assert_eq!(found, Err(Violation::Map(fields)), "no token says which list its frames are in");
}

#[test]
fn damaged_counters_are_caught() {
    let found = damaged(|b| b.zones[1].managed = 0);
    assert!(matches!(found, Err(Violation::Pages { zone: ZoneId(1), .. })), "{found:?}");
    let found = damaged(|b| b.zones[1].cma = 1 << 20);
    assert!(matches!(found, Err(Violation::Special { migrate: MigrateType::Cma, .. })), "{found:?}");
}

#[test]
fn an_extent_of_another_zone_is_caught() {
    let found = damaged(|b| {
        let taken = b.zones[0].extents.take_lowest(32).expect("an extent");
        b.zones[1].extents.insert(taken).expect("a slot");
        assert_eq!(b.ground.map.state(idx(0)), State::Pristine);
    });
    // The first zone has fewer pages than before, which nothing but the second zone's extents contradicts.
    assert_eq!(found, Err(Violation::RaggedExtent { zone: ZoneId(1), start: 0 }));
}
