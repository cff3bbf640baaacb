//! A frame's place in a list, looked up once for all that is read and written there.

use super::PageMap;
use crate::{FrameIdx, PageMeta};
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

/// The links of one frame, and the number of the list that a free block is in.
///
/// As with [`PageMap::set_next`] and its like, nothing about tokens of free blocks depends on them. Of a deposited block the list's number is where its
/// owner is: whoever sets that changes who may take the block out.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    slot: &'a PageMeta,
    idx: FrameIdx,
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("idx", &self.idx).field("slot", self.slot).finish()
    }
}

impl<'a> PageMap<'a> {
    /// A frame's place in a list.
    ///
    /// # Panics
    /// If the index is past the last frame.
    #[inline]
    #[track_caller]
    pub fn node(&self, idx: FrameIdx) -> Node<'a> {
        Node { slot: self.slot(idx), idx }
    }

    /// Which list a free block is in, as its policy numbers them: see the table in [`crate::meta`].
    #[inline]
    pub fn list(&self, idx: FrameIdx) -> u32 {
        self.node(idx).list()
    }

    /// Sets what [`Self::list`] says.
    #[inline]
    pub fn set_list(&self, idx: FrameIdx, list: u32) {
        self.node(idx).set_list(list);
    }
}

impl Node<'_> {
    /// The frame.
    #[inline]
    pub const fn idx(self) -> FrameIdx {
        self.idx
    }

    /// As [`PageMap::next`].
    #[inline]
    pub fn next(self) -> Option<FrameIdx> {
        self.slot.next(self.idx)
    }

    /// As [`PageMap::prev`].
    #[inline]
    pub fn prev(self) -> Option<FrameIdx> {
        self.slot.prev(self.idx)
    }

    /// As [`PageMap::set_next`].
    #[inline]
    pub fn set_next(self, to: Option<FrameIdx>) {
        self.slot.set_next(self.idx, to);
    }

    /// As [`PageMap::set_prev`].
    #[inline]
    pub fn set_prev(self, to: Option<FrameIdx>) {
        self.slot.set_prev(self.idx, to);
    }

    /// As [`PageMap::list`].
    #[inline]
    pub fn list(self) -> u32 {
        self.slot.owner.load(Relaxed)
    }

    /// As [`PageMap::set_list`].
    #[inline]
    pub fn set_list(self, list: u32) {
        self.slot.owner.store(list, Relaxed);
    }

    /// Takes it out of whatever list it was in: no links, list 0.
    #[inline]
    pub fn clear(self) {
        self.set_next(None);
        self.set_prev(None);
        self.set_list(0);
    }
}
