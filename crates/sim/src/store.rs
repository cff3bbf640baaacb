//! Objects that a store owns: they are allocated into it and freed out of it, so whoever has the store frees none twice and touches none. It has a design to itself.
//!
//! Each object is filled with a mark of its own when it comes and looked at when it goes, so that two users of one piece of memory are found.

use crate::SimError;
use crate::designs::{HostedObjects, SlabKernel, with_kernels_design};
use crate::pages::Pages;
use crate::slabs::LinearRam;
use core::fmt;
use pagewright_addr::NodeId;
use pagewright_platform::NoInterrupts;
use pagewright_slab::objects::{CacheRow, Design, Objects, SlabInfo};
use pagewright_slab::slabs::{
    CacheName, CacheSpec, CreateError, DestroyError, Destroyed, Silent, SlabContext, SlabError, Slabs,
};
use pagewright_slab::{CacheFlags, CacheId, SlabPages};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::Hooks;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Memory of so many bytes.
    Kmalloc(usize),
    /// An object of a cache of the store's, by its number.
    Cache(usize),
}

/// An object in the store.
struct Held {
    object: NonNull<u8>,
    cache: Option<CacheId>,
    bytes: usize,
    mark: u8,
}

// SAFETY: an object belongs to whoever has it, as a box does.
unsafe impl Send for Held {}

