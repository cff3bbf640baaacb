//! What slabs do when memory of a node comes and goes (`slab_memory_callback`).
//!
//! Whoever plugs memory has [`SlabHotplug`] told ([`Plug`](pagewright_zone::alloc::hotplug::Plug)). A node's structures are in the tables that the caller of the slabs
//! brought; a node that has none there is refused before its memory comes online. Before memory goes, all that is free is given back, and other processors are asked for
//! what they have at hand (Linux waits for them: who gets `-EBUSY` has them poll, and tries again). SLAB refuses to let the last memory of a node go as long as it has
//! slabs there, as Linux's does; SLUB leaves it to the page allocator to find that pages are in use. That is asked only
//! when the range was isolated, which a slab in it prevents, an empty one too: as with Linux, caches are shrunk by hand before kernel memory can go.

use crate::objects::Design;
use crate::shrink::SlabWork;
use core::fmt;
use core::marker::PhantomData;
use pagewright_addr::NodeId;
use pagewright_zone::alloc::hotplug::{HotplugNotifier, MemoryEvent, MemoryNotify};

/// No structures for a node (-ENOMEM).
pub const ENOMEM: i32 = -12;
/// Objects are in use on a node (-EBUSY).
pub const EBUSY: i32 = -16;

/// Slabs of any design as one who is told. `F` is as for [`SlabShrinker`](crate::shrink::SlabShrinker).
pub struct SlabHotplug<'k, 'a, F> {
    with: F,
    of: PhantomData<crate::shrink::Lifetimes<'k, 'a>>,
}

impl<'k, 'a, F: Fn(SlabWork<'_, 'k, 'a>)> SlabHotplug<'k, 'a, F> {
    /// The slabs that `with` knows.
    pub const fn new(with: F) -> Self {
        Self { with, of: PhantomData }
    }

    /// Whether a node has structures (`slab_mem_going_online_callback`).
    fn going_online(&self, nid: NodeId) -> Result<(), i32> {
        let mut has = false;
        (self.with)(&mut |objects, _| has = objects.has_node(nid));
        if has { Ok(()) } else { Err(ENOMEM) }
    }

    /// Gives back what is free (`slab_mem_going_offline_callback`); with SLAB, whether nothing is left on the node that goes.
    fn going_offline(&self, last_of: Option<NodeId>) -> Result<(), i32> {
        let mut left = 0;
        (self.with)(&mut |objects, cx| {
            objects.shrink_all(cx, u64::MAX);
            if let (Design::Slab, Some(nid)) = (objects.design(), last_of) {
                left = objects.node_slabs(nid);
            }
        });
        if left == 0 { Ok(()) } else { Err(EBUSY) }
    }
}

impl<'k, 'a, F: Fn(SlabWork<'_, 'k, 'a>)> HotplugNotifier for SlabHotplug<'k, 'a, F> {
    fn notify(&self, event: MemoryEvent, what: &MemoryNotify) -> Result<(), i32> {
        match event {
            MemoryEvent::GoingOnline => what.status_change_nid.map_or(Ok(()), |nid| self.going_online(nid)),
            MemoryEvent::GoingOffline => self.going_offline(what.status_change_nid),
            // A node's structures stay (`slab_mem_offline_callback` keeps them too): its next memory finds them.
            MemoryEvent::CancelOnline
            | MemoryEvent::Online
            | MemoryEvent::CancelOffline
            | MemoryEvent::Offline => Ok(()),
        }
    }
}

impl<F> fmt::Debug for SlabHotplug<'_, '_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabHotplug").finish_non_exhaustive()
    }
}
