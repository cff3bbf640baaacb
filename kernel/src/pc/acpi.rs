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

/// What a table's header says of it.
#[derive(Clone, Copy, Debug)]
struct Noted {
    /// The header as it stands there; of a table without the common header (FACS) its signature only.
    header: [u8; HEADER as usize],
    common: bool,
}

/// Bytes of a header as text, as far as they are.
struct Letters<'h>(&'h [u8]);

impl fmt::Display for Letters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let letter = |b: u8| if b == b' ' || b.is_ascii_graphic() { char::from(b) } else { '?' };
        // What is shorter ends with zero bytes, and is padded.
        self.0.iter().try_for_each(|b| f.write_char(if *b == 0 { ' ' } else { letter(*b) }))
    }
}

/// What ACPI says.
#[derive(Clone, Debug)]
pub struct Acpi {
    root: Option<(PhysAddr, [u8; 20])>,
    list: Option<(PhysRange, Noted)>,
    noted: ArrayVec<Noted, TABLES>,
    controllers: ArrayVec<(u8, u32), 16>,
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
            root: None,
            list: None,
            noted: ArrayVec::new_const(),
            controllers: ArrayVec::new_const(),
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

    /// The lines of the kernel log that tell where tables lie. `io_apic` reads an IO APIC's version register.
    pub fn log(&self, line: &mut dyn FnMut(fmt::Arguments<'_>), io_apic: &dyn Fn(PhysAddr) -> Option<u32>) {
        let Some((at, root)) = &self.root else { return };
        line(format_args!("ACPI: Early table checksum verification disabled"));
        let len = if root[15] >= 2 { 36 } else { 20 };
        line(format_args!(
            "ACPI: RSDP 0x{:016X} {len:06X} (v{:02} {})",
            at.get(),
            root[15],
            Letters(&root[9..15])
        ));
        let mut table = |range: &PhysRange, noted: &Noted| {
            let (h, at, len) = (&noted.header, range.start.get(), range.len());
            if !noted.common {
                return line(format_args!("ACPI: {} 0x{at:016X} {len:06X}", Letters(&h[..4])));
            }
            line(format_args!(
                "ACPI: {} 0x{at:016X} {len:06X} (v{:02} {} {} {:08X} {} {:08X})",
                Letters(&h[..4]),
                h[8],
                Letters(&h[10..16]),
                Letters(&h[16..24]),
                field(h, 24, 4),
                Letters(&h[28..32]),
                field(h, 32, 4),
            ));
        };
        if let Some((range, noted)) = &self.list {
            table(range, noted);
        }
        self.ranges.iter().zip(&self.noted).for_each(|(range, noted)| table(range, noted));
        for (range, noted) in self.ranges.iter().zip(&self.noted) {
            let (name, first, last) = (Letters(&noted.header[..4]), range.start, range.end.saturating_sub(1));
            line(format_args!("ACPI: Reserving {name} table memory at [mem {first:#010x}-{last:#010x}]"));
        }
        for (n, (at, (id, first))) in self.io_apics.iter().zip(&self.controllers).enumerate() {
            let register = io_apic(*at).unwrap_or(0);
            let (version, last) = (register & 0xff, first + (register >> 16 & 0xff));
            line(format_args!(
                "IOAPIC[{n}]: apic_id {id}, version {version}, address {at:#x}, GSI {first}-{last}"
            ));
        }
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
        self.root = root.try_into().ok().map(|root| (rsdp, root));
        let (at, width) = list;
        let bytes = table(read, at)?.bytes;
        self.list = Some((PhysRange::from_len(at, bytes.len() as u64), Noted::of(bytes)));
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
        self.note(at, table.bytes.len() as u64, Noted::of(table.bytes))?;
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
                    MadtEntry::IoApic { address, id, gsi_base } => {
                        full |= self.controllers.try_push((id, gsi_base)).is_err();
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
            let bytes = table(read, dsdt)?.bytes;
            self.note(dsdt, bytes.len() as u64, Noted::of(bytes))?;
        }
        if facs != PhysAddr::ZERO {
            // It has no common header, but its length is at the same place.
            let len = read(facs, 8).ok_or(AcpiFault::Unreachable(facs))?;
            self.note(facs, field(len, 4, 4), Noted { common: false, ..Noted::of(len) })?;
        }
        Ok(())
    }

    fn note(&mut self, at: PhysAddr, len: u64, noted: Noted) -> Result<(), AcpiFault> {
        self.noted.try_push(noted).map_err(|_| AcpiFault::TooMany("tables"))?;
        self.ranges.try_push(PhysRange::from_len(at, len)).map_err(|_| AcpiFault::TooMany("tables"))
    }
}

impl Noted {
    fn of(bytes: &[u8]) -> Self {
        let mut header = [0; HEADER as usize];
        let len = bytes.len().min(header.len());
        header[..len].copy_from_slice(&bytes[..len]);
        Self { header, common: true }
    }
}

/// The table at `at`, all of it.
fn table<'r>(read: Reader<'r>, at: PhysAddr) -> Result<Table<'r>, AcpiFault> {
    let header = read(at, HEADER).ok_or(AcpiFault::Unreachable(at))?;
    let len = field(header, 4, 4).max(HEADER);
    let bytes = read(at, len).ok_or(AcpiFault::Unreachable(at))?;
    Table::parse(bytes).map_err(|e| AcpiFault::Table(at, e))
}
