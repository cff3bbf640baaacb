//! What a module's loader asks of a kernel.

use crate::vmalloc::{VfreeError, VmContext, VmFlags, VmRequest, Vmalloc, VmallocError};
use core::fmt;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_pagetable::{AttrChange, Format, TableMemory, UnmapError};
use pagewright_zone::Gfp;

/// Bytes of kernel addresses, as this CPU sees them.
pub trait CodeMemory {
    /// Reads what is mapped at an address.
    fn read(&mut self, at: VirtAddr, into: &mut [u8]);

    /// Writes there.
    fn write(&mut self, at: VirtAddr, bytes: &[u8]);

    /// Makes what was written there visible to whoever fetches instructions, on all CPUs.
    fn sync(&mut self, range: VirtRange);
}

/// A kernel that modules are loaded into.
pub trait ModuleHost: CodeMemory {
    /// Bytes of a page.
    fn page(&self) -> u64;

    /// Takes an area of so many bytes at a multiple of `align`, whole pages of zeroes, writable and not executable.
    ///
    /// # Errors
    /// [`VmallocError`].
    fn alloc(&mut self, bytes: u64, align: u64) -> Result<VirtAddr, VmallocError>;

    /// Gives an area back.
    fn free(&mut self, at: VirtAddr);

    /// Changes the permissions of a part of an area, on all CPUs.
    ///
    /// # Errors
    /// [`UnmapError`]; nothing has changed then.
    fn protect(&mut self, range: VirtRange, change: &AttrChange) -> Result<(), UnmapError>;

    /// The address of one of the kernel's symbols.
    fn symbol(&mut self, name: &str) -> Option<u64>;

    /// Room for per-CPU variables: each CPU's copy begins with `bytes`, and has zeroes behind up to `size`. The address as symbols have it; `None` if
    /// there is no room, or no such variables.
    fn per_cpu(&mut self, size: u64, align: u64, bytes: &[u8]) -> Option<u64> {
        let _ = (size, align, bytes);
        None
    }

    /// Gives that back.
    fn free_per_cpu(&mut self, at: u64) {
        let _ = at;
    }
}

/// Modules in a region of [`Vmalloc`], and where that is full in another.
pub struct OnVmalloc<'h, 'v, 'a, F: Format, M: TableMemory, C, W> {
    /// The modules' region.
    pub modules: &'h Vmalloc<'v, 'a, F, M>,
    /// Where areas come from when that is full, and which part of it will do: all of it on arm, what is within 2 GiB of the modules' on arm64, nothing on
    /// x86_64.
    pub spill: Option<(&'h Vmalloc<'v, 'a, F, M>, Option<VirtRange>)>,
    /// On whose behalf.
    pub on: &'h mut C,
    /// The bytes.
    pub code: &'h mut W,
    /// The kernel's symbols.
    pub symbols: &'h dyn Fn(&str) -> Option<u64>,
}

impl<F: Format, M: TableMemory, C, W> fmt::Debug for OnVmalloc<'_, '_, '_, F, M, C, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnVmalloc").finish_non_exhaustive()
    }
}

impl<F: Format, M: TableMemory, C, W: CodeMemory> CodeMemory for OnVmalloc<'_, '_, '_, F, M, C, W> {
    fn read(&mut self, at: VirtAddr, into: &mut [u8]) {
        self.code.read(at, into);
    }

    fn write(&mut self, at: VirtAddr, bytes: &[u8]) {
        self.code.write(at, bytes);
    }

    fn sync(&mut self, range: VirtRange) {
        self.code.sync(range);
    }
}

impl<'a, F: Format, M: TableMemory, C: VmContext<'a>, W: CodeMemory> ModuleHost
    for OnVmalloc<'_, '_, 'a, F, M, C, W>
{
    fn page(&self) -> u64 {
        F::SHAPE.page_bytes()
    }

    fn alloc(&mut self, bytes: u64, align: u64) -> Result<VirtAddr, VmallocError> {
        let request = VmRequest::new(bytes)
            .aligned(align)
            .with_gfp(Gfp::GFP_KERNEL | Gfp::ZERO)
            .with_flags(VmFlags::FLUSH_RESET_PERMS);
        match (self.modules.vmalloc_request(self.on, &request), self.spill) {
            (Err(VmallocError::Space { .. }), Some((other, within))) => {
                other.vmalloc_request(self.on, &VmRequest { within, ..request })
            }
            (done, _) => done,
        }
    }

    fn free(&mut self, at: VirtAddr) {
        let freed: Result<(), VfreeError> = match self.spill {
            Some((other, _)) if self.modules.find_vm_area(at).is_none() => other.vfree(self.on, at),
            _ => self.modules.vfree(self.on, at),
        };
        debug_assert!(freed.is_ok(), "an area that was taken here");
    }

    fn protect(&mut self, range: VirtRange, change: &AttrChange) -> Result<(), UnmapError> {
        match self.spill {
            Some((other, _)) if self.modules.find_vm_area(range.start).is_none() => {
                other.set_memory(self.on, range, change)
            }
            _ => self.modules.set_memory(self.on, range, change),
        }
    }

    fn symbol(&mut self, name: &str) -> Option<u64> {
        (self.symbols)(name)
    }
}
