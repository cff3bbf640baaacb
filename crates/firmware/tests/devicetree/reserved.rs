use crate::build::{N, node, reserved, root};
use pagewright_firmware::devicetree::{DeviceTree, ReservedKind, ReservedNodeError, ReservedRootError};

/// A tree whose /reserved-memory has this one child, and what is read of it as text.
fn one(child: N) -> String {
    let blob = root(2, 1).with(reserved(2, 1).with(child)).blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let node = tree.reserved_memory().next().unwrap();
    kind(&node.kind)
}

fn kind(kind: &ReservedKind<'_>) -> String {
    let regions = |r: &pagewright_firmware::devicetree::Regions<'_>| {
        r.clone().map(|r| format!("{:#x}+{:#x}", r.base, r.size)).collect::<Vec<_>>().join(" ")
    };
    match kind {
        ReservedKind::Static(r) => format!("static {}", regions(r)),
        ReservedKind::Dynamic { size, alignment, alloc_ranges } => {
            let within = alloc_ranges.as_ref().map(regions);
            format!("dynamic {size:#x} align {alignment:x?} in {within:?}")
        }
        ReservedKind::Neither => "neither".to_owned(),
        ReservedKind::Invalid(error) => error.to_string(),
    }
}

#[test]
fn a_static_node_reserves_every_pair_of_its_reg() {
    let text = one(node("a@1000").cells("reg", &[0, 0x1000, 0x1000, 1, 0, 0x2000]));
    assert_eq!(text, "static 0x1000+0x1000 0x100000000+0x2000");
}

#[test]
fn a_reg_that_is_no_whole_number_of_pairs_skips_the_node() {
    let text = one(node("b2@52000000").cells("reg", &[0, 0x5200_0000]));
    assert_eq!(text, "OF: fdt: Reserved memory: invalid reg property in 'b2@52000000', skipping node.");
}

#[test]
fn an_empty_reg_is_static_without_any_region() {
    assert_eq!(one(node("b3").flag("reg").cells("size", &[0x1000])), "static ");
}

#[test]
fn a_reg_of_size_zero_is_static_and_its_size_is_the_fallback() {
    let blob = root(2, 1)
        .with(reserved(2, 1).with(node("b4").cells("reg", &[0, 0x5300_0000, 0]).cells("size", &[0x3000])))
        .blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let b4 = tree.reserved_memory().next().unwrap();
    assert_eq!(kind(&b4.kind), "static 0x53000000+0x0");
    assert_eq!(kind(&b4.dynamic_kind()), "dynamic 0x3000 align None in None");
}

#[test]
fn a_dynamic_node_has_size_alignment_and_ranges() {
    let text = one(node("c")
        .cells("size", &[0x10_0000])
        .cells("alignment", &[0, 0x20_0000])
        .cells("alloc-ranges", &[0, 0x4000_0000, 0x1000_0000, 1, 0, 0x1000]));
    assert_eq!(
        text,
        "dynamic 0x100000 align Some(200000) in Some(\"0x40000000+0x10000000 0x100000000+0x1000\")"
    );
}

#[test]
fn alignment_takes_as_many_cells_as_an_address() {
    let text = one(node("a1").cells("size", &[0x10_0000]).cells("alignment", &[0x20_0000]));
    assert_eq!(text, "OF: reserved mem: invalid alignment property in 'a1' node.");
}

#[test]
fn size_takes_as_many_cells_as_a_size() {
    let text = one(node("c1").cells("size", &[0, 0x1000]));
    assert_eq!(text, "OF: reserved mem: invalid size property in 'c1' node.");
}

#[test]
fn ranges_that_are_no_whole_number_of_pairs_skip_the_node() {
    let text = one(node("c2").cells("size", &[0x1000]).cells("alloc-ranges", &[0, 0x5500_0000]));
    assert_eq!(text, "OF: reserved mem: invalid alloc-ranges property in 'c2', skipping node.");
}

#[test]
fn of_several_faults_the_first_that_linux_meets_is_reported() {
    let both = node("x").cells("size", &[1, 2]).cells("alignment", &[1]).cells("alloc-ranges", &[1]);
    assert!(one(both).contains("invalid size property"));
    let two = node("x").cells("size", &[1]).cells("alignment", &[1]).cells("alloc-ranges", &[1]);
    assert!(one(two).contains("invalid alignment property"));
}

#[test]
fn empty_ranges_leave_no_place() {
    let text = one(node("c4").cells("size", &[0x10000]).flag("alloc-ranges"));
    assert_eq!(text, "dynamic 0x10000 align None in Some(\"\")");
}

#[test]
fn a_node_without_reg_and_size_asks_for_nothing() {
    assert_eq!(one(node("c5").cells("alignment", &[0, 0x1000])), "neither");
}

