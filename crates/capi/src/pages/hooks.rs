//! What the page allocator asks of C's machine.

use super::machine;
use crate::global::options;
use crate::print::Text;
use crate::slabs::slab_pages;
use pagewright_addr::{NodeId, PageShift};
use pagewright_page::Frames;
use pagewright_slab::SlabPages;
use pagewright_zone::NodeMask;
use pagewright_zone::alloc::report::{Counts, Failure, NodeCounts};
use pagewright_zone::alloc::{Hooks, NotZeroed};

/// Memory at its linear address; no reclaim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CHooks;

impl Hooks for CHooks {
    fn zero(&self, frames: &Frames<'_>) -> Result<(), NotZeroed> {
        let machine = machine().ok_or(NotZeroed)?;
        let at = machine.linear.virt(machine.base.map().pfn(frames.start()).phys(machine.shift));
        let first = core::ptr::with_exposed_provenance_mut::<u8>(at.get() as usize);
        let bytes = (frames.len() * machine.shift.bytes()) as usize;
        // SAFETY: the token is the sole right to these frames, which lie in a row within one block and which C makes accessible at
        // their linear address (header).
        unsafe { core::ptr::write_bytes(first, 0, bytes) };
        Ok(())
    }

    fn report(&self, failure: &Failure<'_>) {
        let mut text = Text::new(&options());
        let online =
            machine().map_or(NodeMask::EMPTY, |m| m.allocator.zones().iter().map(|z| z.nid()).collect());
        text.line(format_args!("{}", failure.line("(C)", "/", &online)));
        // Writing to this never fails.
        let _ = failure.show_mem(&CCounts, &mut text);
        text.end();
    }
}

/// What C's machine is besides its page allocator: its small objects, once there are any.
struct CCounts;

impl Counts for CCounts {
    fn node(&self, nid: NodeId) -> NodeCounts {
        let SlabPages { reclaimable, unreclaimable } = slab_pages(nid);
        NodeCounts {
            slab_reclaimable: reclaimable,
            slab_unreclaimable: unreclaimable,
            ..NodeCounts::default()
        }
    }

    fn page_shift(&self) -> PageShift {
        machine().map_or(PageShift::SHIFT_4K, |machine| machine.shift)
    }
}
