//! Objects that keep their type (`SLAB_TYPESAFE_BY_RCU`): SLOB has no slabs that could wait for readers, so each object does that is freed, and nobody has its memory
//! meanwhile.
//!
//! Such an object has three words behind it (Linux's `struct slob_rcu` has as many), which its user knows nothing of:
//! ```text
//! +--------------------+----------------+--------------------------+------+---------+
//! | object             | to a word's    | footer of the next one   | its  | sign    |
//! |                    | multiple       | that waits, 0 for none   | cache|         |
//! +--------------------+----------------+--------------------------+------+---------+
//! ```
//! The sign is 0 while the object is in use. While it waits, it is made of the two other words, where they lie and a secret: so an object that is freed again is known, and what
//! was overwritten is not followed.
//!
//! Those that arrive have no grace period yet; when nothing waits, all of them begin one together. Whoever frees an object of such a cache, shrinks, destroys, reaps or polls gives
//! back those whose time has come.

use super::cache::SlobCache;
use super::{OWNER, Slob};
use crate::memory::SlabMemory;
use crate::slabs::{CacheId, Damage, SlabContext};
use core::sync::atomic::Ordering::{AcqRel, Relaxed};
use pagewright_platform::{GracePeriods, Interrupts};

/// Bytes of a word here.
const WORD: usize = size_of::<usize>();

/// Where an object of so many bytes has its footer, and how many bytes both take.
pub(super) const fn with_footer(bytes: usize) -> (usize, usize) {
    let at = bytes.next_multiple_of(WORD);
    (at, at + 3 * WORD)
}

/// Objects that wait, by the addresses of their footers; 0 for none.
#[derive(Debug)]
pub(super) struct Waiting {
    arriving: usize,
    waiting: usize,
    period: u64,
}

impl Waiting {
    pub(super) const fn new() -> Self {
        Self { arriving: 0, waiting: 0, period: 0 }
    }
}

