//! AArch64, the EL1&0 regime.
//!
//! Arm ARM for A-profile: D17.2.139 (TCR_EL1), D8.2 (translation), D8.4 (permissions, hierarchical control, PAN, WXN), D8.5
//! (access flag and dirty state), D8.8 (address tagging).

use super::fault::{Arch, Denied, Fault, FaultKind};
use super::long::{self, Regime};
use super::types::{Access, AccessKind, Mapping, Walker};
use pagewright_addr::VirtAddr;

/// Bits of SCTLR_EL1.
pub mod sctlr {
    /// The MMU is on.
    pub const M: u64 = 1 << 0;
    /// What is writable is not executed.
    pub const WXN: u64 = 1 << 19;
}

/// Fields of TCR_EL1.
pub mod tcr {
    /// Walks with TTBR0 are off.
    pub const EPD0: u64 = 1 << 7;
    /// The lower half has 64 KiB granules (bits 15:14; 0 for 4 KiB).
    pub const TG0_64K: u64 = 1 << 14;
    /// The lower half has 16 KiB granules.
    pub const TG0_16K: u64 = 2 << 14;
    /// The ASID is TTBR1's.
    pub const A1: u64 = 1 << 22;
    /// Walks with TTBR1 are off.
    pub const EPD1: u64 = 1 << 23;
    /// The upper half has 16 KiB granules (bits 31:30).
    pub const TG1_16K: u64 = 1 << 30;
    /// The upper half has 4 KiB granules.
    pub const TG1_4K: u64 = 2 << 30;
    /// The upper half has 64 KiB granules.
    pub const TG1_64K: u64 = 3 << 30;
    /// ASIDs have 16 bits.
    pub const AS: u64 = 1 << 36;
    /// The top byte of addresses in the lower half is ignored.
    pub const TBI0: u64 = 1 << 37;
    /// The top byte of addresses in the upper half is ignored.
    pub const TBI1: u64 = 1 << 38;
    /// Hardware sets the access flag.
    pub const HA: u64 = 1 << 39;
    /// Hardware notes the first write.
    pub const HD: u64 = 1 << 40;
    /// Tables of the lower half take nothing away.
    pub const HPD0: u64 = 1 << 41;
    /// Tables of the upper half take nothing away.
    pub const HPD1: u64 = 1 << 42;
    /// TBI0 is for data only.
    pub const TBID0: u64 = 1 << 51;
    /// TBI1 is for data only.
    pub const TBID1: u64 = 1 << 52;

    /// T0SZ and T1SZ for addresses of `bits` bits in both halves.
    pub const fn sizes(bits: u32) -> u64 {
        (64 - bits as u64) | ((64 - bits as u64) << 16)
    }

    /// IPS for physical addresses of at most `bits` bits.
    pub const fn ips(bits: u32) -> u64 {
        let field: u64 = match bits {
            ..=32 => 0,
            33..=36 => 1,
            37..=40 => 2,
            41..=42 => 3,
            43..=44 => 4,
            45..=48 => 5,
            _ => 6,
        };
        field << 32
    }
}

/// The registers that translation depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arm64Registers {
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// TCR_EL1.
    pub tcr: u64,
    /// TTBR0_EL1.
    pub ttbr0: u64,
    /// TTBR1_EL1.
    pub ttbr1: u64,
    /// MAIR_EL1.
    pub mair: u64,
    /// PSTATE.PAN: the kernel touches no user pages.
    pub pan: bool,
    /// Physical address bits that are implemented (ID_AA64MMFR0_EL1.PARange).
    pub phys_bits: u32,
    /// Virtual addresses of 52 bits with 64 KiB granules (FEAT_LVA).
    pub large_va: bool,
    /// The level hint of TLB invalidation is used (FEAT_TTL).
    pub ttl: bool,
}

/// One half of the address space.
struct Half {
    upper: bool,
    /// Bits of the address that are translated.
    bits: u32,
}

