//! Giving empty slabs back under pressure, while caches come and go.

use super::Slabs;
use super::cache::{CacheId, Info, Slot};
use super::cpu::SlabContext;
use super::word::SlabWord;
use crate::memory::SlabMemory;
use crate::objects::CacheTable;
use pagewright_platform::Interrupts;

impl<'k, 'a, I: Interrupts, M: SlabMemory> CacheTable<'k, 'a> for Slabs<'k, 'a, I, M> {
    type Cache = Info;

    fn slots(&self) -> &'k [Slot] {
        self.slots
    }

    fn nodes(&self) -> usize {
        self.nodes
    }

    fn let_go(&self, cx: &SlabContext<'_, 'k, 'a>, at: usize) {
        self.bury_at(cx, at);
    }

    fn slabs_on(&self, id: CacheId, node: usize) -> u64 {
        let _quiet = self.quiet();
        self.lists_of(id, node).lock().slabs()
    }

    fn empty_pages_on(&self, id: CacheId, _: &Info, node: usize) -> u64 {
        let _quiet = self.quiet();
        let lists = self.lists_of(id, node).lock();
        let empty = |&head: &_| SlabWord::from_bits(self.map.data(head)).out() == 0;
        let slabs = lists.partial.iter(&self.map).filter(empty);
        slabs.map(|head| self.map.word(head).order().pages()).sum()
    }

    fn shrink_one(&self, cx: &SlabContext<'_, 'k, 'a>, id: CacheId) -> bool {
        self.shrink(cx, id)
    }
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// Pages of slabs of which no object is out, and as many as the objects in barns take.
    pub(crate) fn empty_pages(&self, cx: &SlabContext<'_, 'k, 'a>) -> u64 {
        self.kept_in_barns() as u64 / self.slub.page_shift.bytes() + self.all_empty_pages(cx)
    }
}
