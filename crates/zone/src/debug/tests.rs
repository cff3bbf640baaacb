//! Parts of debugging that need no allocator: fault attributes, damage, names.

extern crate std;

use super::*;
use crate::gfp::Gfp;
use pagewright_addr::Order;
use std::string::ToString;
use std::vec::Vec;

fn order(n: u8) -> Order {
    Order::new(n).unwrap()
}

/// Which of the next `n` allocations of two pages each fail.
fn failing(fault: &FaultAttr, n: usize) -> Vec<usize> {
    (0..n).filter(|_| fault.should_fail(Gfp::GFP_NOWAIT, order(1))).collect()
}

#[test]
fn attributes_are_read_as_the_command_line_has_them() {
    let fault = FaultAttr::new(1);
    assert_eq!(fault.setup("3,100,4,2"), Ok(()));
    // Space first: two pages leave two, which is what the next one takes; then each third, twice.
    assert_eq!(failing(&fault, 20), [3, 6]);
    assert_eq!(fault.times(), 0);
    let wrong = [
        ("", 0),
        ("1", 1),
        ("1,x,0,1", 1),
        ("1,1,0", 3),
        ("1,1,0,1,1", 4),
        ("-1,1,0,1", 0),
        ("1,1,9999999999,1", 2),
    ];
    for (text, field) in wrong {
        assert_eq!(fault.setup(text), Err(FaultAttrError { field }), "{text}");
    }
    assert_eq!(fault.times(), 0, "what is wrong changes nothing");
}

#[test]
fn without_end_and_with_certainty_all_fail() {
    let fault = FaultAttr::new(7);
    fault.set_probability(100);
    fault.set_times(-1);
    assert_eq!(failing(&fault, 5), [0, 1, 2, 3, 4]);
    fault.set_probability(0);
    assert_eq!(failing(&fault, 5), [0; 0]);
}

#[test]
fn a_probability_is_about_what_it_says() {
    let fault = FaultAttr::new(99);
    fault.set_times(-1);
    for percent in [1, 20, 50, 90] {
        fault.set_probability(percent);
        let tries = if cfg!(miri) { 300 } else { 20_000 };
        let share = failing(&fault, tries).len() as f64 / tries as f64;
        let expected = f64::from(percent) / 100.0;
        assert!((share - expected).abs() < if cfg!(miri) { 0.1 } else { 0.02 }, "{share} {expected}");
    }
}

#[test]
fn some_masks_and_orders_are_left_alone_unless_asked_for() {
    let fault = FaultAttr::new(3);
    fault.set_probability(100);
    fault.set_times(-1);
    let fails = |gfp, n| fault.should_fail(gfp, order(n));
    assert!(fails(Gfp::GFP_NOWAIT, 1) && fails(Gfp::GFP_ATOMIC, 3));
    assert!(!fails(Gfp::GFP_NOWAIT, 0), "min-order is 1");
    assert!(!fails(Gfp::GFP_KERNEL, 1), "it may wait");
    assert!(!fails(Gfp::GFP_NOWAIT | Gfp::HIGHMEM, 1));
    assert!(!fails(Gfp::GFP_NOWAIT | Gfp::NOFAIL, 1));
    fault.set_min_order(0);
    fault.set_ignore_gfp_wait(false);
    fault.set_ignore_gfp_highmem(false);
    assert!(fails(Gfp::GFP_HIGHUSER_MOVABLE, 0));
    assert!(!fails(Gfp::GFP_KERNEL | Gfp::NOFAIL, 1), "whatever is asked for");
}

#[test]
fn damage_is_where_bytes_differ() {
    let mut bytes = [PAGE_POISON; 64];
    assert_eq!(Damage::of(&bytes, PAGE_POISON), None);
    bytes[17] = 0xab;
    let one = Damage::of(&bytes, PAGE_POISON).unwrap();
    assert_eq!((one.offset, one.len, one.is_single_bit(PAGE_POISON)), (17, 1, true));
    bytes[60] = 0;
    let more = Damage::of(&bytes, PAGE_POISON).unwrap();
    assert_eq!((more.offset, more.len, more.is_single_bit(PAGE_POISON)), (17, 44, false));
    let text = |damage| Trouble::Poison { pfn: Pfn::new(0x40001), damage }.to_string();
    assert_eq!(text(one), "pagealloc: single bit error in pfn 0x40001 at offset 0x11: ab");
    let start = "pagealloc: memory corruption in pfn 0x40001 at offset 0x11: ab aa aa";
    assert!(text(more).starts_with(start), "{}", text(more));
}

#[test]
fn names_of_tasks_are_cut_and_ended() {
    assert_eq!(TaskName::new(1, 1, "systemd").name(), "systemd");
    assert_eq!(TaskName::new(1, 1, "kworker/u8:2-events").name(), "kworker/u8:2-ev");
    assert_eq!(TaskName { comm: [b'x'; 16], ..TaskName::default() }.name(), "xxxxxxxxxxxxxxxx");
    assert_eq!(TaskName { comm: [0xff; 16], ..TaskName::default() }.name(), "");
}
