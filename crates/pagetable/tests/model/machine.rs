//! One tree, its model, and the operations that are done to both.

use crate::effort::Effort;
use crate::parts::{Counted, Limited, Rng, attrs};
use core::marker::PhantomData;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::{
    Attr, AttrChange, AttrFlags, Format, Level, Live, MapError, MapOptions, MemoryType, NotLive, Pool,
    RunKind, TableLimits, Tables, UnmapError, Word,
};
use std::collections::BTreeMap;

const POOL_AT: u64 = 0x100_0000;

/// A tree and what should be in it.
pub(crate) struct Machine<'w, F: Format> {
    tables: Tables<F, &'w Pool<'w, F::Word>>,
    /// Page address to physical address and attributes.
    model: BTreeMap<u64, (u64, Attr)>,
    attrs: Vec<Attr>,
    rng: Rng,
    /// The area in which things happen.
    area: VirtRange,
    effort: Effort,
    page: u64,
    format: PhantomData<F>,
}

impl<'w, F: Format> Machine<'w, F> {
    /// Memory for so many pages of tables.
    pub(crate) fn words(pages: u64) -> Vec<<F::Word as Word>::Atomic> {
        let count = pages * F::SHAPE.page_bytes() / F::Word::BYTES;
        (0..count).map(|_| F::Word::zero()).collect()
    }

