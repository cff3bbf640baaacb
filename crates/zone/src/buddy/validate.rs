//! Checks of the buddy allocator's invariants, for tests and for the suspicious.

use super::{Buddy, BuddyZone, Ground, MigrateType, PageblockViolation, ZoneId};
use core::fmt;
use pagewright_addr::Order;
use pagewright_page::{ExtentViolation, FrameIdx, MapViolation, State};

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// The page map below is wrong.
    Map(MapViolation),
    /// The pageblock records are wrong.
    Pageblocks(PageblockViolation),
    /// A list entry that is no free block of the list's order, of another zone, badly aligned, or with a wrong type
    /// or link.
    Entry {
        /// The zone.
        zone: ZoneId,
        /// The list's order.
        order: Order,
        /// The list's type.
        migrate: MigrateType,
        /// The entry.
        idx: FrameIdx,
    },
    /// A list with more or fewer entries than its counter says, or whose last entry is another than it says.
    Length {
        /// The zone.
        zone: ZoneId,
        /// The list's order.
        order: Order,
        /// The list's type.
        migrate: MigrateType,
        /// The counter.
        counted: u64,
        /// Entries found, one too many at most.
        found: u64,
    },
    /// Two free buddies that should have been merged.
    Unmerged {
        /// The lower one.
        idx: FrameIdx,
        /// Their order.
        order: Order,
    },
    /// A zone's free pages differ from what its lists add up to, or exceed what it manages.
    Pages {
        /// The zone.
        zone: ZoneId,
        /// What the counter says.
        counted: u64,
        /// What the lists add up to.
        summed: u64,
    },
    /// A zone's free CMA pages or isolated pages differ from what those lists add up to, or more pages are CMA than are
    /// managed.
    Special {
        /// The zone.
        zone: ZoneId,
        /// The type.
        migrate: MigrateType,
        /// What the counter says.
        counted: u64,
        /// What the lists add up to.
        summed: u64,
    },
    /// More or fewer free pages are marked as reported than the zone's counter says.
    Reported {
        /// The zone.
        zone: ZoneId,
        /// The counter.
        counted: u64,
        /// Pages that are marked.
        found: u64,
    },
    /// What everybody reads without a zone's lock is not what lies under it: its free pages, of which orders it has blocks, whether pages
    /// wait to be merged.
    Told {
        /// The zone.
        zone: ZoneId,
    },
    /// The map knows more or fewer free blocks than the lists hold.
    Lost {
        /// Free blocks in the map.
        in_map: u64,
        /// Free blocks in lists.
        in_lists: u64,
    },
    /// A zone's extents are wrong.
    Extents {
        /// The zone.
        zone: ZoneId,
        /// How.
        what: ExtentViolation,
    },
    /// A frame of an extent whose metadata was written.
    Touched {
        /// The zone.
        zone: ZoneId,
        /// The frame.
        idx: FrameIdx,
    },
    /// An extent that is not made of whole blocks of the largest order in its zone.
    RaggedExtent {
        /// The zone.
        zone: ZoneId,
        /// The extent's first frame.
        start: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(e) => write!(f, "page map: {e}"),
            Self::Pageblocks(e) => write!(f, "pageblock records: {e}"),
            _ => write!(f, "buddy invariant broken: {self:?}"),
        }
    }
}

impl core::error::Error for Violation {}

impl Buddy<'_, '_, '_> {
    /// Checks the map and the pageblock records below, and every list, counter and extent.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn validate(&self) -> Result<(), Violation> {
        self.ground.validate(self.zones.len())?;
        let mut in_lists = 0;
        for zone in self.zones.iter() {
            in_lists += self.ground.validate_zone(zone)?;
        }
        self.ground.validate_count(in_lists)
    }
}

impl<'a> Ground<'a> {
    /// Checks the map and the pageblock records.
    pub(crate) fn validate(&self, zones: usize) -> Result<(), Violation> {
        self.map.validate().map_err(Violation::Map)?;
        self.blocks.validate(self.map.len(), zones).map_err(Violation::Pageblocks)
    }

