//! What can be changed of a cache while it is used: how much is kept near processors and nodes.
//!
//! SLAB's are written to `/proc/slabinfo` (`slabinfo_write`), SLUB's to the attributes of a cache ([`crate::slabs::attributes`]).
//!
//! Source: slabinfo(5), and what 6.1 does with such a line.

use super::{CacheRow, ObjectAllocator};
use crate::slabs::{CacheId, SlabContext, SlabError};
use core::fmt;

/// How much SLAB keeps of a cache's objects near processors and nodes: the `tunables` of slabinfo.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tunables {
    /// Most objects in a processor's array.
    pub limit: u32,
    /// How many move at a time (`batchcount`).
    pub batch: u32,
    /// The array that a node's processors share holds so many times [`Self::batch`]; 0 without one (`sharedfactor`).
    pub shared: u32,
}

impl Tunables {
    /// Most objects in an array: what 24 bits count.
    pub const MOST: u32 = (1 << 24) - 1;
    /// The largest factor: what 16 bits count.
    pub const MOST_SHARED: u32 = (1 << 16) - 1;

    /// Whether a cache can have these: at least one object in an array and at a time, not more at a time than there are, and a shared array of [`Self::MOST`] at most. Linux passes
    /// silently over a line that says otherwise.
    ///
    /// # Errors
    /// [`TuneError::Range`].
    pub fn check(&self) -> Result<(), TuneError> {
        let Self { limit, batch, shared } = *self;
        let places = u64::from(batch) * u64::from(shared);
        let sound = (1..=Self::MOST).contains(&limit)
            && (1..=limit).contains(&batch)
            && shared <= Self::MOST_SHARED
            && places <= Self::MOST.into();
        if sound { Ok(()) } else { Err(TuneError::Range(*self)) }
    }
}

impl fmt::Display for Tunables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.limit, self.batch, self.shared)
    }
}

/// Why a cache is tuned as it was. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TuneError {
    /// The design keeps nothing that could be told so (-EIO).
    Design,
    /// There is no such cache, any more or at all (-EINVAL).
    Stale,
    /// A line is not a name and three numbers (-EINVAL).
    Line,
    /// No cache can have these.
    Range(Tunables),
    /// There is no memory for the array of the processor that asks (-ENOMEM), or a test wants it to fail.
    Memory(SlabError),
}

impl fmt::Display for TuneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Design => f.write_str("this design has no such arrays"),
            Self::Stale => f.write_str("there is no such cache"),
            Self::Line => f.write_str("expected `<cache> <limit> <batchcount> <shared>`"),
            Self::Range(wanted) => write!(
                f,
                "limit, batchcount and shared cannot be {wanted}: 1 <= batchcount <= limit <= {}, batchcount * shared no more",
                Tunables::MOST
            ),
            Self::Memory(why) => write!(f, "no memory for an array: {why}"),
        }
    }
}

impl core::error::Error for TuneError {}

/// Does what a line says that is written to `/proc/slabinfo`: `<cache> <limit> <batchcount> <shared>`, with a line's end behind it or not.
///
/// # Errors
/// [`TuneError`]; nothing has changed then.
pub fn write_slabinfo<'k, 'a>(
    objects: &dyn ObjectAllocator<'k, 'a>,
    cx: &SlabContext<'_, 'k, 'a>,
    line: &str,
) -> Result<(), TuneError> {
    // A cache's name may have blanks in it; the numbers are the last.
    let mut rest = line;
    let mut number = || {
        let (before, word) = rest.trim_end().rsplit_once(char::is_whitespace).ok_or(TuneError::Line)?;
        rest = before;
        word.parse::<u32>().map_err(|_| TuneError::Line)
    };
    let (shared, batch, limit) = (number()?, number()?, number()?);
    let name = rest.trim();
    let mut found = None;
    objects.each_cache(&mut |id: CacheId, row: &CacheRow| {
        if found.is_none() && row.name.as_str() == name {
            found = Some(id);
        }
    });
    objects.tune(cx, found.ok_or(TuneError::Stale)?, Tunables { limit, batch, shared })
}