#[test]
fn impossible_sizes_are_kept_for_the_boot_path_to_refuse() {
    let blob = root(2, 2)
        .with(reserved(2, 2).with(node("huge").cells("reg", &[u32::MAX, u32::MAX, u32::MAX, u32::MAX])))
        .blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let ReservedKind::Static(mut regions) = tree.reserved_memory().next().unwrap().kind else {
        panic!("not static");
    };
    let region = regions.next().unwrap();
    assert!(region.wraps());
    assert_eq!((region.base.get(), region.size), (u64::MAX, u64::MAX));
    assert!(region.range().is_empty());
}

#[test]
fn flags_are_presence_and_compatible_ignores_case() {
    let blob = root(1, 1)
        .with(
            reserved(1, 1)
                .with(
                    node("a@0")
                        .cells("reg", &[0, 0x1000])
                        .flag("no-map")
                        .bytes("compatible", b"foo\0Shared-DMA-Pool\0"),
                )
                .with(
                    node("b")
                        .cells("size", &[0x1000])
                        .flag("reusable")
                        .text("compatible", "shared-dma-pool2")
                        .flag("linux,cma-default")
                        .flag("linux,dma-default"),
                ),
        )
        .blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let nodes: Vec<_> = tree.reserved_memory().collect();
    let [a, b] = &nodes[..] else { panic!("two nodes") };
    assert!(a.nomap && !a.reusable && a.compatible_shared_dma_pool && !a.linux_cma_default);
    assert_eq!(a.compatible, Some("foo"));
    assert!(
        !b.nomap && b.reusable && !b.compatible_shared_dma_pool && b.linux_cma_default && b.linux_dma_default
    );
    assert!(a.is_compatible("FOO") && !b.is_compatible("shared-dma-pool"));
}

#[test]
fn disabled_nodes_are_shown_as_such_and_order_is_the_trees() {
    let child = |name: &str| node(name).cells("reg", &[0, 0x1000]);
    let blob = root(1, 1)
        .with(
            reserved(1, 1)
                .with(child("z@0"))
                .with(child("a@0").text("status", "disabled").with(child("inner@0")))
                .with(child("m@0").text("status", "okay")),
        )
        .blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let nodes: Vec<_> = tree.reserved_memory().map(|n| (n.name, n.enabled)).collect();
    assert_eq!(nodes, [("z@0", true), ("a@0", false), ("m@0", true)]);
}

#[test]
fn other_cell_counts_than_the_roots_refuse_the_whole_node() {
    let verdict = |resv: N| {
        let blob = root(2, 2).with(resv.with(node("a").cells("reg", &[0, 0, 0, 0x1000]))).blob();
        let tree = DeviceTree::parse(&blob).unwrap();
        assert_eq!(tree.reserved_memory().count(), 0);
        tree.reserved_memory_root().unwrap().unwrap_err()
    };
    assert_eq!(verdict(reserved(2, 1)), ReservedRootError::SizeCells { found: Some(1), root: 2 });
    assert_eq!(verdict(reserved(1, 2)), ReservedRootError::AddressCells { found: Some(1), root: 2 });
    let missing = node("reserved-memory").cells("#address-cells", &[2]).flag("ranges");
    assert_eq!(verdict(missing), ReservedRootError::SizeCells { found: None, root: 2 });
    let no_ranges = node("reserved-memory").cells("#address-cells", &[2]).cells("#size-cells", &[2]);
    assert_eq!(verdict(no_ranges), ReservedRootError::NoRanges);
}

#[test]
fn the_node_is_taken_when_it_is_disabled_and_when_it_has_a_unit_address() {
    let child = || node("a@0").cells("reg", &[0, 0x1000]);
    let blob = root(1, 1).with(reserved(1, 1).text("status", "disabled").with(child())).blob();
    assert_eq!(DeviceTree::parse(&blob).unwrap().reserved_memory().count(), 1);
    let with_unit = node("reserved-memory@5")
        .cells("#address-cells", &[1])
        .cells("#size-cells", &[1])
        .flag("ranges")
        .with(child());
    let blob = root(1, 1).with(with_unit).blob();
    assert_eq!(DeviceTree::parse(&blob).unwrap().reserved_memory().count(), 1);
}

#[test]
fn a_tree_without_reserved_memory_has_no_verdict() {
    let blob = root(1, 1).blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    assert!(tree.reserved_memory_root().is_none());
    assert_eq!(tree.reserved_memory().count(), 0);
}

#[test]
fn errors_keep_the_node_and_the_length() {
    let blob = root(2, 1).with(reserved(2, 1).with(node("n").bytes("reg", &[1, 2, 3]))).blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let ReservedKind::Invalid(error) = tree.reserved_memory().next().unwrap().kind else {
        panic!("taken");
    };
    assert_eq!(error, ReservedNodeError::BadReg { node: "n", len_bytes: 3 });
}
