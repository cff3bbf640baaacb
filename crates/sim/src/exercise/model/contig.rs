//! What the model does with contiguous ranges, CMA areas, compaction, and memory that goes and comes back.

use super::{Model, Owner};
use crate::exercise::BASE;
use pagewright_addr::{NodeId, Order, Pfn, PfnRange};
use pagewright_page::{FrameIdx, Frames};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::hotplug::OnlineType;
use pagewright_zone::alloc::{Context, ContigError};
use pagewright_zone::buddy::MigrateType;

impl<'m, 'a> Model<'_, '_, 'm, '_, 'a, '_, '_> {
    fn owners_of(&self, range: PfnRange) -> Option<&[Owner]> {
        let start = self.pages.base.map().idx(range.start)?.index();
        let owners = self.owners.get(start..start + range.len() as usize)?;
        // One zone, without a gap.
        let blocks = self.pages.base.pageblocks();
        let first = FrameIdx::new(start as u32);
        (blocks.run(first, range.len()) == range.len()).then_some(owners)
    }

    fn kinds_of(&self, range: PfnRange) -> impl Iterator<Item = MigrateType> + '_ {
        let start = self.pages.base.map().idx(range.start).map_or(0, FrameIdx::get);
        (0..range.len() as u32)
            .map(move |n| self.pages.base.pageblocks().migrate_type(FrameIdx::new(start + n)))
    }

    /// A contiguous range, somewhere.
    pub(super) fn range(&mut self, cx: &Context<'_, 'm, 'a>, a: u8, b: u8, c: u8) {
        // Of others' lists the allocator cannot know: they are emptied.
        self.pages.allocator.drain_local_pages(cx);
        if self.pages.cpus() > 1 && c >= 128 {
            return;
        }
        let start = BASE + u64::from(a) * 13 + u64::from(b % 8) * 512;
        let range = PfnRange::from_len(Pfn::new(start), 1 + u64::from(b) * 3);
        let owners = self.owners_of(range).map(<[Owner]>::to_vec);
        let blocked =
            owners.as_ref().is_none_or(|o| o.iter().any(|o| matches!(o, Owner::Token | Owner::Pinned)));
        let kept = |kind| matches!(kind, MigrateType::Cma | MigrateType::HighAtomic | MigrateType::Isolate);
        let free = self.pages.cpus() == 1
            && owners.is_some_and(|o| o.iter().all(|&o| o == Owner::Nobody))
            && !self.kinds_of(range).any(kept);
        let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN;
        match self.pages.allocator.alloc_contig_range(cx, &self.tenants, range, MigrateType::Movable, gfp) {
            Ok(frames) => {
                self.summary.ranges.0 += 1;
                assert!(!blocked, "{range:?} has pages that do not move");
                assert_eq!(
                    (self.pages.base.map().pfn(frames.start()), frames.len()),
                    (range.start, range.len())
                );
                self.look_at_tenants();
                self.take(&frames);
                self.tokens.push(frames);
            }
            Err(failure) => {
                self.summary.ranges.1 += 1;
                assert!(!free || self.injecting, "{range:?} is free: {failure}");
                assert!(!matches!(failure, ContigError::Interrupted { .. }), "nobody interrupts");
                self.look_at_tenants();
            }
        }
    }

    /// Pages of the CMA area.
    pub(super) fn borrow(&mut self, cx: &Context<'_, 'm, 'a>, a: u8, b: u8) {
        let Some(area) = &self.area else { return };
        let (count, align) = (1 + u64::from(a), Order::new(b % 7).unwrap_or_default());
        match self.pages.allocator.cma_alloc(cx, &self.tenants, area, (count, align, true)) {
            Ok(frames) => {
                self.summary.cma.0 += 1;
                assert_eq!(frames.len(), count);
                let start = self.pages.base.map().pfn(frames.start());
                let end = start.get() + frames.len();
                assert!(start.get() >= BASE + 1024 && end <= BASE + 2048, "inside the area");
                assert_eq!((start.get() - BASE - 1024) % align.pages(), 0, "aligned within it");
                self.look_at_tenants();
                self.take(&frames);
                self.lent.push(frames);
            }
            Err(_) => {
                self.summary.cma.1 += 1;
                self.look_at_tenants();
            }
        }
        let lent: u64 = self.lent.iter().map(Frames::len).sum();
        let area = self.area.as_ref().map(|area| self.pages.allocator.cma_figures(area).used);
        assert_eq!(area, Some(lent), "the area counts what is lent");
    }

    pub(super) fn give_back(&mut self, cx: &Context<'_, 'm, 'a>, a: u8, b: u8) {
        let Some(area) = self.area.as_ref().filter(|_| !self.lent.is_empty()) else { return };
        let frames = self.lent.swap_remove(usize::from(a) % self.lent.len());
        let frames = if frames.len() > 1 && b.is_multiple_of(2) {
            let low = 1 + u64::from(b) % (frames.len() - 1);
            let (low, high) = self.pages.base.map().split_at(frames, low);
            self.lent.push(high);
            low
        } else {
            frames
        };
        let (start, len) = (frames.start().index(), frames.len() as usize);
        self.pages.allocator.cma_release(cx, area, frames).expect("it is the area's");
        self.owners[start..start + len].fill(Owner::Nobody);
    }

    pub(super) fn compact(&mut self, cx: &Context<'_, 'm, 'a>, a: u8) {
        let nid = NodeId::new(u16::from(a % 2))
            .filter(|nid| self.pages.allocator.zones().iter().any(|zone| zone.nid() == *nid));
        self.pages.allocator.compact_node(cx, &self.tenants, nid.unwrap_or_default());
        self.look_at_tenants();
    }

    /// A memory block goes offline, unless somebody is in the way who does not move.
    pub(super) fn offline(&mut self, cx: &Context<'_, 'm, 'a>, a: u8) {
        let Some(hot) = self.hot.as_mut().filter(|hot| hot.may_go()) else { return };
        let number = hot.number(a);
        if hot.offline.contains(&number) {
            return;
        }
        let (blocks, mut plug) = hot.parts();
        let pfns = blocks.pfns(number);
        let gone = self.pages.allocator.offline_pages(cx, &self.tenants, blocks, number, &mut plug);
        let owners = self.owners_of(pfns).map(<[Owner]>::to_vec);
        let start = self.pages.base.map().idx(pfns.start).expect("a frame of this machine").index();
        let before = &self.owners[start..start + pfns.len() as usize];
        match gone {
            Ok(()) => {
                self.summary.offline.0 += 1;
                let stays =
                    before.iter().filter(|owner| matches!(owner, Owner::Token | Owner::Pinned)).count();
                assert_eq!(stays, 0, "{number} went with pages that do not move");
                assert_eq!(owners, None, "it is of no zone any more");
                self.look_at_tenants();
                let there = &mut self.owners[start..start + pfns.len() as usize];
                assert!(there.iter().all(|&owner| owner == Owner::Nobody), "nobody is left behind");
                there.fill(Owner::Pinned);
                self.hot.as_mut().expect("it is there").offline.push(number);
            }
            Err(failure) => {
                self.summary.offline.1 += 1;
                let free = before.iter().all(|&owner| owner == Owner::Nobody);
                assert!(!free, "{number} is free: {failure}");
                self.look_at_tenants();
            }
        }
    }

    /// One that is offline comes back.
    pub(super) fn online(&mut self, a: u8) {
        let Some(hot) = self.hot.as_mut().filter(|hot| hot.any_offline()) else { return };
        let number = hot.offline.swap_remove(usize::from(a) % hot.offline.len());
        let (blocks, mut plug) = hot.parts();
        let pfns = blocks.pfns(number);
        let back = self.pages.allocator.online_pages(blocks, number, OnlineType::Online, &mut plug);
        back.expect("it was there before");
        let start = self.pages.base.map().idx(pfns.start).expect("a frame of this machine").index();
        self.owners[start..start + pfns.len() as usize].fill(Owner::Nobody);
    }
}