impl Arm64Registers {
    /// The MMU on, with these tables, TCR and MAIR; 48-bit physical addresses.
    pub const fn new(ttbr0: u64, ttbr1: u64, tcr: u64, mair: u64) -> Self {
        Self {
            sctlr: sctlr::M,
            tcr,
            ttbr0,
            ttbr1,
            mair,
            pan: false,
            phys_bits: 48,
            large_va: false,
            ttl: true,
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.sctlr & sctlr::M != 0
    }

    pub(crate) fn asid(&self) -> u16 {
        let ttbr = if self.tcr & tcr::A1 != 0 { self.ttbr1 } else { self.ttbr0 };
        let asid = (ttbr >> 48) as u16;
        if self.tcr & tcr::AS != 0 { asid } else { asid & 0xff }
    }

    fn granule(&self, upper: bool) -> Option<u32> {
        let field = if upper { (self.tcr >> 30) & 3 } else { (self.tcr >> 14) & 3 };
        Some(match (upper, field) {
            (false, 0) | (true, 2) => 12,
            (false, 2) | (true, 1) => 14,
            (false, 1) | (true, 3) => 16,
            _ => return None,
        })
    }

    fn half(&self, va: VirtAddr) -> Half {
        let upper = va.get() >> 55 & 1 != 0;
        let size = if upper { (self.tcr >> 16) & 63 } else { self.tcr & 63 };
        Half { upper, bits: 64 - size as u32 }
    }

    fn ignores_top_byte(&self, upper: bool, access: Access) -> bool {
        let (ignored, data_only) = if upper { (tcr::TBI1, tcr::TBID1) } else { (tcr::TBI0, tcr::TBID0) };
        self.tcr & ignored != 0 && !(access.executes() && self.tcr & data_only != 0)
    }

    /// The address without its tag: what the TLB is asked for.
    pub(crate) fn untagged(&self, va: VirtAddr, access: Access) -> VirtAddr {
        if self.ignores_top_byte(self.half(va).upper, access) {
            VirtAddr::new((((va.get() << 8) as i64) >> 8) as u64)
        } else {
            va
        }
    }

    fn output_bits(&self) -> u32 {
        let ips = match (self.tcr >> 32) & 7 {
            0 => 32,
            1 => 36,
            2 => 40,
            3 => 42,
            4 => 44,
            5 => 48,
            _ => 52,
        };
        ips.min(self.phys_bits)
    }

    /// The walk for an untagged address.
    pub(crate) fn walk(&self, w: &mut Walker<'_>) -> Result<Mapping, Fault> {
        let half = self.half(w.va);
        let fault = |w: &Walker<'_>| long::fault(Arch::Arm64, w, FaultKind::Translation, 3);
        let Some(granule) = self.granule(half.upper) else { return Err(fault(w)) };
        let most = if self.large_va && granule == 16 { 52 } else { 48 };
        let off = self.tcr & if half.upper { tcr::EPD1 } else { tcr::EPD0 } != 0;
        let above = w.va.get() as i64 >> half.bits.min(63);
        let outside = above != if half.upper { -1 } else { 0 };
        if off || outside || half.bits > most || half.bits < 25 {
            return Err(fault(w));
        }
        let ttbr = if half.upper { self.ttbr1 } else { self.ttbr0 };
        let wide = self.phys_bits > 48;
        // With 52-bit addresses, bits 5:2 of the register are the address' bits 51:48.
        let high = if wide && granule == 16 { (ttbr >> 2) & 15 } else { 0 };
        let regime = Regime {
            arch: Arch::Arm64,
            base: (ttbr & 0xffff_ffff_fffe) | (high << 48),
            input_bits: half.bits,
            granule,
            output_bits: self.output_bits(),
            wide: wide && granule == 16,
            flat: self.tcr & if half.upper { tcr::HPD1 } else { tcr::HPD0 } != 0,
            sets_access: self.tcr & tcr::HA != 0,
            sets_dirty: self.tcr & (tcr::HA | tcr::HD) == tcr::HA | tcr::HD,
            mair: self.mair,
        };
        regime.walk(w)
    }

    /// Whether the access is permitted, else why not and the fault status.
    pub(crate) fn check(&self, m: &Mapping, access: Access) -> Result<(), (Denied, u32)> {
        let p = &m.perms;
        let wxn = self.sctlr & sctlr::WXN != 0;
        let denied = match (access.kind, access.user) {
            (AccessKind::Read | AccessKind::Write, true) if !p.user_read => Some(Denied::KernelPage),
            (AccessKind::Write, true) if !p.user_write => Some(Denied::ReadOnly),
            (AccessKind::Read | AccessKind::Write, false) if p.user_read && self.pan => {
                Some(Denied::UserPage)
            }
            (AccessKind::Write, false) if !p.kernel_write => Some(Denied::ReadOnly),
            (AccessKind::Execute, true) if !p.user_fetch => Some(Denied::NotExecutable),
            (AccessKind::Execute, true) if wxn && p.user_write => Some(Denied::WritableCode),
            (AccessKind::Execute, false) if !p.kernel_fetch => Some(Denied::NotExecutable),
            // What user code can write, the kernel never executes.
            (AccessKind::Execute, false) if p.user_write || (wxn && p.kernel_write) => {
                Some(Denied::WritableCode)
            }
            _ => None,
        };
        match denied {
            None => Ok(()),
            Some(why) => Err((why, long::status(FaultKind::Permission(why)) | u32::from(3 - m.level.min(3)))),
        }
    }
}
