//! Memory models: what each allocates for its `struct page`s, where a frame's is, and which frames have one.

use crate::support::facts::{Depth, Facts};
use crate::support::spec::{RAM, Spec, affinity, arm, arm64, arm64_banks, pc, pc_of};
use crate::support::{GIB, KIB, MIB};
use pagewright::Boot;
use pagewright_addr::{Pfn, PhysAddr, PhysRange, VirtAddr};
use pagewright_firmware::config::{Flavour, KernelConfig, MemoryModel, Slab};
use pagewright_memblock::Event;
use pagewright_page::model::{Maps, NodeMap};

/// A kernel with this model; what cannot be had with it is off.
fn with(model: MemoryModel) -> impl FnOnce(&mut KernelConfig) {
    move |c| {
        c.memory_model = model;
        c.sparsemem_extreme &= c.is_sparse();
        c.memory_hotplug &= c.is_sparse();
        c.deferred_struct_page_init &= c.is_sparse();
        c.zone_device &= c.memory_hotplug && model == MemoryModel::SparseVmemmap;
        c.lru_gen &= c.is_64bit() || !c.is_sparse();
        if model == MemoryModel::Flat {
            (c.numa, c.numa_emu, c.numa_balancing, c.pernuma_cma) = (false, false, false, false);
        }
    }
}

