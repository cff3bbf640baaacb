//! What came of each node under `/reserved-memory`.

use super::MAX_RESERVED_REGIONS;
use arrayvec::{ArrayString, ArrayVec};
use pagewright_addr::PhysRange;

/// What came of one node under `/reserved-memory`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The node's name, with its unit address.
    pub name: ArrayString<64>,
    /// Where it lies, or would have.
    pub range: PhysRange,
    /// Kept out of the linear map.
    pub nomap: bool,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a reserved-memory node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Reserved (or unmapped) for a driver to pick up.
    Reserved,
    /// A coherent DMA pool.
    DmaPool,
    /// A CMA area; `true` for the default one.
    Cma(bool),
    /// Disabled by its status property.
    Disabled,
    /// A static region that could not be reserved.
    StaticRefused,
    /// No memory for a dynamic region of `size` bytes.
    NoMemory {
        /// Bytes asked for.
        size: u64,
    },
    /// A property is malformed, or sizes are impossible.
    Malformed,
    /// Neither CMA nor the coherent pool would take it: given back.
    NotClaimed,
    /// Beyond [`MAX_RESERVED_REGIONS`].
    TooMany,
}

/// The verdicts of a boot, in tree order.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    list: ArrayVec<Verdict, { 2 * MAX_RESERVED_REGIONS }>,
    /// Nodes for which there was no room here.
    pub dropped: u32,
}

impl Verdicts {
    /// None yet.
    pub const EMPTY: Self = Self { list: ArrayVec::new_const(), dropped: 0 };

    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.dropped = 0;
    }

    pub(super) fn push(&mut self, v: Verdict) -> usize {
        if self.list.try_push(v).is_err() {
            self.dropped += 1;
            return usize::MAX;
        }
        self.list.len() - 1
    }

    pub(super) fn set_outcome(&mut self, at: usize, outcome: Outcome) {
        if let Some(v) = self.list.get_mut(at) {
            v.outcome = outcome;
        }
    }

    pub(super) fn set_range(&mut self, at: usize, range: PhysRange) {
        if let Some(v) = self.list.get_mut(at) {
            v.range = range;
        }
    }

    /// One verdict by position.
    pub fn get(&self, at: usize) -> Option<&Verdict> {
        self.list.get(at)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Verdict> {
        self.list.iter()
    }
}
