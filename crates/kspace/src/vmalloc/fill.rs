//! An area's own pages: allocated, deposited under its handle, and mapped.

use super::alloc::VmRequest;
use super::context::Shared;
use super::get::Taken;
use super::pages::{Blocks, LISTED, listed_order};
use super::{VmContext, Vmalloc, VmallocError};
use core::cell::RefCell;
use pagewright_addr::{Order, Pfn, PhysAddr, VirtRange};
use pagewright_page::{DepositedList, OwnerHandle, Use};
use pagewright_pagetable::{Attr, Format, LeafTables, PageWords, TableMemory};
use pagewright_zone::Gfp;

/// Runs of pages, or blocks, that are asked for at a time.
const RUNS: usize = 16;

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    pub(super) fn owner(taken: &Taken<'v>) -> OwnerHandle {
        OwnerHandle::new(taken.area.number(), taken.generation.into()).unwrap_or_default()
    }

    /// Blocks for all pages, deposited and linked in order; none if there are too few.
    pub(super) fn fill<C: VmContext<'a>>(
        &self,
        on: &mut C,
        taken: &Taken<'v>,
        request: &VmRequest,
        pages: u64,
        order: Order,
    ) -> Result<DepositedList, VmallocError> {
        if pages == 1 {
            return self.fill_one(on, taken, request);
        }
        self.fill_many(on, taken, request, pages, order)
    }

    /// A single page.
    #[inline]
    fn fill_one<C: VmContext<'a>>(
        &self,
        on: &mut C,
        taken: &Taken<'v>,
        request: &VmRequest,
    ) -> Result<DepositedList, VmallocError> {
        let page = on
            .alloc(request.node, gfp_of(request), Order::ZERO)
            .map_err(|why| VmallocError::Pages { needed: 1, got: 0, why })?;
        let idx = self.map.deposit_single(page, Use::Kernel, Self::owner(taken));
        Ok(DepositedList { first: Some(idx), last: Some(idx), pages: 1, bottom: idx.get(), top: idx.get() })
    }

    /// Blocks, or single pages in runs as they come.
    fn fill_many<C: VmContext<'a>>(
        &self,
        on: &mut C,
        taken: &Taken<'v>,
        request: &VmRequest,
        pages: u64,
        order: Order,
    ) -> Result<DepositedList, VmallocError> {
        let gfp = gfp_of(request);
        let owner = Self::owner(taken);
        // Blocks of this CPU's own lists, as long as there are any: no other zone or node is asked for the sake of their size, and no reserve.
        let mut listed = order == Order::ZERO && pages <= LISTED;
        let mut got = DepositedList::default();
        let mut slots = [const { None }; RUNS];
        while got.pages < pages {
            let left = pages - got.pages;
            let mut found = 0;
            if listed {
                match on.alloc_listed(request.node, gfp, listed_order(left)) {
                    Some(frames) => (slots[0], found) = (Some(frames), 1),
                    None => listed = false,
                }
            }
            if found == 0 && order == Order::ZERO && left > 1 {
                found = on.alloc_runs(request.node, gfp, left, &mut slots);
            }
            if found == 0 {
                match on.alloc(request.node, gfp, order) {
                    Ok(frames) => slots[0] = Some(frames),
                    Err(why) => {
                        self.map.end_list(&got);
                        self.free_got(on, taken, &got);
                        return Err(VmallocError::Pages { needed: pages, got: got.pages, why });
                    }
                }
                found = 1;
            }
            if order > Order::ZERO {
                self.map.deposit_list(&mut slots[..found], Use::Kernel, owner, &mut got);
                continue;
            }
            for run in slots[..found].iter_mut().filter_map(Option::take) {
                self.map.deposit_singles(run, Use::Kernel, owner, &mut got);
            }
        }
        self.map.end_list(&got);
        Ok(got)
    }

    pub(super) fn free_got<C: VmContext<'a>>(&self, on: &mut C, taken: &Taken<'v>, got: &DepositedList) {
        on.free(Blocks { map: self.map, at: got.first, owner: Self::owner(taken) });
    }

    /// Maps single pages in their order: the tables that they are in, if they are known.
    #[inline]
    pub(super) fn map_chain<C: VmContext<'a>>(
        &self,
        on: &mut C,
        range: VirtRange,
        request: &VmRequest,
        taken: &Taken<'v>,
        got: &DepositedList,
    ) -> Result<Option<LeafTables>, VmallocError> {
        if let (Some(tables), Some(words)) = (taken.tables, &self.words)
            && request.attr.is_none_or(|attr| attr == words.attr())
            // What was plugged in later may lie above all that there was.
            && u64::from(got.top) < self.frames
        {
            self.map_list(tables, words, range, got)?;
            on.publish();
            return Ok(taken.tables);
        }
        self.map_chain_anew(on, range, request, taken, got)
    }

    /// Maps pages in the order of their list, none of them above what `words` reach.
    #[inline]
    pub(super) fn map_list(
        &self,
        tables: LeafTables,
        words: &PageWords,
        range: VirtRange,
        got: &DepositedList,
    ) -> Result<(), VmallocError> {
        let entries = self.cursor.page_entries(tables, range).map_err(VmallocError::Tables)?;
        let (first, len, start) = self.run;
        let one_section = u64::from(got.bottom) >= first && u64::from(got.top) - first < len;
        let start = start.pfn(self.shift()).get().wrapping_sub(first);
        let mut at = got.first;
        let next = |most: usize| {
            let Some(idx) = at else { return (Pfn::new(0), most) };
            if one_section {
                let (len, behind) = self.map.linked_run(idx, most);
                at = behind;
                (Pfn::new(start.wrapping_add(idx.get().into())), len)
            } else {
                at = self.map.next(idx);
                (self.phys_of(idx).pfn(self.shift()), 1)
            }
        };
        entries.map(words, next).map(drop).map_err(VmallocError::Map)
    }

    #[cold]
    #[inline(never)]
    fn map_chain_anew<C: VmContext<'a>>(
        &self,
        on: &mut C,
        range: VirtRange,
        request: &VmRequest,
        taken: &Taken<'v>,
        got: &DepositedList,
    ) -> Result<Option<LeafTables>, VmallocError> {
        let highest = match &self.words {
            Some(words) if u64::from(got.top) < self.frames => words.highest(),
            _ => core::iter::successors(got.first, |idx| self.map.next(*idx))
                .map(|idx| self.phys_of(idx))
                .max()
                .unwrap_or(PhysAddr::ZERO),
        };
        let mut at = got.first;
        let mut next = || {
            let Some(idx) = at else { return PhysAddr::ZERO };
            at = self.map.next(idx);
            self.phys_of(idx)
        };
        let attr = request.attr.unwrap_or(self.config.attr);
        self.map_each(on, range, attr, highest, request.gfp, &mut next)?;
        Ok(taken.tables.or_else(|| self.cursor.leaf_tables(taken.range)))
    }

    /// Maps pages that `next` names, none above `highest`, with tables that are allocated as `gfp` says.
    pub(super) fn map_each<C: VmContext<'a>>(
        &self,
        on: &mut C,
        range: VirtRange,
        attr: Attr,
        highest: PhysAddr,
        gfp: Gfp,
        next: &mut dyn FnMut() -> PhysAddr,
    ) -> Result<(), VmallocError> {
        let mut part = self.cursor.apart(range).map_err(VmallocError::Tables)?;
        let shared = RefCell::new(on);
        let mut source = Shared { on: &shared, map: self.map, shift: self.shift(), gfp };
        part.map_pages(range, attr, highest, &mut source, next).map_err(VmallocError::Map)?;
        shared.into_inner().publish();
        Ok(())
    }
}

/// How pages are allocated: high memory will do, unless a zone is named.
#[inline]
fn gfp_of(request: &VmRequest) -> Gfp {
    match request.gfp.intersects(Gfp::DMA | Gfp::DMA32) {
        true => request.gfp,
        false => request.gfp | Gfp::HIGHMEM,
    }
}
