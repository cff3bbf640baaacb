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
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoBytes => f.write_str("a cache's objects must have at least one byte"),
            Self::TooLarge { bytes, limit } => {
                write!(f, "objects of {bytes} bytes are larger than the largest block, {limit} bytes")
            }
            Self::Alignment(align) => write!(f, "an alignment of {align} bytes is no power of two"),
        }
    }
}

impl core::error::Error for GeometryError {}
