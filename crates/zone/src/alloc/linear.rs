//! Pages by their address in the linear map (`__get_free_pages`, `free_pages`).
//!
//! High memory has no such address, so no mask gets any here: `__GFP_HIGHMEM` is dropped, as Linux drops it.

use super::{AllocFailure, Context, Hooks, PageAllocator};
use crate::debug::BadFree;
use crate::gfp::Gfp;
use pagewright_addr::{NodeId, Order, PageShift, Pfn, VirtAddr};
use pagewright_page::model::PhysToVirt;
use pagewright_platform::Interrupts;

/// The page allocator as those see it who know pages by address.
pub struct LinearPages<'p, 'z, 'm, 's, 'a, I, H> {
    pages: &'p PageAllocator<'z, 'm, 's, 'a, I, H>,
    map: PhysToVirt,
    shift: PageShift,
}

impl<'z, 'm, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'z, 'm, 's, 'a, I, H> {
    /// Pages by address, where the linear map shows memory so.
    pub const fn by_address(
        &self,
        map: PhysToVirt,
        shift: PageShift,
    ) -> LinearPages<'_, 'z, 'm, 's, 'a, I, H> {
        LinearPages { pages: self, map, shift }
    }
}

impl<'m, 'a, I: Interrupts, H: Hooks> LinearPages<'_, '_, 'm, '_, 'a, I, H> {
    /// Where a page is (`page_to_virt`, `page_address`).
    pub const fn address_of(&self, pfn: Pfn) -> VirtAddr {
        self.map.virt(pfn.phys(self.shift))
    }

    /// The page at an address (`virt_to_page`).
    pub const fn page_at(&self, at: VirtAddr) -> Pfn {
        self.map.phys(at).pfn(self.shift)
    }

    /// A block (`__get_free_pages`).
    ///
    /// # Errors
    /// As for [`PageAllocator::alloc_pages`].
    #[track_caller]
    pub fn get_free_pages(
        &self,
        cx: &Context<'_, 'm, 'a>,
        gfp: Gfp,
        order: Order,
    ) -> Result<VirtAddr, AllocFailure> {
        self.pages.get_free_pages(cx, gfp - Gfp::HIGHMEM, order).map(|pfn| self.address_of(pfn))
    }

    /// The same near a node (`page_address(alloc_pages_node(...))`).
    ///
    /// # Errors
    /// As for [`PageAllocator::alloc_pages`].
    #[track_caller]
    pub fn get_free_pages_node(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        gfp: Gfp,
        order: Order,
    ) -> Result<VirtAddr, AllocFailure> {
        let found = self.pages.get_free_pages_node(cx, nid, gfp - Gfp::HIGHMEM, order);
        found.map(|pfn| self.address_of(pfn))
    }

    /// One zeroed page (`get_zeroed_page`).
    ///
    /// # Errors
    /// As for [`PageAllocator::alloc_pages`].
    #[track_caller]
    pub fn get_zeroed_page(&self, cx: &Context<'_, 'm, 'a>, gfp: Gfp) -> Result<VirtAddr, AllocFailure> {
        self.get_free_pages(cx, gfp | Gfp::ZERO, Order::ZERO)
    }

    /// A block that devices with short addresses reach (`__get_dma_pages`).
    ///
    /// # Errors
    /// As for [`PageAllocator::alloc_pages`].
    #[track_caller]
    pub fn get_dma_pages(
        &self,
        cx: &Context<'_, 'm, 'a>,
        gfp: Gfp,
        order: Order,
    ) -> Result<VirtAddr, AllocFailure> {
        self.get_free_pages(cx, gfp | Gfp::DMA, order)
    }

    /// Room for so many bytes and no page more than it takes (`alloc_pages_exact`).
    ///
    /// # Errors
    /// As for [`PageAllocator::alloc_pages_exact`].
    #[track_caller]
    pub fn alloc_pages_exact(
        &self,
        cx: &Context<'_, 'm, 'a>,
        len_bytes: u64,
        gfp: Gfp,
    ) -> Result<VirtAddr, AllocFailure> {
        let pages = self.shift.pages_for(len_bytes);
        self.pages.get_free_pages_exact(cx, gfp, pages).map(|pfn| self.address_of(pfn))
    }

    /// Gives a block back (`free_pages`); address 0 is nothing.
    ///
    /// # Errors
    /// As for [`PageAllocator::free_pages_at`].
    pub fn free_pages(&self, cx: &Context<'_, 'm, 'a>, at: VirtAddr, order: Order) -> Result<(), BadFree> {
        if at == VirtAddr::ZERO {
            return Ok(());
        }
        self.pages.free_pages_at(cx, self.page_at(at), order)
    }

    /// Gives back what [`Self::alloc_pages_exact`] gave (`free_pages_exact`).
    ///
    /// # Errors
    /// As for [`PageAllocator::free_pages_exact_at`].
    pub fn free_pages_exact(
        &self,
        cx: &Context<'_, 'm, 'a>,
        at: VirtAddr,
        len_bytes: u64,
    ) -> Result<(), BadFree> {
        self.pages.free_pages_exact_at(cx, self.page_at(at), self.shift.pages_for(len_bytes))
    }
}
