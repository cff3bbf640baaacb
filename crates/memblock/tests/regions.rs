//! Facts about the sets: adding, merging, isolating, removing, flags, nodes, limits, hand-over.

mod common;
use common::*;
use pagewright_addr::{Pfn, PfnRange, PhysRange};
use pagewright_memblock::{
    AddrWidth, ArrayParts, Config, Error, Flags, Memblock, Parts, Phase, Quiet, Region, Set,
};

#[test]
fn touching_regions_merge_and_distant_ones_do_not() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x1000, 0x1000)).unwrap();
    m.add(span(0x4000, 0x1000)).unwrap();
    m.add(span(0x2000, 0x1000)).unwrap();
    assert_eq!(bases(&m, Set::Memory), [(0x1000, 0x2000), (0x4000, 0x1000)]);
    m.add(span(0x2800, 0x2000)).unwrap();
    assert_eq!(bases(&m, Set::Memory), [(0x1000, 0x4000)]);
    assert_eq!(m.phys_mem_size(), 0x4000);
    m.validate().unwrap();
}

#[test]
fn what_is_there_keeps_its_flags_and_node_when_more_is_added() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add_node(span(0x2000, 0x1000), node(1), Flags::HOTPLUG).unwrap();
    m.add_node(span(0x1000, 0x3000), node(0), Flags::NONE).unwrap();
    let seen: Vec<_> = m.regions(Set::Memory).iter().map(|r| (r.base().get(), r.nid(), r.flags())).collect();
    assert_eq!(
        seen,
        [(0x1000, node(0), Flags::NONE), (0x2000, node(1), Flags::HOTPLUG), (0x3000, node(0), Flags::NONE)]
    );
    m.validate().unwrap();
}

#[test]
fn removing_the_middle_splits_and_removing_all_leaves_an_empty_set() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x1000, 0x5000)).unwrap();
    m.remove(span(0x2000, 0x1000)).unwrap();
    assert_eq!(bases(&m, Set::Memory), [(0x1000, 0x1000), (0x3000, 0x3000)]);
    m.remove_sized(at(0), u64::MAX).unwrap();
    assert!(m.regions(Set::Memory).is_empty());
    assert_eq!((m.phys_mem_size(), m.start_of_dram(), m.end_of_dram()), (0, at(0), at(0)));
    m.validate().unwrap();
}

#[test]
fn the_last_address_is_never_part_of_a_region() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add_sized(at(u64::MAX - 0xfff), 0x1000).unwrap();
    assert_eq!(bases(&m, Set::Memory), [(u64::MAX - 0xfff, 0xfff)]);
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, narrow(), &Quiet);
    m.add(span(0xffff_f000, 0x10_0000)).unwrap();
    assert_eq!(bases(&m, Set::Memory), [(0xffff_f000, 0xfff)]);
    assert_eq!(m.add(span(1 << 32, 1)), Err(Error::TooWide { addr: at(1 << 32) }));
    m.validate().unwrap();
}

#[test]
fn removing_insists_on_two_free_slots_even_if_nothing_splits() {
    let (mut a, mut b) = (slots::<2>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x1000, 0x1000)).unwrap();
    assert_eq!(m.remove(span(0x1000, 0x1000)), Err(Error::Full { set: Set::Memory, max: 2 }));
    assert_eq!(bases(&m, Set::Memory), [(0x1000, 0x1000)]);
}

#[test]
fn a_full_array_refuses_even_a_region_that_would_merge() {
    let (mut a, mut b) = (slots::<2>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x1000, 0x1000)).unwrap();
    m.add(span(0x5000, 0x1000)).unwrap();
    assert_eq!(m.add(span(0x2000, 0x1000)), Err(Error::Full { set: Set::Memory, max: 2 }));
    m.add(span(0x5000, 0x800)).unwrap();
}

#[test]
fn flags_split_regions_and_clearing_them_merges_again() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x1000, 0x4000)).unwrap();
    m.mark_nomap(span(0x2000, 0x1000)).unwrap();
    assert_eq!(m.regions(Set::Memory).len(), 3);
    assert!(m.is_memory(at(0x2800)) && !m.is_map_memory(at(0x2800)) && m.is_map_memory(at(0x3000)));
    m.mark_hotplug(span(0x2800, 0x400)).unwrap();
    assert_eq!(m.regions(Set::Memory).len(), 5);
    m.clear_hotplug(span(0, 0x10_0000)).unwrap();
    m.clear_nomap(span(0x2000, 0x1000)).unwrap();
    assert_eq!(bases(&m, Set::Memory), [(0x1000, 0x4000)]);
}

