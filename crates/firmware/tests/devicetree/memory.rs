use crate::build::{memory, node, root};
use pagewright_firmware::devicetree::DeviceTree;

fn banks(blob: &[u8]) -> Vec<(u64, u64)> {
    let tree = DeviceTree::parse(blob).unwrap();
    tree.memory_banks().map(|b| (b.range.start.get(), b.size)).collect()
}

#[test]
fn every_memory_node_counts_and_each_pair_of_its_reg() {
    let blob = root(2, 1)
        .with(memory("80000000", &[0, 0x8000_0000, 0x1000, 1, 0, 0x2000]))
        .with(memory("40000000", &[0, 0x4000_0000, 0x3000]))
        .blob();
    assert_eq!(banks(&blob), [(0x8000_0000, 0x1000), (0x1_0000_0000, 0x2000), (0x4000_0000, 0x3000)]);
}

#[test]
fn a_node_is_memory_by_its_device_type_and_not_by_its_name() {
    let blob = root(1, 1)
        .with(node("memory@0").cells("reg", &[0, 0x1000]))
        .with(node("ram@10000").bytes("device_type", b"memory\0x\0").cells("reg", &[0x10000, 0x1000]))
        .with(node("memory@20000").text("device_type", "memory2").cells("reg", &[0x20000, 0x1000]))
        .blob();
    assert_eq!(banks(&blob), [(0x10000, 0x1000)]);
}

#[test]
fn memory_below_another_node_than_the_root_is_not_found() {
    let blob = root(1, 1).with(node("sub").with(memory("0", &[0, 0x1000]))).blob();
    assert_eq!(banks(&blob), []);
}

#[test]
fn disabled_memory_is_passed_over() {
    let blob = root(1, 1)
        .with(memory("0", &[0, 0x1000]).text("status", "disabled"))
        .with(memory("1000", &[0x1000, 0x1000]).text("status", "okay"))
        .with(memory("2000", &[0x2000, 0x1000]).text("status", "ok"))
        .with(memory("3000", &[0x3000, 0x1000]).text("status", "okay!"))
        .with(memory("4000", &[0x4000, 0x1000]).flag("status"))
        .blob();
    assert_eq!(banks(&blob), [(0x1000, 0x1000), (0x2000, 0x1000)]);
}

#[test]
fn usable_memory_replaces_reg_even_when_it_is_empty() {
    let blob = root(1, 1)
        .with(memory("0", &[0, 0x8000]).cells("linux,usable-memory", &[0x1000, 0x2000, 0x4000, 0]))
        .with(memory("10000", &[0x10000, 0x8000]).flag("linux,usable-memory"))
        .blob();
    assert_eq!(banks(&blob), [(0x1000, 0x2000)]);
}

#[test]
fn sizes_of_zero_and_a_rest_too_short_for_a_pair_give_no_bank() {
    let blob = root(2, 1).with(memory("0", &[0, 0, 0, 0, 0x1000, 0x1000, 0, 0x8000])).blob();
    assert_eq!(banks(&blob), [(0x1000, 0x1000)]);
}

#[test]
fn a_root_without_cell_counts_has_one_of_each() {
    let blob = node("").with(memory("40000000", &[0x4000_0000, 0x1000])).blob();
    assert_eq!(banks(&blob), [(0x4000_0000, 0x1000)]);
}

#[test]
fn of_three_cells_the_low_two_count() {
    let blob = root(3, 3).with(memory("0", &[7, 1, 2, 7, 0, 3])).blob();
    assert_eq!(banks(&blob), [(0x1_0000_0002, 3)]);
}

#[test]
fn cell_counts_that_make_no_pair_make_no_memory() {
    for (address, size) in [(0, 0), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
        let blob = root(address, size).with(memory("0", &[0, 0x1000])).blob();
        assert_eq!(banks(&blob), [], "{address} and {size}");
    }
}

#[test]
fn a_size_that_wraps_is_kept_and_its_range_ends_at_the_top() {
    let blob = root(2, 2).with(memory("0", &[0xffff_ffff, 0xc000_0000, 0, 0x8000_0000])).blob();
    let bank = DeviceTree::parse(&blob).unwrap().memory_banks().next().unwrap();
    assert_eq!(bank.size, 0x8000_0000);
    assert_eq!(bank.range.end.get(), u64::MAX);
}

#[test]
fn hotpluggable_and_node_id_belong_to_every_bank_of_the_node() {
    let blob = root(1, 1)
        .with(memory("0", &[0, 0x1000, 0x2000, 0x1000]).flag("hotpluggable").cells("numa-node-id", &[3]))
        .with(memory("8000", &[0x8000, 0x1000]))
        .blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let facts: Vec<_> = tree.memory_banks().map(|b| (b.hotpluggable, b.node)).collect();
    assert_eq!(facts, [(true, Some(3)), (true, Some(3)), (false, None)]);
}

#[test]
fn the_unit_address_is_known_when_the_boot_loader_has_to_fill_the_node() {
    let unit = |name: &str| {
        let empty = node(name).text("device_type", "memory").cells("reg", &[0, 0, 0, 0]);
        let blob = root(2, 2).with(empty).blob();
        let tree = DeviceTree::parse(&blob).unwrap();
        assert_eq!(tree.memory_banks().count(), 0);
        tree.memory_node_unit_address().map(|a| a.get())
    };
    assert_eq!(unit("memory@80000000"), Some(0x8000_0000));
    assert_eq!(unit("memory@400000000000"), Some(0x4000_0000_0000));
    assert_eq!(unit("memory@1,80000000"), Some(0x1_8000_0000));
    assert_eq!(unit("memory"), None);
    assert_eq!(unit("memory@top"), None);
    assert_eq!(unit("memory@11112222333344445"), None);
}

#[test]
fn without_a_memory_node_there_is_no_unit_address() {
    let blob = root(2, 2).with(node("memory@1000")).blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    assert_eq!(tree.memory_node_unit_address(), None);
    assert_eq!(tree.memory_nodes().count(), 0);
}
