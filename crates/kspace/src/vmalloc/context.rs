//! What the vmalloc family asks of a machine: pages, a flush, and who is asking.

use core::cell::RefCell;
use core::fmt;
use pagewright_addr::{NodeId, Order, PageShift, PhysAddr};
use pagewright_page::{FrameIdx, Frames, OwnerHandle, PageMap, Use};
use pagewright_pagetable::{FlushScope, TableSource, TlbFlush};
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{AllocFailure, Context, Hooks, PageAllocator};

/// A machine, on behalf of one task on one CPU that does not change meanwhile.
pub trait VmContext<'a> {
    /// This CPU's number: which of the rows of [`super::VmCpu`] is its own. It is taken modulo their number.
    fn cpu(&self) -> usize;

    /// Allocates a block, near a node if one is named.
    ///
    /// # Errors
    /// The page allocator's.
    fn alloc(&mut self, node: Option<NodeId>, gfp: Gfp, order: Order) -> Result<Frames<'a>, AllocFailure>;

    /// A block that this CPU has in its own lists, if its node is the one that is named: nobody else's, and nothing is done to have one.
    fn alloc_listed(&mut self, _node: Option<NodeId>, _gfp: Gfp, _order: Order) -> Option<Frames<'a>> {
        None
    }

    /// Fills empty slots with single pages from the first on: how many it filled.
    fn alloc_bulk(&mut self, node: Option<NodeId>, gfp: Gfp, slots: &mut [Option<Frames<'a>>]) -> usize;

    /// Fills slots with runs of single pages, at most so many pages in all: how many slots, none if there is no page to be had so.
    fn alloc_runs(
        &mut self,
        node: Option<NodeId>,
        gfp: Gfp,
        pages: u64,
        slots: &mut [Option<Frames<'a>>],
    ) -> usize {
        let most = usize::try_from(pages).unwrap_or(usize::MAX).min(slots.len());
        self.alloc_bulk(node, gfp, &mut slots[..most])
    }

    /// Whether pages that this CPU has at hand may be used again without giving them back in between: nobody watches what is allocated and freed, or
    /// is to be told of it, there is no shortage, and the task may have whatever its CPU has.
    fn keeps_pages(&self) -> bool {
        false
    }

    /// Gives blocks back. Called with locks of the region's held: it does not come back to it.
    fn free(&mut self, frames: impl Iterator<Item = Frames<'a>>);

    /// The node of a frame.
    fn node_of(&self, idx: FrameIdx) -> NodeId;

    /// Makes every CPU's TLB forget the kernel addresses in `scope`, and returns when all have.
    fn flush(&mut self, scope: &FlushScope);

    /// Makes new entries visible to every CPU's table walker ([`TlbFlush::publish`]): called before anybody learns the address.
    fn publish(&mut self) {}

    /// Entries are about to be taken away: of one area, or of all that is mapped in a part of the region. Whoever has a cache that aliases flushes it
    /// ([`super::OnCached`]); others have nothing to do.
    #[inline]
    fn before_unmap(&mut self) {}
}

/// The page allocator in a context, and whoever flushes TLBs.
pub struct OnPages<'c, 'z, 'm, 's, 'a, I, H> {
    /// The allocator.
    pub allocator: &'c PageAllocator<'z, 'm, 's, 'a, I, H>,
    /// On whose behalf.
    pub context: &'c Context<'c, 'm, 'a>,
    /// This CPU's number.
    pub cpu: usize,
    /// Reaches every CPU.
    pub tlb: &'c mut dyn TlbFlush,
}

impl<I, H> fmt::Debug for OnPages<'_, '_, '_, '_, '_, I, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnPages").field("cpu", &self.cpu).finish_non_exhaustive()
    }
}

