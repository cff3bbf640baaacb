//! Checking neighbours before a list is changed (CONFIG_DEBUG_LIST): what overwrote a link is found at the next use of it, and named,
//! before it spreads.

use super::zone::{List, Place};
use pagewright_addr::Order;
use pagewright_page::{FrameIdx, PageMap};

/// A frame, or the list itself.
fn name(idx: Option<FrameIdx>) -> impl core::fmt::Display {
    core::fmt::from_fn(move |f| match idx {
        Some(idx) => write!(f, "frame index {idx}"),
        None => f.write_str("the list"),
    })
}

/// The block that a new one comes next to must be at that end of the list.
///
/// # Panics
/// If it is not.
#[cold]
#[inline(never)]
pub(super) fn check_link(map: &PageMap<'_>, list: &List, place: Place) {
    let (end, beyond, link) = match place {
        Place::Head => (list.head(), list.head().and_then(|head| map.prev(head)), "next->prev"),
        Place::Tail => (list.tail(), list.tail().and_then(|tail| map.next(tail)), "prev->next"),
    };
    if beyond.is_some() {
        panic!("list_add corruption. {link} of {} should be the list, but was {}.", name(end), name(beyond));
    }
    if end.is_some_and(|end| map.free_order(end).is_none()) {
        panic!("list_add corruption. {} is in a free list, but not free.", name(end));
    }
}

/// The neighbours of a block that is taken out must lead to it.
///
/// # Panics
/// If one does not.
#[cold]
#[inline(never)]
pub(super) fn check_unlink(map: &PageMap<'_>, list: &List, idx: FrameIdx, order: Order) {
    let known = |at: FrameIdx| u64::from(at.get()) < map.len();
    let (next, prev) = (map.next(idx), map.prev(idx));
    for (link, neighbour) in [("next", next), ("prev", prev)] {
        if let Some(neighbour) = neighbour.filter(|&at| !known(at) || map.free_order(at) != Some(order)) {
            panic!(
                "list_del corruption, {}->{link} is {}, which heads no free block of order {}.",
                name(Some(idx)),
                name(Some(neighbour)),
                order.get()
            );
        }
    }
    let forward = prev.map_or(list.head(), |prev| map.next(prev));
    if forward != Some(idx) {
        panic!(
            "list_del corruption. prev->next should be {}, but was {}. (prev={})",
            name(Some(idx)),
            name(forward),
            name(prev)
        );
    }
    let back = next.map_or(list.tail(), |next| map.prev(next));
    if back != Some(idx) {
        panic!(
            "list_del corruption. next->prev should be {}, but was {}. (next={})",
            name(Some(idx)),
            name(back),
            name(next)
        );
    }
}
