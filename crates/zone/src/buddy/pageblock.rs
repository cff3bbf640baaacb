//! Pageblock records: the zone and migrate type of every block of `pageblock_order`.
//!
//! One 32-bit record for each pageblock of the metadata array, in memory that the caller brings. A record is written
//! under the lock of the zone that owns the block; readers see a whole record or its predecessor. Where two zones
//! share a pageblock (a limit that is not aligned), the record says so and a table of zone pieces decides; the
//! zone that begins inside the block keeps a migrate type of its own, as Linux's per-zone bitmaps do.

mod isolate;
mod plugged;
mod validate;

pub use validate::PageblockViolation;

use super::{BuddyZone, MigrateType, ZoneId};
use crate::ZoneKind;
use crate::layout::Layout;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use pagewright_addr::{NodeId, Order, Pfn};
use pagewright_page::{FrameIdx, PageMap, Rack};

/// Frames of one zone with consecutive indices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZonePiece {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) zone: ZoneId,
}

impl ZonePiece {
    /// An unused entry, to make room for a table.
    pub const EMPTY: Self = Self { start: 0, end: 0, zone: ZoneId(0) };

    /// The zone.
    pub const fn zone(&self) -> ZoneId {
        self.zone
    }

    /// The frames' indices.
    pub const fn range(&self) -> core::ops::Range<u64> {
        self.start..self.end
    }
}

/// Why pageblock records could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageblockError {
    /// Too few records.
    RecordsTooShort {
        /// How many there are.
        len: usize,
        /// How many are needed: [`Pageblocks::required_records`].
        required: usize,
    },
    /// Too few entries for zone pieces; two more than there are memory ranges in all zones always suffice.
    PiecesFull {
        /// How many there are.
        capacity: usize,
    },
    /// A zone of the layout that is not among the buddy's zones.
    NoZone {
        /// The zone's node.
        nid: NodeId,
        /// Its kind.
        kind: ZoneKind,
    },
    /// Memory of the layout that the page map has no metadata for.
    NoMetadata {
        /// The first such frame.
        pfn: Pfn,
    },
}

impl fmt::Display for PageblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RecordsTooShort { len, required } => {
                write!(f, "room for {len} pageblock records, {required} are needed")
            }
            Self::PiecesFull { capacity } => write!(f, "more zone pieces than the table's {capacity}"),
            Self::NoZone { nid, kind } => write!(f, "zone {kind} of node {nid} has memory but no buddy"),
            Self::NoMetadata { pfn } => write!(f, "frame {pfn:#x} is memory without metadata"),
        }
    }
}

impl core::error::Error for PageblockError {}

/// ```text
///  31  30      16  15   14     13..11      10..3       2..0
/// +---+----------+---+-------+-----------+-----------+-----------+
/// | w | zone id  | s | mixed | upper's   | lists     | migrate   |
/// |   | +1       |   |       | type      |           | type      |
/// +---+----------+---+-------+-----------+-----------+-----------+
/// ```
/// "w" says that the whole block came or went while the machine ran: its zone is what the record says, or none, whatever the pieces say.
/// "s" is compaction's hint to pass the block over. An isolated block of one zone keeps what it was in the upper's type.
/// A block without memory has neither zone nor type. "Lists" follows from the others: which per-CPU lists a freed page of the block
/// goes to, four times the zone's place and the type's place among those that have lists; 255 if none, or if one look does not tell:
/// isolated blocks, blocks that two zones share, zones beyond [`Pageblocks::LISTED_ZONES`]. They are where a CPU's
/// [`Rack`] looks for them, so that freeing a page reads one word and masks it.
#[derive(Clone, Copy)]
struct Record(u32);

impl Record {
    const MIXED: u32 = 1 << 14;
    const UPPER_SHIFT: u32 = 11;

    fn zone(self) -> Option<ZoneId> {
        (self.0 >> 16 & 0x7fff).checked_sub(1).map(|z| ZoneId(z as u16))
    }

    fn with_zone(self, zone: ZoneId) -> Self {
        Self((self.0 & (0xffff | Self::WHOLE)) | (u32::from(zone.0) + 1) << 16).with_lists()
    }

    fn is_mixed(self) -> bool {
        self.0 & Self::MIXED != 0
    }

    fn mixed(self) -> Self {
        Self(self.0 | Self::MIXED).with_lists()
    }

    fn migrate(self, upper: bool) -> MigrateType {
        let bits = self.0 >> if upper { Self::UPPER_SHIFT } else { 0 } & 7;
        MigrateType::from_index(bits as usize).unwrap_or(MigrateType::Unmovable)
    }

