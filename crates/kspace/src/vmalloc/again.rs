//! Areas that are used again as they lie: at their addresses, in their tables, with their pages.
//!
//! What is freed is most often wanted again soon, in the same size and by the same CPU. The area that this CPU takes back next (`purge`) is looked at
//! before that: where it is just what is asked for it is mapped and in use again, and neither the page allocator nor the page map sees any of it. Anything
//! else takes the area back as always, its pages first.
//!
//! Pages stay with an area only where nobody could tell the difference: single pages that a request without conditions got ([`VmRequest::is_plain`]), for
//! another such request, on a machine with one node, while nothing asks the CPU's attention ([`VmContext::keeps_pages`]: shortage, debugging, events,
//! injected failures), and if nobody else refers to one of them. They wait no longer, and are no more, than flushed areas' pages are in any case.

use super::alloc::VmRequest;
use super::area::{Life, Record};
use super::map::PhysMapping;
use super::{VmContext, Vmalloc};
use crate::areas::AreaId;
use core::panic::Location;
use core::sync::atomic::Ordering::{Relaxed, Release};
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_page::Use;
use pagewright_pagetable::{Format, LeafTables, PageWords, TableMemory};

impl VmRequest {
    /// Whether its pages are to be as the kernel mostly wants them: without conditions, of whichever node is near.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.gfp == pagewright_zone::Gfp::GFP_KERNEL && self.node.is_none() && self.flags.is_empty()
    }

    /// Whether it is to be mapped as its region's areas usually are, and may lie anywhere.
    #[inline]
    pub(super) fn is_usual(&self, page: u64) -> bool {
        self.attr.is_none() && self.within.is_none() && self.align <= page
    }
}

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    /// The area that this CPU takes back next, if it has so many bytes of addresses, in tables that are known, and `again` finds it to its liking: what that makes of it, and
    /// it is in use. Else nothing has changed.
    #[inline(always)]
    fn use_next<C: VmContext<'a>, R>(
        &self,
        on: &mut C,
        bytes: u64,
        again: impl FnOnce(&mut C, &mut Record, AreaId, LeafTables) -> Option<R>,
    ) -> Option<R> {
        if !self.config.pools {
            return None;
        }
        let mut own = self.row(on.cpu()).own.lock();
        let (number, slot) = own.first_flushed(&self.purged.ended)?;
        let mut record = slot.record.lock();
        if record.range.len != bytes {
            return None;
        }
        let tables = record.tables?;
        let made = again(on, &mut record, AreaId::new(number), tables)?;
        drop(record);
        if own.pop_flushed(slot, bytes >> const { F::SHAPE.page_shift() }) {
            // As where it is taken back: whoever finds nothing here to release tries once more.
            self.purged.given.fetch_add(1, Release);
        }
        Some(made)
    }

    /// An area of so many pages for a plain and usual request, of `size` bytes, with the pages that it had.
    #[inline]
    pub(super) fn vmalloc_again<C: VmContext<'a>>(
        &self,
        on: &mut C,
        size: u64,
        pages: u64,
        caller: &'static Location<'static>,
    ) -> Option<VirtAddr> {
        let words = self.words.as_ref()?;
        let len = pages << const { F::SHAPE.page_shift() };
        let at = self.use_next(on, len + Self::PAGE, |on, record, area, tables| {
            let there = record.plain
                && u64::from(record.pages) == pages
                && record.mapped == record.pages
                && self.config.nodes <= 1
                && on.keeps_pages();
            let first = record.first.filter(|_| there)?;
            let (start, owner) = (record.range.start, record.owner(area));
            if pages == 1 {
                // What was plugged in later may lie above all that there was.
                if u64::from(first.get()) >= self.frames
                    || !self.map.is_deposited_single(first, Use::Kernel, owner)
                {
                    return None;
                }
                let pfn = self.phys_of(first).pfn(self.shift());
                self.cursor.map_one(tables, start, words, pfn).ok()?;
            } else {
                let list = self.map.deposited_list(first, pages, Use::Kernel, owner)?;
                if u64::from(list.top) >= self.frames {
                    return None;
                }
                self.map_list(tables, words, VirtRange { start, len }, &list).ok()?;
            }
            record.life = Life::Live;
            record.slack = (len - size) as u16;
            record.caller = Some(caller);
            Some(start)
        })?;
        on.publish();
        self.row(on.cpu()).pages.fetch_add(pages as usize, Relaxed);
        Some(at)
    }

    /// An area for memory by its physical address, mapped as `words` say.
    #[inline]
    pub(super) fn map_phys_again<C: VmContext<'a>>(
        &self,
        on: &mut C,
        mapping: &PhysMapping,
        words: &PageWords,
        caller: &'static Location<'static>,
    ) -> Option<VirtAddr> {
        let &PhysMapping { phys, size, flags, .. } = mapping;
        let mapped = u32::try_from(size >> const { F::SHAPE.page_shift() }).ok()?;
        let at = self.use_next(on, size.checked_add(Self::PAGE)?, |_, record, _, tables| {
            // Pages that it has are to be freed first.
            if record.first.is_some() {
                return None;
            }
            let start = record.range.start;
            self.map_known(tables, VirtRange { start, len: size }, words, phys).ok()?;
            record.map_again(flags, mapped, phys, caller);
            Some(start)
        })?;
        on.publish();
        Some(at)
    }

    /// Whether [`Self::map_phys_again`] can serve a mapping at all.
    #[inline]
    pub(super) fn may_lie_anywhere(mapping: &PhysMapping) -> bool {
        mapping.within.is_none()
            && mapping.align <= Self::PAGE
            && mapping.size >= Self::PAGE
            && !mapping.flags.contains(super::VmFlags::NO_GUARD)
    }
}
