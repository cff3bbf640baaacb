//! Faults, exact and in each architecture's words.

use super::types::{Access, Walker};
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr};

/// Whose words a fault is told in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Arch {
    /// x86_64 and i386.
    X86,
    /// AArch64.
    Arm64,
    /// ARMv7 with short descriptors.
    ArmShort,
    /// ARMv7 with long descriptors (LPAE).
    ArmLong,
}

impl Arch {
    /// Whether changing a live entry needs break-before-make.
    pub const fn breaks_before_making(self) -> bool {
        !matches!(self, Self::X86)
    }
}

/// Why an access was not permitted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Denied {
    /// There is no right to read (arm AP 0b000).
    NoAccess,
    /// The page is read-only.
    ReadOnly,
    /// The page is not executable (XD, XN, UXN, PXN).
    NotExecutable,
    /// User code used a page of the kernel.
    KernelPage,
    /// The kernel used a user page while that is forbidden (SMAP, PAN).
    UserPage,
    /// The kernel executed a user page (SMEP).
    UserCode,
    /// The page is writable, and writable pages are not executed (WXN, UWXN, or EL0-writable at EL1).
    WritableCode,
    /// The protection key's rights forbid it (PKRU).
    Key(u8),
}

impl Denied {
    const fn words(self) -> &'static str {
        match self {
            Self::NoAccess => "no access",
            Self::ReadOnly => "the page is read-only",
            Self::NotExecutable => "the page is not executable",
            Self::KernelPage => "the page is the kernel's",
            Self::UserPage => "the page is a user's (SMAP, PAN)",
            Self::UserCode => "the page is a user's (SMEP)",
            Self::WritableCode => "the page is writable",
            Self::Key(_) => "its protection key forbids it",
        }
    }
}

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FaultKind {
    /// An entry is invalid, or no table translates the address.
    Translation,
    /// An address in a table register or entry is beyond the physical address size.
    AddressSize,
    /// The entry was never used, and software is to note that.
    AccessFlag,
    /// The domain gives no access.
    Domain(u8),
    /// The page is there, but not for this.
    Permission(Denied),
    /// A present entry has reserved bits set (x86).
    Reserved,
    /// The address is not canonical (x86: a general-protection fault), or beyond a 32-bit machine's last one.
    NonCanonical,
    /// There is no memory where the entry should be.
    ExternalAbort,
}

/// One fault.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fault {
    /// The address.
    pub va: VirtAddr,
    /// What was tried.
    pub access: Access,
    /// What went wrong.
    pub kind: FaultKind,
    /// At which level: 0 for the last.
    pub level: u8,
    /// The entry that was read last (0 if none was).
    pub entry: u64,
    /// Where that entry is.
    pub entry_at: PhysAddr,
    /// Whose words.
    pub arch: Arch,
    /// x86: the page fault's error code. Arm: the fault status (ESR's DFSC or IFSC, DFSR or IFSR).
    pub code: u32,
    /// The tables allow the access; an old translation in the TLB forbade it.
    pub spurious: bool,
}

impl Fault {
    /// A fault of the walk at its last entry.
    pub(crate) fn of_walk(walker: &Walker<'_>, arch: Arch, kind: FaultKind, level: u8, code: u32) -> Self {
        let (entry, entry_at) = walker.trail.last().map_or((0, PhysAddr::ZERO), |s| (s.word, s.at));
        Self {
            va: walker.va,
            access: walker.access,
            kind,
            level,
            entry,
            entry_at,
            arch,
            code,
            spurious: false,
        }
    }

    /// The architecture's name for the level.
    pub const fn level_name(&self) -> &'static str {
        match (self.arch, self.level) {
            (Arch::X86, 0) => "PT",
            (Arch::X86, 1) => "PD",
            (Arch::X86, 2) => "PDPT",
            (Arch::X86, 3) => "PML4",
            (Arch::X86, _) => "PML5",
            (Arch::ArmShort, 0) => "second level",
            (Arch::ArmShort, _) => "first level",
            (_, 0) => "level 3",
            (_, 1) => "level 2",
            (_, 2) => "level 1",
            (_, _) => "level 0",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            FaultKind::Translation if self.arch == Arch::X86 => "not present",
            FaultKind::Translation => "translation fault",
            FaultKind::AddressSize => "address size fault",
            FaultKind::AccessFlag => "access flag fault",
            FaultKind::Domain(_) => "domain fault",
            FaultKind::Permission(_) if self.arch == Arch::X86 => "protection violation",
            FaultKind::Permission(_) => "permission fault",
            FaultKind::Reserved => "reserved bit set",
            FaultKind::NonCanonical => "address not canonical",
            FaultKind::ExternalAbort => "no memory where the table should be",
        };
        write!(f, "{} at {:#x}: {name}, {}", self.access, self.va, self.level_name())?;
        match self.kind {
            FaultKind::Domain(d) => write!(f, ", domain {d}")?,
            FaultKind::Permission(why) => write!(f, ": {}", why.words())?,
            _ => {}
        }
        if self.entry_at != PhysAddr::ZERO || self.entry != 0 {
            write!(f, " (entry {:#x} at {:#x})", self.entry, self.entry_at)?;
        }
        let code = if self.arch == Arch::X86 { "error code" } else { "fault status" };
        write!(f, ", {code} {:#x}", self.code)?;
        if self.spurious {
            f.write_str(", spurious: the TLB holds an older entry")?;
        }
        Ok(())
    }
}

impl core::error::Error for Fault {}