    fn with_migrate(self, upper: bool, to: MigrateType) -> Self {
        let shift = if upper { Self::UPPER_SHIFT } else { 0 };
        Self((self.0 & !(7 << shift)) | (to as u32) << shift).with_lists()
    }

    /// The byte that names the lists, worked out from the rest.
    fn with_lists(self) -> Self {
        // CMA blocks are lent to movable allocations, and what is kept for urgent ones serves them when it is freed.
        let list = match self.migrate(false) {
            MigrateType::Unmovable => Some(0),
            MigrateType::Movable | MigrateType::HighAtomic | MigrateType::Cma => Some(1),
            MigrateType::Reclaimable => Some(2),
            MigrateType::Isolate => None,
        };
        let lists = match (self.zone(), list) {
            (Some(zone), Some(list)) if !self.is_mixed() && u32::from(zone.0) < Pageblocks::LISTED_ZONES => {
                u32::from(zone.0) * 4 + list
            }
            _ => 0xff,
        };
        Self((self.0 & !Rack::GROUP_BITS) | lists << Rack::GROUP_BITS_SHIFT)
    }
}

/// What pageblocks may have in common: their zone, their type, and what else there is to know of them.
#[derive(Clone, Copy)]
pub(crate) struct Kind(Record);

impl Kind {
    /// Their zone, if they have memory; the lower one where two share a pageblock.
    #[inline]
    pub(crate) fn zone(self) -> Option<ZoneId> {
        self.0.zone()
    }

    /// Their type.
    #[inline]
    pub(crate) fn migrate(self) -> MigrateType {
        self.0.migrate(false)
    }
}

/// The records of one machine. Copied freely; see the module's head for who may write.
#[derive(Clone, Copy)]
pub struct Pageblocks<'a> {
    pub(super) records: &'a [AtomicU32],
    pub(super) pieces: &'a [ZonePiece],
    pub(super) order: Order,
}

impl fmt::Debug for Pageblocks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pageblocks")
            .field("order", &self.order)
            .field("pieces", &self.pieces)
            .finish_non_exhaustive()
    }
}

impl<'a> Pageblocks<'a> {
    /// How many records a map needs, for memory that is plugged in as well.
    pub fn required_records(map: &PageMap<'_>, order: Order) -> usize {
        (map.capacity() >> order.get()) as usize + 1
    }

    /// Writes the records of a machine: the zone of each block, and Movable for every block whose first frame is
    /// memory (`memmap_init_range` sets the type when it meets a block's first frame; a block that begins in a
    /// hole stays Unmovable).
    ///
    /// `zones` are all populated zones; their places are their [`ZoneId`]s. Records and pieces need no particular
    /// content before.
    ///
    /// # Errors
    /// [`PageblockError`], for a table that is too short, a missing zone, or memory without metadata.
    pub fn build(
        layout: &Layout<'_>,
        map: &PageMap<'_>,
        order: Order,
        zones: &[BuddyZone<'_, '_>],
        records: &'a [AtomicU32],
        pieces: &'a mut [ZonePiece],
    ) -> Result<Self, PageblockError> {
        let (len, required) = (records.len(), Self::required_records(map, order));
        let Some(records) = records.get(..required) else {
            return Err(PageblockError::RecordsTooShort { len, required });
        };
        for record in records {
            record.store(Record(0).with_lists().0, Relaxed);
        }
        let mut used = 0;
        let mut error = None;
        layout.for_each_zone_memory(&mut |nid, kind, pfns| {
            let Some(zone) = zones.iter().position(|z| z.nid() == nid && z.kind() == kind) else {
                error = error.or(Some(PageblockError::NoZone { nid, kind }));
                return;
            };
            let mut pfn = pfns.start;
            while pfn < pfns.end && error.is_none() {
                let run = map.sections().run(pfn, pfns.end.get() - pfn.get());
                let Some(start) = map.idx(pfn).map(|i| u64::from(i.get())).filter(|_| run > 0) else {
                    error = Some(PageblockError::NoMetadata { pfn });
                    return;
                };
                let piece = ZonePiece { start, end: start + run, zone: ZoneId(zone as u16) };
                error = push(pieces, &mut used, piece).err();
                mark(records, order, &piece);
                pfn = pfn.saturating_add(run);
            }
        });
        match error {
            Some(e) => Err(e),
            None => Ok(Self { records, pieces: &pieces[..used], order }),
        }
    }

    /// `pageblock_order`.
    pub fn order(&self) -> Order {
        self.order
    }

