//! ACPI's tables, from the root pointer on (ACPI 6.4, section 5.2): where they lie, and what SRAT, SLIT and MADT say.

use super::{Reader, field, sums_up};
use arrayvec::ArrayVec;
use core::fmt;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::acpi::{
    AcpiError, Madt, MadtEntry, NumaTables, Slit, SratCpu, SratEntry, SratMemory, Table, parse_madt,
    parse_srat,
};

/// Tables that are noted, at most.
const TABLES: usize = 64;
/// Processors that are noted, at most.
pub const CPUS: usize = 64;
/// Memory affinities that are noted, at most.
const MEMORIES: usize = 128;
/// Domains between which distances are noted, at most.
const DOMAINS: usize = 64;
/// The length of a table's header.
const HEADER: u64 = 36;

/// What ACPI says.
#[derive(Clone, Debug)]
pub struct Acpi {
    /// Where tables lie, in the order in which the kernel reserves them.
    pub ranges: ArrayVec<PhysRange, TABLES>,
    /// The local APICs of the processors that are there.
    pub apic_ids: ArrayVec<u32, CPUS>,
    /// The registers of IO APICs.
    pub io_apics: ArrayVec<PhysAddr, 16>,
    /// How many processors there are and may come.
    pub madt: Madt,
    /// Whether there is an HPET.
    pub hpet: bool,
    memory: ArrayVec<SratMemory, MEMORIES>,
    cpus: ArrayVec<SratCpu, CPUS>,
    slit: ArrayVec<u8, { DOMAINS * DOMAINS }>,
    localities: u32,
}

/// Why the tables cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcpiFault {
    /// What stands there is no root pointer.
    NoRoot(PhysAddr),
    /// A table cannot be read: it lies where the processor sees no memory.
    Unreachable(PhysAddr),
    /// A table whose bytes do not add up to zero.
    Checksum(PhysAddr),
    /// A table that is wrong.
    Table(PhysAddr, AcpiError),
    /// More of something than is noted.
    TooMany(&'static str),
}

impl fmt::Display for AcpiFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoot(at) => write!(f, "ACPI: no root pointer at {at:#x}"),
            Self::Unreachable(at) => write!(f, "ACPI: the table at {at:#x} cannot be read"),
            Self::Checksum(at) => write!(f, "ACPI: the checksum of the table at {at:#x} is wrong"),
            Self::Table(at, e) => write!(f, "ACPI: the table at {at:#x}: {e}"),
            Self::TooMany(what) => write!(f, "ACPI: more {what} than there is room for"),
        }
    }
}

impl core::error::Error for AcpiFault {}

impl Default for Acpi {
    fn default() -> Self {
        Self::new()
    }
}

impl Acpi {
    /// A machine without ACPI.
    pub const fn new() -> Self {
        Self {
            ranges: ArrayVec::new_const(),
            apic_ids: ArrayVec::new_const(),
            io_apics: ArrayVec::new_const(),
            madt: Madt { enabled: 0, hotplug: 0 },
            hpet: false,
            memory: ArrayVec::new_const(),
            cpus: ArrayVec::new_const(),
            slit: ArrayVec::new_const(),
            localities: 0,
        }
    }