/// What a footer says.
#[derive(Clone, Copy)]
struct Footer {
    next: usize,
    cache: usize,
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slob<'k, 'a, I, M> {
    /// From here on there can be caches whose objects keep their type: who reads them does so in sections that these grace periods wait for. Objects may wait for
    /// them from then on, so others cannot take their place: whether these are the ones.
    pub const fn set_grace_periods(&mut self, grace: &'k dyn GracePeriods) -> bool {
        if self.grace.is_some() {
            return false;
        }
        self.grace = Some(grace);
        true
    }

    /// # Safety
    /// A footer of one of these caches' objects lies there, whose block the caller has, or which waits, under the lock of those.
    unsafe fn footer(&self, at: usize) -> (Footer, usize) {
        let words = self.memory.pointer(at).cast::<usize>();
        // SAFETY: as the caller says; footers lie at multiples of a word, and all memory of pages is initialised.
        unsafe { (Footer { next: words.read(), cache: words.add(1).read() }, words.add(2).read()) }
    }

    /// # Safety
    /// As for [`Self::footer`].
    unsafe fn set_footer(&self, at: usize, footer: Footer, sign: usize) {
        let words = self.memory.pointer(at).cast::<usize>();
        // SAFETY: as the caller says; aligned, as above.
        unsafe {
            words.write(footer.next);
            words.add(1).write(footer.cache);
            words.add(2).write(sign);
        }
    }

    /// What follows from a footer, where it lies and the secret; never 0.
    fn footer_sign(&self, at: usize, footer: Footer) -> usize {
        let mixed = (at ^ self.secret) as u64;
        let mixed = (mixed ^ (footer.next as u64).rotate_left(21)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 29 ^ footer.cache as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 24) as usize | 1
    }

    /// Notes that an object is in use, which was just taken.
    ///
    /// # Safety
    /// An object of the cache, with the room that the cache has for each, which is the caller's.
    pub(super) unsafe fn wear_footer(&self, cache: &SlobCache, address: usize) {
        if let Some(footer) = cache.footer {
            // SAFETY: the room behind the object, as the caller says.
            unsafe { self.set_footer(address + footer, Footer { next: 0, cache: 0 }, 0) };
        }
    }

    /// Keeps an object, whose footer lies so far into it, until its readers have left; whether it was in use.
    ///
    /// # Safety
    /// It is an object of the cache that was allocated, and nobody who is no reader uses it from now on.
    pub(super) unsafe fn defer(&self, id: CacheId, cache: &SlobCache, address: usize, footer: usize) -> bool {
        if !self.holds(cache, address) {
            self.report(Damage::NotAllocated, Some(cache), address);
            return false;
        }
        let at = address + footer;
        let _quiet = self.quiet();
        let mut rows = self.waiting.lock();
        // SAFETY: a footer, as the caller says, inside memory that was just looked at.
        let (found, sign) = unsafe { self.footer(at) };
        if sign != 0 {
            let known = sign == self.footer_sign(at, found);
            self.report(if known { Damage::DoubleFree } else { Damage::RightRedZone }, Some(cache), address);
            return false;
        }
        let footer = Footer { next: rows.arriving, cache: id.to_raw() as usize };
        // SAFETY: as above.
        unsafe { self.set_footer(at, footer, self.footer_sign(at, footer)) };
        rows.arriving = at;
        if let Some(slot) = self.slots.get(id.index()) {
            slot.deferred.fetch_add(1, Relaxed);
        }
        true
    }

    /// Whether memory at an address can be an object of the cache: all of it is in use.
    fn holds(&self, cache: &SlobCache, address: usize) -> bool {
        let Some((idx, base)) = self.page_of(address) else {
            return self.large().size(address).is_some_and(|bytes| bytes >= cache.block);
        };
        let from = address - base;
        let _quiet = self.quiet();
        let _lists = self.lists.lock();
        cache.block <= self.page_bytes() - from
            && self.map.slab_owner(self.memory.frame_of(address)) == OWNER
            && self.page_at(base).is_used(self.word_of(idx).first, from, cache.block).unwrap_or(false)
    }

    /// Gives back objects whose readers have left.
    pub(crate) fn release_deferred(&self, cx: &SlabContext<'_, 'k, 'a>) {
        let Some(grace) = self.grace else { return };
        loop {
            let mut over = {
                let _quiet = self.quiet();
                let mut rows = self.waiting.lock();
                if rows.waiting == 0 && rows.arriving != 0 {
                    rows.waiting = core::mem::take(&mut rows.arriving);
                    rows.period = grace.begin();
                }
                if rows.waiting == 0 || !grace.is_over(rows.period) {
                    return;
                }
                core::mem::take(&mut rows.waiting)
            };
            while over != 0 {
                let Some(next) = self.release(cx, over) else { break };
                over = next;
            }
        }
    }

    /// Gives the object back whose footer lies there; the next one's. `None` for a footer that was written: it, and all behind it, are lost.
    fn release(&self, cx: &SlabContext<'_, 'k, 'a>, at: usize) -> Option<usize> {
        // SAFETY: a row's footer, which a sign vouched for; what waits is nobody else's.
        let (footer, sign) = unsafe { self.footer(at) };
        // A cache does not end while objects of it wait.
        let id = u32::try_from(footer.cache).ok().and_then(CacheId::from_raw);
        let cache = id.and_then(|id| self.cache(id)).filter(|_| sign == self.footer_sign(at, footer));
        let Some((id, cache, offset)) = id.zip(cache).and_then(|(id, of)| Some((id, of, of.footer?))) else {
            self.report(Damage::FreePointer, None, at);
            return None;
        };
        // SAFETY: an object of the cache that was freed, and whose readers have left.
        unsafe { self.give_object(cx, cache, at - offset) };
        // Last: who sees it may end the cache.
        if let Some(slot) = self.slots.get(id.index()) {
            slot.deferred.fetch_sub(1, AcqRel);
        }
        Some(footer.next)
    }
}
