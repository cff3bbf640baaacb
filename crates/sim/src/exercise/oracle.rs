//! When a request may fail: watermarks, worked out from what anybody can read, and not by the allocator's own functions.

use pagewright_addr::{NodeId, Order};
use pagewright_zone::alloc::{Hooks, PageAllocator, ZoneCell};
use pagewright_zone::buddy::MigrateType;
use pagewright_zone::{Gfp, ZoneKind};

/// A request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) nid: NodeId,
    pub(super) gfp: Gfp,
    pub(super) order: Order,
}

impl Asked {
    fn is_urgent(self) -> bool {
        self.gfp.contains(Gfp::ATOMIC)
    }

    fn may_have_cma(self) -> bool {
        self.gfp.contains(Gfp::MOVABLE)
    }

    /// A zone that would have served (`__zone_watermark_ok` at the min mark, as the last attempt looks at it); none if the
    /// request had to fail.
    pub(super) fn serving_zone<'z, 's, 'a, I: pagewright_platform::Interrupts, H: Hooks>(
        self,
        allocator: &PageAllocator<'z, '_, 's, 'a, I, H>,
    ) -> Option<&'z ZoneCell<'s, 'a>> {
        let highest = self.gfp.zone(allocator.kinds()).ok()?;
        let mut zones = allocator.zones().iter();
        zones.find(|zone| {
            zone.kind() <= highest
                && (!self.gfp.contains(Gfp::THISNODE) || zone.nid() == self.nid)
                && self.has_enough(zone, highest)
                && self.has_block(allocator, zone)
        })
    }

    fn has_enough(self, zone: &ZoneCell<'_, '_>, highest: ZoneKind) -> bool {
        let mut mark = zone.min_pages() + zone.boost_pages();
        if self.gfp.contains(Gfp::HIGH) {
            mark -= mark / 2;
        }
        if self.is_urgent() {
            mark -= mark / 4;
        }
        let mut kept = self.order.pages() - 1;
        if !self.is_urgent() {
            kept += zone.highatomic_pages();
        }
        if !self.may_have_cma() {
            kept += zone.free_cma_pages();
        }
        zone.free_pages().saturating_sub(kept) > mark + zone.lowmem_reserve(highest)
    }

    fn has_block<I: pagewright_platform::Interrupts, H: Hooks>(
        self,
        allocator: &PageAllocator<'_, '_, '_, '_, I, H>,
        zone: &ZoneCell<'_, '_>,
    ) -> bool {
        let usable = |list: MigrateType| match list {
            // For single pages nothing is kept: the watermark counts it for the urgent, and then they may not have it.
            MigrateType::HighAtomic => self.is_urgent() && !self.order.is_zero(),
            MigrateType::Cma => self.may_have_cma(),
            MigrateType::Isolate => false,
            _ => true,
        };
        (self.order.get()..Order::LIMIT as u8).filter_map(Order::new).any(|order| {
            let has = |&list: &MigrateType| allocator.free_blocks_of(zone.id(), order, list) > 0;
            MigrateType::ALL.iter().filter(|&&list| usable(list)).any(has)
        })
    }
}
