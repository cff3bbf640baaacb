//! A place in the table of caches: who looks at its cache, and who ends it.

use super::bounded;
use crate::tenancy::{CLOSING, DYING, LEAVING, OPEN, Tenancy};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// A place and what is kept of its cache: its generation, or 0.
struct Place {
    tenancy: Tenancy,
    kept: UnsafeCell<u32>,
}

impl Place {
    /// With a cache.
    fn new() -> Arc<Self> {
        let place = Self { tenancy: Tenancy::new(), kept: UnsafeCell::new(1) };
        place.tenancy.move_in(1);
        Arc::new(place)
    }

    fn write(&self, generation: u32) {
        // SAFETY: the model is about this: loom says so if anybody else is here.
        self.kept.with_mut(|kept| unsafe { *kept = generation });
    }

    /// As the reaper does it; whether it found a cache.
    fn look(&self) -> bool {
        let Some(generation) = self.tenancy.hold() else { return false };
        // SAFETY: as above.
        self.kept.with(|kept| assert_eq!(unsafe { *kept }, generation, "another cache's"));
        self.tenancy.leave();
        true
    }

    /// As who destroys a cache does it; whether it ended.
    fn destroy(&self) -> bool {
        self.tenancy.set(CLOSING);
        if self.tenancy.attached() > 0 {
            self.tenancy.set(LEAVING);
            return false;
        }
        self.write(0);
        self.tenancy.move_out();
        true
    }

    /// As whoever left a cache does it that nobody waits for; whether it was the last.
    fn bury(&self) -> bool {
        let last = self.tenancy.take_over();
        if last {
            self.write(0);
            self.tenancy.move_out();
        }
        last
    }
}

#[test]
fn a_cache_that_is_looked_at_does_not_end_and_the_next_is_another() {
    bounded(4, || {
        let place = Place::new();
        let reaper = thread::spawn({
            let place = place.clone();
            move || {
                place.look();
                place.look();
            }
        });
        let ended = place.destroy();
        if ended {
            place.write(2);
            place.tenancy.move_in(2);
        }
        reaper.join().unwrap();
        assert_eq!((place.tenancy.living(), place.tenancy.attached()), (if ended { 2 } else { 1 }, 0));
        assert!(place.look(), "an open place, and one that somebody would have closed");
    });
}

#[test]
fn a_cache_that_nobody_waits_for_is_ended_once_by_whoever_leaves_it_last() {
    bounded(3, || {
        let place = Place::new();
        place.tenancy.attach();
        let processor = thread::spawn({
            let place = place.clone();
            move || {
                place.tenancy.leave();
                place.bury()
            }
        });
        let reaper = thread::spawn({
            let place = place.clone();
            move || {
                place.look();
                place.bury()
            }
        });
        place.tenancy.set(DYING);
        let ended = [place.bury(), processor.join().unwrap(), reaper.join().unwrap()];
        assert_eq!(ended.into_iter().filter(|&ended| ended).count(), 1);
        assert_eq!((place.tenancy.living(), place.tenancy.state()), (0, OPEN));
        assert!(!place.look());
    });
}
