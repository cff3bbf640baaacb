//! An arm64 machine whose resources are as large as what they lie in.

use super::*;
use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree as Model, DeviceTreeNode, DeviceTreeProperty};
use pagewright::{Quiet, Tables, Workspace, workspace_words};
use pagewright_firmware::cmdline::CommandLine;
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_firmware::{Firmware, KernelImage, Machine};
use pagewright_kspace::resource::{Intersects, ResourceNode};
use std::boxed::Box;
use std::format;
use std::vec;

const MIB: u64 = 1 << 20;
const CONFIG: KernelConfig = KernelConfig::debian(Flavour::Arm64);
/// Memory that the crash kernel gets, all of it; memory that firmware reserves, all of it; memory with the image, from which the boot allocates.
const MEMORY: [(u64, u64); 3] = [(0x4000_0000, 64 * MIB), (0x8000_0000, 64 * MIB), (0xc000_0000, 256 * MIB)];

fn property(node: &mut DeviceTreeNode, name: &str, value: &[u8]) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
}

fn blob() -> Vec<u8> {
    let mut model = Model::new();
    model.root = DeviceTreeNode::new_unchecked("");
    for name in ["#address-cells", "#size-cells"] {
        property(&mut model.root, name, &2u32.to_be_bytes());
    }
    for (base, size) in MEMORY {
        let mut node = DeviceTreeNode::new_unchecked(&*format!("memory@{base:x}"));
        property(&mut node, "device_type", b"memory\0");
        property(&mut node, "reg", &[base.to_be_bytes(), size.to_be_bytes()].concat());
        model.root.add_child(node);
    }
    model.memory_reservations = vec![MemoryReservation::new(MEMORY[1].0, MEMORY[1].1)];
    model.to_dtb()
}

#[test]
fn memory_that_is_taken_as_a_whole_is_still_ram() {
    let part = |(start, len)| PhysRange::from_len(PhysAddr::new(start), len);
    let blob = blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let image = KernelImage::plain(part((0xc020_0000, 8 * MIB)), part((0xc0a0_0000, 4 * MIB)));
    let at = PhysAddr::new(0xc800_0000);
    let mut machine = Machine::new(CONFIG, image, Firmware::device_tree(tree, at));
    machine.cmdline = Some(CommandLine::new("crashkernel=64M@0x40000000"));
    let (mut room, mut tables) = (vec![0; workspace_words(&CONFIG)], Box::new(Tables::new()));
    let workspace = Workspace::new(&CONFIG, &mut room, &mut tables).unwrap();
    let mut boot = Boot::new(&machine, workspace, &Quiet).unwrap();
    boot.run().unwrap();
    let mut nodes = vec![ResourceNode::EMPTY; count(&boot) + 1];
    let mut resources = Resources::new(range(0, 1 << 48), &mut nodes).unwrap();
    insert(&mut resources, &boot).unwrap();
    resources.validate().unwrap();
    for ram in MEMORY.map(part) {
        let found = resources.region_intersects(ram, ResourceFlags::SYSTEM_RAM);
        assert_eq!(found, Intersects::Intersects, "{ram:x?}");
    }
    let (mut with, mut without) = (String::new(), String::new());
    write_tree(&mut with, &resources).unwrap();
    of_boot(&boot, &mut |depth, range, name| line(&mut without, depth, range, name)).unwrap();
    assert_eq!(with, without);
    assert!(with.contains("80000000-83ffffff : System RAM\n  80000000-83ffffff : reserved\n"), "{with}");
    assert!(with.contains("40000000-43ffffff : System RAM\n  40000000-43ffffff : Crash kernel\n"), "{with}");
}
