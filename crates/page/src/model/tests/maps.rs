//! Where each model has a frame's `struct page`, and which frames it calls valid.

use super::*;

fn flat(node: NodeMap, valid: PfnRange, memory: &[PfnRange]) -> MemoryModel<'_> {
    MemoryModel { maps: Maps::Flat { node, valid }, near_memory: None, memory }
}

fn node_map(nid: u16, span: PfnRange, mem_map: PageArray) -> NodeMap {
    NodeMap { nid: node(nid), span, pfns: span, mem_map }
}

fn vmemmap(sections: Sections<'_>, vmemmap: PageArray) -> MemoryModel<'_> {
    MemoryModel { maps: Maps::SparseVmemmap { sections, vmemmap }, near_memory: None, memory: NO_MEMORY }
}

fn classic(sections: Sections<'_>) -> MemoryModel<'_> {
    MemoryModel { maps: Maps::Sparse(sections), near_memory: None, memory: NO_MEMORY }
}

#[test]
fn flatmem_is_valid_up_to_max_mapnr_from_its_first_frame() {
    let valid = pfns(0x4_0000, 0x4_0100);
    let model = flat(node_map(0, valid, array(0x4_0000, 0xc100_0000, 36)), valid, NO_MEMORY);
    assert!(!model.pfn_valid(Pfn::new(0x3_ffff)) && model.pfn_valid(Pfn::new(0x4_0000)));
    assert!(model.pfn_valid(Pfn::new(0x4_00ff)) && !model.pfn_valid(Pfn::new(0x4_0100)));
    let page = model.pfn_to_page(Pfn::new(0x4_0002)).unwrap();
    assert_eq!(page, VirtAddr::new(0xc100_0048));
    assert_eq!(model.page_to_pfn(page), Some(Pfn::new(0x4_0002)));
    assert_eq!(model.page_to_pfn(VirtAddr::new(0xc100_0049)), None);
    assert_eq!((model.name(), model.validate()), ("FLATMEM", Ok(())));
}

#[test]
fn a_32_bit_array_may_start_below_its_base_and_wraps() {
    let bits = AddrBits::Bits32;
    let mem_map = PageArray { first: Pfn::new(0x8_0000), base: VirtAddr::new(0x40), stride: 32, bits };
    assert_eq!(mem_map.page(Pfn::new(0x7_fffd)), VirtAddr::new(0xffff_ffe0));
}

#[test]
fn arm_calls_frames_valid_in_any_pageblock_that_memory_touches() {
    let memory = [pfns(0x800, 0x900), pfns(0x2100, 0x2800)];
    let all = pfns(0x800, 0x2800);
    let model = MemoryModel {
        near_memory: Some(2048),
        ..flat(node_map(0, all, array(0x800, 0xc000_0000, 36)), all, &memory)
    };
    let valid = |pfn| model.pfn_valid(Pfn::new(pfn));
    assert!(valid(0x800) && valid(0xfff), "the rest of the first region's pageblock");
    assert!(!valid(0x1000) && !valid(0x1fff), "a whole pageblock without memory");
    assert!(valid(0x2000), "below the region, in its pageblock");
    assert!(valid(0x27ff) && !valid(0x2800) && !valid(0x7ff));
}

#[test]
fn discontigmem_asks_the_node_that_spans_the_frame() {
    let nodes = [node_map(0, pfns(0, 0x100), array(0, 0x1000, 64)), {
        node_map(2, pfns(0x800, 0x900), array(0x800, 0x9_0000, 64))
    }];
    let memory = [pfns(0, 0x100), pfns(0x800, 0x900)];
    let model = MemoryModel { maps: Maps::Discontig(&nodes), near_memory: None, memory: &memory[..] };
    assert!(model.pfn_valid(Pfn::new(0xff)) && !model.pfn_valid(Pfn::new(0x100)));
    assert!(!model.pfn_valid(Pfn::new(0x7ff)) && !model.pfn_valid(Pfn::new(0x900)));
    let page = model.pfn_to_page(Pfn::new(0x801)).unwrap();
    assert_eq!(page, VirtAddr::new(0x9_0040));
    assert_eq!(model.page_to_pfn(page), Some(Pfn::new(0x801)));
    assert_eq!(model.pfn_to_page(Pfn::new(0x100)), None);
    assert_eq!(model.node_map(Pfn::new(0x850)).map(|n| n.nid), Some(node(2)));
    assert_eq!(model.validate(), Ok(()));
}

/// Memory that says whose it is.
#[derive(Debug)]
struct Owned(PfnRange, u16);

impl HasSpan for Owned {
    fn span(&self) -> PfnRange {
        self.0
    }

    fn nid(&self) -> Option<NodeId> {
        NodeId::new(self.1)
    }
}

#[test]
fn where_nodes_interleave_memory_decides_whose_map_it_is() {
    let memory = [Owned(pfns(0, 0x100), 0), Owned(pfns(0x100, 0x200), 1), Owned(pfns(0x200, 0x300), 0)];
    let nodes = [
        node_map(0, pfns(0, 0x300), array(0, 0x10_0000, 64)),
        node_map(1, pfns(0x100, 0x200), array(0x100, 0x20_0000, 64)),
    ];
    let model = MemoryModel { maps: Maps::Discontig(&nodes), near_memory: None, memory: &memory };
    assert_eq!(model.pfn_to_page(Pfn::new(0x100)), Some(VirtAddr::new(0x20_0000)));
    assert_eq!(model.pfn_to_page(Pfn::new(0x200)), Some(VirtAddr::new(0x10_0000 + 0x200 * 64)));
    assert_eq!(model.validate(), Ok(()));
}

#[test]
fn an_early_section_is_valid_to_its_end_and_a_hole_is_not() {
    with_sections(x86(), (2, 2), |mut sections| {
        let map = array(0, 0xffff_ea00_0000_0000, 64);
        // 640 KiB, and a little above 4 GiB: two sections out of 32.
        sections.memory_present(node(0), pfns(1, 0x9f)).unwrap();
        sections.memory_present(node(1), pfns(0x10_0000, 0x10_0010)).unwrap();
        assert_eq!((sections.set_mem_map(0, map), sections.set_mem_map(32, map)), (Ok(()), Ok(())));
        assert_eq!(sections.set_mem_map(1, map), Err(SectionsError::Absent { nr: 1 }));
        assert_eq!(sections.set_mem_map(32, map), Err(SectionsError::Mapped { nr: 32 }));
        let model = vmemmap(sections, map);
        let valid = |pfn| model.pfn_valid(Pfn::new(pfn));
        assert!(valid(0) && valid(0x7fff) && !valid(0x8000));
        assert!(valid(0x10_7fff) && !valid(0x10_8000) && !valid(0xf_ffff));
        assert_eq!(model.pfn_to_page(Pfn::new(0x10_0000)), Some(VirtAddr::new(0xffff_ea00_0400_0000)));
        assert_eq!(model.page_to_pfn(VirtAddr::new(0xffff_ea00_0400_0040)), Some(Pfn::new(0x10_0001)));
        assert_eq!(model.validate(), Ok(()));
    });
}

#[test]
fn a_section_without_a_map_is_not_valid() {
    with_sections(x86(), (1, 1), |mut sections| {
        sections.memory_present(node(0), pfns(0, 1)).unwrap();
        let memory = [pfns(0, 1)];
        let model = MemoryModel { maps: Maps::Sparse(sections), near_memory: None, memory: &memory[..] };
        assert!(!model.pfn_valid(Pfn::new(0)));
        assert_eq!(model.validate(), Err(ModelViolation::Unmapped { pfn: Pfn::new(0) }));
    });
}

#[test]
fn classic_sparsemem_finds_each_sections_array() {
    with_sections(Geometry::new(28, 32, K4).unwrap(), (2, 2), |mut sections| {
        sections.memory_present(node(0), pfns(0x1_0000, 0x2_0000)).unwrap();
        sections.memory_present(node(0), pfns(0x8_0000, 0x8_0001)).unwrap();
        sections.set_mem_map(1, array(0x1_0000, 0xc080_0000, 32)).unwrap();
        sections.set_mem_map(8, array(0x8_0000, 0xc0c0_0000, 32)).unwrap();
        let model = classic(sections);
        for pfn in [0x1_0000, 0x1_ffff, 0x8_0000, 0x8_ffff].map(Pfn::new) {
            assert!(model.pfn_valid(pfn));
            assert_eq!(model.page_to_pfn(model.pfn_to_page(pfn).unwrap()), Some(pfn));
        }
        assert_eq!(model.pfn_to_page(Pfn::new(0x2_0000)), None);
        assert_eq!(model.page_to_pfn(VirtAddr::new(0xc070_0000)), None);
    });
}

#[test]
fn arrays_that_descend_from_section_to_section_share_a_run() {
    let bits = AddrBits::Bits32;
    with_sections(i386(), (3, 1), |mut sections| {
        sections.memory_present(node(0), pfns(0, 4 << 14)).unwrap();
        let bytes = sections.geometry().section_map_bytes(32, None);
        for nr in 0..4 {
            let base = VirtAddr::new(0xf000_0000 - nr * bytes);
            let first = sections.geometry().section_pfns(nr).start;
            sections.set_mem_map(nr, PageArray { first, base, stride: 32, bits }).unwrap();
        }
        assert_eq!(sections.runs().len(), 1);
        let model = classic(sections);
        assert_eq!(model.pfn_to_page(Pfn::new(3 << 14)), Some(VirtAddr::new(0xf000_0000 - 3 * bytes)));
        for pfn in [0, (1 << 14) - 1, 1 << 14, (4 << 14) - 1].map(Pfn::new) {
            assert_eq!(model.page_to_pfn(model.pfn_to_page(pfn).unwrap()), Some(pfn));
        }
        assert_eq!(model.page_to_pfn(VirtAddr::new(0xf000_0000 + bytes)), None);
        assert_eq!(model.page_to_pfn(VirtAddr::new(0xf000_0000 - 3 * bytes - 32)), None);
        assert_eq!(model.validate(), Ok(()));
    });
}

#[test]
fn later_memory_is_valid_by_subsection_and_fills_early_holes() {
    with_sections(x86(), (2, 3), |mut sections| {
        let map = array(0, 0, 64);
        sections.memory_present(node(0), pfns(0, 0x400)).unwrap();
        sections.set_mem_map(0, map).unwrap();
        // Device memory: two subsections in a section of its own, and one in the early section's hole.
        sections.activate(node(0), pfns(0x8200, 0x8600), map, false).unwrap();
        sections.activate(node(0), pfns(0x600, 0x800), map, false).unwrap();
        assert_eq!(
            sections.activate(node(0), pfns(0x8400, 0x8800), map, false),
            Err(SectionsError::Present { pfn: Pfn::new(0x8400) })
        );
        assert_eq!(
            sections.activate(node(0), pfns(0x8601, 0x8800), map, true),
            Err(SectionsError::Unaligned { range: pfns(0x8601, 0x8800) })
        );
        let later = sections.section_of(Pfn::new(0x8000)).unwrap();
        assert!(!later.is_early() && !later.is_online());
        let model = vmemmap(sections, map);
        let valid = |pfn| model.pfn_valid(Pfn::new(pfn));
        assert!(!valid(0x81ff) && valid(0x8200) && valid(0x85ff) && !valid(0x8600));
        assert_eq!(model.validate(), Ok(()));
    });
}

#[test]
fn a_damaged_map_is_caught() {
    let mut nodes = [
        node_map(0, pfns(0, 0x100), array(0, 0x1000, 64)),
        node_map(1, pfns(0x800, 0x900), array(0x800, 0x9_0000, 64)),
    ];
    let memory = [pfns(0, 0x100), pfns(0x800, 0x900)];
    let check = |nodes: &[NodeMap], memory: &[PfnRange]| {
        MemoryModel { maps: Maps::Discontig(nodes), near_memory: None, memory }.validate()
    };
    assert_eq!(check(&nodes, &[memory[1], memory[0]]), Err(ModelViolation::Memory { index: 1 }));
    assert_eq!(check(&nodes[..1], &memory), Err(ModelViolation::Unmapped { pfn: Pfn::new(0x800) }));
    nodes[1].nid = node(0);
    assert_eq!(check(&nodes, &memory), Err(ModelViolation::NodeMap { nid: node(0) }));
    let whole = pfns(0, 0x100);
    let short = NodeMap { pfns: pfns(0, 0x80), ..nodes[0] };
    assert_eq!(
        flat(short, whole, &memory).validate(),
        Err(ModelViolation::Unmapped { pfn: Pfn::new(0) }),
        "the map ends inside the memory"
    );
    let shifted = NodeMap { mem_map: array(1, 0x1000, 64), ..nodes[0] };
    assert_eq!(flat(shifted, whole, &memory).validate(), Err(ModelViolation::NodeMap { nid: node(0) }));
    with_sections(x86(), (1, 1), |mut sections| {
        sections.memory_present(node(0), pfns(0, 0x8000)).unwrap();
        sections.set_mem_map(0, array(0, 0x1000, 64)).unwrap();
        let elsewhere = vmemmap(sections, array(0, 0, 64));
        assert_eq!(elsewhere.validate(), Err(ModelViolation::Vmemmap { nr: 0 }));
    });
}
