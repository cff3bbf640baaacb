//! What a module's loader asks of a kernel.

use super::windows::ModuleWindows;
use crate::areas::{AreaError, Wanted};
use crate::vmalloc::{FullRegion, NoArea, VmContext, VmFlags, VmRequest, Vmalloc, VmallocError};
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
    /// [`NoArea`].
    fn alloc(&mut self, bytes: u64, align: u64) -> Result<VirtAddr, NoArea>;

    /// Gives an area back.
    fn free(&mut self, at: VirtAddr);

    /// Changes the permissions of a part of an area, on all CPUs.
    ///
    /// # Errors
    /// [`UnmapError`]; nothing has changed then.
    fn protect(&mut self, range: VirtRange, change: &AttrChange) -> Result<(), UnmapError>;

    /// The address of one of the kernel's symbols.
    fn symbol(&mut self, name: &str) -> Option<u64>;

    /// Room for per-CPU variables, zeroes in each CPU's copy. The address as symbols have it; `None` if there is no room, or no such variables.
    fn per_cpu(&mut self, size: u64, align: u64) -> Option<u64> {
        let _ = (size, align);
        None
    }

    /// Writes inside of such room, to each CPU's copy.
    fn write_per_cpu(&mut self, at: u64, bytes: &[u8]) {
        let _ = (at, bytes);
    }

    /// Reads one of the copies; a module that is being loaded has the same in all.
    fn read_per_cpu(&mut self, at: u64, into: &mut [u8]) {
        let _ = (at, into);
    }

    /// Gives the room back that begins there.
    fn free_per_cpu(&mut self, at: u64) {
        let _ = at;
    }
}

impl<H: CodeMemory + ?Sized> CodeMemory for &mut H {
    fn read(&mut self, at: VirtAddr, into: &mut [u8]) {
        H::read(self, at, into);
    }

    fn write(&mut self, at: VirtAddr, bytes: &[u8]) {
        H::write(self, at, bytes);
    }

    fn sync(&mut self, range: VirtRange) {
        H::sync(self, range);
    }
}

impl<H: ModuleHost + ?Sized> ModuleHost for &mut H {
    fn page(&self) -> u64 {
        H::page(self)
    }

    fn alloc(&mut self, bytes: u64, align: u64) -> Result<VirtAddr, NoArea> {
        H::alloc(self, bytes, align)
    }

    fn free(&mut self, at: VirtAddr) {
        H::free(self, at);
    }

    fn protect(&mut self, range: VirtRange, change: &AttrChange) -> Result<(), UnmapError> {
        H::protect(self, range, change)
    }

    fn symbol(&mut self, name: &str) -> Option<u64> {
        H::symbol(self, name)
    }

    fn per_cpu(&mut self, size: u64, align: u64) -> Option<u64> {
        H::per_cpu(self, size, align)
    }

    fn write_per_cpu(&mut self, at: u64, bytes: &[u8]) {
        H::write_per_cpu(self, at, bytes);
    }

    fn read_per_cpu(&mut self, at: u64, into: &mut [u8]) {
        H::read_per_cpu(self, at, into);
    }

    fn free_per_cpu(&mut self, at: u64) {
        H::free_per_cpu(self, at);
    }
}

/// Where modules' per-CPU variables come from: the reserved part of the first per-CPU chunk.
pub trait PerCpuRoom {
    /// As [`ModuleHost::per_cpu`].
    fn alloc(&mut self, size: u64, align: u64) -> Option<u64>;

    /// As [`ModuleHost::write_per_cpu`].
    fn write(&mut self, at: u64, bytes: &[u8]);

    /// As [`ModuleHost::read_per_cpu`].
    fn read(&mut self, at: u64, into: &mut [u8]);

    /// As [`ModuleHost::free_per_cpu`].
    fn free(&mut self, at: u64);
}

/// Modules in regions of [`Vmalloc`].
pub struct OnVmalloc<'h, 'v, 'a, F: Format, M: TableMemory, C, W> {
    /// The regions that areas may come from, lowest first: the modules', and vmalloc's.
    pub regions: &'h [&'h Vmalloc<'v, 'a, F, M>],
    /// Where in them areas may lie.
    pub windows: ModuleWindows,
    /// On whose behalf.
    pub on: &'h mut C,
    /// The bytes.
    pub code: &'h mut W,
    /// The kernel's symbols.
    pub symbols: &'h dyn Fn(&str) -> Option<u64>,
    /// Room for per-CPU variables, if modules may have such.
    pub per_cpu: Option<&'h mut dyn PerCpuRoom>,
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

    fn alloc(&mut self, bytes: u64, align: u64) -> Result<VirtAddr, NoArea> {
        let request = VmRequest::new(bytes)
            .aligned(align)
            .with_gfp(Gfp::GFP_KERNEL | Gfp::ZERO)
            .with_flags(VmFlags::FLUSH_RESET_PERMS);
        let mut none: Option<NoArea> = None;
        for window in self.windows.in_order() {
            for region in self.regions {
                let Some(part) = shared(window, region.range()) else { continue };
                let within = (part != region.range()).then_some(part);
                match region.vmalloc_request(self.on, &VmRequest { within, ..request }) {
                    Ok(at) => return Ok(at),
                    Err(why) => {
                        let full = none.and_then(|before| before.full.or(FullRegion::of(&before.why)));
                        if !matches!(why, VmallocError::Space { .. }) {
                            return Err(NoArea { full, why });
                        }
                        none = Some(NoArea { full, why });
                    }
                }
            }
        }
        Err(none.unwrap_or_else(|| {
            let (size, within) = (bytes, self.windows.first);
            let why = AreaError::NoGap { wanted: Wanted { size, align, within }, largest: 0 };
            VmallocError::Space { region: "modules", range: within, why }.into()
        }))
    }

    fn free(&mut self, at: VirtAddr) {
        let region = self.regions.iter().find(|region| region.is_vmalloc_addr(at));
        let freed = region.is_some_and(|region| region.vfree(self.on, at).is_ok());
        debug_assert!(freed, "an area that was taken here");
    }

    fn protect(&mut self, range: VirtRange, change: &AttrChange) -> Result<(), UnmapError> {
        match self.regions.iter().find(|region| region.is_vmalloc_addr(range.start)) {
            Some(region) => region.set_memory(self.on, range, change),
            None => Err(UnmapError::OutsideCursor(range)),
        }
    }

    fn symbol(&mut self, name: &str) -> Option<u64> {
        (self.symbols)(name)
    }

    fn per_cpu(&mut self, size: u64, align: u64) -> Option<u64> {
        self.per_cpu.as_mut()?.alloc(size, align)
    }

    fn write_per_cpu(&mut self, at: u64, bytes: &[u8]) {
        if let Some(room) = &mut self.per_cpu {
            room.write(at, bytes);
        }
    }

    fn read_per_cpu(&mut self, at: u64, into: &mut [u8]) {
        if let Some(room) = &mut self.per_cpu {
            room.read(at, into);
        }
    }

    fn free_per_cpu(&mut self, at: u64) {
        if let Some(room) = &mut self.per_cpu {
            room.free(at);
        }
    }
}

/// What two ranges share.
fn shared(a: VirtRange, b: VirtRange) -> Option<VirtRange> {
    let (start, last) = (a.start.max(b.start), a.last().min(b.last()));
    (a.overlaps(&b)).then(|| VirtRange::from_len(start, last.get() - start.get() + 1))
}
