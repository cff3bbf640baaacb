//! Takers that race: exactly one gets the block.

use super::{ALIGN, with_map};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

#[test]
fn of_two_racing_takers_exactly_one_gets_the_block() {
    for _ in 0..if cfg!(miri) { 3 } else { 50 } {
        with_map(1, |map, all| {
            let idx = map.put_block(all.into_frames());
            let take = || catch_unwind(AssertUnwindSafe(|| map.take_block(idx, ALIGN).len())).is_ok();
            let won = thread::scope(|scope| {
                let racers = [scope.spawn(take), scope.spawn(take)];
                racers.map(|racer| racer.join().unwrap())
            });
            assert_eq!(won.iter().filter(|&&w| w).count(), 1);
        });
    }
}
