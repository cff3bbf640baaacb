//! Which processors are possible, and what follows of their number: per-CPU units, bounce-buffer areas, the log.

use crate::support::facts::Facts;
use crate::support::spec::{RAM, Spec, pc};
use crate::support::tree::{N, cpu, cpus, memory, node, root};
use crate::support::{GIB, MIB};
use pagewright_firmware::config::{Flavour, KernelConfig};

/// A machine whose tree lists these processors, and 256 MiB of RAM.
fn listing(flavour: Flavour, list: N) -> Spec {
    let root = root().text("model", "test,board").with(list).with(memory(RAM, 256 * MIB));
    let mut spec = Spec::tree(KernelConfig::debian(flavour), root, RAM + 2 * MIB);
    let blob = spec.blob();
    let tree = pagewright_firmware::devicetree::DeviceTree::parse(&blob).expect("a tree");
    spec.cpus.possible = tree.cpus().count() as u32;
    spec
}

/// The numbers of the processors that have a unit in the first chunk.
fn units(facts: &Facts) -> Vec<u32> {
    let chunk = facts.percpu.as_ref().expect("a first chunk");
    chunk.groups.iter().flat_map(|g| chunk.cpus(g).to_vec()).collect()
}

#[test]
fn every_listed_processor_gets_a_unit() {
    assert_eq!(units(&listing(Flavour::Armmp, cpus(4)).boot()), [0, 1, 2, 3]);
    assert_eq!(units(&listing(Flavour::Arm64, cpus(4)).boot()), [0, 1, 2, 3]);
    assert_eq!(units(&pc(256).cpus(4).boot()), [0, 1, 2, 3]);
}

#[test]
fn nr_cpus_limits_what_is_possible() {
    let facts = listing(Flavour::Armmp, cpus(4)).cmdline("nr_cpus=2").boot();
    assert_eq!(units(&facts), [0, 1]);
    facts.expect("DT /cpu 3 nodes greater than max cores 2, capping them");
    let facts = listing(Flavour::Arm64, cpus(4)).cmdline("nr_cpus=3").boot();
    assert_eq!(units(&facts), [0, 1, 2]);
    facts.expect("Number of cores (4) exceeds configured maximum of 3 - clipping");
    let facts = pc(256).cpus(4).cmdline("nr_cpus=2").boot();
    assert_eq!(units(&facts), [0, 1]);
    facts.expect("smpboot: 4 Processors exceeds NR_CPUS limit of 2");
    facts.expect("smpboot: Allowing 2 CPUs, 0 hotplug CPUs");
    facts.expect("nr_cpu_ids:2");
}

#[test]
fn nr_cpus_beyond_what_is_built_in_changes_nothing() {
    let facts = listing(Flavour::Armmp, cpus(4)).config(|c| c.nr_cpus = 3).cmdline("nr_cpus=8").boot();
    assert_eq!(units(&facts), [0, 1, 2]);
}

#[test]
fn maxcpus_leaves_possible_what_it_does_not_start() {
    for spec in [listing(Flavour::Armmp, cpus(4)), listing(Flavour::Arm64, cpus(4)), pc(256).cpus(4)] {
        let facts = spec.cmdline("maxcpus=2").boot();
        assert_eq!((units(&facts), facts.started), (vec![0, 1, 2, 3], vec![0, 1]));
    }
    let facts = listing(Flavour::Armmp, cpus(4)).cmdline("nosmp").boot();
    assert_eq!((units(&facts), facts.started), (vec![0, 1, 2, 3], vec![0]));
}

#[test]
fn a_pc_without_others_to_start_has_none() {
    let facts = pc(256).cpus(4).cmdline("nosmp").boot();
    assert_eq!(units(&facts), [0]);
    facts.expect("smpboot: 4 Processors exceeds max_cpus limit of 0");
    assert_eq!(units(&pc(256).cpus(4).cmdline("maxcpus=0").boot()), [0]);
}

#[test]
fn processors_that_may_come_are_possible_and_not_started() {
    let spec = || pc(256).cpus(4).tables(|pc| pc.hotplug_cpus = 2);
    let facts = spec().boot();
    assert_eq!((units(&facts), facts.started.as_slice()), (vec![0, 1, 2, 3], &[0, 1][..]));
    facts.expect("smpboot: Allowing 4 CPUs, 2 hotplug CPUs");
    let facts = spec().cmdline("possible_cpus=3").boot();
    assert_eq!(units(&facts), [0, 1, 2]);
    facts.expect("smpboot: Allowing 3 CPUs, 1 hotplug CPUs");
    assert_eq!(units(&spec().cmdline("possible_cpus=6").boot()).len(), 6);
}

