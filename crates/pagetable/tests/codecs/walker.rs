//! The real walker with every format: small ranges are mapped, found and taken out again, to the last table.

use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::format::arm::lpae::{ArmLpae, ArmLpaeConfig};
use pagewright_pagetable::format::arm::short::{ArmShort, ArmShortConfig};
use pagewright_pagetable::format::arm64::Arm64Page4kVa39;
use pagewright_pagetable::format::x86::i386::{I386, I386Pae};
use pagewright_pagetable::format::{FormatKind, WithFormat};
use pagewright_pagetable::{
    Attr, AttrChange, AttrFlags, Format, Leaf, Level, Live, MapOptions, NotLive, Pool, Run, RunKind,
    TableLimits, TableMemory, Tables, Unmapped, Window, Word, for_each_format,
};
use std::sync::atomic::{AtomicU32, AtomicU64};

const BASE: PhysAddr = PhysAddr::new(0x1000_0000);

/// What every format can say: for whoever has no execute bit, executable.
pub(crate) fn data<F: Format>(format: &F) -> Attr {
    let flags = AttrFlags::WRITE | AttrFlags::GLOBAL | AttrFlags::ACCESSED | AttrFlags::DIRTY;
    let attr = Attr::normal(flags);
    let leaf = Leaf { phys: PhysAddr::ZERO, attr, contiguous: false };
    match format.leaf_word(Level::PTE, &leaf) {
        Ok(_) => attr,
        Err(_) => Attr::normal(flags | AttrFlags::EXEC),
    }
}

/// Every format; under Miri, which is slow, one of each sort.
fn kinds() -> impl Iterator<Item = FormatKind> {
    let few = [FormatKind::X86Level4, FormatKind::Arm64Page4kVa39, FormatKind::ArmShort, FormatKind::I386];
    FormatKind::ALL.iter().copied().filter(move |kind| !cfg!(miri) || few.contains(kind))
}

/// An address in the upper part of what the tree translates.
pub(crate) fn upper(window: Window) -> u64 {
    match window {
        Window::Canonical { bits: 32 } | Window::Low { bits: 32 } => 0xc000_0000,
        Window::Low { bits } => 1 << (bits - 1),
        Window::Canonical { bits } | Window::High { bits } => u64::MAX << (bits - 1),
    }
}

