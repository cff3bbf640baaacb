//! Running a boot: the memory that it borrows, and a record of all it says.

mod log;
mod record;
mod slots;

pub use log::{LogOptions, Verbosity};
pub use record::{Entry, Recorder};
pub use slots::{SPARE_SLOTS, SpareSlots};

use crate::fault::Fault;
use crate::machine::OwnedMachine;
use pagewright::{Boot, Workspace};
use pagewright_firmware::Arch;
use pagewright_firmware::config::KernelConfig;
use pagewright_memblock::{INIT_MEMBLOCK_REGIONS, Region};
use pagewright_zone::layout::{MemFlags, MemRange, NodeLayout};

/// Slots of memblock's first arrays, memory and reserved.
///
/// arm64 keeps eight times the usual number for memory, because EFI maps come in many pieces, and one reservation
/// for each processor's interrupt tables.
pub fn initial_slots(config: &KernelConfig) -> (usize, usize) {
    match config.arch {
        Arch::Arm64 => (INIT_MEMBLOCK_REGIONS * 8, INIT_MEMBLOCK_REGIONS + config.nr_cpus as usize + 1),
        _ => (INIT_MEMBLOCK_REGIONS, INIT_MEMBLOCK_REGIONS),
    }
}

/// Memory ranges that zones are computed from, at most.
const MAX_RANGES: usize = 1 << 14;

/// Boots the machine and hands its final state and the record to `then`.
///
/// # Errors
/// A [`Fault`] if the description cannot be read or the boot stops; the record then ends where it stopped and goes
/// to `stopped`.
pub fn boot<R>(
    machine: &OwnedMachine,
    then: impl FnOnce(&Boot<'_>, &Recorder) -> R,
    stopped: impl FnOnce(&Recorder),
) -> Result<R, Fault> {
    let lent = machine.lend()?;
    let recorder = Recorder::new(initial_slots(&machine.config));
    let (memory, reserved) = initial_slots(&machine.config);
    let mut memory = vec![Region::default(); memory];
    let mut reserved = vec![Region::default(); reserved];
    let mut spare = vec![Region::default(); SPARE_SLOTS];
    let mut growth = SpareSlots::new(&mut spare);
    let blank = MemRange {
        pfns: pagewright_addr::PfnRange::default(),
        nid: pagewright_addr::NodeId::ZERO,
        flags: MemFlags::empty(),
    };
    let mut ranges = vec![blank; MAX_RANGES];
    let mut nodes = vec![NodeLayout::EMPTY; machine.config.max_numnodes() as usize];
    let possible = machine.config.max_numnodes() as usize;
    let mut zonelists = vec![pagewright_addr::NodeId::ZERO; possible * (possible + 1)];
    let workspace = Workspace {
        zonelists: &mut zonelists,
        memory: &mut memory,
        reserved: &mut reserved,
        region_memory: Some(&mut growth),
        ranges: &mut ranges,
        nodes: &mut nodes,
    };
    match pagewright::boot(&lent, workspace, &recorder) {
        Ok(booted) => Ok(then(&booted, &recorder)),
        Err(e) => {
            stopped(&recorder);
            Err(Fault::new(e.to_string(), machine.name.clone(), ""))
        }
    }
}
