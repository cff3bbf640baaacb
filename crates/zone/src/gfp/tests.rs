//! What each mask selects.

extern crate std;

use super::*;
use std::string::ToString;

fn all_zones() -> ZoneSet {
    [ZoneKind::Dma, ZoneKind::Dma32, ZoneKind::HighMem].into_iter().collect()
}

#[test]
fn every_combination_of_zone_modifiers_selects_a_zone_or_is_refused() {
    use ZoneKind::{Dma, Dma32, HighMem, Movable, Normal};
    // By the four bits DMA, HIGHMEM, DMA32, MOVABLE, the first being the lowest.
    let expected = [
        Some(Normal),
        Some(Dma),
        Some(HighMem),
        None,
        Some(Dma32),
        None,
        None,
        None,
        Some(Normal),
        Some(Dma),
        Some(Movable),
        None,
        Some(Dma32),
        None,
        None,
        None,
    ];
    for (bits, zone) in expected.into_iter().enumerate() {
        let gfp = Gfp::from_bits_retain(bits as u32);
        assert_eq!(gfp.zone(all_zones()).ok(), zone, "{gfp}");
        assert_eq!((gfp | Gfp::GFP_KERNEL).zone(all_zones()).ok(), zone, "other bits do not matter: {gfp}");
    }
    assert_eq!(
        (Gfp::DMA | Gfp::HIGHMEM).zone(all_zones()).unwrap_err().to_string(),
        "GFP mask 0x3 names more than one of DMA, DMA32 and HIGHMEM"
    );
}

#[test]
fn a_zone_that_the_kernel_lacks_gives_way_to_normal() {
    for gfp in [Gfp::DMA, Gfp::DMA32, Gfp::HIGHMEM] {
        assert_eq!(gfp.zone(ZoneSet::BASE), Ok(ZoneKind::Normal), "{gfp}");
    }
    assert_eq!((Gfp::HIGHMEM | Gfp::MOVABLE).zone(ZoneSet::BASE), Ok(ZoneKind::Movable));
}

#[test]
fn mobility_decides_the_lists_unless_grouping_is_off() {
    let table = [
        (Gfp::GFP_KERNEL, Ok(MigrateType::Unmovable)),
        (Gfp::GFP_HIGHUSER_MOVABLE, Ok(MigrateType::Movable)),
        (Gfp::GFP_KERNEL | Gfp::RECLAIMABLE, Ok(MigrateType::Reclaimable)),
        (Gfp::MOVABLE | Gfp::RECLAIMABLE, Err(GfpError::Mobility(Gfp::MOVABLE | Gfp::RECLAIMABLE))),
    ];
    for (gfp, migrate) in table {
        assert_eq!(gfp.migrate_type(true), migrate, "{gfp}");
        assert_eq!(gfp.migrate_type(false).is_ok(), migrate.is_ok());
        assert!(gfp.migrate_type(false).is_ok_and(|m| m == MigrateType::Unmovable) || migrate.is_err());
    }
}

#[test]
fn the_class_decides_zone_and_lists() {
    // Every so manieth mask: a prime, so that all classes come with all neighbours.
    let step = if cfg!(miri) { 50_021 } else { 37 };
    for bits in (0..1 << 23).step_by(step) {
        let gfp = Gfp::from_bits_retain(bits);
        let class = Gfp::from_bits_retain(gfp.class() as u32);
        assert_eq!(gfp.zone(all_zones()).ok(), class.zone(all_zones()).ok());
        assert_eq!(gfp.migrate_type(true).ok(), class.migrate_type(true).ok());
    }
}

#[test]
fn combinations_have_the_numbers_of_6_1() {
    // As failure reports of that kernel print them.
    let table = [
        (Gfp::GFP_ATOMIC, 0xa20),
        (Gfp::GFP_KERNEL, 0xcc0),
        (Gfp::GFP_KERNEL_ACCOUNT, 0x40_0cc0),
        (Gfp::GFP_NOWAIT, 0x800),
        (Gfp::GFP_NOIO, 0xc00),
        (Gfp::GFP_NOFS, 0xc40),
        (Gfp::GFP_USER, 0x10_0cc0),
        (Gfp::GFP_HIGHUSER, 0x10_0cc2),
        (Gfp::GFP_HIGHUSER_MOVABLE, 0x10_0cca),
    ];
    for (gfp, number) in table {
        assert_eq!(gfp.bits(), number, "{gfp}");
    }
    assert!(!Gfp::GFP_TRANSHUGE_LIGHT.intersects(Gfp::RECLAIM));
    assert!(Gfp::GFP_TRANSHUGE.may_block() && !Gfp::GFP_TRANSHUGE.contains(Gfp::KSWAPD_RECLAIM));
}

#[test]
fn masks_print_as_in_failure_reports() {
    let table = [
        (Gfp::empty(), "none"),
        (Gfp::GFP_KERNEL, "GFP_KERNEL"),
        (Gfp::GFP_KERNEL | Gfp::COMP | Gfp::ZERO, "GFP_KERNEL|__GFP_COMP|__GFP_ZERO"),
        (Gfp::GFP_ATOMIC | Gfp::NOWARN, "GFP_ATOMIC|__GFP_NOWARN"),
        (Gfp::GFP_HIGHUSER_MOVABLE, "GFP_HIGHUSER_MOVABLE"),
        (Gfp::GFP_KERNEL | Gfp::DMA32, "GFP_KERNEL|GFP_DMA32"),
        (Gfp::from_bits_retain(0x8000_0000) | Gfp::GFP_NOWAIT, "GFP_NOWAIT|0x80000000"),
    ];
    for (gfp, text) in table {
        assert_eq!(gfp.to_string(), text);
    }
}
