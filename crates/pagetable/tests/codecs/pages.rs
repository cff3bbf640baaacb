//! Pages that lie anywhere are mapped in one operation, and ranges are divided without a lock for each part.

use crate::walker::{data, upper, with_tables};
use pagewright_addr::{Pfn, PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::format::{FormatKind, WithFormat};
use pagewright_pagetable::{
    AttrFlags, Format, Leaf, Level, LockError, MapError, NoTables, NotLive, UnmapError,
};

/// Maps pages in an order of their own across the border of two tables.
struct Scattered;

impl WithFormat for Scattered {
    type Out = ();

    fn run<F: Format>(self, format: F) {
        with_tables(format, 16, |t| {
            let pool = *t.memory();
            let (page, block) = (F::SHAPE.page_bytes(), F::SHAPE.level(Level::PMD).bytes());
            let range =
                VirtRange::from_len(VirtAddr::new(upper(format.window()) + 2 * block - 3 * page), 8 * page);
            let frames = [7, 3, 40, 41, 42, 1, 0, 99_u64];
            let highest = PhysAddr::new(99 * page);
            let attr = data(&format);
            let mut asked = 0;
            let mut next = || {
                asked += 1;
                PhysAddr::new(frames[asked - 1] * page)
            };
            let none = t.cursor().map_pages(range, attr, highest, &mut NoTables, &mut next);
            assert!(matches!(none, Err(MapError::NoTables { got: 0, .. })), "{none:?}");
            t.cursor().map_pages(range, attr, highest, &mut &*pool, &mut next).unwrap();
            assert_eq!(asked, frames.len());
            for (n, frame) in (0..).zip(frames) {
                let (leaf, level, _) = t.leaf(VirtAddr::new(range.start.get() + n * page)).unwrap();
                assert_eq!(leaf, Leaf { phys: PhysAddr::new(frame * page), attr, contiguous: false });
                assert_eq!(level, Level::PTE);
            }
            let before = VirtAddr::new(range.start.get() - page);
            assert!(
                t.translate(before).is_err()
                    && t.translate(VirtAddr::new(range.start.get() + 8 * page)).is_err()
            );
            let pending = t.cursor().unmap(range, &mut |_| ()).unwrap();
            pending.finish(&pool, &mut NotLive, &mut &*pool);
            assert_eq!(pool.in_use(), 0);
        });
    }
}

#[test]
fn pages_from_anywhere_are_mapped_in_one_operation() {
    let few = [FormatKind::X86Level4, FormatKind::ArmShort, FormatKind::Arm64Page64kVa52];
    let kinds = FormatKind::ALL.iter().filter(|kind| !cfg!(miri) || few.contains(kind));
    kinds.for_each(|kind| kind.with(Scattered));
}

#[test]
fn addresses_beyond_48_bits_are_mapped_page_by_page_too() {
    use pagewright_pagetable::format::arm64::Arm64Page64kVa52;
    with_tables(Arm64Page64kVa52::default(), 16, |t| {
        let pool = *t.memory();
        let range = VirtRange::from_len(VirtAddr::new(upper(t.format().window())), 3 << 16);
        let frames = [1 << 49, 1 << 16, (1 << 51) + (5 << 16)].map(PhysAddr::new);
        let attr = data(t.format());
        let mut at = frames.iter();
        let mut next = || *at.next().unwrap();
        t.cursor().map_pages(range, attr, frames[2], &mut &*pool, &mut next).unwrap();
        for (n, frame) in (0..).zip(frames) {
            assert_eq!(t.translate(VirtAddr::new(range.start.get() + (n << 16))).unwrap().phys, frame);
        }
    });
}

#[test]
fn a_page_beyond_what_was_announced_is_taken_for_the_highest() {
    use pagewright_pagetable::format::x86::X86Level4;
    with_tables(X86Level4::default(), 8, |t| {
        let pool = *t.memory();
        let range = VirtRange::from_len(VirtAddr::new(upper(t.format().window())), 4096);
        let attr = data(t.format());
        let mut next = || PhysAddr::new(u64::MAX << 12);
        t.cursor().map_pages(range, attr, PhysAddr::new(0x5000), &mut &*pool, &mut next).unwrap();
        assert_eq!(t.translate(range.start).unwrap().phys, PhysAddr::new(0x5000));
        // And one that no entry can hold is refused before anything is asked for.
        let refused =
            t.cursor().map_pages(range, attr, PhysAddr::new(1 << 60), &mut &*pool, &mut || unreachable!());
        assert!(matches!(refused, Err(MapError::Attr(_))), "{refused:?}");
    });
}

#[test]
fn a_part_beside_others_holds_its_range_only() {
    use pagewright_pagetable::format::x86::X86Level4;
    with_tables(X86Level4::default(), 8, |t| {
        let pool = *t.memory();
        let start = upper(t.format().window());
        let part = |n: u64| VirtRange::from_len(VirtAddr::new(start + (n << 21)), 1 << 21);
        let whole = VirtRange::from_len(VirtAddr::new(start), 4 << 21);
        let all = t.lock(whole).unwrap();
        let attr = data(t.format());
        let (mut one, mut two) = (all.apart(part(0)).unwrap(), all.apart(part(1)).unwrap());
        for (cursor, n) in [(&mut one, 0), (&mut two, 1)] {
            let mut next = || PhysAddr::new(0x1000 << n);
            let page = VirtRange::from_len(part(n).start, 4096);
            cursor.map_pages(page, attr, PhysAddr::new(0x9000), &mut &*pool, &mut next).unwrap();
        }
        let beside = VirtRange::from_len(part(2).start, 4096);
        assert_eq!(one.unmap(beside, &mut |_| ()).err(), Some(UnmapError::OutsideCursor(beside)));
        assert_eq!(all.apart(part(4)).err(), Some(UnmapError::OutsideCursor(part(4))));
        assert!(matches!(t.lock(part(3)), Err(LockError::Busy(_))));
        // A table that is all in a part goes with it; those above stay, since others are in them.
        let pending = one.unmap(part(0), &mut |_| ()).unwrap();
        assert_eq!(pending.tables(), 1);
        pending.finish(&pool, &mut NotLive, &mut &*pool);
        let (leaf, ..) = t.leaf(part(1).start).unwrap();
        assert!(leaf.attr.flags.contains(AttrFlags::WRITE));
    });
}

/// Maps pages in a table that is there already, and takes them out again.
struct InATable;

impl WithFormat for InATable {
    type Out = ();

    fn run<F: Format>(self, format: F) {
        with_tables(format, 16, |t| {
            let pool = *t.memory();
            let (page, block) = (F::SHAPE.page_bytes(), F::SHAPE.level(Level::PMD).bytes());
            let start = upper(format.window()) + 2 * block;
            let at = |n: u64| VirtAddr::new(start + n * page);
            let attr = data(&format);
            let highest = PhysAddr::new(99 * page);
            let words = t.page_words(attr, highest).unwrap().unwrap();
            assert_eq!((words.attr(), words.highest()), (attr, highest));
            let (first, range) = (VirtRange::from_len(at(0), page), VirtRange::from_len(at(3), 4 * page));
            let mut cursor = t.cursor();
            assert_eq!(cursor.leaf_tables(range), None, "there is none");
            cursor.map_pages(first, attr, highest, &mut &*pool, &mut || PhysAddr::new(page)).unwrap();
            let tables = cursor.leaf_tables(range).unwrap();
            assert_eq!(cursor.leaf_tables(VirtRange::from_len(at(0), 2 * block)), None, "more than a table");
            let across = VirtRange::from_len(VirtAddr::new(start + block - page), 2 * page);
            // Where tables share a page, the next one is there too.
            let alone = F::SHAPE.level(Level::PTE).tables_per_page == 1;
            assert_eq!(cursor.leaf_tables(across).is_none(), alone);
            let runs = [(7, 1), (3, 2), (99, 1_u64)];
            let frames = [7, 3, 4, 99_u64];
            let mut rest = runs.iter();
            let mut next = |most: usize| {
                let (pfn, len) = *rest.next().unwrap();
                assert!(len <= most as u64);
                (Pfn::new(pfn), len as usize)
            };
            cursor.page_entries(tables, range).unwrap().map(&words, &mut next).unwrap();
            let whole = VirtRange::from_len(at(1), 4 * page);
            let twice = cursor.page_entries(tables, whole).unwrap().map(&words, |_| unreachable!());
            assert!(
                matches!(twice, Err(MapError::AlreadyMapped { at: found, .. }) if found == at(3)),
                "{twice:?}"
            );
            assert!(cursor.page_entries(tables, across).is_err());
            for (n, frame) in (3..).zip(frames) {
                let (leaf, ..) = cursor.tables().leaf(at(n)).unwrap();
                assert_eq!(leaf, Leaf { phys: PhysAddr::new(frame * page), attr, contiguous: false });
            }
            assert!(cursor.tables().leaf(at(1)).is_err() && cursor.tables().leaf(at(7)).is_err());
            let mut pending = cursor.unmap(first, &mut |_| ()).unwrap();
            pending.add_pages(cursor.page_entries(tables, range).unwrap().unmap());
            let beyond = VirtRange::from_len(VirtAddr::new(start + block + page), page);
            cursor.map_pages(beyond, attr, highest, &mut &*pool, &mut || PhysAddr::new(page)).unwrap();
            let both = cursor.leaf_tables(across).unwrap();
            let run = |most: usize| (Pfn::new(20 + 2 - most as u64), most);
            cursor.page_entries(both, across).unwrap().map(&words, run).unwrap();
            let frame = |n: u64| cursor.tables().leaf(VirtAddr::new(across.start.get() + n * page));
            assert_eq!([0, 1].map(|n| frame(n).unwrap().0.phys.get() / page), [21, 21]);
            let last = VirtAddr::new(across.start.get() + page);
            assert!(cursor.map_one(both, across.start, &words, Pfn::new(9)).is_err());
            let flush = cursor.page_entries(both, across).unwrap().unmap();
            assert!(frame(0).is_err() && cursor.tables().leaf(last).is_err());
            cursor.map_one(both, across.start, &words, Pfn::new(9)).unwrap();
            assert_eq!(frame(0).unwrap().0.phys.get() / page, 9);
            pending.add_pages(flush.merge(cursor.unmap_one(both, across.start).unwrap()));
            assert!(frame(0).is_err());
            assert!(cursor.tables().leaf(at(4)).is_err());
            let scope = *pending.scope().unwrap();
            let whole = VirtRange::new(at(0), VirtAddr::new(start + block + page));
            assert_eq!((scope.range, scope.stride_bytes), (whole, page));
            pending = pending.merge(&pool, cursor.unmap(beyond, &mut |_| ()).unwrap());
            pending.finish(&pool, &mut NotLive, &mut &*pool);
        });
    }
}

#[test]
fn pages_are_mapped_in_a_table_that_is_known() {
    let few = [FormatKind::X86Level4, FormatKind::ArmShort];
    let kinds = FormatKind::ALL.iter().filter(|kind| !cfg!(miri) || few.contains(kind));
    kinds.for_each(|kind| kind.with(InATable));
}
