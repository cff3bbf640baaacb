//! ARMv7's short descriptors.
//!
//! ARMv7-AR B3.5 ("Short-descriptor translation table format", figures B3-4 and B3-5), B3.7.1 (AP), B3.8.2 (TEX, C and B
//! without remap), B3.8.3 (with it), table B3-23 (fault status).

use super::fault::{Arch, Fault, FaultKind};
use super::types::{Mapping, MemoryKind, Perms, Sharing, Walker};
use crate::phys::EntryBytes;
use pagewright_addr::PhysAddr;

/// What the registers say about one of the two first-level tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    /// The table register.
    pub(crate) base: u64,
    /// Bits of an address that the table translates.
    pub(crate) bits: u32,
    /// AP\[0\] is the access flag.
    pub(crate) access_flag: bool,
    /// PRRR and NMRR, when they are in use.
    pub(crate) remap: Option<(u32, u32)>,
    /// Bit 0 of a section is PXN, and tables have one.
    pub(crate) pxn: bool,
}

/// The fields of a leaf, wherever they stand in it.
struct Fields {
    ap: u64,
    tex: u64,
    cb: u64,
    shared: bool,
    not_global: bool,
    xn: bool,
}

impl Fields {
    /// Of a section or supersection.
    fn of_section(word: u64) -> Self {
        Self {
            ap: ((word >> 10) & 3) | (((word >> 15) & 1) << 2),
            tex: (word >> 12) & 7,
            cb: (word >> 2) & 3,
            shared: word & (1 << 16) != 0,
            not_global: word & (1 << 17) != 0,
            xn: word & (1 << 4) != 0,
        }
    }

    /// Of a small or large page.
    fn of_page(word: u64, small: bool) -> Self {
        Self {
            ap: ((word >> 4) & 3) | (((word >> 9) & 1) << 2),
            tex: (word >> if small { 6 } else { 12 }) & 7,
            cb: (word >> 2) & 3,
            shared: word & (1 << 10) != 0,
            not_global: word & (1 << 11) != 0,
            xn: word & (1 << if small { 0 } else { 15 }) != 0,
        }
    }
}

impl Table {
    pub(crate) fn walk(&self, w: &mut Walker<'_>) -> Result<Mapping, Fault> {
        let va = w.va.get();
        let table = self.base & !((1 << (self.bits - 18)) - 1);
        let at = PhysAddr::new(table + 4 * ((va & ((1 << self.bits) - 1)) >> 20));
        let section = w.span(20);
        let word =
            w.read(1, at, section, EntryBytes::Four).ok_or_else(|| fault(w, FaultKind::ExternalAbort, 1))?;
        let domain = ((word >> 5) & 15) as u8;
        match word & 3 {
            0 => Err(fault(w, FaultKind::Translation, 1)),
            1 => self.second(w, word, domain),
            3 if !self.pxn => Err(fault(w, FaultKind::Translation, 1)),
            _ => {
                let supersection = word & (1 << 18) != 0;
                let fields = Fields::of_section(word);
                let (phys, domain, group) = if supersection {
                    let high = (((word >> 20) & 15) << 32) | (((word >> 5) & 15) << 36);
                    // This megabyte of the sixteen that one entry, repeated, is for.
                    let part = va & 0xf0_0000;
                    ((word & 0xff00_0000) | high | part, 0, 1 << 24)
                } else {
                    (word & 0xfff0_0000, domain, 0)
                };
                let mut mapping = self.mapping(w, 1, fields, phys, 20, word & 1 != 0 && self.pxn)?;
                (mapping.key, mapping.group_bytes) = (domain, group);
                Ok(mapping)
            }
        }
    }

    fn second(&self, w: &mut Walker<'_>, first: u64, domain: u8) -> Result<Mapping, Fault> {
        let at = PhysAddr::new((first & 0xffff_fc00) + 4 * ((w.va.get() >> 12) & 0xff));
        let span = w.span(12);
        let word =
            w.read(0, at, span, EntryBytes::Four).ok_or_else(|| fault(w, FaultKind::ExternalAbort, 0))?;
        if word & 3 == 0 {
            return Err(fault(w, FaultKind::Translation, 0));
        }
        let small = word & 2 != 0;
        let (phys, group) = if small {
            (word & 0xffff_f000, 0)
        } else {
            ((word & 0xffff_0000) | (w.va.get() & 0xf000), 1 << 16)
        };
        let pxn = self.pxn && first & (1 << 2) != 0;
        let mut mapping = self.mapping(w, 0, Fields::of_page(word, small), phys, 12, pxn)?;
        (mapping.key, mapping.group_bytes) = (domain, group);
        Ok(mapping)
    }

