//! A PC's inputs: the firmware's memory map, ACPI's tables, the MP table, the RAM disk's place.

use super::super::Capture;
use super::distances::DistanceLog;
use super::efi::EfiLog;
use crate::fault::Fault;
use crate::machine::{OwnedFirmware, OwnedMachine, OwnedPc};
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::MpTable;
use pagewright_firmware::acpi::{MadtEntry, Slit, SratEntry, SratLine, parse_madt, parse_srat};
use pagewright_firmware::dmesg::{Line, classify};
use pagewright_firmware::e820::{E820Kind, MapName};

const MIB: u64 = 1 << 20;

/// What a log says about a PC; also used for logs that are pasted (`--dmesg`).
#[derive(Default)]
pub struct PcLog {
    /// The tables.
    pub pc: OwnedPc,
    /// The RAM disk.
    pub initrd: Option<PhysRange>,
    /// Processors that may ever run.
    pub possible_cpus: Option<u32>,
    /// What it says about distances between nodes.
    pub distances: DistanceLog,
}

impl PcLog {
    /// Reads all lines that repeat what the firmware said.
    ///
    /// # Errors
    /// A [`Fault`] with the first line that starts like such a line and does not go on like one.
    pub fn read(dmesg: &str) -> Result<Self, Fault> {
        let mut out = Self::default();
        let mut mp: Vec<PhysRange> = Vec::new();
        for (i, line) in dmesg.lines().enumerate() {
            match classify(line) {
                Line::E820(map) if map.map == MapName::Bios => out.pc.e820.push(map.entry),
                Line::Srat(entry) => {
                    out.distances.srat(&entry);
                    match entry {
                        SratLine::Memory { memory, .. } => out.pc.srat_memory.push(memory),
                        SratLine::Cpu { cpu, .. } => out.pc.srat_cpus.push(cpu),
                    }
                }
                Line::AcpiReserving { range, .. } => out.pc.acpi_tables.push(range),
                Line::AcpiTable { signature: "HPET", .. } => out.pc.hpet = true,
                Line::AllowingCpus { possible, hotplug } => {
                    out.possible_cpus = Some(possible);
                    out.pc.hotplug_cpus = hotplug;
                }
                Line::MpTable(range) => mp.insert(0, range),
                Line::MemblockReserve { range, caller: "smp_scan_config" } if !mp.contains(&range) => {
                    mp.push(range)
                }
                Line::RamDisk(range) => out.initrd = Some(range),
                Line::Other(text) => {
                    out.distances.line(text);
                    out.pc.io_apics.extend(text.strip_prefix("IOAPIC[").map(io_apic));
                    // A RAM disk out of reach is moved; the line tells its length to the byte.
                    if let Some(from) = text.strip_prefix("Move RAMDISK from [mem ").and_then(moved) {
                        out.initrd = Some(from);
                    }
                }
                Line::Malformed { expected } if expected.starts_with("BIOS-") => {
                    return Err(Fault::line(i + 1, line, expected));
                }
                _ => {}
            }
        }
        out.pc.mp_table =
            mp.first().map(|&floating_pointer| MpTable { floating_pointer, table: mp.get(1).copied() });
        out.pc.slit = out.distances.slit(|_, _| None);
        let EfiLog { efi, setup_data, .. } = EfiLog::read(dmesg, None);
        (out.pc.efi, out.pc.setup_data) = (efi, setup_data);
        // Conventional memory ends where the firmware's own data begins. EFI has no such data there.
        let bios = out.pc.efi.is_empty();
        let low = |e: &&pagewright_firmware::e820::E820Entry| e.kind == E820Kind::Ram && e.end().get() < MIB;
        out.pc.ebda = out.pc.e820.iter().find(low).map(|e| e.end()).filter(|_| bios);
        Ok(out)
    }
}

/// `0x7fed3000-0x7ffcf13d] to ...`.
fn moved(text: &str) -> Option<PhysRange> {
    let (first, last) = text.split_once(']')?.0.split_once('-')?;
    let hex = |t: &str| u64::from_str_radix(t.strip_prefix("0x")?, 16).ok();
    Some(PhysRange::new(PhysAddr::new(hex(first)?), PhysAddr::new(hex(last)?.checked_add(1)?)))
}

