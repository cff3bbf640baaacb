//! A cache's slabs on one node, in three lists that the page metadata links, and the array that the node's processors share.

use super::cache::SlabCache;
use super::word::{Listed, SlabWord};
use crate::slabs::Row;
use crate::slabs::node::List;
use pagewright_page::{FrameIdx, PageMap};

/// What a cache has on a node (`struct kmem_cache_node`), behind the node's lock of that cache.
#[derive(Debug)]
pub struct NodeCache {
    /// Slabs of which some objects are out; those that were freed to longest ago first.
    pub(super) partial: List,
    pub(super) full: List,
    /// Slabs of which none are, the newest first.
    pub(super) free: List,
    /// Objects that the slabs' free lists have.
    pub(super) free_objects: u64,
    /// The colour of the slab that was made last.
    colour: u32,
    /// Whether free slabs were used since the reaper came by.
    pub(super) free_touched: bool,
    /// When the reaper looks at what the node has.
    pub(super) next_reap: u64,
    /// Freed objects for any of the node's processors.
    pub(super) shared: Row,
}

impl NodeCache {
    /// Nothing.
    pub const fn new() -> Self {
        Self {
            partial: List::new(),
            full: List::new(),
            free: List::new(),
            free_objects: 0,
            colour: 0,
            free_touched: false,
            next_reap: 0,
            shared: Row::new(),
        }
    }

    /// How many slabs there are.
    pub(super) const fn slabs(&self) -> u64 {
        self.partial.len + self.full.len + self.free.len
    }

    /// The colour of the next slab.
    pub(super) const fn next_colour(&mut self, colours: u32) -> u32 {
        self.colour = if self.colour + 1 < colours { self.colour + 1 } else { 0 };
        self.colour
    }

    fn list(&mut self, listed: Listed) -> Option<&mut List> {
        match listed {
            Listed::Nowhere => None,
            Listed::Partial => Some(&mut self.partial),
            Listed::Full => Some(&mut self.full),
            Listed::Free => Some(&mut self.free),
        }
    }

    /// Puts a slab into the list where it belongs by now; the word with that noted, to be stored. After `freed` objects, a partial slab comes last: others may
    /// empty it yet.
    pub(super) fn relist(
        &mut self,
        map: &PageMap<'_>,
        idx: FrameIdx,
        word: SlabWord,
        to: Listed,
        freed: bool,
    ) -> SlabWord {
        let from = word.listed();
        let last = freed && to == Listed::Partial;
        if from == to && !last {
            return word;
        }
        if let Some(list) = self.list(from) {
            list.remove(map, idx);
        }
        if let Some(list) = self.list(to) {
            if last {
                list.push_back(map, idx);
            } else {
                list.push_front(map, idx);
            }
        }
        word.with_listed(to)
    }

    /// The list that a slab belongs to with so many objects out.
    pub(super) const fn list_for(cache: &SlabCache, word: SlabWord) -> Listed {
        match word.out() {
            0 => Listed::Free,
            n if n >= cache.layout.objects => Listed::Full,
            _ => Listed::Partial,
        }
    }
}

impl Default for NodeCache {
    fn default() -> Self {
        Self::new()
    }
}
