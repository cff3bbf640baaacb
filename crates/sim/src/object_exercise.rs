//! Objects of every design beside a reference model, driven by bytes: a property test's, a fuzzer's, or a seed's.
//!
//! The first byte chooses a machine, a design and whether caches are watched; each three that follow are an operation: caches are created, shrunk and destroyed; objects and
//! memory of any size are allocated, singly and in bulk, on two processors, moved and freed on either; allocations fail on demand. The model knows who has
//! which bytes, and what is in them: nobody's overlap, and what is written is there when it is freed. A cache ends exactly if the model has none of its objects.
//!
//! At the end everything goes back, nothing was reported, and as many pages are free as were before.

use crate::designs::{HostedObjects, with_design};
use crate::pages::{Pages, PlainMachine, with_plain_machine};
use pagewright_addr::{NodeId, Order};
use pagewright_slab::objects::{Design, Objects};
use pagewright_slab::slabs::{
    CacheSpec, CreateError, DestroyError, Destroyed, Report, Reports, SlabContext, SlabError,
};
use pagewright_slab::{CacheFlags, CacheId};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::NoHooks;
use std::collections::BTreeMap;
use std::ptr::NonNull;

/// Bytes of an operation.
pub const OPERATION: usize = 3;
/// How many machines there are: the designs on one node and on two, SLUB's also with watched caches.
pub const MACHINES: u8 = 10;

/// Most caches at a time, and most objects and blocks.
const CACHES: usize = 8;
const LIVE: usize = 600;

/// What was exercised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Operations.
    pub operations: u64,
    /// Allocations that were served, and that failed.
    pub allocations: (u64, u64),
    /// Caches that ended, and that were in use.
    pub ends: (u64, u64),
}

/// Nothing may be reported.
struct Strict;

impl Reports for Strict {
    fn report(&self, report: &Report) {
        panic!("{report}");
    }
}

/// An object, or a block of kmalloc's.
#[derive(Clone, Copy)]
struct Live {
    memory: NonNull<u8>,
    bytes: usize,
    /// Where it came from; `None` for kmalloc.
    cache: Option<CacheId>,
    /// What it is filled with.
    pattern: u8,
}

type Machine<'p, 'k, 'x, 'm, 's, 'a> = HostedObjects<'p, 'k, 'x, 'm, 's, 'a, NoHooks>;

/// The machine and the model.
struct Model<'h, 'p, 'k, 'x, 'm, 's, 'a> {
    m: &'h Machine<'p, 'k, 'x, 'm, 's, 'a>,
    watched: bool,
    caches: Vec<(CacheId, usize)>,
    live: Vec<Live>,
    /// Where each begins, and its length.
    ranges: BTreeMap<usize, usize>,
    made: u32,
    summary: Summary,
}

/// Runs an input.
///
/// # Panics
/// If the objects and the model disagree.
pub fn exercise(data: &[u8]) -> Summary {
    let Some((&which, operations)) = data.split_first() else { return Summary::default() };
    let which = which % MACHINES;
    let design = Design::ALL[usize::from(which) % Design::ALL.len()];
    let pageblock = Order::new(4).unwrap_or_default();
    let mut machine = PlainMachine { pageblock, ..PlainMachine::new(4096, 2) };
    if (4..8).contains(&which) {
        let far = NodeId::new(1).unwrap_or_default();
        machine.ram = vec![(NodeId::ZERO, 0x4_0000, 2048), (far, 0x4_1000, 2048)];
        machine.cpus = vec![NodeId::ZERO, far];
    }
    with_plain_machine(&machine, NoHooks, |pages| {
        let before = free_pages(pages);
        let summary = with_design(design, pages, &machine.cpus, 80, &Strict, |m| {
            let mut model = Model {
                m,
                watched: which >= 8,
                caches: vec![],
                live: vec![],
                ranges: BTreeMap::new(),
                made: 0,
                summary: Summary::default(),
            };
            for operation in operations.as_chunks::<OPERATION>().0 {
                model.operation(*operation);
            }
            model.end();
            model.summary
        });
        assert_eq!(free_pages(pages), before, "pages are lost, or too many");
        assert_eq!(pages.allocator.validate(), Ok(()));
        summary
    })
}

