//! The page allocator beside its reference model ([`pagewright_sim::exercise`]).
//!
//! An input is one byte for the machine and four for each operation.

use pagewright_sim::exercise;

/// Longer inputs only take longer.
const MOST: usize = 1 + 2000 * exercise::OPERATION;

/// Does what the bytes say, and holds it to the model.
pub fn page_alloc(data: &[u8]) {
    crate::shown(exercise::exercise(&data[..data.len().min(MOST)]));
}

/// An input of operations of all kinds on a machine.
pub fn page_alloc_seed(machine: u8) -> Vec<u8> {
    let operations = (0..400u32).map(|n| (n * 37 + u32::from(machine) * 11 + (n >> 3) * 29) as u8);
    std::iter::once(machine).chain(operations).collect()
}
