//! Damage that validation must find.

use super::*;

/// What is found of damage to the figures of three zones.
fn damaged(damage: impl FnOnce(&mut [ZoneMarks])) -> Result<(), WatermarkViolation> {
    let zone = |kind, managed| ZoneMarks::new(NodeId::ZERO, kind, managed, managed > 0);
    let mut marks = [zone(Dma, 3840), zone(Dma32, 1 << 19), zone(Normal, 1 << 20), zone(Movable, 0)];
    let mut w =
        Watermarks::new(Tunables::new(ZoneSet::BASE.with(Dma).with(Dma32), Normal, K4, 512), &mut marks);
    w.setup_boot_pagesets();
    assert_eq!(w.validate(), Ok(()), "before the first step");
    w.setup_per_cpu_pageset(&ONE_CPU);
    w.init_per_zone_wmark_min(&ONE_CPU);
    assert_eq!(w.validate(), Ok(()));
    damage(w.zones);
    w.validate()
}

#[test]
fn damaged_figures_are_caught() {
    let nid = NodeId::ZERO;
    assert_eq!(damaged(|z| z.swap(1, 2)), Err(WatermarkViolation::Order { index: 2 }));
    assert_eq!(damaged(|z| z[2].kind = HighMem), Err(WatermarkViolation::Order { index: 2 }));
    assert_eq!(damaged(|z| z[1] = z[0]), Err(WatermarkViolation::Order { index: 1 }));
    assert_eq!(damaged(|z| z[3].managed = 1), Err(WatermarkViolation::Empty { nid, kind: Movable }));
    let marks = Err(WatermarkViolation::Marks { nid, kind: Dma32 });
    assert_eq!(damaged(|z| z[1].low = z[1].min - 1), marks);
    assert_eq!(damaged(|z| z[1].high = z[1].low - 1), marks);
    assert_eq!(damaged(|z| z[1].promo = 0), marks);
    let protection = |against| Err(WatermarkViolation::Protection { nid, kind: Dma, against });
    assert_eq!(damaged(|z| z[0].lowmem_reserve[Dma.index()] = 1), protection(Dma));
    assert_eq!(damaged(|z| z[0].lowmem_reserve[Normal.index()] -= 4097), protection(Normal));
    let lists = Err(WatermarkViolation::Pageset { nid, kind: Normal });
    assert_eq!(damaged(|z| z[2].pageset.batch = 0), lists);
    assert_eq!(damaged(|z| z[2].pageset.high = z[2].pageset.batch), lists);
    let drift = Err(WatermarkViolation::Threshold { nid, kind: Normal });
    assert_eq!(damaged(|z| z[2].stat_threshold = 126), drift);
}

#[test]
fn more_min_than_there_is_to_share_out_is_caught() {
    let found =
        damaged(|z| (z[2].min, z[2].low, z[2].high, z[2].promo) = (1 << 19, 1 << 19, 1 << 19, 1 << 19));
    assert!(matches!(found, Err(WatermarkViolation::Sum { summed, .. }) if summed > 1 << 19), "{found:?}");
}
