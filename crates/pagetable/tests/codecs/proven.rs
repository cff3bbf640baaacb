//! Trees that are known to be sound, in a direct map over the test's own memory: the same answers without a question.

use super::walker::{data, upper};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_pagetable::format::{FormatKind, WithFormat};
use pagewright_pagetable::{Format, Level, MapOptions, Pool, Proven, Tables, Unmapped, Word};
use pagewright_platform::DirectMap;

const BASE: PhysAddr = PhysAddr::new(0x1000_0000);
/// What tables are made of holds this at first: a table that is not filled to its end shows.
const GARBAGE: u64 = 0xdead_beef_dead_beef;

struct SameAnswers;

impl WithFormat for SameAnswers {
    type Out = ();

    fn run<F: Format>(self, format: F) {
        let (page, block) = (F::SHAPE.page_bytes(), F::SHAPE.level(Level::PMD).bytes());
        let root_bytes = format.page_words(F::SHAPE.top()) as u64 * F::Word::BYTES;
        let count = (root_bytes.max(page) * 2 + 16 * page) / F::Word::BYTES;
        let words: Vec<_> = (0..count).map(|_| F::Word::zero()).collect();
        words.iter().for_each(|cell| F::Word::store(cell, GARBAGE));
        let pool = Pool::<F::Word>::new(&words, BASE, page).unwrap();
        let root = pool.alloc_root(root_bytes.div_ceil(page), root_bytes.max(64)).unwrap();
        let virt = words.as_ptr().expose_provenance() as u64;
        let all = PhysRange::from_len(BASE, count * F::Word::BYTES);
        // SAFETY: `words` are atomics at that address, as many bytes as the range, and outlive the map.
        let map = unsafe { DirectMap::new([all], virt.wrapping_sub(BASE.get())) };
        let mut tables = Tables::new(format, &pool, root);
        // Pages to four blocks' ends (with arm's pairs: two pages full of tables), a block, and a hole.
        let start = VirtAddr::new(upper(format.window()).next_multiple_of(8 * block));
        let by_pages = VirtRange::from_len(start, if page == 4096 { 4 * block } else { 8 * page });
        let by_block = VirtRange::from_len(VirtAddr::new(start.get() + 6 * block), block);
        let mut source = &pool;
        let phys = PhysAddr::new(1 << 30);
        for (range, options) in [(by_pages, MapOptions::PAGES), (by_block, MapOptions::default())] {
            tables.cursor().map(range, phys, data(&format), &options, &mut source).unwrap();
        }
        let mapped = [by_pages, by_block];
        // SAFETY: all tables come from the pool, which the map has; nobody changes them while the value lives.
        let proven = unsafe { Proven::new(&tables, map.known()) };
        let mut hits = 0;
        for at in (0..8 * block).step_by((block / 64 + 0x123) as usize) {
            let va = VirtAddr::new(start.get() + at);
            let answer = tables.translate(va);
            assert_eq!(proven.translate(va), answer, "{} {va:?}", F::NAME);
            let expected = mapped.iter().find(|range| range.contains(va));
            let expected = expected.map(|range| phys.get() + (va.get() - range.start.get()));
            assert_eq!(answer.ok().map(|hit| hit.phys.get()), expected, "{} {va:?}", F::NAME);
            hits += u32::from(answer.is_ok());
        }
        assert!(hits > 60, "{}: {hits}", F::NAME);
        let outside = VirtAddr::new(1 << 60);
        assert_eq!(proven.translate(outside), Err(Unmapped::OutsideWindow), "{}", F::NAME);
    }
}

#[test]
fn a_proven_tree_translates_as_the_tree_that_it_is() {
    let few = [FormatKind::X86Level4, FormatKind::ArmShort];
    for kind in FormatKind::ALL.iter().filter(|kind| !cfg!(miri) || few.contains(kind)) {
        kind.with(SameAnswers);
    }
}

#[test]
fn a_page_of_two_tables_is_filled_whole_and_given_back_once() {
    use pagewright_pagetable::format::arm::short::ArmShort;
    use pagewright_pagetable::{NotLive, TableSource};

    // From half of a page of tables to half of another, with a whole one between them.
    let format = ArmShort::default();
    for (first, megabytes, pages) in [(0, 2, 1), (1, 4, 3), (0, 3, 2), (1, 1, 1)] {
        let words: Vec<_> = (0..64 * 1024).map(|_| <u32 as Word>::zero()).collect();
        words.iter().for_each(|cell| u32::store(cell, GARBAGE));
        let pool = Pool::<u32>::new(&words, BASE, 4096).unwrap();
        let root = pool.alloc_root(4, 16384).unwrap();
        let mut tables = Tables::new(format, &pool, root);
        let range = VirtRange::from_len(VirtAddr::new(0xc000_0000 + (first << 20)), megabytes << 20);
        let mut source = &pool;
        let done = tables
            .cursor()
            .map(range, PhysAddr::new(1 << 30), data(&format), &MapOptions::PAGES, &mut source)
            .unwrap();
        assert_eq!((done.tables, pool.in_use()), (pages, pages), "{megabytes} MiB from the {first}. on");
        let stats = tables.validate(100).unwrap();
        assert_eq!(stats.leaves[0], megabytes << 8, "pages, and no garbage beside them");
        let mut gone = 0;
        let pending = tables.cursor().unmap(range, &mut |run| gone += run.range.len >> 12).unwrap();
        assert_eq!(gone, megabytes << 8);
        assert_eq!(pending.finish(tables.memory(), &mut NotLive, &mut source as &mut dyn TableSource), pages);
        assert_eq!(pool.in_use(), 0);
    }
}
