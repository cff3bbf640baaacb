use super::*;
use clap::Parser;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::e820::{E820Entry, E820Kind};

#[derive(Parser)]
struct Wrapper {
    #[command(flatten)]
    machine: MachineArgs,
}

fn machine(args: &[&str]) -> Result<OwnedMachine, Fault> {
    Wrapper::parse_from(["x"].iter().chain(args)).machine.machine()
}

fn e820(machine: &OwnedMachine) -> &[E820Entry] {
    let OwnedFirmware::Pc(pc) = &machine.firmware else { panic!("a PC") };
    &pc.e820
}

#[test]
fn without_options_it_is_the_default_machine() {
    assert_eq!(machine(&[]).unwrap().name, DEFAULT);
    assert_eq!(machine(&["--arch", "i386-pae"]).unwrap().config, KernelConfig::debian(Flavour::I686Pae));
}

#[test]
fn memory_of_a_pc_leaves_room_for_devices_below_4_gib() {
    let m = machine(&["--machine", "x86_64-q35", "--memory", "6G"]).unwrap();
    let ram: Vec<_> =
        e820(&m).iter().filter(|e| e.kind == E820Kind::Ram).map(|e| (e.start.get(), e.size)).collect();
    let above = (1 << 32, (6 << 30) - 0x8000_0000);
    assert_eq!(ram, [(0, 0x9_fc00), (1 << 20, 0x8000_0000 - (1 << 20)), above]);
    let large = machine(&["--machine", "x86_64-q35", "--memory", "2T"]).unwrap();
    assert_eq!(e820(&large).iter().map(|e| e.end().get()).max(), Some((3 << 40) - 0x8000_0000));
    let small = machine(&["--machine", "x86_64-q35", "--memory", "1G"]).unwrap();
    assert!(e820(&small).iter().all(|e| e.kind != E820Kind::Ram || e.end().get() <= 1 << 30));
}

#[test]
fn memory_of_a_tree_starts_at_the_memory_nodes_address() {
    let m =
        machine(&["--machine", "vexpress-a15", "--memory", "256M", "--memory", "64M@0xa0000000"]).unwrap();
    let OwnedFirmware::DeviceTree { memory, .. } = &m.firmware else { panic!("a tree") };
    let ranges: Vec<_> = memory.iter().map(|r| (r.start.get(), r.len())).collect();
    assert_eq!(ranges, [(0x8000_0000, 256 << 20), (0xa000_0000, 64 << 20)]);
    assert_eq!(m.image.load_start().get(), 0x8020_8000);
}

#[test]
fn an_initial_ram_disk_is_placed_as_a_loader_would() {
    let tree = machine(&["--initrd", "1M"]).unwrap();
    assert_eq!(tree.initrd, Some(PhysRange::from_len(PhysAddr::new(0x4800_0000), 1 << 20)));
    let pc = machine(&["--arch", "x86_64", "--initrd", "1M"]).unwrap().initrd.unwrap();
    assert!(pc.end.get() <= 0x7ffd_f000 && pc.len() == 1 << 20);
    let fixed = machine(&["--initrd", "1M@0x50000000"]).unwrap().initrd.unwrap();
    assert_eq!(fixed.start.get(), 0x5000_0000);
}

#[test]
fn bad_values_are_told_with_the_option() {
    for (args, expected) in [
        (&["--machine", "nonsense"][..], "--machine"),
        (&["--cpus", "100000"], "CONFIG_NR_CPUS"),
        (&["--dtb", "/no/such/file"], "/no/such/file"),
        (&["--initrd", "/no/such/file"], "--initrd"),
        (&["--machine", "arm-virt", "--arch", "x86_64"], "--arch"),
        (&["--acpi", "/tmp"], "a PC"),
        (&["--kernel-config", "/no/such/config"], "/no/such/config"),
    ] {
        let fault = machine(args).unwrap_err().to_string();
        assert!(fault.contains(expected), "{fault}");
        assert_eq!(fault.lines().count(), 1);
    }
}
