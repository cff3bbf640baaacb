//! What each mask selects.

extern crate std;

use super::*;
use pagewright_addr::Order;
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
        (Gfp::GFP_TRANSHUGE_LIGHT, 0x1c_20ca),
        (Gfp::GFP_TRANSHUGE, 0x1c_24ca),
        (Gfp::DMA, 0x1),
        (Gfp::HIGHMEM, 0x2),
        (Gfp::DMA32, 0x4),
        (Gfp::MOVABLE, 0x8),
        (Gfp::RECLAIMABLE, 0x10),
        (Gfp::ZERO, 0x100),
        (Gfp::WRITE, 0x1000),
        (Gfp::NOWARN, 0x2000),
        (Gfp::RETRY_MAYFAIL, 0x4000),
        (Gfp::NOFAIL, 0x8000),
        (Gfp::NORETRY, 0x1_0000),
        (Gfp::MEMALLOC, 0x2_0000),
        (Gfp::COMP, 0x4_0000),
        (Gfp::NOMEMALLOC, 0x8_0000),
        (Gfp::HARDWALL, 0x10_0000),
        (Gfp::THISNODE, 0x20_0000),
        (Gfp::ACCOUNT, 0x40_0000),
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

#[test]
fn every_set_of_zones_serves_every_mask_from_what_linux_serves_it() {
    use ZoneKind::{Dma, Dma32, HighMem, Movable, Normal};
    for built in 0..8_u32 {
        let has = |bit: u32, kind: ZoneKind| if built >> bit & 1 != 0 { kind } else { Normal };
        let optional = [Dma, Dma32, HighMem];
        let zones: ZoneSet = (0..3).filter(|&n| built >> n & 1 != 0).map(|n| optional[n]).collect();
        let (dma, dma32, high) = (has(0, Dma), has(1, Dma32), has(2, HighMem));
        let table = [
            (Gfp::empty(), Some(Normal)),
            (Gfp::DMA, Some(dma)),
            (Gfp::HIGHMEM, Some(high)),
            (Gfp::DMA | Gfp::HIGHMEM, None),
            (Gfp::DMA32, Some(dma32)),
            (Gfp::DMA | Gfp::DMA32, None),
            (Gfp::HIGHMEM | Gfp::DMA32, None),
            (Gfp::DMA | Gfp::HIGHMEM | Gfp::DMA32, None),
            (Gfp::MOVABLE, Some(Normal)),
            (Gfp::MOVABLE | Gfp::DMA, Some(dma)),
            (Gfp::MOVABLE | Gfp::HIGHMEM, Some(Movable)),
            (Gfp::MOVABLE | Gfp::DMA | Gfp::HIGHMEM, None),
            (Gfp::MOVABLE | Gfp::DMA32, Some(dma32)),
            (Gfp::MOVABLE | Gfp::DMA | Gfp::DMA32, None),
            (Gfp::MOVABLE | Gfp::HIGHMEM | Gfp::DMA32, None),
            (Gfp::MOVABLE | Gfp::DMA | Gfp::HIGHMEM | Gfp::DMA32, None),
        ];
        for (gfp, zone) in table {
            assert_eq!(gfp.zone(zones).ok(), zone, "{gfp} with {built:#b}");
        }
        let usual = [
            (Gfp::GFP_KERNEL, Normal),
            (Gfp::GFP_USER, Normal),
            (Gfp::GFP_HIGHUSER, high),
            (Gfp::GFP_HIGHUSER_MOVABLE, Movable),
            (Gfp::GFP_TRANSHUGE, Movable),
        ];
        for (gfp, zone) in usual {
            assert_eq!(gfp.zone(zones), Ok(zone), "{gfp} with {built:#b}");
        }
    }
}

