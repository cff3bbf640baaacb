//! Objects of a workload: beside blocks of pages, processors take and free memory of kmalloc and objects of caches.

use super::account::{Asked, CacheAccount};
use super::numbers::Numbers;
use super::{Lifetime, Phase};
use crate::run::TRACE_SITES;
use pagewright_addr::NodeId;
use pagewright_sim::store::{ObjectStore, Wanted};
use pagewright_slab::SlabPages;
use pagewright_slab::slabs::TraceSite;
use pagewright_slab::slabs::attributes::BuiltIn;
use pagewright_view::slab::{Shown, SlabFiles};
use pagewright_zone::alloc::Hooks;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What kind of object is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ObjectKind {
    /// Memory of kmalloc.
    Kmalloc {
        /// So many.
        bytes: usize,
    },
    /// An object of a cache.
    Cache {
        /// The cache.
        name: String,
        /// Its objects' bytes.
        bytes: usize,
    },
}

impl ObjectKind {
    /// The cache and its objects' bytes.
    pub fn cache(&self) -> Option<(&str, usize)> {
        match self {
            Self::Kmalloc { .. } => None,
            Self::Cache { name, bytes } => Some((name, *bytes)),
        }
    }

    /// The caches of a list, in its order.
    pub(super) fn caches(kinds: &[Self]) -> Vec<(&str, usize)> {
        kinds.iter().filter_map(Self::cache).collect()
    }

    /// What the store is asked for: caches have their numbers in the list of [`Self::caches`].
    fn wanted(kinds: &[Self], at: usize) -> Option<Wanted> {
        Some(match kinds.get(at)? {
            Self::Kmalloc { bytes } => Wanted::Kmalloc(*bytes),
            Self::Cache { .. } => Wanted::Cache(Self::caches(&kinds[..at]).len()),
        })
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kmalloc { bytes } => write!(f, "{bytes} bytes"),
            Self::Cache { name, .. } => f.write_str(name),
        }
    }
}

/// A store, whatever it is made of.
pub(super) trait Objects: Sync {
    /// So many operations as a processor.
    fn steps(&self, phase: &ObjectPhase<'_>, cpu: usize, numbers: &mut Numbers, count: u64);

    /// Caches that have any memory.
    fn caches(&self) -> Vec<CacheAccount>;

    /// `/proc/slabinfo`.
    fn slabinfo(&self) -> String;

    /// The caches' attributes, where the design has any.
    fn files(&self) -> Option<&dyn SlabFiles>;
    /// Pages of a node that they take.
    fn slab_pages(&self, nid: NodeId) -> SlabPages;

    /// The reaper comes to every processor.
    fn reap(&self, round: u64);

    /// Objects that were not what had been written to them.
    fn damaged(&self) -> u64;
}

/// A part of the workload, as far as it is about objects.
pub(super) struct ObjectPhase<'w> {
    pub(super) phase: &'w Phase,
    pub(super) kinds: &'w [ObjectKind],
    /// Bytes of memory that was free at the start.
    pub(super) memory: u64,
    asked: Vec<AtomicU64>,
    failed: Vec<AtomicU64>,
    freed: AtomicU64,
}

impl<'w> ObjectPhase<'w> {
    pub(super) fn new(phase: &'w Phase, kinds: &'w [ObjectKind], memory: u64) -> Self {
        let zeroes = || kinds.iter().map(|_| AtomicU64::new(0)).collect();
        Self { phase, kinds, memory, asked: zeroes(), failed: zeroes(), freed: AtomicU64::new(0) }
    }

    /// How many of so many operations are about objects, the same for the same numbers.
    pub(super) fn share(&self, numbers: &mut Numbers, count: u64) -> u64 {
        if self.phase.objects.0.is_empty() {
            return 0;
        }
        (0..count).filter(|_| numbers.percent(self.phase.object_share)).count() as u64
    }

