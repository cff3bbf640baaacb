//! Why a boot stopped, for whoever described the machine: what, where, and what would have been right.

use super::record::{Entry, Recorder};
use crate::fault::Fault;
use crate::machine::OwnedMachine;
use pagewright::BootError;
use pagewright_memblock::{Error as MemblockError, Event};
use pagewright_sim::HostedError;

/// The fault for a boot that stopped.
pub(super) fn boot_fault(machine: &OwnedMachine, record: &Recorder, error: &BootError) -> Fault {
    let page = machine.config.page_shift.bytes();
    let (what, expected) = match error {
        BootError::NoMemory { empty_node: true } => (
            "the device tree's memory node is empty, a boot loader would fill it".to_owned(),
            "--memory SIZE[@ADDRESS]".to_owned(),
        ),
        BootError::NoMemory { empty_node: false } => {
            (error.to_string(), "RAM at addresses that this kernel reaches (--memory)".to_owned())
        }
        BootError::ImageOutsideMemory { missing } => {
            let image = &machine.image;
            let (start, end) = (image.load_start().get(), image.end.get());
            let what = format!(
                "no RAM for all of the kernel image, [mem {start:#x}-{:#x}]: {missing} bytes short",
                end.max(1) - 1
            );
            (what, format!("RAM there, {} KiB of it (--memory)", end.saturating_sub(start).div_ceil(1024)))
        }
        BootError::TooMuchMemory { frames } => (
            format!("{frames} page frames of RAM"),
            format!("at most {} (32 bits), less than {} TiB", u32::MAX, (page << 32) >> 40),
        ),
        BootError::Memblock(MemblockError::NoMemory { size, align, .. }) => {
            let caller = last_caller(record).map_or(String::new(), |caller| format!(" for {caller}"));
            let what = format!("no free {size} B{caller}, aligned to {align:#x}: Linux panics here");
            (what, "more RAM that can be used early, or less that needs or takes it".to_owned())
        }
        other => (other.to_string(), String::new()),
    };
    Fault::new(what, machine.name.clone(), expected)
}

/// The fault for a hand-over that failed.
pub(super) fn hosted_fault(machine: &OwnedMachine, record: &Recorder, error: &HostedError) -> Fault {
    match error {
        HostedError::Boot(e) => boot_fault(machine, record, e),
        HostedError::Sim(e) => {
            let expected =
                "a machine with less RAM, or a host that lends more (ulimit -v, vm.overcommit_memory)";
            Fault::new(e.to_string(), machine.name.clone(), expected)
        }
    }
}

/// Who asked memblock for memory last.
fn last_caller(record: &Recorder) -> Option<&'static str> {
    record.entries().iter().rev().find_map(|entry| match entry {
        Entry::Memblock(Event::PhysAllocRange { caller, .. } | Event::AllocTryNid { caller, .. }) => {
            Some(*caller)
        }
        _ => None,
    })
}