#[test]
fn what_is_printed_is_understood() {
    let mut seed = 1_u64;
    let tries = if cfg!(miri) { 20 } else { 20_000 };
    for _ in 0..tries {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let gfp = Gfp::from_bits_retain((seed >> 33) as u32);
        assert_eq!(gfp.to_string().parse(), Ok(gfp), "{gfp}");
    }
    for bit in 0..32 {
        let gfp = Gfp::from_bits_retain(1 << bit);
        assert_eq!(gfp.to_string().parse(), Ok(gfp), "{gfp}");
    }
    assert_eq!("none".parse(), Ok(Gfp::empty()));
    assert_eq!("__GFP_ZERO|GFP_KERNEL".parse(), Ok(Gfp::GFP_KERNEL | Gfp::ZERO));
    assert_eq!("__GFP_RECLAIM | 64|0x80".parse(), Ok(Gfp::GFP_KERNEL));
    assert_eq!("GFP_KERNEL|__GFP_FOO".parse::<Gfp>(), Err(GfpParseError { at: 11, len: 9 }));
    for wrong in ["", "GFP_KERNEL|", "0x", "+1", "-1", "0x1_0", "0x100000000", "gfp_kernel"] {
        assert!(wrong.parse::<Gfp>().is_err(), "{wrong:?}");
    }
}

#[test]
fn the_longest_combination_names_a_mask() {
    let table = [
        (Gfp::GFP_TRANSHUGE, "GFP_TRANSHUGE"),
        (Gfp::GFP_TRANSHUGE_LIGHT, "GFP_TRANSHUGE_LIGHT"),
        (Gfp::GFP_TRANSHUGE | Gfp::NORETRY | Gfp::THISNODE, "GFP_TRANSHUGE|__GFP_NORETRY|__GFP_THISNODE"),
        (Gfp::GFP_HIGHUSER, "GFP_HIGHUSER"),
        (Gfp::GFP_USER | Gfp::ACCOUNT, "GFP_USER|__GFP_ACCOUNT"),
        (Gfp::GFP_KERNEL_ACCOUNT, "GFP_KERNEL_ACCOUNT"),
        (Gfp::GFP_NOFS, "GFP_NOFS"),
        (Gfp::GFP_NOFS - Gfp::IO, "GFP_NOIO"),
        (Gfp::DIRECT_RECLAIM | Gfp::DMA, "GFP_DMA|__GFP_DIRECT_RECLAIM"),
        (Gfp::RECLAIM, "GFP_NOIO"),
        (Gfp::ZERO | Gfp::ZEROTAGS, "__GFP_ZERO|__GFP_ZEROTAGS"),
        (Gfp::HIGH | Gfp::ATOMIC, "__GFP_HIGH|__GFP_ATOMIC"),
    ];
    for (gfp, text) in table {
        assert_eq!(gfp.to_string(), text);
    }
}

#[test]
fn odd_masks_are_told_apart_from_contradictions() {
    use GfpWarning::{AtomicReclaims, NofailCannotReclaim, NofailLarge, TooLarge};
    let table: [(Gfp, u8, &[GfpWarning]); 8] = [
        (Gfp::GFP_KERNEL, 11, &[TooLarge]),
        (Gfp::GFP_KERNEL | Gfp::NOWARN, 11, &[]),
        (Gfp::GFP_KERNEL, 10, &[]),
        (Gfp::GFP_ATOMIC | Gfp::NOMEMALLOC, 0, &[]),
        (Gfp::GFP_ATOMIC | Gfp::DIRECT_RECLAIM, 0, &[AtomicReclaims]),
        (Gfp::GFP_KERNEL | Gfp::NOFAIL, 1, &[]),
        (Gfp::GFP_KERNEL | Gfp::NOFAIL, 2, &[NofailLarge]),
        (Gfp::GFP_ATOMIC | Gfp::NOFAIL, 3, &[NofailLarge, NofailCannotReclaim]),
    ];
    for (gfp, order, expected) in table {
        let (order, largest) = (Order::new(order).unwrap(), Order::new(10).unwrap());
        let at_once = GfpWarning::of(gfp, order, largest);
        let found: std::vec::Vec<_> = at_once.into_iter().chain(GfpWarning::of_waiting(gfp)).collect();
        assert_eq!(found, expected, "{gfp}");
        assert!(gfp.zone(all_zones()).is_ok() && gfp.migrate_type(true).is_ok());
    }
}
