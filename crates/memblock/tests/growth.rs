//! Facts about growing arrays: when, where to, what the log says, and that failing leaves no trace.

mod common;
use common::*;
use pagewright_memblock::{AddrWidth, Config, Error, Event, Memblock, Quiet, Region, Set};

const RAM: u64 = 0x4000_0000;

/// A memblock with 1 GiB of RAM in `memory` slots and, in the reserved set, one page of every second from the
/// bottom until `reserved` slots are full.
macro_rules! full {
    ($m:ident, $log:expr, $memory:literal, $reserved:literal, $store:expr) => {
        let (mut a, mut b) = (slots::<$memory>(), slots::<$reserved>());
        let mut $m = Memblock::new(&mut a, &mut b, Config::default(), $log);
        $m.set_region_memory($store);
        $m.add(span(RAM, 1 << 30)).unwrap();
        for i in 0..$reserved {
            $m.reserve(span(RAM + 2 * i * PAGE, PAGE)).unwrap();
        }
        $m.set_caller("setup_arch");
    };
}

#[test]
fn a_full_reserved_array_doubles_into_the_top_of_memory() {
    let (places, mut rest) = (Places::new(), vec![Region::default(); 1024]);
    let mut store = Store::new(&mut rest, &places);
    let log = Log::default();
    full!(m, &log, 4, 128, &mut store);
    assert_eq!(m.reserve(span(RAM + MIB, PAGE)), Err(Error::Full { set: Set::Reserved, max: 128 }));
    m.allow_resize();
    log.events.borrow_mut().clear();
    m.reserve(span(RAM + MIB, PAGE)).unwrap();
    assert_eq!(
        log.lines(AddrWidth::Bits64),
        [
            "memblock_reserve: [0x0000000040100000-0x0000000040100fff] setup_arch",
            // 256 regions of 24 bytes; the log shows the array, the reservation whole pages.
            "memblock: reserved is doubled to 256 at [0x000000007fffe000-0x000000007ffff7ff]",
            "memblock_reserve: [0x000000007fffe000-0x000000007fffffff] memblock_double_array",
        ]
    );
    assert_eq!(m.regions(Set::Reserved).len(), 130);
    assert_eq!(m.reserved_size(), 129 * PAGE + 2 * PAGE);
    m.validate().unwrap();
    assert_eq!(places.claimed(), [span(0x7fff_e000, 2 * PAGE)]);
}

#[test]
fn the_new_array_stays_clear_of_what_is_being_reserved() {
    let (places, mut rest) = (Places::new(), vec![Region::default(); 1024]);
    let mut store = Store::new(&mut rest, &places);
    full!(m, &Quiet, 4, 128, &mut store);
    m.allow_resize();
    // Above the range there is one page only: the array goes below it.
    m.reserve(span(RAM + 512 * MIB, 512 * MIB - PAGE)).unwrap();
    m.validate().unwrap();
    assert_eq!(places.claimed(), [span(RAM + 512 * MIB - 2 * PAGE, 2 * PAGE)]);
}

#[test]
fn an_allocation_keeps_its_place_when_its_reservation_grows_the_array() {
    let (places, mut rest) = (Places::new(), vec![Region::default(); 1024]);
    let mut store = Store::new(&mut rest, &places);
    full!(m, &Quiet, 4, 128, &mut store);
    m.allow_resize();
    // Nothing is above the found place, so the array goes right below it.
    assert_eq!(m.phys_alloc(PAGE, PAGE), Ok(at(RAM + (1 << 30) - PAGE)));
    assert_eq!(places.claimed(), [span(RAM + (1 << 30) - 3 * PAGE, 2 * PAGE)]);
}

