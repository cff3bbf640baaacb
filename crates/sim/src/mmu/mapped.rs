//! Memory as a simulated CPU reaches it.

use super::{AccessError, Mmu};
use core::fmt;
use pagewright_addr::VirtAddr;
use pagewright_platform::MappedMemory;

/// What is copied or zeroed at a time.
const PIECE: usize = 512;

/// The kernel's accesses on one CPU.
#[derive(Clone, Copy)]
pub struct CpuMemory<'a, 'm> {
    mmu: &'a Mmu<'m>,
    cpu: usize,
}

impl fmt::Debug for CpuMemory<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory of CPU {}", self.cpu)
    }
}

impl<'m> Mmu<'m> {
    /// Memory as the kernel reaches it on a CPU.
    ///
    /// # Panics
    /// When there is no such CPU.
    pub fn memory_of(&self, cpu: usize) -> CpuMemory<'_, 'm> {
        assert!(cpu < self.cpu_count(), "there is no CPU {cpu}");
        CpuMemory { mmu: self, cpu }
    }
}

/// The pieces of `bytes` bytes.
fn pieces(bytes: u64) -> impl Iterator<Item = (u64, usize)> {
    (0..bytes).step_by(PIECE).map(move |done| (done, (bytes - done).min(PIECE as u64) as usize))
}

fn at(start: VirtAddr, done: u64) -> VirtAddr {
    VirtAddr::new(start.get().wrapping_add(done))
}

impl MappedMemory for CpuMemory<'_, '_> {
    type Error = AccessError;

    fn zero(&self, start: VirtAddr, bytes: u64) -> Result<(), AccessError> {
        pieces(bytes)
            .try_for_each(|(done, len)| self.mmu.store(self.cpu, at(start, done), false, &[0; PIECE][..len]))
    }

    fn copy(&self, to: VirtAddr, from: VirtAddr, bytes: u64) -> Result<(), AccessError> {
        let mut piece = [0; PIECE];
        pieces(bytes).try_for_each(|(done, len)| {
            self.mmu.load(self.cpu, at(from, done), false, &mut piece[..len])?;
            self.mmu.store(self.cpu, at(to, done), false, &piece[..len])
        })
    }

    fn read(&self, start: VirtAddr, into: &mut [u8]) -> Result<(), AccessError> {
        self.mmu.load(self.cpu, start, false, into)
    }

    fn write(&self, start: VirtAddr, bytes: &[u8]) -> Result<(), AccessError> {
        self.mmu.store(self.cpu, start, false, bytes)
    }
}