#[test]
fn mirror_marks_count_only_with_kernelcore_mirror() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x1000, 0x4000)).unwrap();
    m.mark_mirror(span(0x2000, 0x1000)).unwrap();
    assert!(!m.has_mirror() && m.regions(Set::Memory).len() == 1);
    m.set_mirrored_kernelcore(true);
    m.mark_mirror(span(0x2000, 0x1000)).unwrap();
    assert!(m.has_mirror() && m.regions(Set::Memory)[1].flags() == Flags::MIRROR);
}

#[test]
fn nodes_split_and_merge_regions_on_numa_kernels_only() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x1000, 0x4000)).unwrap();
    m.reserve(span(0x1000, 0x4000)).unwrap();
    m.set_node(span(0x1000, 0x2000), Set::Memory, node(0)).unwrap();
    m.set_node(span(0x3000, 0x2000), Set::Memory, node(1)).unwrap();
    m.set_node(span(0, 0x2000), Set::Reserved, node(3)).unwrap();
    let nodes = |m: &Memblock<'_>, s| m.regions(s).iter().map(Region::nid).collect::<Vec<_>>();
    assert_eq!(nodes(&m, Set::Memory), [node(0), node(1)]);
    assert_eq!(nodes(&m, Set::Reserved), [node(3), None]);
    m.set_node(span(0, u64::MAX), Set::Memory, None).unwrap();
    assert_eq!(nodes(&m, Set::Memory), [None]);

    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, narrow(), &Quiet);
    m.add(span(0x1000, 0x4000)).unwrap();
    m.set_node(span(0x1000, 0x2000), Set::Memory, node(1)).unwrap();
    assert_eq!(m.regions(Set::Memory).len(), 1);
    let frames: Vec<_> = m.mem_pfn_ranges(None).collect();
    assert_eq!(frames, [(PfnRange::new(Pfn::new(1), Pfn::new(5)), node(0))]);
}

#[test]
fn trimming_leaves_the_size_as_linux_prints_it() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x1000, 0x9ec00)).unwrap();
    m.add(span(0x20_0400, 0x800)).unwrap();
    m.add(span(0x30_0000, 0x2000)).unwrap();
    m.trim_memory(PAGE).unwrap();
    assert_eq!(bases(&m, Set::Memory), [(0x1000, 0x9e000), (0x30_0000, 0x2000)]);
    // The region that vanished is gone from the total, what was cut off the first is not.
    assert_eq!(m.phys_mem_size(), 0x9ec00 + 0x2000);
    assert_eq!(m.trim_memory(3), Err(Error::BadAlign { align: 3 }));
    m.validate().unwrap();
}

#[test]
fn a_memory_limit_counts_bytes_of_ram_not_addresses() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x1000, 0x3000)).unwrap();
    m.add(span(0x10_0000, 0x3000)).unwrap();
    m.reserve(span(0x10_0800, 0x8_0000)).unwrap();
    m.enforce_memory_limit(0).unwrap();
    m.enforce_memory_limit(0x100_0000).unwrap();
    assert_eq!(m.phys_mem_size(), 0x6000);
    m.enforce_memory_limit(0x4000).unwrap();
    assert_eq!(bases(&m, Set::Memory), [(0x1000, 0x3000), (0x10_0000, 0x1000)]);
    assert_eq!(bases(&m, Set::Reserved), [(0x10_0800, 0x800)]);
    assert_eq!((m.phys_mem_size(), m.reserved_size()), (0x4000, 0x800));
    m.enforce_memory_limit(0x3000).unwrap();
    assert_eq!(bases(&m, Set::Memory), [(0x1000, 0x3000)]);
    assert!(m.regions(Set::Reserved).is_empty());
    m.validate().unwrap();
}

#[test]
fn capping_to_a_range_spares_unmapped_memory() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    assert_eq!(m.cap_memory_range(span(0, 1)), Err(Error::NoMemoryYet));
    m.add(span(0x1000, 0x8000)).unwrap();
    m.mark_nomap(span(0x7000, 0x1000)).unwrap();
    m.reserve(span(0x1000, 0x1000)).unwrap();
    m.reserve(span(0x7800, 0x1000)).unwrap();
    m.cap_memory_range(PhysRange::default()).unwrap();
    m.cap_memory_range(span(0x2000, 0x2000)).unwrap();
    assert_eq!(bases(&m, Set::Memory), [(0x2000, 0x2000), (0x7000, 0x1000)]);
    assert!(m.regions(Set::Reserved).is_empty());
    m.mem_limit_remove_map(0x1000).unwrap();
    assert_eq!(bases(&m, Set::Memory), [(0x2000, 0x1000), (0x7000, 0x1000)]);
    m.validate().unwrap();
}