    fn mapping(
        &self,
        w: &Walker<'_>,
        level: u8,
        fields: Fields,
        phys: u64,
        shift: u32,
        pxn: bool,
    ) -> Result<Mapping, Fault> {
        if self.access_flag && fields.ap & 1 == 0 {
            return Err(fault(w, FaultKind::AccessFlag, level));
        }
        // Read and write of the kernel, then of user code.
        let [kernel_read, kernel_write, user_read, user_write] = match (self.access_flag, fields.ap) {
            (false, 0b000 | 0b100) => [false; 4],
            (false, 0b001) | (true, 0b001) => [true, true, false, false],
            (false, 0b010) => [true, true, true, false],
            (_, 0b011) => [true; 4],
            (_, 0b101) => [true, false, false, false],
            _ => [true, false, true, false],
        };
        let (entry, entry_at) = w.trail.last().map_or((0, PhysAddr::ZERO), |s| (s.word, s.at));
        let (memory, sharing) = self.memory(&fields);
        Ok(Mapping {
            start: w.va.align_down(1 << shift),
            phys: PhysAddr::new(phys),
            bytes: 1 << shift,
            level,
            entry,
            entry_at,
            perms: Perms {
                kernel_read,
                kernel_write,
                kernel_fetch: kernel_read && !fields.xn && !pxn,
                user_read,
                user_write,
                user_fetch: user_read && !fields.xn,
            },
            key: 0,
            memory,
            sharing,
            global: !fields.not_global,
            group_bytes: 0,
            special: false,
            dirty: (0, 0),
        })
    }

    fn memory(&self, fields: &Fields) -> (MemoryKind, Sharing) {
        let index = ((fields.tex & 1) << 2) | fields.cb;
        let shared = |s| if s { Sharing::Inner } else { Sharing::None };
        let Some((prrr, nmrr)) = self.remap else {
            // Without remap: TEX[2] set means that C and B are the inner, TEX[1:0] the outer attribute.
            let kind = match (fields.tex, fields.cb) {
                (0, 0) => MemoryKind::StronglyOrdered,
                (0, 1) | (2, 0) => MemoryKind::Device,
                (0, 2) => MemoryKind::WriteThrough,
                (0, 3) | (1, 3) => MemoryKind::WriteBack,
                (1, 0) => MemoryKind::WriteCombine,
                (tex, cb) if tex >= 4 => cached(cb, tex & 3).unwrap_or(other(tex, cb)),
                (tex, cb) => other(tex, cb),
            };
            return (kind, shared(fields.shared));
        };
        let by_bit = |bit: u32| shared(prrr & (1 << bit) != 0);
        match (prrr >> (2 * index)) & 3 {
            0 => (MemoryKind::StronglyOrdered, Sharing::Inner),
            1 => (MemoryKind::Device, by_bit(if fields.shared { 17 } else { 16 })),
            2 => {
                let (inner, outer) = ((nmrr >> (2 * index)) & 3, (nmrr >> (2 * index + 16)) & 3);
                let kind = cached(u64::from(inner), u64::from(outer)).unwrap_or(other(fields.tex, fields.cb));
                (kind, by_bit(if fields.shared { 19 } else { 18 }))
            }
            _ => (other(fields.tex, fields.cb), Sharing::None),
        }
    }
}

/// Normal memory with the same inner and outer policy: 0 not cached, 1 and 3 write-back, 2 write-through.
const fn cached(inner: u64, outer: u64) -> Option<MemoryKind> {
    Some(match (inner, outer) {
        (0, 0) => MemoryKind::WriteCombine,
        (1 | 3, 1 | 3) => MemoryKind::WriteBack,
        (2, 2) => MemoryKind::WriteThrough,
        _ => return None,
    })
}

const fn other(tex: u64, cb: u64) -> MemoryKind {
    MemoryKind::Other(((tex << 2) | cb) as u8)
}

/// A fault of the walk: at the first level 1, at the second 0.
pub(crate) fn fault(w: &Walker<'_>, kind: FaultKind, level: u8) -> Fault {
    Fault::of_walk(w, Arch::ArmShort, kind, level, status(kind, level))
}

/// The fault status, FS\[4:0\].
pub(crate) const fn status(kind: FaultKind, level: u8) -> u32 {
    let (first, second) = match kind {
        FaultKind::AccessFlag => (0b00011, 0b00110),
        FaultKind::Domain(_) => (0b01001, 0b01011),
        FaultKind::Permission(_) => (0b01101, 0b01111),
        FaultKind::ExternalAbort => (0b01100, 0b01110),
        _ => (0b00101, 0b00111),
    };
    if level == 0 { second } else { first }
}
