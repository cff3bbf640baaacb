//! The tree against a map that is searched from its beginning each time.

use super::{AreaError, Areas, Node, Wanted};
use pagewright_addr::{VirtAddr, VirtRange};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

const PAGE: u64 = 4096;
const BASE: u64 = 0xffff_c900_0000_0000;

fn range(at: u64, len: u64) -> VirtRange {
    VirtRange::from_len(VirtAddr::new(at), len)
}

fn room(nodes: usize) -> Vec<Node<u32>> {
    vec![Node::default(); nodes]
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Alloc { pages: u64, align: u32, from: u64, len: u64 },
    Insert { at: u64, pages: u64 },
    Remove(usize),
    Look(u64),
}

fn op(pages: u64) -> impl Strategy<Value = Op> {
    let size = prop_oneof![6 => 1_u64..9, 2 => 1_u64..200];
    prop_oneof![
        6 => (size, 0_u32..8, 0..pages, 0..pages * 2).prop_map(|(pages, align, from, len)| {
            // Half of the requests may lie anywhere.
            let anywhere = len % 2 == 0;
            Op::Alloc { pages, align, from: if anywhere { 0 } else { from }, len: if anywhere { u64::MAX } else { len } }
        }),
        2 => (0..pages, 1_u64..6).prop_map(|(at, pages)| Op::Insert { at, pages }),
        6 => any::<usize>().prop_map(Op::Remove),
        1 => (0..pages + 2).prop_map(Op::Look),
    ]
}

/// The areas by start: length and value.
#[derive(Default)]
struct Plain(BTreeMap<u64, (u64, u32)>);

impl Plain {
    fn gaps(&self, all: VirtRange) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut at = all.start.get();
        for (start, (len, _)) in &self.0 {
            if *start > at {
                gaps.push((at, *start));
            }
            at = start + len;
        }
        let end = all.start.get() + all.len;
        if end > at {
            gaps.push((at, end));
        }
        gaps
    }

    fn lowest(&self, all: VirtRange, wanted: &Wanted) -> Option<u64> {
        let last = wanted.within.last().get();
        self.gaps(all).into_iter().find_map(|(from, to)| {
            let at = from.max(wanted.within.start.get()).next_multiple_of(wanted.align);
            (at + wanted.size <= to && at + wanted.size - 1 <= last).then_some(at)
        })
    }
}

fn agree(tree: &Areas<'_, u32>, plain: &Plain) -> Result<(), TestCaseError> {
    tree.validate().map_err(|broken| TestCaseError::fail(std::format!("{broken}")))?;
    let areas: Vec<_> = tree.iter().map(|(_, at, value)| (at.start.get(), (at.len, *value))).collect();
    prop_assert_eq!(areas, plain.0.iter().map(|(at, what)| (*at, *what)).collect::<Vec<_>>());
    let gaps: Vec<_> = tree.gaps().map(|gap| (gap.start.get(), gap.start.get() + gap.len)).collect();
    let expected = plain.gaps(tree.range());
    prop_assert_eq!(tree.largest_gap(), expected.iter().map(|(from, to)| to - from).max().unwrap_or(0));
    prop_assert_eq!(gaps, expected);
    prop_assert_eq!(tree.len(), plain.0.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 300 }) })]
    #[test]
    fn areas_lie_in_the_lowest_gap_with_room(
        ops in proptest::collection::vec(op(700), 0..if cfg!(miri) { 20 } else { 250 }),
        odd in 0_u64..3,
    ) {
        let (mut first, mut second) = (room(64), room(64));
        let all = range(BASE + odd * PAGE, 700 * PAGE);
        let mut tree = Areas::new(all, &mut first).unwrap();
        prop_assert!(tree.add_section(&mut second));
        let mut plain = Plain::default();
        for (number, op) in ops.into_iter().enumerate() {
            let value = number as u32;
            match op {
                Op::Alloc { pages, align, from, len } => {
                    let start = all.start.get() + from * PAGE;
                    let len = len.saturating_mul(PAGE).min(u64::MAX - start);
                    let wanted = Wanted { size: pages * PAGE, align: PAGE << align, within: range(start, len) };
                    let expected = plain.lowest(all, &wanted).filter(|_| len > 0);
                    match tree.alloc(&wanted, value) {
                        Ok(area) => {
                            let at = tree.area(area).unwrap();
                            prop_assert_eq!(Some(at.start.get()), expected);
                            plain.0.insert(at.start.get(), (at.len, value));
                        }
                        Err(AreaError::NoNode { nodes: 128 }) => prop_assert_eq!(plain.0.len(), 127),
                        Err(error) => {
                            prop_assert_eq!(expected, None);
                            let parts = plain.gaps(all).into_iter();
                            let parts = parts.map(|(from, to)| to.min(start + len).saturating_sub(from.max(start)));
                            prop_assert_eq!(error, AreaError::NoGap { wanted, largest: parts.max().unwrap_or(0) });
                        }
                    }
                }
                Op::Insert { at, pages } => {
                    let area = range(all.start.get() + at * PAGE, pages * PAGE);
                    let free = |gap: &(u64, u64)| gap.0 <= area.start.get() && area.start.get() + area.len <= gap.1;
                    let fits = plain.gaps(all).iter().any(free) && plain.0.len() < 127;
                    prop_assert_eq!(tree.insert(area, value).is_ok(), fits);
                    if fits {
                        plain.0.insert(area.start.get(), (area.len, value));
                    }
                }
                Op::Remove(pick) if !plain.0.is_empty() => {
                    let at = *plain.0.keys().nth(pick % plain.0.len()).unwrap();
                    let (len, value) = plain.0.remove(&at).unwrap();
                    let area = tree.at(VirtAddr::new(at + len - 1)).unwrap();
                    prop_assert_eq!(tree.remove(area), Some((range(at, len), value)));
                    prop_assert_eq!(tree.remove(area), None, "it is gone");
                }
                Op::Remove(_) => {}
                Op::Look(at) => {
                    let addr = all.start.get() + at * PAGE;
                    let expected = plain.0.range(..=addr).next_back().filter(|(at, (len, _))| *at + len > addr);
                    let found = tree.at(VirtAddr::new(addr)).and_then(|area| tree.get(area).copied());
                    prop_assert_eq!(found, expected.map(|(_, (_, value))| *value));
                }
            }
            agree(&tree, &plain)?;
        }
    }
}

