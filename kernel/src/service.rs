//! Putting the page allocator in service on a machine's processors: memory for their lists, their interrupts, their numbers.

use crate::direct_map::DirectMap;
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU32, Ordering};
use pagewright::{Boot, BootError, CpuRoom, Running, Service};
use pagewright_addr::{NodeId, Order};
pub use pagewright_hot::{Masking, Zeroing};
use pagewright_platform::Carve;
use pagewright_zone::ZoneKind;
use pagewright_zone::buddy::Request;
use pagewright_zone::zonelist::ListKind;

/// Processors that an image serves, at most.
pub const MAX_CPUS: usize = 64;

/// The image's page allocator with its processors.
pub type PageService = Service<'static, 'static, 'static, Masking, Zeroing>;

/// What an architecture's processors say of themselves.
///
/// # What must hold
/// `current` returns a number that no other processor has at any time, or `None`.
#[derive(Clone, Copy, Debug)]
pub struct Processor {
    /// The number of the processor that this runs on; `None` while it has none yet.
    pub current: fn() -> Option<u32>,
}

/// Where interrupt handlers go in to use the allocator: whether they may now, and how many do.
#[derive(Debug, Default)]
pub struct Gate {
    held: AtomicU32,
    inside: AtomicU32,
}

impl Gate {
    /// They may.
    pub const fn new() -> Self {
        Self { held: AtomicU32::new(0), inside: AtomicU32::new(0) }
    }

    /// Does a handler's work, unless handlers are held.
    pub fn enter<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        // Either side announces itself before it looks at the other.
        self.inside.fetch_add(1, Ordering::SeqCst);
        let done = (self.held.load(Ordering::SeqCst) == 0).then(work);
        self.inside.fetch_sub(1, Ordering::SeqCst);
        done
    }

    /// Does something while no handler is inside. Must not be called from one.
    pub fn hold<R>(&self, work: impl FnOnce() -> R) -> R {
        self.held.fetch_add(1, Ordering::SeqCst);
        while self.inside.load(Ordering::SeqCst) != 0 {
            core::hint::spin_loop();
        }
        let done = work();
        self.held.fetch_sub(1, Ordering::SeqCst);
        done
    }
}

/// So many bytes for good, in memory of a node that the direct map reaches, or of another one if it has none: whole pages out of the
/// free lists.
fn memory(
    boot: &Boot<'_>,
    running: &mut Running<'_, '_, 'static>,
    ram: &DirectMap,
    node: NodeId,
    bytes: u64,
) -> Option<Carve<'static>> {
    let page = boot.page_bytes();
    let pages = bytes.div_ceil(page).max(1);
    let order = Order::new(pages.next_power_of_two().trailing_zeros() as u8)?;
    let mut zones: ArrayVec<(NodeId, ZoneKind), 64> = ArrayVec::new();
    boot.zonelists.as_ref()?.for_each_zone(
        boot.layout.as_ref()?,
        node,
        ListKind::Fallback,
        ZoneKind::Normal,
        &mut |nid, kind| _ = zones.try_push((nid, kind)),
    );
    for (nid, kind) in zones {
        let Some(zone) = running.buddy.find(nid, kind) else { continue };
        let Ok(block) = running.buddy.alloc(zone, Request::unmovable(order)) else { continue };
        let (block, rest) = running.buddy.map().split_front(block, pages);
        if let Some(rest) = rest {
            running.buddy.free(rest);
        }
        let at = running.buddy.map().pfn(block.start()).phys(boot.machine.config.page_shift);
        let Some(first) = ram.pointer(at, pages * page) else {
            running.buddy.free(block);
            continue;
        };
        // The token is never given back: its frames are the lists' from here on.
        drop(block);
        // SAFETY: the token was the sole right to the block, which the direct map has as memory that may be read and written.
        return Some(unsafe { Carve::new(first, (pages * page) as usize) });
    }
    None
}

/// Puts the page allocator in service for all processors that the boot says will run, each with lists in its own node's memory.
///
/// # Errors
/// [`BootError::Space`] if there is no block for a processor's lists, [`BootError::TooMany`] for more than [`MAX_CPUS`] processors.
pub fn start(
    boot: &Boot<'_>,
    running: &mut Running<'static, 'static, 'static>,
    ram: &DirectMap,
    interrupts: Masking,
    hooks: Zeroing,
) -> Result<PageService, BootError> {
    let cpus = boot.online_cpus().last().map_or(1, |last| last as usize + 1);
    if cpus > MAX_CPUS {
        return Err(BootError::TooMany { what: "processors", limit: MAX_CPUS as u64 });
    }
    let bytes = running.service_bytes(boot, cpus);
    let mut rooms: ArrayVec<CpuRoom<'static>, MAX_CPUS> = ArrayVec::new();
    let small = BootError::Space { what: "per-CPU lists" };
    for cpu in 0..cpus as u32 {
        let node = boot.node_of_cpu(cpu);
        rooms.push(CpuRoom { node, memory: memory(boot, running, ram, node, bytes.each_cpu).ok_or(small)? });
    }
    let node = rooms.first().map_or(NodeId::ZERO, |room| room.node);
    let shared = memory(boot, running, ram, node, bytes.shared).ok_or(small)?;
    running.serve(boot, shared, rooms.into_iter(), interrupts, hooks)
}

#[cfg(test)]
mod tests {
    use super::Gate;

    #[test]
    fn handlers_that_are_held_do_nothing() {
        let handlers = Gate::new();
        assert_eq!(handlers.enter(|| 1), Some(1));
        assert_eq!(handlers.hold(|| handlers.enter(|| 1)), None);
        assert_eq!(handlers.hold(|| handlers.hold(|| handlers.enter(|| 1))), None);
        assert_eq!(handlers.enter(|| 1), Some(1));
    }
}
