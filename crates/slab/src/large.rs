//! Memory that no cache serves: blocks of pages of their own, and no bytes at all. All designs have these alike.

use crate::account::SlabCounters;
use crate::memory::{PageSource, SlabMemory};
use crate::slabs::SlabError;
use core::ptr::NonNull;
use pagewright_addr::{NodeId, Order, PageShift};
use pagewright_page::{FrameIdx, OwnerHandle, PageMap, State, Use};
use pagewright_zone::Gfp;

/// Where memory of no bytes lies (ZERO_SIZE_PTR): nowhere, but not at 0.
pub(crate) const NO_BYTES: usize = 16;
/// The owner of such blocks. No cache has this place.
const LARGE: OwnerHandle = OwnerHandle::new((1 << OwnerHandle::INDEX_BITS) - 1, 1).expect("in range");

/// Blocks of pages in one machine's memory.
pub(crate) struct Large<'s, 'a, M> {
    pub(crate) map: &'s PageMap<'a>,
    pub(crate) memory: &'s M,
    pub(crate) account: &'s SlabCounters,
    pub(crate) page_shift: PageShift,
    /// The page allocator's largest order.
    pub(crate) largest: Order,
}

impl<'a, M: SlabMemory> Large<'_, 'a, M> {
    /// Memory that no class has (`kmalloc_large`): none, or a block, of which `may` is asked before.
    #[cold]
    #[inline(never)]
    pub(crate) fn kmalloc(
        &self,
        pages: &dyn PageSource<'a>,
        bytes: usize,
        (gfp, node): (Gfp, Option<NodeId>),
        may: impl FnOnce() -> Result<(), SlabError>,
    ) -> Result<NonNull<u8>, SlabError> {
        if bytes == 0 {
            return NonNull::new(core::ptr::without_provenance_mut(NO_BYTES)).ok_or(SlabError::NoMemory);
        }
        may()?;
        self.alloc(pages, bytes, gfp, node)
    }

    /// A block that holds so many bytes, of which there is at least one.
    pub(crate) fn alloc(
        &self,
        pages: &dyn PageSource<'a>,
        bytes: usize,
        gfp: Gfp,
        node: Option<NodeId>,
    ) -> Result<NonNull<u8>, SlabError> {
        let count = self.page_shift.pages_for(bytes as u64).next_power_of_two();
        let order = Order::new(count.trailing_zeros() as u8).filter(|&order| order <= self.largest);
        let order = order.ok_or(SlabError::TooLarge)?;
        let placed = gfp - (Gfp::ZERO | Gfp::HIGHMEM | Gfp::DMA32 | Gfp::MOVABLE | Gfp::COMP);
        let frames = pages.alloc(node, placed, order).ok_or(SlabError::NoMemory)?;
        let Some(address) = self.memory.address(frames.start()) else {
            pages.free(frames);
            return Err(SlabError::NoMemory);
        };
        self.account.add(pages.node_of(frames.start()), false, frames.len());
        self.map.deposit(frames, Use::Kernel, LARGE);
        let memory = NonNull::new(self.memory.pointer(address)).ok_or(SlabError::NoMemory)?;
        if gfp.contains(Gfp::ZERO) {
            // SAFETY: a block of so many bytes that was just allocated.
            unsafe { memory.write_bytes(0, self.bytes_of(order)) };
        }
        Ok(memory)
    }

    /// The block that an address is the first byte of.
    pub(crate) fn block(&self, address: usize) -> Option<(FrameIdx, Order)> {
        let idx = FrameIdx::from_usize(self.memory.frame_of(address))?;
        if idx.index() as u64 >= self.map.len() {
            return None;
        }
        let word = self.map.word(idx);
        let ours = word.is(State::Kernel) && self.map.owner(idx) == LARGE;
        (ours && self.memory.address(idx) == Some(address)).then(|| (idx, word.order()))
    }

    /// The bytes of the block that an address is the first byte of.
    pub(crate) fn size(&self, address: usize) -> Option<usize> {
        self.block(address).map(|(_, order)| self.bytes_of(order))
    }

    /// The block that an address lies in: where it begins, and its bytes. Blocks lie at multiples of their size.
    pub(crate) fn around(&self, address: usize) -> Option<(usize, usize)> {
        let orders = (0..=self.largest.get()).filter_map(Order::new);
        orders.map(|order| (order, address & !(self.bytes_of(order) - 1))).find_map(|(order, start)| {
            let (_, found) = self.block(start)?;
            (found == order).then(|| (start, self.bytes_of(order)))
        })
    }

    /// Gives a block back by the address of its first byte, or nothing that has no bytes; whether it was either.
    pub(crate) fn free(&self, pages: &dyn PageSource<'a>, address: usize) -> bool {
        if address == NO_BYTES {
            return true;
        }
        let Some((idx, _)) = self.block(address) else { return false };
        let frames = self.map.withdraw(idx, Use::Kernel, LARGE);
        self.account.sub(pages.node_of(idx), false, frames.len());
        pages.free(frames);
        true
    }

    fn bytes_of(&self, order: Order) -> usize {
        (self.page_shift.bytes() << order.get()) as usize
    }
}
