//! As many tables as arithmetic says, and no more: whatever is mapped, in whatever format.

use super::walker::{data, upper, with_tables};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::format::{FormatKind, WithFormat};
use pagewright_pagetable::{Format, Level, MapOptions, NotLive, TableUse};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// One range: pages left out before it, its pages, by how many pages its memory is shifted, the largest leaf.
type Piece = (u64, u64, u64, usize);

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let gap = prop_oneof![2 => 0..3u64, 2 => 0..600u64, 1 => 0..20_000u64];
    let len = prop_oneof![2 => 1..4u64, 2 => 1..600u64, 1 => 1..9_000u64];
    let shift = prop_oneof![3 => Just(0u64), 1 => 0..64u64];
    prop::collection::vec((gap, len, shift, 0..5usize), 1..5)
}

/// The spans that need a table, by level and page: those that a range covers in part, and those that no larger leaf can stand for.
fn arithmetic<F: Format>(ranges: &[(VirtRange, u64, Level)]) -> u64 {
    let mut tables = BTreeSet::new();
    for (range, phys, max_leaf) in ranges {
        for n in 0..F::SHAPE.count() - 1 {
            let above = F::SHAPE.level(Level::new(n + 1));
            let leaf_above = n < max_leaf.index().min(F::SHAPE.max_leaf().index());
            let congruent = (range.start.get() ^ phys) & (above.bytes() - 1) == 0;
            for span in range.start.get() >> above.shift..=range.last().get() >> above.shift {
                let whole = VirtRange::from_len(VirtAddr::new(span << above.shift), above.bytes());
                if !(leaf_above && congruent && range.contains_range(&whole)) {
                    let per_page = F::SHAPE.level(Level::new(n)).tables_per_page as u64;
                    tables.insert((n, span / per_page));
                }
            }
        }
    }
    tables.len() as u64
}

struct Least<'p>(&'p [Piece]);

impl WithFormat for Least<'_> {
    type Out = ();

    fn run<F: Format>(self, format: F) {
        let page = F::SHAPE.page_bytes();
        let block = F::SHAPE.level(Level::PMD).bytes();
        with_tables(format, 200, |tables| {
            let pool = *tables.memory();
            let (mut at, mut ranges) = (upper(format.window()), Vec::new());
            for &(gap, pages, shift, level) in self.0 {
                // Larger granules have larger blocks: a page more or less of theirs is enough.
                let pages = pages.min(2 * block / page + 3);
                let range = VirtRange::from_len(VirtAddr::new(at + gap * page), pages * page);
                let phys = (range.start.get() & 0x3fff_ffff) + shift * page;
                let options = MapOptions { max_leaf: Level::new(level), ..MapOptions::default() };
                let done =
                    tables.cursor().map(range, PhysAddr::new(phys), data(&format), &options, &mut &*pool);
                done.expect("mapped");
                ranges.push((range, phys, options.max_leaf));
                at = range.last().get() + 1;
            }
            let least = arithmetic::<F>(&ranges);
            let all = VirtRange { start: VirtAddr::ZERO, len: u64::MAX };
            let used = tables.table_use(all, 10_000).expect("a sound tree");
            assert_eq!(used, TableUse { built: least, minimum: least }, "{}: {ranges:x?}", F::NAME);
            assert_eq!(pool.in_use(), least);
            // A range's own tables are counted without those of its neighbours.
            let one = tables.table_use(ranges[0].0, 10_000).expect("a sound tree");
            assert_eq!(one.built, arithmetic::<F>(&ranges[..1]), "{}: {:x?}", F::NAME, ranges[0]);
            assert_eq!(one.built, one.minimum);
            // What is unmapped piece by piece leaves nothing behind that is not needed.
            for n in 0..ranges.len() {
                let pending = tables.cursor().unmap(ranges[n].0, &mut |_| ()).expect("unmapped");
                pending.finish(pool, &mut NotLive, &mut &*pool);
                assert_eq!(pool.in_use(), arithmetic::<F>(&ranges[n + 1..]), "{} after {n}", F::NAME);
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 40 })
    })]
    #[test]
    fn every_format_takes_the_arithmetic_minimum_of_tables(pieces in pieces()) {
        for kind in FormatKind::ALL {
            kind.with(Least(&pieces));
        }
    }
}

#[test]
fn a_table_that_was_kept_although_it_is_empty_is_one_too_many() {
    use pagewright_pagetable::format::x86::X86Level4;
    with_tables(X86Level4::default(), 8, |tables| {
        let pool = *tables.memory();
        let at = |start: u64, len| VirtRange::from_len(VirtAddr::new(start), len);
        let options = MapOptions::PAGES;
        let attr = data(tables.format());
        tables.cursor().map(at(0x1000, 0x1000), PhysAddr::ZERO, attr, &options, &mut &*pool).unwrap();
        tables.cursor().map(at(0x20_0000, 0x1000), PhysAddr::ZERO, attr, &options, &mut &*pool).unwrap();
        // A cursor that holds no more than the page takes no table out.
        let pending =
            tables.lock(at(0x1000, 0x1000)).unwrap().unmap(at(0x1000, 0x1000), &mut |_| ()).unwrap();
        pending.finish(pool, &mut NotLive, &mut &*pool);
        let used = tables.table_use(at(0, 1 << 30), 100).unwrap();
        assert_eq!(used, TableUse { built: 4, minimum: 3 });
    });
}
