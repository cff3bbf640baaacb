//! Facts about allocation: where, with which fallbacks, within which limits.

mod common;
use common::*;
use pagewright_memblock::{
    ARCH_LOW_ADDRESS_LIMIT, Config, Error, Flags, MEMBLOCK_ALLOC_ACCESSIBLE, MEMBLOCK_ALLOC_ANYWHERE,
    MEMBLOCK_ALLOC_NOLEAKTRACE, Memblock, Quiet, Set,
};

const ANY: pagewright_addr::PhysAddr = MEMBLOCK_ALLOC_ACCESSIBLE;

#[test]
fn top_down_takes_the_highest_place_and_bottom_up_the_lowest() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x10_0000, 0x10_0000)).unwrap();
    assert_eq!(m.phys_alloc(0x1800, PAGE), Ok(at(0x1f_e000)));
    m.set_bottom_up(true);
    assert_eq!(m.phys_alloc(0x1800, PAGE), Ok(at(0x10_0000)));
    assert_eq!(m.phys_alloc(0x10, PAGE), Ok(at(0x10_2000)));
    assert_eq!(m.phys_alloc(0x10, 0), Ok(at(0x10_1800)), "an alignment of 0 is a cache line");
    assert_eq!(m.phys_alloc(0x10, 24), Err(Error::BadAlign { align: 24 }));
}

#[test]
fn the_first_page_is_never_handed_out() {
    for bottom_up in [false, true] {
        let (mut a, mut b) = (slots::<8>(), slots::<8>());
        let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
        m.set_bottom_up(bottom_up);
        m.add(span(0, 2 * PAGE)).unwrap();
        assert_eq!(m.phys_alloc(PAGE, PAGE), Ok(at(PAGE)));
        assert!(matches!(m.phys_alloc(1, 1), Err(Error::NoMemory { .. })));
    }
}

#[test]
fn an_allocation_never_spans_two_regions() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add_node(span(0x10_0000, 0x2000), node(0), Flags::NONE).unwrap();
    m.add_node(span(0x10_2000, 0x2000), node(1), Flags::NONE).unwrap();
    assert!(m.phys_alloc(0x3000, PAGE).is_err());
    assert_eq!(m.phys_alloc(0x2000, PAGE), Ok(at(0x10_2000)));
}

#[test]
fn the_current_limit_bounds_what_names_no_other_bound() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x10_0000, 0x10_0000)).unwrap();
    m.set_current_limit(at(0x18_0000));
    assert_eq!(m.phys_alloc(PAGE, PAGE), Ok(at(0x17_f000)));
    let below = m.phys_alloc_range(PAGE, PAGE, at(0), MEMBLOCK_ALLOC_NOLEAKTRACE);
    assert_eq!(below, Ok(at(0x17_e000)));
    // The phys family may go past it when asked to, the alloc family may not.
    assert_eq!(m.phys_alloc_range(PAGE, PAGE, at(0), MEMBLOCK_ALLOC_ANYWHERE), Ok(at(0x1f_f000)));
    assert_eq!(m.alloc_try_nid(PAGE, PAGE, at(0), MEMBLOCK_ALLOC_ANYWHERE, None), Ok(at(0x17_d000)));
}

#[test]
fn only_the_alloc_family_retries_without_the_lower_bound() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x10_0000, 0x10_0000)).unwrap();
    let high = at(0x20_0000);
    assert_eq!(
        m.phys_alloc_range(PAGE, PAGE, high, ANY),
        Err(Error::NoMemory { size: PAGE, align: PAGE, min: high, max: ANY, nid: None })
    );
    assert_eq!(m.alloc_from(PAGE, PAGE, high), Ok(at(0x1f_f000)));
    // The error names what the caller asked for, not the second try.
    assert_eq!(
        m.alloc_from(MIB << 4, PAGE, high),
        Err(Error::NoMemory { size: MIB << 4, align: PAGE, min: high, max: ANY, nid: None })
    );
}

#[test]
fn low_allocations_stay_below_four_gib() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0xf000_0000, 0x2000_0000)).unwrap();
    let low = m.alloc_low(PAGE, PAGE).unwrap();
    assert!(low < ARCH_LOW_ADDRESS_LIMIT);
    assert_eq!(low, at(0xffff_e000), "the bound is the last address, not the one after it");
    assert_eq!(m.alloc(PAGE, PAGE), Ok(at(0x1_0fff_f000)));
}