/// A pool for the tables of a format, and its root.
pub(crate) fn with_tables<F: Format, R>(
    format: F,
    pages: u64,
    test: impl FnOnce(&mut Tables<F, &Pool<'_, F::Word>>) -> R,
) -> R {
    let page = F::SHAPE.page_bytes();
    let words: Vec<_> = (0..pages * page / F::Word::BYTES).map(|_| F::Word::zero()).collect();
    let pool = Pool::<F::Word>::new(&words, BASE, page).unwrap();
    let root_bytes = format.page_words(F::SHAPE.top()) as u64 * F::Word::BYTES;
    let root = pool.alloc_root(root_bytes.div_ceil(page), root_bytes.max(64)).unwrap();
    test(&mut Tables::new(format, &pool, root))
}

/// The runs in a range and a page on either side of it.
fn runs<F: Format, M: TableMemory>(tables: &Tables<F, M>, range: VirtRange) -> Vec<Run> {
    let page = F::SHAPE.page_bytes();
    let wider = VirtRange::from_len(VirtAddr::new(range.start.get() - page), range.len + 2 * page);
    let mut all = Vec::new();
    tables.walk(wider, 10_000, &mut |run| all.push(*run)).unwrap();
    all
}

/// A range that begins some pages before a block and ends some pages after the next, to physical memory that lies the same way.
fn maps_and_unmaps<F: Format>(format: F, options: &MapOptions) {
    with_tables(format, 16, |t| {
        let pool = *t.memory();
        let (page, block) = (F::SHAPE.page_bytes(), F::SHAPE.level(Level::PMD).bytes());
        let (before, after) = (3 * page, 5 * page);
        let start = upper(format.window()) + 2 * block - before;
        let range = VirtRange::from_len(VirtAddr::new(start), before + block + after);
        let phys = PhysAddr::new(4 * block - before);
        let attr = data(&format);
        t.cursor().map(range, phys, attr, options, &mut &*pool).unwrap();
        let blocks = options.max_leaf > Level::PTE;
        let stride = page * if cfg!(miri) { 97 } else { 1 };
        for offset in (0..range.len).step_by(stride as usize).chain([1, range.len - 1]) {
            let hit = t.translate(VirtAddr::new(start + offset)).unwrap();
            assert_eq!(hit.phys.get(), phys.get() + offset, "{} at {offset:#x}", F::NAME);
            let in_block = (before..before + block).contains(&offset);
            assert_eq!(hit.level == Level::PMD, blocks && in_block, "{} at {offset:#x}", F::NAME);
        }
        for outside in [start - 1, start + range.len] {
            let found = t.translate(VirtAddr::new(outside));
            assert!(matches!(found, Err(Unmapped::Absent(Level::PTE, 0))), "{}: {found:?}", F::NAME);
        }
        let total: u64 = runs(t, range).iter().map(|run| run.range.len).sum();
        assert_eq!(total, range.len, "{}", F::NAME);
        for run in runs(t, range) {
            let RunKind::Leaf(leaf) = run.kind else { panic!("{run:?}") };
            assert_eq!(leaf.attr, attr);
            assert_eq!(leaf.phys.get() - phys.get(), run.range.start.get() - start);
        }
        let mut gone = 0;
        let pending = t.cursor().unmap(range, &mut |run| gone += run.range.len).unwrap();
        assert_eq!(gone, range.len);
        pending.finish(&pool, &mut NotLive, &mut &*pool);
        assert_eq!((pool.in_use(), runs(t, range).len()), (0, 0), "{}", F::NAME);
    });
}

struct MapsAndUnmaps(MapOptions);

impl WithFormat for MapsAndUnmaps {
    type Out = ();

    fn run<F: Format>(self, format: F) {
        maps_and_unmaps(format, &self.0);
    }
}

#[test]
fn every_format_maps_and_unmaps_by_the_largest_leaves() {
    for kind in kinds() {
        kind.with(MapsAndUnmaps(MapOptions { contiguous: false, ..MapOptions::default() }));
        kind.with(MapsAndUnmaps(MapOptions::default()));
    }
}

#[test]
fn every_format_maps_and_unmaps_by_pages() {
    for kind in kinds() {
        kind.with(MapsAndUnmaps(MapOptions::PAGES));
    }
}

struct Ages;

impl WithFormat for Ages {
    type Out = ();

    /// Takes the accessed and dirty bits away from a few pages, gives them back, and takes writing away.
    fn run<F: Format>(self, format: F) {
        with_tables(format, 16, |t| {
            let pool = *t.memory();
            let page = F::SHAPE.page_bytes();
            let start = VirtAddr::new(upper(format.window()));
            let range = VirtRange::from_len(start, 6 * page);
            let phys = PhysAddr::new(32 * page);
            let attr = data(&format);
            t.cursor().map(range, phys, attr, &MapOptions::PAGES, &mut &*pool).unwrap();
            let none = AttrFlags::empty();
            let state = AttrFlags::ACCESSED | AttrFlags::DIRTY;
            for (set, clear) in
                [(none, state), (state, none), (none, AttrFlags::WRITE), (AttrFlags::WRITE, none)]
            {
                let before = runs(t, range)[0];
                let change = AttrChange::flags(set, clear);
                let (changed, pending) = t.cursor().protect(range, &change, Live::No).unwrap();
                pending.finish(&pool, &mut NotLive, &mut &*pool);
                assert_eq!(changed.leaves, 6);
                let after = runs(t, range);
                let RunKind::Leaf(was) = before.kind else { panic!("{before:?}") };
                let expected = Leaf { attr: was.attr.changed(set, clear), ..was };
                assert_eq!(after, [Run { kind: RunKind::Leaf(expected), ..before }], "{}", F::NAME);
            }
            assert_eq!(runs(t, range)[0].kind, RunKind::Leaf(Leaf { phys, attr, contiguous: false }));
        });
    }
}

#[test]
fn every_format_keeps_accessed_and_dirty_through_changes() {
    for kind in kinds() {
        kind.with(Ages);
    }
}

/// Maps whole contiguous groups with a page to spare on either side.
fn maps_groups<F: Format>(format: F, level: Level) {
    with_tables(format, 16, |t| {
        let pool = *t.memory();
        let shape = F::SHAPE.level(level);
        let (size, group) = (shape.bytes(), shape.contiguous_bytes());
        assert!(group > 0, "{}", F::NAME);
        let start = VirtAddr::new(upper(format.window()) + group - size);
        let range = VirtRange::from_len(start, size + 2 * group + size);
        let phys = PhysAddr::new(2 * group - size);
        let options = MapOptions { max_leaf: level, ..MapOptions::default() };
        t.cursor().map(range, phys, data(&format), &options, &mut &*pool).unwrap();
        let parts: Vec<_> = runs(t, range)
            .iter()
            .map(|run| {
                let RunKind::Leaf(leaf) = run.kind else { panic!("{run:?}") };
                assert_eq!(leaf.phys.get() - phys.get(), run.range.start.get() - start.get(), "{}", F::NAME);
                (run.range.len, run.level, leaf.contiguous)
            })
            .collect();
        assert_eq!(
            parts,
            [(size, level, false), (2 * group, level, true), (size, level, false)],
            "{}",
            F::NAME
        );
        for offset in (0..range.len).step_by((size / 2) as usize) {
            let hit = t.translate(VirtAddr::new(start.get() + offset)).unwrap();
            assert_eq!((hit.phys.get(), hit.level), (phys.get() + offset, level), "{} {offset:#x}", F::NAME);
        }
        // A group is split into single leaves that say the same.
        let inside = VirtAddr::new(start.get() + 3 * size);
        let (_, pending) = t.cursor().split(inside, TableLimits::empty(), &mut &*pool, Live::No).unwrap();
        pending.finish(&pool, &mut NotLive, &mut &*pool);
        let (leaf, ..) = t.leaf(inside).unwrap();
        assert_eq!((leaf.phys.get(), leaf.contiguous), (phys.get() + 3 * size, false), "{}", F::NAME);
        t.cursor().unmap(range, &mut |_| ()).unwrap().finish(&pool, &mut NotLive, &mut &*pool);
        assert_eq!((pool.in_use(), runs(t, range).len()), (0, 0), "{}", F::NAME);
    });
}

struct MapsGroups;

impl WithFormat for MapsGroups {
    type Out = ();

    fn run<F: Format>(self, format: F) {
        for level in [Level::PTE, Level::PMD] {
            let probe = Leaf { phys: PhysAddr::ZERO, attr: data(&format), contiguous: true };
            if format.leaf_word(level, &probe).is_ok() {
                maps_groups(format, level);
            }
        }
    }
}

#[test]
fn contiguous_groups_are_marked_translated_split_and_unmapped() {
    for kind in kinds() {
        kind.with(MapsGroups);
    }
    let hints = ArmLpaeConfig { contiguous: true, ..ArmLpaeConfig::default() };
    maps_groups(ArmLpae { config: hints }, Level::PTE);
    maps_groups(ArmLpae { config: hints }, Level::PMD);
}

#[test]
fn supersections_translate_by_their_place() {
    let config = ArmShortConfig { supersections: true, ..ArmShortConfig::default() };
    maps_groups(ArmShort { config }, Level::PMD);
    // Two supersections that map the same memory are two runs.
    with_tables(ArmShort { config }, 16, |t| {
        let pool = *t.memory();
        let attr = data(t.format());
        for start in [0xd000_0000, 0xd100_0000] {
            let range = VirtRange::from_len(VirtAddr::new(start), 16 << 20);
            t.cursor()
                .map(range, PhysAddr::new(0x800_0000), attr, &MapOptions::default(), &mut &*pool)
                .unwrap();
        }
        let all = runs(t, VirtRange::from_len(VirtAddr::new(0xd000_0000), 32 << 20));
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|run| run.range.len == 16 << 20));
        assert_eq!(pool.in_use(), 0);
        let words = pool.words32(t.root(), 4096).unwrap();
        assert!((0xd00..0xd20).all(|i| <u32 as Word>::load(&words[i]) == 0x0805_141e));
    });
}