#[test]
fn growing_memory_takes_a_slot_of_reserved_and_grows_that_too() {
    let (places, mut rest) = (Places::new(), vec![Region::default(); 1024]);
    let mut store = Store::new(&mut rest, &places);
    let log = Log::default();
    let (mut a, mut b) = (slots::<128>(), slots::<2>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &log);
    m.set_region_memory(&mut store);
    m.allow_resize();
    m.add(span(RAM, 1 << 30)).unwrap();
    for i in 1..128 {
        m.add(span((1 << 32) + i * 2 * PAGE, PAGE)).unwrap();
    }
    m.reserve(span(RAM, PAGE)).unwrap();
    m.reserve(span(RAM + MIB, PAGE)).unwrap();
    m.set_current_limit(at(RAM + (1 << 30)));
    log.events.borrow_mut().clear();
    m.set_caller("arm_add_memory");
    m.add(span(1 << 33, PAGE)).unwrap();
    assert_eq!(
        log.lines(AddrWidth::Bits64),
        [
            "memblock_add: [0x0000000200000000-0x0000000200000fff] arm_add_memory",
            "memblock: memory is doubled to 256 at [0x000000007fffe000-0x000000007ffff7ff]",
            "memblock_reserve: [0x000000007fffe000-0x000000007fffffff] memblock_double_array",
            "memblock: reserved is doubled to 4 at [0x000000007fffd000-0x000000007fffd05f]",
            "memblock_reserve: [0x000000007fffd000-0x000000007fffdfff] memblock_double_array",
        ]
    );
    assert_eq!(m.regions(Set::Memory).len(), 129);
    m.validate().unwrap();
}

#[test]
fn an_array_that_memblock_made_is_freed_when_it_grows_again() {
    let (places, mut rest) = (Places::new(), vec![Region::default(); 4096]);
    let mut store = Store::new(&mut rest, &places);
    let log = Log::default();
    full!(m, &log, 4, 128, &mut store);
    m.allow_resize();
    for i in 0..200 {
        m.reserve(span(RAM + MIB + 2 * i * PAGE, PAGE)).unwrap();
        if i % 20 == 0 {
            m.validate().unwrap();
        }
    }
    let lines = log.lines(AddrWidth::Bits64);
    let i = lines.iter().position(|l| l.contains("doubled to 512")).unwrap();
    assert_eq!(
        lines[i..i + 3],
        [
            "memblock: reserved is doubled to 512 at [0x000000007fffb000-0x000000007fffdfff]",
            "memblock_phys_free: [0x000000007fffe000-0x000000007fffffff] memblock_double_array",
            "memblock_reserve: [0x000000007fffb000-0x000000007fffdfff] memblock_double_array",
        ]
    );
    let mut discarded = vec![];
    m.free_all(&mut |_, _| ()).unwrap();
    m.discard(&mut |range| discarded.push(range)).unwrap();
    assert_eq!(discarded, [span(0x7fff_b000, 3 * PAGE)]);
    assert_eq!(places.released(), [span(0x7fff_e000, 2 * PAGE)]);
}

