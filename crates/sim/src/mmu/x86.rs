//! x86: two levels, PAE, four and five levels.
//!
//! Intel SDM volume 3A: 4.1 (modes), 4.3 (32-bit paging, tables 4-3 to 4-6), 4.4 (PAE, tables 4-7 to 4-11), 4.5 (4-level and
//! 5-level, tables 4-14 to 4-20), 4.6 (access rights), 4.7 (error codes), 4.8 (accessed and dirty), 4.9 (PAT).

use super::fault::{Arch, Denied, Fault, FaultKind};
use super::types::{Access, AccessKind, Mapping, MemoryKind, Perms, Sharing, Step, Walker};
use crate::phys::EntryBytes;
use pagewright_addr::{PhysAddr, VirtAddr};

/// Bits of CR0.
pub mod cr0 {
    /// The kernel respects read-only pages.
    pub const WP: u64 = 1 << 16;
    /// Paging is on.
    pub const PG: u64 = 1 << 31;
}

/// Bits of CR4.
pub mod cr4 {
    /// 4 MiB pages in 32-bit paging.
    pub const PSE: u64 = 1 << 4;
    /// 64-bit entries.
    pub const PAE: u64 = 1 << 5;
    /// Global pages.
    pub const PGE: u64 = 1 << 7;
    /// Five levels.
    pub const LA57: u64 = 1 << 12;
    /// Address-space numbers in CR3.
    pub const PCIDE: u64 = 1 << 17;
    /// The kernel executes no user pages.
    pub const SMEP: u64 = 1 << 20;
    /// The kernel touches no user pages unless EFLAGS.AC is set.
    pub const SMAP: u64 = 1 << 21;
    /// Protection keys of user pages.
    pub const PKE: u64 = 1 << 22;
}

/// Bits of IA32_EFER.
pub mod efer {
    /// Long mode is active.
    pub const LMA: u64 = 1 << 10;
    /// There is an execute-disable bit.
    pub const NXE: u64 = 1 << 11;
}

/// CR3 bit 63: writing it flushes nothing (with PCIDs).
pub const CR3_NOFLUSH: u64 = 1 << 63;

const P: u64 = 1 << 0;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const XD: u64 = 1 << 63;

/// The registers that paging depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct X86Registers {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// IA32_PAT.
    pub pat: u64,
    /// PKRU.
    pub pkru: u32,
    /// EFLAGS.AC: the kernel is inside a user copy.
    pub ac: bool,
    /// MAXPHYADDR.
    pub phys_bits: u32,
    /// CPUID pdpe1gb.
    pub gigabyte_pages: bool,
    /// CPUID pse36.
    pub pse36: bool,
    /// AMD's C-bit, or 0.
    pub encryption_mask: u64,
    /// The PDPTE registers of PAE paging, which are loaded with CR3.
    pub(crate) pdpte: [u64; 4],
}

/// PAT as Linux writes it: WB, WC, UC-, UC, WB, WP, UC-, WT.
pub const LINUX_PAT: u64 = 0x0407_0506_0007_0106;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    TwoLevel,
    Pae,
    Long,
}

impl X86Registers {
    /// Long mode as Linux runs it (WP, PSE, PAE, PGE, NX) with the root at `cr3`; five levels if `la57`.
    pub const fn long(cr3: u64, la57: bool) -> Self {
        let cr4 = cr4::PSE | cr4::PAE | cr4::PGE | if la57 { cr4::LA57 } else { 0 };
        Self::new(cr3, cr4, efer::LMA | efer::NXE)
    }

    /// i386 with 32-bit entries, as Linux runs it.
    pub const fn two_level(cr3: u64) -> Self {
        Self::new(cr3, cr4::PSE | cr4::PGE, 0)
    }

    /// i386 with PAE, as Linux runs it.
    pub const fn pae(cr3: u64) -> Self {
        Self::new(cr3, cr4::PSE | cr4::PAE | cr4::PGE, efer::NXE)
    }

    const fn new(cr3: u64, cr4: u64, efer: u64) -> Self {
        Self {
            cr0: cr0::PG | cr0::WP,
            cr3,
            cr4,
            efer,
            pat: LINUX_PAT,
            pkru: 0,
            ac: false,
            phys_bits: 46,
            gigabyte_pages: true,
            pse36: true,
            encryption_mask: 0,
            pdpte: [0; 4],
        }
    }