#[test]
fn two_tables_of_pages_share_a_page_that_goes_with_the_second() {
    with_tables(ArmShort::default(), 16, |t| {
        let pool = *t.memory();
        let attr = data(t.format());
        let page_of = |mib: u64| VirtRange::from_len(VirtAddr::new(0xf000_0000 + (mib << 20)), 0x1000);
        for (mib, tables) in [(1, 1), (0, 1), (2, 2)] {
            t.cursor()
                .map(page_of(mib), PhysAddr::new(0x1000 << mib), attr, &MapOptions::PAGES, &mut &*pool)
                .unwrap();
            assert_eq!(pool.in_use(), tables);
        }
        let root = pool.words32(t.root(), 4096).unwrap();
        let entry = |i: usize| <u32 as Word>::load(&root[i]);
        // Linux's 2 MiB entry is a pair: both halves of one page's hardware tables.
        assert_eq!(entry(0xf01), entry(0xf00) + 0x400);
        assert_eq!(entry(0xf00) & 0xfff, 0x801);
        let table = PhysAddr::new(u64::from(entry(0xf00) as u32 & 0xffff_f000));
        let words = pool.words32(table, 1024).unwrap();
        let used: Vec<_> = (0..1024).filter(|i| <u32 as Word>::load(&words[*i]) != 0).collect();
        assert_eq!(used, [0, 256, 512, 768]);
        for (mib, tables) in [(0, 2), (1, 1), (2, 0)] {
            t.cursor().unmap(page_of(mib), &mut |_| ()).unwrap().finish(&pool, &mut NotLive, &mut &*pool);
            assert_eq!(pool.in_use(), tables, "after {mib}");
        }
        assert!((0..4096).all(|i| entry(i) == 0));
    });
}

