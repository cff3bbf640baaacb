//! I/O ports of PCI, where processors have no instructions for ports: a window of addresses, a byte for each port.

use super::IoKind;
use crate::vmalloc::{VmContext, VmFlags, Vmalloc, VmallocError};
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_pagetable::{Format, Level, TableMemory};

/// Why ports are not mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PciIoError {
    /// No ports, or some beyond the window.
    #[error("{count:#x} ports from {first:#x} on, expected ports below {ports:#x}")]
    Ports {
        /// The first.
        first: u64,
        /// How many.
        count: u64,
        /// How many the window has.
        ports: u64,
    },
    /// The window's area or its mapping is refused.
    #[error("{0}")]
    Area(VmallocError),
}

/// The window (PCI_IO_VIRT_BASE, [`crate::Kind::PciIo`]).
pub struct PciIo<'i, 'v, 'a, F: Format, M: TableMemory> {
    vmalloc: &'i Vmalloc<'v, 'a, F, M>,
    window: VirtRange,
    arch: Arch,
}

impl<F: Format, M: TableMemory> fmt::Debug for PciIo<'_, '_, '_, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PciIo").field("window", &self.window).finish_non_exhaustive()
    }
}

impl<'i, 'v, 'a, F: Format, M: TableMemory> PciIo<'i, 'v, 'a, F, M> {
    /// Takes the window's addresses (`pci_reserve_io`). On arm they lie in vmalloc space; where they do not (arm64), `vmalloc` is a region of
    /// their own.
    ///
    /// # Errors
    /// [`PciIoError::Area`] if somebody has them.
    #[track_caller]
    pub fn new<C: VmContext<'a>>(
        on: &mut C,
        vmalloc: &'i Vmalloc<'v, 'a, F, M>,
        window: VirtRange,
        arch: Arch,
    ) -> Result<Self, PciIoError> {
        vmalloc.add_vm_area(on, window, PhysAddr::ZERO, VmFlags::IOREMAP).map_err(PciIoError::Area)?;
        Ok(Self { vmalloc, window, arch })
    }

    /// Maps `count` ports from `first` on to what a bridge has at `phys`, and returns the address of the first (`pci_remap_iospace`). The bridge's
    /// ports stay mapped for good.
    ///
    /// # Errors
    /// [`PciIoError`]; nothing was changed then.
    pub fn pci_remap_iospace<C: VmContext<'a>>(
        &self,
        on: &mut C,
        first: u64,
        count: u64,
        phys: PhysAddr,
    ) -> Result<VirtAddr, PciIoError> {
        let ports = self.window.len;
        if count == 0 || first.checked_add(count).is_none_or(|end| end > ports) {
            return Err(PciIoError::Ports { first, count, ports });
        }
        let at = VirtAddr::new(self.window.start.get() + first);
        let memory = IoKind::Device.memory(self.arch).unwrap_or_default();
        let attr = self.vmalloc.config().attr.with_memory(memory);
        let range = VirtRange { start: at, len: count.next_multiple_of(F::SHAPE.page_bytes()) };
        self.vmalloc.map_into(on, range, phys, attr, Level::PTE).map_err(PciIoError::Area)?;
        Ok(at)
    }

    /// The address of a port, whether anything is mapped there or not.
    pub const fn port(&self, port: u64) -> Option<VirtAddr> {
        if port < self.window.len { Some(VirtAddr::new(self.window.start.get() + port)) } else { None }
    }
}
