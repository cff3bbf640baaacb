//! SLOB: blocks of any size, cut from pages first fit; for machines that have little memory.
//!
//! There are no slabs: an object takes its bytes of some page, and when it is freed they join what is free beside them. A cache is no more than a
//! size, an alignment and a count. kmalloc puts the size before what it hands out. Objects of a page and more, and memory that leaves no room
//! for its size in one, are blocks of the page allocator.
//!
//! # Where free memory is
//! Pages with free blocks are in one of three lists, by the size of what was first cut from or freed to them (below 256 bytes, below 1024, the rest), so
//! that small objects do not break up what large ones need. A request takes the first block that fits, of the first page that has one; the next request
//! begins with that page. All that is known of free blocks lies in them (`blocks`), but for the first one's place and their sum, which the page metadata
//! has (`word`). A page whose blocks are all free goes back to the page allocator.
//!
//! # What is found
//! Every word of a free block is checked before it is followed. One that cannot be right is reported ([`Damage::FreePointer`]), and what is free of
//! its page is given up. A block of which a part is free already is not freed twice. kmalloc's size is mixed with its address and a secret, so
//! that of pointers which kmalloc did not return all but one in 65,536 are named. Which cache an object of a page belongs to is not known: that it is freed
//! as another's is found only where their sizes make blocks overlap.
//!
//! # Locks
//! One for all lists (`slob_lock`), the registry of caches outside of it, and one for objects that wait for readers (`deferred`), with nothing inside. Pages are allocated and freed
//! without them; interrupts are off under them.
//!
//! Source: the behaviour of Linux 6.1's SLOB as its documentation describes it (`mm/slob.c`'s head), which 6.4 removed.

mod blocks;
mod cache;
mod deferred;
mod kmalloc;
#[cfg(test)]
mod tests;
mod view;
mod word;

use crate::account::Account;
use crate::faults::Faults;
use crate::large::Large;
use crate::memory::{PageSource, SlabMemory};
use crate::slabs::node::List;
use crate::slabs::{Damage, Report, Reports, SlabError, Slot};
use blocks::{Fit, Page, Refused};
pub use cache::SlobCache;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use pagewright_addr::{NodeId, Order, PageShift};
use pagewright_page::{FrameIdx, OwnerHandle, PageMap};
use pagewright_platform::{GracePeriods, Interrupts, Mutex, WithoutInterrupts};
use pagewright_zone::Gfp;
use word::{Listed, PageWord};

/// The owner of pages that blocks are cut from. No cache has this place.
const OWNER: OwnerHandle = OwnerHandle::new((1 << OwnerHandle::INDEX_BITS) - 1, 2).expect("in range");

/// What a kernel's SLOB goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlobConfig {
    /// The size of a page.
    pub page_shift: PageShift,
    /// Bytes of a pointer: 4 or 8.
    pub word: u32,
    /// Bytes of a cache line.
    pub cache_line: u32,
    /// The least alignment of kmalloc's memory (ARCH_KMALLOC_MINALIGN), a power of two, at least 4: so many bytes the size takes before it.
    pub min_align: u32,
    /// The page allocator's largest order.
    pub largest: Order,
}

impl SlobConfig {
    /// A 64-bit kernel with 4 KiB pages.
    pub const fn new() -> Self {
        let largest = Order::new(10).expect("below the limit");
        Self { page_shift: PageShift::SHIFT_4K, word: 8, cache_line: 64, min_align: 8, largest }
    }
}

impl Default for SlobConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Pages with free blocks.
#[derive(Debug)]
struct Lists {
    pages: [List; 3],
    /// How many pages there are, whether something of them is free or not.
    held: u64,
}

