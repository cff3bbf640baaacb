//! What is freed later: when the readers have left that may still look at it (`kvfree_rcu`), or once no interrupt handler runs
//! (`vfree_atomic`).
//!
//! Nothing here waits and nothing is allocated for who brings two words inside his object: what is to be freed is chained by them. Who has none to
//! spare is given two by kmalloc; if that has none either, he is told a grace period to wait for ([`Wait`]) and frees it himself then.
//!
//! # Protocol
//! Memory is in one of two rows under one lock. What arrives has no period; when nothing waits, all that has arrived begins one together. Whoever polls
//! ([`Kv::kvfree_rcu_poll`]) takes the row whose readers have left, and frees it without the lock. A chain's element is a link of two
//! words: the next link, and the memory, whose lowest bit says that the link is kmalloc's and goes too. What handlers free is a third chain, pushed by an
//! atomic exchange; its link is the memory's first word.

use super::Kv;
use crate::memory::SlabMemory;
use core::fmt;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use pagewright_addr::VirtAddr;
use pagewright_platform::{GracePeriods, Interrupts, Mutex};
use pagewright_zone::Gfp;

/// Bytes that an object brings for being freed later (`struct rcu_head` of 64-bit kernels).
pub const LINK_BYTES: usize = 16;

/// There was no memory to remember it by: it is still the caller's, who frees it when this grace period is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    /// The period ([`GracePeriods::is_over`]).
    pub period: u64,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no memory to free it later: wait for grace period {}", self.period)
    }
}

impl core::error::Error for Wait {}

/// Rows of links, 0 for none.
#[derive(Debug)]
struct Rows {
    arriving: u64,
    waiting: u64,
    period: u64,
    /// How much is in either.
    pending: u64,
}

/// Memory of one kernel that is freed later.
pub struct KvLater<'g> {
    grace: &'g dyn GracePeriods,
    rows: Mutex<Rows>,
    /// What interrupt handlers freed.
    atomic: AtomicU64,
}

impl fmt::Debug for KvLater<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvLater").field("atomic", &self.atomic).finish_non_exhaustive()
    }
}

impl<'g> KvLater<'g> {
    /// Nothing yet, and who knows when readers have left.
    pub const fn new(grace: &'g dyn GracePeriods) -> Self {
        let rows = Rows { arriving: 0, waiting: 0, period: 0, pending: 0 };
        Self { grace, rows: Mutex::new(rows), atomic: AtomicU64::new(0) }
    }
}

impl<I: Interrupts, M: SlabMemory> Kv<'_, '_, '_, '_, I, M> {
    /// Frees memory when the readers have left that may look at it now (`kvfree_rcu` with two arguments): `offset` bytes into it lie
    /// [`LINK_BYTES`] that nobody uses from now on, at a multiple of 8. `false` if they are not mapped; nothing is freed then.
    ///
    /// # Safety
    /// As for [`Kv::kvfree`], but readers in sections that have begun already may look at everything but these bytes; nobody finds it from now on.
    /// `later` is polled only by families over the same slabs and space.
    pub unsafe fn kvfree_rcu(&self, later: &KvLater<'_>, at: VirtAddr, offset: u64) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.arrive(later, at.get() + offset, at.get()) }
    }

    /// The same of memory that has no room for a link (`kvfree_rcu_mightsleep`, or with one argument). Not for interrupt handlers, nor for who
    /// holds a lock.
    ///
    /// # Errors
    /// [`Wait`], if kmalloc has nothing: the memory is still the caller's.
    ///
    /// # Safety
    /// As for [`Self::kvfree_rcu`]; readers may look at all of it. `later` is polled only by families over the same slabs and space.
    #[track_caller]
    pub unsafe fn kvfree_rcu_mightsleep(&self, later: &KvLater<'_>, at: VirtAddr) -> Result<(), Wait> {
        let gfp = Gfp::GFP_KERNEL | Gfp::NORETRY | Gfp::NOMEMALLOC | Gfp::NOWARN;
        let Ok(link) = self.slabs.kmalloc(self.cx, LINK_BYTES, gfp) else {
            return Err(Wait { period: later.grace.begin() });
        };
        // SAFETY: kmalloc's own bytes, and as the caller says of the memory. Both kinds are aligned to words, so that the lowest bit is free.
        unsafe { self.arrive(later, link.addr().get() as u64, at.get() | 1) };
        Ok(())
    }

