//! A CPU in debug mode: every load and store is judged first as KASAN would, then made through the software MMU.
//!
//! The MMU alone lets through what lands in some page that is mapped: the rest of an area's last page, an area of somebody else behind a wild pointer, a
//! page that was freed and is still in a TLB. Here each byte has to be one that its area was asked for ([`Vmalloc::check_access`]).

use super::HostedVmalloc;
use crate::mmu::AccessError;
use core::fmt;
use pagewright::vmalloc::VirtMemory;
use pagewright_addr::VirtAddr;
use pagewright_kspace::vmalloc::{BadAccess, Vmalloc};
use pagewright_pagetable::{Format, TableMemory};

/// Why an access was not made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CheckedError {
    /// It is not right, whatever is mapped there. Nothing was touched.
    Bad(BadAccess),
    /// The MMU refused it.
    Mmu(AccessError),
}

impl fmt::Display for CheckedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(why) => why.fmt(f),
            Self::Mmu(why) => why.fmt(f),
        }
    }
}

impl core::error::Error for CheckedError {}

/// A CPU that looks before it touches.
pub struct CheckedCpu<'r, 'p, 'v, 'x, 'm, 's, 'a, F: Format> {
    machine: &'r HostedVmalloc<'p, 'v, 'x, 'm, 's, 'a, F>,
    cpu: usize,
}

impl<F: Format> fmt::Debug for CheckedCpu<'_, '_, '_, '_, '_, '_, '_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedCpu").field("cpu", &self.cpu).finish_non_exhaustive()
    }
}

/// Judges an access if it begins in the region.
fn judge<F: Format, M: TableMemory>(
    region: &Vmalloc<'_, '_, F, M>,
    at: VirtAddr,
    bytes: usize,
) -> Result<(), CheckedError> {
    if bytes == 0 || !region.is_vmalloc_addr(at) {
        return Ok(());
    }
    region.check_access(at, bytes as u64).map_err(CheckedError::Bad)
}

impl<F: Format> CheckedCpu<'_, '_, '_, '_, '_, '_, '_, F> {
    fn check(&self, at: VirtAddr, bytes: usize) -> Result<(), CheckedError> {
        judge(&self.machine.vmalloc, at, bytes)?;
        self.machine.modules.iter().try_for_each(|modules| judge(modules, at, bytes))
    }

    /// Loads bytes.
    ///
    /// # Errors
    /// [`CheckedError`].
    pub fn load(&self, at: VirtAddr, into: &mut [u8]) -> Result<(), CheckedError> {
        self.check(at, into.len())?;
        self.machine.mmu.load(self.cpu, at, false, into).map_err(CheckedError::Mmu)
    }

    /// Stores bytes.
    ///
    /// # Errors
    /// [`CheckedError`].
    pub fn store(&self, at: VirtAddr, bytes: &[u8]) -> Result<(), CheckedError> {
        self.check(at, bytes.len())?;
        self.machine.mmu.store(self.cpu, at, false, bytes).map_err(CheckedError::Mmu)
    }
}

impl<F: Format> VirtMemory for CheckedCpu<'_, '_, '_, '_, '_, '_, '_, F> {
    fn read(&self, at: VirtAddr, into: &mut [u8]) -> bool {
        self.load(at, into).is_ok()
    }

    fn write(&self, at: VirtAddr, bytes: &[u8]) -> bool {
        self.store(at, bytes).is_ok()
    }
}

impl<'p, 'v, 'x, 'm, 's, 'a, F: Format> HostedVmalloc<'p, 'v, 'x, 'm, 's, 'a, F> {
    /// A CPU in debug mode.
    ///
    /// # Panics
    /// If there is no such CPU.
    pub fn checked(&self, cpu: usize) -> CheckedCpu<'_, 'p, 'v, 'x, 'm, 's, 'a, F> {
        assert!(cpu < self.mmu.cpu_count(), "there is no CPU {cpu}");
        CheckedCpu { machine: self, cpu }
    }
}
