//! What is refused, and why.

use super::Resource;
use pagewright_addr::PhysRange;

/// Why a resource was not entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResourceError<'n> {
    /// Another one is there; or this one, its would-be parent, does not have all of the range (no range has no bytes).
    #[error("in use by {} at {:#x}-{:#x}", .0.name, .0.range.start, .0.range.end.get().saturating_sub(1))]
    Busy(Resource<'n>),
    /// There is no such parent.
    #[error("the resource that it should be part of is not there")]
    NoParent,
    /// There is memory for so many.
    #[error("there is memory for {resources} resources")]
    NoMemory {
        /// How many.
        resources: usize,
    },
}

/// A range that nobody requested just so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("Trying to free nonexistent resource <{:016x}-{:016x}>", range.start, range.end.get().saturating_sub(1))]
pub struct ReleaseError {
    /// The range.
    pub range: PhysRange,
}
