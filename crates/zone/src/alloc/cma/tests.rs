//! Bitmaps against a naive one, and the choice of an area.

extern crate std;

use super::*;
use pagewright_addr::NodeId;
use std::string::ToString;
use std::vec::Vec;

#[test]
fn places_are_found_where_a_naive_search_finds_them() {
    let mut seed = 88_172_645_463_325_252u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for _ in 0..if cfg!(miri) { 5 } else { 300 } {
        let bits = 1 + random(200);
        let mut words = std::vec![u64::MAX; 4];
        let mut bitmap = Bitmap::new(&mut words, bits).unwrap();
        let mut naive = std::vec![false; bits as usize];
        for _ in 0..40 {
            let (start, len) = (random(bits), 1 + random(20));
            let end = (start + len).min(bits);
            let set = random(3) > 0;
            bitmap.put(start, end - start, set);
            naive[start as usize..end as usize].fill(set);
            assert_eq!(bitmap.count_set(), naive.iter().filter(|&&b| b).count() as u64);
            let (from, len, align, offset) = (random(bits), 1 + random(9), 1 << random(4), random(16));
            let fits = |at: u64| {
                at + len <= bits
                    && (at + offset).is_multiple_of(align)
                    && !naive[at as usize..(at + len) as usize].contains(&true)
            };
            assert_eq!(bitmap.find(from, len, align, offset), (from..bits).find(|&at| fits(at)));
        }
    }
    assert!(Bitmap::new(&mut [0; 1], 65).is_none());
}

#[test]
fn an_area_wants_whole_bits_and_words_for_them() {
    let pfns = PfnRange::from_len(Pfn::new(64), 640);
    let four = Order::new(2).unwrap();
    assert_eq!(CmaArea::required_words(640, four), 3);
    assert!(CmaArea::new("video", pfns, four, &mut [0; 3]).is_ok());
    let short = CmaArea::new("video", pfns, four, &mut [0; 2]).unwrap_err();
    assert_eq!(short, CmaAreaError::Bitmap { len: 2, required: 3 });
    let odd = PfnRange::from_len(Pfn::new(64), 42);
    let refused = CmaArea::new("video", odd, four, &mut [0; 3]).unwrap_err();
    assert_eq!(refused, CmaAreaError::Size { pfns: odd, order_per_bit: four });
}

#[test]
fn a_device_is_served_from_the_areas_that_are_its() {
    let mut words = [[0; 1]; 3];
    let [one, two, three] = &mut words;
    let area = |name, at: u64, words| {
        CmaArea::new(name, PfnRange::from_len(Pfn::new(at), 64), Order::ZERO, words).unwrap()
    };
    let (own, node, default) = (area("own", 0, one), area("node1", 64, two), area("reserved", 128, three));
    let per_node = [None, Some(&node)];
    let with_own = DmaAreas { device: Some(&own), per_node: &per_node, default: Some(&default) };
    let without = DmaAreas { device: None, ..with_own };
    let nid = NodeId::new(1);
    type Row<'x> = (&'x str, &'x DmaAreas<'x, 'x>, Option<NodeId>, u64, Gfp, &'x [&'x str]);
    let table: [Row<'_>; 8] = [
        ("its own and no other", &with_own, nid, 8, Gfp::GFP_KERNEL, &["own"]),
        ("even for a page", &with_own, nid, 1, Gfp::GFP_KERNEL, &["own"]),
        ("a page from none of the others", &without, nid, 1, Gfp::GFP_KERNEL, &[]),
        ("its node's, then the default", &without, nid, 2, Gfp::GFP_KERNEL, &["node1", "reserved"]),
        ("no node", &without, None, 2, Gfp::GFP_KERNEL, &["reserved"]),
        ("a node without one", &without, NodeId::new(5), 2, Gfp::GFP_KERNEL, &["reserved"]),
        ("few address bits", &without, nid, 2, Gfp::GFP_KERNEL | Gfp::DMA32, &["reserved"]),
        ("who cannot wait", &with_own, nid, 2, Gfp::GFP_ATOMIC, &[]),
    ];
    for (what, areas, nid, pages, gfp, expected) in table {
        let names: Vec<_> = areas.choice(nid, pages, gfp).map(|area| area.name()).collect();
        assert_eq!(names, expected, "{what}");
    }
}

#[test]
fn failures_read_as_in_the_kernel_log() {
    let failure = CmaFailure { area: "reserved", count: 512, cause: None };
    assert_eq!(failure.to_string(), "cma: cma_alloc: reserved: alloc failed, req-size: 512 pages, ret: -12");
    let pfns = PfnRange::from_len(Pfn::new(0x4_0000), 16);
    let busy = CmaFailure { cause: Some(ContigError::Busy { pfns, at: None }), ..failure };
    assert_eq!(busy.errno(), -16);
}