/// The objects.
pub struct ObjectStore<'h, 'p, 'k, 'x, 'm, 's, 'a, H> {
    hosted: &'h HostedObjects<'p, 'k, 'x, 'm, 's, 'a, H>,
    caches: Vec<(CacheId, usize)>,
    live: Mutex<VecDeque<Held>>,
    staying: Mutex<Vec<Held>>,
    bytes: AtomicU64,
    damaged: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'h, 'p, 'k, 'x, 'm, 's, 'a, H: Hooks> ObjectStore<'h, 'p, 'k, 'x, 'm, 's, 'a, H> {
    fn new(
        hosted: &'h HostedObjects<'p, 'k, 'x, 'm, 's, 'a, H>,
        caches: &[(&str, usize)],
    ) -> Result<Self, CreateError> {
        let make = |&(name, bytes): &(&str, usize)| {
            let spec =
                CacheSpec::new(name, bytes as u64, 0, CacheFlags::empty()).with_usercopy(0, bytes as u32);
            Ok((hosted.allocator().create(&spec)?, bytes))
        };
        Ok(Self {
            hosted,
            caches: caches.iter().map(make).collect::<Result<_, CreateError>>()?,
            live: Mutex::default(),
            staying: Mutex::default(),
            bytes: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
        })
    }

    /// Bytes of all objects that are held, as they were asked for.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// How many objects were not what they had been filled with.
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Relaxed)
    }

    /// Allocates an object into the store; one that stays goes with the store only.
    ///
    /// # Errors
    /// [`SlabError`]; [`SlabError::Stale`] for a cache that the store does not have.
    pub fn take(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        wanted: Wanted,
        mark: u8,
        stays: bool,
    ) -> Result<(), SlabError> {
        let (o, gfp) = (self.hosted.allocator(), Gfp::GFP_KERNEL);
        let (object, cache, bytes) = match wanted {
            Wanted::Kmalloc(bytes) => (o.kmalloc(cx, bytes, gfp, None)?, None, bytes),
            Wanted::Cache(at) => {
                let (cache, bytes) = *self.caches.get(at).ok_or(SlabError::Stale)?;
                (o.alloc(cx, cache, gfp)?, Some(cache), bytes)
            }
        };
        // SAFETY: so many bytes of it are ours.
        unsafe { object.write_bytes(mark, bytes) };
        self.bytes.fetch_add(bytes as u64, Relaxed);
        let held = Held { object, cache, bytes, mark };
        if stays {
            lock(&self.staying).push(held)
        } else {
            lock(&self.live).push_back(held)
        }
        Ok(())
    }

    /// Frees one of the objects that do not stay: `choose` gets how many there are and says which, the oldest being 0. False if there is none.
    pub fn give(&self, cx: &SlabContext<'_, 'k, 'a>, choose: impl FnOnce(usize) -> usize) -> bool {
        let chosen = {
            let mut live = lock(&self.live);
            let len = live.len();
            match if len == 0 { 0 } else { choose(len).min(len - 1) } {
                0 => live.pop_front(),
                at if at == len - 1 => live.pop_back(),
                at => live.swap_remove_back(at),
            }
        };
        chosen.map(|held| self.free(cx, held)).is_some()
    }

    fn free(&self, cx: &SlabContext<'_, 'k, 'a>, held: Held) {
        let Held { object, cache, bytes, mark } = held;
        // SAFETY: so many bytes, which `take` wrote; the object is ours.
        let whole = unsafe { core::slice::from_raw_parts(object.as_ptr(), bytes) }.iter().all(|b| *b == mark);
        self.damaged.fetch_add(u64::from(!whole), Relaxed);
        self.bytes.fetch_sub(bytes as u64, Relaxed);
        let o = self.hosted.allocator();
        match cache {
            // SAFETY: allocated in `take`, of that cache; it has left the store, so it is freed once.
            Some(cache) => unsafe { o.free(cx, cache, object) },
            // SAFETY: the same by kmalloc.
            None => unsafe { o.kfree(cx, object) },
        }
    }

    /// Every cache's figures, newest first.
    pub fn rows(&self) -> Vec<CacheRow> {
        let mut rows = Vec::new();
        self.hosted.allocator().each_cache(&mut |_, row| rows.push(*row));
        rows
    }

    /// SLUB's slabs, if that is the design.
    pub fn slabs(&self) -> Option<&'h Slabs<'k, 'a, NoInterrupts, LinearRam>> {
        match &self.hosted.objects {
            Objects::Slub(slabs) => Some(slabs),
            Objects::Slab(_) | Objects::Slob(_) => None,
        }
    }

    /// Pages of a node that they take.
    pub fn slab_pages(&self, nid: NodeId) -> SlabPages {
        self.hosted.allocator().slab_pages(nid)
    }

    /// The text of `/proc/slabinfo`.
    pub fn slabinfo(&self) -> SlabInfo<'_, 'k, 'a> {
        SlabInfo(self.hosted.allocator())
    }

    /// Runs `f` as CPU number `cpu`, which nobody else may be at the time.
    ///
    /// # Panics
    /// If there is no such CPU, or somebody is it already.
    pub fn on_cpu<R>(&self, cpu: usize, f: impl FnOnce(&SlabContext<'_, 'k, 'a>) -> R) -> R {
        self.hosted.on_cpu(cpu, f)
    }

    /// Does what is to be done every two seconds on each CPU, with the number of the round.
    pub fn reap(&self, round: u64) {
        self.on_each(|cx| self.hosted.allocator().reap(cx, round));
    }

    /// Does something as each CPU in turn.
    fn on_each(&self, f: impl Fn(&SlabContext<'_, 'k, 'a>)) {
        (0..self.hosted.pages.cpus()).for_each(|cpu| self.hosted.on_cpu(cpu, &f));
    }

    /// Gives everything back, ends all caches but a design's own, and has nothing left of those.
    fn end(&self) -> Result<(), StoreError> {
        let o = self.hosted.allocator();
        self.hosted.on_cpu(0, |cx| {
            while self.give(cx, |_| 0) {}
            lock(&self.staying).drain(..).for_each(|held| self.free(cx, held));
        });
        self.on_each(|cx| o.flush_cpu(cx));
        if let Objects::Slab(slab) = &self.hosted.objects {
            // SAFETY: nobody uses it any more: the store has the design to itself, and this is its end.
            self.hosted.on_cpu(0, |cx| unsafe { slab.retire(cx) });
        }
        let mut caches = Vec::new();
        o.each_cache(&mut |id, row| caches.push((id, row.name)));
        // The first is SLUB's own.
        let own = if matches!(self.hosted.objects, Objects::Slub(_)) { caches.pop() } else { None };
        for (id, name) in caches {
            // Those that were merged have several users.
            loop {
                // SAFETY: nobody uses it any more, as above.
                let ended = self.hosted.on_cpu(0, |cx| unsafe { o.destroy(cx, id) });
                match ended {
                    Ok(Destroyed::Gone) => break,
                    Ok(Destroyed::Shared) => {}
                    Err(DestroyError::Retry { .. }) => self.on_each(|cx| o.poll(cx)),
                    Err(why) => return Err(StoreError::End(name, why)),
                }
            }
        }
        self.on_each(|cx| o.flush_cpu(cx));
        if let Some((own, _)) = own {
            self.hosted.on_cpu(0, |cx| _ = o.shrink(cx, own));
        }
        Ok(())
    }
}

impl<H> fmt::Debug for ObjectStore<'_, '_, '_, '_, '_, '_, '_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStore").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Why there is no store, or something was left of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// The host has no memory for the machine's RAM.
    Memory(SimError),
    /// A cache cannot be.
    Create(CreateError),
    /// A cache does not end.
    End(CacheName, DestroyError),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(why) => why.fmt(f),
            Self::Create(why) => why.fmt(f),
            Self::End(name, why) => write!(f, "{name}: {why}"),
        }
    }
}

impl core::error::Error for StoreError {}

/// Puts a design in service above a page allocator as a kernel has it, with its kmalloc and these caches (name and bytes of an object), and hands a store of its objects to
/// `then`. Everything is given back afterwards.
///
/// # Errors
/// [`StoreError`].
pub fn with_store<H: Hooks, R>(
    design: Design,
    pages: &Pages<'_, '_, '_, '_, H>,
    kernel: &SlabKernel<'_>,
    caches: &[(&str, usize)],
    then: impl FnOnce(&ObjectStore<'_, '_, '_, '_, '_, '_, '_, H>) -> R,
) -> Result<R, StoreError> {
    let memory = LinearRam::of_pages(pages.base.map(), kernel.slub.page_shift).map_err(StoreError::Memory)?;
    let places = kernel.own_caches() + caches.len();
    let stored = |hosted: &HostedObjects<'_, '_, '_, '_, '_, '_, H>| {
        let store = ObjectStore::new(hosted, caches).map_err(StoreError::Create)?;
        let done = then(&store);
        store.end().map(|()| done)
    };
    let nodes = pages.nodes();
    let served = with_kernels_design(design, kernel, (memory, places), pages, nodes, &Silent, stored);
    served.map_err(StoreError::Create)?
}
