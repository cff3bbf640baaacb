//! Memory for devices that cannot gather it: which area it comes from (`dma_alloc_contiguous`).

use super::super::exact::order_for;
use super::super::migrate::Migrate;
use super::super::{AllocFailure, Context, Hooks, PageAllocator};
use super::CmaArea;
use crate::gfp::Gfp;
use pagewright_addr::{NodeId, Order};
use pagewright_page::Frames;
use pagewright_platform::Interrupts;

/// The largest alignment of such memory, as an order (CONFIG_CMA_ALIGNMENT).
pub const CONFIG_CMA_ALIGNMENT: u8 = 8;

/// The areas that a device's memory may come from.
#[derive(Clone, Copy, Debug, Default)]
pub struct DmaAreas<'q, 'n> {
    /// The device's own: its `memory-region` in a device tree, or what its driver declared.
    pub device: Option<&'q CmaArea<'n>>,
    /// Those of each node (`cma_pernuma=`).
    pub per_node: &'q [Option<&'q CmaArea<'n>>],
    /// The default area (`cma=`).
    pub default: Option<&'q CmaArea<'n>>,
}

impl<'q, 'n> DmaAreas<'q, 'n> {
    /// The areas that a request is served from, in the order in which they are tried. None at all for a caller that cannot wait; a device with an area of its own
    /// uses no other; and a single page is not worth the default area's while.
    pub fn choice(
        &self,
        nid: Option<NodeId>,
        pages: u64,
        gfp: Gfp,
    ) -> impl Iterator<Item = &'q CmaArea<'n>> + use<'q, 'n> {
        let own = self.device;
        let shared = own.is_none() && pages > 1;
        // A node's area may lie anywhere, so not for devices with few address bits.
        let low = gfp.intersects(Gfp::DMA | Gfp::DMA32);
        let node = nid.filter(|_| shared && !low).and_then(|nid| *self.per_node.get(nid.index())?);
        let tried = [own, node, self.default.filter(|_| shared)];
        tried.into_iter().flatten().filter(move |_| gfp.may_block())
    }

    fn all(&self) -> impl Iterator<Item = &'q CmaArea<'n>> + use<'q, 'n> {
        [self.device, self.default].into_iter().chain(self.per_node.iter().copied()).flatten()
    }
}

impl<'m, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, '_, 'a, I, H> {
    /// Allocates contiguous pages from the areas that are right for a device (`dma_alloc_contiguous`), aligned as a block
    /// of that size would be, up to [`CONFIG_CMA_ALIGNMENT`]. `None` if there is no such area or it has none.
    pub fn dma_alloc_contiguous(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        areas: &DmaAreas<'_, '_>,
        nid: Option<NodeId>,
        (pages, gfp): (u64, Gfp),
    ) -> Option<Frames<'a>> {
        let most = Order::new(CONFIG_CMA_ALIGNMENT)?;
        let align = order_for(pages).map_or(most, |order| order.min(most));
        let request = (pages, align, gfp.contains(Gfp::NOWARN));
        areas.choice(nid, pages, gfp).find_map(|area| self.cma_alloc(cx, mover, area, request).ok())
    }

    /// The same, and pages from the page allocator where no area serves (`dma_direct_alloc_pages`): a whole block, whose unneeded rest
    /// stays with it.
    ///
    /// # Errors
    /// The page allocator's; [`AllocFailure::TooLarge`] for more pages than any block has, and for none.
    pub fn dma_alloc_pages(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        areas: &DmaAreas<'_, '_>,
        nid: Option<NodeId>,
        (pages, gfp): (u64, Gfp),
    ) -> Result<Frames<'a>, AllocFailure> {
        if let Some(frames) = self.dma_alloc_contiguous(cx, mover, areas, nid, (pages, gfp)) {
            return Ok(frames);
        }
        let order = self.block_for(pages)?;
        self.alloc_pages_node(cx, nid.unwrap_or(cx.node), gfp, order)
    }

    /// Frees what either of them gave (`dma_free_contiguous`): to the area that it lies in, or to the page allocator.
    pub fn dma_free_contiguous(
        &self,
        cx: &Context<'_, 'm, 'a>,
        areas: &DmaAreas<'_, '_>,
        frames: Frames<'a>,
    ) {
        let mut frames = frames;
        for area in areas.all() {
            match self.cma_release(cx, area, frames) {
                Ok(()) => return,
                Err(others) => frames = others,
            }
        }
        self.free_pages(cx, frames);
    }
}
