//! ARMv7: the registers of both descriptor formats, and which table translates an address.
//!
//! ARMv7-AR B3.5.4 and B3.6.4 ("Selecting between TTBR0 and TTBR1"), B4.1.153 (TTBCR), B3.7 (access control), B3.8.3 (TEX
//! remap).

use super::fault::{Arch, Denied, Fault, FaultKind};
use super::long::{self, Regime};
use super::short::{self, Table};
use super::types::{Access, AccessKind, Mapping, Walker};

/// Bits of SCTLR.
pub mod sctlr {
    /// The MMU is on.
    pub const M: u32 = 1 << 0;
    /// What is writable is not executed.
    pub const WXN: u32 = 1 << 19;
    /// What user code can write is not executed by the kernel.
    pub const UWXN: u32 = 1 << 20;
    /// TEX remap: PRRR and NMRR say what TEX\[0\], C and B mean.
    pub const TRE: u32 = 1 << 28;
    /// AP\[0\] is the access flag.
    pub const AFE: u32 = 1 << 29;
}

/// Fields of TTBCR.
pub mod ttbcr {
    /// Short descriptors: walks with TTBR0 are off.
    pub const PD0: u32 = 1 << 4;
    /// Short descriptors: walks with TTBR1 are off.
    pub const PD1: u32 = 1 << 5;
    /// Long descriptors: walks with TTBR0 are off.
    pub const EPD0: u32 = 1 << 7;
    /// Long descriptors: the ASID is TTBR1's.
    pub const A1: u32 = 1 << 22;
    /// Long descriptors: walks with TTBR1 are off.
    pub const EPD1: u32 = 1 << 23;
    /// Long descriptors are used.
    pub const EAE: u32 = 1 << 31;
}

/// The registers that translation depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArmRegisters {
    /// SCTLR.
    pub sctlr: u32,
    /// TTBCR.
    pub ttbcr: u32,
    /// TTBR0.
    pub ttbr0: u64,
    /// TTBR1.
    pub ttbr1: u64,
    /// DACR.
    pub dacr: u32,
    /// PRRR, which is MAIR0 with long descriptors.
    pub prrr_mair0: u32,
    /// NMRR, which is MAIR1 with long descriptors.
    pub nmrr_mair1: u32,
    /// CONTEXTIDR: with short descriptors its low byte is the ASID.
    pub contextidr: u32,
    /// CPSR.PAN, on processors that have it.
    pub pan: bool,
    /// Whether there is PXN with short descriptors.
    pub pxn: bool,
}

impl ArmRegisters {
    /// Short descriptors as Linux runs them: TEX remap, access flag off, domain 0 client (kernel), 1 client (user); one
    /// table for everything.
    pub const fn short(ttbr0: u64) -> Self {
        Self {
            sctlr: sctlr::M | sctlr::TRE,
            ttbcr: 0,
            ttbr0,
            ttbr1: ttbr0,
            dacr: 0x55,
            prrr_mair0: 0xff0a_81a8,
            nmrr_mair1: 0x40e0_40e0,
            contextidr: 0,
            pan: false,
            pxn: true,
        }
    }

    /// Long descriptors with these tables, TTBCR (EAE is added) and MAIR0, MAIR1.
    pub const fn long(ttbr0: u64, ttbr1: u64, ttbcr: u32, mair: u64) -> Self {
        Self {
            sctlr: sctlr::M,
            ttbcr: ttbcr | ttbcr::EAE,
            ttbr0,
            ttbr1,
            dacr: 0,
            prrr_mair0: mair as u32,
            nmrr_mair1: (mair >> 32) as u32,
            contextidr: 0,
            pan: false,
            pxn: true,
        }
    }

    /// Which words its faults are told in.
    pub fn arch(&self) -> Arch {
        if self.ttbcr & ttbcr::EAE != 0 { Arch::ArmLong } else { Arch::ArmShort }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.sctlr & sctlr::M != 0
    }

    pub(crate) fn asid(&self) -> u16 {
        if self.arch() == Arch::ArmShort {
            return (self.contextidr & 0xff) as u16;
        }
        let ttbr = if self.ttbcr & ttbcr::A1 != 0 { self.ttbr1 } else { self.ttbr0 };
        (ttbr >> 48) as u16 & 0xff
    }

    /// The walk.
    pub(crate) fn walk(&self, w: &mut Walker<'_>) -> Result<Mapping, Fault> {
        if self.arch() == Arch::ArmLong { self.walk_long(w) } else { self.walk_short(w) }
    }