#[test]
fn more_possible_processors_than_there_is_room_for_are_refused_by_name() {
    let error = pc(256).cmdline("possible_cpus=1000").refused().to_string();
    assert!(error.contains("possible CPUs") && error.contains("512"), "{error}");
}

#[test]
fn a_list_without_the_boot_processor_leaves_it_alone() {
    let mut spec = listing(Flavour::Armmp, cpus(4));
    spec.cpus.boot_id = Some(0x100);
    let facts = spec.boot();
    facts.expect("Booting Linux on physical CPU 0x100");
    facts.expect("DT missing boot CPU MPIDR[23:0], fall back to default cpu_logical_map");
    assert_eq!(units(&facts), [0]);
    let mut spec = listing(Flavour::Arm64, cpus(4));
    spec.cpus.boot_id = Some(0x100);
    let facts = spec.boot();
    facts.expect("missing boot CPU MPIDR, not enabling secondaries");
    assert_eq!(units(&facts), [0]);
    spec.cpus.boot_id = Some(3);
    assert_eq!(units(&spec.boot()), [0, 1, 2, 3]);
}

#[test]
fn a_repeated_id_makes_arm_ignore_the_list() {
    let again = node("cpu@2").text("device_type", "cpu").cells("reg", &[1]);
    let facts = listing(Flavour::Armmp, cpus(2).with(again)).boot();
    facts.expect("Duplicate /cpu reg properties in the DT");
    assert_eq!(units(&facts), [0]);
}

#[test]
fn on_arm64_a_processor_that_cannot_be_started_leaves_its_number_unused() {
    let odd = node("cpu@9").text("device_type", "cpu").cells("reg", &[9]).text("enable-method", "magic");
    let list = cpus(2).with(odd).with(cpu(4));
    let facts = listing(Flavour::Arm64, list).boot();
    assert_eq!((units(&facts), facts.started), (vec![0, 1, 3], vec![0, 1, 3]));
}

#[test]
fn a_number_other_than_the_trees_stands_for_itself() {
    let mut spec = listing(Flavour::Arm64, cpus(1));
    spec.cpus.possible = 3;
    assert_eq!(units(&spec.boot()), [0, 1, 2]);
    assert_eq!(units(&spec.cmdline("nr_cpus=2").boot()), [0, 1]);
}

#[test]
fn a_kernel_without_smp_knows_one_processor() {
    let facts = listing(Flavour::Armmp, cpus(4)).config(|c| (c.smp, c.nr_cpus) = (false, 1)).boot();
    assert_eq!(units(&facts), [0]);
}

#[test]
fn bounce_buffers_have_an_area_for_each_possible_processor() {
    let areas = |words: &str| {
        let facts = pc(5 * GIB / MIB).cpus(4).cmdline(words).boot();
        facts.lines("software IO TLB: area num")[0].to_owned()
    };
    assert_eq!(areas(""), "software IO TLB: area num 4.");
    assert_eq!(areas("nr_cpus=2"), "software IO TLB: area num 2.");
    assert_eq!(areas("swiotlb=32768,8"), "software IO TLB: area num 8.");
}

#[test]
fn many_possible_processors_make_the_log_larger() {
    let spec = || listing(Flavour::Armmp, cpus(1)).config(|c| (c.nr_cpus, c.log_buf_shift) = (32, 14));
    let mut many = spec();
    many.cpus.possible = 32;
    many.boot().expect("printk: log_buf_len total cpu_extra contributions: 126976 bytes");
    assert!(!many.cmdline("nr_cpus=2").boot().said("log_buf_len"));
}

#[test]
fn arm_adjusts_its_bounce_buffers_while_the_command_line_is_parsed() {
    let facts = listing(Flavour::ArmmpLpae, cpus(1)).cmdline("swiotlb=1024,2,force").boot();
    let at = |text: &str| facts.log.iter().position(|(_, l)| l.contains(text)).expect("a line");
    assert!(at("software IO TLB: area num 2.") < at("Kernel command line"));
}
