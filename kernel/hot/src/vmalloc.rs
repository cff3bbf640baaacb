//! vmalloc, the mappings of devices and modules in the types of an image, behind one object: which format the tables have is known when it runs.

use crate::region::{ModuleParts, RegionView};
use crate::space::KernelSpace;
use crate::{Masking, Zeroing};
use core::fmt;
#[cfg(feature = "bench")]
use core::hint::black_box;
use core::ptr::with_exposed_provenance_mut;
use pagewright::vmalloc::ioremap::{Ioremap, IoremapError};
use pagewright::vmalloc::{
    OnPages, PcpuPart, VfreeError, VmFlags, VmRequest, VmSection, Vmalloc, VmallocError,
};
use pagewright_addr::{Pfn, PhysAddr, VirtAddr, VirtRange};
use pagewright_kspace::module::{ModuleHost, ModuleWindows};
use pagewright_kspace::stacks::{KernelStack, StackError, StackShape, Stacks};
use pagewright_pagetable::{Format, TableMemory};
use pagewright_platform::{Carve, MappedMemory};
use pagewright_zone::Gfp;

/// vmalloc's context on a processor of an image.
pub type On<'c, 'z> = OnPages<'c, 'z, 'static, 'static, 'static, Masking, Zeroing>;
/// A region of kernel addresses of an image. It reaches its tables as everything else in an image does: code for another kind of memory would be as much again.
pub(crate) type Region<'v, F> = Vmalloc<'v, 'static, F, &'v dyn TableMemory>;

/// No processor keeps stacks, so there are no old ones to zero.
struct NoCache;

impl MappedMemory for NoCache {
    type Error = fmt::Error;

    fn zero(&self, _: VirtAddr, _: u64) -> fmt::Result {
        Err(fmt::Error)
    }

    fn copy(&self, _: VirtAddr, _: VirtAddr, _: u64) -> fmt::Result {
        Err(fmt::Error)
    }

    fn read(&self, _: VirtAddr, _: &mut [u8]) -> fmt::Result {
        Err(fmt::Error)
    }

    fn write(&self, _: VirtAddr, _: &[u8]) -> fmt::Result {
        Err(fmt::Error)
    }
}

/// All that serves.
pub(crate) struct Serving<'i, 'v, F: Format> {
    pub(crate) vmalloc: &'i Region<'v, F>,
    pub(crate) io: Ioremap<'i, 'v, 'static, F, &'v dyn TableMemory>,
    pub(crate) modules: Option<Region<'v, F>>,
    pub(crate) windows: Option<ModuleWindows>,
    pub(crate) areas: usize,
    /// Whether processes have copies of the entries that the boot has made for good in the root. (arm's have copies of what was there when they were
    /// made: nobody may use the area in an address space of a process.)
    pub(crate) copies: bool,
}

// SAFETY: what of a region could not be shared is the memory of its tables behind the `dyn`, and that is the image's direct map, which all processors
// share for their tables in any case (`SpaceSetup::tables`).
unsafe impl<F: Format> Sync for Serving<'_, '_, F> {}

impl<'v, F: Format> Serving<'_, 'v, F> {
    /// The region of an address.
    fn of(&self, at: VirtAddr) -> &Region<'v, F> {
        self.modules.as_ref().filter(|modules| modules.range().contains(at)).unwrap_or(self.vmalloc)
    }
}

impl<F: Format> KernelSpace for Serving<'_, '_, F> {
    fn range(&self) -> VirtRange {
        self.vmalloc.range()
    }

    fn section(&self) -> usize {
        self.areas
    }

    fn section_bytes(&self) -> u64 {
        VmSection::bytes(self.areas)
    }

    fn add_section(&self, memory: &mut Carve<'static>) -> bool {
        VmSection::carve(memory, self.areas).is_some_and(|section| self.vmalloc.add_section(section))
    }

