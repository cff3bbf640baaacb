//! What a module's loader asks of a kernel whose modules have symbols as well.

use super::{ModuleName, ModuleState, Modules};
use crate::module::host::{CodeMemory, ModuleHost};
use crate::vmalloc::NoArea;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_pagetable::{AttrChange, UnmapError};

/// A kernel's host whose symbols are the modules' as well.
pub(super) struct Linked<'l, 'm, H> {
    pub(super) modules: &'l mut Modules<'m>,
    pub(super) host: &'l mut H,
    /// Where the module will be.
    pub(super) slot: usize,
    /// Whether it may use what is exported under the GPL.
    pub(super) gpl: bool,
    /// Whose symbol was wanted that is not live.
    pub(super) not_live: Option<ModuleName>,
}

impl<H: ModuleHost> CodeMemory for Linked<'_, '_, H> {
    fn read(&mut self, at: VirtAddr, into: &mut [u8]) {
        self.host.read(at, into);
    }

    fn write(&mut self, at: VirtAddr, bytes: &[u8]) {
        self.host.write(at, bytes);
    }

    fn sync(&mut self, range: VirtRange) {
        self.host.sync(range);
    }
}

impl<H: ModuleHost> ModuleHost for Linked<'_, '_, H> {
    fn page(&self) -> u64 {
        self.host.page()
    }

    fn alloc(&mut self, bytes: u64, align: u64) -> Result<VirtAddr, NoArea> {
        self.host.alloc(bytes, align)
    }

    fn free(&mut self, at: VirtAddr) {
        self.host.free(at);
    }

    fn protect(&mut self, range: VirtRange, change: &AttrChange) -> Result<(), UnmapError> {
        self.host.protect(range, change)
    }

    fn symbol(&mut self, name: &str) -> Option<u64> {
        if let Some(address) = self.host.symbol(name) {
            return Some(address);
        }
        let (used, export) = self.modules.find_export(self.host, name, self.gpl)?;
        let loaded = self.modules.loaded(used)?;
        if loaded.state != ModuleState::Live {
            self.not_live = Some(loaded.name);
            return None;
        }
        self.modules.row(self.slot)[used / 64] |= 1 << (used % 64);
        Some(export.address)
    }

    fn per_cpu(&mut self, size: u64, align: u64) -> Option<u64> {
        self.host.per_cpu(size, align)
    }

    fn write_per_cpu(&mut self, at: u64, bytes: &[u8]) {
        self.host.write_per_cpu(at, bytes);
    }

    fn read_per_cpu(&mut self, at: u64, into: &mut [u8]) {
        self.host.read_per_cpu(at, into);
    }

    fn free_per_cpu(&mut self, at: u64) {
        self.host.free_per_cpu(at);
    }
}