impl<'a, I: Interrupts, H: Hooks> VmContext<'a> for OnPages<'_, '_, '_, '_, 'a, I, H> {
    #[inline]
    fn cpu(&self) -> usize {
        self.cpu
    }

    #[inline]
    fn alloc(&mut self, node: Option<NodeId>, gfp: Gfp, order: Order) -> Result<Frames<'a>, AllocFailure> {
        let found = match node {
            None => self.allocator.alloc_pages(self.context, gfp, order),
            Some(node) => self.allocator.alloc_pages_node(self.context, node, gfp, order),
        };
        match found {
            // Where nobody reaches high memory to zero it, low memory will do as well.
            Err(AllocFailure::NotZeroed { .. }) if gfp.contains(Gfp::HIGHMEM) => {
                self.alloc(node, gfp - Gfp::HIGHMEM, order)
            }
            found => found,
        }
    }

    #[inline]
    fn alloc_listed(&mut self, node: Option<NodeId>, gfp: Gfp, order: Order) -> Option<Frames<'a>> {
        if node.is_some_and(|node| node != self.context.node) {
            return None;
        }
        self.allocator.alloc_listed(self.context, gfp, order)
    }

    #[inline]
    fn alloc_bulk(&mut self, node: Option<NodeId>, gfp: Gfp, slots: &mut [Option<Frames<'a>>]) -> usize {
        match node {
            None => self.allocator.alloc_pages_bulk(self.context, gfp, slots),
            Some(node) => self.allocator.alloc_pages_bulk_nodemask(self.context, node, None, gfp, slots),
        }
    }

    #[inline]
    fn alloc_runs(
        &mut self,
        node: Option<NodeId>,
        gfp: Gfp,
        pages: u64,
        slots: &mut [Option<Frames<'a>>],
    ) -> usize {
        let near = node.unwrap_or(self.context.node);
        match self.allocator.alloc_pages_runs(self.context, near, gfp, pages, slots) {
            0 => {
                let most = usize::try_from(pages).unwrap_or(usize::MAX).min(slots.len());
                self.alloc_bulk(node, gfp, &mut slots[..most])
            }
            found => found,
        }
    }

    #[inline]
    fn keeps_pages(&self) -> bool {
        self.context.is_quiet()
    }

    #[inline]
    fn free(&mut self, frames: impl Iterator<Item = Frames<'a>>) {
        self.allocator.free_pages_bulk(self.context, frames);
    }

    fn node_of(&self, idx: FrameIdx) -> NodeId {
        self.allocator.node_of(idx).unwrap_or_default()
    }

    fn flush(&mut self, scope: &FlushScope) {
        self.tlb.flush(scope);
    }

    #[inline]
    fn publish(&mut self) {
        self.tlb.publish();
    }
}

/// Whom the page tables of kernel addresses belong to.
pub(super) const KERNEL_TABLES: OwnerHandle = match OwnerHandle::new((1 << OwnerHandle::INDEX_BITS) - 2, 1) {
    Some(owner) => owner,
    None => OwnerHandle::NONE,
};

/// A context as a source of tables and as who flushes, both at once.
pub(super) struct Shared<'r, 'c, 'a, C> {
    pub(super) on: &'r RefCell<&'c mut C>,
    pub(super) map: PageMap<'a>,
    pub(super) shift: PageShift,
    /// Whose tables these are asked for: his ways to reclaim are theirs, his zones and zeroes are not.
    pub(super) gfp: Gfp,
}

impl<'a, C: VmContext<'a>> TableSource for Shared<'_, '_, 'a, C> {
    /// A page that the page map calls a page table's (`pte_alloc_one_kernel`).
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        let gfp = self.gfp.intersection(Gfp::RECLAIM_MASK);
        let frames = self.on.borrow_mut().alloc(None, gfp, Order::ZERO).ok()?;
        let idx = self.map.deposit(frames, Use::PageTable, KERNEL_TABLES);
        Some(self.map.pfn(idx).phys(self.shift))
    }

    fn free_table(&mut self, page: PhysAddr) {
        // Tables that the boot made are none of the page allocator's, and stay.
        let Some(idx) = self.map.idx(page.pfn(self.shift)) else { return };
        if self.map.state(idx) == pagewright_page::State::PageTable && self.map.owner(idx) == KERNEL_TABLES {
            let frames = self.map.withdraw(idx, Use::PageTable, KERNEL_TABLES);
            self.on.borrow_mut().free(core::iter::once(frames));
        }
    }
}

impl<'a, C: VmContext<'a>> TlbFlush for Shared<'_, '_, 'a, C> {
    fn flush(&mut self, scope: &FlushScope) {
        self.on.borrow_mut().flush(scope);
    }
}
