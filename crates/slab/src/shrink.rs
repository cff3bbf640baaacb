//! Giving memory back under pressure: shrinkers, their registry, and the slabs among them.
//!
//! A [`Shrinker`] is a cache of anything that can be made anew: it says how many objects it could free, and frees some. [`Shrinkers::shrink_slab`] asks all of them, each
//! for a share that grows as the pressure does; what a shrinker was spared, because its share was less than a batch, is kept for later. [`SlabShrinker`] is the one for
//! slabs of which no object is in use; [`ReapTimer`] drives the reaper, which gives back what is not used without any pressure.
//!
//! It is here and not beside page reclaim, which does not exist yet, because it needs nothing else: objects are what is shrunk, and the page allocator's
//! [`Hooks::reclaim`](pagewright_zone::alloc::Hooks::reclaim) is where it is called from ([`Shrinkers::try_to_free_pages`]). Page reclaim will call it in the same way.
//!
//! # Who is excluded
//! Nobody: a shrinker is called by several at once, with no lock held. What was unregistered is called no more, and whoever unregisters waits for calls that run.
//! Handlers of interrupts neither register nor shrink.
//!
//! Source: the behaviour of 6.1's `shrink_slab` (include/linux/shrinker.h says what callers are to expect).

mod reaper;
mod slabs;
#[cfg(test)]
mod tests;

pub use reaper::{Clock, ReapTimer};
pub(crate) use slabs::Lifetimes;
pub use slabs::{SlabShrinker, SlabWork};

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use pagewright_addr::NodeId;
use pagewright_platform::Mutex;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::Progress;

/// How much work it is to make an object anew, as most shrinkers say it (DEFAULT_SEEKS).
pub const DEFAULT_SEEKS: u32 = 2;
/// How many objects are asked for at a time (SHRINK_BATCH).
pub const SHRINK_BATCH: u64 = 128;
/// The least pressure (DEF_PRIORITY): a 4096th of all objects is looked at. None is 0.
pub const DEF_PRIORITY: u32 = 12;
/// A round of direct reclaim ends when so many pages came free (SWAP_CLUSTER_MAX).
pub const SWAP_CLUSTER_MAX: u64 = 32;
/// Nodes whose deferred objects are told apart.
const NODES: usize = 64;

/// What is asked of a shrinker (`struct shrink_control`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShrinkControl {
    /// On whose behalf: what the request may do.
    pub gfp: Gfp,
    /// The node that lacks memory; the first for shrinkers that know no nodes.
    pub nid: NodeId,
    /// So many objects are to be looked at.
    pub nr_to_scan: u64,
    /// So many were: all of them, unless the shrinker says otherwise.
    pub nr_scanned: u64,
    /// Pages that came free (`reclaimed_slab`), to which the shrinker adds its own.
    pub pages: u64,
}

/// A cache of something that can be made anew.
pub trait Shrinker: Sync {
    /// How many objects could be freed (`count_objects`); 0 if there are none, or it cannot be told. Must not wait.
    fn count_objects(&self, sc: &ShrinkControl) -> u64;

    /// Looks at [`ShrinkControl::nr_to_scan`] objects and frees those that are not in use (`scan_objects`): how many, or `None` if it makes no progress now, and is not to
    /// be asked again at once (SHRINK_STOP).
    fn scan_objects(&self, sc: &mut ShrinkControl) -> Option<u64>;

    /// How much work it is to make an object anew, in accesses to a disk; 0 for none: then half of all are looked at each time, rounded up.
    fn seeks(&self) -> u32 {
        DEFAULT_SEEKS
    }

    /// How many objects it is asked for at a time.
    fn batch(&self) -> u64 {
        SHRINK_BATCH
    }

    /// Whether it knows on which node its objects are (SHRINKER_NUMA_AWARE).
    fn is_numa_aware(&self) -> bool {
        false
    }
}

/// How many objects a shrinker is to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Share {
    /// What this pressure asks for.
    delta: u64,
    /// With its part of what was deferred.
    total: u64,
}