#[test]
fn an_unmapped_region_across_the_cap_stays_split_until_the_next_merge() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x1000, 0x4000)).unwrap();
    m.mark_nomap(span(0x1000, 0x4000)).unwrap();
    m.cap_memory_range(span(0x1000, 0x2000)).unwrap();
    assert_eq!(bases(&m, Set::Memory), [(0x1000, 0x2000), (0x3000, 0x2000)]);
    m.add(span(0x10_0000, 0x1000)).unwrap();
    assert_eq!(bases(&m, Set::Memory), [(0x1000, 0x4000), (0x10_0000, 0x1000)]);
}

#[test]
fn questions_about_ranges_answer_as_linux_does() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x1000, 0x2000)).unwrap();
    m.add_node(span(0x3000, 0x2000), node(1), Flags::NONE).unwrap();
    m.reserve(span(0x1800, 0x800)).unwrap();
    assert!(m.is_region_memory(span(0x1000, 0x2000)));
    assert!(!m.is_region_memory(span(0x1000, 0x2001)), "a range across two regions is in neither");
    assert!(m.is_region_memory(span(0x1000, 0)) && !m.is_region_memory(span(0x800, 0)));
    assert!(m.is_region_reserved(span(0x1000, 0x801)) && !m.is_region_reserved(span(0x1000, 0x800)));
    assert!(!m.is_region_reserved(span(0x2000, 0x1000)) && m.is_region_reserved(span(0x1900, 0)));
    assert!(m.is_reserved(at(0x1fff)) && !m.is_reserved(at(0x2000)));
    assert_eq!(m.search(Set::Memory, at(0x3000)), Some(1));
    assert_eq!(m.search(Set::Memory, at(0x5000)), None);
    let frames = PfnRange::new(Pfn::new(3), Pfn::new(5));
    assert_eq!(m.search_pfn_nid(Pfn::new(4)), Some((frames, node(1))));
    assert_eq!(m.search_pfn_nid(Pfn::new(5)), None);
}

#[test]
fn walks_show_whole_frames_mapped_memory_and_firmware_memory() {
    let config = Config { keep_physmem: true, ..Config::default() };
    let (mut a, mut b, mut c) = (slots::<8>(), slots::<8>(), slots::<4>());
    let mut m = Memblock::new(&mut a, &mut b, config, &Quiet).with_physmem(&mut c);
    m.physmem_add(span(0x1000, 0x8000)).unwrap();
    m.add(span(0x1400, 0x2000)).unwrap();
    m.add(span(0x5000, 0x400)).unwrap();
    m.add_node(span(0x6000, 0x1000), node(2), Flags::NOMAP).unwrap();
    let frames: Vec<_> = m.mem_pfn_ranges(None).map(|(r, n)| (r.start.get(), r.end.get(), n)).collect();
    assert_eq!(frames, [(2, 3, None), (6, 7, node(2))]);
    assert_eq!(m.mem_pfn_ranges(node(2)).rev().count(), 1);
    assert_eq!(m.mem_ranges().collect::<Vec<_>>(), [span(0x1400, 0x2000), span(0x5000, 0x400)]);
    let outside: Vec<_> = m.physmem_ranges(Some(Set::Memory)).collect();
    assert_eq!(
        outside,
        [span(0x1000, 0x400), span(0x3400, 0x1c00), span(0x5400, 0xc00), span(0x7000, 0x2000)]
    );
    assert_eq!(m.physmem_ranges(None).collect::<Vec<_>>(), [span(0x1000, 0x8000)]);
}

