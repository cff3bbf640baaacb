//! Each case was also booted: Linux's ZONE_DMA ended at the power of two above the address stated here.

use crate::build::{N, node, root};
use pagewright_firmware::devicetree::DeviceTree;

fn bus(name: &str, cells: (u32, u32), ranges: &[u32]) -> N {
    node(name)
        .cells("#address-cells", &[cells.0])
        .cells("#size-cells", &[cells.1])
        .cells("dma-ranges", ranges)
}

fn reach(child: N) -> u64 {
    let blob = root(2, 2).with(child).blob();
    DeviceTree::parse(&blob).unwrap().dma_max_cpu_address()
}

const SOC: [u32; 4] = [0xc000_0000, 0, 0x4000_0000, 0x8000_0000];

#[test]
fn a_tree_without_dma_ranges_reaches_everything() {
    assert_eq!(reach(node("soc")), u64::MAX);
    assert_eq!(reach(node("soc").flag("dma-ranges")), u64::MAX);
}

#[test]
fn a_bus_reaches_the_end_of_its_largest_range() {
    assert_eq!(reach(bus("soc", (1, 1), &[0xc000_0000, 0, 0x4000_0000, 0x3f00_0000])), 0x7eff_ffff);
    let two = [0, 0, 0x4000_0000, 0x1000_0000, 0x4000_0000, 0, 0x8000_0000, 0x2000_0000];
    assert_eq!(reach(bus("soc", (1, 1), &two)), 0x9fff_ffff);
}

#[test]
fn ranges_of_an_inner_bus_are_translated_through_the_outer_ones() {
    let inner = || bus("b", (1, 1), &[0, 0xc000_0000, 0x1000_0000]);
    assert_eq!(reach(bus("soc", (1, 1), &SOC).with(inner())), 0x4fff_ffff);
    let direct = || bus("b", (1, 1), &[0, 0, 0x4000_0000, 0x1000_0000]);
    let plain = || node("soc").cells("#address-cells", &[2]).cells("#size-cells", &[2]);
    assert_eq!(reach(plain().with(direct())), 0x4fff_ffff);
    assert_eq!(reach(plain().flag("dma-ranges").with(direct())), 0x4fff_ffff);
}

#[test]
fn cell_counts_are_inherited_from_above() {
    let inner = node("b").cells("dma-ranges", &[0, 0, 0, 0x4000_0000, 0, 0x1000_0000]);
    assert_eq!(reach(node("soc").with(inner)), 0x4fff_ffff);
}

#[test]
fn an_address_without_translation_counts_as_all_ones_and_wraps() {
    let inner = bus("b", (1, 1), &[0, 0x1000_0000, 0x6000_0000]);
    assert_eq!(reach(bus("soc", (1, 1), &SOC).with(inner)), 0x5fff_fffe);
    let below_sizeless = node("soc").cells("#address-cells", &[1]).cells("#size-cells", &[0]).with(bus(
        "b",
        (1, 1),
        &[0, 0x4000_0000, 0x6000_0000],
    ));
    assert_eq!(reach(below_sizeless), 0x5fff_fffe);
}

#[test]
fn disabled_buses_and_what_is_below_them_do_not_count() {
    let low = [0xc000_0000, 0, 0x4000_0000, 0x3f00_0000];
    assert_eq!(reach(bus("soc", (1, 1), &low).text("status", "disabled")), u64::MAX);
    let off = node("soc").text("status", "disabled").cells("#address-cells", &[2]).cells("#size-cells", &[2]);
    assert_eq!(reach(off.with(bus("b", (1, 1), &low))), u64::MAX);
}

#[test]
fn pci_addresses_translate_within_their_space_only() {
    let pci = |name: &str, ranges: &[u32]| bus(name, (3, 2), ranges).text("device_type", "pci");
    let outer = [0x4200_0000, 0, 0, 0, 0x4000_0000, 0, 0x8000_0000];
    let same = [0x4200_0000, 0, 0x1000_0000, 0x4200_0000, 0, 0x1000_0000, 0, 0x1000_0000];
    assert_eq!(reach(pci("pcie", &outer).with(pci("b", &same))), 0x5fff_ffff);
    let io = [0x4200_0000, 0, 0x1000_0000, 0x4100_0000, 0, 0x1000_0000, 0, 0x6000_0000];
    assert_eq!(reach(pci("pcie", &outer).with(pci("b", &io))), 0x5fff_fffe);
}

#[test]
fn a_property_too_short_for_an_entry_reaches_nothing() {
    assert_eq!(reach(bus("soc", (1, 1), &[0, 0, 0x4000_0000])), 0);
}

#[test]
fn absurd_cell_counts_are_no_entries() {
    assert_eq!(reach(bus("soc", (u32::MAX, u32::MAX), &SOC)), 0);
    assert_eq!(reach(bus("soc", (0x4000_0000, 0x4000_0000), &SOC)), 0);
}
