//! Why a cache cannot be laid out.

use core::fmt;

/// Why there is no geometry for a cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GeometryError {
    /// Objects of no bytes.
    NoBytes,
    /// Objects larger than `kmalloc` can give (KMALLOC_MAX_SIZE).
    TooLarge {
        /// What was asked for, in bytes.
        bytes: u64,
        /// The largest, in bytes.
        limit: u64,
    },
    /// An alignment that is not a power of two.
    Alignment(u64),
    /// An alignment that is larger than the block that such an object lies in.
    AlignmentTooLarge {
        /// What was asked for, in bytes.
        bytes: u64,
        /// The largest, in bytes.
        limit: u64,
    },
    /// Slabs of several objects that free lists do not reach through.
    SlabTooLarge {
        /// A slab's bytes.
        bytes: u64,
        /// Below which distance from its start all objects must begin.
        limit: u64,
    },
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoBytes => f.write_str("a cache's objects must have at least one byte"),
            Self::TooLarge { bytes, limit } => {
                write!(f, "objects of {bytes} bytes are larger than the largest block, {limit} bytes")
            }
            Self::AlignmentTooLarge { bytes, limit } => {
                write!(
                    f,
                    "an alignment of {bytes} bytes is more than the {limit} bytes that such objects can have"
                )
            }
            Self::SlabTooLarge { bytes, limit } => {
                write!(
                    f,
                    "a slab of {bytes} bytes has objects beyond {limit} bytes, which free lists do not reach"
                )
            }
            Self::Alignment(align) => write!(f, "an alignment of {align} bytes is no power of two"),
        }
    }
}

impl core::error::Error for GeometryError {}
