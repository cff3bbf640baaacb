//! Pages by number, for those who keep numbers or addresses instead of tokens (`__get_free_pages` and its relatives).
//!
//! Such a block is deposited in the page map as [`Use::Kernel`] while it is out. Whoever goes by numbers can be wrong, so every way back
//! checks everything first, and refuses by name ([`BadFree`]).

use super::{AllocFailure, Context, Hooks, PageAllocator};
use crate::debug::bad_free::check;
use crate::debug::{BadFree, Trouble};
use crate::gfp::Gfp;
use pagewright_addr::{NodeId, Order, Pfn};
use pagewright_page::{FrameIdx, Frames, OwnerHandle, State, Use};
use pagewright_platform::Interrupts;

impl<'m, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, '_, 'a, I, H> {
    /// Allocates a block that is known by its number only (`alloc_pages`, where Linux returns its `struct page`); with `__GFP_COMP`
    /// a compound page.
    ///
    /// # Errors
    /// As for [`Self::alloc_pages`].
    #[track_caller]
    pub fn get_free_pages(
        &self,
        cx: &Context<'_, 'm, 'a>,
        gfp: Gfp,
        order: Order,
    ) -> Result<Pfn, AllocFailure> {
        Ok(self.lodge(self.alloc_pages(cx, gfp, order)?))
    }

    /// The same near a node (`alloc_pages_node`).
    ///
    /// # Errors
    /// As for [`Self::alloc_pages`].
    #[track_caller]
    pub fn get_free_pages_node(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        gfp: Gfp,
        order: Order,
    ) -> Result<Pfn, AllocFailure> {
        Ok(self.lodge(self.alloc_pages_node(cx, nid, gfp, order)?))
    }

    /// One zeroed page (`get_zeroed_page`).
    ///
    /// # Errors
    /// As for [`Self::alloc_pages`].
    #[track_caller]
    pub fn get_zeroed_page(&self, cx: &Context<'_, 'm, 'a>, gfp: Gfp) -> Result<Pfn, AllocFailure> {
        self.get_free_pages(cx, gfp | Gfp::ZERO, Order::ZERO)
    }

    /// A block that devices with short addresses reach (`__get_dma_pages`).
    ///
    /// # Errors
    /// As for [`Self::alloc_pages`].
    #[track_caller]
    pub fn get_dma_pages(
        &self,
        cx: &Context<'_, 'm, 'a>,
        gfp: Gfp,
        order: Order,
    ) -> Result<Pfn, AllocFailure> {
        self.get_free_pages(cx, gfp | Gfp::DMA, order)
    }

    /// Exactly so many single pages in a row, by the first one's number (`alloc_pages_exact`). Each may be freed by itself.
    ///
    /// # Errors
    /// As for [`Self::alloc_pages_exact`].
    #[track_caller]
    pub fn get_free_pages_exact(
        &self,
        cx: &Context<'_, 'm, 'a>,
        gfp: Gfp,
        pages: u64,
    ) -> Result<Pfn, AllocFailure> {
        let frames = self.alloc_pages_exact(cx, gfp, pages)?;
        let pfn = self.ground.map.pfn(frames.start());
        self.lodge_singly(frames);
        Ok(pfn)
    }

    /// The same near a node (`alloc_pages_exact_nid`).
    ///
    /// # Errors
    /// As for [`Self::alloc_pages_exact`].
    #[track_caller]
    pub fn get_free_pages_exact_nid(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        gfp: Gfp,
        pages: u64,
    ) -> Result<Pfn, AllocFailure> {
        let frames = self.alloc_pages_exact_nid(cx, nid, gfp, pages)?;
        let pfn = self.ground.map.pfn(frames.start());
        self.lodge_singly(frames);
        Ok(pfn)
    }

    /// Fills numbers with single pages as [`Self::alloc_pages_bulk`] does, those that are `None`; `batch` is how it goes at once, any
    /// length, best 16 or more.
    #[track_caller]
    pub fn get_free_pages_bulk(
        &self,
        cx: &Context<'_, 'm, 'a>,
        gfp: Gfp,
        batch: &mut [Option<Frames<'a>>],
        numbers: &mut [Option<Pfn>],
    ) -> usize {
        let mut at = 0;
        loop {
            at += numbers[at..].iter().take_while(|number| number.is_some()).count();
            let gap = numbers[at..].iter().take(batch.len()).take_while(|number| number.is_none()).count();
            if gap == 0 {
                return at;
            }
            let found = self.alloc_pages_bulk(cx, gfp, &mut batch[..gap]);
            for (number, slot) in numbers[at..].iter_mut().zip(&mut batch[..found]) {
                *number = slot.take().map(|page| self.lodge(page));
            }
            if found < gap {
                return at + found;
            }
        }
    }

    /// Gives a block back (`__free_pages`).
    ///
    /// # Errors
    /// [`BadFree`] names what is wrong, and nothing has changed. With debugging on its observer is told.
    pub fn free_pages_at(&self, cx: &Context<'_, 'm, 'a>, pfn: Pfn, order: Order) -> Result<(), BadFree> {
        let idx = self.checked(pfn, order)?;
        self.free_pages(cx, self.recall(idx));
        Ok(())
    }

    /// Gives single pages in a row back (`free_pages_exact`).
    ///
    /// # Errors
    /// As for [`Self::free_pages_at`]: if one of them is not to be freed, none is.
    pub fn free_pages_exact_at(&self, cx: &Context<'_, 'm, 'a>, pfn: Pfn, pages: u64) -> Result<(), BadFree> {
        let all = || (0..pages).map(|n| Pfn::new(pfn.get().saturating_add(n)));
        all().try_for_each(|pfn| self.checked(pfn, Order::ZERO).map(drop))?;
        // Nobody else frees pages of another's block meanwhile; who does is told so.
        all().try_for_each(|pfn| self.free_pages_at(cx, pfn, Order::ZERO))
    }

    /// Makes a block single pages, each of which is freed by itself (`split_page`).
    ///
    /// # Errors
    /// [`BadFree`], for what could not be freed either, and for a compound page.
    pub fn split_page_at(&self, cx: &Context<'_, 'm, 'a>, pfn: Pfn, order: Order) -> Result<(), BadFree> {
        let idx = self.checked(pfn, order)?;
        if self.ground.map.is_head(idx) {
            return Err(self.tell(BadFree::Compound(pfn, order)));
        }
        let frames = self.recall(idx);
        self.note_split(cx, &frames);
        self.lodge_singly(frames);
        Ok(())
    }

    /// Takes a reference to a page, of a compound page to the whole (`get_page`); how many there are now.
    ///
    /// # Errors
    /// [`BadFree`] if the page is not one that was allocated by number, or inside a block that is not compound.
    pub fn get_page(&self, pfn: Pfn) -> Result<u32, BadFree> {
        let map = &self.ground.map;
        let head = map.compound_head(map.idx(pfn).ok_or(BadFree::NoFrame(pfn))?);
        let word = map.word(head);
        if word.is(State::Kernel)
            && let Some(now) = map.try_take_reference(head)
        {
            return Ok(now);
        }
        // What is free or inside a block has a name by which it is not freed either.
        Err(self.tell(check(map, map.pfn(head), word.order()).err().unwrap_or(BadFree::NotByNumber(pfn))))
    }

    /// Gives a reference back, of a compound page to the whole, and with the last one the page (`put_page`); whether it was the last.
    ///
    /// # Errors
    /// As for [`Self::free_pages_at`]. A block that is not compound is not freed so, but for a single page: its number does not
    /// tell how long it is.
    pub fn put_page(&self, cx: &Context<'_, 'm, 'a>, pfn: Pfn) -> Result<bool, BadFree> {
        let map = &self.ground.map;
        let head = map.compound_head(map.idx(pfn).ok_or(BadFree::NoFrame(pfn))?);
        if map.word(head).is(State::Kernel) && map.try_drop_reference(head).is_some() {
            return Ok(false);
        }
        self.free_pages_at(cx, map.pfn(head), map.compound_order(head)).map(|()| true)
    }

    /// Checks that a block may be freed, and tells whoever wants to know if not.
    fn checked(&self, pfn: Pfn, order: Order) -> Result<FrameIdx, BadFree> {
        let look = || check(&self.ground.map, pfn, order);
        // Pages that wait to be merged do not look free yet.
        let again = |_| {
            self.zones.iter().for_each(|cell| self.settle_waiting(cell));
            look()
        };
        look().or_else(again).map_err(|e| self.tell(e))
    }

    fn tell(&self, e: BadFree) -> BadFree {
        if let Some(debugging) = self.debugging() {
            debugging.tell(Trouble::BadFree(e));
        }
        e
    }

    /// Gives a token up for its number.
    fn lodge(&self, frames: Frames<'a>) -> Pfn {
        self.ground.map.pfn(self.ground.map.deposit(frames, Use::Kernel, OwnerHandle::default()))
    }

    /// The same page by page.
    fn lodge_singly(&self, frames: Frames<'a>) {
        let mut rest = Some(frames);
        while let Some(frames) = rest {
            let (page, later) = self.ground.map.split_front(frames, 1);
            self.lodge(page);
            rest = later;
        }
    }

    fn recall(&self, idx: FrameIdx) -> Frames<'a> {
        self.ground.map.withdraw(idx, Use::Kernel, OwnerHandle::default())
    }
}