    fn mode(&self) -> Mode {
        if self.efer & efer::LMA != 0 {
            Mode::Long
        } else if self.cr4 & cr4::PAE != 0 {
            Mode::Pae
        } else {
            Mode::TwoLevel
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.cr0 & cr0::PG != 0
    }

    pub(crate) fn asid(&self) -> u16 {
        if self.cr4 & cr4::PCIDE != 0 { (self.cr3 & 0xfff) as u16 } else { 0 }
    }

    /// Where the PDPTE registers are loaded from, if there are any.
    pub(crate) fn pdpt(&self) -> Option<PhysAddr> {
        (self.is_on() && self.mode() == Mode::Pae).then_some(PhysAddr::new(self.cr3 & 0xffff_ffe0))
    }

    /// The tables that the loaded PDPTEs lead to, if there are any, with the first address of each.
    pub(crate) fn pdpte_tables(&self) -> impl Iterator<Item = (PhysAddr, VirtAddr)> {
        let used = if self.pdpt().is_some() { self.pdpte } else { [0; 4] };
        let present = used.into_iter().enumerate().filter(|(_, word)| word & P != 0);
        present
            .map(|(i, word)| (PhysAddr::new(word & ((1 << 52) - (1 << 12))), VirtAddr::new((i as u64) << 30)))
    }

    /// Whether a PDPTE would be refused when CR3 is written.
    pub(crate) fn bad_pdpte(&self, word: u64) -> bool {
        word & P != 0 && word & (self.beyond() | 0b110 | (0b1111 << 5) | XD) != 0
    }

    /// Bits of an entry's address field that are beyond the physical address size.
    fn beyond(&self) -> u64 {
        ((1 << 52) - 1) & !((1u64 << self.phys_bits.min(52)) - 1) & !self.encryption_mask
    }

    /// Whether the address is none (4.5.3: canonical addresses).
    pub(crate) fn is_no_address(&self, va: VirtAddr) -> bool {
        if self.mode() != Mode::Long {
            return va.get() >> 32 != 0;
        }
        let above = va.get() as i64 >> (if self.cr4 & cr4::LA57 != 0 { 56 } else { 47 });
        above != 0 && above != -1
    }

    fn code(&self, access: Access, present: bool) -> u32 {
        let fetch = access.executes()
            && (self.cr4 & cr4::SMEP != 0 || (self.cr4 & cr4::PAE != 0 && self.efer & efer::NXE != 0));
        u32::from(present)
            | (u32::from(access.writes()) << 1)
            | (u32::from(access.user) << 2)
            | (u32::from(fetch) << 4)
    }

    /// The walk. Accessed and dirty bits are only noted.
    pub(crate) fn walk(&self, w: &mut Walker<'_>) -> Result<Mapping, Fault> {
        let mode = self.mode();
        let (mut level, index_bits, bytes) = match mode {
            Mode::TwoLevel => (1u8, 10, EntryBytes::Four),
            Mode::Pae => (2, 9, EntryBytes::Eight),
            Mode::Long if self.cr4 & cr4::LA57 != 0 => (4, 9, EntryBytes::Eight),
            Mode::Long => (3, 9, EntryBytes::Eight),
        };
        let fault = |w: &Walker<'_>, kind, level, code| Fault::of_walk(w, Arch::X86, kind, level, code);
        if self.is_no_address(w.va) {
            return Err(fault(w, FaultKind::NonCanonical, level, 0));
        }
        let address = ((1u64 << 52) - (1 << 12)) & !self.encryption_mask;
        let mut table = match mode {
            Mode::TwoLevel => self.cr3 & 0xffff_f000,
            Mode::Pae => 0,
            Mode::Long => self.cr3 & address,
        };
        let (mut write, mut user, mut execute) = (true, true, true);
        loop {
            let shift = 12 + index_bits * u32::from(level);
            let span = w.span(shift);
            let index = (w.va.get() >> shift) & ((1 << index_bits) - 1);
            let at = PhysAddr::new(table + index * bytes.get());
            let pdpte = mode == Mode::Pae && level == 2;
            let word = if pdpte {
                let index = (index & 3) as usize;
                let at = PhysAddr::new((self.cr3 & 0xffff_ffe0) + 8 * index as u64);
                let word = self.pdpte[index];
                w.note(Step { level, at, word, span, cached: true, set: 0, bytes });
                word
            } else {
                w.read(level, at, span, bytes)
                    .ok_or_else(|| fault(w, FaultKind::ExternalAbort, level, self.code(w.access, false)))?
            };
            if word & P == 0 {
                return Err(fault(w, FaultKind::Translation, level, self.code(w.access, false)));
            }
            let page = level == 0 || (self.may_be_page(mode, level) && word & PS != 0);
            if word & self.reserved(mode, level, page) != 0 {
                return Err(fault(w, FaultKind::Reserved, level, self.code(w.access, true) | (1 << 3)));
            }
            if !pdpte {
                w.sets(A);
                write &= word & RW != 0;
                user &= word & US != 0;
                execute &= word & XD == 0 || bytes == EntryBytes::Four;
            }
            if !page {
                table = word & if mode == Mode::TwoLevel { 0xffff_f000 } else { address };
                level -= 1;
                continue;
            }
            let size = 1u64 << shift;
            let phys = if mode == Mode::TwoLevel && level == 1 {
                (word & 0xffc0_0000) | (((word >> 13) & 0xff) << 32)
            } else {
                word & if mode == Mode::TwoLevel { 0xffff_f000 } else { address } & !(size - 1)
            };
            return Ok(Mapping {
                start: span.start,
                phys: PhysAddr::new(phys),
                bytes: size,
                level,
                entry: word,
                entry_at: at,
                perms: Perms {
                    kernel_read: true,
                    kernel_write: write,
                    kernel_fetch: execute,
                    user_read: user,
                    user_write: user && write,
                    user_fetch: user && execute,
                },
                key: if mode == Mode::Long && user { ((word >> 59) & 15) as u8 } else { 0 },
                memory: self.memory(word, if level == 0 { 7 } else { 12 }),
                sharing: Sharing::Inner,
                global: word & G != 0 && self.cr4 & cr4::PGE != 0,
                group_bytes: 0,
                special: word & self.encryption_mask != 0,
                dirty: (D & !word, 0),
            });
        }
    }

    /// Whether bit 7 makes an entry of `level` a page.
    fn may_be_page(&self, mode: Mode, level: u8) -> bool {
        match (mode, level) {
            (Mode::TwoLevel, 1) => self.cr4 & cr4::PSE != 0,
            (Mode::Pae | Mode::Long, 1) => true,
            (Mode::Long, 2) => self.gigabyte_pages,
            _ => false,
        }
    }

    /// The bits that must be zero in a present entry.
    fn reserved(&self, mode: Mode, level: u8, page: bool) -> u64 {
        let no_xd = if self.efer & efer::NXE == 0 { XD } else { 0 };
        match mode {
            Mode::TwoLevel if level == 1 && page && self.pse36 => {
                // Bits 20:13 are the address' bits 39:32, as far as there are so many.
                let have = self.phys_bits.min(40) - 32;
                (1 << 21) | (((0xff >> have) << have) << 13)
            }
            Mode::TwoLevel if level == 1 && page => 0x1ff << 13,
            Mode::TwoLevel => 0,
            // Checked when they were loaded.
            Mode::Pae if level == 2 => 0,
            Mode::Pae => {
                let low = if page && level == 1 { 0xff << 13 } else { 0 };
                self.beyond() | (0x7ff << 52) | low | no_xd
            }
            Mode::Long => {
                let low = match level {
                    1 if page => 0xff << 13,
                    2 if page => 0x1_ffff << 13,
                    2.. => PS,
                    _ => 0,
                };
                self.beyond() | low | no_xd
            }
        }
    }

    fn memory(&self, word: u64, pat_bit: u32) -> MemoryKind {
        let index = ((word >> 3) & 3) | (((word >> pat_bit) & 1) << 2);
        match (self.pat >> (8 * index)) as u8 & 7 {
            0 => MemoryKind::StronglyOrdered,
            1 => MemoryKind::WriteCombine,
            4 => MemoryKind::WriteThrough,
            5 => MemoryKind::WriteProtect,
            6 => MemoryKind::WriteBack,
            7 => MemoryKind::UncachedMinus,
            other => MemoryKind::Other(other),
        }
    }

    /// 4.6: whether the access is permitted, else why not and the error code.
    pub(crate) fn check(&self, m: &Mapping, access: Access) -> Result<(), (Denied, u32)> {
        let code = self.code(access, true);
        let wp = self.cr0 & cr0::WP != 0;
        let user_page = m.perms.user_read;
        let denied = match access.kind {
            _ if access.user && !user_page => Some(Denied::KernelPage),
            AccessKind::Execute if !access.user && user_page && self.cr4 & cr4::SMEP != 0 => {
                Some(Denied::UserCode)
            }
            AccessKind::Execute => (!m.perms.kernel_fetch).then_some(Denied::NotExecutable),
            _ if !access.user && user_page && self.cr4 & cr4::SMAP != 0 && !self.ac => Some(Denied::UserPage),
            AccessKind::Write if !m.perms.kernel_write && (access.user || wp) => Some(Denied::ReadOnly),
            _ => None,
        };
        if let Some(why) = denied {
            return Err((why, code));
        }
        let keys = self.cr4 & cr4::PKE != 0 && self.mode() == Mode::Long && user_page && !access.executes();
        let rights = (self.pkru >> (2 * m.key)) & 3;
        if keys && (rights & 1 != 0 || (access.writes() && rights & 2 != 0 && (access.user || wp))) {
            return Err((Denied::Key(m.key), code | (1 << 5)));
        }
        Ok(())
    }
}
