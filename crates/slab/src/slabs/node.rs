//! A cache's slabs on one node, in two lists that the page metadata links.

use super::barn::Barn;
use super::word::{Listed, SlabWord};
use pagewright_page::{FrameIdx, PageMap};

/// Slabs one behind the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct List {
    first: Option<FrameIdx>,
    last: Option<FrameIdx>,
    pub(crate) len: u64,
}

impl List {
    /// Nothing.
    pub(crate) const fn new() -> Self {
        Self { first: None, last: None, len: 0 }
    }

    pub(crate) const fn last(&self) -> Option<FrameIdx> {
        self.last
    }

    /// Makes what is in the list the first, with all that lies before it behind the last.
    pub(crate) fn rotate_to(&mut self, map: &PageMap<'_>, idx: FrameIdx) {
        let (Some(prev), Some(first), Some(last)) = (map.prev(idx), self.first, self.last) else { return };
        map.set_next(last, Some(first));
        map.set_prev(first, Some(last));
        map.set_next(prev, None);
        map.set_prev(idx, None);
        (self.first, self.last) = (Some(idx), Some(prev));
    }

    pub(crate) const fn first(&self) -> Option<FrameIdx> {
        self.first
    }

    pub(crate) fn push_front(&mut self, map: &PageMap<'_>, idx: FrameIdx) {
        map.set_prev(idx, None);
        map.set_next(idx, self.first);
        match self.first {
            Some(first) => map.set_prev(first, Some(idx)),
            None => self.last = Some(idx),
        }
        self.first = Some(idx);
        self.len += 1;
    }

    pub(crate) fn push_back(&mut self, map: &PageMap<'_>, idx: FrameIdx) {
        map.set_next(idx, None);
        map.set_prev(idx, self.last);
        match self.last {
            Some(last) => map.set_next(last, Some(idx)),
            None => self.first = Some(idx),
        }
        self.last = Some(idx);
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, map: &PageMap<'_>, idx: FrameIdx) {
        let (prev, next) = (map.prev(idx), map.next(idx));
        match prev {
            Some(prev) => map.set_next(prev, next),
            None => self.first = next,
        }
        match next {
            Some(next) => map.set_prev(next, prev),
            None => self.last = prev,
        }
        map.set_next(idx, None);
        map.set_prev(idx, None);
        self.len -= 1;
    }

    /// The slabs, first to last.
    pub(crate) fn iter<'l>(&self, map: &'l PageMap<'_>) -> impl Iterator<Item = FrameIdx> + use<'l, '_> {
        let mut at = self.first;
        core::iter::from_fn(move || {
            let now = at?;
            at = map.next(now);
            Some(now)
        })
    }
}

/// The slabs of a cache on a node (`struct kmem_cache_node`), behind the node's lock of that cache.
#[derive(Debug, Default)]
pub struct NodeSlabs {
    /// Slabs with free objects; those that were full before last.
    pub(crate) partial: List,
    /// Slabs without.
    pub(crate) full: List,
    /// How many slabs are in neither list: processors', and full ones where processors have slabs ([`super::cpu_slab`]).
    pub(crate) apart: u64,
    /// Objects of all slabs.
    pub(crate) objects: u64,
    /// Free objects that are in no slab's list.
    pub(crate) barn: Barn,
}

impl NodeSlabs {
    /// No slabs.
    pub const fn new() -> Self {
        Self { partial: List::new(), full: List::new(), apart: 0, objects: 0, barn: Barn::new() }
    }

    /// How many slabs there are.
    pub(crate) const fn slabs(&self) -> u64 {
        self.partial.len + self.full.len + self.apart
    }

    /// Puts a slab into the list that it belongs to by now; the word with that noted, to be stored.
    pub(crate) fn relist(
        &mut self,
        map: &PageMap<'_>,
        idx: FrameIdx,
        word: SlabWord,
        to: Listed,
    ) -> SlabWord {
        let from = word.listed();
        if from == to {
            return word;
        }
        match from {
            Listed::Partial => self.partial.remove(map, idx),
            Listed::Full => self.full.remove(map, idx),
            Listed::Nowhere | Listed::Frozen => {}
        }
        match to {
            // What was just freed from is used last: others may empty it yet.
            Listed::Partial if from == Listed::Full => self.partial.push_back(map, idx),
            Listed::Partial => self.partial.push_front(map, idx),
            Listed::Full => self.full.push_front(map, idx),
            Listed::Nowhere | Listed::Frozen => {}
        }
        word.with_listed(to)
    }
}
