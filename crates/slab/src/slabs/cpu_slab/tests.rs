//! The processor's list as a word.

use super::tid::FreeList;

#[test]
fn every_change_is_another_transaction_of_the_same_processor() {
    let list = FreeList::new(3);
    let empty = list.read();
    assert_eq!((empty.first(), empty.cpu(), empty.tid()), (None, 3, 3));
    assert!(list.swap(empty, Some(64)));
    let one = list.read();
    assert_eq!((one.first(), one.cpu()), (Some(64), 3));
    assert!(one.tid() > empty.tid());
    assert_eq!(list.replace(None), Some(64));
    assert_eq!(list.replace(Some(64)), None);
    let again = list.read();
    assert_eq!((again.first(), again.cpu()), (one.first(), 3));
    assert_ne!(again.tid(), one.tid(), "the same first object, another list");
    assert!(!list.swap(one, None), "what was read before is of no use");
    assert_eq!(list.read(), again);
}

#[test]
fn the_whole_slab_has_offsets_and_none_is_no_offset() {
    let list = FreeList::new(0);
    let last = (4 << 20) - 8;
    for first in [Some(0), Some(last), None] {
        list.replace(first);
        assert_eq!(list.read().first(), first);
    }
}
