//! Random operations on every design, beside the model that fuzzing uses.

use pagewright_sim::object_exercise::{MACHINES, OPERATION, exercise};
use pagewright_sim::random::Random;

#[test]
fn random_operations_on_every_design_agree_with_the_model() {
    let operations = if cfg!(miri) { 12 } else { 3000 };
    let machines = if cfg!(miri) { 0..3 } else { 0..MACHINES };
    for machine in machines {
        let mut random = Random::new(7100 + u64::from(machine));
        let bytes = (0..operations * OPERATION).map(|_| random.below(256) as u8);
        let summary = exercise(&std::iter::once(machine).chain(bytes).collect::<Vec<_>>());
        assert_eq!(summary.operations, operations as u64);
        if !cfg!(miri) {
            let (served, failed) = summary.allocations;
            assert!(served > 1000 && failed > 10, "machine {machine}: {summary:?}");
            assert!(summary.ends.0 > 5 && summary.ends.1 > 5, "machine {machine}: {summary:?}");
        }
    }
}