#[test]
fn alignment_that_rejects_many_gaps_still_finds_one() {
    let mut nodes = room(512);
    let all = range(BASE, 512 * 8 * PAGE);
    let mut tree = Areas::new(all, &mut nodes).unwrap();
    let anywhere = |size, align| Wanted { size, align, within: all };
    // A hundred gaps of 7 pages before multiples of 8; then all the rest.
    for at in 0..100 {
        tree.insert(range(BASE + at * 8 * PAGE, PAGE), 0).unwrap();
    }
    assert_eq!(tree.gaps().next(), Some(range(BASE + PAGE, 7 * PAGE)));
    let area = tree.alloc(&anywhere(7 * PAGE, 8 * PAGE), 1).unwrap();
    assert_eq!(tree.area(area).unwrap().start.get(), BASE + 100 * 8 * PAGE);
    // Only one gap is left that has room, and only where it lies.
    tree.remove(area).unwrap();
    tree.insert(range(BASE + 99 * 8 * PAGE + PAGE, (512 - 100) * 8 * PAGE), 2).unwrap();
    let last = tree.gaps().last().unwrap();
    assert_eq!(last, range(BASE + 511 * 8 * PAGE + PAGE, 7 * PAGE));
    assert!(
        matches!(tree.alloc(&anywhere(7 * PAGE, 8 * PAGE), 3), Err(AreaError::NoGap { largest, .. }) if largest == 7 * PAGE)
    );
    let area = tree.alloc(&anywhere(4 * PAGE, 4 * PAGE), 3).unwrap();
    assert_eq!(tree.area(area).unwrap().start.get(), BASE + 4 * PAGE);
}

#[test]
fn a_range_may_end_where_addresses_do() {
    let mut nodes = room(4);
    let all = range(u64::MAX - 4 * PAGE + 1, 4 * PAGE);
    let mut tree = Areas::new(all, &mut nodes).unwrap();
    let wanted = Wanted { size: PAGE, align: PAGE, within: all };
    let areas: Vec<_> = (0..3).map(|n| tree.alloc(&wanted, n).unwrap()).collect();
    assert_eq!(tree.free_nodes(), 0);
    assert_eq!(tree.alloc(&wanted, 9), Err(AreaError::NoNode { nodes: 4 }));
    for area in areas {
        tree.remove(area).unwrap();
    }
    assert!(tree.is_empty());
    tree.validate().unwrap();
}

#[test]
fn what_cannot_be_is_refused() {
    let mut nodes = room(4);
    assert!(Areas::new(range(BASE, 0), &mut nodes).is_none());
    assert!(Areas::new(range(BASE, PAGE), &mut room(1)[..]).is_none());
    assert!(Areas::new(range(BASE, PAGE), &mut room(3)[..]).is_none());
    let (mut other, mut tree) = (room(2), Areas::new(range(BASE, 8 * PAGE), &mut nodes).unwrap());
    assert!(!tree.add_section(&mut other));
    let wanted = Wanted { size: 0, align: PAGE, within: tree.range() };
    assert_eq!(tree.alloc(&wanted, 0), Err(AreaError::Illegal(wanted)));
    let wanted = Wanted { size: PAGE, align: 3, ..wanted };
    assert_eq!(tree.alloc(&wanted, 0), Err(AreaError::Illegal(wanted)));
    let wanted = Wanted { size: u64::MAX, align: PAGE, ..wanted };
    assert!(matches!(tree.alloc(&wanted, 0), Err(AreaError::NoGap { .. })));
    for outside in [range(BASE - PAGE, 2 * PAGE), range(BASE + 7 * PAGE, 2 * PAGE), range(BASE, 0)] {
        assert_eq!(tree.insert(outside, 0), Err(AreaError::Taken(outside)));
    }
}
