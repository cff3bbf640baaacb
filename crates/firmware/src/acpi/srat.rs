//! SRAT: which memory and which processors belong to which proximity domain (ACPI 6.4, section 5.2.16).

use super::table::{AcpiError, RawEntry, Table};
use pagewright_addr::{PhysAddr, PhysRange};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Header, four bytes that must be 1, eight reserved bytes.
const FIXED_PART: usize = 48;

/// A memory affinity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SratMemory {
    /// The proximity domain.
    pub pxm: u32,
    /// The memory, cut at the end of the address space. Firmware pads tables with empty, disabled entries.
    pub range: PhysRange,
    /// The memory may be unplugged.
    pub hotpluggable: bool,
    /// The memory keeps its contents without power.
    pub non_volatile: bool,
    /// The entry counts.
    pub enabled: bool,
}

/// A processor affinity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SratCpu {
    /// The proximity domain.
    pub pxm: u32,
    /// The local APIC or x2APIC id; on arm64 the processor's ACPI uid.
    pub apic_id: u32,
    /// The entry counts.
    pub enabled: bool,
    /// Which of the entry types it came from.
    pub kind: SratCpuKind,
}

/// The entry types that name processors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SratCpuKind {
    /// Type 0.
    LocalApic,
    /// Type 2.
    X2Apic,
    /// Type 3, arm64.
    Gicc,
}

/// An entry of an SRAT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SratEntry {
    /// Type 1.
    Memory(SratMemory),
    /// Types 0, 2 and 3.
    Cpu(SratCpu),
    /// A type without a meaning here (ITS, generic initiator, ...).
    Other(u8),
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct CpuAffinity {
    kind: u8,
    length: u8,
    domain_low: u8,
    apic_id: u8,
    flags: U32,
    sapic_eid: u8,
    domain_high: [u8; 3],
    clock_domain: U32,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MemoryAffinity {
    kind: u8,
    length: u8,
    domain: U32,
    reserved: [u8; 2],
    base: U64,
    len: U64,
    reserved2: U32,
    flags: U32,
    reserved3: U64,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct X2ApicAffinity {
    kind: u8,
    length: u8,
    reserved: [u8; 2],
    domain: U32,
    apic_id: U32,
    flags: U32,
    clock_domain: U32,
    reserved2: U32,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct GiccAffinity {
    kind: u8,
    length: u8,
    domain: U32,
    uid: U32,
    flags: U32,
    clock_domain: U32,
}

const _: () = {
    assert!(size_of::<CpuAffinity>() == 16);
    assert!(size_of::<MemoryAffinity>() == 40);
    assert!(size_of::<X2ApicAffinity>() == 24);
    assert!(size_of::<GiccAffinity>() == 18);
};

const ENABLED: u32 = 1 << 0;
const HOT_PLUGGABLE: u32 = 1 << 1;
const NON_VOLATILE: u32 = 1 << 2;

/// Reads a raw SRAT and hands each entry to `entry`, in table order, disabled ones included.
///
/// Tables of revision 1 hold eight bits of proximity domain in memory and processor entries; wider fields of newer
/// tables are reserved there and ignored, as the kernel does.
///
/// # Errors
/// [`AcpiError`]; entries before the faulty one have been handed out.
pub fn parse_srat<'a>(bytes: &'a [u8], entry: &mut dyn FnMut(SratEntry)) -> Result<Table<'a>, AcpiError> {
    let (table, _) = Table::expect(bytes, b"SRAT", FIXED_PART)?;
    for raw in table.entries(FIXED_PART) {
        entry(read_entry(&raw?, table.revision)?);
    }
    Ok(table)
}

fn read_entry(raw: &RawEntry<'_>, revision: u8) -> Result<SratEntry, AcpiError> {
    let narrow = revision <= 1;
    Ok(match raw.kind {
        0 => {
            let e: &CpuAffinity = raw.read()?;
            let [h1, h2, h3] = e.domain_high;
            let low = u32::from(e.domain_low);
            let pxm = if narrow { low } else { u32::from_le_bytes([e.domain_low, h1, h2, h3]) };
            let apic_id = u32::from(e.apic_id);
            cpu(pxm, apic_id, e.flags.get(), SratCpuKind::LocalApic)
        }
        1 => {
            let e: &MemoryAffinity = raw.read()?;
            let (domain, flags) = (e.domain.get(), e.flags.get());
            SratEntry::Memory(SratMemory {
                pxm: if narrow { domain & 0xff } else { domain },
                range: PhysRange::from_len(PhysAddr::new(e.base.get()), e.len.get()),
                hotpluggable: flags & HOT_PLUGGABLE != 0,
                non_volatile: flags & NON_VOLATILE != 0,
                enabled: flags & ENABLED != 0,
            })
        }
        2 => {
            let e: &X2ApicAffinity = raw.read()?;
            cpu(e.domain.get(), e.apic_id.get(), e.flags.get(), SratCpuKind::X2Apic)
        }
        3 => {
            let e: &GiccAffinity = raw.read()?;
            cpu(e.domain.get(), e.uid.get(), e.flags.get(), SratCpuKind::Gicc)
        }
        other => SratEntry::Other(other),
    })
}

fn cpu(pxm: u32, apic_id: u32, flags: u32, kind: SratCpuKind) -> SratEntry {
    SratEntry::Cpu(SratCpu { pxm, apic_id, enabled: flags & ENABLED != 0, kind })
}