#[test]
fn a_memory_array_that_grows_twice_frees_its_first_place() {
    let (places, mut rest) = (Places::new(), vec![Region::default(); 4096]);
    let mut store = Store::new(&mut rest, &places);
    let (mut a, mut b) = (slots::<4>(), slots::<3>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.set_region_memory(&mut store);
    m.allow_resize();
    m.add(span(RAM, 1 << 30)).unwrap();
    m.set_current_limit(at(RAM + (1 << 30)));
    for i in 0..40 {
        m.add(span((1 << 32) + i * 2 * PAGE, PAGE)).unwrap();
        m.validate().unwrap();
    }
    assert_eq!(m.regions(Set::Memory).len(), 41);
    // One array for memory and one for reserved are left, each in whole pages.
    assert!(m.reserved_size() <= 4 * PAGE);
}

#[test]
fn bottom_up_places_the_array_low() {
    let (places, mut rest) = (Places::new(), vec![Region::default(); 1024]);
    let mut store = Store::new(&mut rest, &places);
    full!(m, &Quiet, 4, 4, &mut store);
    m.allow_resize();
    m.set_bottom_up(true);
    m.phys_alloc(PAGE, PAGE).unwrap();
    m.validate().unwrap();
    // The allocation found the first gap; the array takes the next place above it.
    assert_eq!(places.claimed(), [span(RAM + 3 * PAGE, PAGE)]);
}

#[test]
fn a_32_bit_kernel_has_smaller_regions() {
    let (places, mut rest) = (Places::new(), vec![Region::default(); 1024]);
    let mut store = Store::new(&mut rest, &places);
    let log = Log::default();
    let (mut a, mut b) = (slots::<4>(), slots::<128>());
    let mut m = Memblock::new(&mut a, &mut b, narrow(), &log);
    m.set_region_memory(&mut store);
    m.allow_resize();
    m.add(span(RAM, 1 << 30)).unwrap();
    for i in 0..129 {
        m.reserve(span(RAM + 2 * i * PAGE, PAGE)).unwrap();
    }
    let lines = log.lines(AddrWidth::Bits32);
    assert!(
        lines.contains(&"memblock: reserved is doubled to 256 at [0x7ffff000-0x7ffffbff]".into()),
        "{lines:?}"
    );
}

#[test]
fn what_cannot_grow_says_so_and_stays_as_it_was() {
    let (places, mut rest) = (Places::new(), vec![Region::default(); 8]);
    let mut store = Store::new(&mut rest, &places);
    let log = Log::default();
    full!(m, &log, 4, 128, &mut store);
    m.allow_resize();
    let before = see(&m);
    log.events.borrow_mut().clear();
    let error = Error::CannotGrow { set: Set::Reserved, new_max: 256 };
    assert_eq!(m.reserve(span(RAM + MIB, PAGE)), Err(error));
    let lines = log.lines(AddrWidth::Bits64);
    assert_eq!(lines[1..], ["memblock: Failed to double reserved array from 128 to 256 entries !"]);
    assert_eq!(see(&m), before);
}

#[test]
fn if_reserved_cannot_grow_memory_does_not_either() {
    let (places, mut rest) = (Places::new(), vec![Region::default(); 1024]);
    let mut store = Store::new(&mut rest, &places);
    places.grants.set(1);
    let (mut a, mut b) = (slots::<4>(), slots::<1>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.set_region_memory(&mut store);
    m.allow_resize();
    for i in 0..4 {
        m.add(span(RAM + i * MIB, 8 * PAGE)).unwrap();
    }
    m.reserve(span(RAM, PAGE)).unwrap();
    let before = see(&m);
    let error = Error::CannotGrow { set: Set::Reserved, new_max: 4 };
    assert_eq!(m.add(span(RAM + 9 * MIB, PAGE)), Err(error));
    assert_eq!(see(&m), before);
    assert_eq!(places.claimed(), places.released());
}

#[test]
fn removed_memory_is_no_place_for_the_larger_array() {
    let (places, mut rest) = (Places::new(), vec![Region::default(); 1024]);
    let mut store = Store::new(&mut rest, &places);
    let (mut a, mut b) = (slots::<2>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.set_region_memory(&mut store);
    m.allow_resize();
    m.add(span(RAM, 256 * MIB)).unwrap();
    m.add(span(2 * RAM, 256 * MIB)).unwrap();
    m.remove(span(2 * RAM, 256 * MIB)).unwrap();
    assert_eq!(bases(&m, Set::Memory), [(RAM, 256 * MIB)]);
    assert_eq!(places.claimed(), [span(RAM + 256 * MIB - PAGE, PAGE)]);
}

#[test]
fn more_than_twice_the_room_comes_in_one_step() {
    let (places, mut rest) = (Places::new(), vec![Region::default(); 1024]);
    let mut store = Store::new(&mut rest, &places);
    let log = Log::default();
    full!(m, &log, 4, 8, &mut store);
    m.allow_resize();
    // Nine gaps, and the array's own region.
    m.reserve(span(RAM - MIB, 2 * MIB)).unwrap();
    m.validate().unwrap();
    assert_eq!(bases(&m, Set::Reserved), [(RAM - MIB, 2 * MIB), (RAM + (1 << 30) - PAGE, PAGE)]);
    let doubled: Vec<_> = log
        .events
        .borrow()
        .iter()
        .filter_map(|e| match e {
            Event::Doubled { new_max, .. } => Some(*new_max),
            _ => None,
        })
        .collect();
    assert_eq!(doubled, [32]);
}

#[test]
fn the_memory_of_an_array_in_use_does_not_become_free() {
    let (places, mut rest) = (Places::new(), vec![Region::default(); 1024]);
    let mut store = Store::new(&mut rest, &places);
    full!(m, &Quiet, 4, 128, &mut store);
    m.allow_resize();
    m.reserve(span(RAM + MIB, PAGE)).unwrap();
    let array = places.claimed()[0];
    let refused = Err(Error::HoldsArray { set: Set::Reserved });
    assert_eq!(m.phys_free(array), refused);
    assert_eq!(m.phys_free(span(RAM, 1 << 30)), refused);
    m.enforce_memory_limit(512 * MIB).unwrap();
    m.validate().unwrap();
    assert_eq!(m.add(array), refused, "its reservation went with the memory");
    m.add(span(RAM + 512 * MIB, MIB)).unwrap();
    m.validate().unwrap();
}
