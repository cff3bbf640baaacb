//! The software MMU: an implementation of the hardware's side of page tables, for every architecture modelled here.
//!
//! It is a second opinion. Nothing in it comes from the codecs or the walker of `pagewright-pagetable`: it reads entries
//! as bytes out of [`PhysMemory`], decodes them by the specifications (each file names its chapters), and takes everything
//! else from the CPU's registers as they are written by a kernel. Rights are checked as EL0 or EL1, ring 0 or 3;
//! accessed and dirty bits are set by atomic updates; faults are typed and carry the architecture's own code.
//!
//! Each CPU has a TLB and walk caches that forget nothing until a flush reaches it ([`pagewright_pagetable::TlbFlush`],
//! which [`CpuSet`] implements). What a CPU has and the tables no longer support is a [`Violation`], told with the address and the step
//! that was left out: at the access that uses it, or when everything is looked through ([`Mmu::check`]). A CPU that
//! speculates ([`Strictness`]) fetches what a flush took away again at once if the tables still have it, so that a
//! flush before the change is as bad as none.
//!
//! PAE loads its four PDPTEs with CR3: what is new in that table is used after [`Mmu::set_registers`], or after a flush that
//! covers tables.
//!
//! Not modelled: stage 2 and the other exception levels, FEAT_LPA2 (52 bits with granules of 4 and 16 KiB), permission
//! indirection, shadow stacks, supervisor protection keys, and the hardware access flag of short descriptors. Where the
//! architecture leaves a choice, it is made so that mistakes show: address sizes are checked by LPAE as ARMv8 checks them.
//!
//! ```
//! use pagewright_addr::{PhysAddr, PhysRange, VirtAddr};
//! use pagewright_sim::mmu::{Access, Mmu, Registers, Strictness, X86Registers};
//! use pagewright_sim::{EntryWidth, PhysMemory};
//!
//! // Four tables by hand, which map the page at 0x1000 to 0x5000: present, writable, user.
//! let memory = PhysMemory::new([PhysRange::from_len(PhysAddr::ZERO, 1 << 20)], EntryWidth::Bits64);
//! for (at, entry) in [(0x10000, 0x11007u64), (0x11000, 0x12007), (0x12000, 0x13007), (0x13008, 0x5007)] {
//!     memory.write(PhysAddr::new(at), &entry.to_le_bytes())?;
//! }
//! let registers = Registers::X86(X86Registers::long(0x10000, false));
//! let mmu = Mmu::new(&memory, 1, registers, Strictness::STRICT)?;
//! let va = VirtAddr::new(0x1234);
//! assert_eq!(mmu.access(0, va, Access::USER_WRITE)?.phys, PhysAddr::new(0x5234));
//!
//! // The entry goes, the TLB is not told.
//! memory.write(PhysAddr::new(0x13008), &[0; 8])?;
//! let error = mmu.access(0, va, Access::READ).unwrap_err().to_string();
//! assert!(error.ends_with("Missing: a flush of the address after its entry was taken out"));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

pub mod arm;
pub mod arm64;
mod cpu;
mod fault;
mod kernel;
mod long;
mod mapped;
mod registers;
mod set;
mod short;
mod stale;
mod tlb;
mod types;
mod violation;
pub mod x86;

use crate::phys::{PhysError, PhysMemory};
pub use arm::ArmRegisters;
pub use arm64::Arm64Registers;
use core::fmt;
use cpu::Cpu;
pub use fault::{Arch, Denied, Fault, FaultKind};
pub use kernel::kernel_registers;
pub use mapped::CpuMemory;
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr};
pub use registers::{LoadError, Registers};
pub use set::{CpuSet, WatchedTables};
use std::sync::{Mutex, MutexGuard, PoisonError};
pub use types::{Access, AccessKind, Mapping, MemoryKind, Perms, Sharing, Step, Trail};
pub use violation::{Missing, Violation};
pub use x86::X86Registers;

/// How much a simulated CPU looks at itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Strictness {
    /// Every use of something cached is compared with the tables. Without it a stale entry is simply used.
    pub check: bool,
    /// Whatever a flush takes away is fetched again at once if the tables still have it.
    pub speculate: bool,
}

impl Strictness {
    /// Both.
    pub const STRICT: Self = Self { check: true, speculate: true };
    /// Neither: what hardware would do, silently.
    pub const HARDWARE: Self = Self { check: false, speculate: false };
}

/// A successful access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hit {
    /// The byte.
    pub phys: PhysAddr,
    /// The page or block; `None` while translation is off.
    pub mapping: Option<Mapping>,
    /// Whether the TLB had it.
    pub from_tlb: bool,
}

