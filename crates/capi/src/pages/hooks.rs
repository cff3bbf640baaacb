//! What the page allocator asks of C's machine.

use super::machine;
use crate::global::options;
use crate::print::Text;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::{NodeId, PageShift};
use pagewright_page::Frames;
use pagewright_zone::alloc::report::{Counts, Failure, NodeCounts};
use pagewright_zone::alloc::{AllocRequest, Hooks, NotZeroed, Progress};
use pagewright_zone::{Gfp, NodeMask};

/// So many rounds of one call in which no page came free are enough: there is nobody else who could free one.
const HOPELESS: u32 = 1000;

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

    /// There is none. A request that must not fail would go on for ever: it is told, and the program ends.
    fn reclaim(&self, request: &AllocRequest<'_>) -> Progress {
        if request.gfp.contains(Gfp::NOFAIL)
            && let Some(machine) = machine()
            && machine.rounds.fetch_add(1, Relaxed) >= HOPELESS
        {
            let AllocRequest { order, gfp, .. } = *request;
            let (order, bits) = (order.get(), gfp.bits());
            let mut text = Text::new(&options());
            text.line(format_args!("(C): page allocation failure: order:{order}, mode:{bits:#x}({gfp})"));
            text.line(format_args!("Kernel panic - not syncing: System is deadlocked on memory"));
            panic!("an allocation that must not fail, and nobody who could free memory");
        }
        Progress::default()
    }

    fn report(&self, failure: &Failure<'_>) {
        let mut text = Text::new(&options());
        text.line(format_args!("{}", failure.line("(C)", "/", &nodes())));
        // Writing to this never fails.
        let _ = failure.show_mem(&CCounts, &mut text);
        text.end();
    }
}

/// The nodes that the machine has.
pub(super) fn nodes() -> NodeMask {
    machine().map_or(NodeMask::EMPTY, |m| m.allocator.zones().iter().map(|z| z.nid()).collect())
}

/// Pages of a node that objects take: those that can be reclaimed, and those that cannot.
#[cfg(feature = "slab")]
fn slab_pages(nid: NodeId) -> [u64; 2] {
    let pages = crate::slabs::slab_pages(nid);
    [pages.reclaimable, pages.unreclaimable]
}

/// A library without objects has none.
#[cfg(not(feature = "slab"))]
const fn slab_pages(_: NodeId) -> [u64; 2] {
    [0; 2]
}

/// What C's machine is besides its page allocator: its small objects, once there are any.
struct CCounts;

impl Counts for CCounts {
    fn node(&self, nid: NodeId) -> NodeCounts {
        let [slab_reclaimable, slab_unreclaimable] = slab_pages(nid);
        NodeCounts { slab_reclaimable, slab_unreclaimable, ..NodeCounts::default() }
    }

    fn page_shift(&self) -> PageShift {
        machine().map_or(PageShift::SHIFT_4K, |machine| machine.shift)
    }
}