    /// The same as a pool.
    pub(crate) fn pool_of(words: &'w [<F::Word as Word>::Atomic]) -> Pool<'w, F::Word> {
        Pool::new(words, PhysAddr::new(POOL_AT), F::SHAPE.page_bytes()).expect("aligned")
    }

    /// An empty tree in `pool`; things happen in the middle of the format's window or at its very `end`.
    pub(crate) fn new(format: F, pool: &'w Pool<'w, F::Word>, end: bool, seed: u64, effort: Effort) -> Self {
        let page = F::SHAPE.page_bytes();
        let top = F::SHAPE.level(F::SHAPE.top());
        let root_bytes = top.entries() as u64 * F::Word::BYTES;
        let root =
            pool.alloc_root(root_bytes.div_ceil(page), root_bytes.max(page)).expect("room for the root");
        // Some blocks, so that blocks, groups and pages all occur, and tables are shared with what is outside.
        let [low, high] = format.window().ranges();
        let window = if high.is_empty() { low } else { high };
        // Supersections are groups of blocks that lie in one table with pages: the area has room for some.
        let pmd = F::SHAPE.level(Level::PMD);
        let block = if F::GROUP_ADDRESS { pmd.contiguous_bytes() } else { pmd.bytes() };
        let len = (effort.area_blocks * block).min(window.len / 2);
        let start = if end {
            window.start.get().wrapping_add(window.len - len)
        } else {
            (window.start.get() + window.len / 2) & !(block - 1)
        };
        Self {
            tables: Tables::new(format, pool, root),
            model: BTreeMap::new(),
            attrs: attrs(&format, effort.attrs),
            rng: Rng(seed | 1),
            area: VirtRange { start: VirtAddr::new(start), len },
            effort,
            page,
            format: PhantomData,
        }
    }

    fn pool(&self) -> &'w Pool<'w, F::Word> {
        self.tables.memory()
    }

    /// A range in the area: often whole blocks, groups or few pages.
    fn range(&mut self) -> VirtRange {
        let pages = self.area.len / self.page;
        let pmd = F::SHAPE.level(Level::PMD);
        let unit = if self.rng.below(self.effort.blocks_one_in) == 0 {
            let group = F::GROUP_ADDRESS && self.rng.below(2) == 0;
            (if group { pmd.contiguous_bytes() } else { pmd.bytes() }) / self.page
        } else if self.rng.below(3) == 0 {
            u64::from(F::SHAPE.level(Level::PTE).contiguous.max(1))
        } else {
            1
        };
        let first = match self.effort.near_pages {
            // Around the beginning of a block: before it, a few; behind it, the rest.
            Some(near) if unit < pmd.bytes() / self.page => {
                let block = self.rng.below(self.effort.area_blocks) * (pmd.bytes() / self.page);
                (block + self.rng.below(near)).saturating_sub(near / 8).min(pages - 1)
            }
            _ => self.rng.below(pages),
        } / unit
            * unit;
        let most = (pages - first).min(if unit == 1 { self.effort.most_pages } else { 2 * unit });
        let count = (1 + self.rng.below(most)).div_ceil(unit) * unit;
        let count = count.min(pages - first);
        let start = VirtAddr::new(self.area.start.get().wrapping_add(first * self.page));
        VirtRange { start, len: count * self.page }
    }

    fn pages(&self, range: VirtRange) -> impl Iterator<Item = u64> + use<F> {
        let page = self.page;
        (0..range.len / page).map(move |n| range.start.get().wrapping_add(n * page))
    }

    /// One operation, on the tree and on the model.
    pub(crate) fn step(&mut self) {
        match self.rng.below(10) {
            0..4 => self.map(),
            4..6 => self.unmap(),
            6 => self.protect(),
            7 => self.split(),
            8 => self.collapse(),
            _ => self.clear_state(),
        }
        self.compare_some();
    }

    fn map(&mut self) {
        let range = self.range();
        let block = F::SHAPE.level(Level::PMD).contiguous_bytes().max(F::SHAPE.level(Level::PMD).bytes());
        // Often congruent with the virtual address, so that blocks fit; sometimes not.
        let base = 0x4000_0000u64.next_multiple_of(block);
        let offset = range.start.get().wrapping_sub(self.area.start.get());
        let phys = PhysAddr::new(if self.rng.below(3) == 0 {
            base + self.rng.below(64) * self.page
        } else {
            base + offset
        });
        let attr = self.attrs[self.rng.below(self.attrs.len() as u64) as usize];
        let options = MapOptions {
            max_leaf: [Level::PTE, Level::PMD, Level::PGD][self.rng.below(3) as usize],
            contiguous: self.rng.below(2) == 0,
            limits: TableLimits::empty(),
        };
        let taken = self.pages(range).any(|va| self.model.contains_key(&va));
        let before = self.pool().in_use();
        let pool = self.pool();
        let left = if self.rng.below(4) == 0 { self.rng.below(4) } else { 1 << 20 };
        let mut source = Limited { pool, left };
        let done = self.tables.cursor().map(range, phys, attr, &options, &mut source);
        match done {
            Ok(done) => {
                assert!(!taken, "{range:?} was mapped over something");
                assert_eq!(pool.in_use(), before + done.tables);
                for (n, va) in self.pages(range).enumerate() {
                    self.model.insert(va, (phys.get() + n as u64 * self.page, attr));
                }
            }
            Err(MapError::AlreadyMapped { at, .. }) => {
                assert!(taken && self.model.contains_key(&at.get()), "{at:?} is said to be mapped");
                assert_eq!(pool.in_use(), before);
            }
            Err(MapError::NoTables { needed, got }) => {
                assert!(!taken && got == left && needed > got, "{needed} {got} {left}");
                assert_eq!(pool.in_use(), before);
                self.compare_after_error();
            }
            Err(e) => panic!("{range:?}: {e}"),
        }
    }

    /// Does `work`, splitting the ends first if it asks for that.
    fn with_split<T>(
        &mut self,
        range: VirtRange,
        mut work: impl FnMut(&mut Self) -> Result<T, UnmapError>,
    ) -> Result<T, UnmapError> {
        match work(self) {
            Err(UnmapError::SplitsLeaf { .. }) => {
                let mut pool = self.pool();
                let mut flushes = Counted::default();
                let live = self.rng.below(2) == 0;
                let mut how = if live { Live::MayBreak(&mut flushes) } else { Live::No };
                let (_, pending) = self
                    .tables
                    .cursor()
                    .split_ends(range, TableLimits::empty(), &mut pool, &mut how)
                    .expect("split");
                pending.finish(&pool, &mut NotLive, &mut &*pool);
                if live && F::BREAK_BEFORE_MAKE {
                    assert!(flushes.0 > 0, "a block was split without a flush in between");
                }
                work(self)
            }
            other => other,
        }
    }

    fn unmap(&mut self) {
        let range = self.range();
        let mut told = BTreeMap::new();
        let page = self.page;
        let pending = self
            .with_split(range, |m| {
                m.tables.cursor().unmap(range, &mut |run| {
                    let RunKind::Leaf(leaf) = run.kind else { panic!("{run:?}") };
                    for n in 0..run.range.len / page {
                        let va = run.range.start.get().wrapping_add(n * page);
                        told.insert(va, (leaf.phys.get() + n * page, leaf.attr));
                    }
                })
            })
            .expect("unmapped");
        let mut expected = BTreeMap::new();
        for va in self.pages(range) {
            if let Some(was) = self.model.remove(&va) {
                expected.insert(va, was);
            }
        }
        assert_eq!(told, expected, "{range:?}");
        assert_eq!(pending.scope().is_some(), !expected.is_empty());
        if let Some(scope) = pending.scope() {
            assert!(expected.keys().all(|va| scope.range.contains(VirtAddr::new(*va))));
        }
        let pool = self.pool();
        pending.finish(&pool, &mut NotLive, &mut &*pool);
    }

    fn protect(&mut self) {
        let range = self.range();
        let flags = [AttrFlags::WRITE, AttrFlags::EXEC, AttrFlags::GLOBAL, AttrFlags::DIRTY];
        let one = flags[self.rng.below(4) as usize];
        let mut change = if self.rng.below(2) == 0 {
            AttrChange::flags(one, AttrFlags::empty())
        } else {
            AttrChange::flags(AttrFlags::empty(), one)
        };
        if self.rng.below(4) == 0 {
            change.memory = Some(MemoryType::WriteCombine);
        }
        let mut flushes = Counted::default();
        let live = self.rng.below(2) == 0;
        let done = self.with_split(range, |m| {
            let how = if live { Live::MayBreak(&mut flushes) } else { Live::No };
            m.tables.cursor().protect(range, &change, how)
        });
        match done {
            Ok((changed, pending)) => {
                let pool = self.pool();
                pending.finish(&pool, &mut NotLive, &mut &*pool);
                let mut had = AttrFlags::empty();
                for va in self.pages(range) {
                    if let Some((_, attr)) = self.model.get_mut(&va) {
                        had |= attr.flags;
                        *attr = change.apply(*attr);
                    }
                }
                assert_eq!(changed.had, had);
            }
            // What the format cannot say was refused, and all is as it was.
            Err(UnmapError::Attr(_)) => self.compare_after_error(),
            Err(e) => panic!("{range:?}: {e}"),
        }
    }

    fn split(&mut self) {
        let at = self.range().start;
        let mut pool = self.pool();
        let (_, pending) =
            self.tables.cursor().split(at, TableLimits::empty(), &mut pool, Live::No).expect("split");
        pending.finish(&pool, &mut NotLive, &mut &*pool);
        if let Ok((leaf, level, start)) = self.tables.leaf(at) {
            assert_eq!(start, at);
            assert!(!leaf.contiguous || at.is_aligned(F::SHAPE.level(level).contiguous_bytes()));
        }
    }

    fn collapse(&mut self) {
        let at = self.range().start;
        let (done, pending) = self.tables.cursor().collapse(at, Level::PMD, Live::No).expect("collapse");
        let pool = self.pool();
        pending.finish(&pool, &mut NotLive, &mut &*pool);
        if !done {
            return;
        }
        let block = F::SHAPE.level(Level::PMD).bytes();
        let range = VirtRange { start: at.align_down(block), len: block };
        let state = AttrFlags::ACCESSED | AttrFlags::DIRTY;
        let joined =
            self.pages(range).fold(AttrFlags::empty(), |had, va| had | self.model[&va].1.flags & state);
        for va in self.pages(range) {
            self.model.get_mut(&va).expect("a block has all its pages").1.flags |= joined;
        }
        assert_eq!(self.tables.translate(at).expect("still mapped").level, Level::PMD);
    }

    fn clear_state(&mut self) {
        let at = self.range().start;
        let leaf = self.tables.leaf(at);
        let (had, pending) = match self.tables.cursor().test_and_clear(at, AttrFlags::ACCESSED) {
            Ok(done) => done,
            // Formats whose hardware has no such bit may not be able to say "not accessed" of a block.
            Err(UnmapError::Attr(_)) => return,
            Err(e) => panic!("{at:?}: {e}"),
        };
        let pool = self.pool();
        pending.finish(&pool, &mut NotLive, &mut &*pool);
        let Ok((leaf, level, start)) = leaf else { return assert!(had.is_empty()) };
        assert_eq!(had, leaf.attr.flags & AttrFlags::ACCESSED);
        let shape = F::SHAPE.level(level);
        let bytes = if leaf.contiguous { shape.contiguous_bytes() } else { shape.bytes() };
        for va in self.pages(VirtRange { start: start.align_down(bytes), len: bytes }) {
            self.model.get_mut(&va).expect("mapped").1.flags.remove(AttrFlags::ACCESSED);
        }
    }

    /// Compares a few addresses.
    fn compare_some(&mut self) {
        for _ in 0..self.effort.looks {
            let va = self.area.start.get().wrapping_add(self.rng.below(self.area.len));
            let expected = self.model.get(&(va & !(self.page - 1))).map(|(phys, _)| phys + va % self.page);
            let hit = self.tables.translate(VirtAddr::new(va)).ok().map(|t| t.phys.get());
            assert_eq!(hit, expected, "{va:#x}");
        }
    }

    /// Compares everything after an operation that was refused.
    fn compare_after_error(&mut self) {
        if !cfg!(miri) || self.rng.below(self.effort.compare_every) == 0 {
            self.compare_all();
        }
    }

    /// Compares everything, and that no table is lost or empty.
    pub(crate) fn compare_all(&self) {
        let mut found = BTreeMap::new();
        self.tables
            .walk_all(1 << 20, &mut |run| {
                let RunKind::Leaf(leaf) = run.kind else { panic!("{run:?}") };
                for n in 0..run.range.len / self.page {
                    let va = run.range.start.get().wrapping_add(n * self.page);
                    // A supersection's leaves all name its first byte: the walker counts from the run's start.
                    found.insert(va, (leaf.phys.get() + n * self.page, leaf.attr));
                }
            })
            .expect("a whole tree");
        assert_eq!(found, self.model);
        let stats = self.tables.validate(1 << 20).expect("a valid tree");
        assert_eq!((stats.table_pages(), stats.empty), (self.pool().in_use(), 0));
    }

    /// Takes everything out: every table has to come back.
    pub(crate) fn finish(mut self) {
        self.compare_all();
        let range = self.area;
        let pending = self.tables.cursor().unmap(range, &mut |_| ()).expect("unmapped");
        let pool = self.pool();
        pending.finish(&pool, &mut NotLive, &mut &*pool);
        assert_eq!(pool.in_use(), 0);
    }
}