    /// The memory of all zones, by index.
    pub fn pieces(&self) -> &'a [ZonePiece] {
        self.pieces
    }

    /// The records: one for each pageblock of the map.
    pub(crate) fn records(&self) -> &'a [AtomicU32] {
        self.records
    }

    #[inline]
    fn record(&self, idx: FrameIdx) -> Record {
        Record(self.records.get(idx.index() >> self.order.get()).map_or(0, |r| r.load(Relaxed)))
    }

    /// Zones whose pages go through per-CPU lists: the first ones.
    pub(crate) const LISTED_ZONES: u32 = 63;

    /// The zone of a frame; `None` for a frame that is in no zone's memory.
    pub fn zone_of(&self, idx: FrameIdx) -> Option<ZoneId> {
        let record = self.record(idx);
        if record.is_mixed() { self.piece_at(u64::from(idx.get())).map(|p| p.zone) } else { record.zone() }
    }

    /// What is known of a frame's pageblock.
    #[inline(always)]
    pub(crate) fn kind_at(&self, idx: FrameIdx) -> Kind {
        Kind(self.record(idx))
    }

    /// Whether the pageblocks of a block are all of a kind, and that of one zone alone.
    #[inline(always)]
    pub(crate) fn are_all(&self, idx: FrameIdx, order: Order, kind: Kind) -> bool {
        let alone = self.record(idx).0 == kind.0.0 && !kind.0.is_mixed();
        alone && (order <= self.order || self.others_are(idx, order, kind))
    }

    #[inline(never)]
    fn others_are(&self, idx: FrameIdx, order: Order, kind: Kind) -> bool {
        let first = idx.index() >> self.order.get();
        let others = self.records.get(first + 1..first + (1 << (order.get() - self.order.get())));
        others.is_some_and(|others| others.iter().all(|record| record.load(Relaxed) == kind.0.0))
    }

    fn piece_at(&self, index: u64) -> Option<&ZonePiece> {
        let at = self.pieces.partition_point(|p| p.end <= index);
        self.pieces.get(at).filter(|p| p.start <= index)
    }

    /// Whether the frame is in the upper one of two zones that share the pageblock.
    fn is_upper(&self, record: Record, idx: FrameIdx) -> bool {
        record.is_mixed() && self.zone_of(idx) != record.zone()
    }

    /// The migrate type of the frame's pageblock (`get_pageblock_migratetype`).
    pub fn migrate_type(&self, idx: FrameIdx) -> MigrateType {
        let record = self.record(idx);
        record.migrate(self.is_upper(record, idx))
    }

    /// The same, and whether two zones share the pageblock.
    #[inline]
    pub(crate) fn kind_of(&self, idx: FrameIdx) -> (MigrateType, bool) {
        let record = self.record(idx);
        (record.migrate(self.is_upper(record, idx)), record.is_mixed())
    }

    /// Sets the migrate type of the frame's pageblock (`set_pageblock_migratetype`). The caller holds the zone.
    pub fn set_migrate_type(&self, idx: FrameIdx, to: MigrateType) {
        let record = self.record(idx);
        let upper = self.is_upper(record, idx);
        if let Some(slot) = self.records.get(idx.index() >> self.order.get()) {
            // Two zones that share the block write different bits, each under its own lock.
            let _ = slot.fetch_update(Relaxed, Relaxed, |bits| Some(Record(bits).with_migrate(upper, to).0));
        }
    }
}

/// Appends a piece, or lengthens the last one if the zone goes on.
fn push(pieces: &mut [ZonePiece], used: &mut usize, piece: ZonePiece) -> Result<(), PageblockError> {
    if let Some(last) = used.checked_sub(1).map(|i| &mut pieces[i])
        && last.zone == piece.zone
        && last.end == piece.start
    {
        last.end = piece.end;
        return Ok(());
    }
    let capacity = pieces.len();
    *pieces.get_mut(*used).ok_or(PageblockError::PiecesFull { capacity })? = piece;
    *used += 1;
    Ok(())
}

/// Writes the records of the blocks that a piece touches.
fn mark(records: &[AtomicU32], order: Order, piece: &ZonePiece) {
    for block in piece.start >> order.get()..=(piece.end - 1) >> order.get() {
        let Some(slot) = records.get(block as usize) else { return };
        let mut record = Record(slot.load(Relaxed));
        match record.zone() {
            None => record = record.with_zone(piece.zone),
            Some(zone) if zone != piece.zone => record = record.mixed(),
            Some(_) => {}
        }
        if block << order.get() >= piece.start {
            record = record.with_migrate(false, MigrateType::Movable);
        }
        slot.store(record.0, Relaxed);
    }
}
