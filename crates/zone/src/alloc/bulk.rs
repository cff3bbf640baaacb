//! Many pages at once (`alloc_pages_bulk`, `release_pages`).
//!
//! Pages come from this CPU's list of one zone after one look at the zone's watermark, and go back into the lists as long as
//! those take them. What that does not serve takes the way of a single page.

use super::prepare::Wanted;
use super::{AllocFailure, AllocFlags, Candidate, Context, Hooks, PageAllocator, ZoneCell};
use crate::NodeMask;
use crate::buddy::{MigrateType, ZoneId};
use crate::gfp::Gfp;
use pagewright_addr::{NodeId, Order};
use pagewright_page::Frames;
use pagewright_platform::Interrupts;

/// How many pages leave a zone under its lock at once, a list's batch not counted.
const AT_ONCE: usize = 512;

/// Where the pages of a bulk allocation come from.
struct Source<'q, 's, 'a> {
    cell: &'q ZoneCell<'s, 'a>,
    migrate: MigrateType,
    flags: AllocFlags,
    gfp: Gfp,
}

impl<'m, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, 's, 'a, I, H> {
    /// Fills slots with single pages near this CPU (`alloc_pages_bulk_array`, `alloc_pages_bulk_list`), from the first on; those
    /// that have some stay as they are. Returns how many slots are filled from the first on, old ones included: all of them, or as
    /// many as could be had cheaply. Whoever needs all asks again; as long as there is memory each call fills one more at least.
    ///
    /// The task's memory policy does not count; [`Self::alloc_pages_bulk_mempolicy`] follows it.
    #[track_caller]
    pub fn alloc_pages_bulk(
        &self,
        cx: &Context<'_, 'm, 'a>,
        gfp: Gfp,
        slots: &mut [Option<Frames<'a>>],
    ) -> usize {
        self.alloc_pages_bulk_nodemask(cx, cx.node, None, gfp, slots)
    }

    /// The same near a node, from these nodes only (`__alloc_pages_bulk`).
    ///
    /// Pages come in bulk only from a zone that stays above its low watermark when all are taken, and never from a node other than the
    /// first zone's; one page comes at any price that the mask allows. A mask that contradicts itself gets none.
    #[track_caller]
    pub fn alloc_pages_bulk_nodemask(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        nodes: Option<&NodeMask>,
        gfp: Gfp,
        slots: &mut [Option<Frames<'a>>],
    ) -> usize {
        let before = full(slots);
        let rest = &mut slots[before..];
        let found = match rest {
            [] => return before,
            [_] => 0,
            _ => match self.fill_from_lists(cx, nid, nodes, gfp, rest) {
                Ok(found) => found,
                Err(_) => return before,
            },
        };
        if found > 0 {
            return before + found;
        }
        if let Ok(page) = self.alloc_pages_nodemask(cx, nid, nodes, gfp, Order::ZERO) {
            rest[0] = Some(page);
            return before + full(rest);
        }
        before
    }

    /// The fast route: how many slots it filled, none if it cannot be taken.
    #[track_caller]
    fn fill_from_lists(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        nodes: Option<&NodeMask>,
        gfp: Gfp,
        slots: &mut [Option<Frames<'a>>],
    ) -> Result<usize, AllocFailure> {
        let Some((source, preferred)) = self.source(cx, nid, nodes, gfp, slots.len() as u64)? else {
            return Ok(0);
        };
        Ok(self.fill_gaps(cx, &source, preferred, slots))
    }

    /// Where so many pages may come from in bulk, and the zone that was wanted first; `None` if each is to be had by itself only.
    #[track_caller]
    fn source(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        nodes: Option<&NodeMask>,
        gfp: Gfp,
        pages: u64,
    ) -> Result<Option<(Source<'_, 's, 'a>, ZoneId)>, AllocFailure> {
        if nodes.is_none()
            && nid == cx.node
            && let Some(source) = self.near_source(cx, gfp, pages)
        {
            let preferred = source.cell.id();
            return Ok(Some((source, preferred)));
        }
        let mut wanted = self.prepare(cx, nid, nodes, gfp, Order::ZERO)?;
        let owned = self.debugging_now(cx).is_some_and(|debugging| debugging.keeps_owners());
        if owned || self.is_charged(cx, gfp) {
            // Each page's owner is noted, or somebody pays for it: as expensive as taking them one by one.
            return Ok(None);
        }
        let (gfp, failure) = (wanted.gfp, AllocFailure::NoMemory { order: Order::ZERO, gfp });
        let flags = self.in_cpuset(cx, nid, &mut wanted);
        let first = wanted.preferred.ok_or(failure)?;
        let found = self.zone_for(cx, (nid, first), &wanted, flags, pages).map(|(at, _)| at.zone.index());
        let Some(cell) = found.and_then(|zone| self.zones.get(zone)) else { return Ok(None) };
        if wanted.migrate == MigrateType::Movable && !flags.contains(AllocFlags::CMA) {
            // Movable lists may hold CMA pages.
            return Ok(None);
        }
        Ok(Some((Source { cell, migrate: wanted.migrate, flags, gfp }, first.zone)))
    }

    /// Single pages as [`Self::alloc_pages_bulk_nodemask`] gives them, `pages` at most, in whole runs of frames that follow each other, one token for each: for
    /// whoever wants many and cuts them up himself. They come from the zone's free lists past this CPU's, in blocks as large as possible. How many slots are
    /// filled, from the first on: none if pages are to be had one by one only (zeroed, watched, or scarce ones), and fewer pages than were
    /// asked for if the slots do not suffice. Slots in use are overwritten.
    ///
    /// A mask that contradicts itself gets none.
    #[track_caller]
    pub fn alloc_pages_runs(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        gfp: Gfp,
        pages: u64,
        slots: &mut [Option<Frames<'a>>],
    ) -> usize {
        let by_itself = gfp.intersects(Gfp::ZERO | Gfp::COMP)
            || self.debugging_now(cx).is_some()
            || self.events_now(cx).is_some();
        // More than there are at all must not even be added to a watermark.
        if pages == 0 || pages > self.ground.map.len() || by_itself {
            return 0;
        }
        let Ok(Some((source, preferred))) = self.source(cx, nid, None, gfp, pages) else { return 0 };
        let Source { cell, migrate, flags, .. } = source;
        let request = flags.request(Order::ZERO, migrate);
        let (filled, taken, boosted) = self.with_zone(cell, |lists| {
            let (mut filled, mut taken) = (0, 0);
            while filled < slots.len()
                && taken < pages
                && let Some(run) = self.ground.rmqueue_whole(
                    lists,
                    request,
                    u32::try_from(pages - taken).unwrap_or(u32::MAX),
                )
            {
                taken += run.len();
                slots[filled] = Some(run);
                filled += 1;
            }
            lists.count_direct(Order::ZERO, taken as usize);
            (filled, taken, self.boost(cell, lists, flags))
        });
        self.tell_boost(cell, flags, boosted);
        self.count_numa(cell, preferred, cx.node, taken);
        filled
    }

    /// This CPU's first zone, if nothing asks for attention and it has so many pages to spare: what the whole of preparation would
    /// find nearly always.
    fn near_source(&self, cx: &Context<'_, 'm, 'a>, gfp: Gfp, pages: u64) -> Option<Source<'_, 's, 'a>> {
        if cx.gate.for_allocation() != 0 {
            return None;
        }
        let first = cx.cpu.enter()?.first(gfp.class())?;
        let cell = self.zones.get(first.zone.index())?;
        let flags = AllocFlags::first(gfp, first.migrate == MigrateType::Movable);
        let mark = cell.mark(AllocFlags::WMARK_LOW) + pages;
        let enough = cell.watermark_ok(Order::ZERO, mark, first.highest, flags);
        enough.then_some(Source { cell, migrate: first.migrate, flags, gfp })
    }

    /// Fills empty slots until one cannot be: how many are filled before it, if any was.
    #[track_caller]
    fn fill_gaps(
        &self,
        cx: &Context<'_, 'm, 'a>,
        source: &Source<'_, 's, 'a>,
        preferred: ZoneId,
        slots: &mut [Option<Frames<'a>>],
    ) -> usize {
        let (mut at, mut taken) = (0, 0);
        while at < slots.len() {
            let found = self.fill(cx, source, &mut slots[at..]);
            taken += found;
            at += found;
            let old = full(&slots[at..]);
            if old == 0 {
                break;
            }
            at += old;
        }
        self.count_numa(source.cell, preferred, cx.node, taken as u64);
        // Of nothing but what was there before, one slot is filled in another way.
        if taken == 0 { 0 } else { at }
    }

    /// The first zone that has so many pages to spare.
    fn zone_for<'q>(
        &'q self,
        cx: &Context<'q, 'm, 'a>,
        (nid, first): (NodeId, Candidate),
        wanted: &Wanted<'q>,
        flags: AllocFlags,
        pages: u64,
    ) -> Option<(Candidate, &'q ZoneCell<'s, 'a>)> {
        let mut zones = self
            .zonelist(cx, nid, wanted, flags)
            .take_while(|(at, _)| at.zone == first.zone || at.nid == first.nid);
        zones
            .find(|(_, cell)| cell.watermark_ok(Order::ZERO, cell.mark(flags) + pages, wanted.highest, flags))
    }

    /// Fills slots up to the first one in use, from this CPU's list, and from the zone when that is empty: how many.
    #[track_caller]
    fn fill(
        &self,
        cx: &Context<'_, 'm, 'a>,
        source: &Source<'_, 's, 'a>,
        slots: &mut [Option<Frames<'a>>],
    ) -> usize {
        let &Source { cell, migrate, flags, gfp } = source;
        let Some(mut own) = cx.cpu.enter() else { return 0 };
        let Some(shelf) = own.shelf(cell.id(), Order::ZERO, migrate) else { return 0 };
        let batch = own.zone(cell.id()).map_or(1, |figures| figures.batch() as usize);
        let request = flags.request(Order::ZERO, migrate);
        let (mut filled, mut boosted) = (0, false);
        loop {
            filled += own.pop_into(shelf, &mut slots[filled..]);
            let empty = slots[filled..].iter().take(AT_ONCE).take_while(|slot| slot.is_none()).count();
            if empty == 0 {
                break;
            }
            let (direct, boost) = self.with_zone(cell, |lists| {
                // Whole batches need not lie in the list first: they would come out of it in this order.
                let whole = empty - empty % batch;
                let mut direct = 0;
                while direct < whole
                    && let Some(run) = self.ground.rmqueue_run(lists, request, (whole - direct) as u32)
                {
                    let len = run.len() as usize;
                    self.ground.map.split_into(run, &mut slots[filled + direct..filled + direct + len]);
                    direct += len;
                }
                if direct == whole && whole < empty {
                    own.refill(shelf, |pages| self.ground.rmqueue_run(lists, request, pages));
                }
                lists.count_direct(Order::ZERO, direct);
                (direct, self.boost(cell, lists, flags))
            });
            filled += direct;
            boosted |= boost;
            if direct == 0 && own.has_none(shelf) {
                break;
            }
        }
        drop(own);
        self.tell_boost(cell, flags, boosted);
        if gfp.contains(Gfp::ZERO) || self.debugging_now(cx).is_some() || self.events_now(cx).is_some() {
            for at in 0..filled {
                let Some(page) = slots[at].take() else { continue };
                if let Ok(page) = self.finish(cx, gfp, page) {
                    slots[at] = Some(page);
                } else {
                    // It could not be zeroed, and went back. So do those after it.
                    self.free_pages_bulk(cx, slots[at..filled].iter_mut().filter_map(Option::take));
                    return at;
                }
            }
        }
        filled
    }

    /// Gives many back at once (`release_pages`, `free_unref_page_list`): each as [`Self::free_pages`] would, in their order, with one
    /// look at this CPU for as many as its lists take.
    ///
    /// # Panics
    /// As for [`Self::free_pages`]; those that came before are free then, and those after it are not.
    #[inline]
    pub fn free_pages_bulk(&self, cx: &Context<'_, 'm, 'a>, frames: impl IntoIterator<Item = Frames<'a>>) {
        let mut rest = frames.into_iter();
        loop {
            let refused = if cx.cpu.shared().for_freeing() == 0
                && let Some(mut own) = cx.cpu.enter()
            {
                loop {
                    let Some(frames) = rest.next() else { return };
                    if let Err(refused) = own.push(frames) {
                        break refused;
                    }
                }
            } else {
                let Some(frames) = rest.next() else { return };
                frames
            };
            self.free_slow(cx, refused);
        }
    }
}

/// How many slots are filled from the first on.
#[inline]
fn full(slots: &[Option<Frames<'_>>]) -> usize {
    slots.iter().take_while(|slot| slot.is_some()).count()
}
