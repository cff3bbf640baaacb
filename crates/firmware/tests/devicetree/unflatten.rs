use crate::build::{cpu, cpus, memory, node, root};
use pagewright_firmware::devicetree::DeviceTree;

#[test]
fn a_bare_root_takes_one_node_and_its_name() {
    // A device_node (208, 108) with an empty name, then at the next pointer a property (96, 48) with an empty name.
    let blob = node("").blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    assert_eq!(tree.unflattened_size(8), (216 + 96 + 1_u64).next_multiple_of(4) + 4);
    assert_eq!(tree.unflattened_size(4), (112 + 48 + 1_u64).next_multiple_of(4) + 4);
}

#[test]
fn a_name_property_saves_the_made_up_one() {
    let size = |blob: &[u8]| DeviceTree::parse(blob).unwrap().unflattened_size(8);
    let named = node("").with(node("foo").text("name", "bar")).blob();
    let unnamed = node("").with(node("foo").text("nome", "bar")).blob();
    assert_eq!(size(&unnamed) - size(&named), 96 + 4);
}

#[test]
fn the_made_up_name_ends_at_the_last_unit_address() {
    let size = |name: &str| DeviceTree::parse(&node("").with(node(name)).blob()).unwrap().unflattened_size(4);
    // Names of equal length: only the part before the last @ is copied again.
    assert_eq!(size("aaaaaaaaa@1"), size("aaaa@1111@1"));
    assert!(size("a@111111111") < size("aaaaaaaaa@1"));
}

#[test]
fn a_random_seed_has_gone_by_then_if_it_has_a_value() {
    let size = |seed: &[u32]| {
        let chosen = node("chosen").text("bootargs", "").cells("rng-seed", seed);
        DeviceTree::parse(&node("").with(chosen).blob()).unwrap().unflattened_size(8)
    };
    let without = DeviceTree::parse(&node("").with(node("chosen").text("bootargs", "")).blob())
        .unwrap()
        .unflattened_size(8);
    assert_eq!(size(&[1, 2]), without);
    assert_eq!(size(&[]), without + 96);
    let elsewhere = node("").with(node("rng").text("bootargs", "").cells("rng-seed", &[1])).blob();
    let plain = node("").with(node("rng").text("bootargs", "")).blob();
    let size = |blob: &[u8]| DeviceTree::parse(blob).unwrap().unflattened_size(8);
    assert_eq!(size(&elsewhere), size(&plain) + 96);
}

#[test]
fn nodes_deeper_than_linux_follows_are_left_out() {
    let deep = |n: usize| {
        let chain = (0..n).fold(None, |below: Option<crate::build::N>, _| {
            let here = node("a").cells("x", &[1]);
            Some(match below {
                Some(below) => here.with(below),
                None => here,
            })
        });
        let blob = node("").with(chain.unwrap()).blob();
        DeviceTree::parse(&blob).unwrap().unflattened_size(8)
    };
    assert_eq!(deep(63), deep(62));
    assert_eq!(deep(70), deep(62));
    assert!(deep(62) > deep(61));
}

fn aliases(list: &[(&str, &str)]) -> Vec<(String, u32, u64)> {
    let aliases = list.iter().fold(node("aliases"), |n, (name, path)| n.text(name, path));
    let blob = root(1, 1)
        .with(cpus().with(cpu(0)))
        .with(node("sub").with(memory("78000000", &[0, 0])))
        .with(aliases)
        .blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    tree.alias_allocations(8).map(|a| (a.stem.to_owned(), a.id, a.bytes)).collect()
}

fn found(name: &str, path: &str) -> bool {
    // Two aliases to begin with, so that an alias can name an alias.
    aliases(&[("a0", "/cpus"), ("c3", "a0"), (name, path)]).len() == 3
}

#[test]
fn an_alias_allocates_its_stem_behind_the_structure() {
    let list = [("serial1", "/cpus"), ("ethernet0", "/cpus"), ("gpio12", "/sub")];
    let expected = [("serial", 1, 47), ("ethernet", 0, 49), ("gpio", 12, 45)];
    assert_eq!(aliases(&list), expected.map(|(s, id, b)| (s.to_owned(), id, b)));
    let blob = root(1, 1).with(node("aliases").text("mmc3", "/")).blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    assert_eq!(tree.alias_allocations(4).next().unwrap().bytes, 24);
}

#[test]
fn an_alias_needs_a_number_that_fits() {
    for name in ["ethernet", "g99999999999", "x2147483648"] {
        assert!(!found(name, "/cpus"), "{name}");
    }
    for name in ["12", "x2147483647", "h007"] {
        assert!(found(name, "/cpus"), "{name}");
    }
}

#[test]
fn an_alias_names_a_node_by_its_exact_path() {
    for path in ["/", "/cpus", "/cpus/cpu@0", "/cpus/cpu@0:115200", "/cpus:/cpu@0", "/sub/memory@78000000"] {
        assert!(found("x1", path), "{path}");
    }
    for path in ["", "/cpus/cpu", "/cpus/", "//cpus", "/nothing", "/cpus/cpu@0/x"] {
        assert!(!found("x1", path), "{path}");
    }
}

#[test]
fn an_alias_may_begin_with_another() {
    for path in ["a0", "a0/cpu@0", "a0:z", "c3", "c3/cpu@0"] {
        assert!(found("x1", path), "{path}");
    }
    for path in ["b0", "a0/cpu@1", "a0/cpu@0:z"] {
        assert!(!found("x1", path), "{path}");
    }
}

#[test]
fn aliases_in_a_circle_are_no_nodes() {
    assert_eq!(aliases(&[("a0", "b0"), ("b0", "a0"), ("c0", "c0")]), []);
}

#[test]
fn phandles_and_names_are_no_aliases() {
    assert_eq!(aliases(&[("name", "/"), ("phandle", "/"), ("linux,phandle", "/")]), []);
}

/// The tree of `tests/data/odd.dts`, booted with Linux 6.1.176: it asked for 19208 bytes, then for these.
#[test]
fn an_odd_tree_takes_what_linux_took() {
    let blob = include_bytes!("../data/odd.dtb");
    let tree = DeviceTree::parse(blob).unwrap();
    assert_eq!(tree.unflattened_size(8), 19208);
    let bytes: Vec<_> = tree.alias_allocations(8).map(|a| a.bytes).collect();
    assert_eq!(bytes, [42, 42, 42, 42, 42, 42, 41, 42, 42, 42]);
    assert_eq!(tree.possible_cpus_arm64(256), 4);
    let banks: Vec<_> = tree.memory_banks().map(|b| (b.range.start.get(), b.size, b.hotpluggable)).collect();
    let expected = [
        (0x4000_0000, 0x2000_0000, false),
        (0x6000_0000, 0x800_0000, true),
        (0x7c00_0000, 0x100_0000, false),
    ];
    assert_eq!(banks, expected);
}

/// QEMU's arm64 and arm `virt` machines: Linux 6.1.176 asked for these numbers.
#[test]
fn trees_of_qemu_take_what_linux_took() {
    for (blob, pointer_bytes, expected) in [
        (&include_bytes!("../data/virt-arm64.dtb")[..], 8, 40252),
        (&include_bytes!("../data/virt-arm64-numa.dtb")[..], 8, 45100),
        (&include_bytes!("../data/virt-arm-reserved.dtb")[..], 4, 22380),
    ] {
        let tree = DeviceTree::parse(blob).unwrap();
        assert_eq!(tree.unflattened_size(pointer_bytes), expected);
        assert_eq!(tree.alias_allocations(pointer_bytes).count(), 0);
    }
}
