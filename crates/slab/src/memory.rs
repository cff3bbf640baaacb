//! What slabs need of a machine: pages, and their memory by address.

use core::cell::Cell;
use core::fmt;
use pagewright_addr::{NodeId, Order};
use pagewright_page::{FrameIdx, Frames, PageMap};
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{Context, Hooks, PageAllocator};

/// Frames' memory where this processor sees it.
///
/// # Safety
/// For as long as the value lives, and for every frame of the one map that it belongs to:
/// - [`Self::address`] is where the frame's first byte is seen, never 0; the frames of an aligned block up to the map's alignment order follow
///   each other, and the block begins at a multiple of its size;
/// - [`Self::frame_of`] says for each of these bytes' addresses the frame's index, and for any other address no index of the map;
/// - [`Self::pointer`] of such an address is a pointer by which all bytes of the block may be read and written by whoever has the
///   right to the frames (their token, or the state in which they were deposited); they are initialised.
///
/// Nobody else reads or writes memory of frames without that right.
pub unsafe trait SlabMemory {
    /// Where a frame is seen; `None` for a frame that is not (high memory).
    fn address(&self, idx: FrameIdx) -> Option<usize>;

    /// The index of the frame that is seen at an address; beyond the map's last if there is none.
    fn frame_of(&self, address: usize) -> usize;

    /// The mark of whose slab an address lies in ([`PageMap::slab_mark`] of its frame), in the map that this memory belongs to.
    #[inline(always)]
    fn mark_of(&self, map: &PageMap<'_>, address: usize) -> u32 {
        map.slab_mark(self.frame_of(address))
    }

    /// An address as a pointer.
    fn pointer(&self, address: usize) -> *mut u8;

    /// Whether any frame is seen. Where none is, no slab comes to be, and caches are laid out only.
    fn is_seen(&self) -> bool {
        true
    }
}

/// The memory of a machine that is not there: caches are laid out as on any other, also those whose objects could not lie on this one; no object of them is had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMemory;

// SAFETY: no frame is seen and no address is one's, so there is no memory that a pointer would have to reach.
unsafe impl SlabMemory for NoMemory {
    fn address(&self, _: FrameIdx) -> Option<usize> {
        None
    }

    fn frame_of(&self, _: usize) -> usize {
        usize::MAX
    }

    fn pointer(&self, _: usize) -> *mut u8 {
        core::ptr::null_mut()
    }

    fn is_seen(&self) -> bool {
        false
    }
}

/// Whoever gives slabs their pages, on behalf of one task on one processor.
pub trait PageSource<'a> {
    /// Allocates a block, on a node if one is named and has memory.
    fn alloc(&self, node: Option<NodeId>, gfp: Gfp, order: Order) -> Option<Frames<'a>>;

    /// Gives it back.
    fn free(&self, frames: Frames<'a>);

    /// The node of a frame.
    fn node_of(&self, idx: FrameIdx) -> NodeId;

    /// The node that serves a node: itself if it has memory, else the nearest that has (`node_to_mem_node`).
    fn memory_node(&self, node: NodeId) -> NodeId;

    /// The node whose memory a request with this mask that starts on `from` tries after `tried`, in the order of `from`'s zonelist: `from` itself first, then by distance; `None` after
    /// the last. A node may be named twice where memory comes or goes in between.
    fn node_after(&self, from: NodeId, tried: Option<NodeId>, gfp: Gfp) -> Option<NodeId>;
}

/// The nodes of a zonelist, in its order: the one it is of first, then by distance.
pub(crate) fn zonelist(pages: &dyn PageSource<'_>, from: NodeId, gfp: Gfp) -> impl Iterator<Item = NodeId> {
    let mut tried = None;
    let next = move || {
        tried = Some(pages.node_after(from, tried, gfp)?);
        tried
    };
    // No longer than any list, should nodes come and go all the time.
    core::iter::from_fn(next).take(NodeId::LIMIT)
}

/// The page allocator in a context.
pub struct PagesFor<'c, 'z, 'm, 's, 'a, I, H> {
    /// The allocator.
    pub allocator: &'c PageAllocator<'z, 'm, 's, 'a, I, H>,
    /// On whose behalf.
    pub context: &'c Context<'c, 'm, 'a>,
}

impl<I, H> fmt::Debug for PagesFor<'_, '_, '_, '_, '_, I, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagesFor").field("context", self.context).finish_non_exhaustive()
    }
}

impl<'a, I: Interrupts, H: Hooks> PageSource<'a> for PagesFor<'_, '_, '_, '_, 'a, I, H> {
    fn alloc(&self, node: Option<NodeId>, gfp: Gfp, order: Order) -> Option<Frames<'a>> {
        match node {
            Some(node) => self.allocator.alloc_pages_node(self.context, node, gfp, order).ok(),
            None => self.allocator.alloc_pages(self.context, gfp, order).ok(),
        }
    }

    fn free(&self, frames: Frames<'a>) {
        self.allocator.free_pages(self.context, frames);
    }

    fn node_of(&self, idx: FrameIdx) -> NodeId {
        self.allocator.node_of(idx).unwrap_or_default()
    }

    fn memory_node(&self, node: NodeId) -> NodeId {
        self.allocator.memory_node(node).unwrap_or(node)
    }

    fn node_after(&self, from: NodeId, tried: Option<NodeId>, gfp: Gfp) -> Option<NodeId> {
        self.allocator.node_after(self.context, from, tried, gfp)
    }
}

/// Pages by way of another source, with those counted that go back.
pub(crate) struct Counting<'c, 'a> {
    pages: &'c dyn PageSource<'a>,
    freed: Cell<u64>,
}

impl<'c, 'a> Counting<'c, 'a> {
    pub(crate) const fn new(pages: &'c dyn PageSource<'a>) -> Self {
        Self { pages, freed: Cell::new(0) }
    }

    /// How many pages went back.
    pub(crate) const fn freed(&self) -> u64 {
        self.freed.get()
    }
}

impl<'a> PageSource<'a> for Counting<'_, 'a> {
    fn alloc(&self, node: Option<NodeId>, gfp: Gfp, order: Order) -> Option<Frames<'a>> {
        self.pages.alloc(node, gfp, order)
    }

    fn free(&self, frames: Frames<'a>) {
        self.freed.set(self.freed.get() + frames.len());
        self.pages.free(frames);
    }

    fn node_of(&self, idx: FrameIdx) -> NodeId {
        self.pages.node_of(idx)
    }

    fn memory_node(&self, node: NodeId) -> NodeId {
        self.pages.memory_node(node)
    }

    fn node_after(&self, from: NodeId, tried: Option<NodeId>, gfp: Gfp) -> Option<NodeId> {
        self.pages.node_after(from, tried, gfp)
    }
}
