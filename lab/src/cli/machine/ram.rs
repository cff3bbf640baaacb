//! `--memory` and `--initrd`: what RAM a machine has, and where its RAM disk lies.

use super::MachineArgs;
use crate::cli::size::{Place, SIZE};
use crate::fault::Fault;
use crate::machine::{OwnedFirmware, OwnedMachine, OwnedPc, tags};
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_firmware::e820::{E820Entry, E820Kind};
use std::fs;

impl MachineArgs {
    /// Puts the RAM of `--memory` in place of what the firmware says.
    pub(super) fn replace_memory(&self, machine: &mut OwnedMachine) -> Result<(), Fault> {
        if self.memory.is_empty() {
            return Ok(());
        }
        self.check_memory(machine.config.page_shift.bytes())?;
        let too_high = || Fault::new("ends above 2^64", "--memory", SIZE);
        match &mut machine.firmware {
            OwnedFirmware::DeviceTree { dtb, memory, .. } => {
                let tree = DeviceTree::parse(dtb).map_err(|e| Fault::caused(e, "device tree", ""))?;
                for place in &self.memory {
                    let default = place.at.or(tree.memory_node_unit_address()).ok_or_else(|| {
                        let what = "the device tree's memory node has no unit address";
                        Fault::new(what, "--memory", "SIZE@ADDRESS")
                    })?;
                    memory.push(place.range(default).ok_or_else(too_high)?);
                }
            }
            OwnedFirmware::Pc(pc) => replace_e820(pc, &self.memory).ok_or_else(too_high)?,
            OwnedFirmware::Atags(list) => {
                let first = tags::first_bank(list).map(|bank| bank.start);
                let banks = self.memory.iter().map(|place| {
                    let default = place
                        .at
                        .or(first)
                        .ok_or_else(|| Fault::new("the list has no memory", "--memory", "SIZE@ADDRESS"))?;
                    place.range(default).ok_or_else(too_high)
                });
                let banks: Vec<PhysRange> = banks.collect::<Result<_, _>>()?;
                *list = tags::with_memory(list, &banks).map_err(|f| f.within("--memory"))?;
            }
        }
        Ok(())
    }

    /// What no machine's RAM can be, whatever the firmware.
    fn check_memory(&self, page: u64) -> Result<(), Fault> {
        if let Some(small) = self.memory.iter().find(|place| place.len < page) {
            let what = format!("{} B are smaller than one page", small.len);
            return Err(Fault::new(what, "--memory", format!("at least {page} B, as {SIZE}")));
        }
        // Without an address RAM starts where the firmware's does: there is one such place.
        if self.memory.iter().filter(|place| place.at.is_none()).count() > 1 {
            let expected = "SIZE@ADDRESS for all but one of them";
            return Err(Fault::new("given several times without an address", "--memory", expected));
        }
        Ok(())
    }

    /// Gives the machine a RAM disk; returns its place if the option names it.
    pub(super) fn initrd_option(&self, machine: &mut OwnedMachine) -> Result<Option<PhysRange>, Fault> {
        let Some(text) = &self.initrd else { return Ok(machine.initrd.filter(|_| machine.is_pc())) };
        let place = match text.parse::<Place>() {
            Ok(place) => place,
            Err(_) => Place { len: file_len(text)?, at: None },
        };
        if let Some(at) = place.at {
            let range = place.range(at).ok_or_else(|| Fault::new("ends above 2^64", "--initrd", SIZE))?;
            machine.initrd = Some(range);
            return Ok(Some(range));
        }
        machine.initrd = Some(PhysRange::from_len(PhysAddr::ZERO, place.len));
        let OwnedFirmware::Pc(pc) = &machine.firmware else { return Ok(None) };
        // A PC's loader puts it at the top of RAM below 4 GiB, a little below the firmware's own tables.
        let low = pc
            .e820
            .iter()
            .filter(|e| e.kind == E820Kind::Ram && e.end().get() <= 1 << 32)
            .map(E820Entry::end);
        let end = low.max().unwrap_or(PhysAddr::ZERO).saturating_sub(64 << 10).align_down(64 << 10);
        let start = end.saturating_sub(place.len).align_down(4096);
        Ok(Some(PhysRange::from_len(start, place.len)))
    }
}

/// The length of a RAM disk's file.
fn file_len(path: &str) -> Result<u64, Fault> {
    let fault = |what: String| Fault::new(what, format!("--initrd {path}"), format!("a file, or {SIZE}"));
    let meta = fs::metadata(path).map_err(|e| fault(e.to_string()))?;
    match meta.len() {
        _ if !meta.is_file() => Err(fault("not a file".to_owned())),
        0 => Err(fault("an empty file".to_owned())),
        len => Ok(len),
    }
}

/// RAM as a PC has it: 640 KiB, then from 1 MiB up to the hole below 4 GiB, the rest above it. `None` if it does not
/// fit 64 bits.
fn replace_e820(pc: &mut OwnedPc, memory: &[Place]) -> Option<()> {
    const MIB: u64 = 1 << 20;
    /// Where QEMU's q35 starts its hole for devices, and how far RAM goes below it when it does not all fit.
    const HOLE: u64 = 0xb000_0000;
    const BELOW_HOLE: u64 = 0x8000_0000;
    const ABOVE_HOLE: u64 = 1 << 32;
    /// The processor's own hole below 1 TiB; RAM that does not fit below it starts above.
    const TIB_HOLE: u64 = 0xfd_0000_0000;
    const ABOVE_TIB_HOLE: u64 = 1 << 40;
    pc.e820.retain(|e| e.kind != E820Kind::Ram);
    let mut ram = |start: u64, end: u64| {
        if start < end {
            pc.e820.push(E820Entry::new(start, end - start, E820Kind::Ram));
        }
    };
    for place in memory {
        if let Some(at) = place.at {
            let range = place.range(at)?;
            ram(range.start.get(), range.end.get());
            continue;
        }
        let low = if place.len > HOLE { BELOW_HOLE } else { place.len };
        ram(0, low.min(0x9_fc00));
        ram(MIB, low);
        let rest = place.len - low;
        let above = if rest > TIB_HOLE - ABOVE_HOLE { ABOVE_TIB_HOLE } else { ABOVE_HOLE };
        ram(above, above.checked_add(rest)?);
    }
    // What the firmware keeps at the top of low memory moves with it; what it says above is checked by the kernel.
    pc.e820.sort_by_key(|e| e.start);
    Some(())
}
