//! When compaction is put off, and where the scanners go on.

use super::*;

fn order(n: u8) -> Order {
    Order::new(n).unwrap()
}

#[test]
fn each_failure_doubles_the_wait_up_to_64_requests() {
    let state = CompactState::new();
    assert!(!state.is_deferred(order(3)), "a zone that never failed");
    state.defer_reset(order(4), false);
    assert_eq!(state.order_failed(), 5);
    for wait in [2, 4, 8, 16, 32, 64, 64] {
        state.defer(order(7));
        let put_off = (0..).take_while(|_| state.is_deferred(order(7))).count();
        assert_eq!(put_off, wait - 1);
    }
    assert!(state.is_restarting(order(7)));
    assert_eq!(state.order_failed(), 5, "a larger order's failure says nothing of smaller ones");
    assert!(!state.is_deferred(order(4)) && !state.is_restarting(order(4)));
    state.defer(order(3));
    assert_eq!(state.order_failed(), 3);
    assert!(state.is_deferred(order(4)));
}

#[test]
fn a_block_that_was_had_ends_the_wait() {
    let state = CompactState::new();
    state.defer(order(2));
    state.defer(order(2));
    state.defer_reset(order(2), false);
    assert_eq!((state.order_failed(), state.defer_shift()), (3, 2), "a block is free, nobody has it yet");
    state.defer_reset(order(2), true);
    assert_eq!((state.considered(), state.defer_shift()), (0, 0));
}

#[test]
fn scanners_go_on_where_they_were_each_mode_for_itself() {
    let (state, ends) = (CompactState::new(), (16, 960));
    assert_eq!(state.positions(MigrateMode::Async, ends), ends);
    state.passed_migrate(MigrateMode::Async, 64);
    state.passed_free(800);
    assert_eq!(state.positions(MigrateMode::Async, ends), (64, 800));
    assert_eq!(
        state.positions(MigrateMode::SyncLight, ends),
        (16, 800),
        "it may find what the other could not move"
    );
    state.passed_migrate(MigrateMode::Sync, 128);
    assert_eq!(state.positions(MigrateMode::Async, ends), (128, 800));
    state.returned_free(900);
    assert_eq!(state.positions(MigrateMode::Sync, ends), (128, 900));
    // The zone has become smaller.
    assert_eq!(state.positions(MigrateMode::Sync, (16, 700)), (128, 700));
    state.reset(ends);
    assert_eq!(state.positions(MigrateMode::Sync, ends), ends);
}