#[test]
fn another_node_serves_unless_the_node_is_exact() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add_node(span(0x10_0000, 0x1000), node(0), Flags::NONE).unwrap();
    m.add_node(span(0x20_0000, 0x4000), node(1), Flags::NONE).unwrap();
    assert_eq!(m.alloc_node(PAGE, PAGE, node(0)), Ok(at(0x10_0000)));
    assert_eq!(m.alloc_node(PAGE, PAGE, node(0)), Ok(at(0x20_3000)));
    assert_eq!(m.phys_alloc_try_nid(PAGE, PAGE, node(0)), Ok(at(0x20_2000)));
    let exact = m.alloc_exact_nid_raw(PAGE, PAGE, at(0x20_0000), ANY, node(0));
    assert!(matches!(exact, Err(Error::NoMemory { .. })));
    assert!(m.alloc_range_nid(PAGE, PAGE, at(0), ANY, node(0), true).is_err());
    assert_eq!(m.alloc_range_nid(PAGE, PAGE, at(0), ANY, node(1), true), Ok(at(0x20_1000)));
    // The second try, without the lower bound, stays on the exact node.
    m.phys_free(span(0x10_0000, 0x1000)).unwrap();
    assert_eq!(m.alloc_exact_nid_raw(PAGE, PAGE, at(0x20_0000), ANY, node(0)), Ok(at(0x10_0000)));
}

#[test]
fn the_node_fallback_comes_before_the_lower_bound_is_dropped() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add_node(span(0x10_0000, 0x1000), node(0), Flags::NONE).unwrap();
    m.add_node(span(0x20_0000, 0x1000), node(1), Flags::NONE).unwrap();
    assert_eq!(m.alloc_try_nid(PAGE, PAGE, at(0x20_0000), ANY, node(0)), Ok(at(0x20_0000)));
}

#[test]
fn mirrored_memory_is_used_up_first() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let log = Log::default();
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &log);
    m.add(span(0x10_0000, 0x4000)).unwrap();
    m.set_mirrored_kernelcore(true);
    m.mark_mirror(span(0x10_1000, 0x1000)).unwrap();
    assert_eq!(m.alloc(PAGE, PAGE), Ok(at(0x10_1000)));
    log.events.borrow_mut().clear();
    assert_eq!(m.alloc(PAGE, PAGE), Ok(at(0x10_3000)));
    let lines = log.lines(pagewright_memblock::AddrWidth::Bits64);
    assert_eq!(lines[1], "Could not allocate 0x0000000000001000 bytes of mirrored memory");
    assert_eq!(lines.len(), 3);
}

#[test]
fn special_memory_is_left_alone() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add_node(span(0x10_0000, 0x1000), None, Flags::HOTPLUG).unwrap();
    m.add_node(span(0x20_0000, 0x1000), None, Flags::NOMAP).unwrap();
    m.add_node(span(0x30_0000, 0x1000), None, Flags::DRIVER_MANAGED).unwrap();
    m.set_movable_node(true);
    assert!(m.phys_alloc(PAGE, PAGE).is_err());
    assert_eq!(m.find_in_range(PAGE, PAGE, at(0), ANY, None, Flags::NOMAP), Some(at(0x20_0000)));
    m.set_movable_node(false);
    assert_eq!(m.phys_alloc(PAGE, PAGE), Ok(at(0x10_0000)));
}

#[test]
fn without_numa_all_memory_is_node_0() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, narrow(), &Quiet);
    m.add(span(0x10_0000, 0x4000)).unwrap();
    assert_eq!(m.alloc_range_nid(PAGE, PAGE, at(0), ANY, node(0), true), Ok(at(0x10_3000)));
    assert!(m.alloc_range_nid(PAGE, PAGE, at(0), ANY, node(1), true).is_err());
    assert_eq!(m.alloc_node(PAGE, PAGE, node(1)), Ok(at(0x10_2000)));
}

#[test]
fn an_allocation_at_the_very_top_does_not_wrap() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add_sized(at(u64::MAX - 0x1fff), u64::MAX).unwrap();
    assert_eq!(m.phys_alloc(PAGE, PAGE), Ok(at(u64::MAX - 0x1fff)));
    m.set_bottom_up(true);
    assert!(m.phys_alloc(PAGE, PAGE).is_err());
    assert!(m.phys_alloc(u64::MAX, 1 << 63).is_err());
    assert_eq!(m.regions(Set::Reserved).len(), 1);
}

#[test]
fn refused_allocations_leave_no_trace() {
    let (mut a, mut b) = (slots::<4>(), slots::<2>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x10_0000, 0x10_0000)).unwrap();
    m.reserve(span(0x10_8000, 1)).unwrap();
    m.reserve(span(0x18_0000, 1)).unwrap();
    let before = see(&m);
    assert_eq!(m.alloc(64, 64), Err(Error::Full { set: Set::Reserved, max: 2 }));
    assert_eq!(see(&m), before);
}
