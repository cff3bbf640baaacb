//! The allocator beside its reference model: operations of all kinds from seeds and from proptest's bytes.

use pagewright_sim::exercise::{MACHINES, OPERATION, Summary, exercise};
use pagewright_sim::random::from_env;
use proptest::prelude::*;

/// Operations of an input: as many as leave a machine full now and then.
const LENGTH: u64 = 1500;

/// An input from a seed.
fn input(machine: u8, operations: u64, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = vec![machine];
    bytes.extend((0..operations * OPERATION as u64).map(|_| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u8
    }));
    bytes
}

/// So many operations on one of the machines, which begins anew now and then.
fn on_machine(machine: u8, operations: u64, seed: u64) -> Vec<Summary> {
    let runs = 0..operations.div_ceil(LENGTH);
    runs.map(|n| exercise(&input(machine, LENGTH.min(operations), seed.wrapping_add(n)))).collect()
}

#[test]
fn operations_of_all_kinds_agree_with_the_model() {
    let all = from_env("PAGEWRIGHT_PAGE_OPS", if cfg!(miri) { 30 } else { 1_000_000 });
    let seed = from_env("PAGEWRIGHT_SEED", 1);
    let mut sum = Summary::default();
    let summaries: Vec<Summary> = std::thread::scope(|scope| {
        let share = all.div_ceil(MACHINES.into());
        let start = |n: u8| seed.wrapping_add(u64::from(n) << 32);
        let threads = [0, 1, 2, 3, 4].map(|n| scope.spawn(move || on_machine(n, share, start(n))));
        assert_eq!(threads.len(), usize::from(MACHINES));
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for one in summaries {
        sum.operations += one.operations;
        sum.allocations.0 += one.allocations.0;
        sum.allocations.1 += one.allocations.1;
        sum.ranges.0 += one.ranges.0;
        sum.ranges.1 += one.ranges.1;
        sum.cma.0 += one.cma.0;
        sum.cma.1 += one.cma.1;
        sum.offline.0 += one.offline.0;
        sum.offline.1 += one.offline.1;
        sum.moved += one.moved;
        sum.justified += one.justified;
        sum.forms.iter_mut().zip(one.forms).for_each(|(sum, n)| *sum += n);
        sum.fallbacks += one.fallbacks;
        sum.waited += one.waited;
    }
    assert!(sum.operations >= all);
    if !cfg!(miri) {
        // All of it happened, and all of it failed now and then.
        let counts = [
            sum.allocations.0,
            sum.allocations.1,
            sum.ranges.0,
            sum.ranges.1,
            sum.cma.0,
            sum.cma.1,
            sum.offline.0,
            sum.offline.1,
        ];
        assert!(counts.iter().all(|&count| count > 10), "{sum:?}");
        assert!(sum.forms.iter().all(|&count| count > 100) && sum.justified > 1000, "{sum:?}");
        assert!(sum.moved > 100 && sum.fallbacks > 100 && sum.waited > 1000, "{sum:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 48 }, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_agree_with_the_model(
        data in prop::collection::vec(any::<u8>(), 0..if cfg!(miri) { 60 } else { 1200 })
    ) {
        exercise(&data);
    }
}