    fn walk_short(&self, w: &mut Walker<'_>) -> Result<Mapping, Fault> {
        let va = w.va.get();
        if va >> 32 != 0 {
            return Err(short::fault(w, FaultKind::NonCanonical, 1));
        }
        let n = self.ttbcr & 7;
        let low = n == 0 || va >> (32 - n) == 0;
        if self.ttbcr & if low { ttbcr::PD0 } else { ttbcr::PD1 } != 0 {
            return Err(short::fault(w, FaultKind::Translation, 1));
        }
        let (ttbr, bits) = if low { (self.ttbr0, 32 - n) } else { (self.ttbr1, 32) };
        let table = Table {
            base: ttbr & 0xffff_ffff,
            bits,
            access_flag: self.sctlr & sctlr::AFE != 0,
            remap: (self.sctlr & sctlr::TRE != 0).then_some((self.prrr_mair0, self.nmrr_mair1)),
            pxn: self.pxn,
        };
        table.walk(w)
    }

    fn walk_long(&self, w: &mut Walker<'_>) -> Result<Mapping, Fault> {
        let va = w.va.get();
        if va >> 32 != 0 {
            return Err(long::fault(Arch::ArmLong, w, FaultKind::NonCanonical, 2));
        }
        let (t0, t1) = (self.ttbcr & 7, (self.ttbcr >> 16) & 7);
        let low = t0 == 0 || va >> (32 - t0) == 0;
        // Without a size of its own, TTBR1 has what TTBR0 leaves. With one, its region comes first.
        let upper = if t1 == 0 { !low } else { va >> (32 - t1) == (1 << t1) - 1 };
        if !(low || upper) {
            return Err(long::fault(Arch::ArmLong, w, FaultKind::Translation, 2));
        }
        if self.ttbcr & if upper { ttbcr::EPD1 } else { ttbcr::EPD0 } != 0 {
            return Err(long::fault(Arch::ArmLong, w, FaultKind::Translation, 2));
        }
        let (ttbr, size) = if upper { (self.ttbr1, t1) } else { (self.ttbr0, t0) };
        let regime = Regime {
            arch: Arch::ArmLong,
            base: ttbr & 0xff_ffff_fff8,
            input_bits: 32 - size,
            granule: 12,
            output_bits: 40,
            wide: false,
            flat: false,
            sets_access: false,
            sets_dirty: false,
            mair: u64::from(self.prrr_mair0) | (u64::from(self.nmrr_mair1) << 32),
        };
        regime.walk(w)
    }

    /// Whether the access is permitted, else the fault's kind and status.
    pub(crate) fn check(&self, m: &Mapping, access: Access) -> Result<(), (FaultKind, u32)> {
        let short = self.arch() == Arch::ArmShort;
        let tell = |kind| {
            let code = match (short, m.level) {
                (true, level) => short::status(kind, level),
                (false, level) => long::status(kind) | u32::from(3 - level.min(3)),
            };
            Err((kind, code))
        };
        if short {
            match (self.dacr >> (2 * m.key)) & 3 {
                // A manager is not checked at all.
                3 => return Ok(()),
                1 => {}
                _ => return tell(FaultKind::Domain(m.key)),
            }
        }
        match self.denied(m, access) {
            None => Ok(()),
            Some(why) => tell(FaultKind::Permission(why)),
        }
    }

    fn denied(&self, m: &Mapping, access: Access) -> Option<Denied> {
        let p = &m.perms;
        let wxn = self.sctlr & sctlr::WXN != 0;
        match (access.kind, access.user) {
            (_, true) if !p.user_read => Some(Denied::KernelPage),
            (_, false) if !p.kernel_read => Some(Denied::NoAccess),
            (AccessKind::Read | AccessKind::Write, false) if self.pan && p.user_read => {
                Some(Denied::UserPage)
            }
            (AccessKind::Write, true) if !p.user_write => Some(Denied::ReadOnly),
            (AccessKind::Write, false) if !p.kernel_write => Some(Denied::ReadOnly),
            (AccessKind::Execute, true) if !p.user_fetch => Some(Denied::NotExecutable),
            (AccessKind::Execute, true) if wxn && p.user_write => Some(Denied::WritableCode),
            (AccessKind::Execute, false) if !p.kernel_fetch => Some(Denied::NotExecutable),
            (AccessKind::Execute, false)
                if (wxn && p.kernel_write) || (self.sctlr & sctlr::UWXN != 0 && p.user_write) =>
            {
                Some(Denied::WritableCode)
            }
            _ => None,
        }
    }
}