/// How many pages are free, after all lists of CPUs were given back.
fn free_pages(pages: &Pages<'_, '_, '_, '_, NoHooks>) -> u64 {
    for cpu in 0..pages.cpus() {
        pages.on_cpu(cpu, |cx| pages.allocator.drain_local_pages(cx));
    }
    pages.allocator.zones().iter().map(|zone| zone.free_pages()).sum()
}

impl<'k, 'a> Model<'_, '_, 'k, '_, '_, '_, 'a> {
    fn on<R>(&self, cpu: u8, f: impl FnOnce(&SlabContext<'_, 'k, 'a>) -> R) -> R {
        self.m.on_cpu(usize::from(cpu & 1), f)
    }

    fn operation(&mut self, [what, a, b]: [u8; OPERATION]) {
        self.summary.operations += 1;
        let o = self.m.allocator();
        match what % 14 {
            0 => self.create(a, b),
            1..=3 => self.allocate(a, b, 1),
            4 => self.allocate(a, b, usize::from(b % 40)),
            5..=6 => self.free(a, b),
            7 => self.free_some(a, b),
            8 => self.kmalloc(what, a, b),
            9 => self.move_block(a, b),
            10 => {
                if let Some(&(cache, _)) = self.cache(a) {
                    self.on(b, |cx| _ = o.shrink(cx, cache));
                    o.validate(cache).expect("a cache that was shrunk");
                }
            }
            11 => self.destroy(a),
            12 => match b % 4 {
                0 => self.on(a, |cx| o.poll(cx)),
                1 => self.on(a, |cx| o.flush_cpu(cx)),
                2 => self.on(a, |cx| o.reap(cx, u64::from(b))),
                _ => self.on(a, |cx| _ = o.shrink_all(cx, u64::from(b))),
            },
            // Some of the next few fail: of objects, or of pages.
            _ if b & 1 == 0 => o.fail_nth(u32::from(a % 16)),
            _ => self.m.pages.allocator.fail_nth(u32::from(a % 8)),
        }
    }

    fn cache(&self, a: u8) -> Option<&(CacheId, usize)> {
        self.caches.get(usize::from(a).checked_rem(self.caches.len())?)
    }

    fn create(&mut self, a: u8, b: u8) {
        if self.caches.len() == CACHES {
            return;
        }
        let size = 1 + usize::from(a) * usize::from(b % 16 + 1);
        let align = [0, 0, 8, 64][usize::from(b >> 6)];
        let mut flags = if b & 16 == 0 { CacheFlags::empty() } else { CacheFlags::HWCACHE_ALIGN };
        flags.set(CacheFlags::DEBUG, self.watched);
        self.made += 1;
        let name = format!("fuzz-{}", self.made);
        match self
            .m
            .allocator()
            .create(&CacheSpec::new(&name, size as u64, align, flags).with_usercopy(0, size as u32))
        {
            Ok(cache) => self.caches.push((cache, size)),
            Err(why) => assert!(matches!(why, CreateError::NoPlace { .. }), "{why}"),
        }
    }

    /// Notes what was had, and fills it.
    fn take(&mut self, memory: NonNull<u8>, bytes: usize, cache: Option<CacheId>, zeroed: bool) {
        self.summary.allocations.0 += 1;
        if bytes == 0 {
            self.live.push(Live { memory, bytes, cache, pattern: 0 });
            return;
        }
        let start = memory.addr().get();
        let below = self.ranges.range(..start + bytes).next_back();
        assert!(below.is_none_or(|(at, len)| at + len <= start), "{start:#x} is somebody's already");
        self.ranges.insert(start, bytes);
        let pattern = (self.summary.allocations.0 % 251) as u8 + 1;
        // SAFETY: so many bytes that were just allocated, nobody else's as far as the model knows.
        unsafe {
            let all = core::slice::from_raw_parts(memory.as_ptr(), bytes);
            assert!(!zeroed || all.iter().all(|&byte| byte == 0), "zeroes were asked for");
            memory.write_bytes(pattern, bytes);
        }
        self.live.push(Live { memory, bytes, cache, pattern });
    }

    /// Looks whether what was written is there, up to a length, and forgets it.
    fn give(&mut self, at: usize, up_to: usize) -> Live {
        let live = self.live.swap_remove(at);
        let Live { memory, bytes, pattern, .. } = live;
        self.ranges.remove(&memory.addr().get());
        let bytes = bytes.min(up_to);
        if bytes > 0 {
            // SAFETY: the model's own since it was allocated.
            let all = unsafe { core::slice::from_raw_parts(memory.as_ptr(), bytes) };
            assert!(all.iter().all(|&byte| byte == pattern), "somebody wrote what is not theirs");
        }
        live
    }

    fn failed(&mut self, why: SlabError) {
        assert!(matches!(why, SlabError::Injected | SlabError::NoMemory), "{why}");
        self.summary.allocations.1 += 1;
    }

    fn allocate(&mut self, a: u8, b: u8, n: usize) {
        let Some(&(cache, size)) = self.cache(a) else { return };
        if self.live.len() + n > LIVE {
            return;
        }
        let o = self.m.allocator();
        let zero = b & 2 != 0;
        let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN | if zero { Gfp::ZERO } else { Gfp::empty() };
        let mut objects = vec![None; n];
        let done = self.on(b, |cx| match (n, b & 4) {
            (1, 0) => o.alloc(cx, cache, gfp).map(|object| objects[0] = Some(object)),
            (1, _) => {
                let node = NodeId::new(u16::from(b >> 3 & 1)).unwrap_or_default();
                o.alloc_node(cx, cache, gfp, node).map(|object| objects[0] = Some(object))
            }
            _ => o.alloc_bulk(cx, cache, gfp, &mut objects),
        });
        if let Err(why) = done {
            assert!(objects.iter().all(Option::is_none), "all or none");
            return self.failed(why);
        }
        objects.into_iter().flatten().for_each(|object| self.take(object, size, Some(cache), zero));
    }

    fn free(&mut self, a: u8, b: u8) {
        let Some(at) = (usize::from(a) * 3).checked_rem(self.live.len()) else { return };
        let Live { memory, cache, .. } = self.give(at, usize::MAX);
        let o = self.m.allocator();
        self.on(b, |cx| {
            // SAFETY: allocated there, and freed once: the model has forgotten it.
            unsafe {
                match cache {
                    Some(cache) => o.free(cx, cache, memory),
                    None if b & 2 == 0 => o.kfree(cx, memory),
                    None => o.kfree_sensitive(cx, memory),
                }
            }
        });
    }

    fn free_some(&mut self, a: u8, b: u8) {
        let Some(&(cache, _)) = self.cache(a) else { return };
        let mut objects = vec![];
        while objects.len() < usize::from(b % 50)
            && let Some(at) = self.live.iter().position(|live| live.cache == Some(cache))
        {
            objects.push(Some(self.give(at, usize::MAX).memory));
        }
        let o = self.m.allocator();
        // SAFETY: allocated from this cache, and freed once.
        self.on(b, |cx| unsafe { o.free_bulk(cx, cache, &mut objects) });
        assert!(objects.iter().all(Option::is_none));
    }

    fn kmalloc(&mut self, what: u8, a: u8, b: u8) {
        if self.live.len() == LIVE {
            return;
        }
        let bytes = usize::from(a) * usize::from(b >> 2);
        let zero = what & 64 != 0;
        let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN | if zero { Gfp::ZERO } else { Gfp::empty() };
        match self.on(b, |cx| self.m.allocator().kmalloc(cx, bytes, gfp, None)) {
            Ok(memory) => self.take(memory, bytes, None, zero),
            Err(why) => self.failed(why),
        }
    }

    fn move_block(&mut self, a: u8, b: u8) {
        let blocks = self.live.iter().enumerate().filter(|(_, live)| live.cache.is_none());
        let blocks: Vec<_> = blocks.map(|(at, _)| at).collect();
        let Some(&at) = usize::from(a).checked_rem(blocks.len()).and_then(|n| blocks.get(n)) else { return };
        let (old, o) = (self.live[at], self.m.allocator());
        let bytes = 1 + usize::from(b) * usize::from(a % 32);
        let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN;
        // SAFETY: allocated there; after it succeeded the model has forgotten the old one.
        match self.on(b, |cx| unsafe { o.krealloc(cx, Some(old.memory), bytes, gfp) }) {
            Ok(memory) => {
                let kept = old.bytes.min(bytes);
                // SAFETY: so many bytes were moved, and are the model's.
                let all = unsafe { core::slice::from_raw_parts(memory.as_ptr(), kept) };
                assert!(all.iter().all(|&byte| byte == old.pattern), "contents were lost on the way");
                self.live.swap_remove(at);
                self.ranges.remove(&old.memory.addr().get());
                self.take(memory, bytes, None, false);
            }
            Err(why) => self.failed(why),
        }
    }

    /// Ends a cache if nothing of it is in use, whatever processors hold.
    fn destroy(&mut self, a: u8) {
        let Some(at) = usize::from(a).checked_rem(self.caches.len()) else { return };
        let (cache, _) = self.caches[at];
        let live = self.live.iter().filter(|live| live.cache == Some(cache)).count() as u64;
        match self.end_of(cache) {
            Ok(_) => {
                assert_eq!(live, 0, "it ended with objects in use");
                self.caches.swap_remove(at);
                self.summary.ends.0 += 1;
            }
            Err(DestroyError::InUse { objects, .. }) => {
                assert_eq!(objects, live, "objects in use");
                self.summary.ends.1 += 1;
            }
            Err(why) => panic!("{why}"),
        }
    }

    fn end_of(&self, cache: CacheId) -> Result<Destroyed, DestroyError> {
        let o = self.m.allocator();
        // SAFETY: nobody uses it meanwhile.
        let once = || self.on(0, |cx| unsafe { o.destroy(cx, cache) });
        match once() {
            Err(DestroyError::Retry { .. }) => {
                (0..2).for_each(|cpu| self.on(cpu, |cx| o.poll(cx)));
                once()
            }
            done => done,
        }
    }

    fn end(&mut self) {
        let o = self.m.allocator();
        o.fail_nth(0);
        self.m.pages.allocator.fail_nth(0);
        while !self.live.is_empty() {
            self.free(self.live.len() as u8, self.live.len() as u8);
        }
        let mut caches = vec![];
        o.each_cache(&mut |id, _| caches.push(id));
        (0..2).for_each(|cpu| self.on(cpu, |cx| o.flush_cpu(cx)));
        if let Objects::Slab(slab) = &self.m.objects {
            // SAFETY: nobody uses it any more.
            self.on(0, |cx| unsafe { slab.retire(cx) });
        }
        // The first is SLUB's own.
        let own = if matches!(self.m.objects, Objects::Slub(_)) { caches.pop() } else { None };
        for cache in caches {
            o.validate(cache).expect("a cache at the end");
            assert!(self.end_of(cache).is_ok(), "a cache ends when nothing of it is in use");
        }
        (0..2).for_each(|cpu| self.on(cpu, |cx| o.flush_cpu(cx)));
        self.on(0, |cx| assert!(own.is_none_or(|own| !o.shrink(cx, own)), "rooms are in use"));
    }
}