/// `0]: apic_id 0, version 32, address 0xfec00000, GSI 0-23`: the address.
fn io_apic(text: &str) -> PhysAddr {
    let address = text.split(", ").find_map(|part| part.strip_prefix("address 0x"));
    PhysAddr::new(address.and_then(|t| u64::from_str_radix(t, 16).ok()).unwrap_or(0))
}

impl Capture {
    pub(super) fn pc_inputs(&self, machine: &mut OwnedMachine) -> Result<(), Fault> {
        let place = self.dir.join("dmesg.txt").display().to_string();
        let PcLog { mut pc, initrd, mut possible_cpus, distances } =
            PcLog::read(&self.dmesg).map_err(|f| f.within(&place))?;
        if pc.e820.is_empty() {
            return Err(Fault::missing("no BIOS-e820 line", place, "the firmware's memory map"));
        }
        pc.slit = distances.slit(|from, to| self.distance(from, to));
        let table = |name: &str| self.acpi.get(name).map(|bytes| (self.dir.join(name), bytes));
        if let Some((path, bytes)) = table("SRAT") {
            read_srat(&mut pc, bytes).map_err(|f| f.within(path.display()))?;
        }
        if let Some((path, bytes)) = table("SLIT") {
            pc.slit = Some(read_slit(bytes).map_err(|f| f.within(path.display()))?);
        }
        if let Some((path, bytes)) = table("APIC") {
            let madt = read_madt(bytes).map_err(|f| f.within(path.display()))?;
            possible_cpus = possible_cpus.or(Some(madt.possible));
            pc.io_apics = madt.io_apics;
        }
        machine.cpus.possible = possible_cpus.unwrap_or(1).clamp(1, machine.config.nr_cpus);
        machine.initrd = initrd;
        machine.firmware = OwnedFirmware::Pc(pc);
        Ok(())
    }
}

/// Takes SRAT's entries from the table itself; what a log said of them is dropped.
///
/// # Errors
/// A [`Fault`] if it is no SRAT.
pub fn read_srat(pc: &mut OwnedPc, bytes: &[u8]) -> Result<(), Fault> {
    pc.srat_memory.clear();
    pc.srat_cpus.clear();
    parse_srat(bytes, &mut |entry| match entry {
        SratEntry::Memory(memory) => pc.srat_memory.push(memory),
        SratEntry::Cpu(cpu) => pc.srat_cpus.push(cpu),
        SratEntry::Other(_) => {}
    })
    .map(|_| ())
    .map_err(|e| Fault::caused(e, "", "an SRAT"))
}

/// SLIT's matrix.
///
/// # Errors
/// A [`Fault`] if it is no SLIT.
pub fn read_slit(bytes: &[u8]) -> Result<(u32, Vec<u8>), Fault> {
    let slit = Slit::parse(bytes).map_err(|e| Fault::caused(e, "", "a SLIT"))?;
    let n = slit.localities();
    let row = |from| (0..n).map(move |to| slit.distance(from, to).unwrap_or(0));
    Ok((n, (0..n).flat_map(row).collect()))
}

/// What a MADT says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MadtFacts {
    /// Processors that may ever run.
    pub possible: u32,
    /// Those of them that are not there yet.
    pub hotplug: u32,
    /// The registers of each IO APIC.
    pub io_apics: Vec<PhysAddr>,
}

/// Reads a MADT.
///
/// # Errors
/// A [`Fault`] if it is none.
pub fn read_madt(bytes: &[u8]) -> Result<MadtFacts, Fault> {
    let mut io_apics = Vec::new();
    let mut note = |entry| {
        if let MadtEntry::IoApic { address, .. } = entry {
            io_apics.push(PhysAddr::new(address.into()));
        }
    };
    let madt = parse_madt(bytes, &mut note).map_err(|e| Fault::caused(e, "", "a MADT"))?;
    Ok(MadtFacts { possible: madt.possible(), hotplug: madt.hotplug, io_apics })
}