impl Share {
    /// Of `freeable` objects, at a priority, for one of these seeks, with so many deferred.
    fn of(freeable: u64, deferred: u64, priority: u32, seeks: u32) -> Self {
        let delta = match seeks {
            // One object alone is looked at, too; Linux rounds down, and leaves it for good.
            0 => freeable.div_ceil(2),
            _ => (freeable >> priority.min(63)).saturating_mul(4) / u64::from(seeks),
        };
        let total = (deferred >> priority.min(63)).saturating_add(delta);
        Self { delta, total: total.min(freeable.saturating_mul(2)) }
    }
}

/// What came of shrinking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shrunk {
    /// Objects that were freed.
    pub objects: u64,
    /// Pages that came free with them, as the shrinkers say.
    pub pages: u64,
}

/// Who is called.
struct Entry(NonNull<dyn Shrinker>);

// SAFETY: a shrinker is Sync, and nobody owns it here.
unsafe impl Send for Entry {}

/// A place for a shrinker.
pub struct ShrinkerSlot {
    entry: Mutex<Option<Entry>>,
    /// How many were registered here.
    generation: AtomicU32,
    /// Calls that run.
    calls: AtomicU32,
    /// Objects that were to be looked at and were not (`nr_deferred`), by node.
    deferred: [AtomicU64; NODES],
}

impl ShrinkerSlot {
    /// A free place.
    pub const fn new() -> Self {
        let deferred = [const { AtomicU64::new(0) }; NODES];
        Self { entry: Mutex::new(None), generation: AtomicU32::new(0), calls: AtomicU32::new(0), deferred }
    }

    /// Asks whoever is here for its share (`do_shrink_slab`).
    fn shrink(&self, gfp: Gfp, nid: NodeId, priority: u32) -> Shrunk {
        let Some(shrinker) = self.enter() else { return Shrunk::default() };
        // Also one that panics has left: who unregisters would wait for ever.
        let _call = Call(self);
        // SAFETY: it lives until it is unregistered (the contract of `register`), which waits for this call.
        self.ask(unsafe { shrinker.as_ref() }, gfp, nid, priority)
    }

    fn enter(&self) -> Option<NonNull<dyn Shrinker>> {
        let entry = self.entry.lock();
        let shrinker = entry.as_ref()?.0;
        self.calls.fetch_add(1, Relaxed);
        Some(shrinker)
    }

    fn ask(&self, shrinker: &dyn Shrinker, gfp: Gfp, nid: NodeId, priority: u32) -> Shrunk {
        let nid = if shrinker.is_numa_aware() { nid } else { NodeId::ZERO };
        let mut sc = ShrinkControl { gfp, nid, nr_to_scan: 0, nr_scanned: 0, pages: 0 };
        let freeable = shrinker.count_objects(&sc);
        if freeable == 0 {
            return Shrunk::default();
        }
        let deferred = &self.deferred[nid.index() % NODES];
        // Others who come meanwhile find none, and add what they leave.
        let nr = deferred.swap(0, Relaxed);
        let Share { delta, mut total } = Share::of(freeable, nr, priority, shrinker.seeks());
        let batch = shrinker.batch().max(1);
        let (mut scanned, mut objects) = (0_u64, 0_u64);
        while total >= batch || total >= freeable {
            sc.nr_to_scan = batch.min(total);
            sc.nr_scanned = sc.nr_to_scan;
            if sc.nr_to_scan == 0 {
                break;
            }
            let Some(freed) = shrinker.scan_objects(&mut sc) else { break };
            objects += freed;
            // One that looks at nothing would be asked for ever.
            let looked = sc.nr_scanned.max(1);
            total = total.saturating_sub(looked);
            scanned = scanned.saturating_add(looked);
        }
        let left = nr.saturating_add(delta).saturating_sub(scanned).min(freeable.saturating_mul(2));
        deferred.fetch_add(left, Relaxed);
        Shrunk { objects, pages: sc.pages }
    }
}

/// A call that runs.
struct Call<'s>(&'s ShrinkerSlot);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Release);
    }
}

impl Default for ShrinkerSlot {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ShrinkerSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShrinkerSlot").field("calls", &self.calls).finish_non_exhaustive()
    }
}

/// Which shrinker: its place, and how many were there before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShrinkerId {
    place: usize,
    generation: u32,
}

/// Every place has a shrinker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShrinkersFull {
    /// How many places there are.
    pub places: usize,
}

