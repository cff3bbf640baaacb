//! Small objects on hosted machines: facts, a model with contents, threads, and every way to fail. What is said of no design is said of SLUB.

mod accounted;
mod asked;
mod barns;
mod cpu_slab;
mod designs;
mod direct;
#[path = "../../../crates/sim/examples/driver.rs"]
mod driver;
mod exercised;
mod facts;
mod heap;
mod hotplug;
mod kmalloc;
mod knobs;
mod last;
mod memoryless;
mod merged;
mod misuse;
mod model;
mod moved;
mod nodes;
mod order;
mod reaper;
mod reclaim;
mod slab;
mod slob_readers;
mod threads;
mod traces;
mod tune;
mod typesafe;
mod watched;

use designs::{end, on_design};
use pagewright_addr::{NodeId, Order};
use pagewright_sim::pages::{Pages, PlainMachine, with_plain_machine};
use pagewright_sim::slabs::{HostedSlabs, with_slabs};
use pagewright_slab::slabs::{CacheSpec, DestroyError, Destroyed, Report, Reports, Silent};
use pagewright_slab::{CacheFlags, CacheId};
use pagewright_zone::alloc::NoHooks;
use std::sync::Mutex;

type Machine<'p, 'k, 'x, 'm, 's, 'a> = HostedSlabs<'p, 'k, 'x, 'm, 's, 'a, NoHooks>;

/// Keeps what is reported.
#[derive(Default)]
struct Kept(Mutex<Vec<Report>>);

impl Reports for Kept {
    fn report(&self, report: &Report) {
        self.0.lock().unwrap().push(*report);
    }
}

fn node(n: u16) -> NodeId {
    NodeId::new(n).unwrap()
}

/// Free blocks by zone and order, all types together.
fn free_blocks(pages: &Pages<'_, '_, '_, '_, NoHooks>) -> Vec<u64> {
    let allocator = &pages.allocator;
    for cpu in 0..pages.cpus() {
        pages.on_cpu(cpu, |cx| allocator.drain_local_pages(cx));
    }
    allocator.zones().iter().flat_map(|zone| allocator.free_areas(zone.id()).by_order()).collect()
}

/// Destroys a cache, other processors doing their part.
fn destroy(m: &Machine<'_, '_, '_, '_, '_, '_>, cache: CacheId) -> Result<Destroyed, DestroyError> {
    // SAFETY: these tests use no cache meanwhile.
    let once = || m.on_cpu(0, |cx| unsafe { m.slabs.destroy(cx, cache) });
    match once() {
        Err(DestroyError::Retry { .. }) => {
            for cpu in 0..m.pages.cpus() {
                m.on_cpu(cpu, |cx| m.slabs.poll(cx));
            }
            once()
        }
        done => done,
    }
}

/// Runs a test on a machine with slabs, and expects all pages back in the end, to the page: every cache is destroyed.
fn on(machine: &PlainMachine, reports: &dyn Reports, f: impl FnOnce(&Machine<'_, '_, '_, '_, '_, '_>)) {
    with_places(machine, 24, reports, f);
}

/// The same with so many places for caches.
fn with_places(
    machine: &PlainMachine,
    places: usize,
    reports: &dyn Reports,
    f: impl FnOnce(&Machine<'_, '_, '_, '_, '_, '_>),
) {
    with_plain_machine(machine, NoHooks, |pages| {
        with_slabs(pages, &machine.cpus, places, reports, |m| {
            let before = free_blocks(m.pages);
            f(m);
            // SAFETY: nobody else destroys caches here.
            let mut caches: Vec<_> = unsafe { m.slabs.ids() }.collect();
            let own = caches.remove(0);
            for cache in caches {
                m.slabs.validate(cache).unwrap();
                while destroy(m, cache).expect("nothing is in use") == Destroyed::Shared {}
            }
            for cpu in 0..m.pages.cpus() {
                m.on_cpu(cpu, |cx| m.slabs.flush_cpu(cx));
            }
            m.on_cpu(0, |cx| assert!(!m.slabs.shrink(cx, own), "the cache of rooms has slabs yet"));
            assert_eq!(free_blocks(m.pages), before, "every page is back");
            m.pages.allocator.validate().unwrap();
            m.pages.base.map().validate().unwrap();
        });
    });
}

fn small(cpus: usize) -> PlainMachine {
    let frames = if cfg!(miri) { 1024 } else { 1 << 14 };
    PlainMachine {
        pageblock: Order::new(if cfg!(miri) { 4 } else { 9 }).unwrap(),
        ..PlainMachine::new(frames, cpus)
    }
}

/// A cache that is merged with no other, as users may be given all of its objects.
fn spec(name: &str, size: u64) -> CacheSpec<'_> {
    CacheSpec::new(name, size, 0, CacheFlags::empty()).with_usercopy(0, size as u32)
}

fn silently(cpus: usize, f: impl FnOnce(&Machine<'_, '_, '_, '_, '_, '_>)) {
    on(&small(cpus), &Silent, f);
}