    /// Affinities and distances.
    pub fn numa(&self) -> NumaTables<'_> {
        let distances = Slit::from_matrix(self.localities, &self.slit).filter(|_| self.localities > 0);
        NumaTables { memory: &self.memory, cpus: &self.cpus, distances }
    }

    /// Reads everything from the root pointer at `rsdp` on.
    ///
    /// # Errors
    /// [`AcpiFault`]; what was read before stays.
    pub fn read(&mut self, read: Reader<'_>, rsdp: PhysAddr) -> Result<(), AcpiFault> {
        let root = read(rsdp, 20).filter(|p| p.starts_with(b"RSD PTR ") && sums_up(p));
        let root = root.ok_or(AcpiFault::NoRoot(rsdp))?;
        let mut list = (PhysAddr::new(field(root, 16, 4)), 4);
        // Revision 2 has a list of 64-bit addresses, which may be missing.
        if root[15] >= 2
            && let Some(root) = read(rsdp, 36).filter(|p| sums_up(p))
            && field(root, 24, 8) != 0
        {
            list = (PhysAddr::new(field(root, 24, 8)), 8);
        }
        let (at, width) = list;
        let bytes = table(read, at)?.bytes;
        if !sums_up(bytes) {
            return Err(AcpiFault::Checksum(at));
        }
        for entry in bytes.get(HEADER as usize..).unwrap_or(&[]).chunks_exact(width) {
            let at = PhysAddr::new(field(entry, 0, width));
            // Firmware leaves empty entries.
            if at != PhysAddr::ZERO {
                self.one(read, at)?;
            }
        }
        Ok(())
    }

    fn one(&mut self, read: Reader<'_>, at: PhysAddr) -> Result<(), AcpiFault> {
        let table = table(read, at)?;
        self.note(at, table.bytes.len() as u64)?;
        let wrong = |e| AcpiFault::Table(at, e);
        match &table.signature {
            b"FACP" => self.fadt(read, table.bytes),
            b"HPET" => {
                self.hpet = true;
                Ok(())
            }
            b"APIC" => {
                let mut full = false;
                let mut see = |entry| match entry {
                    MadtEntry::LocalApic(cpu) | MadtEntry::X2Apic(cpu) if cpu.enabled => {
                        full |= self.apic_ids.try_push(cpu.apic_id).is_err();
                    }
                    MadtEntry::IoApic { address, .. } => {
                        full |= self.io_apics.try_push(PhysAddr::new(address.into())).is_err();
                    }
                    _ => {}
                };
                self.madt = parse_madt(table.bytes, &mut see).map_err(wrong)?;
                if full { Err(AcpiFault::TooMany("processors or IO APICs")) } else { Ok(()) }
            }
            b"SRAT" => {
                let mut full = false;
                let mut see = |entry| match entry {
                    SratEntry::Memory(memory) => full |= self.memory.try_push(memory).is_err(),
                    SratEntry::Cpu(cpu) => full |= self.cpus.try_push(cpu).is_err(),
                    SratEntry::Other(_) => {}
                };
                parse_srat(table.bytes, &mut see).map_err(wrong)?;
                if full { Err(AcpiFault::TooMany("affinities")) } else { Ok(()) }
            }
            b"SLIT" => {
                let slit = Slit::parse(table.bytes).map_err(wrong)?;
                let all = slit.localities();
                for (from, to) in (0..all).flat_map(|from| (0..all).map(move |to| (from, to))) {
                    let distance = slit.distance(from, to).unwrap_or(0);
                    self.slit.try_push(distance).map_err(|_| AcpiFault::TooMany("domains"))?;
                }
                self.localities = all;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What the fixed description (FADT) leads to: DSDT, then FACS.
    fn fadt(&mut self, read: Reader<'_>, fadt: &[u8]) -> Result<(), AcpiFault> {
        let either = |long: usize, short: usize| match field(fadt, long, 8) {
            0 => PhysAddr::new(field(fadt, short, 4)),
            address => PhysAddr::new(address),
        };
        let (dsdt, facs) = (either(140, 40), either(132, 36));
        if dsdt != PhysAddr::ZERO {
            self.note(dsdt, table(read, dsdt)?.bytes.len() as u64)?;
        }
        if facs != PhysAddr::ZERO {
            // It has no common header, but its length is at the same place.
            let len = read(facs, 8).ok_or(AcpiFault::Unreachable(facs))?;
            self.note(facs, field(len, 4, 4))?;
        }
        Ok(())
    }

    fn note(&mut self, at: PhysAddr, len: u64) -> Result<(), AcpiFault> {
        self.ranges.try_push(PhysRange::from_len(at, len)).map_err(|_| AcpiFault::TooMany("tables"))
    }
}

/// The table at `at`, all of it.
fn table<'r>(read: Reader<'r>, at: PhysAddr) -> Result<Table<'r>, AcpiFault> {
    let header = read(at, HEADER).ok_or(AcpiFault::Unreachable(at))?;
    let len = field(header, 4, 4).max(HEADER);
    let bytes = read(at, len).ok_or(AcpiFault::Unreachable(at))?;
    Table::parse(bytes).map_err(|e| AcpiFault::Table(at, e))
}