    fn holds(&self, range: VirtRange) -> bool {
        let area = self.vmalloc.find_vm_area(range.start);
        area.filter(|area| area.flags.contains(VmFlags::ALLOC))
            .is_some_and(|area| area.range().contains_range(&range))
    }

    fn vmalloc(&self, on: &mut On<'_, '_>, request: &VmRequest) -> Result<VirtAddr, VmallocError> {
        if !request.gfp.contains(Gfp::ZERO) || request.attr.is_some() {
            return self.vmalloc.vmalloc_request(on, request);
        }
        // The page allocator reaches no high memory to zero it; here all of the area is seen.
        let at = self.vmalloc.vmalloc_request(on, &VmRequest { gfp: request.gfp - Gfp::ZERO, ..*request })?;
        let bytes = request.size.next_multiple_of(F::SHAPE.page_bytes()) as usize;
        // SAFETY: the area was just mapped, as data that may be written, in so many bytes; nobody else knows it.
        unsafe { with_exposed_provenance_mut::<u8>(at.get() as usize).write_bytes(0, bytes) };
        Ok(at)
    }

    fn vfree(&self, on: &mut On<'_, '_>, at: VirtAddr) -> Result<(), VfreeError> {
        self.vmalloc.vfree(on, at)
    }

    fn vm_map_ram(&self, on: &mut On<'_, '_>, pages: &[Pfn]) -> Result<VirtAddr, VmallocError> {
        self.vmalloc.vm_map_ram(on, pages)
    }

    fn vm_unmap_ram(&self, on: &mut On<'_, '_>, at: VirtAddr, pages: u64) -> Result<(), VfreeError> {
        self.vmalloc.vm_unmap_ram(on, at, pages)
    }

    fn get_vm_area(
        &self,
        on: &mut On<'_, '_>,
        size: u64,
        within: VirtRange,
    ) -> Result<VirtAddr, VmallocError> {
        let (region, page) = (self.of(within.start), F::SHAPE.page_bytes());
        let area = region.get_vm_area(on, size, page, Some(within), VmFlags::MAP)?;
        Ok(area.range().start)
    }

    fn remove_vm_area(&self, on: &mut On<'_, '_>, at: VirtAddr) -> Result<(), VfreeError> {
        self.of(at).remove(on, at, VmFlags::empty()).map(drop)
    }

    fn pcpu_get_vm_areas(
        &self,
        on: &mut On<'_, '_>,
        parts: &[PcpuPart],
        align: u64,
    ) -> Result<VirtAddr, VmallocError> {
        self.vmalloc.pcpu_get_vm_areas(on, parts, align)
    }

    fn pcpu_free_vm_areas(
        &self,
        on: &mut On<'_, '_>,
        base: VirtAddr,
        parts: &[PcpuPart],
    ) -> Result<(), VfreeError> {
        self.vmalloc.pcpu_free_vm_areas(on, base, parts)
    }

    fn ioremap(&self, on: &mut On<'_, '_>, phys: PhysAddr, size: u64) -> Result<VirtAddr, IoremapError> {
        self.io.ioremap(on, phys, size)
    }

    fn iounmap(&self, on: &mut On<'_, '_>, at: VirtAddr) -> Result<(), VfreeError> {
        self.io.iounmap(on, at)
    }

    fn purge(&self, on: &mut On<'_, '_>) {
        self.vmalloc.purge_vmap_area_lazy(on);
        if let Some(modules) = &self.modules {
            modules.purge_vmap_area_lazy(on);
        }
    }

    fn give_all_back(&self, on: &mut On<'_, '_>) {
        self.vmalloc.give_all_back(on);
        if let Some(modules) = &self.modules {
            // The top entry that leads there leads to the image as well, or no process has it.
            modules.give_all_back(on);
            modules.release_tables(on);
        }
        let (range, top) = (self.vmalloc.range(), F::TREE.top());
        let entry = F::TREE.level(top).bytes();
        if !self.copies || entry >= range.len {
            self.vmalloc.release_tables(on);
            return;
        }
        // Tables right below the root stay: of one's addresses the last page is left out.
        let page = F::SHAPE.page_bytes();
        let (mut at, last) = (range.start.get(), range.last().get());
        while at < last {
            let end = (at | (entry - 1)).min(last);
            let len = (end - at + 1).saturating_sub(page);
            self.vmalloc.release_tables_in(on, VirtRange::from_len(VirtAddr::new(at), len));
            let Some(next) = end.checked_add(1) else { return };
            at = next;
        }
    }