#[test]
fn free_ranges_never_cross_regions_and_read_the_same_from_both_ends() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add_node(span(0x1000, 0x2000), node(0), Flags::NONE).unwrap();
    m.add_node(span(0x3000, 0x2000), node(1), Flags::NONE).unwrap();
    m.add_node(span(0x8000, 0x1000), node(1), Flags::DRIVER_MANAGED).unwrap();
    m.reserve(span(0x1800, 0x400)).unwrap();
    m.reserve(span(0x4c00, 0x1000)).unwrap();
    let forward: Vec<_> = m.free_ranges(None, Flags::NONE).collect();
    assert_eq!(
        forward,
        [(span(0x1000, 0x800), node(0)), (span(0x1c00, 0x1400), node(0)), (span(0x3000, 0x1c00), node(1))]
    );
    let mut back: Vec<_> = m.free_ranges(None, Flags::NONE).rev().collect();
    back.reverse();
    assert_eq!(back, forward);
    let mut both = m.free_ranges(None, Flags::NONE);
    assert_eq!((both.next(), both.next_back()), (Some(forward[0]), Some(forward[2])));
    assert_eq!((both.next_back(), both.next(), both.next_back()), (Some(forward[1]), None, None));
    assert_eq!(m.free_ranges(node(1), Flags::DRIVER_MANAGED).count(), 2);
}

#[test]
fn hand_over_gives_each_free_frame_once_and_ends_the_phase() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.set_movable_node(true);
    m.add_node(span(0x1000, 0x4000), node(0), Flags::NONE).unwrap();
    m.add_node(span(0x5000, 0x2000), node(1), Flags::HOTPLUG).unwrap();
    m.add_node(span(0x9000, 0x2000), node(1), Flags::NOMAP).unwrap();
    m.reserve(span(0x2800, 0x400)).unwrap();
    let mut given = vec![];
    let pages = m.free_all(&mut |r, n| given.push((r.start.get(), r.end.get(), n))).unwrap();
    assert_eq!(given, [(1, 2, node(0)), (3, 5, node(0)), (5, 7, node(1))]);
    assert_eq!(pages, 5);
    let late = |operation| Err(Error::WrongPhase { operation, phase: Phase::Buddy });
    assert_eq!(m.free_all(&mut |_, _| panic!("given twice")), late("memblock_free_all").map(|()| 0));
    assert_eq!(m.reserve(span(0, 1)), late("memblock_reserve"));
    assert_eq!(m.alloc(1, 1), late("memblock_alloc_try_nid").map(|()| at(0)));
    assert_eq!(m.phys_free(span(0x2800, 0x400)), Ok(()), "kernels that keep memblock record this");
    m.discard(&mut |_| panic!("no grown array")).unwrap();
    assert!(m.regions(Set::Memory).is_empty());
    assert!(m.phys_free(span(0x2800, 0x400)).is_err());
    assert!(m.discard(&mut |_| ()).is_err());
}

#[test]
fn state_survives_being_taken_apart() {
    let (mut a, mut b) = (slots::<8>(), slots::<8>());
    let mut m = Memblock::new(&mut a, &mut b, Config::default(), &Quiet);
    m.add(span(0x1000, 0x4000)).unwrap();
    m.reserve(span(0x2000, 0x1000)).unwrap();
    m.set_bottom_up(true);
    let before = see(&m);
    let m = Memblock::from_parts(m.into_parts(), Config::default(), &Quiet).unwrap();
    assert_eq!(see(&m), before);
    let Parts { memory, .. } = m.into_parts();
    assert_eq!((memory.cnt, memory.regions.len(), memory.total_size), (1, 8, 0x4000));
}

#[test]
fn an_array_that_claims_too_much_is_refused() {
    let (mut a, mut b) = (slots::<2>(), slots::<2>());
    let part = |regions, cnt| ArrayParts { regions, cnt, total_size: 0, block: None };
    let parts = Parts {
        memory: part(&mut a, 1),
        reserved: part(&mut b, 3),
        current_limit: at(u64::MAX),
        bottom_up: false,
        can_resize: false,
        has_mirror: false,
        movable_node: false,
        max_numnodes: 16,
    };
    let error = Memblock::from_parts(parts, Config::default(), &Quiet).unwrap_err();
    assert_eq!(error, Error::BadCount { set: Set::Reserved, cnt: 3, max: 2 });
}

#[test]
fn a_set_without_any_slot_is_empty_and_full() {
    let mut b = slots::<2>();
    let mut m = Memblock::new(&mut [], &mut b, Config::default(), &Quiet);
    assert_eq!(m.add(span(0x1000, 1)), Err(Error::Full { set: Set::Memory, max: 0 }));
    assert_eq!(m.physmem_add(span(0x1000, 1)), Err(Error::NoPhysmem));
    m.validate().unwrap();
    assert_eq!(m.config().width, AddrWidth::Bits64);
}
