//! Who a flush goes to, and tables that are watched until they are given back.

use super::{Mmu, lock};
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_pagetable::{FlushScope, TableSource, TlbFlush};

/// Some of a machine's CPUs. A flush reaches these and no others.
pub struct CpuSet<'a, 'm> {
    mmu: &'a Mmu<'m>,
    cpus: Vec<usize>,
}

impl<'a, 'm> CpuSet<'a, 'm> {
    /// These CPUs.
    ///
    /// # Panics
    /// When one of them is none of the machine's.
    pub fn new(mmu: &'a Mmu<'m>, cpus: Vec<usize>) -> Self {
        for cpu in &cpus {
            assert!(*cpu < mmu.cpu_count(), "there is no CPU {cpu}");
        }
        Self { mmu, cpus }
    }
}

impl TlbFlush for CpuSet<'_, '_> {
    fn flush(&mut self, scope: &FlushScope) {
        for &cpu in &self.cpus {
            lock(&self.mmu.cpus[cpu]).flush(self.mmu.memory, scope);
        }
    }
}

/// A source of tables that tells the MMU about every page that comes back.
pub struct WatchedTables<'a, 'm> {
    mmu: &'a Mmu<'m>,
    source: &'a mut dyn TableSource,
    page_bytes: u64,
}

impl<'a, 'm> WatchedTables<'a, 'm> {
    /// `source`, whose pages have `page_bytes` bytes.
    pub fn new(mmu: &'a Mmu<'m>, source: &'a mut dyn TableSource, page_bytes: u64) -> Self {
        Self { mmu, source, page_bytes }
    }
}

impl TableSource for WatchedTables<'_, '_> {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        self.source.alloc_table()
    }

    fn free_table(&mut self, page: PhysAddr) {
        self.mmu.table_freed(PhysRange::from_len(page, self.page_bytes));
        self.source.free_table(page);
    }
}
