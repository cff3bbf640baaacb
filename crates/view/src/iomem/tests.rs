mod arm64;

use super::*;
use std::string::String;
use std::vec::Vec;

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end))
}

/// What stands below a root with these children once these ranges are reserved.
fn below(children: &[Child], reserved: &[(u64, u64)]) -> String {
    let mut out = String::new();
    let mut below = Below { children, written: PhysAddr::ZERO };
    for (start, end) in reserved {
        let see = &mut |depth, range, name: &str| line(&mut out, depth, range, name);
        below.reserved(see, range(*start, *end)).unwrap();
    }
    below.children.iter().try_for_each(|(r, name)| line(&mut out, 1, *r, name)).unwrap();
    out
}

#[test]
fn a_reservation_is_split_by_what_it_covers() {
    let children = [(range(0x2000, 0x3000), "Kernel code"), (range(0x5000, 0x6000), "Kernel data")];
    assert_eq!(
        below(&children, &[(0x1000, 0x8000)]),
        "  00001000-00001fff : reserved\n  00002000-00002fff : Kernel code\n  00003000-00004fff : reserved\n  \
         00005000-00005fff : Kernel data\n  00006000-00007fff : reserved\n"
    );
    // One that a child covers does not show, and children show without any.
    let all = "  00002000-00002fff : Kernel code\n  00005000-00005fff : Kernel data\n";
    assert_eq!(below(&children, &[(0x2000, 0x3000), (0x5000, 0x5800)]), all);
    assert_eq!(below(&children, &[]), all);
}

#[test]
fn a_page_that_two_reservations_share_shows_once() {
    let lines = "  00001000-00001fff : reserved\n  00002000-00002fff : reserved\n";
    assert_eq!(below(&[], &[(0x1000, 0x2000), (0x1000, 0x2000), (0x1000, 0x3000)]), lines);
    let child = [(range(0x1000, 0x4000), "Crash kernel")];
    let lines = "  00001000-00003fff : Crash kernel\n  00004000-00004fff : reserved\n";
    assert_eq!(below(&child, &[(0x1000, 0x2000), (0x3000, 0x5000)]), lines);
}

/// The tree as a list that is filled reservation by reservation.
fn naive(children: &[Child], reserved: &[(u64, u64)]) -> Vec<Child> {
    let mut list = children.to_vec();
    for (start, end) in reserved {
        let mut at = PhysAddr::new(*start);
        let end = PhysAddr::new(*end);
        let mut gaps = Vec::new();
        for (child, _) in list.iter().filter(|(r, _)| r.overlaps(&range(*start, end.get()))) {
            if at < child.start {
                gaps.push((PhysRange::new(at, child.start), "reserved"));
            }
            at = at.max(child.end);
        }
        if at < end {
            gaps.push((PhysRange::new(at, end), "reserved"));
        }
        list.extend(gaps);
        list.sort_by_key(|(r, _)| r.start);
    }
    list
}

#[test]
fn lines_are_those_of_the_tree_for_every_small_arrangement() {
    // All ranges in 5 pages, as children and as reservations.
    let ranges: Vec<(u64, u64)> = (0..5).flat_map(|a| (a + 1..=5).map(move |b| (a << 12, b << 12))).collect();
    for (n, first) in ranges.iter().enumerate() {
        for second in &ranges[n..] {
            for (third, child) in ranges.iter().flat_map(|r| ranges.iter().map(move |c| (r, c))) {
                let mut reserved = [*first, *second, *third];
                reserved.sort_unstable();
                let children = [(range(child.0, child.1), "Kernel code")];
                let mut expected = String::new();
                for (r, name) in naive(&children, &reserved) {
                    line(&mut expected, 1, r, name).unwrap();
                }
                assert_eq!(below(&children, &reserved), expected, "{reserved:x?} {child:x?}");
            }
        }
    }
}

#[test]
fn names_are_indented_by_depth_to_a_limit() {
    let mut out = String::new();
    resource(&mut out, 0, 0x1000, 0x1fff, "System RAM").unwrap();
    resource(&mut out, 7, 0x1_0000_0000, 0x1_0000_0fff, "deep").unwrap();
    assert_eq!(out, "00001000-00001fff : System RAM\n          100000000-100000fff : deep\n");
}
