//! An area's pages on their way back to the page allocator.

use super::{VmContext, Vmalloc};
use pagewright_addr::Order;
use pagewright_page::{FrameIdx, Frames, OwnerHandle, PageMap, Use};
use pagewright_pagetable::{Format, TableMemory};
use pagewright_zone::alloc::pcp::COSTLY_ORDER;

/// An area of so many pages at most takes them from its CPU's lists in blocks, and gives them back there: larger ones would empty the lists and fill them.
pub(super) const LISTED: u64 = 32;

/// The largest block of at most so many pages that a CPU's lists have.
#[inline]
pub(super) fn listed_order(pages: u64) -> Order {
    let order = pages.max(1).ilog2().min(u32::from(COSTLY_ORDER));
    Order::new(order as u8).unwrap_or_default()
}

impl<'a, F: Format, M: TableMemory> Vmalloc<'_, 'a, F, M> {
    /// Gives an area's pages back, so many, the first of them at `at`: those of a small one to this CPU's lists.
    #[inline]
    pub(super) fn free_pages<C: VmContext<'a>>(
        &self,
        on: &mut C,
        at: Option<FrameIdx>,
        owner: OwnerHandle,
        pages: u32,
    ) {
        let Some(first) = at else { return };
        if pages == 1 {
            return on.free(core::iter::once(self.map.withdraw(first, Use::Kernel, owner)));
        }
        let blocks = Blocks { map: self.map, at, owner };
        if u64::from(pages) <= LISTED {
            on.free(Listed { blocks, rest: None });
        } else {
            on.free(blocks);
        }
    }
}

/// The blocks of an area, each taken back as it is asked for: pages that follow each other at once.
pub(super) struct Blocks<'a> {
    pub(super) map: PageMap<'a>,
    pub(super) at: Option<FrameIdx>,
    pub(super) owner: OwnerHandle,
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Frames<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frames<'a>> {
        let (frames, next) = self.map.withdraw_run(self.at?, Use::Kernel, self.owner);
        self.at = next;
        Some(frames)
    }
}

/// The same, cut into blocks that CPUs have lists of.
struct Listed<'a> {
    blocks: Blocks<'a>,
    rest: Option<Frames<'a>>,
}

impl<'a> Iterator for Listed<'a> {
    type Item = Frames<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frames<'a>> {
        let frames = match self.rest.take() {
            Some(rest) => rest,
            None => self.blocks.next()?,
        };
        let aligned = frames.start().get().trailing_zeros().min(u32::from(COSTLY_ORDER));
        let pages = listed_order(frames.len()).pages().min(1 << aligned);
        let (block, rest) = self.blocks.map.split_front(frames, pages);
        self.rest = rest;
        Some(block)
    }
}
