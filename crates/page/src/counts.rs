//! References to a page and mappings of it: one word, its transitions, and the loops that apply them.
//!
//! The low half counts references, the high half mappings. Each change is a pure function of the word; what is refused leaves it as it was.
//! Loom explores the loops (`tests/loom`).

use core::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};

/// The token's own reference, and nothing else.
pub(crate) const ONE: u64 = 1;

/// One reference more, where there are some: of none, the page may be free.
const fn one_more(counts: u64) -> Option<u64> {
    let references = counts as u32;
    if references > 0 && references != u32::MAX { Some(counts + 1) } else { None }
}

/// One less, but for the last.
const fn one_less(counts: u64) -> Option<u64> {
    if counts as u32 > 1 { Some(counts - 1) } else { None }
}

/// Takes a reference (`get_page`, `folio_try_get`): how many there are now, or none if there was none to add to.
pub(crate) fn take_reference(counts: &AtomicU64) -> Option<u32> {
    counts.fetch_update(AcqRel, Relaxed, one_more).ok().map(|before| before as u32 + 1)
}

/// Gives one back: how many are left, or none if it was the last, which stays.
pub(crate) fn drop_reference(counts: &AtomicU64) -> Option<u32> {
    counts.fetch_update(AcqRel, Relaxed, one_less).ok().map(|before| before as u32 - 1)
}

/// Takes away the only reference of a page that nobody maps (`page_ref_freeze`): from then on nobody can take one. Whether there
/// was nothing else; whoever froze it sets the count anew.
#[inline]
pub(crate) fn freeze(counts: &AtomicU64) -> bool {
    counts.compare_exchange(ONE, 0, Acquire, Relaxed).is_ok()
}
