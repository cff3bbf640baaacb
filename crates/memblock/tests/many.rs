//! 10,000 regions: searching stays logarithmic, and building the sets does not explode.

mod common;
use common::*;
use pagewright_memblock::{Config, Memblock, Quiet, Region, Set};

const MANY: u64 = if cfg!(miri) { 40 } else { 10_000 };
const STEP: u64 = 1 << 20;

#[test]
fn ten_thousand_regions_are_added_found_and_removed() {
    let (mut a, mut b) =
        (vec![Region::default(); 2 * MANY as usize + 2], vec![Region::default(); 2 * MANY as usize + 2]);
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0, (MANY + 1) * STEP)).unwrap();
    // From both sides in turn, so that inserting happens in the middle.
    for i in (0..MANY).step_by(2).chain((0..MANY).rev().filter(|i| i % 2 == 1)) {
        m.reserve(span(i * STEP + PAGE, PAGE)).unwrap();
    }
    m.validate().unwrap();
    assert_eq!(m.regions(Set::Reserved).len() as u64, MANY);
    for i in 0..MANY {
        assert_eq!(m.search(Set::Reserved, at(i * STEP + PAGE + 5)), Some(i as usize));
        assert!(!m.is_reserved(at(i * STEP)));
        assert!(m.is_region_reserved(span(i * STEP, 2 * PAGE)));
    }
    assert_eq!(m.free_ranges(None, pagewright_memblock::Flags::NONE).count() as u64, MANY + 1);
    for i in 0..MANY {
        m.phys_free(span(i * STEP, STEP)).unwrap();
    }
    assert!(m.regions(Set::Reserved).is_empty());
}

#[test]
fn a_search_in_a_narrow_window_does_not_walk_from_the_far_end() {
    let (mut a, mut b) = (vec![Region::default(); 4], vec![Region::default(); 2 * MANY as usize + 2]);
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0, (MANY + 1) * STEP)).unwrap();
    for i in 0..MANY {
        m.reserve(span(i * STEP + PAGE, STEP - PAGE)).unwrap();
    }
    // One free page in each step: as many searches as regions, each in its own step.
    for i in 1..MANY {
        let found = m.find_in_range(PAGE, PAGE, at(i * STEP), at((i + 1) * STEP), None, Default::default());
        assert_eq!(found, Some(at(i * STEP)));
    }
}

#[test]
fn arrays_grow_to_ten_thousand_regions() {
    let (mut a, mut b) = (vec![Region::default(); 4], vec![Region::default(); 128]);
    let (places, mut rest) = (Places::new(), vec![Region::default(); 8 * MANY as usize]);
    let mut store = Store::new(&mut rest, &places);
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.set_region_memory(&mut store);
    m.allow_resize();
    m.add(span(0, (MANY + 1) * STEP)).unwrap();
    for i in 0..MANY {
        m.reserve(span(i * STEP + PAGE, PAGE)).unwrap();
    }
    m.validate().unwrap();
    let left: u64 = places.claimed().iter().map(|c| c.len()).sum::<u64>()
        - places.released().iter().map(|c| c.len()).sum::<u64>();
    assert_eq!(m.reserved_size(), MANY * PAGE + left);
}