    /// What was asked for, by kind, and how many were freed.
    pub(super) fn account(&self) -> (Vec<(String, Asked)>, u64) {
        let counts = self.kinds.iter().zip(self.asked.iter().zip(&self.failed));
        let counts = counts.map(|(kind, (asked, failed))| {
            (kind.to_string(), Asked { asked: asked.load(Relaxed), failed: failed.load(Relaxed) })
        });
        (counts.filter(|(_, asked)| asked.asked > 0).collect(), self.freed.load(Relaxed))
    }
}

/// The objects of a machine.
pub(super) struct Stored<'o, 'h, 'p, 'k, 'x, 'm, 's, 'a, H> {
    pub(super) store: &'o ObjectStore<'h, 'p, 'k, 'x, 'm, 's, 'a, H>,
    /// Bytes of a page.
    pub(super) page_bytes: u64,
    /// Which attributes the kernel's caches have.
    pub(super) built: BuiltIn,
}

impl<H: Hooks + Sync> Objects for Stored<'_, '_, '_, '_, '_, '_, '_, '_, H> {
    fn steps(&self, work: &ObjectPhase<'_>, cpu: usize, numbers: &mut Numbers, count: u64) {
        let Phase { objects, object_fill, lifetime, stay, .. } = work.phase;
        let target = work.memory / 100 * object_fill;
        self.store.on_cpu(cpu, |cx| {
            for _ in 0..count {
                // Around the target both go on; far from it only one does.
                let held = self.store.bytes();
                let more = if held < target {
                    held < target / 20 * 19 || numbers.percent(75)
                } else {
                    numbers.percent(25)
                };
                let drawn = numbers.next();
                let oldest_or = |len: usize| match lifetime {
                    Lifetime::Random => (drawn % len as u64) as usize,
                    Lifetime::Oldest => 0,
                    Lifetime::Newest => len - 1,
                };
                let grows = more && held <= target + target / 20;
                if !grows && self.store.give(cx, oldest_or) {
                    work.freed.fetch_add(1, Relaxed);
                    continue;
                }
                // Where nothing can be freed there is only one way to go on.
                let kind = objects.at(drawn).filter(|_| grows || held < target);
                let Some((kind, wanted)) =
                    kind.zip(kind.and_then(|kind| ObjectKind::wanted(work.kinds, kind)))
                else {
                    continue;
                };
                work.asked[kind].fetch_add(1, Relaxed);
                let stays = numbers.percent(*stay);
                if self.store.take(cx, wanted, (drawn >> 56) as u8, stays).is_err() {
                    work.failed[kind].fetch_add(1, Relaxed);
                }
            }
        });
    }

    fn caches(&self) -> Vec<CacheAccount> {
        let rows = self.store.rows();
        let mut caches: Vec<_> = rows.iter().map(|row| CacheAccount::of(row, self.page_bytes)).collect();
        caches.retain(|cache| cache.bytes > 0);
        caches.reverse();
        caches
    }

    fn slabinfo(&self) -> String {
        self.store.slabinfo().to_string()
    }

    fn files(&self) -> Option<&dyn SlabFiles> {
        self.store.slabs().map(|_| self as &dyn SlabFiles)
    }

    fn slab_pages(&self, nid: NodeId) -> SlabPages {
        self.store.slab_pages(nid)
    }

    fn reap(&self, round: u64) {
        self.store.reap(round);
    }

    fn damaged(&self) -> u64 {
        self.store.damaged()
    }
}

impl<H: Hooks> SlabFiles for Stored<'_, '_, '_, '_, '_, '_, '_, '_, H> {
    fn write(&self, w: &mut dyn fmt::Write, cache: Option<&str>) -> Result<usize, fmt::Error> {
        let Some(slabs) = self.store.slabs() else { return Ok(0) };
        Shown::new(slabs, self.built, &mut [TraceSite::EMPTY; TRACE_SITES]).write(w, cache)
    }
}

impl<H: Hooks> fmt::Debug for Stored<'_, '_, '_, '_, '_, '_, '_, '_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("bytes", &self.store.bytes()).finish()
    }
}
