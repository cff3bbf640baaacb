//! Whole boots: whatever firmware or a user says, the boot ends with a live allocator or with an error.

use crate::said;
use pagewright_firmware::config::Flavour;
use pagewright_lab::machine::OwnedMachine;
use pagewright_lab::machine::description::{from_log, from_tree, shipped};
use pagewright_lab::run::boot;

/// Boots a device tree as an arm64 and as both kinds of arm machine.
pub fn boot_dtb(data: &[u8]) {
    for flavour in [Flavour::Arm64, Flavour::Armmp, Flavour::ArmmpLpae] {
        match from_tree("fuzz", data.to_vec(), flavour, Some("memblock=debug cma=16M")) {
            Ok(machine) => run(&machine),
            Err(fault) => said(fault),
        }
    }
}

/// Boots the PC that a pasted log describes.
pub fn boot_dmesg(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for flavour in [Flavour::Amd64, Flavour::I686, Flavour::I686Pae] {
        match from_log("fuzz", &text, Some(flavour)) {
            Ok(machine) => run(&machine),
            Err(fault) => said(fault),
        }
    }
}

/// Boots shipped machines with a strange command line.
pub fn boot_cmdline(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for name in ["arm64-virt", "arm-virt", "i386-pc", "x86_64-numa4"] {
        let mut machine =
            shipped(name).and_then(|found| found.machine()).expect("a shipped machine is in order");
        machine.cmdline = Some(text.clone().into_owned());
        run(&machine);
    }
}

fn run(machine: &OwnedMachine) {
    let ended = boot(
        machine,
        |booted| {
            booted.boot.mb.validate().expect("memblock is in order after the boot");
            std::hint::black_box(booted.record);
        },
        |_| (),
    );
    if let Err(fault) = ended {
        said(fault);
    }
}