#[test]
fn the_hardwares_view_of_arm_stands_alone() {
    // Linux's words are wiped: what the hardware walks is untouched.
    with_tables(ArmShort::default(), 16, |t| {
        let pool = *t.memory();
        let range = VirtRange::from_len(VirtAddr::new(0xf010_0000), 0x4000);
        let attr = data(t.format());
        t.cursor().map(range, PhysAddr::new(0x2000), attr, &MapOptions::PAGES, &mut &*pool).unwrap();
        let root = pool.words32(t.root(), 4096).unwrap();
        let table = <u32 as Word>::load(&root[0xf01]) & 0xffff_f000;
        let words: &[AtomicU32] = pool.words32(PhysAddr::new(table), 1024).unwrap();
        for cell in &words[..512] {
            <u32 as Word>::store(cell, 0);
        }
        for n in 0..4 {
            let hit = t.translate(VirtAddr::new(0xf010_0000 + n * 0x1000)).unwrap();
            assert_eq!(hit.phys.get(), 0x2000 + n * 0x1000);
        }
        let all = runs(t, range);
        assert_eq!((all.len(), all[0].range.len), (1, 0x4000));
    });
}

#[test]
fn old_pages_are_for_linux_and_not_for_the_hardware() {
    with_tables(ArmShort::default(), 16, |t| {
        let pool = *t.memory();
        let old = data(t.format()).changed(AttrFlags::empty(), AttrFlags::ACCESSED);
        let range = VirtRange::from_len(VirtAddr::new(0xf010_0000), 0x4000);
        t.cursor().map(range, PhysAddr::new(0x2000), old, &MapOptions::PAGES, &mut &*pool).unwrap();
        let root = pool.words32(t.root(), 4096).unwrap();
        let table = <u32 as Word>::load(&root[0xf01]) & 0xffff_f000;
        let words = pool.words32(PhysAddr::new(table), 1024).unwrap();
        assert!((512..1024).all(|i| <u32 as Word>::load(&words[i]) == 0));
        // They lead somewhere all the same.
        assert_eq!(t.translate(range.start).unwrap().phys, PhysAddr::new(0x2000));
        let free = VirtAddr::new(0xf010_4000);
        assert_eq!(t.translate(free), Err(Unmapped::Absent(Level::PTE, 0)));
        let all = runs(t, range);
        assert_eq!((all.len(), all[0].range), (1, range));
        let mut gone = Vec::new();
        let pending = t.cursor().unmap(range, &mut |run| gone.push(run.range)).unwrap();
        pending.finish(&pool, &mut NotLive, &mut &*pool);
        assert_eq!((gone.as_slice(), pool.in_use()), (&[range][..], 0));
    });
}

#[test]
fn a_word_that_linux_would_not_write_changes_as_what_it_means() {
    // arm64, writable without DBM (the first tables of old kernels): read-only means read-only afterwards.
    with_tables(Arm64Page4kVa39::default(), 16, |t| {
        let pool = *t.memory();
        let start = upper(t.format().window());
        let root: &[AtomicU64] = pool.words64(t.root(), 512).unwrap();
        <u64 as Word>::store(&root[256], 0x4000_0701);
        let range = VirtRange::from_len(VirtAddr::new(start), 1 << 30);
        let change = AttrChange::flags(AttrFlags::empty(), AttrFlags::WRITE);
        let (_, pending) = t.cursor().protect(range, &change, Live::No).unwrap();
        pending.finish(&pool, &mut NotLive, &mut &*pool);
        let word = <u64 as Word>::load(&root[256]);
        // AP[2] set, DBM clear.
        assert_eq!(word & ((1 << 51) | (1 << 7)), 1 << 7, "{word:#x}");
    });
}

#[test]
fn folded_levels_have_linuxs_counts() {
    let levels = |kind: FormatKind| kind.shape().count();
    assert_eq!(levels(FormatKind::I386), 2);
    assert_eq!(levels(FormatKind::ArmShort), 2);
    assert_eq!(levels(FormatKind::I386Pae), 3);
    assert_eq!(levels(FormatKind::ArmLpae), 3);
    assert_eq!(levels(FormatKind::X86Level4), 4);
    assert_eq!(levels(FormatKind::X86Level5), 5);
    assert_eq!(I386::SHAPE.level(Level::PMD).bytes(), 4 << 20);
    assert_eq!(I386Pae::SHAPE.level(Level::PUD).entries(), 4);
}

macro_rules! names {
    ($($kind:ident: $format:ty,)*) => {
        [$((FormatKind::$kind, <$format as Format>::NAME),)*]
    };
}

#[test]
fn the_list_has_every_format_once() {
    let names = for_each_format!(names);
    assert_eq!(names.len(), FormatKind::ALL.len());
    for (n, (kind, name)) in names.iter().enumerate() {
        assert_eq!((FormatKind::ALL[n], kind.name()), (*kind, *name));
        assert!(names[..n].iter().all(|(_, other)| other != name), "{name} twice");
        assert_eq!(kind.to_string(), *name);
    }
}
