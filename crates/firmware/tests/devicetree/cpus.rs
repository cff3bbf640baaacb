use crate::build::{N, cpu, cpus, node, root};
use pagewright_firmware::devicetree::{CpuList, DeviceTree};

fn names(cpus: N) -> Vec<String> {
    let blob = root(2, 2).with(cpus).blob();
    DeviceTree::parse(&blob).unwrap().cpus().map(|c| c.name.to_owned()).collect()
}

#[test]
fn a_node_is_a_processor_by_name_or_by_type() {
    let found = names(
        cpus()
            .with(node("cpu@0").cells("reg", &[0]))
            .with(node("PowerPC,970@1").text("device_type", "cpu"))
            .with(node("cpu-map").with(cpu(7)))
            .with(node("idle-states")),
    );
    assert_eq!(found, ["cpu@0", "PowerPC,970@1"]);
}

#[test]
fn failed_processors_do_not_exist_and_disabled_ones_do() {
    let found = names(
        cpus()
            .with(cpu(0))
            .with(cpu(1).text("status", "fail"))
            .with(cpu(2).text("status", "fail-hot"))
            .with(cpu(3).text("status", "failed"))
            .with(cpu(4).text("status", "disabled")),
    );
    assert_eq!(found, ["cpu@0", "cpu@3", "cpu@4"]);
}

#[test]
fn the_hardware_id_has_the_cells_that_cpus_says() {
    let two = node("cpus").cells("#address-cells", &[2]).cells("#size-cells", &[0]);
    let blob = root(1, 1)
        .with(
            two.with(node("cpu@0").cells("reg", &[1, 0x101]).cells("numa-node-id", &[2]))
                .with(node("cpu@1").cells("reg", &[5])),
        )
        .blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let facts: Vec<_> = tree.cpus().map(|c| (c.reg, c.node)).collect();
    assert_eq!(facts, [(Some(0x1_0000_0101), Some(2)), (None, None)]);
}

#[test]
fn cells_are_inherited_from_the_root() {
    let blob = root(2, 2).with(node("cpus").with(node("cpu@0").cells("reg", &[0, 9]))).blob();
    assert_eq!(DeviceTree::parse(&blob).unwrap().cpus().next().unwrap().reg, Some(9));
}

#[test]
fn on_arm64_bad_nodes_take_a_number_and_methods_decide_what_is_possible() {
    let blob = root(2, 2)
        .with(
            cpus()
                .with(cpu(0))
                .with(cpu(1))
                .with(
                    node("cpu@1x")
                        .text("device_type", "cpu")
                        .cells("reg", &[1])
                        .text("enable-method", "psci"),
                )
                .with(node("cpu@2").text("enable-method", "psci"))
                .with(node("cpu@3").cells("reg", &[3]).text("enable-method", "foo"))
                .with(node("cpu@4").cells("reg", &[4]).text("enable-method", "spin-table")),
        )
        .blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    assert_eq!(tree.possible_cpus_arm64(256), 6);
    assert_eq!(tree.possible_cpus_arm64(4), 2);
    assert_eq!(tree.possible_cpus_arm(32), 1, "a missing id makes arm ignore the list");
}

#[test]
fn without_processors_one_is_possible() {
    let blob = root(1, 1).blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    assert_eq!((tree.possible_cpus_arm64(256), tree.possible_cpus_arm(32)), (1, 1));
}

#[test]
fn on_arm_every_listed_processor_is_possible_up_to_the_limit() {
    let blob = root(1, 1).with(cpus().with(cpu(0xf00)).with(cpu(0xf01)).with(cpu(0xf02))).blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    assert_eq!((tree.possible_cpus_arm(32), tree.possible_cpus_arm(2)), (3, 2));
    let blob = root(1, 1).with(cpus().with(cpu(0xff00_0000))).blob();
    assert_eq!(DeviceTree::parse(&blob).unwrap().possible_cpus_arm(32), 1);
}

/// The numbers that arm64 hands out, with the ids of who gets them.
fn numbered(blob: &[u8], boot: u64, limit: u32) -> (Vec<(u32, u64)>, CpuList) {
    let tree = DeviceTree::parse(blob).unwrap();
    let mut out = Vec::new();
    let list = tree.number_cpus_arm64(Some(boot), limit, &mut |n, c| out.push((n, c.reg.unwrap())));
    out.sort_unstable();
    (out, list)
}

fn psci(id: u32) -> N {
    cpu(id).text("enable-method", "psci")
}

#[test]
fn on_arm64_the_boot_processor_is_number_0_wherever_it_is_listed() {
    let blob = root(1, 1).with(cpus().with(psci(0)).with(psci(1)).with(psci(2))).blob();
    assert_eq!(numbered(&blob, 1, 8), (vec![(0, 1), (1, 0), (2, 2)], CpuList::Taken));
    assert_eq!(numbered(&blob, 1, 2), (vec![(0, 1), (1, 0)], CpuList::Clipped { cores: 3 }));
    assert_eq!(numbered(&blob, 7, 8), (vec![], CpuList::NoBootCpu));
}

#[test]
fn on_arm_a_list_without_the_boot_processor_counts_for_nothing() {
    let blob = root(1, 1).with(cpus().with(cpu(0x100)).with(cpu(0x101)).with(cpu(0x102))).blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    assert_eq!(tree.count_cpus_arm(Some(0x101), 4), (3, CpuList::Taken));
    assert_eq!(tree.count_cpus_arm(Some(0), 4), (1, CpuList::NoBootCpu));
    assert_eq!(tree.count_cpus_arm(Some(0x100), 2), (2, CpuList::Clipped { cores: 3 }));
    // Linux stops at the limit, before it has seen the boot processor.
    assert_eq!(tree.count_cpus_arm(Some(0x102), 2), (1, CpuList::NoBootCpu));
    let twice =
        root(1, 1).with(cpus().with(cpu(0)).with(cpu(1)).with(node("cpu@x").cells("reg", &[1]))).blob();
    assert_eq!(DeviceTree::parse(&twice).unwrap().count_cpus_arm(None, 4), (1, CpuList::RepeatedId));
    let wide = root(1, 1).with(cpus().with(cpu(0)).with(cpu(0x100_0000))).blob();
    assert_eq!(DeviceTree::parse(&wide).unwrap().count_cpus_arm(None, 4), (1, CpuList::BadId));
}