    fn area(&self) -> &dyn RegionView {
        self.vmalloc
    }

    fn modules(&self) -> Option<&dyn RegionView> {
        self.modules.as_ref().map(|modules| modules as &dyn RegionView)
    }

    fn with_modules(
        &self,
        on: &mut On<'_, '_>,
        parts: ModuleParts<'_>,
        work: &mut dyn FnMut(&mut dyn ModuleHost),
    ) {
        let Some(windows) = self.windows else { return };
        match &self.modules {
            Some(own) if own.range().start < self.vmalloc.range().start => {
                parts.host(&[own, self.vmalloc], windows, on, work);
            }
            Some(own) => parts.host(&[self.vmalloc, own], windows, on, work),
            None => parts.host(&[self.vmalloc], windows, on, work),
        }
    }

    fn alloc_stack(
        &self,
        on: &mut On<'_, '_>,
        shape: StackShape,
    ) -> Result<KernelStack, StackError<fmt::Error>> {
        let stack = Stacks::new(self.vmalloc, shape, &[]).alloc(on, &NoCache)?;
        let (at, bytes) = (stack.range().start.get() as usize, shape.bytes as usize);
        // SAFETY: as for an area of `vmalloc`'s: what of it is high memory is zeroed here only.
        unsafe { with_exposed_provenance_mut::<u8>(at).write_bytes(0, bytes) };
        Ok(stack)
    }

    fn free_stack(
        &self,
        on: &mut On<'_, '_>,
        shape: StackShape,
        stack: KernelStack,
    ) -> Result<(), VfreeError> {
        Stacks::new(self.vmalloc, shape, &[]).free(on, stack)
    }

    #[cfg(feature = "bench")]
    fn vmalloc_pairs(&self, on: &mut On<'_, '_>, bytes: u64, pairs: u64) -> u64 {
        for done in 0..pairs {
            let Ok(at) = self.vmalloc.vmalloc(on, black_box(bytes)) else { return done };
            if self.vmalloc.vfree(on, black_box(at)).is_err() {
                return done;
            }
        }
        pairs
    }

    #[cfg(feature = "bench")]
    fn anew_pairs(&self, on: &mut On<'_, '_>, bytes: u64, pairs: u64) -> u64 {
        for done in 0..pairs {
            let request = VmRequest::new(black_box(bytes)).with_gfp(Gfp::GFP_KERNEL | Gfp::NOWARN);
            let Ok(at) = self.vmalloc.vmalloc_request(on, &request) else { return done };
            if self.vmalloc.vfree(on, black_box(at)).is_err() {
                return done;
            }
        }
        pairs
    }

    #[cfg(feature = "bench")]
    fn ram_pairs(&self, on: &mut On<'_, '_>, pages: &[Pfn], pairs: u64) -> u64 {
        for done in 0..pairs {
            let Ok(at) = self.vmalloc.vm_map_ram(on, black_box(pages)) else { return done };
            if self.vmalloc.vm_unmap_ram(on, black_box(at), pages.len() as u64).is_err() {
                return done;
            }
        }
        pairs
    }

    #[cfg(feature = "bench")]
    fn io_pairs(&self, on: &mut On<'_, '_>, phys: PhysAddr, pairs: u64) -> u64 {
        for done in 0..pairs {
            let Ok(at) = self.io.ioremap(on, black_box(phys), 4096) else { return done };
            if self.io.iounmap(on, black_box(at)).is_err() {
                return done;
            }
        }
        pairs
    }
}
