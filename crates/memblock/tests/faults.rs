//! Every operation, with every one of its allocations failing: an error, and nothing has changed.

mod common;
use common::*;
use pagewright_memblock::{Config, Error, Flags, Memblock, Quiet, Region, Set};

const RAM: u64 = 0x4000_0000;

type Operation = (&'static str, fn(&mut Memblock<'_>) -> Result<(), Error>);

/// One call of each fallible operation, on a memblock whose arrays are both full.
const OPERATIONS: &[Operation] = &[
    ("add", |m| m.add(span(RAM + 512 * MIB, PAGE))),
    ("add_node", |m| m.add_node(span(RAM + 512 * MIB, PAGE), node(1), Flags::HOTPLUG)),
    ("remove", |m| m.remove(span(RAM + MIB, PAGE))),
    ("reserve", |m| m.reserve(span(RAM + MIB, PAGE))),
    ("phys_free", |m| m.phys_free(span(RAM + 16, 16))),
    ("mark_hotplug", |m| m.mark_hotplug(span(RAM + MIB, PAGE))),
    ("clear_hotplug", |m| m.clear_hotplug(span(RAM + MIB, PAGE))),
    ("mark_mirror", |m| m.mark_mirror(span(RAM + MIB, PAGE))),
    ("mark_nomap", |m| m.mark_nomap(span(RAM + MIB, PAGE))),
    ("clear_nomap", |m| m.clear_nomap(span(RAM + MIB, PAGE))),
    ("set_node of memory", |m| m.set_node(span(RAM + MIB, PAGE), Set::Memory, node(1))),
    ("set_node of reserved", |m| m.set_node(span(RAM + 16, 16), Set::Reserved, node(1))),
    ("cap_memory_range", |m| m.cap_memory_range(span(RAM + 64 * MIB, 64 * MIB))),
    ("mem_limit_remove_map", |m| m.mem_limit_remove_map(64 * MIB)),
    ("alloc", |m| m.alloc(PAGE, PAGE).map(|_| ())),
    ("alloc_from", |m| m.alloc_from(PAGE, PAGE, at(RAM + MIB)).map(|_| ())),
    ("alloc_node", |m| m.alloc_node(PAGE, PAGE, node(1)).map(|_| ())),
    ("alloc_low", |m| m.alloc_low(PAGE, PAGE).map(|_| ())),
    ("alloc_raw", |m| m.alloc_raw(PAGE, PAGE).map(|_| ())),
    ("alloc_exact_nid_raw", |m| m.alloc_exact_nid_raw(PAGE, PAGE, at(0), at(0), None).map(|_| ())),
    ("phys_alloc", |m| m.phys_alloc(PAGE, PAGE).map(|_| ())),
    ("phys_alloc_try_nid", |m| m.phys_alloc_try_nid(PAGE, PAGE, None).map(|_| ())),
    ("alloc_range_nid", |m| m.alloc_range_nid(PAGE, PAGE, at(0), at(0), None, true).map(|_| ())),
];

/// Runs `operation` with its `n`-th allocation failing; whether that was reached.
fn fails_cleanly((name, operation): &Operation, n: u64, owned: bool) -> bool {
    let (mut a, mut b) = (slots::<4>(), slots::<2>());
    let (places, mut rest) = (Places::new(), vec![Region::default(); 256]);
    let mut store = Store::new(&mut rest, &places);
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.set_region_memory(&mut store);
    m.set_mirrored_kernelcore(true);
    m.allow_resize();
    m.add(span(RAM, 256 * MIB)).unwrap();
    m.reserve(span(RAM, PAGE)).unwrap();
    if owned {
        // Both arrays have grown once and have to give their place back when they grow again.
        for i in 0..7 {
            m.add(span(4 * RAM + i * MIB, PAGE)).unwrap();
        }
        while !m.regions(Set::Reserved).len().is_multiple_of(4) {
            m.reserve(span(RAM + 2 * PAGE * m.regions(Set::Reserved).len() as u64, PAGE)).unwrap();
        }
    } else {
        for i in 0..3 {
            m.add(span(4 * RAM + i * MIB, PAGE)).unwrap();
        }
        m.reserve(span(RAM + 2 * PAGE, PAGE)).unwrap();
    }
    m.set_current_limit(at(RAM + 256 * MIB));
    let before = see(&m);
    let claimed_before = places.claimed().len();
    m.fail_nth(Some(n));
    let done = operation(&mut m);
    m.fail_nth(None);
    m.validate().unwrap_or_else(|v| panic!("{name}, failure {n}: {v}"));
    match done {
        Ok(()) => false,
        Err(e) => {
            assert_eq!(e, Error::Injected, "{name}, failure {n}");
            assert_eq!(see(&m), before, "{name}, failure {n}");
            let claims = places.claimed()[claimed_before..].to_vec();
            let kept: Vec<_> = claims.into_iter().filter(|c| !places.released().contains(c)).collect();
            assert!(kept.is_empty(), "{name}, failure {n}: {kept:?} claimed and not released");
            operation(&mut m).unwrap_or_else(|e| panic!("{name} after failure {n}: {e}"));
            true
        }
    }
}

#[test]
fn every_operation_survives_every_failing_allocation() {
    for owned in [false, true] {
        for operation in OPERATIONS {
            let mut n = 1;
            while fails_cleanly(operation, n, owned) {
                n += 1;
            }
            assert!(n > 1, "{}: arrays are full, so there was something to fail", operation.0);
        }
    }
}

#[test]
fn the_count_is_exact_and_disarms_itself() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(RAM, MIB)).unwrap();
    m.fail_nth(Some(2));
    m.alloc_from(64, 64, at(2 * RAM)).unwrap();
    assert_eq!(m.alloc_from(64, 64, at(2 * RAM)), Err(Error::Injected));
    m.alloc(64, 64).unwrap();
}
