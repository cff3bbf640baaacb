//! As many pages as are needed, and not the next power of two (`alloc_pages_exact`, `split_page`).

use super::{AllocFailure, Context, Hooks, PageAllocator, Step};
use crate::gfp::{Gfp, GfpWarning};
use pagewright_addr::{NodeId, Order};
use pagewright_page::Frames;
use pagewright_platform::Interrupts;

/// What makes no sense for pages that are freed one by one and have a linear address.
const NOT_EXACT: Gfp = Gfp::COMP.union(Gfp::HIGHMEM);

/// The order of the smallest block with so many frames (get_order).
pub(super) fn order_for(pages: u64) -> Option<Order> {
    Order::new(u8::try_from(pages.checked_next_power_of_two()?.ilog2()).ok()?).filter(|_| pages > 0)
}

impl<'m, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, '_, 'a, I, H> {
    /// Allocates exactly so many frames in a row (`alloc_pages_exact`, but in pages): the smallest block that is large enough, whose
    /// rest is given back at once. They are single pages, so [`Self::free_pages`] takes them whole or in parts.
    ///
    /// `__GFP_COMP` and `__GFP_HIGHMEM` are ignored with a warning ([`GfpWarning::Exact`]).
    ///
    /// # Errors
    /// As for [`Self::alloc_pages`]; no pages at all, or more than any block has, are [`AllocFailure::TooLarge`].
    #[track_caller]
    pub fn alloc_pages_exact(
        &self,
        cx: &Context<'_, 'm, 'a>,
        gfp: Gfp,
        pages: u64,
    ) -> Result<Frames<'a>, AllocFailure> {
        let (order, gfp) = self.exact(gfp, pages)?;
        let block = self.alloc_pages(cx, gfp, order)?;
        Ok(self.keep_front(cx, block, pages))
    }

    /// The same near a node (`alloc_pages_exact_nid`).
    ///
    /// # Errors
    /// As for [`Self::alloc_pages_exact`].
    #[track_caller]
    pub fn alloc_pages_exact_nid(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        gfp: Gfp,
        pages: u64,
    ) -> Result<Frames<'a>, AllocFailure> {
        let (order, gfp) = self.exact(gfp, pages)?;
        let block = self.alloc_pages_node(cx, nid, gfp, order)?;
        Ok(self.keep_front(cx, block, pages))
    }

    /// Makes a block single pages, one in each slot (`split_page`); what lies in the slots is dropped.
    ///
    /// # Panics
    /// If there are more slots or fewer than frames, or the frames are a compound page or of another machine.
    #[track_caller]
    pub fn split_page(&self, cx: &Context<'_, 'm, 'a>, frames: Frames<'a>, slots: &mut [Option<Frames<'a>>]) {
        self.note_split(cx, &frames);
        self.ground.map.split_into(frames, slots);
    }

    /// Remembers that frames are no longer one block.
    pub(super) fn note_split(&self, cx: &Context<'_, 'm, 'a>, frames: &Frames<'a>) {
        if let Some(debugging) = self.debugging_now(cx) {
            debugging.split(frames);
        }
    }

    /// The order of the smallest block with so many frames, if there are such blocks.
    pub(super) fn block_for(&self, pages: u64) -> Result<Order, AllocFailure> {
        let largest = self.ground.largest;
        order_for(pages).filter(|&order| order <= largest).ok_or_else(|| {
            let order = order_for(pages).or(Order::new(Order::LIMIT as u8 - 1)).unwrap_or_default();
            AllocFailure::TooLarge { order, largest }
        })
    }

    fn exact(&self, gfp: Gfp, pages: u64) -> Result<(Order, Gfp), AllocFailure> {
        let order = self.block_for(pages)?;
        if gfp.intersects(NOT_EXACT) {
            self.hooks.step(Step::Warn(GfpWarning::Exact));
        }
        Ok((order, gfp - NOT_EXACT))
    }

    /// The first frames of a block; the others go back.
    fn keep_front(&self, cx: &Context<'_, 'm, 'a>, block: Frames<'a>, pages: u64) -> Frames<'a> {
        self.note_split(cx, &block);
        let (front, tail) = self.ground.map.split_front(block, pages);
        if let Some(tail) = tail {
            self.free_pages(cx, tail);
        }
        front
    }
}
