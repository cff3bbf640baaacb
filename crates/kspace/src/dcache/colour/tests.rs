//! Places with the right colour, beside all places there are.

use super::{cache_colour, colour_align, may_begin_at, place, place_topdown, shmlba};
use pagewright_addr::{VirtAddr, VirtRange};
use proptest::prelude::*;

const PAGE: u64 = 4096;

#[test]
fn four_pages_have_four_colours() {
    assert_eq!(shmlba(PAGE), 0x4000);
    let colours: [u64; 6] =
        core::array::from_fn(|n| cache_colour(VirtAddr::new(0x1_0000 + n as u64 * PAGE + 5), PAGE));
    assert_eq!(colours, [0, 1, 2, 3, 0, 1]);
}

#[test]
fn an_address_is_moved_up_to_the_objects_colour() {
    let align = |at, index| colour_align(VirtAddr::new(at), index, PAGE).map(VirtAddr::get);
    assert_eq!(align(0x1_0000, 0), Some(0x1_0000));
    assert_eq!(align(0x1_0000, 3), Some(0x1_3000));
    assert_eq!(align(0x1_2000, 1), Some(0x1_5000));
    assert_eq!(align(u64::MAX - 0xfff, 0), None);
    assert!(may_begin_at(VirtAddr::new(0x1_3000), 7, PAGE));
    assert!(!may_begin_at(VirtAddr::new(0x1_3000), 6, PAGE));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn places_are_the_lowest_and_the_highest_there_are(
        start in 0u64..40, pages in 0u64..24, bytes in 1u64..12 * PAGE, index in prop::option::of(0u64..9),
    ) {
        let gap = VirtRange { start: VirtAddr::new(start * PAGE), len: pages * PAGE };
        let fits = |at: &u64| {
            let end = (start + pages) * PAGE;
            at + bytes <= end && index.is_none_or(|i| may_begin_at(VirtAddr::new(*at), i, PAGE))
        };
        let mut all = (start..start + pages).map(|n| n * PAGE).filter(fits).map(VirtAddr::new);
        prop_assert_eq!(place(gap, bytes, index, PAGE), all.clone().next());
        prop_assert_eq!(place_topdown(gap, bytes, index, PAGE), all.next_back());
    }
}
