//! Each count in a word of its own, for machines whose registers have 32 bits.
//!
//! What is decided by both is decided by the references: there are no mappings without any (the head of [`super`]).

use core::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// One reference more, where there are some: of none, the page may be free.
const fn one_more(references: u32) -> Option<u32> {
    if references > 0 { references.checked_add(1) } else { None }
}

/// One less, but for the last.
const fn one_less(references: u32) -> Option<u32> {
    if references > 1 { Some(references - 1) } else { None }
}

/// The counts of one page, as large and as aligned as those of one word.
#[derive(Debug, Default)]
#[repr(C, align(8))]
pub(crate) struct Counts {
    references: AtomicU32,
    mappings: AtomicU32,
}

impl Counts {
    /// References.
    #[inline]
    pub(crate) fn references(&self) -> u32 {
        self.references.load(Relaxed)
    }

    /// Mappings.
    #[inline]
    pub(crate) fn mappings(&self) -> u32 {
        self.mappings.load(Relaxed)
    }

    /// Sets the references, and that there are no mappings: plain stores by whoever holds the token. Who takes one of these references sees no mapping
    /// from before.
    #[inline]
    pub(crate) fn set(&self, references: u32) {
        self.mappings.store(0, Relaxed);
        self.references.store(references, Release);
    }

    /// From none to one reference: a plain store by whoever holds the token. There are no mappings where there are no references.
    #[inline]
    pub(crate) fn set_first(&self) {
        self.references.store(1, Release);
    }

    /// From one reference, which is all there is, to none: a plain store by whoever holds the token. Nobody takes one of none, so there is nothing to see by it.
    #[inline]
    pub(crate) fn clear_last(&self) {
        self.references.store(0, Relaxed);
    }

    /// Sets both, as nobody does.
    #[cfg(test)]
    pub(crate) fn set_both(&self, references: u32, mappings: u32) {
        self.references.store(references, Relaxed);
        self.mappings.store(mappings, Relaxed);
    }

    /// Whether there is neither.
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.references() | self.mappings() == 0
    }

    /// Whether there is one reference and nothing else.
    #[inline]
    pub(crate) fn is_one(&self) -> bool {
        (self.references() ^ 1) | self.mappings() == 0
    }

    /// Takes a reference (`get_page`, `folio_try_get`): how many there are now, or none if there was none to add to.
    pub(crate) fn take_reference(&self) -> Option<u32> {
        self.references.fetch_update(AcqRel, Relaxed, one_more).ok().map(|before| before + 1)
    }

    /// Gives one back: how many are left, or none if it was the last, which stays.
    pub(crate) fn drop_reference(&self) -> Option<u32> {
        self.references.fetch_update(AcqRel, Relaxed, one_less).ok().map(|before| before - 1)
    }

    /// Takes away the only reference of a page that nobody maps (`page_ref_freeze`): from then on nobody can take one. Whether there
    /// was nothing else; whoever froze it sets the count anew.
    #[inline]
    pub(crate) fn freeze(&self) -> bool {
        if self.references.compare_exchange(1, 0, Acquire, Relaxed).is_err() {
            return false;
        }
        // Only now: whoever gave a reference back has unmapped before, and from here on nobody maps.
        let alone = self.mappings() == 0;
        if !alone {
            self.references.store(1, Release);
        }
        alone
    }
}
