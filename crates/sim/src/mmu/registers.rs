//! A CPU's translation registers, whichever architecture it has.

use super::arm::ArmRegisters;
use super::arm64::Arm64Registers;
use super::fault::{Arch, Fault, FaultKind};
use super::types::{Access, Fetch, Mapping, Trail, Walker};
use super::x86::X86Registers;
use crate::phys::{EntryBytes, PhysMemory};
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};

/// The registers of one CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registers {
    /// x86_64 and i386.
    X86(X86Registers),
    /// AArch64.
    Arm64(Arm64Registers),
    /// ARMv7.
    Arm(ArmRegisters),
}

/// Why CR3 cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// PAE: a present PDPTE has reserved bits set (a general-protection fault).
    ReservedPdpte {
        /// Which of the four.
        index: usize,
        /// The entry.
        entry: u64,
    },
    /// PAE: there is no memory where the PDPTEs should be.
    NoRam(PhysAddr),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedPdpte { index, entry } => {
                write!(f, "loading CR3: PDPTE {index} is {entry:#x}, with reserved bits set")
            }
            Self::NoRam(at) => write!(f, "loading CR3: there is no memory for the PDPTEs at {at:#x}"),
        }
    }
}

impl core::error::Error for LoadError {}

/// Reads entries where they are, past every cache.
pub(crate) struct Fresh<'m>(pub(crate) &'m PhysMemory);

impl Fetch for Fresh<'_> {
    fn fetch(&mut self, _: u8, at: PhysAddr, _: VirtRange, bytes: EntryBytes) -> Option<(u64, bool)> {
        Some((self.0.load_entry(at, bytes)?, false))
    }
}

impl Registers {
    /// Whose words faults are told in.
    pub fn arch(&self) -> Arch {
        match self {
            Self::X86(_) => Arch::X86,
            Self::Arm64(_) => Arch::Arm64,
            Self::Arm(r) => r.arch(),
        }
    }

    /// Whether translation is on; else addresses are physical.
    pub fn is_on(&self) -> bool {
        match self {
            Self::X86(r) => r.is_on(),
            Self::Arm64(r) => r.is_on(),
            Self::Arm(r) => r.is_on(),
        }
    }

    /// The ASID or PCID in use.
    pub fn asid(&self) -> u16 {
        match self {
            Self::X86(r) => r.asid(),
            Self::Arm64(r) => r.asid(),
            Self::Arm(r) => r.asid(),
        }
    }

    /// The address without a tag.
    pub(crate) fn untagged(&self, va: VirtAddr, access: Access) -> VirtAddr {
        match self {
            Self::Arm64(r) => r.untagged(va, access),
            _ => va,
        }
    }

    /// The same with the registers that are loaded from memory when the table register is written.
    ///
    /// # Errors
    /// [`LoadError`], with PAE only.
    pub(crate) fn loaded(mut self, memory: &PhysMemory) -> Result<Self, LoadError> {
        if let Self::X86(r) = &mut self
            && let Some(at) = r.pdpt()
        {
            for index in 0..4 {
                let at = PhysAddr::new(at.get() + 8 * index as u64);
                let entry = memory.load_entry(at, EntryBytes::Eight).ok_or(LoadError::NoRam(at))?;
                if r.bad_pdpte(entry) {
                    return Err(LoadError::ReservedPdpte { index, entry });
                }
                r.pdpte[index] = entry;
            }
        }
        Ok(self)
    }

    /// Walks for an untagged address.
    pub(crate) fn walk(&self, w: &mut Walker<'_>) -> Result<Mapping, Fault> {
        match self {
            Self::X86(r) => r.walk(w),
            Self::Arm64(r) => r.walk(w),
            Self::Arm(r) => r.walk(w),
        }
    }

    /// Whether a mapping permits an access now.
    pub(crate) fn check(&self, m: &Mapping, va: VirtAddr, access: Access) -> Result<(), Fault> {
        let (kind, code) = match self {
            Self::X86(r) => match r.check(m, access) {
                Ok(()) => return Ok(()),
                Err((why, code)) => (FaultKind::Permission(why), code),
            },
            Self::Arm64(r) => match r.check(m, access) {
                Ok(()) => return Ok(()),
                Err((why, code)) => (FaultKind::Permission(why), code),
            },
            Self::Arm(r) => match r.check(m, access) {
                Ok(()) => return Ok(()),
                Err(told) => told,
            },
        };
        Err(Fault {
            va,
            access,
            kind,
            level: m.level,
            entry: m.entry,
            entry_at: m.entry_at,
            arch: self.arch(),
            code,
            spurious: false,
        })
    }

    /// What the tables in `memory` say about `va` now, past every cache and without setting a bit in them.
    ///
    /// # Errors
    /// The fault that the access would meet; its rights are not looked at.
    pub fn look_up(&self, memory: &PhysMemory, va: VirtAddr, access: Access) -> Result<Mapping, Fault> {
        self.look_up_trail(memory, va, access).0
    }

    /// The same, with every entry on the way (also on the way to a fault).
    pub fn look_up_trail(
        &self,
        memory: &PhysMemory,
        va: VirtAddr,
        access: Access,
    ) -> (Result<Mapping, Fault>, Trail) {
        // A PDPTE that cannot be loaded leaves the old ones in place.
        let now = self.loaded(memory).unwrap_or(*self);
        let mut fetch = Fresh(memory);
        let mut walker = Walker::new(self.untagged(va, access), access, &mut fetch);
        let found = now.walk(&mut walker);
        (found, walker.trail)
    }

    /// Whether user code or the kernel may do this at `va`, by the tables as they are now.
    ///
    /// # Errors
    /// The fault that the access would meet.
    pub fn probe(&self, memory: &PhysMemory, va: VirtAddr, access: Access) -> Result<PhysAddr, Fault> {
        if !self.is_on() {
            return Ok(PhysAddr::new(va.get()));
        }
        let mapping = self.look_up(memory, va, access)?;
        self.check(&mapping, va, access)?;
        Ok(mapping.phys_of(self.untagged(va, access)))
    }
}
