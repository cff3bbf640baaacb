//! Long descriptors: the walk that AArch64 and LPAE have in common.
//!
//! Arm ARM for A-profile, D8.3 ("Translation table descriptor formats"), D8.2 ("Translation process"); ARMv7-AR B3.6
//! ("Long-descriptor translation table format"). Levels are counted from the last: the architecture's level is 3 less.

use super::fault::{Arch, Fault, FaultKind};
use super::types::{Mapping, MemoryKind, Perms, Sharing, Walker};
use crate::phys::EntryBytes;
use pagewright_addr::PhysAddr;

const VALID: u64 = 1 << 0;
const TABLE: u64 = 1 << 1;
const AP_EL0: u64 = 1 << 6;
const AP_READ_ONLY: u64 = 1 << 7;
const AF: u64 = 1 << 10;
const NG: u64 = 1 << 11;
const GP: u64 = 1 << 50;
const DBM: u64 = 1 << 51;
const CONTIGUOUS: u64 = 1 << 52;
const PXN: u64 = 1 << 53;
const XN: u64 = 1 << 54;
const PXN_TABLE: u64 = 1 << 59;
const XN_TABLE: u64 = 1 << 60;
const AP_TABLE_NO_EL0: u64 = 1 << 61;
const AP_TABLE_NO_WRITE: u64 = 1 << 62;

/// What the registers say about one of the two tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Regime {
    pub(crate) arch: Arch,
    /// The table register's address field.
    pub(crate) base: u64,
    /// Bits of an address that the tables translate.
    pub(crate) input_bits: u32,
    /// The base-2 logarithm of the granule.
    pub(crate) granule: u32,
    /// Bits of a physical address (TCR.IPS; 40 for LPAE).
    pub(crate) output_bits: u32,
    /// Descriptors of 64 KiB granules hold address bits 51:48 in bits 15:12.
    pub(crate) wide: bool,
    /// Table descriptors take nothing away (TCR.HPD).
    pub(crate) flat: bool,
    /// Hardware sets the access flag.
    pub(crate) sets_access: bool,
    /// Hardware notes the first write of entries with DBM.
    pub(crate) sets_dirty: bool,
    /// The eight attribute bytes.
    pub(crate) mair: u64,
}

/// The base-2 logarithm of how many leaves a contiguous group has.
const fn group_log2(granule: u32, level: u8) -> u32 {
    match (granule, level) {
        (12, _) => 4,
        (14, 0) => 7,
        (14, 1) | (16, _) => 5,
        _ => 0,
    }
}

impl Regime {
    /// A fault of the walk at `level`, with its fault status.
    pub(crate) fn fault(&self, w: &Walker<'_>, kind: FaultKind, level: u8) -> Fault {
        fault(self.arch, w, kind, level)
    }

    /// The highest level, or `None` if no level can translate so few bits.
    fn top(&self) -> Option<u8> {
        let bits = self.input_bits.checked_sub(self.granule).filter(|&b| b > 0)?;
        Some(((bits - 1) / (self.granule - 3)).min(3) as u8)
    }

    /// The output address of a descriptor, of which the bits below `shift` are ignored.
    fn output(&self, word: u64, shift: u32) -> u64 {
        let low = word & ((1 << 48) - 1) & !((1 << shift) - 1);
        let high = if self.wide && self.granule == 16 { (word >> 12) & 15 } else { 0 };
        low | (high << 48)
    }

    fn is_too_large(&self, phys: u64) -> bool {
        self.output_bits < 64 && phys >> self.output_bits != 0
    }

    fn may_be_block(&self, level: u8) -> bool {
        match (self.granule, level) {
            (_, 1) | (12, 2) => true,
            (16, 2) => self.wide,
            _ => false,
        }
    }