/// Why an access did not happen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccessError {
    /// The MMU says no.
    Fault(Fault),
    /// Hardware would have gone on; it must not have.
    Violation(Box<Violation>),
    /// The address is translated, but there is no memory.
    Memory(PhysError),
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(e) => e.fmt(f),
            Self::Violation(e) => e.fmt(f),
            Self::Memory(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for AccessError {}

impl From<Fault> for AccessError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Violation> for AccessError {
    fn from(violation: Violation) -> Self {
        Self::Violation(Box::new(violation))
    }
}

/// The MMUs of a machine's CPUs over one memory. CPUs may be used by different threads.
pub struct Mmu<'m> {
    memory: &'m PhysMemory,
    cpus: Vec<Mutex<Cpu>>,
    /// What was seen where nothing could be returned.
    noted: Mutex<Vec<Violation>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked in a test leaves nothing half done here.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'m> Mmu<'m> {
    /// `cpus` CPUs, all with these registers.
    ///
    /// # Errors
    /// [`LoadError`] if the registers cannot be loaded (PAE only).
    pub fn new(
        memory: &'m PhysMemory,
        cpus: usize,
        registers: Registers,
        strictness: Strictness,
    ) -> Result<Self, LoadError> {
        let registers = registers.loaded(memory)?;
        let cpus = (0..cpus).map(|id| Mutex::new(Cpu::new(id, registers, strictness))).collect();
        Ok(Self { memory, cpus, noted: Mutex::new(Vec::new()) })
    }

    /// The memory.
    pub fn memory(&self) -> &'m PhysMemory {
        self.memory
    }

    /// How many CPUs.
    pub fn cpu_count(&self) -> usize {
        self.cpus.len()
    }

    /// A CPU's registers.
    ///
    /// # Panics
    /// As every method that takes a CPU: when there is no such CPU.
    pub fn registers(&self, cpu: usize) -> Registers {
        lock(&self.cpus[cpu]).registers
    }

    /// Writes a CPU's registers. x86 flushes what the specification says it flushes when they change; Arm nothing.
    ///
    /// # Errors
    /// [`LoadError`] (PAE only); the registers are as they were.
    pub fn set_registers(&self, cpu: usize, registers: Registers) -> Result<(), LoadError> {
        lock(&self.cpus[cpu]).load(self.memory, registers)
    }

    /// What a CPU does when an instruction touches `va`.
    ///
    /// # Errors
    /// [`AccessError::Fault`] and [`AccessError::Violation`].
    pub fn access(&self, cpu: usize, va: VirtAddr, access: Access) -> Result<Hit, AccessError> {
        lock(&self.cpus[cpu]).access(self.memory, va, access)
    }

    /// Loads bytes, page by page.
    ///
    /// # Errors
    /// [`AccessError`]; pages before the one that failed were read.
    pub fn load(&self, cpu: usize, va: VirtAddr, user: bool, into: &mut [u8]) -> Result<(), AccessError> {
        let access = Access { user, ..Access::READ };
        let mut done = 0;
        while done < into.len() {
            let (phys, count) = self.piece(cpu, va, done, into.len(), access)?;
            let part = &mut into[done..done + count];
            self.memory.read(phys, part).map_err(AccessError::Memory)?;
            done += count;
        }
        Ok(())
    }

    /// Stores bytes, page by page.
    ///
    /// # Errors
    /// [`AccessError`]; pages before the one that failed were written.
    pub fn store(&self, cpu: usize, va: VirtAddr, user: bool, bytes: &[u8]) -> Result<(), AccessError> {
        let access = Access { user, ..Access::WRITE };
        let mut done = 0;
        while done < bytes.len() {
            let (phys, count) = self.piece(cpu, va, done, bytes.len(), access)?;
            self.memory.write(phys, &bytes[done..done + count]).map_err(AccessError::Memory)?;
            done += count;
        }
        Ok(())
    }

    /// Where byte `done` of an access is, and how many bytes of it are in the same 4 KiB.
    fn piece(
        &self,
        cpu: usize,
        va: VirtAddr,
        done: usize,
        len: usize,
        access: Access,
    ) -> Result<(PhysAddr, usize), AccessError> {
        let at = VirtAddr::new(va.get().wrapping_add(done as u64));
        let phys = self.access(cpu, at, access)?.phys;
        let room = (4096 - at.get() % 4096) as usize;
        Ok((phys, room.min(len - done)))
    }

    /// All CPUs, as who a flush goes to.
    pub fn all_cpus(&self) -> CpuSet<'_, 'm> {
        CpuSet::new(self, (0..self.cpus.len()).collect())
    }

    /// One CPU, as who a flush goes to.
    pub fn only(&self, cpu: usize) -> CpuSet<'_, 'm> {
        CpuSet::new(self, vec![cpu])
    }

    /// Forgets everything that a CPU has cached.
    pub fn flush_everything(&self, cpu: usize) {
        lock(&self.cpus[cpu]).tlb.flush_all(None);
    }

    /// Notes that a page that held tables was given back; one that a CPU may still use is a violation, kept for
    /// [`Self::check`].
    pub fn table_freed(&self, page: PhysRange) {
        let used = self.cpus.iter().filter_map(|cpu| lock(cpu).uses(page));
        lock(&self.noted).extend(used);
    }

    /// Everything that was noted, and everything cached that the tables no longer support.
    pub fn violations(&self) -> Vec<Violation> {
        let mut all = lock(&self.noted).clone();
        for cpu in &self.cpus {
            lock(cpu).audit(self.memory, &mut all);
        }
        all
    }

    /// Whether nothing is wrong.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<(), Box<Violation>> {
        self.violations().into_iter().next().map_or(Ok(()), |v| Err(Box::new(v)))
    }
}

#[cfg(test)]
mod tests;
