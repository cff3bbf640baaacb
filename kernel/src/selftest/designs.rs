//! The other designs of small objects, SLAB and SLOB, on all processors: each in memory that it gives back when it is done, beside the slabs that the image itself uses.

use super::objects::{Heap, exchange};
use super::{Note, Subject, census, note};
use crate::objects::direct_memory;
use crate::pages::Pages;
use crate::service::{MAX_CPUS, Masking};
use arrayvec::ArrayVec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use pagewright_addr::Order;
use pagewright_platform::carve::bytes_for;
use pagewright_platform::{Carve, Mutex};
use pagewright_slab::kmalloc::Classes;
use pagewright_slab::memory::PagesFor;
use pagewright_slab::objects::{ObjectAllocator, Objects};
use pagewright_slab::slab::{ArraySpace, NodeCache, Slab, SlabCache, SlabConfig};
use pagewright_slab::slabs::{CacheId, CacheSpec, DestroyError, Row, Silent, SlabCpu, Slot};
use pagewright_slab::slob::{Slob, SlobCache, SlobConfig};
use pagewright_slab::{CacheFlags, DirectMemory, SlabContext};
use pagewright_zone::Gfp;

/// Places for caches.
const PLACES: usize = 48;
/// The least bytes of SLAB's kmalloc.
const LEAST: u32 = 32;
/// Objects of a cache that a processor holds at a time.
const HELD: usize = 100;
/// Bytes of such an object.
const BYTES: usize = 40;
/// What orders and secrets begin with.
const SEED: u64 = 0x000d_e519;

type Design<'k> = Objects<'k, 'static, Masking, DirectMemory<'static>>;

/// A design with its processors.
struct Served<'d, 'k> {
    objects: Design<'k>,
    cpus: &'k [SlabCpu<'k>],
    pages: &'d Pages,
}

impl<'k> Served<'_, 'k> {
    fn allocator(&self) -> &dyn ObjectAllocator<'k, 'static> {
        self.objects.allocator()
    }

    fn here<R>(&self, work: impl FnOnce(&SlabContext<'_, 'k, 'static>) -> R) -> Option<R> {
        self.pages.here_as(|number, context| {
            let cpu = self.cpus.get(number)?;
            let pages = PagesFor { allocator: self.pages.allocator(), context };
            // SAFETY: no other processor has this number, nothing here moves from one processor to another, and no handler uses these.
            let here = unsafe { cpu.here() };
            Some(work(&SlabContext::new(here, self.pages.service().node(number), &pages)))
        })?
    }
}

impl Heap for Served<'_, '_> {
    fn kmalloc(&self, bytes: usize, gfp: Gfp) -> Option<NonNull<u8>> {
        self.here(|cx| self.allocator().kmalloc(cx, bytes, gfp, None))?.ok()
    }

    unsafe fn kfree(&self, memory: NonNull<u8>) {
        // SAFETY: as the caller says.
        self.here(|cx| unsafe { self.allocator().kfree(cx, memory) });
    }
}

/// Why there is no such design.
fn none(what: &str) -> Note {
    note(format_args!("no memory, or no place, for {what}"))
}

/// Each design serves all processors, and gives everything back.
pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    let before = census::take(subject);
    let pages = subject.pages;
    let cpus = pages.service().cpus().len().min(MAX_CPUS);
    let nodes = pages.allocator().zones().iter().map(|zone| zone.nid().index() + 1).max().unwrap_or(1);
    let arrays = PLACES * nodes * nodes;
    let bytes = bytes_for::<SlabCpu<'_>>(cpus)
        + cpus as u64 * bytes_for::<Row>(PLACES)
        + bytes_for::<Slot<SlabCache>>(PLACES)
        + bytes_for::<Slot<SlobCache>>(PLACES)
        + bytes_for::<Mutex<NodeCache>>(PLACES * nodes)
        + bytes_for::<Mutex<Row>>(arrays)
        + bytes_for::<u32>(nodes);
    let frames = bytes.div_ceil(pages.page_shift().bytes()).next_power_of_two();
    let order = Order::new(frames.trailing_zeros() as u8).ok_or_else(|| none("tables"))?;
    let mut made = [0; 2];
    for (made, design) in made.iter_mut().zip([slab, slob]) {
        let mut block = pages.alloc(order).map_err(|_| none("tables"))?;
        let done = pages.carve(&mut block).map(|room| design(subject, room, (cpus, nodes)));
        pages.free(block);
        *made = done.ok_or_else(|| none("tables"))??;
    }
    census::all_back(subject, &before)?;
    let [slab, slob] = made;
    let cpus = subject.metal.cpus();
    Ok(note(format_args!(
        "{slab} pieces by SLAB and {slob} by SLOB on {cpus} processors, every page is back"
    )))
}

/// Processors, with a row for each of so many places.
fn processors<'k>(room: &mut Carve<'k>, cpus: usize, places: usize) -> Option<&'k [SlabCpu<'k>]> {
    let mut rows: ArrayVec<&mut [Row], MAX_CPUS> = ArrayVec::new();
    for _ in 0..cpus {
        rows.push(room.slice(places, Row::new)?);
    }
    room.slice(cpus, || SlabCpu::new(rows.pop().unwrap_or_default(), SEED)).map(|cpus| &*cpus)
}