/// The blocks of one machine. `I` keeps interrupt handlers away, `M` is the memory of pages.
pub struct Slob<'k, 'a, I, M> {
    interrupts: I,
    map: PageMap<'a>,
    pub(crate) memory: M,
    config: SlobConfig,
    slots: &'k [Slot<SlobCache>],
    reports: &'k dyn Reports,
    registry: Mutex<()>,
    lists: Mutex<Lists>,
    secret: usize,
    /// Who knows when readers have left, if there are any.
    grace: Option<&'k dyn GracePeriods>,
    /// Objects that wait for them.
    waiting: Mutex<deferred::Waiting>,
    /// Pages of blocks, of which none can be asked for back.
    pub(crate) account: Account<'k>,
    faults: Faults,
    found: AtomicU64,
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slob<'k, 'a, I, M> {
    /// Without any page. `seed` makes the secret that kmalloc's sizes are mixed with.
    ///
    /// # Errors
    /// [`SlabError::TooLarge`] for an alignment that is none.
    pub fn new(
        map: PageMap<'a>,
        memory: M,
        interrupts: I,
        config: SlobConfig,
        slots: &'k [Slot<SlobCache>],
        reports: &'k dyn Reports,
        seed: u64,
    ) -> Result<Self, SlabError> {
        let align = config.min_align;
        if align < 4 || !align.is_power_of_two() || u64::from(align) > config.page_shift.bytes() / 4 {
            return Err(SlabError::TooLarge);
        }
        Ok(Self {
            interrupts,
            map,
            memory,
            config,
            slots,
            reports,
            registry: Mutex::new(()),
            lists: Mutex::new(Lists { pages: [const { List::new() }; 3], held: 0 }),
            secret: (seed ^ (seed << 32)) as usize,
            grace: None,
            waiting: Mutex::new(deferred::Waiting::new()),
            account: Account::new(),
            faults: Faults::none(),
            found: AtomicU64::new(0),
        })
    }

    fn page_bytes(&self) -> usize {
        self.config.page_shift.bytes() as usize
    }

    fn quiet(&self) -> WithoutInterrupts<'_, I> {
        WithoutInterrupts::new(&self.interrupts)
    }

    fn large(&self) -> Large<'_, 'a, M> {
        let SlobConfig { page_shift, largest, .. } = self.config;
        Large { map: &self.map, memory: &self.memory, account: &self.account, page_shift, largest }
    }

    fn report(&self, damage: Damage, cache: Option<&SlobCache>, address: usize) {
        self.found.fetch_add(1, Relaxed);
        self.reports.report(&Report::new(damage, cache.map(SlobCache::name), address));
    }

    fn injected(&self) -> Result<(), SlabError> {
        self.faults.pass()
    }

    /// The page of blocks that an address lies in: its frame and where it begins.
    fn page_of(&self, address: usize) -> Option<(FrameIdx, usize)> {
        let frame = self.memory.frame_of(address);
        if self.map.slab_owner(frame) != OWNER {
            return None;
        }
        let idx = FrameIdx::from_usize(frame)?;
        Some((idx, self.memory.address(idx)?))
    }

    fn page_at(&self, base: usize) -> Page {
        // SAFETY: a page of blocks (the callers found it by its owner or in a list, or have just deposited it), looked at under
        // the lock; of it only what is free is touched, which is ours.
        unsafe { Page::new(self.memory.pointer(base), self.page_bytes()) }
    }

    /// A block: of the first page that has one that fits, or of a new page. `fit` fits a page.
    fn take(
        &self,
        pages: &dyn PageSource<'a>,
        node: Option<NodeId>,
        gfp: Gfp,
        fit: Fit,
    ) -> Result<usize, SlabError> {
        self.injected()?;
        let listed = Listed::of(fit.bytes);
        if let Some(found) = self.first_fit(pages, node, listed, fit) {
            return Ok(found);
        }
        let placed = gfp & (Gfp::RECLAIM_MASK | Gfp::CONSTRAINT_MASK);
        let frames = pages.alloc(node, placed, Order::ZERO).ok_or(SlabError::NoMemory)?;
        let idx = frames.start();
        let Some(base) = self.memory.address(idx) else {
            pages.free(frames);
            return Err(SlabError::NoMemory);
        };
        self.account.add(pages.node_of(idx), false, frames.len());
        self.map.deposit_slab(frames, OWNER);
        let _quiet = self.quiet();
        let mut lists = self.lists.lock();
        let page = self.page_at(base);
        lists.held += 1;
        let word = PageWord { first: page.clear(), free: page.units(self.page_bytes()), listed };
        if let Some(list) = listed.index() {
            lists.pages[list].push_front(&self.map, idx);
        }
        self.map.set_data(idx, word.bits());
        self.cut(&mut lists, idx, base, fit).ok_or(SlabError::NoMemory)
    }

