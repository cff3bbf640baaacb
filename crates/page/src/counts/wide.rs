//! Both counts in one word: references in the low half, mappings in the high one.
//!
//! Each change is a pure function of the word; what is refused leaves it as it was.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};

/// The token's own reference, and nothing else.
const ONE: u64 = 1;

/// One reference more, where there are some: of none, the page may be free.
const fn one_more(counts: u64) -> Option<u64> {
    let references = counts as u32;
    if references > 0 && references != u32::MAX { Some(counts + 1) } else { None }
}

/// One less, but for the last.
const fn one_less(counts: u64) -> Option<u64> {
    if counts as u32 > 1 { Some(counts - 1) } else { None }
}

/// The counts of one page.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Counts(AtomicU64);

impl Counts {
    /// References.
    #[inline]
    pub(crate) fn references(&self) -> u32 {
        self.0.load(Relaxed) as u32
    }

    /// Mappings.
    #[inline]
    pub(crate) fn mappings(&self) -> u32 {
        (self.0.load(Relaxed) >> 32) as u32
    }

    /// Sets the references, and that there are no mappings: a plain store by whoever holds the token.
    #[inline]
    pub(crate) fn set(&self, references: u32) {
        self.0.store(references.into(), Relaxed);
    }

    /// From none to one reference: a plain store by whoever holds the token. There are no mappings where there are no references.
    #[inline]
    pub(crate) fn set_first(&self) {
        self.0.store(ONE, Relaxed);
    }

    /// From one reference, which is all there is, to none: a plain store by whoever holds the token.
    #[inline]
    pub(crate) fn clear_last(&self) {
        self.0.store(0, Relaxed);
    }

    /// Sets both, as nobody does.
    #[cfg(test)]
    pub(crate) fn set_both(&self, references: u32, mappings: u32) {
        self.0.store(u64::from(mappings) << 32 | u64::from(references), Relaxed);
    }

    /// Whether there is neither.
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    /// Whether there is one reference and nothing else.
    #[inline]
    pub(crate) fn is_one(&self) -> bool {
        self.0.load(Relaxed) == ONE
    }

    /// Takes a reference (`get_page`, `folio_try_get`): how many there are now, or none if there was none to add to.
    pub(crate) fn take_reference(&self) -> Option<u32> {
        self.0.fetch_update(AcqRel, Relaxed, one_more).ok().map(|before| before as u32 + 1)
    }

    /// Gives one back: how many are left, or none if it was the last, which stays.
    pub(crate) fn drop_reference(&self) -> Option<u32> {
        self.0.fetch_update(AcqRel, Relaxed, one_less).ok().map(|before| before as u32 - 1)
    }

    /// Takes away the only reference of a page that nobody maps (`page_ref_freeze`): from then on nobody can take one. Whether there
    /// was nothing else; whoever froze it sets the count anew.
    #[inline]
    pub(crate) fn freeze(&self) -> bool {
        self.0.compare_exchange(ONE, 0, Acquire, Relaxed).is_ok()
    }
}