fn slab(subject: &Subject<'_>, mut room: Carve<'_>, (cpus, nodes): (usize, usize)) -> Result<u32, Note> {
    let pages = subject.pages;
    let wrong = || none("SLAB");
    let memory = direct_memory(pages).ok_or_else(wrong)?;
    let arrays = if nodes > 1 { PLACES * nodes * nodes } else { 0 };
    let mut node = 0..nodes;
    let on = |node: usize| (0..cpus).filter(|&cpu| pages.service().node(cpu).index() == node).count() as u32;
    let space = ArraySpace {
        slots: room.slice(PLACES, Slot::new).ok_or_else(wrong)?,
        lists: room.slice(PLACES * nodes, || Mutex::new(NodeCache::new())).ok_or_else(wrong)?,
        aliens: room.slice(arrays, || Mutex::new(Row::new())).ok_or_else(wrong)?,
        node_cpus: room.slice(nodes, || node.next().map_or(0, on)).ok_or_else(wrong)?,
        cpus: processors(&mut room, cpus, PLACES).ok_or_else(wrong)?,
    };
    let (word, page_shift, cpus) = (size_of::<usize>() as u32, pages.page_shift(), space.cpus);
    let config = SlabConfig { word, page_shift, ..SlabConfig::new(cpus.len() as u32) };
    let slab = Slab::new(*pages.map(), memory, Masking, config, space, &Silent, SEED);
    let mut slab = slab.map_err(|why| note(format_args!("{why}")))?;
    let classes = Classes { page_shift, min_size: LEAST, min_align: LEAST, accounted: false, dma: false };
    slab.create_kmalloc_caches(&classes).map_err(|why| note(format_args!("{why}")))?;
    slab.init_late();
    let served = Served { objects: Objects::Slab(slab), cpus, pages };
    let made = exercise(subject, &served);
    if let Objects::Slab(slab) = &served.objects {
        subject.metal.on_each_cpu(&|_| {
            served.here(|cx| slab.flush_cpu(cx));
        });
        // SAFETY: nobody uses it any more.
        served.here(|cx| unsafe { slab.retire(cx) });
    }
    end(subject, &served)?;
    made
}

fn slob(subject: &Subject<'_>, mut room: Carve<'_>, (cpus, _): (usize, usize)) -> Result<u32, Note> {
    let pages = subject.pages;
    let wrong = || none("SLOB");
    let memory = direct_memory(pages).ok_or_else(wrong)?;
    let slots: &[Slot<SlobCache>] = room.slice(PLACES, Slot::new).ok_or_else(wrong)?;
    let cpus = processors(&mut room, cpus, 0).ok_or_else(wrong)?;
    let (word, page_shift) = (size_of::<usize>() as u32, pages.page_shift());
    let config = SlobConfig { word, page_shift, ..SlobConfig::new() };
    let slob = Slob::new(*pages.map(), memory, Masking, config, slots, &Silent, SEED);
    let slob = slob.map_err(|why| note(format_args!("{why}")))?;
    let served = Served { objects: Objects::Slob(slob), cpus, pages };
    let made = exercise(subject, &served);
    end(subject, &served)?;
    made
}

/// All processors exchange memory of kmalloc's and use one cache; how many pieces there were.
fn exercise(subject: &Subject<'_>, served: &Served<'_, '_>) -> Result<u32, Note> {
    let o = served.allocator();
    let spec = CacheSpec::new("pieces", BYTES as u64, 0, CacheFlags::HWCACHE_ALIGN);
    let cache = o.create(&spec).map_err(|why| note(format_args!("{why}")))?;
    let made = exchange(subject, served)?;
    let (count, wrong) = (AtomicU32::new(0), AtomicU32::new(0));
    subject.metal.on_each_cpu(&|cpu| {
        let of = cpu as u8 ^ 0x5a;
        let o = served.allocator();
        let take = |_| served.here(|cx| o.alloc(cx, cache, Gfp::GFP_KERNEL | Gfp::NOWARN))?.ok();
        let objects: ArrayVec<NonNull<u8>, HELD> = (0..HELD).map_while(take).collect();
        for object in &objects {
            // SAFETY: an object of so many bytes, just allocated.
            unsafe { object.write_bytes(of, BYTES) };
        }
        count.fetch_add(objects.len() as u32, Ordering::Relaxed);
        for object in objects {
            // SAFETY: written above, and nobody else's.
            let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), BYTES) };
            if !object.addr().get().is_multiple_of(64) || bytes.iter().any(|&byte| byte != of) {
                wrong.fetch_or(1 << (cpu % 32), Ordering::Relaxed);
            }
            // SAFETY: freed once.
            served.here(|cx| unsafe { o.free(cx, cache, object) });
        }
    });
    match (wrong.load(Ordering::Relaxed), o.findings(), count.load(Ordering::Relaxed)) {
        (0, 0, 1..) => Ok(made),
        (wrong, found, count) => Err(note(format_args!(
            "{}: {count} objects, {found} findings, wrong on processors {wrong:#b}",
            o.design()
        ))),
    }
}

/// Ends all caches.
fn end(subject: &Subject<'_>, served: &Served<'_, '_>) -> Result<(), Note> {
    let o = served.allocator();
    let everywhere = || {
        subject.metal.on_each_cpu(&|_| {
            served.here(|cx| served.allocator().flush_cpu(cx));
        });
    };
    everywhere();
    let mut caches: ArrayVec<CacheId, PLACES> = ArrayVec::new();
    o.each_cache(&mut |id, _| caches.push(id));
    for cache in caches {
        o.validate(cache).map_err(|broken| note(format_args!("{broken}")))?;
        for last in [false, true] {
            // SAFETY: nobody uses them any more.
            match served.here(|cx| unsafe { o.destroy(cx, cache) }) {
                Some(Ok(_)) => break,
                Some(Err(DestroyError::Retry { .. })) if !last => everywhere(),
                Some(Err(why)) => return Err(note(format_args!("{}: {why}", o.design()))),
                None => return Err(note(format_args!("this processor has no number"))),
            }
        }
    }
    everywhere();
    Ok(())
}
