use crate::{FrameIdx, MapError, PageMap, PageStorage, Section, SectionTable};
use pagewright_addr::{Order, Pfn, PfnRange};
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

fn order(n: u8) -> Order {
    Order::new(n).unwrap()
}

fn pfns(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

#[test]
fn holes_cost_nothing_even_far_up() {
    let mut entries = [Section::EMPTY; 2];
    // RAM at 0x4000_0000_0000, as real machines have it.
    let table =
        SectionTable::build(&mut entries, [pfns(0, 0x400), pfns(0x4_0000_0000, 0x4_0000_0400)], order(10))
            .unwrap();
    assert_eq!(table.frames(), 0x800);
    assert_eq!(table.idx(Pfn::new(0x4_0000_0000)), Some(FrameIdx::new(0x400)));
    assert_eq!(table.pfn(FrameIdx::new(0x7ff)), Some(Pfn::new(0x4_0000_03ff)));
    assert_eq!((table.idx(Pfn::new(0x400)), table.pfn(FrameIdx::new(0x800))), (None, None));
    assert_eq!((table.run(Pfn::new(0x3f0), 99), table.run(Pfn::new(0x400), 99)), (16, 0));
}

#[test]
fn ranges_grow_to_whole_blocks_and_share_a_section_when_they_touch() {
    let mut entries = [Section::EMPTY; 3];
    let ranges =
        [pfns(1, 0x9f), pfns(0x100, 0x7f0), pfns(0x7f8, 0x801), pfns(0x1000, 0x1000), pfns(0x1400, 0x1401)];
    let table = SectionTable::build(&mut entries, ranges, order(10)).unwrap();
    assert_eq!(
        table.sections().iter().map(Section::pfns).collect::<Vec<_>>(),
        [pfns(0, 0xc00), pfns(0x1400, 0x1800)]
    );
    assert_eq!(table.sections()[1].base(), FrameIdx::new(0xc00));
    assert_eq!(table.frames(), 0x1000);
}

#[test]
fn sixteen_tebibytes_are_the_limit_and_more_is_refused_by_name() {
    let mut entries = [Section::EMPTY; 2];
    let whole = SectionTable::build(
        &mut entries,
        [pfns(0, 1 << 31), pfns(1 << 40, (1 << 40) + (1 << 31))],
        order(10),
    );
    let table = whole.unwrap();
    assert_eq!(table.idx(Pfn::new((1 << 40) + (1 << 31) - 1)), Some(FrameIdx::new(u32::MAX)));
    let more = SectionTable::build(&mut entries, [pfns(0, 1 << 32), pfns(1 << 40, (1 << 40) + 1)], order(10));
    let error = more.unwrap_err();
    assert_eq!(error, MapError::TooManyFrames { frames: (1 << 32) + 1024, limit: 1 << 32 });
    assert!(error.to_string().contains("16 TiB"));
    let absurd = SectionTable::build(&mut entries, [pfns(0, u64::MAX)], order(10));
    assert!(matches!(absurd, Err(MapError::TooManyFrames { .. })));
}

#[test]
fn unsorted_ranges_and_full_tables_are_refused() {
    let mut entries = [Section::EMPTY; 1];
    let unsorted = SectionTable::build(&mut entries, [pfns(8, 16), pfns(15, 20)], order(0)).unwrap_err();
    assert_eq!(unsorted, MapError::Unsorted { range: pfns(15, 20), after: Pfn::new(16) });
    let full = SectionTable::build(&mut entries, [pfns(8, 16), pfns(17, 20)], order(0)).unwrap_err();
    assert_eq!(full, MapError::SectionsFull { capacity: 1 });
}

#[test]
fn too_little_metadata_is_refused() {
    let mut entries = [Section::EMPTY; 1];
    let table = SectionTable::build(&mut entries, [pfns(0, 16)], order(4)).unwrap();
    let mut slots = Vec::with_capacity(16);
    let storage = PageStorage::zero(&mut slots.spare_capacity_mut()[..15]);
    let error = PageMap::new(storage, table).map(|_| ()).unwrap_err();
    assert_eq!(error, MapError::StorageTooSmall { needed: 16, given: 15 });
    assert_eq!(PageMap::required_bytes(1 << 28), 8 << 30);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }) })]

    /// Against the naive model: walk the frames in order and number those whose block is touched.
    #[test]
    fn frames_are_numbered_in_order_block_by_block(
        gaps in prop::collection::vec((0u64..40, 1u64..40), 0..6),
        align in 0u8..5,
    ) {
        let mut ranges = Vec::new();
        let mut end = 0;
        for (gap, len) in gaps {
            ranges.push(pfns(end + gap, end + gap + len));
            end += gap + len;
        }
        let mut entries = [Section::EMPTY; 6];
        let table = SectionTable::build(&mut entries, ranges.iter().copied(), order(align)).unwrap();
        let mut next = 0u32;
        for pfn in (0..end + 32).map(Pfn::new) {
            let block = PfnRange::from_len(pfn.align_down(1 << align), 1 << align);
            let expected = ranges.iter().any(|r| r.overlaps(&block)).then(|| FrameIdx::new(next));
            prop_assert_eq!(table.idx(pfn), expected);
            if let Some(idx) = expected {
                prop_assert_eq!(table.pfn(idx), Some(pfn));
                prop_assert_eq!(u64::from(idx.get()) % (1 << align), pfn.get() % (1 << align));
                next += 1;
            }
        }
        prop_assert_eq!(table.frames(), u64::from(next));
        prop_assert_eq!(table.validate(), Ok(()));
    }
}
