//! The page allocator's functions where `tests/c/pages.c` does not look: several nodes, and the header's numbers.

use pagewright_capi::*;
use pagewright_zone::Gfp;
use std::alloc::{Layout, alloc};

#[unsafe(no_mangle)]
static mut movable_node_enabled: bool = false;

#[test]
fn the_header_s_masks_are_linux_s() {
    let header = include_str!("../include/pagewright/pages.h");
    let mut seen = 0;
    for line in header.lines().filter_map(|line| line.strip_prefix("#define __GFP_")) {
        let Some((name, value)) = line.split_once(" 0x") else { continue };
        let value = u32::from_str_radix(value.trim_end_matches('u'), 16).unwrap();
        let expected: Gfp = format!("__GFP_{name}").parse().unwrap();
        assert_eq!(value, expected.bits(), "__GFP_{name}");
        seen += 1;
    }
    assert_eq!(seen, 24);
}

#[test]
fn pages_come_from_the_node_that_is_named() {
    const PAGE: u64 = 4096;
    let layout = Layout::from_size_align(32 << 20, 4 << 20).unwrap();
    // SAFETY: the layout is not empty.
    let base = unsafe { alloc(layout) }.expose_provenance() as u64;
    assert_eq!(memblock_add_node(base, 16 << 20, 0, 0), 0);
    assert_eq!(memblock_add_node(base + (16 << 20), 16 << 20, 1, 0), 0);
    memblock_set_current_limit(u64::MAX);
    assert_eq!(pagewright_page_alloc_init(), 0);
    let free = nr_free_pages();
    let node_of = |at: *const page| (page_to_phys(at) - base) >> 24;
    let gfp = Gfp::GFP_KERNEL.bits();
    for nid in [0, 1] {
        let page = alloc_pages_node(nid, gfp, 4);
        assert_eq!(node_of(page), nid as u64);
        __free_pages(page, 4);
        let exact = alloc_pages_exact_nid(nid, 3 * PAGE as usize, gfp);
        assert_eq!(node_of(virt_to_page(exact)), nid as u64);
        free_pages_exact(exact, 3 * PAGE as usize);
    }
    // Without a name it is the CPU's, the first one's.
    let page = alloc_pages_node(-1, gfp, 0);
    assert_eq!(node_of(page), 0);
    __free_pages(page, 0);
    // Nor is another one taken for a node that there is not.
    for nid in [2, 63, 64, 1023, 65535, 65536, 100_000, i32::MAX] {
        assert!(alloc_pages_node(nid, gfp, 0).is_null(), "node {nid}");
        assert!(alloc_pages_exact_nid(nid, 3, gfp).is_null(), "node {nid}");
    }
    assert_eq!(nr_free_pages(), free);
    // SAFETY: nothing else in this process uses the library now.
    assert_eq!(unsafe { pagewright_bad_frees }, 0);
}