    /// # Safety
    /// The link's bytes are the chain's from now on, and the memory is to be freed. `later` is polled only by families over the same slabs and space.
    unsafe fn arrive(&self, later: &KvLater<'_>, link: u64, memory: u64) -> bool {
        let _quiet = self.slabs.quiet();
        let mut rows = later.rows.lock();
        // SAFETY: as the caller says.
        let kept = unsafe { self.put(link, rows.arriving) && self.put(link + 8, memory) };
        if kept {
            rows.arriving = link;
            rows.pending += 1;
        }
        kept
    }

    /// Frees what vmalloc gave, from an interrupt handler or under a lock (`vfree_atomic`): it goes with the next poll. `false` for memory of
    /// kmalloc, and where nothing is mapped.
    ///
    /// # Safety
    /// As for [`Kv::kvfree`]. `later` is polled only by families over the same slabs and space.
    pub unsafe fn vfree_atomic(&self, later: &KvLater<'_>, at: VirtAddr) -> bool {
        if !self.space.contains(at) {
            return false;
        }
        let mut first = later.atomic.load(Relaxed);
        loop {
            if !self.space.write(at, &first.to_ne_bytes()) {
                return false;
            }
            // Whoever takes the chain sees the link.
            match later.atomic.compare_exchange_weak(first, at.get(), Release, Relaxed) {
                Ok(_) => return true,
                Err(other) => first = other,
            }
        }
    }

    /// Frees what handlers have freed, and what readers have left. How much that was. Not for interrupt handlers.
    pub fn kvfree_rcu_poll(&self, later: &KvLater<'_>) -> u64 {
        let mut freed = self.free_atomic(later);
        loop {
            let over = {
                let _quiet = self.slabs.quiet();
                let mut rows = later.rows.lock();
                if rows.waiting == 0 && rows.arriving != 0 {
                    rows.waiting = core::mem::take(&mut rows.arriving);
                    rows.period = later.grace.begin();
                }
                if rows.waiting == 0 || !later.grace.is_over(rows.period) {
                    return freed;
                }
                core::mem::take(&mut rows.waiting)
            };
            let gone = self.free_row(over);
            let _quiet = self.slabs.quiet();
            later.rows.lock().pending -= gone;
            freed += gone;
        }
    }

    /// How much waits for its readers.
    pub fn kvfree_rcu_pending(&self, later: &KvLater<'_>) -> u64 {
        let _quiet = self.slabs.quiet();
        later.rows.lock().pending
    }

    fn free_atomic(&self, later: &KvLater<'_>) -> u64 {
        let (mut at, mut freed) = (later.atomic.swap(0, AcqRel), 0);
        while at != 0 {
            // SAFETY: a chain of `vfree_atomic`, whose memory is ours since, and of this space (who handed it in polls `later` with no other).
            let Some(next) = (unsafe { self.get(at) }) else { break };
            freed += u64::from(self.space.free(VirtAddr::new(at)));
            at = next;
        }
        freed
    }

    fn free_row(&self, first: u64) -> u64 {
        let (mut link, mut freed) = (first, 0);
        while link != 0 {
            // SAFETY: a chain of `arrive`, whose links are ours since, and of these slabs and this space (who handed it in polls `later` with no others).
            let Some((next, memory)) = (unsafe { self.get(link).zip(self.get(link + 8)) }) else { break };
            if memory & 1 == 1 {
                // SAFETY: the link is memory of these slabs' kmalloc that was taken for this.
                unsafe { self.kvfree(VirtAddr::new(link)) };
            }
            // SAFETY: given to be freed, from these slabs or this space (as above), and its readers have left.
            unsafe { self.kvfree(VirtAddr::new(memory & !1)) };
            freed += 1;
            link = next;
        }
        freed
    }

    /// # Safety
    /// As for [`Kv::write`].
    unsafe fn put(&self, at: u64, word: u64) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.write(VirtAddr::new(at), &word.to_ne_bytes()) }
    }

    /// # Safety
    /// As for [`Kv::read`].
    unsafe fn get(&self, at: u64) -> Option<u64> {
        let mut word = [0; 8];
        // SAFETY: as the caller says.
        unsafe { self.read(VirtAddr::new(at), &mut word) }.then(|| u64::from_ne_bytes(word))
    }
}
