//! What can go wrong, with what it concerns.

use crate::memory::PerCpuBytes;
use thiserror::Error;

/// Why there is no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum AllocError {
    /// Nothing, more than [`MAX_SIZE`](crate::MAX_SIZE) bytes, or an alignment that is no power of two or larger than a page.
    #[error("illegal size ({size}) or align ({align}) for percpu allocation")]
    Illegal {
        /// Bytes asked for.
        size: u64,
        /// Alignment asked for, in bytes.
        align: u64,
    },
    /// The part of the first chunk for modules has no such hole, or there is no such part.
    #[error("allocation failed, size={size} align={align}: alloc from reserved chunk failed")]
    Reserved {
        /// Bytes asked for.
        size: u64,
        /// Alignment asked for, in bytes.
        align: u64,
    },
    /// No chunk has such a hole, and the caller must not wait for a further one.
    #[error("allocation failed, size={size} align={align}: atomic alloc failed, no space left")]
    Atomic {
        /// Bytes asked for.
        size: u64,
        /// Alignment asked for, in bytes.
        align: u64,
    },
    /// No chunk has such a hole, and the source has no memory for a further one.
    #[error("allocation failed, size={size} align={align}: failed to allocate new chunk of {bytes} bytes")]
    NoChunk {
        /// Bytes asked for.
        size: u64,
        /// Alignment asked for, in bytes.
        align: u64,
        /// Bytes that a chunk takes.
        bytes: u64,
    },
    /// All places of the table of chunks are in use.
    #[error("allocation failed, size={size} align={align}: all {chunks} chunks of the table are in use")]
    TooManyChunks {
        /// Bytes asked for.
        size: u64,
        /// Alignment asked for, in bytes.
        align: u64,
        /// Places in the table.
        chunks: usize,
    },
}

/// Why an allocation was not taken back. It comes back with the error, where it was a token.
#[derive(PartialEq, Eq, Debug, Error)]
pub enum FreeError {
    /// It is another allocator's.
    #[error("{0} is not of this allocator")]
    Foreign(PerCpuBytes),
    /// No allocation begins at this address (a number from outside).
    #[error("no percpu allocation begins at {addr:#x}")]
    NotAllocated {
        /// The address.
        addr: usize,
    },
}

/// What does not fit together, found by `validate`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("chunk {chunk}: {what}: {found} where {expected} was expected, at {at}")]
pub struct Violation {
    /// The chunk.
    pub chunk: usize,
    /// What it is.
    pub what: &'static str,
    /// Where: a block, a bit or a slot.
    pub at: u64,
    /// What is there.
    pub found: u64,
    /// What should be.
    pub expected: u64,
}