    fn first_fit(
        &self,
        pages: &dyn PageSource<'a>,
        node: Option<NodeId>,
        listed: Listed,
        fit: Fit,
    ) -> Option<usize> {
        let _quiet = self.quiet();
        let mut lists = self.lists.lock();
        let list = listed.index()?;
        let mut at = lists.pages[list].first();
        while let Some(idx) = at {
            at = self.map.next(idx);
            if node.is_some_and(|node| pages.node_of(idx) != node) {
                continue;
            }
            let Some(base) = self.memory.address(idx) else { continue };
            if let Some(found) = self.cut(&mut lists, idx, base, fit) {
                if self.map.prev(idx).is_some() && self.word_of(idx).listed == listed {
                    lists.pages[list].rotate_to(&self.map, idx);
                }
                return Some(found);
            }
        }
        None
    }

    fn word_of(&self, idx: FrameIdx) -> PageWord {
        PageWord::from_bits(self.map.data(idx))
    }

    /// A block of this page, if one fits. A page of which nothing is free any more leaves its list, and so does one whose blocks are damaged.
    fn cut(&self, lists: &mut Lists, idx: FrameIdx, base: usize, fit: Fit) -> Option<usize> {
        let (page, mut word) = (self.page_at(base), self.word_of(idx));
        let units = page.units(fit.bytes);
        if word.free < units {
            return None;
        }
        match page.take(word.first, fit) {
            Ok(taken) => {
                let (offset, first) = taken?;
                (word.first, word.free) = (first, word.free - units);
                if word.free == 0 {
                    self.unlist(lists, idx, &mut word);
                }
                self.map.set_data(idx, word.bits());
                Some(base + offset)
            }
            Err(damaged) => {
                self.give_up(lists, idx, base + damaged.at);
                None
            }
        }
    }

    fn unlist(&self, lists: &mut Lists, idx: FrameIdx, word: &mut PageWord) {
        if let Some(list) = word.listed.index() {
            lists.pages[list].remove(&self.map, idx);
        }
        word.listed = Listed::Nowhere;
    }

    /// Forgets what is free of a page: it cannot be followed.
    fn give_up(&self, lists: &mut Lists, idx: FrameIdx, address: usize) {
        self.report(Damage::FreePointer, None, address);
        let mut word = self.word_of(idx);
        self.unlist(lists, idx, &mut word);
        (word.first, word.free) = (self.page_at(0).units(self.page_bytes()), 0);
        self.map.set_data(idx, word.bits());
    }

    /// Gives a block back, and its page if that is free by then; whether it was one.
    ///
    /// # Safety
    /// Nobody uses the block from now on.
    unsafe fn give(
        &self,
        pages: &dyn PageSource<'a>,
        cache: Option<&SlobCache>,
        address: usize,
        bytes: usize,
    ) -> bool {
        let Some((idx, base)) = self.page_of(address) else {
            self.report(Damage::NotAllocated, cache, address);
            return false;
        };
        let from = address - base;
        if from + bytes > self.page_bytes() || !from.is_multiple_of(Page::unit(self.page_bytes())) {
            self.report(Damage::InvalidPointer, cache, address);
            return false;
        }
        let quiet = self.quiet();
        let mut lists = self.lists.lock();
        let (page, mut word) = (self.page_at(base), self.word_of(idx));
        match page.give(word.first, from, bytes) {
            Ok(first) => (word.first, word.free) = (first, word.free + page.units(bytes)),
            Err(Refused::Free) => {
                self.report(Damage::DoubleFree, cache, address);
                return false;
            }
            Err(Refused::Damaged(damaged)) => {
                self.give_up(&mut lists, idx, base + damaged.at);
                return true;
            }
        }
        if word.free < page.units(self.page_bytes()) {
            if word.listed == Listed::Nowhere {
                word.listed = Listed::of(bytes);
                if let Some(list) = word.listed.index() {
                    lists.pages[list].push_front(&self.map, idx);
                }
            }
            self.map.set_data(idx, word.bits());
            return true;
        }
        self.unlist(&mut lists, idx, &mut word);
        lists.held -= 1;
        self.map.set_data(idx, 0);
        drop(lists);
        drop(quiet);
        let frames = self.map.withdraw_slab(idx, OWNER);
        self.account.sub(pages.node_of(idx), false, frames.len());
        pages.free(frames);
        true
    }
}