/// Boots and has a look at the model.
#[track_caller]
fn look(spec: &Spec, look: impl FnOnce(&Boot<'_>)) -> Facts {
    match spec.boot_looking(Depth::Use, |_| (), look) {
        (Ok(facts), _) => facts,
        (Err(e), log) => panic!("the boot stopped: {e}\n{:#?}", log.lines.borrow()),
    }
}

/// Sizes of the allocations on behalf of a function, in order, with their alignment.
fn asked(facts: &Facts, who: &str) -> Vec<(u64, u64)> {
    let event = |e: &Event| match *e {
        Event::AllocTryNid { size, align, caller, .. } if caller == who => Some((size, align)),
        _ => None,
    };
    facts.events.iter().filter_map(event).collect()
}

fn valid(boot: &Boot<'_>, phys: u64) -> bool {
    let pfn = PhysAddr::new(phys).pfn(boot.machine.config.page_shift);
    boot.model.as_ref().is_some_and(|m| m.pfn_valid(pfn))
}

/// The address of the `struct page` of the frame at a physical address.
fn page(boot: &Boot<'_>, phys: u64) -> Option<u64> {
    let pfn = PhysAddr::new(phys).pfn(boot.machine.config.page_shift);
    boot.model.as_ref()?.pfn_to_page(pfn).map(VirtAddr::get)
}

/// Two nodes of 256 and 512 MiB with nothing between them.
fn two_nodes() -> Spec {
    pc(768).config(with(MemoryModel::Discontig)).tables(|pc| {
        pc.srat = vec![affinity(0, 0, 256 * MIB), affinity(1, 256 * MIB, 512 * MIB)];
    })
}

#[test]
fn discontigmem_has_one_map_for_each_node_from_the_nodes_memory() {
    let facts = look(&two_nodes(), |boot| {
        let Some(Maps::Discontig(nodes)) = boot.model.as_ref().map(|m| &m.maps) else { panic!("{boot:p}") };
        let linear = boot.linear_map();
        let place =
            |n: &NodeMap| PhysRange::from_len(linear.phys(n.mem_map.base), n.pfns.len() * n.mem_map.stride);
        // 64 bytes for each frame of 256 and 512 MiB, each in its node.
        assert_eq!(nodes.iter().map(|n| place(n).len()).collect::<Vec<_>>(), [4 * MIB, 8 * MIB]);
        assert!(place(&nodes[0]).end.get() <= 256 * MIB);
        assert!(place(&nodes[1]).start.get() >= 256 * MIB);
        // The first frame of the upper node is the first element of its map.
        assert_eq!(page(boot, 256 * MIB), Some(nodes[1].mem_map.base.get()));
        assert_eq!(page(boot, 255 * MIB), Some(nodes[0].mem_map.base.get() + 255 * 256 * 64));
        assert!(valid(boot, 256 * MIB - KIB) && !valid(boot, 768 * MIB));
    });
    assert_eq!(asked(&facts, "memmap_alloc"), [(4 * MIB, 64), (8 * MIB, 64)]);
    assert_eq!((facts.online, facts.sections), (vec![0, 1], 0));
}

#[test]
fn discontigmem_calls_the_gap_between_nodes_invalid_and_a_hole_in_a_node_valid() {
    let spec = pc(8 * 1024).config(with(MemoryModel::Discontig)).tables(|pc| {
        pc.srat = vec![affinity(0, 0, 3 * GIB), affinity(1, 4 * GIB, 5 * GIB)];
    });
    look(&spec, |boot| {
        // Below 1 MiB lies a hole of the first node; from 3 to 4 GiB there is no node.
        assert!(valid(boot, 0xa_0000) && page(boot, 0xa_0000).is_some());
        assert!(!valid(boot, 3 * GIB) && page(boot, 3 * GIB).is_none());
        assert!(!valid(boot, 4 * GIB - KIB) && valid(boot, 4 * GIB));
    });
}

#[test]
fn flatmem_has_one_map_from_the_first_frame_in_whole_largest_blocks() {
    // i386: 40 bytes for each frame of 512 MiB less the last 128 KiB, rounded up to 4 MiB.
    let spec = pc_of(Flavour::I686, 512).tables(|pc| {
        let top = pc.e820.last_mut().expect("RAM above 1 MiB");
        *top = pagewright_firmware::e820::E820Entry::new(
            MIB,
            511 * MIB - 128 * KIB,
            pagewright_firmware::e820::E820Kind::Ram,
        );
    });
    let stride = u64::from(spec.build.struct_page);
    let facts = look(&spec, |boot| {
        let base = page(boot, 0).expect("the first frame");
        assert_eq!(page(boot, 0x1000), Some(base + stride));
        assert_eq!(boot.linear_map().phys(VirtAddr::new(base)), boot.memmap_areas[0].start);
        // max_mapnr is the end of memory: the map goes on, the frames do not count.
        assert!(
            valid(boot, 0xa_0000)
                && valid(boot, 512 * MIB - 132 * KIB)
                && !valid(boot, 512 * MIB - 128 * KIB)
        );
    });
    assert_eq!(asked(&facts, "memmap_alloc"), [(512 * 256 * stride, 64)]);
    // A usemap for each zone: 4 bits for each pageblock of 4 MiB, in whole words.
    assert_eq!(asked(&facts, "setup_usemap"), [(4, 64), (64, 64)]);
}

#[test]
fn flatmem_on_arm64_begins_where_memory_does() {
    look(&arm64(256).config(with(MemoryModel::Flat)), |boot| {
        assert!(valid(boot, RAM) && !valid(boot, RAM - KIB) && !valid(boot, RAM + 256 * MIB));
        let first = PhysAddr::new(RAM).pfn(boot.machine.config.page_shift);
        let map = boot.memmap_areas[0];
        assert_eq!(
            boot.model.as_ref().and_then(|m| m.page_to_pfn(boot.linear_map().virt(map.start))),
            Some(first)
        );
        assert_eq!(map.len(), 4 * MIB);
    });
}

/// An arm machine with a hole of 60 MiB in its 192 MiB.
fn arm_with_hole() -> Spec {
    use crate::support::tree::memory;
    arm(Flavour::Armmp, 68).with(memory(RAM + 128 * MIB, 64 * MIB))
}

#[test]
fn arm_gives_the_map_of_a_hole_back_but_for_the_pageblocks_at_its_ends() {
    for model in [MemoryModel::Flat, MemoryModel::Sparse] {
        let spec = arm_with_hole().config(with(model));
        let stride = u64::from(spec.build.struct_page);
        let facts = look(&spec, |boot| {
            // Pageblocks of 8 MiB: the first one above 68 MiB still has memory in it.
            assert!(valid(boot, RAM + 71 * MIB) && !valid(boot, RAM + 72 * MIB));
            assert!(!valid(boot, RAM + 127 * MIB) && valid(boot, RAM + 128 * MIB));
        });
        let kept: u64 = facts.maps.iter().map(|m| m.len()).sum();
        let whole = asked(&facts, "memmap_alloc")[0].0;
        // 72 to 128 MiB, in whole pages of the map; with sections also what is above the memory in its section.
        let given = if model == MemoryModel::Flat { 56 } else { 56 + 64 } * 256 * stride;
        assert!(whole - kept <= given && given - (whole - kept) <= 4 * 4096, "{model:?}: {kept} of {whole}");
        assert!(facts.maps.len() >= 2, "the map has a hole now: {:?}", facts.maps);
    }
}

#[test]
fn classic_sparsemem_allocates_a_map_for_each_section() {
    // 640 MiB are five sections of 128 MiB: 2 MiB of map each, in one buffer.
    let spec = pc(640).config(with(MemoryModel::Sparse)).config(|c| c.numa_balancing = false);
    let facts = look(&spec, |boot| {
        let sections = boot.model.as_ref().and_then(|m| m.sections()).expect("sections");
        let maps: Vec<_> = sections.iter().map(|s| s.mem_map().expect("a map").base.get()).collect();
        let first = boot.linear_map().virt(boot.memmap_areas[0].start).get();
        assert_eq!(maps, [0, 2, 4, 6, 8].map(|n| first + n * MIB));
        assert_eq!(page(boot, 128 * MIB + 0x1000), Some(first + 2 * MIB + 64));
        // Holes of a section are valid, sections without memory are not.
        assert!(valid(boot, 0xa_0000) && valid(boot, 640 * MIB - KIB) && !valid(boot, 640 * MIB));
        assert_eq!(page(boot, 640 * MIB), None);
    });
    assert_eq!(asked(&facts, "memmap_alloc"), [(10 * MIB, 2 * MIB)]);
    // An RCU head and 4 bits for each of 64 pageblocks, five times: no subsections without VMEMMAP.
    assert_eq!(asked(&facts, "sparse_init_nid"), [(5 * (16 + 32), 64)]);
    assert_eq!(facts.sections, 5);
    // The section's number is in the page flags, which VMEMMAP has no need of.
    assert!(facts.flags.expect("a layout").sections_width() > 0);
}

#[test]
fn classic_sparsemem_without_room_for_all_maps_at_once_takes_them_one_by_one() {
    // A bank of 128 MiB and 70 of 4 MiB, each in a section of its own: 142 MiB of maps fit nowhere in one piece.
    let mut banks = vec![(RAM, 128 * MIB)];
    banks.extend((1..=70).map(|n| (RAM + n * 128 * MIB, 4 * MIB)));
    let spec = Spec {
        slots: (256, 256),
        ..arm64_banks(&banks).config(with(MemoryModel::Sparse)).config(|c| c.numa_balancing = false)
    };
    let facts = look(&spec, |boot| {
        let sections = boot.model.as_ref().and_then(|m| m.sections()).expect("sections");
        assert!(sections.iter().all(|s| s.is_valid()));
        assert_eq!(sections.count(), 71);
    });
    let wanted = asked(&facts, "memmap_alloc");
    assert_eq!(wanted[0], (142 * MIB, 2 * MIB));
    assert_eq!(wanted[1..], [(2 * MIB, 2 * MIB); 71]);
    assert_eq!(facts.maps.len(), 71);
}

#[test]
fn section_maps_of_no_power_of_two_start_at_multiples_of_their_size_in_virtual_memory() {
    // The last CPU does not fit the flags beside the section: 80 bytes for each page, 2.5 MiB for each section.
    let spec = pc(640).config(with(MemoryModel::Sparse));
    let size = 128 * 256 * 80;
    assert_eq!(spec.build.struct_page, 80);
    let facts = look(&spec, |boot| {
        let sections = boot.model.as_ref().and_then(|m| m.sections()).expect("sections");
        let maps: Vec<_> = sections.iter().map(|s| s.mem_map().expect("a map").base.get()).collect();
        assert!(maps[..4].iter().all(|base| base % size == 0));
        assert_eq!(maps[3] - maps[0], 3 * size);
        // What rounding the first one up took is missing at the end: the last one has memory of its own.
        assert!(maps[4] < maps[0] || maps[4] > maps[3] + size);
    });
    assert_eq!(asked(&facts, "memmap_alloc"), [(5 * size, size), (size, size)]);
    let freed = |e: &Event| matches!(e, Event::Free { caller: "sparse_buffer_free", .. });
    assert_eq!(
        facts.events.iter().filter(|e| freed(e)).count(),
        2,
        "before the first map and after the last"
    );
}

#[test]
fn sections_of_vmemmap_may_share_a_block() {
    // 56 bytes for each page: eight sections of 1.75 MiB fill seven blocks of the eight asked for.
    let spec = pc(1024).config(|c| (c.slab, c.memcg) = (Slab::Slab, false));
    assert_eq!(spec.build.struct_page, 56);
    let facts = look(&spec, |boot| {
        assert_eq!(page(boot, 896 * MIB), Some(0xffff_ea00_0000_0000 + 7 * 7 * MIB / 4));
    });
    assert_eq!(asked(&facts, "memmap_alloc"), [(16 * MIB, 2 * MIB)]);
    assert_eq!(facts.maps.iter().map(|m| m.len()).sum::<u64>(), 14 * MIB);
}

#[test]
fn vmemmap_shows_every_frame_at_its_place_in_one_array() {
    // 520 MiB: five sections, the last with 8 MiB of memory in four subsections.
    let facts = look(&pc(520), |boot| {
        for phys in [0, 0x1000, 128 * MIB, 519 * MIB] {
            assert_eq!(page(boot, phys), Some(0xffff_ea00_0000_0000 + phys / 4096 * 64));
        }
        let sections = boot.model.as_ref().and_then(|m| m.sections()).expect("sections");
        let subsections: u64 = sections.subsections().iter().map(|s| s.len() / 512).sum();
        assert_eq!(subsections, 260);
        assert!(sections.is_populated(Pfn::new(519 * 256)) && !sections.is_populated(Pfn::new(520 * 256)));
        // Sections that were there at boot are valid to their end.
        assert!(valid(boot, 520 * MIB) && valid(boot, 640 * MIB - KIB) && !valid(boot, 640 * MIB));
    });
    assert_eq!(facts.sections, 5);
    assert_eq!(asked(&facts, "memmap_alloc"), [(10 * MIB, 2 * MIB)]);
    // The same as without VMEMMAP and 64 bits for subsections.
    assert_eq!(asked(&facts, "sparse_init_nid"), [(5 * (16 + 8 + 32), 64)]);
    assert_eq!(facts.flags.expect("a layout").sections_width(), 0);
}

#[test]
fn vmemmap_of_arm64_begins_with_the_frame_at_memstart() {
    look(&arm64(256), |boot| {
        // 48 bits of address, 4 KiB pages, 64 bytes for each: 2 TiB below the top.
        assert_eq!(page(boot, boot.memstart.get()), Some(0u64.wrapping_sub(1 << 42)));
        assert_eq!(
            page(boot, RAM + 0x1000),
            Some(0u64.wrapping_sub(1 << 42) + (RAM - boot.memstart.get()) / 64 + 64)
        );
    });
}

#[test]
fn the_linear_map_shows_the_start_of_memory_at_page_offset() {
    let virt = |spec: &Spec, phys: u64| {
        let mut at = 0;
        look(spec, |boot| {
            at = boot.linear_map().virt(PhysAddr::new(phys)).get();
            assert_eq!(boot.linear_map().phys(VirtAddr::new(at)), PhysAddr::new(phys));
        });
        at
    };
    assert_eq!(virt(&pc(128), 0x1000), 0xffff_8880_0000_1000);
    assert_eq!(virt(&pc_of(Flavour::I686, 128), 0x1000), 0xc000_1000);
    assert_eq!(virt(&arm(Flavour::Armmp, 64), RAM + 0x1000), 0xc000_1000);
    assert_eq!(virt(&arm64(64), RAM + 0x1000), 0xffff_0000_0000_1000);
}

#[test]
fn larger_pages_fill_vmemmap_page_by_page() {
    let spec = arm64(1024).config(|c| {
        c.page_shift = pagewright_addr::PageShift::SHIFT_64K;
        (c.va_bits, c.pgtable_levels, c.max_order) = (48, 3, 14);
    });
    let facts = look(&spec, |boot| {
        let sections = boot.model.as_ref().and_then(|m| m.sections()).expect("sections");
        assert_eq!((sections.geometry().pages_per_section(), sections.count()), (8192, 2));
    });
    // Two sections of 512 MiB: 512 KiB of map each, from a buffer made for blocks of 512 MiB that cannot be had.
    assert_eq!(asked(&facts, "memmap_alloc"), [(GIB, 512 * MIB)]);
    assert_eq!(facts.maps.iter().map(|m| m.len()).sum::<u64>(), MIB);
}
