//! Which page has which slot of the window: chains of slots by a hash of the page's number (`page_address_htable`).

use super::pkmap::PkmapEntry;

/// PA_HASH_ORDER: chains, as a power of two.
const HASH_ORDER: u32 = 7;
/// No slot.
pub(super) const NONE: u16 = u16::MAX;

/// The first slot of each chain.
#[derive(Debug)]
pub(super) struct Chains([u16; 1 << HASH_ORDER]);

impl Chains {
    pub(super) const fn new() -> Self {
        Self([NONE; 1 << HASH_ORDER])
    }

    /// Fibonacci hashing: numbers that follow each other come far apart.
    fn head(&mut self, page: u64) -> &mut u16 {
        let hash = page.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HASH_ORDER);
        &mut self.0[hash as usize]
    }

    /// The slot of a page.
    pub(super) fn find(&mut self, entries: &[PkmapEntry], page: u64) -> Option<u16> {
        let mut at = *self.head(page);
        while let Some(entry) = entries.get(usize::from(at)) {
            if entry.page == page {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    /// Notes that `slot` has the page that its entry names.
    pub(super) fn insert(&mut self, entries: &mut [PkmapEntry], slot: u16) {
        let head = self.head(entries[usize::from(slot)].page);
        entries[usize::from(slot)].next = *head;
        *head = slot;
    }

    /// Forgets `slot`.
    pub(super) fn remove(&mut self, entries: &mut [PkmapEntry], slot: u16) {
        let gone = entries[usize::from(slot)];
        let head = self.head(gone.page);
        if *head == slot {
            *head = gone.next;
            return;
        }
        let mut at = usize::from(*head);
        while let Some(entry) = entries.get(at).copied() {
            if entry.next == slot {
                entries[at].next = gone.next;
                return;
            }
            at = usize::from(entry.next);
        }
    }
}
