//! Objects of every design beside their reference model ([`pagewright_sim::object_exercise`]).
//!
//! An input is one byte for the machine and three for each operation.

use pagewright_sim::object_exercise::{self, OPERATION};

/// Longer inputs only take longer.
const MOST: usize = 1 + 2000 * OPERATION;

/// Does what the bytes say, and holds it to the model.
pub fn slabs(data: &[u8]) {
    crate::shown(object_exercise::exercise(&data[..data.len().min(MOST)]));
}

/// An input of operations of all kinds on a machine: two caches, objects in use most of the time, one of the caches ended.
pub fn slabs_seed(machine: u8) -> Vec<u8> {
    let start = [0, 9, 2, 0, 40, 7, 0, 200, 67];
    let operations = (0..100u32).flat_map(|n| {
        let what = (n * 5 + n / 14) % 14;
        [what, n * 31 + u32::from(machine) * 7, n * 57 + n / 9].map(|part| part as u8)
    });
    std::iter::once(machine).chain(start).chain(operations).collect()
}
