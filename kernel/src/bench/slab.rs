//! `bench=slabs`: small objects, as the image's own code asks for them. Hardened and random free lists are on, as they always are.

use super::clock::Value;
use super::{Bench, Failed};
use crate::selftest::census::free_pages;
use core::ptr::NonNull;
use pagewright_addr::Order;
use pagewright_hot::{Asks, ObjectsFrom, give_objects, object_pairs, take_objects};
use pagewright_platform::Mutex;
use pagewright_platform::carve::bytes_for;
use pagewright_slab::slabs::Destroyed;
use pagewright_slab::{CacheFlags, CacheId, CacheSpec, Slabs};

/// Pairs of an allocation and a free, measured together; and objects that are held at once.
const PAIRS: usize = 4096;

/// The group.
pub(super) fn run(bench: &Bench<'_>) -> Result<(), Failed> {
    let (pages, objects) = (bench.subject.pages, bench.subject.objects);
    let before = free_pages(pages, bench.subject.metal);
    let spec = CacheSpec::new("bench", 40, 0, CacheFlags::HWCACHE_ALIGN);
    let cache = objects.slabs().create_unmerged(&spec).map_err(|_| Failed::NoObjects)?;
    let measured = values(bench, cache);
    let ended = end(bench, cache);
    let after = free_pages(pages, bench.subject.metal);
    measured?;
    if !ended || before != after {
        return Err(Failed::Lost(before, after));
    }
    Ok(())
}

fn values(bench: &Bench<'_>, cache: CacheId) -> Result<(), Failed> {
    for (name, from) in [
        ("kmalloc.8", ObjectsFrom::Kmalloc(8)),
        ("kmalloc.64", ObjectsFrom::Kmalloc(64)),
        ("kmalloc.1k", ObjectsFrom::Kmalloc(1024)),
        ("cache.40", ObjectsFrom::Cache(cache)),
    ] {
        let value = pairs(bench, from).ok_or(Failed::NoObjects)?;
        bench.value(format_args!("slab.{name}"), value);
    }
    for (name, from, count) in [
        ("kmalloc.64", ObjectsFrom::Kmalloc(64), PAIRS),
        ("kmalloc.1k", ObjectsFrom::Kmalloc(1024), 1024),
        ("cache.40", ObjectsFrom::Cache(cache), PAIRS),
    ] {
        let [taking, giving] = batch(bench, from, count).ok_or(Failed::NoObjects)?;
        bench.value(format_args!("slab.batch{count}.{name}"), Value::quotient(taking + giving, count as u64));
    }
    if let Some([taking, giving]) = remote(bench, ObjectsFrom::Kmalloc(64)) {
        bench.value(format_args!("slab.remote.64"), Value::quotient(taking + giving, PAIRS as u64));
    }
    Ok(())
}

/// Taken and given back at once, again and again.
fn pairs(bench: &Bench<'_>, from: ObjectsFrom) -> Option<Value> {
    let objects = bench.subject.objects;
    let both = || {
        bench.subject.pages.undisturbed(|| {
            objects.here(|cx| {
                let mut whole = false;
                let ticks = bench.clock.ticks(|| whole = object_pairs(objects.slabs(), cx, from, PAIRS));
                whole.then_some(ticks)
            })
        })
    };
    // The first time makes the slab.
    both()??;
    Some(Value::quotient(both()??, PAIRS as u64))
}

/// An array of so many places for objects, in pages.
fn with_places<R>(
    bench: &Bench<'_>,
    count: usize,
    work: impl FnOnce(&mut [Option<NonNull<u8>>]) -> Option<R>,
) -> Option<R> {
    let pages = bench.subject.pages;
    let room = (bytes_for::<Option<NonNull<u8>>>(count) >> pages.page_shift().get()) + 1;
    let mut memory = pages.alloc(Order::new(room.next_power_of_two().ilog2() as u8)?).ok()?;
    let done = pages.carve(&mut memory).and_then(|mut carve| work(carve.slice(count, || None)?));
    pages.free(memory);
    done
}

/// Objects that are held until all are there; then they are given back in the order in which they came. The loops and the array are part of
/// the value.
fn batch(bench: &Bench<'_>, from: ObjectsFrom, count: usize) -> Option<[u64; 2]> {
    with_places(bench, count, |places| {
        let mut both = || {
            bench.subject.pages.undisturbed(|| {
                let here = |cx: &Asks<'_>| timed(bench, cx, from, places);
                bench.subject.objects.here(here)?
            })
        };
        // The first time prepares pages that nothing was taken from yet.
        both()?;
        both()
    })
}

fn timed(
    bench: &Bench<'_>,
    cx: &Asks<'_>,
    from: ObjectsFrom,
    places: &mut [Option<NonNull<u8>>],
) -> Option<[u64; 2]> {
    let (slabs, mut whole) = (bench.subject.objects.slabs(), false);
    let taking = bench.clock.ticks(|| whole = take_objects(slabs, cx, from, places));
    // SAFETY: they were just taken from there, and nobody else knows them.
    let giving = bench.clock.ticks(|| unsafe { give_objects(slabs, cx, from, places) });
    whole.then_some([taking, giving])
}

/// Objects that this processor takes and the next one gives back: ticks of each, on their own processors. `None` without another one.
fn remote(bench: &Bench<'_>, from: ObjectsFrom) -> Option<[u64; 2]> {
    /// Addresses, to be handed over.
    struct Handed<'h>(&'h mut [Option<NonNull<u8>>]);
    // SAFETY: what the places hold is memory that belongs to nobody but whoever has the places.
    unsafe impl Send for Handed<'_> {}

    let (objects, metal, clock) = (bench.subject.objects, bench.subject.metal, &bench.clock);
    if metal.cpus() < 2 {
        return None;
    }
    with_places(bench, PAIRS, |places| {
        let mut both = || {
            let mut whole = false;
            let taking =
                objects.here(|cx| clock.ticks(|| whole = take_objects(objects.slabs(), cx, from, places)))?;
            let handed = Mutex::new((Handed(places), 0));
            metal.on_each_cpu(&|cpu| {
                if cpu != 1 {
                    return;
                }
                let (Handed(places), giving) = &mut *handed.lock();
                objects.here(|cx| {
                    // SAFETY: they were just taken from there, and nobody else knows them.
                    *giving = clock.ticks(|| unsafe { give_objects(objects.slabs(), cx, from, places) });
                });
            });
            let giving = handed.lock().1;
            whole.then_some([taking, giving])
        };
        both()?;
        both()
    })
}

/// Ends the cache, all processors doing their part, and gives everything back. Returns whether nothing stays.
fn end(bench: &Bench<'_>, cache: CacheId) -> bool {
    let objects = bench.subject.objects;
    bench.subject.metal.on_each_cpu(&|_| objects.flush());
    // SAFETY: nobody uses the cache.
    let ended = objects.here(|cx| unsafe { Slabs::destroy(objects.slabs(), cx, cache) });
    matches!(ended, Some(Ok(Destroyed::Gone))) && objects.shrink() == 0
}
