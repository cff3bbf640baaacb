//! Areas mapped by blocks, and areas with special pages.

use super::alloc::{Filled, VmRequest};
use super::area::{Life, Record};
use super::get::Taken;
use super::{VmContext, VmFlags, Vmalloc, VmallocError};
use crate::areas::Wanted;
use core::panic::Location;
use pagewright_addr::{Order, VirtAddr, VirtRange};
use pagewright_page::DepositedList;
use pagewright_pagetable::{Attr, Format, Level, MapOptions, TableMemory};
use pagewright_zone::Gfp;

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    /// So many bytes, by blocks where they fit (`vmalloc_huge`): from a block's size on, the size is rounded up to whole blocks. Where there is no
    /// memory in blocks, or no addresses for them, single pages serve.
    ///
    /// # Errors
    /// As for [`Self::vmalloc`].
    #[track_caller]
    pub fn vmalloc_huge<C: VmContext<'a>>(
        &self,
        on: &mut C,
        size: u64,
        gfp: Gfp,
    ) -> Result<VirtAddr, VmallocError> {
        let request = VmRequest::new(size).with_gfp(gfp).with_flags(VmFlags::ALLOW_HUGE_VMAP);
        self.vmalloc_request(on, &request)
    }

    /// So many bytes below 4 GiB (`vmalloc_32`), where [`super::VmallocConfig::below_4g`] says how.
    ///
    /// # Errors
    /// As for [`Self::vmalloc`].
    #[track_caller]
    pub fn vmalloc_32<C: VmContext<'a>>(&self, on: &mut C, size: u64) -> Result<VirtAddr, VmallocError> {
        self.vmalloc_request(on, &VmRequest::new(size).with_gfp(Gfp::GFP_KERNEL | self.config.below_4g))
    }

    /// So many bytes, zeroed, that may be mapped to user space (`vmalloc_user`).
    ///
    /// # Errors
    /// As for [`Self::vmalloc`].
    #[track_caller]
    pub fn vmalloc_user<C: VmContext<'a>>(&self, on: &mut C, size: u64) -> Result<VirtAddr, VmallocError> {
        self.vmalloc_request(on, &self.for_users(size, Gfp::empty()))
    }

    /// The same below 4 GiB (`vmalloc_32_user`).
    ///
    /// # Errors
    /// As for [`Self::vmalloc`].
    #[track_caller]
    pub fn vmalloc_32_user<C: VmContext<'a>>(&self, on: &mut C, size: u64) -> Result<VirtAddr, VmallocError> {
        self.vmalloc_request(on, &self.for_users(size, self.config.below_4g))
    }

    #[track_caller]
    fn for_users(&self, size: u64, zone: Gfp) -> VmRequest {
        VmRequest::new(size)
            .with_gfp(Gfp::GFP_KERNEL | Gfp::ZERO | zone)
            .with_flags(VmFlags::USERMAP)
            .aligned(self.config.shmlba.max(1))
    }

    /// The order of the blocks that a request is mapped by: 0 for single pages.
    pub(super) fn huge_order(&self, request: &VmRequest) -> Order {
        let block = F::SHAPE.level(Level::PMD);
        let nodes = if request.node.is_none() { u64::from(self.config.nodes.max(1)) } else { 1 };
        let fits = self.config.huge
            && block.leaf
            && request.flags.contains(VmFlags::ALLOW_HUGE_VMAP)
            && request.size / nodes >= block.bytes();
        if fits {
            Order::new((block.shift - F::SHAPE.page_shift()) as u8).unwrap_or_default()
        } else {
            Order::ZERO
        }
    }

    /// An area of blocks.
    pub(super) fn make_huge<C: VmContext<'a>>(
        &self,
        on: &mut C,
        request: &VmRequest,
        order: Order,
        caller: &'static Location<'static>,
    ) -> Result<VirtAddr, VmallocError> {
        let block = Self::PAGE << order.get();
        let size = request.size.next_multiple_of(block);
        let guard = if request.flags.contains(VmFlags::NO_GUARD) { 0 } else { Self::PAGE };
        let wanted = Wanted {
            size: size + guard,
            align: request.align.max(block),
            within: request.within.unwrap_or(self.range),
        };
        let taken = self.take(on, &wanted)?;
        let got = match self.fill(on, &taken, request, size / Self::PAGE, order) {
            Ok(got) => got,
            Err(why) => {
                self.give_back(&taken);
                return Err(why);
            }
        };
        let attr = request.attr.unwrap_or(self.config.attr);
        if let Err(why) = self.map_blocks(on, &taken, attr, &got, block, request.gfp) {
            // Some blocks may be mapped: they go as those of any area do.
            let record = Record {
                life: Life::Lazy,
                range: taken.range,
                first: got.first,
                order: order.get(),
                generation: taken.generation,
                ..Record::default()
            };
            *taken.slot.record.lock() = record;
            // Where damaged tables do not even let go of that, the pages may be mapped for good and must stay nobody else's: so does the area.
            let _ = self.retire(on, taken.area, taken.slot, &record.going());
            return Err(why);
        }
        let request = VmRequest { size: size.min(request.size), ..*request };
        self.open(on, &taken, Filled { got: &got, order, tables: None }, &request, caller);
        Ok(taken.range.start)
    }

    fn map_blocks<C: VmContext<'a>>(
        &self,
        on: &mut C,
        taken: &Taken<'v>,
        attr: Attr,
        got: &DepositedList,
        block: u64,
        gfp: Gfp,
    ) -> Result<(), VmallocError> {
        let options = MapOptions { max_leaf: Level::PMD, ..MapOptions::PAGES };
        let (mut at, mut next) = (taken.range.start, got.first);
        while let Some(idx) = next {
            let range = VirtRange { start: at, len: block };
            self.map_run(on, range, self.phys_of(idx), attr, &options, gfp)?;
            at = VirtAddr::new(at.get() + block);
            next = self.map.next(idx);
        }
        Ok(())
    }
}