impl fmt::Display for ShrinkersFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "all {} places for shrinkers are taken", self.places)
    }
}

impl core::error::Error for ShrinkersFull {}

/// The registry, in places that the caller brings.
#[derive(Clone, Copy, Debug)]
pub struct Shrinkers<'k> {
    slots: &'k [ShrinkerSlot],
}

impl<'k> Shrinkers<'k> {
    /// Over these places.
    pub const fn new(slots: &'k [ShrinkerSlot]) -> Self {
        Self { slots }
    }

    /// Has a shrinker asked from now on (`register_shrinker`).
    ///
    /// # Errors
    /// [`ShrinkersFull`].
    ///
    /// # Safety
    /// The shrinker lives and stays where it is until [`Self::unregister`] was called with what this returns and has come back.
    pub unsafe fn register(&self, shrinker: &dyn Shrinker) -> Result<ShrinkerId, ShrinkersFull> {
        // SAFETY: the reference's lifetime alone is forgotten; the caller answers for it.
        let shrinker: NonNull<dyn Shrinker> =
            unsafe { core::mem::transmute::<NonNull<dyn Shrinker + '_>, _>(NonNull::from(shrinker)) };
        for (at, slot) in self.slots.iter().enumerate() {
            let mut entry = slot.entry.lock();
            if entry.is_none() && slot.calls.load(Acquire) == 0 {
                slot.deferred.iter().for_each(|deferred| deferred.store(0, Relaxed));
                *entry = Some(Entry(shrinker));
                // Under the place's lock.
                let generation = slot.generation.fetch_add(1, Relaxed).wrapping_add(1);
                return Ok(ShrinkerId { place: at, generation });
            }
        }
        Err(ShrinkersFull { places: self.slots.len() })
    }

    /// Has it asked no more (`unregister_shrinker`), and waits for those who are in it. Not to be called from inside. One that was unregistered before is nobody's concern, whoever is in
    /// its place by now.
    pub fn unregister(&self, id: ShrinkerId) {
        let Some(slot) = self.slots.get(id.place) else { return };
        {
            let mut entry = slot.entry.lock();
            if slot.generation.load(Relaxed) != id.generation {
                return;
            }
            *entry = None;
        }
        while slot.calls.load(Acquire) > 0 {
            core::hint::spin_loop();
        }
    }

    /// Has a shrinker asked as long as `f` runs.
    ///
    /// # Errors
    /// [`ShrinkersFull`]; `f` does not run then.
    pub fn with<R>(&self, shrinker: &dyn Shrinker, f: impl FnOnce() -> R) -> Result<R, ShrinkersFull> {
        struct Registered<'s, 'k>(&'s Shrinkers<'k>, ShrinkerId);
        impl Drop for Registered<'_, '_> {
            fn drop(&mut self) {
                self.0.unregister(self.1);
            }
        }
        // SAFETY: it is borrowed longer than the value below exists, with which it is unregistered, also if `f` panics.
        let id = unsafe { self.register(shrinker) }?;
        let _registered = Registered(self, id);
        Ok(f())
    }

    /// Asks every shrinker for its share of what a node lacks, at a priority: 12 is little, 0 is all that there is (`shrink_slab`, without memory cgroups).
    pub fn shrink_slab(&self, gfp: Gfp, nid: NodeId, priority: u32) -> Shrunk {
        let mut all = Shrunk::default();
        for slot in self.slots {
            let Shrunk { objects, pages } = slot.shrink(gfp, nid, priority);
            all.objects += objects;
            all.pages += pages;
        }
        all
    }

    /// Asks with growing pressure until [`SWAP_CLUSTER_MAX`] pages came free or there is nothing more: what a hook of the page allocator answers
    /// [`Hooks::reclaim`](pagewright_zone::alloc::Hooks::reclaim) with (`try_to_free_pages`, as far as it is about slabs).
    pub fn try_to_free_pages(&self, gfp: Gfp, nid: NodeId) -> Progress {
        let mut freed = 0;
        for priority in (0..=DEF_PRIORITY).rev() {
            freed += self.shrink_slab(gfp, nid, priority).pages;
            if freed >= SWAP_CLUSTER_MAX {
                break;
            }
        }
        Progress { freed }
    }
}
