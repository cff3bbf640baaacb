//! What keeps a map from being made.

use core::fmt;
use pagewright_addr::{Pfn, PfnRange};

/// Why a map cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// A range of frames starts below the end of the one before it.
    Unsorted {
        /// The range that is out of order.
        range: PfnRange,
        /// Where the one before it ended.
        after: Pfn,
    },
    /// The section table has no room for another section.
    SectionsFull {
        /// How many entries it has.
        capacity: usize,
    },
    /// More frames than 32-bit links reach: more than 16 TiB of RAM at 4 KiB pages.
    TooManyFrames {
        /// Frames counted until then.
        frames: u64,
        /// The most there can be.
        limit: u64,
    },
    /// The metadata memory is too small.
    StorageTooSmall {
        /// Slots that the section table needs.
        needed: u64,
        /// Slots that were given.
        given: u64,
    },
    /// Frames that are to be plugged in and are not whole blocks of the alignment order, or none.
    Ragged {
        /// The range.
        range: PfnRange,
        /// Frames of such a block.
        align: u64,
    },
    /// Frames that are to be plugged in, of which some have metadata already.
    Known {
        /// The range.
        range: PfnRange,
    },
    /// Somebody else plugs memory in at the same time.
    Busy,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsorted { range, after } => {
                write!(f, "memory range {range:?} starts below the end {after:#x} of the one before")
            }
            Self::SectionsFull { capacity } => write!(f, "more memory sections than the table's {capacity}"),
            Self::TooManyFrames { frames, limit } => {
                write!(f, "too much RAM: {frames} page frames, 32-bit links reach {limit} (16 TiB of 4 KiB)")
            }
            Self::StorageTooSmall { needed, given } => {
                write!(f, "page metadata needs {needed} slots, memory has {given}")
            }
            Self::Ragged { range, align } => write!(f, "{range:?} is not made of blocks of {align} frames"),
            Self::Known { range } => write!(f, "some of {range:?} has metadata already"),
            Self::Busy => write!(f, "other memory is being plugged in"),
        }
    }
}

impl core::error::Error for MapError {}
