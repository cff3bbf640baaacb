use super::*;
use std::string::ToString;
use std::vec::Vec;

const X86: PageFlagsConfig = PageFlagsConfig {
    mmu: true,
    uncached: true,
    memory_failure: true,
    page_idle: false,
    bits64: false,
    kasan_hw_tags: false,
};

/// The settings of Debian's amd64 kernel, which are also the base of the others.
fn amd64() -> Inputs {
    Inputs {
        bits_per_long: 64,
        nr_flags: PageFlagsConfig { bits64: true, ..X86 }.count(),
        sections_shift: 46 - 27,
        vmemmap: true,
        nodes_shift: 10,
        max_nr_zones: 5,
        nr_cpus: 8192,
        numa_balancing: true,
        lru_gen: true,
        kasan_tag_width: 0,
    }
}

fn arm64() -> Inputs {
    let flags = PageFlagsConfig { bits64: true, uncached: false, ..X86 };
    Inputs {
        nr_flags: flags.count(),
        sections_shift: 48 - 27,
        nodes_shift: 4,
        max_nr_zones: 4,
        nr_cpus: 256,
        ..amd64()
    }
}

fn flat32(flags: PageFlagsConfig, nr_cpus: u32) -> Inputs {
    Inputs {
        bits_per_long: 32,
        nr_flags: flags.count(),
        sections_shift: 0,
        vmemmap: false,
        nodes_shift: 0,
        max_nr_zones: 4,
        nr_cpus,
        numa_balancing: false,
        lru_gen: true,
        kasan_tag_width: 0,
    }
}

fn texts(inputs: &Inputs) -> Vec<std::string::String> {
    PageFlagsLayout::compute(inputs).unwrap().lines().map(|l| l.text().to_string()).collect()
}

#[test]
fn amd64_4_level_lines_are_linuxs() {
    assert_eq!(
        texts(&amd64()),
        [
            "Section 0 Node 10 Zone 3 Lastcpupid 21 Kasantag 0 Gen 3 Tier 2 Flags 25",
            "Section 19 Node 10 Zone 3 Lastcpupid 21 Kasantag 0",
            "Section 0 Node 54 Zone 51 Lastcpupid 30 Kasantag 0",
            "Node/Zone ID: 64 -> 51",
            "location: 64 -> 25 layout 25 -> 25 unused 25 -> 0 page-flags",
        ]
    );
}

#[test]
fn amd64_5_level_differs_in_the_section_shift_only() {
    let la57 = texts(&Inputs { sections_shift: 52 - 27, ..amd64() });
    let four = texts(&amd64());
    assert_eq!(la57[1], "Section 25 Node 10 Zone 3 Lastcpupid 21 Kasantag 0");
    assert_eq!((&la57[0], &la57[2..]), (&four[0], &four[2..]));
}

#[test]
fn arm64_lines_are_linuxs() {
    assert_eq!(
        texts(&arm64()),
        [
            "Section 0 Node 4 Zone 2 Lastcpupid 16 Kasantag 0 Gen 3 Tier 2 Flags 24",
            "Section 21 Node 4 Zone 2 Lastcpupid 16 Kasantag 0",
            "Section 0 Node 60 Zone 58 Lastcpupid 42 Kasantag 0",
            "Node/Zone ID: 64 -> 58",
            "location: 64 -> 37 layout 37 -> 24 unused 24 -> 0 page-flags",
        ]
    );
}

#[test]
fn arm_and_arm_lpae_lines_are_linuxs() {
    let flags = PageFlagsConfig { uncached: false, memory_failure: false, ..X86 };
    assert_eq!(
        texts(&flat32(flags, 8)),
        [
            "Section 0 Node 0 Zone 2 Lastcpupid 0 Kasantag 0 Gen 3 Tier 2 Flags 22",
            "Section 0 Node 0 Zone 2 Lastcpupid 0 Kasantag 0",
            "Section 0 Node 0 Zone 30 Lastcpupid 0 Kasantag 0",
            "Node/Zone ID: 32 -> 30",
            "location: 32 -> 25 layout 25 -> 22 unused 22 -> 0 page-flags",
        ]
    );
}

#[test]
fn i386_and_i386_pae_lines_are_linuxs() {
    let lines = texts(&flat32(X86, 32));
    assert_eq!(lines[0], "Section 0 Node 0 Zone 2 Lastcpupid 0 Kasantag 0 Gen 3 Tier 2 Flags 24");
    assert_eq!(lines[4], "location: 32 -> 25 layout 25 -> 24 unused 24 -> 0 page-flags");
    assert_eq!(lines.len(), 5);
}

#[test]
fn the_prefix_is_that_of_the_log() {
    let layout = PageFlagsLayout::compute(&arm64()).unwrap();
    let first = layout.lines().next().unwrap();
    assert!(first.to_string().starts_with("mminit::pageflags_layout_widths Section 0 Node 4"));
}

#[test]
fn last_cpupid_leaves_the_word_when_it_does_not_fit() {
    // A software KASAN tag takes the eight bits that the 21 of 8192 CPUs needed.
    let tagged = Inputs { kasan_tag_width: 8, ..amd64() };
    let layout = PageFlagsLayout::compute(&tagged).unwrap();
    assert!(layout.last_cpupid_not_in_page_flags());
    assert_eq!(layout.last_cpupid_width(), 0);
    assert_eq!(layout.lines().last().unwrap().text().to_string(), "Last cpupid not in page flags");
}

#[test]
fn the_tier_shrinks_before_anything_else_does() {
    let one_more = Inputs { nr_flags: 26, ..amd64() };
    let layout = PageFlagsLayout::compute(&one_more).unwrap();
    assert_eq!((layout.lru_refs_width(), layout.last_cpupid_width()), (1, 21));
}

#[test]
fn classic_sparsemem_on_32_bits_moves_the_node_out() {
    // 36 physical bits, 26-bit sections: 10 bits of section leave no room for a node beside them.
    let inputs = Inputs { sections_shift: 4, nodes_shift: 3, lru_gen: false, ..flat32(X86, 32) };
    let layout = PageFlagsLayout::compute(&inputs).unwrap();
    assert!(layout.node_not_in_page_flags());
    assert_eq!(layout.sections_pgshift(), 28);
    assert_eq!(layout.zoneid_bits(), (32, 26));
}

#[test]
fn what_linux_refuses_to_compile_is_an_error() {
    let vmemmap = Inputs { nodes_shift: 40, ..amd64() };
    assert_eq!(
        PageFlagsLayout::compute(&vmemmap),
        Err(LayoutError::NoSpaceForNode { needed: 46, available: 39 })
    );
    let sparse = Inputs { sections_shift: 12, ..flat32(X86, 32) };
    assert!(matches!(PageFlagsLayout::compute(&sparse), Err(LayoutError::NotEnoughBits { .. })));
    assert!(PageFlagsLayout::compute(&Inputs { bits_per_long: 16, ..amd64() }).is_err());
    assert!(PageFlagsLayout::compute(&Inputs { max_nr_zones: 9, ..amd64() }).is_err());
    // Nonsense numbers must not overflow either.
    let wild = Inputs { sections_shift: u32::MAX, nodes_shift: u32::MAX, vmemmap: false, ..amd64() };
    assert!(PageFlagsLayout::compute(&wild).is_err());
}