    pub(crate) fn walk(&self, w: &mut Walker<'_>) -> Result<Mapping, Fault> {
        let Some(mut level) = self.top() else { return Err(self.fault(w, FaultKind::Translation, 3)) };
        let stride = self.granule - 3;
        let root_bits = self.input_bits - (self.granule + stride * u32::from(level));
        // A root smaller than a granule is aligned to its size; 52-bit addresses need 64 bytes at least.
        let align = (8u64 << root_bits).max(if self.wide { 64 } else { 1 });
        let mut table = self.base & !(align - 1);
        let mut index_bits = root_bits;
        if self.is_too_large(table) {
            return Err(self.fault(w, FaultKind::AddressSize, 3));
        }
        let (mut write, mut el0, mut execute, mut el1_execute) = (true, true, true, true);
        loop {
            let shift = self.granule + stride * u32::from(level);
            let span = w.span(shift);
            let index = (w.va.get() >> shift) & ((1 << index_bits) - 1);
            let at = PhysAddr::new(table + 8 * index);
            let Some(word) = w.read(level, at, span, EntryBytes::Eight) else {
                return Err(self.fault(w, FaultKind::ExternalAbort, level));
            };
            let is_table = word & TABLE != 0 && level > 0;
            let is_leaf =
                if level == 0 { word & TABLE != 0 } else { word & TABLE == 0 && self.may_be_block(level) };
            if word & VALID == 0 || !(is_table || is_leaf) {
                return Err(self.fault(w, FaultKind::Translation, level));
            }
            let output = self.output(word, if is_table { self.granule } else { shift });
            if self.is_too_large(output) {
                return Err(self.fault(w, FaultKind::AddressSize, level));
            }
            if is_table {
                if !self.flat {
                    write &= word & AP_TABLE_NO_WRITE == 0;
                    el0 &= word & AP_TABLE_NO_EL0 == 0;
                    execute &= word & XN_TABLE == 0;
                    el1_execute &= word & PXN_TABLE == 0;
                }
                (table, index_bits, level) = (output, stride, level - 1);
                continue;
            }
            if word & AF == 0 {
                if !self.sets_access {
                    return Err(self.fault(w, FaultKind::AccessFlag, level));
                }
                w.sets(AF);
            }
            // A read-only entry with DBM is writable: the first write clears the bit.
            let read_only = word & AP_READ_ONLY != 0;
            let noted = self.sets_dirty && word & DBM != 0;
            write &= !read_only || noted;
            el0 &= word & AP_EL0 != 0;
            execute &= word & XN == 0;
            el1_execute &= word & PXN == 0;
            // LPAE has one XN for both and user code has to be able to read what it executes.
            let (user_fetch, kernel_fetch) = match self.arch {
                Arch::Arm64 => (execute, el1_execute),
                _ => (execute && el0, execute && el1_execute),
            };
            let group =
                if word & CONTIGUOUS != 0 { (1u64 << shift) << group_log2(self.granule, level) } else { 0 };
            return Ok(Mapping {
                start: span.start,
                phys: PhysAddr::new(output),
                bytes: 1 << shift,
                level,
                entry: word,
                entry_at: at,
                perms: Perms {
                    kernel_read: true,
                    kernel_write: write,
                    kernel_fetch,
                    user_read: el0,
                    user_write: el0 && write,
                    user_fetch,
                },
                key: 0,
                memory: memory_of_mair((self.mair >> (8 * ((word >> 2) & 7))) as u8),
                sharing: match (word >> 8) & 3 {
                    0 => Sharing::None,
                    2 => Sharing::Outer,
                    _ => Sharing::Inner,
                },
                global: word & NG == 0,
                group_bytes: if group > 1 << shift { group } else { 0 },
                special: self.arch == Arch::Arm64 && word & GP != 0,
                dirty: (0, if write && read_only && noted { AP_READ_ONLY } else { 0 }),
            });
        }
    }
}

/// A fault with the long format's status: class and level.
pub(crate) fn fault(arch: Arch, w: &Walker<'_>, kind: FaultKind, level: u8) -> Fault {
    let code = status(kind) | u32::from(3 - level.min(3));
    Fault::of_walk(w, arch, kind, level, code)
}

/// The fault status' class (ESR_ELx.DFSC, ARMv7 table B3-24).
pub(crate) const fn status(kind: FaultKind) -> u32 {
    match kind {
        FaultKind::AddressSize => 0b00_0000,
        FaultKind::AccessFlag => 0b00_1000,
        FaultKind::Permission(_) => 0b00_1100,
        FaultKind::Domain(_) => 0b11_1100,
        FaultKind::ExternalAbort => 0b01_0100,
        FaultKind::Translation | FaultKind::Reserved | FaultKind::NonCanonical => 0b00_0100,
    }
}

/// What a byte of MAIR means (Arm ARM D17.2.97; ARMv7-AR B4.1.104): Device, or the outer and inner policy of Normal memory.
/// Allocation hints make no difference.
pub(crate) const fn memory_of_mair(byte: u8) -> MemoryKind {
    match (byte, policy(byte >> 4), policy(byte & 15)) {
        (0x00, ..) => MemoryKind::StronglyOrdered,
        (0x04, ..) => MemoryKind::Device,
        (0xf0, ..) => MemoryKind::Tagged,
        (0x10.., Some(outer), Some(inner)) if outer as u8 == inner as u8 => match outer {
            Policy::Uncached => MemoryKind::WriteCombine,
            Policy::WriteThrough => MemoryKind::WriteThrough,
            Policy::WriteBack => MemoryKind::WriteBack,
        },
        _ => MemoryKind::Other(byte),
    }
}

#[derive(Clone, Copy)]
enum Policy {
    Uncached,
    WriteThrough,
    WriteBack,
}

/// Four bits of a byte of MAIR for Normal memory.
const fn policy(bits: u8) -> Option<Policy> {
    Some(match bits {
        0b0100 => Policy::Uncached,
        0b0001..=0b0011 | 0b1000..=0b1011 => Policy::WriteThrough,
        0b0101..=0b0111 | 0b1100..=0b1111 => Policy::WriteBack,
        _ => return None,
    })
}
