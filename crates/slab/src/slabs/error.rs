//! Why there is no object, no cache, or no end of one.

use crate::GeometryError;
use core::fmt;
use core::ptr::NonNull;

/// Why there is no object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlabError {
    /// More than the largest block holds, or no such alignment.
    TooLarge,
    /// The page allocator has nothing, and no slab has a free object.
    NoMemory,
    /// It was made to fail.
    Injected,
    /// There is no such cache any more.
    Stale,
}

impl fmt::Display for SlabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMemory => "out of memory for objects",
            Self::Injected => "an allocation was made to fail",
            Self::Stale => "the cache was destroyed",
            Self::TooLarge => "no block is as large as that",
        })
    }
}

impl core::error::Error for SlabError {}

/// A result as one word: the object's pointer, or a small number that is none.
pub(super) fn packed(result: Result<NonNull<u8>, SlabError>) -> *mut u8 {
    match result {
        Ok(object) => object.as_ptr(),
        Err(why) => core::ptr::without_provenance_mut(why as usize),
    }
}

/// What [`packed`] put into a word.
#[inline(always)]
pub(super) fn unpacked(word: *mut u8) -> Result<NonNull<u8>, SlabError> {
    const NO_MEMORY: usize = SlabError::NoMemory as usize;
    const INJECTED: usize = SlabError::Injected as usize;
    const STALE: usize = SlabError::Stale as usize;
    match word.addr() {
        NO_MEMORY => Err(SlabError::NoMemory),
        INJECTED => Err(SlabError::Injected),
        STALE => Err(SlabError::Stale),
        _ => NonNull::new(word).ok_or(SlabError::TooLarge),
    }
}

/// Why there is no new cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// Objects that cannot be laid out.
    Geometry(GeometryError),
    /// An empty name, or one longer than [`super::NAME_BYTES`].
    Name,
    /// Every place has a cache.
    NoPlace {
        /// How many places there are.
        places: usize,
    },
    /// What user space may be given is not inside an object.
    Usercopy {
        /// The first byte.
        first: u32,
        /// How many.
        len: u32,
    },
    /// A flag for which there is no mechanism.
    Unsupported(crate::CacheFlags),
    /// Layouts for another machine, without room for this machine's words in its free objects or behind them.
    Word {
        /// Bytes of a word there.
        wanted: u32,
        /// And here.
        host: u32,
    },
    /// More nodes than slabs' owners tell apart.
    Nodes {
        /// How many there are.
        nodes: usize,
        /// How many there may be.
        most: usize,
    },
    /// Some processors have slabs of their own, and others rows.
    Processors {
        /// How many have slabs.
        with_slabs: usize,
        /// How many processors there are.
        of: usize,
    },
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry(e) => e.fmt(f),
            Self::Name => write!(f, "a cache's name has 1 to {} bytes", super::NAME_BYTES),
            Self::NoPlace { places } => write!(f, "all {places} places for caches are taken"),
            Self::Usercopy { first, len } => {
                write!(f, "{len} bytes from byte {first} on are not inside an object")
            }
            Self::Unsupported(flags) => {
                f.write_str("caches cannot be")?;
                flags.iter_names().try_for_each(|(name, _)| write!(f, " {name}"))
            }
            Self::Nodes { nodes, most } => write!(f, "{nodes} nodes, and slabs are of no more than {most}"),
            Self::Processors { with_slabs, of } => {
                write!(f, "{with_slabs} of {of} processors have slabs of their own: all or none do")
            }
            Self::Word { wanted, host } => {
                write!(f, "a layout for words of {wanted} bytes, on a machine whose words have {host}")
            }
        }
    }
}

impl core::error::Error for CreateError {}

impl From<GeometryError> for CreateError {
    fn from(e: GeometryError) -> Self {
        Self::Geometry(e)
    }
}

/// Why a cache is still there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DestroyError {
    /// Objects are in use. Nothing has changed.
    InUse {
        /// How many.
        objects: u64,
        /// The first that was found; 0 where only their number is known (SLOB).
        first: usize,
    },
    /// Other processors hold free objects. They were asked to give them back, which they do at the latest with the next operation that no row serves, or a
    /// poll: ask again after it. Until then the cache gets no new rows.
    Retry {
        /// How many processors.
        cpus: u32,
    },
    /// No object is in use, but readers may look at objects yet: ask again when they have left. Nothing has changed.
    Readers {
        /// How many slabs wait for them (SLOB: objects).
        slabs: u32,
    },
    /// It was destroyed before.
    Stale,
}

impl fmt::Display for DestroyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { objects, first: 0 } => write!(f, "{objects} objects are still in use"),
            Self::InUse { objects, first } => {
                write!(f, "{objects} objects are still in use, one of them at {first:#x}")
            }
            Self::Retry { cpus } => write!(f, "{cpus} processors hold objects of the cache"),
            Self::Readers { slabs } => write!(f, "{slabs} slabs of the cache wait for readers"),
            Self::Stale => f.write_str("the cache was destroyed before"),
        }
    }
}

impl core::error::Error for DestroyError {}