    /// Checks that the map knows as many free blocks as all lists hold.
    pub(crate) fn validate_count(&self, in_lists: u64) -> Result<(), Violation> {
        let mut in_map = 0;
        let mut at = 0;
        while at < self.map.len() {
            let order = self.map.free_order(FrameIdx::new(at as u32));
            in_map += u64::from(order.is_some());
            at += order.map_or(1, Order::pages);
        }
        if in_map == in_lists { Ok(()) } else { Err(Violation::Lost { in_map, in_lists }) }
    }

    /// Returns how many blocks the zone's lists hold.
    pub(crate) fn validate_zone(&self, z: &BuddyZone<'_, 'a>) -> Result<u64, Violation> {
        let zone = z.id;
        z.extents.validate().map_err(|what| Violation::Extents { zone, what })?;
        let mut free = z.extents.frames();
        for extent in z.extents.iter() {
            let (start, len) = (extent.start, extent.end - extent.start);
            let idx = FrameIdx::new(start as u32);
            let whole = (start | len) & (self.largest.pages() - 1) == 0;
            if !whole || self.blocks.zone_of(idx) != Some(zone) || self.blocks.run(idx, len) != len {
                return Err(Violation::RaggedExtent { zone, start });
            }
            let mut frames = extent.map(|i| FrameIdx::new(i as u32));
            if let Some(idx) = frames.find(|&i| self.map.state(i) != State::Pristine) {
                return Err(Violation::Touched { zone, idx });
            }
        }
        let (mut blocks, mut cma, mut isolated, mut reported) = (0, 0, 0, 0);
        for order in (0..=self.largest.get()).filter_map(Order::new) {
            for migrate in MigrateType::ALL {
                let count = self.validate_list(z, order, migrate, &mut reported)?;
                blocks += count;
                match migrate {
                    MigrateType::Isolate => isolated += count * order.pages(),
                    _ => free += count * order.pages(),
                }
                if migrate == MigrateType::Cma {
                    cma += count * order.pages();
                }
            }
        }
        let counted = z.free_pages();
        if counted != free || counted + z.isolated_pages() > z.managed_pages() {
            return Err(Violation::Pages { zone, counted, summed: free });
        }
        if reported != z.reported_pages() {
            return Err(Violation::Reported { zone, counted: z.reported_pages(), found: reported });
        }
        let special = [
            (MigrateType::Cma, z.free_cma_pages(), cma, z.cma_pages() <= z.managed_pages()),
            (MigrateType::Isolate, z.isolated_pages(), isolated, true),
        ];
        match special.into_iter().find(|&(_, counted, summed, fits)| counted != summed || !fits) {
            Some((migrate, counted, summed, _)) => Err(Violation::Special { zone, migrate, counted, summed }),
            None => Ok(blocks),
        }
    }

    fn validate_list(
        &self,
        z: &BuddyZone<'_, 'a>,
        order: Order,
        migrate: MigrateType,
        reported: &mut u64,
    ) -> Result<u64, Violation> {
        let zone = z.id;
        let list = z.list(order, migrate);
        let count = u64::from(list.count);
        let (mut next, mut prev, mut found) = (list.head(), None, 0);
        while let Some(idx) = next {
            found += 1;
            let sound = self.map.free_order(idx) == Some(order)
                && idx.is_aligned(order)
                && BuddyZone::list_of(&self.map, idx) == Some(migrate)
                && self.map.prev(idx) == prev
                && self.blocks.zone_of(idx) == Some(zone);
            if !sound {
                return Err(Violation::Entry { zone, order, migrate, idx });
            }
            if BuddyZone::is_reported(&self.map, idx) {
                *reported += order.pages();
            }
            if found > count {
                break;
            }
            let buddy = idx.buddy(order);
            if order < self.largest && self.is_free_buddy(zone, buddy, order) && self.could_merge(idx, order)
            {
                return Err(Violation::Unmerged { idx: idx.min(buddy), order });
            }
            (prev, next) = (next, self.map.next(idx));
        }
        if found == count && list.tail() == prev {
            Ok(found)
        } else {
            Err(Violation::Length { zone, order, migrate, counted: count, found })
        }
    }

    fn could_merge(&self, idx: FrameIdx, order: Order) -> bool {
        let (one, other) = (self.blocks.migrate_type(idx), self.blocks.migrate_type(idx.buddy(order)));
        order < self.blocks.order() || one == other || (one.is_mergeable() && other.is_mergeable())
    }
}
