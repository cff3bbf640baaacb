//! Pages that wait for the rest of their pageblock, and who looks for a block without the zone's lock.

use crate::migrate::MigrateType;
use crate::occupied::OccupiedWords;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

/// What is told of a zone in which pages wait, and of the same when they became a block of order 3 of a type.
const fn told(merged: Option<MigrateType>) -> [u16; MigrateType::COUNT] {
    let mut occupied = [0; MigrateType::COUNT];
    match merged {
        None => occupied[MigrateType::Isolate.index()] = 1,
        Some(migrate) => occupied[migrate.index()] = 1 << 3,
    }
    occupied
}

#[test]
fn who_sees_that_no_page_waits_sees_the_blocks_that_they_became() {
    for migrate in [MigrateType::Unmovable, MigrateType::Reclaimable, MigrateType::Cma] {
        loom::model(move || {
            let words = Arc::new(OccupiedWords::new());
            words.tell(&told(None));
            // Somebody merges what waits, under the lock.
            let other = thread::spawn({
                let words = words.clone();
                move || words.tell(&told(Some(migrate)))
            });
            // Who merges under the lock finds all: that it was asked for is enough.
            let merged = AtomicUsize::new(0);
            let look = || merged.load(Relaxed) == 1 || words.of(migrate) == 1 << 3;
            assert!(words.find(look, || merged.store(1, Relaxed)), "the block is there, merged or not");
            other.join().unwrap();
            assert!(!words.has_waiting());
            assert_eq!(words.of(migrate), 1 << 3);
        });
    }
}
