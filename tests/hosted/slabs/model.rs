//! Random operations of each design against a map of objects with contents: nothing is handed out twice, nothing overlaps, nothing is lost.

use super::*;
use pagewright_sim::random::{Random, from_env};
use pagewright_slab::SlabError;
use pagewright_slab::objects::{Design, Objects};
use pagewright_zone::Gfp;
use std::collections::BTreeMap;
use std::ptr::NonNull;

#[derive(Clone, Copy)]
struct Object {
    at: NonNull<u8>,
    /// None for memory of kmalloc.
    cache: Option<CacheId>,
    size: usize,
    name: u64,
}

impl Object {
    fn byte(&self, n: usize) -> u8 {
        (self.name.wrapping_mul(0x9e37_79b9).wrapping_add(n as u64 * 31) >> 8) as u8
    }

    fn bytes(&self) -> impl Iterator<Item = usize> + use<> {
        // Both ends and some between.
        let (size, step) = (self.size, if cfg!(miri) { 97 } else { 13 });
        (0..size.min(8)).chain((8..size).step_by(step)).chain(size.saturating_sub(8)..size)
    }

    fn fill(&self) {
        // SAFETY: inside the object, which is ours.
        self.bytes().for_each(|n| unsafe { self.at.add(n).write(self.byte(n)) });
    }

    fn check(&self) {
        for n in self.bytes() {
            // SAFETY: as in `fill`.
            let found = unsafe { self.at.add(n).read() };
            assert_eq!(found, self.byte(n), "byte {n} of object {} of {} bytes", self.name, self.size);
        }
    }
}

const WATCHED: [CacheFlags; 7] = [
    CacheFlags::DEBUG,
    CacheFlags::DEBUG.union(CacheFlags::HWCACHE_ALIGN),
    CacheFlags::RED_ZONE,
    CacheFlags::POISON,
    CacheFlags::STORE_USER,
    CacheFlags::CONSISTENCY_CHECKS,
    CacheFlags::empty(),
];
const PLAIN: [CacheFlags; 2] = [CacheFlags::empty(), CacheFlags::HWCACHE_ALIGN];
const SIZES: [u64; 8] = [8, 24, 64, 96, 200, 1000, 3000, 9000];

/// Keeps an object that was just handed out, after a look that it overlaps none that is held.
fn hold(held: &mut BTreeMap<usize, Object>, object: Object) {
    let start = object.at.addr().get();
    let below = held.range(..start + object.size).next_back();
    assert!(below.is_none_or(|(&low, o)| low + o.size <= start), "handed out twice");
    object.fill();
    held.insert(start, object);
}

