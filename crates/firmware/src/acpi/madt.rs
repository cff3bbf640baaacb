//! MADT (signature `APIC`): processors and interrupt controllers (ACPI 6.4, section 5.2.12). Only what bears on
//! how many processors are possible is read.

use super::table::{AcpiError, Table};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Header, local APIC address, flags.
const FIXED_PART: usize = 44;

/// A processor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MadtCpu {
    /// The processor's ACPI uid.
    pub uid: u32,
    /// Local APIC or x2APIC id; for a GICC the low 32 bits of its MPIDR.
    pub apic_id: u32,
    /// Present and usable.
    pub enabled: bool,
    /// Not enabled now, but may be later.
    pub online_capable: bool,
}

/// An entry of a MADT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MadtEntry {
    /// Type 0: a processor with an 8-bit id.
    LocalApic(MadtCpu),
    /// Type 9: a processor with a 32-bit id.
    X2Apic(MadtCpu),
    /// Type 1: an interrupt controller.
    IoApic {
        /// Its id.
        id: u8,
        /// Where its registers are.
        address: u32,
        /// The first interrupt it serves.
        gsi_base: u32,
    },
    /// Type 11: an arm64 processor with its MPIDR.
    Gicc {
        /// The processor.
        cpu: MadtCpu,
        /// Its affinity register.
        mpidr: u64,
    },
    /// Any other type.
    Other(u8),
}

/// What a MADT says about the number of processors, as x86 counts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Madt {
    /// Processors that are there.
    pub enabled: u32,
    /// Processors that may be plugged later. They raise the possible count of a kernel with CPU hotplug.
    pub hotplug: u32,
}

impl Madt {
    /// Processors that may ever run.
    pub const fn possible(&self) -> u32 {
        self.enabled.saturating_add(self.hotplug)
    }
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LocalApic {
    kind: u8,
    length: u8,
    uid: u8,
    id: u8,
    flags: U32,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct IoApic {
    kind: u8,
    length: u8,
    id: u8,
    reserved: u8,
    address: U32,
    gsi_base: U32,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct X2Apic {
    kind: u8,
    length: u8,
    reserved: U16,
    id: U32,
    flags: U32,
    uid: U32,
}

/// Up to and including the MPIDR; what follows differs between versions.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Gicc {
    kind: u8,
    length: u8,
    reserved: U16,
    interface: U32,
    uid: U32,
    flags: U32,
    parking_version: U32,
    performance_gsi: U32,
    parked_address: U64,
    base: U64,
    gicv: U64,
    gich: U64,
    vgic_gsi: U32,
    gicr_base: U64,
    mpidr: U64,
}

const _: () = {
    assert!(size_of::<LocalApic>() == 8);
    assert!(size_of::<IoApic>() == 12);
    assert!(size_of::<X2Apic>() == 16);
    assert!(size_of::<Gicc>() == 76);
};

const ENABLED: u32 = 1 << 0;
const ONLINE_CAPABLE: u32 = 1 << 1;
/// The GICC's flag of that name is another bit (ACPI 6.5).
const GICC_ONLINE_CAPABLE: u32 = 1 << 3;

/// Reads a raw MADT, hands each entry to `entry` in table order, and counts processors.
///
/// An entry counts as x86 counts it: the 8-bit id 255 and the 32-bit id 2^32-1 mean nobody; a disabled processor may
/// be plugged later, unless the table is new enough (revision 5) to have a flag for that and the flag is clear.
///
/// # Errors
/// [`AcpiError`]; entries before the faulty one have been handed out.
pub fn parse_madt(bytes: &[u8], entry: &mut dyn FnMut(MadtEntry)) -> Result<Madt, AcpiError> {
    let (table, _) = Table::expect(bytes, b"APIC", FIXED_PART)?;
    let mut count = Madt::default();
    let mut tally = |cpu: &MadtCpu| {
        if cpu.enabled {
            count.enabled += 1;
        } else if cpu.online_capable || table.revision < 5 {
            count.hotplug += 1;
        }
    };
    for raw in table.entries(FIXED_PART) {
        let raw = raw?;
        entry(match raw.kind {
            0 => {
                let e: &LocalApic = raw.read()?;
                let cpu = cpu(e.uid.into(), e.id.into(), e.flags.get(), ONLINE_CAPABLE);
                if e.id != u8::MAX {
                    tally(&cpu);
                }
                MadtEntry::LocalApic(cpu)
            }
            1 => {
                let e: &IoApic = raw.read()?;
                MadtEntry::IoApic { id: e.id, address: e.address.get(), gsi_base: e.gsi_base.get() }
            }
            9 => {
                let e: &X2Apic = raw.read()?;
                let cpu = cpu(e.uid.get(), e.id.get(), e.flags.get(), ONLINE_CAPABLE);
                if cpu.apic_id != u32::MAX {
                    tally(&cpu);
                }
                MadtEntry::X2Apic(cpu)
            }
            11 => {
                let e: &Gicc = raw.read()?;
                let mpidr = e.mpidr.get();
                let cpu = cpu(e.uid.get(), mpidr as u32, e.flags.get(), GICC_ONLINE_CAPABLE);
                tally(&cpu);
                MadtEntry::Gicc { cpu, mpidr }
            }
            other => MadtEntry::Other(other),
        });
    }
    Ok(count)
}

fn cpu(uid: u32, apic_id: u32, flags: u32, online_capable: u32) -> MadtCpu {
    MadtCpu { uid, apic_id, enabled: flags & ENABLED != 0, online_capable: flags & online_capable != 0 }
}
