//! Counting how user pages are mapped (`page_table_check`): memory that two should not share is found when the second maps it, not when it is
//! overwritten.
//!
//! A page is mapped as anonymous memory or as a file's, never both; an anonymous one that can be written has one mapping; and
//! what is allocated or freed has none. The code that changes page tables says what it does; each count is one word of a side array.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use pagewright_addr::Pfn;
use pagewright_page::{FrameIdx, PageMap};

/// What is wrong with a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableCheckError {
    /// Mapped as anonymous memory and as a file's.
    Mixed(Pfn),
    /// An anonymous page that can be written would have two mappings.
    WritableShared(Pfn),
    /// Unmapped more often than mapped.
    Underflow(Pfn),
    /// Allocated or freed while it is mapped.
    StillMapped {
        /// The frame.
        pfn: Pfn,
        /// Mappings as anonymous memory.
        anon: u32,
        /// Mappings as a file's.
        file: u32,
    },
    /// No such frame is watched.
    NoFrame(Pfn),
}

impl fmt::Display for TableCheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("page table check: ")?;
        match self {
            Self::Mixed(pfn) => write!(f, "pfn {:#x} is mapped as anonymous and as file memory", pfn.get()),
            Self::WritableShared(pfn) => {
                write!(f, "pfn {:#x} is anonymous, writable and mapped twice", pfn.get())
            }
            Self::Underflow(pfn) => write!(f, "pfn {:#x} is unmapped more often than mapped", pfn.get()),
            Self::StillMapped { pfn, anon, file } => write!(
                f,
                "pfn {:#x} is allocated or freed with {anon} anonymous and {file} file mappings",
                pfn.get()
            ),
            Self::NoFrame(pfn) => write!(f, "pfn {:#x} is not watched", pfn.get()),
        }
    }
}

impl core::error::Error for TableCheckError {}

/// As what pages are mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MappedAs {
    /// Anonymous memory; whether this mapping may write.
    Anon {
        /// It may.
        writable: bool,
    },
    /// A file's pages.
    File,
}

/// The counts: low half anonymous, high half file mappings of each frame.
#[derive(Clone, Copy, Debug)]
pub struct TableCheck<'z> {
    counts: &'z [AtomicU64],
}

const FILE: u64 = 1 << 32;

impl<'z> TableCheck<'z> {
    /// One element for each frame, zero at first.
    pub const fn new(counts: &'z [AtomicU64]) -> Self {
        Self { counts }
    }

    /// How often a frame is mapped as anonymous memory and as a file's.
    pub fn mappings(&self, idx: FrameIdx) -> (u32, u32) {
        let count = self.counts.get(idx.index()).map_or(0, |count| count.load(Relaxed));
        (count as u32, (count >> 32) as u32)
    }

    /// An entry for `pages` frames from `start` on is set (`page_table_check_set`).
    ///
    /// # Errors
    /// [`TableCheckError`]; no count has changed then.
    pub fn set(
        &self,
        map: &PageMap<'_>,
        start: Pfn,
        pages: u64,
        how: MappedAs,
    ) -> Result<(), TableCheckError> {
        let change = |count: u64, pfn| match how {
            MappedAs::Anon { .. } if count >= FILE => Err(TableCheckError::Mixed(pfn)),
            MappedAs::Anon { writable: true } if count > 0 => Err(TableCheckError::WritableShared(pfn)),
            MappedAs::Anon { .. } => Ok(count + 1),
            MappedAs::File if count as u32 > 0 => Err(TableCheckError::Mixed(pfn)),
            MappedAs::File => Ok(count + FILE),
        };
        let back = |count| count - if how == MappedAs::File { FILE } else { 1 };
        self.change(map, start, pages, change, back)
    }

    /// An entry that was set is cleared (`page_table_check_clear`).
    ///
    /// # Errors
    /// As for [`Self::set`].
    pub fn clear(
        &self,
        map: &PageMap<'_>,
        start: Pfn,
        pages: u64,
        how: MappedAs,
    ) -> Result<(), TableCheckError> {
        let one = if how == MappedAs::File { FILE } else { 1 };
        let change = |count: u64, pfn| {
            let has = if how == MappedAs::File { count >= FILE } else { count as u32 > 0 };
            if has { Ok(count - one) } else { Err(TableCheckError::Underflow(pfn)) }
        };
        self.change(map, start, pages, change, |count| count + one)
    }

    /// Applies a change to each frame, or to none.
    fn change(
        &self,
        map: &PageMap<'_>,
        start: Pfn,
        pages: u64,
        change: impl Fn(u64, Pfn) -> Result<u64, TableCheckError>,
        back: impl Fn(u64) -> u64,
    ) -> Result<(), TableCheckError> {
        let count_of = |n: u64| {
            let pfn = start.saturating_add(n);
            let count = map.idx(pfn).and_then(|idx| self.counts.get(idx.index()));
            count.ok_or(TableCheckError::NoFrame(pfn)).map(|count| (count, pfn))
        };
        let apply = |n| {
            let (count, pfn) = count_of(n)?;
            let mut now = count.load(Relaxed);
            loop {
                match count.compare_exchange_weak(now, change(now, pfn)?, Relaxed, Relaxed) {
                    Ok(_) => return Ok(()),
                    Err(other) => now = other,
                }
            }
        };
        for n in 0..pages {
            if let Err(e) = apply(n) {
                for (count, _) in (0..n).filter_map(|n| count_of(n).ok()) {
                    let _ = count.fetch_update(Relaxed, Relaxed, |count| Some(back(count)));
                }
                return Err(e);
            }
        }
        Ok(())
    }

    /// Whether nobody maps a frame (`__page_table_check_zero`).
    ///
    /// # Errors
    /// [`TableCheckError::StillMapped`].
    pub fn check_unmapped(&self, idx: FrameIdx, pfn: Pfn) -> Result<(), TableCheckError> {
        match self.mappings(idx) {
            (0, 0) => Ok(()),
            (anon, file) => Err(TableCheckError::StillMapped { pfn, anon, file }),
        }
    }
}
