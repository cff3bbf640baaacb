//! What a driver does with small objects: a cache of its own for 40-byte sessions at cache lines, used and ended.
//!
//! `cargo run -p pagewright-sim --example driver`; `crates/capi/examples/driver.c` is the same in C.

use pagewright_addr::NodeId;
use pagewright_sim::pages::{PlainMachine, with_plain_machine};
use pagewright_sim::slabs::with_slabs;
use pagewright_slab::slabs::Silent;
use pagewright_slab::{CacheFlags, HeapOn, KmemCache};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::NoHooks;

/// 40 bytes.
struct Session {
    id: u64,
    peer: [u8; 32],
}

pub(crate) fn main() {
    // A machine of 16 MiB with one processor; a kernel brings its own.
    with_plain_machine(&PlainMachine::new(4096, 1), NoHooks, |pages| {
        with_slabs(pages, &[NodeId::ZERO], 8, &Silent, |machine| {
            machine.on_cpu(0, |cx| {
                let heap = HeapOn::new(&machine.slabs, cx);
                let cache =
                    KmemCache::with_flags(heap, "session", CacheFlags::HWCACHE_ALIGN).expect("a place");
                let mut sessions: Vec<_> = (0..100)
                    .map(|id| cache.alloc(Session { id, peer: [id as u8; 32] }, Gfp::GFP_KERNEL))
                    .map(|made| made.map_err(|(why, _)| why).expect("memory"))
                    .collect();
                assert!(sessions.iter().all(|s| (&raw const **s).addr().is_multiple_of(64)));
                sessions.retain(|session| session.id % 2 == 0);
                assert!(sessions.iter().all(|session| session.peer == [session.id as u8; 32]));
                let figures = cache.figures().expect("it exists");
                println!("{} sessions in slabs of {} objects", sessions.len(), figures.geometry.objects);
                // Objects cannot outlive their cache, and are dropped one by one.
                drop(sessions);
                assert!(cache.destroy().is_ok(), "no session is left");
            });
        });
    });
}