/// `flags` are what caches are made with, one or the other.
fn play(design: Design, machine: &PlainMachine, flags: &[CacheFlags], ops: u64, seed: u64) {
    on_design(design, machine, &Silent, |m| {
        let objects = m.allocator();
        let mut random = Random::new(seed);
        let mut caches: Vec<(CacheId, usize)> = Vec::new();
        let mut held: BTreeMap<usize, Object> = BTreeMap::new();
        let mut named = 0;
        for op in 0..ops {
            let cpu = random.below(machine.cpus.len() as u64) as usize;
            let fill = if op / 2048 % 3 == 2 { 2 } else { 5 };
            match random.below(100) {
                0 | 1 if caches.len() < 12 => {
                    let size = SIZES[random.below(8) as usize];
                    let align = [0, 8, 64][random.below(3) as usize];
                    let flags = flags[random.below(flags.len() as u64) as usize];
                    // Never merged: all of its objects may be copied to users.
                    let cache = objects
                        .create(&CacheSpec::new("model", size, align, flags).with_usercopy(0, size as u32))
                        .unwrap();
                    caches.push((cache, size as usize));
                }
                2 if !caches.is_empty() => {
                    let at = random.below(caches.len() as u64) as usize;
                    let cache = caches[at].0;
                    let mine = held.values().filter(|o| o.cache == Some(cache)).count() as u64;
                    match end(m, cache) {
                        Ok(Destroyed::Gone) => {
                            assert_eq!(mine, 0);
                            caches.swap_remove(at);
                        }
                        Err(DestroyError::InUse { objects, first }) => {
                            assert_eq!(objects, mine);
                            if design == Design::Slob {
                                assert_eq!(first, 0, "it counts only");
                            } else {
                                assert_eq!(held[&first].cache, Some(cache));
                            }
                        }
                        other => panic!("{other:?}"),
                    }
                }
                3 if !caches.is_empty() => {
                    let cache = caches[random.below(caches.len() as u64) as usize].0;
                    m.on_cpu(cpu, |cx| objects.shrink(cx, cache));
                }
                4..8 => m.on_cpu(cpu, |cx| {
                    let (most, way) = [(100, 9), (2000, 9), (9000, 1)][random.below(3) as usize];
                    for _ in 0..way {
                        let size = random.below(most) as usize + 1;
                        let Ok(at) = objects.kmalloc(cx, size, Gfp::GFP_KERNEL | Gfp::NOWARN, None) else {
                            continue;
                        };
                        // SAFETY: it was allocated.
                        let room = unsafe { objects.ksize(at) };
                        assert!(room >= size);
                        let natural = if size.is_power_of_two() { size.min(4096) } else { 8 };
                        assert!(at.addr().get().is_multiple_of(natural.max(8)), "{size} bytes at {at:?}");
                        let object = Object { at, cache: None, size: room, name: named };
                        named += 1;
                        hold(&mut held, object);
                    }
                }),
                n if n < 10 * fill && !caches.is_empty() => m.on_cpu(cpu, |cx| {
                    let (cache, size) = caches[random.below(caches.len() as u64) as usize];
                    let many = [1, 1, 1, 7, 40][random.below(5) as usize];
                    for _ in 0..many {
                        let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN;
                        let result = match random.below(20) {
                            0 => objects.alloc_node(
                                cx,
                                cache,
                                gfp,
                                node(random.below(2) as u16 % machine.nodes()),
                            ),
                            1 => cx.interrupted(|cx| objects.alloc(cx, cache, gfp)),
                            _ => objects.alloc(cx, cache, gfp),
                        };
                        match result {
                            Ok(at) => {
                                let cache = Some(cache);
                                let object = Object { at, cache, size, name: named };
                                named += 1;
                                hold(&mut held, object);
                            }
                            Err(why) => assert_eq!(why, SlabError::NoMemory),
                        }
                    }
                }),
                _ => m.on_cpu(cpu, |cx| {
                    for _ in 0..[1, 1, 8, 60][random.below(4) as usize] {
                        let keys = held.len() as u64;
                        if keys == 0 {
                            return;
                        }
                        let low = held.keys().next().unwrap();
                        let high = held.keys().next_back().unwrap();
                        let at = low + random.below((high - low + 1) as u64) as usize;
                        let (&start, &object) = held.range(at..).next().unwrap();
                        object.check();
                        held.remove(&start);
                        let by_address = design != Design::Slob && random.below(10) == 0;
                        // SAFETY: freed once, nobody uses it.
                        unsafe {
                            match object.cache.filter(|_| !by_address) {
                                None => objects.kfree(cx, object.at),
                                Some(cache) if random.below(10) == 0 => {
                                    cx.interrupted(|cx| objects.free(cx, cache, object.at));
                                }
                                Some(cache) => objects.free(cx, cache, object.at),
                            }
                        }
                    }
                }),
            }
            if op % 1024 == 1023 {
                for &(cache, _) in &caches {
                    objects.validate(cache).unwrap();
                    if let Objects::Slub(slabs) = &m.objects {
                        assert_eq!(slabs.validate_objects(cache), 0);
                    }
                    let mine = held.values().filter(|o| o.cache == Some(cache)).count() as u64;
                    let row = objects.row(cache).unwrap();
                    assert!(row.active_objects >= mine && row.objects >= row.active_objects);
                    // What arrays hold is in use as slabinfo counts.
                    assert!(design != Design::Slob || row.active_objects == mine, "{row}");
                }
                assert_eq!(objects.findings(), 0);
            }
        }
        m.on_cpu(0, |cx| {
            for object in held.values() {
                object.check();
                // SAFETY: freed once, nobody uses it.
                unsafe {
                    match object.cache {
                        Some(cache) => objects.free(cx, cache, object.at),
                        None => objects.kfree(cx, object.at),
                    }
                }
            }
        });
    });
}

trait Nodes {
    fn nodes(&self) -> u16;
}

impl Nodes for PlainMachine {
    fn nodes(&self) -> u16 {
        self.ram.len() as u16
    }
}

pub(super) fn two_nodes() -> PlainMachine {
    let half = if cfg!(miri) { 512 } else { 1 << 12 };
    PlainMachine {
        ram: vec![(node(0), 0x4_0000, half), (node(1), 0x8_0000, half)],
        cpus: vec![node(0), node(1), node(1)],
        ..small(3)
    }
}

/// Operations of a test: fewer under Miri.
fn operations(everyday: u64) -> u64 {
    from_env("PAGEWRIGHT_OPS", if cfg!(miri) { everyday / 160 } else { everyday })
}

#[test]
fn random_operations_lose_and_double_nothing() {
    play(Design::Slub, &small(2), &PLAIN, operations(20_000), from_env("PAGEWRIGHT_SEED", 1));
}

#[test]
fn nor_do_they_on_two_nodes() {
    play(Design::Slub, &two_nodes(), &PLAIN, operations(10_000), from_env("PAGEWRIGHT_SEED", 7));
}

#[test]
fn nor_do_they_with_a_slab_for_each_processor() {
    let seed = |other| from_env("PAGEWRIGHT_SEED", other);
    play(Design::SlubCpuSlabs, &small(2), &PLAIN, operations(20_000), seed(1));
    play(Design::SlubCpuSlabs, &two_nodes(), &PLAIN, operations(10_000), seed(7));
    play(Design::SlubCpuSlabs, &small(2), &WATCHED, operations(5_000), seed(3));
}

#[test]
fn nor_do_they_with_slab() {
    play(Design::Slab, &small(2), &PLAIN, operations(10_000), from_env("PAGEWRIGHT_SEED", 1));
    play(Design::Slab, &two_nodes(), &PLAIN, operations(10_000), from_env("PAGEWRIGHT_SEED", 7));
}

#[test]
fn nor_do_they_with_slob() {
    play(Design::Slob, &small(2), &PLAIN, operations(10_000), from_env("PAGEWRIGHT_SEED", 1));
    play(Design::Slob, &two_nodes(), &PLAIN, operations(5_000), from_env("PAGEWRIGHT_SEED", 7));
}

#[test]
fn nor_do_they_in_caches_that_are_watched() {
    play(Design::Slub, &small(2), &WATCHED, operations(5_000), from_env("PAGEWRIGHT_SEED", 3));
}
