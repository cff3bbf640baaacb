//! Where tables live, and who gives the pages for them.
//!
//! Whoever owns the memory hands out its words as slices of atomics, and proves what there is to prove. On the metal that is the
//! direct map, hosted it is simulated RAM, in small programs and tests a [`Pool`]. What reads a tree asks for each
//! entry, so a damaged tree is an error; [`crate::Proven`] does not ask, for trees that are known to be sound.

use crate::word::Word;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64};
use pagewright_addr::PhysAddr;
use pagewright_platform::DirectMap;

/// Memory that holds page tables, addressed as the hardware's walker addresses it.
///
/// Two calls for the same address return the same cells. Memory that was handed out as a table is not used as anything
/// else until it was given back.
pub trait TableMemory {
    /// `count` 32-bit entries at `at`; `None` unless all of them are memory and `at` is a multiple of 4.
    fn words32(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU32]>;
    /// `count` 64-bit entries at `at`; `None` unless all of them are memory and `at` is a multiple of 8.
    fn words64(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU64]>;

    /// One 32-bit entry: what translating an address asks for at each level.
    #[inline]
    fn word32(&self, at: PhysAddr) -> Option<&AtomicU32> {
        self.words32(at, 1)?.first()
    }

    /// One 64-bit entry, likewise.
    #[inline]
    fn word64(&self, at: PhysAddr) -> Option<&AtomicU64> {
        self.words64(at, 1)?.first()
    }
}

impl TableMemory for DirectMap {
    #[inline]
    fn words32(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU32]> {
        DirectMap::words32(self, at, count)
    }

    #[inline]
    fn words64(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU64]> {
        DirectMap::words64(self, at, count)
    }
}

impl<M: TableMemory + ?Sized> TableMemory for &M {
    #[inline]
    fn words32(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU32]> {
        (**self).words32(at, count)
    }

    #[inline]
    fn words64(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU64]> {
        (**self).words64(at, count)
    }

    #[inline]
    fn word32(&self, at: PhysAddr) -> Option<&AtomicU32> {
        (**self).word32(at)
    }

    #[inline]
    fn word64(&self, at: PhysAddr) -> Option<&AtomicU64> {
        (**self).word64(at)
    }
}

/// Gives pages for tables: memblock early, the page allocator later.
pub trait TableSource {
    /// A page (of the format's page size, aligned to it), with any contents. `None` when there is none.
    fn alloc_table(&mut self) -> Option<PhysAddr>;
    /// Takes back a page that [`Self::alloc_table`] gave.
    fn free_table(&mut self, page: PhysAddr);
}

/// A source without any page: for operations that must not need one.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTables;

impl TableSource for NoTables {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        None
    }

    fn free_table(&mut self, _: PhysAddr) {}
}

/// A run of memory that serves as tables and as their source at once.
///
/// The words are the caller's; `base` is the physical address that they stand for. Free pages are kept in a list that
/// runs through their first words, so a pool needs nothing besides them.
pub struct Pool<'m, W: Word> {
    words: &'m [W::Atomic],
    base: PhysAddr,
    page_bytes: u64,
    /// Pages from here on were never given out.
    fresh: Cell<u64>,
    /// The first page of the list of returned ones, as its number plus one.
    returned: Cell<u64>,
    in_use: Cell<u64>,
}

impl<'m, W: Word> Pool<'m, W> {
    /// `words` as pages of `page_bytes` from `base` on; `None` if `base` or the page size is not aligned to a page.
    pub fn new(words: &'m [W::Atomic], base: PhysAddr, page_bytes: u64) -> Option<Self> {
        (page_bytes.is_power_of_two() && page_bytes >= 64 && base.is_aligned(page_bytes)).then_some(Self {
            words,
            base,
            page_bytes,
            fresh: Cell::new(0),
            returned: Cell::new(0),
            in_use: Cell::new(0),
        })
    }

    /// How many pages are given out.
    pub fn in_use(&self) -> u64 {
        self.in_use.get()
    }

    /// `pages` adjacent pages at a multiple of `align_bytes`, zeroed: for a top-level table larger than a page. They
    /// come from those never used before, and stay with the pool's owner.
    pub fn alloc_root(&self, pages: u64, align_bytes: u64) -> Option<PhysAddr> {
        let at = self.base.checked_add(self.fresh.get() * self.page_bytes)?.align_up(align_bytes.max(1));
        let first = (at.get() - self.base.get()) / self.page_bytes;
        let count = usize::try_from(pages * self.page_bytes / W::BYTES).ok()?;
        for cell in self.slice(at, count)? {
            W::store(cell, 0);
        }
        self.fresh.set(first + pages);
        Some(at)
    }

    /// A page with any contents.
    pub fn alloc(&self) -> Option<PhysAddr> {
        let page = match self.returned.get().checked_sub(1) {
            Some(page) => {
                let at = self.base.checked_add(page * self.page_bytes)?;
                self.returned.set(W::load(&self.slice(at, 1)?[0]));
                page
            }
            None => {
                let page = self.fresh.get();
                self.slice(
                    self.base.checked_add(page * self.page_bytes)?,
                    (self.page_bytes / W::BYTES) as usize,
                )?;
                self.fresh.set(page + 1);
                page
            }
        };
        self.in_use.set(self.in_use.get() + 1);
        self.base.checked_add(page * self.page_bytes)
    }

    /// Takes a page back.
    ///
    /// # Panics
    /// When the page is none of the pool's, or none is given out: the caller's tables are damaged.
    pub fn free(&self, page: PhysAddr) {
        let cells = self.slice(page, 1);
        let number = (page.get().wrapping_sub(self.base.get())) / self.page_bytes;
        assert!(
            page.is_aligned(self.page_bytes) && number < self.fresh.get(),
            "{page:?} is no page of the pool"
        );
        assert!(self.in_use.get() > 0, "{page:?} given back to a pool that has all its pages");
        if let Some([cell]) = cells {
            W::store(cell, self.returned.get());
            self.returned.set(number + 1);
            self.in_use.set(self.in_use.get() - 1);
        }
    }

    /// One entry. An address between two entries becomes, by the rotation, an index beyond all of them.
    #[inline]
    fn cell(&self, at: PhysAddr) -> Option<&'m W::Atomic> {
        let index = at.get().wrapping_sub(self.base.get()).rotate_right(W::BYTES.trailing_zeros());
        self.words.get(usize::try_from(index).ok()?)
    }

    #[inline]
    fn slice(&self, at: PhysAddr, count: usize) -> Option<&'m [W::Atomic]> {
        let offset = at.get().checked_sub(self.base.get())?;
        if offset % W::BYTES != 0 {
            return None;
        }
        let first = usize::try_from(offset / W::BYTES).ok()?;
        self.words.get(first..first.checked_add(count)?)
    }
}

impl<W: Word> TableMemory for Pool<'_, W> {
    #[inline]
    fn words32(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU32]> {
        W::as_words32(self.slice(at, count)?)
    }

    #[inline]
    fn words64(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU64]> {
        W::as_words64(self.slice(at, count)?)
    }

    #[inline]
    fn word32(&self, at: PhysAddr) -> Option<&AtomicU32> {
        W::as_words32(core::slice::from_ref(self.cell(at)?))?.first()
    }

    #[inline]
    fn word64(&self, at: PhysAddr) -> Option<&AtomicU64> {
        W::as_words64(core::slice::from_ref(self.cell(at)?))?.first()
    }
}

impl<W: Word> TableSource for &Pool<'_, W> {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        self.alloc()
    }

    fn free_table(&mut self, page: PhysAddr) {
        self.free(page);
    }
}
