//! What the page allocator of an image asks for: zeroed pages.

use pagewright_addr::PageShift;
use pagewright_page::{Frames, PageMap};
use pagewright_platform::DirectMap;
use pagewright_zone::alloc::{Hooks, NotZeroed};

/// Zeroes pages through the direct map; makes no memory when there is none.
#[derive(Debug)]
pub struct Zeroing {
    /// The map that the tokens are of.
    pub map: PageMap<'static>,
    /// Its RAM.
    pub ram: DirectMap,
    /// The page size.
    pub page_shift: PageShift,
}

impl Hooks for Zeroing {
    fn zero(&self, frames: &Frames<'_>) -> Result<(), NotZeroed> {
        let shift = self.page_shift.get();
        // High memory is reached through mappings of its own, frame by frame, which an image does not have.
        let first =
            self.ram.pointer(self.map.pfn(frames.start()).phys(self.page_shift), frames.len() << shift);
        let first = first.ok_or(NotZeroed)?;
        // SAFETY: the allocator has just made the token and lends it to nobody else before this returns; the direct map has all of the
        // block as memory that may be written.
        unsafe { first.as_ptr().write_bytes(0, (frames.len() << shift) as usize) };
        Ok(())
    }
}
