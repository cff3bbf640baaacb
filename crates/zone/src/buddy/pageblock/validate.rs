//! The invariants of pageblock records, checked against the pieces of zones.

use super::{Pageblocks, Record, ZonePiece};
use crate::buddy::{MigrateType, ZoneId};
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageblockViolation {
    /// A piece that is empty, starts below the end of the one before, reaches past the map, or is of no zone.
    Piece {
        /// Its place in the table.
        index: usize,
    },
    /// A record that names another zone than the first one with memory in its block.
    Zone {
        /// The pageblock.
        block: usize,
        /// What the record says.
        recorded: Option<ZoneId>,
        /// The zone of the first piece in the block.
        found: Option<ZoneId>,
    },
    /// A block of two zones whose record does not say so, or the other way round.
    Mixed {
        /// The pageblock.
        block: usize,
    },
    /// A record with a migrate type that does not exist.
    Migrate {
        /// The pageblock.
        block: usize,
        /// The record's bits.
        bits: u32,
    },
    /// A record that names other per-CPU lists than follow from its zone and type.
    Lists {
        /// The pageblock.
        block: usize,
        /// The record's bits.
        bits: u32,
    },
}

impl fmt::Display for PageblockViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Piece { index } => write!(f, "piece {index} of the zones is empty or out of order"),
            Self::Zone { block, recorded, found } => {
                write!(f, "pageblock {block:#x} is recorded for {recorded:?} and belongs to {found:?}")
            }
            Self::Mixed { block } => write!(f, "pageblock {block:#x} is wrong about how many zones share it"),
            Self::Migrate { block, bits } => {
                write!(f, "pageblock {block:#x} has an unknown migrate type: {bits:#x}")
            }
            Self::Lists { block, bits } => {
                write!(f, "pageblock {block:#x} names the wrong per-CPU lists: {bits:#x}")
            }
        }
    }
}

impl core::error::Error for PageblockViolation {}

impl Pageblocks<'_> {
    /// Checks the pieces, and each record against them. `frames` is the map's length, `zones` how many zones there are.
    ///
    /// # Errors
    /// The first [`PageblockViolation`].
    pub fn validate(&self, frames: u64, zones: usize) -> Result<(), PageblockViolation> {
        let mut end = 0;
        for (index, piece) in self.pieces.iter().enumerate() {
            let sound = piece.start >= end && piece.start < piece.end && piece.end <= frames;
            if !sound || piece.zone.index() >= zones {
                return Err(PageblockViolation::Piece { index });
            }
            end = piece.end;
        }
        for (block, record) in self.records.iter().enumerate() {
            let record = Record(record.load(Relaxed));
            let mut inside = self.pieces_of(block).map(|p| p.zone).filter(|_| !record.is_whole());
            let found = if record.is_whole() { record.zone() } else { inside.next() };
            if record.zone() != found || found.is_some_and(|zone| zone.index() >= zones) {
                return Err(PageblockViolation::Zone { block, recorded: record.zone(), found });
            }
            if record.is_mixed() != inside.any(|zone| Some(zone) != found) {
                return Err(PageblockViolation::Mixed { block });
            }
            let types = [record.0 & 7, record.0 >> Record::UPPER_SHIFT & 7];
            if types.iter().any(|&t| MigrateType::from_index(t as usize).is_none()) {
                return Err(PageblockViolation::Migrate { block, bits: record.0 });
            }
            if record.0 != record.with_lists().0 {
                return Err(PageblockViolation::Lists { block, bits: record.0 });
            }
        }
        Ok(())
    }

    /// The pieces that share frames with a pageblock.
    fn pieces_of(&self, block: usize) -> impl Iterator<Item = &ZonePiece> {
        let start = (block as u64) << self.order.get();
        let end = start + self.order.pages();
        let first = self.pieces.partition_point(|p| p.end <= start);
        self.pieces[first..].iter().take_while(move |p| p.start < end)
    }
}
