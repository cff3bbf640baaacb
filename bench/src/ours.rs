//! Our page allocator, as what others are compared with drives it.

use crate::loops::Source;
use pagewright_addr::Order;
use pagewright_page::Frames;
use pagewright_sim::pages::Pages;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{Context, NoHooks};

/// The page allocator as one CPU.
pub struct Ours<'x, 'y, 'm, 's, 'a> {
    /// The machine.
    pub pages: &'x Pages<'y, 'm, 's, 'a, NoHooks>,
    /// The CPU.
    pub cx: Context<'x, 'm, 'a>,
}

impl<'a> Source for Ours<'_, '_, '_, '_, 'a> {
    type Block = Frames<'a>;

    #[inline]
    fn get(&mut self, order: u8) -> Option<Frames<'a>> {
        let order = Order::new(order)?;
        self.pages.allocator.alloc_pages(&self.cx, Gfp::GFP_KERNEL, order).ok()
    }

    #[inline]
    fn put(&mut self, block: Frames<'a>, _order: u8) {
        self.pages.allocator.free_pages(&self.cx, block);
    }
}
