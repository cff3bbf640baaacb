use super::*;

#[test]
fn counters_that_are_brought_have_what_was_counted_before() {
    let (node, counters) = (NodeId::new(1).unwrap(), SlabCounters::new());
    let mut account = Account::new();
    account.add(node, true, 8);
    account.count_in(&counters);
    account.add(node, false, 4);
    account.sub(node, true, 2);
    let pages = SlabPages { reclaimable: 6, unreclaimable: 4 };
    assert_eq!((account.of(node), counters.of(node)), (pages, pages));
    // Once more changes nothing.
    account.count_in(&counters);
    assert_eq!((counters.of(node), counters.of(NodeId::ZERO)), (pages, SlabPages::default()));
}
