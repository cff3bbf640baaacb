//! What an image asks of its kernel's virtual space, whichever format the tables have.

use crate::region::{ModuleParts, RegionView};
use crate::vmalloc::On;
use core::fmt;
use pagewright::vmalloc::ioremap::IoremapError;
use pagewright::vmalloc::{PcpuPart, VfreeError, VmRequest, VmallocError};
use pagewright_addr::{Pfn, PhysAddr, VirtAddr, VirtRange};
use pagewright_kspace::module::ModuleHost;
use pagewright_kspace::stacks::{KernelStack, StackError, StackShape};
use pagewright_platform::Carve;

/// The kernel's vmalloc area in service, for all processors.
pub trait KernelSpace: Sync {
    /// The area.
    fn range(&self) -> VirtRange;

    /// Areas that there was room for at first, and that there is for with each section more.
    fn section(&self) -> usize;

    /// Bytes of memory for a section.
    fn section_bytes(&self) -> u64;

    /// Adds a section in such memory; `false` if it is smaller, or there are too many.
    fn add_section(&self, memory: &mut Carve<'static>) -> bool;

    /// Whether an area of vmalloc's that is in use has all of `range` mapped, and does not lose it before its owner frees it.
    fn holds(&self, range: VirtRange) -> bool;

    /// `Vmalloc::vmalloc_request`; what is to be zeroed is zeroed where it is mapped, high memory too.
    ///
    /// # Errors
    /// [`VmallocError`].
    fn vmalloc(&self, on: &mut On<'_, '_>, request: &VmRequest) -> Result<VirtAddr, VmallocError>;

    /// `Vmalloc::vfree`.
    ///
    /// # Errors
    /// [`VfreeError`].
    fn vfree(&self, on: &mut On<'_, '_>, at: VirtAddr) -> Result<(), VfreeError>;

    /// `Vmalloc::vm_map_ram`.
    ///
    /// # Errors
    /// [`VmallocError`].
    fn vm_map_ram(&self, on: &mut On<'_, '_>, pages: &[Pfn]) -> Result<VirtAddr, VmallocError>;

    /// `Vmalloc::vm_unmap_ram`.
    ///
    /// # Errors
    /// [`VfreeError`].
    fn vm_unmap_ram(&self, on: &mut On<'_, '_>, at: VirtAddr, pages: u64) -> Result<(), VfreeError>;

    /// `Vmalloc::get_vm_area`, of a region that has some of `within`.
    ///
    /// # Errors
    /// [`VmallocError`].
    fn get_vm_area(
        &self,
        on: &mut On<'_, '_>,
        size: u64,
        within: VirtRange,
    ) -> Result<VirtAddr, VmallocError>;

    /// `Vmalloc::remove`, of any kind, in any region.
    ///
    /// # Errors
    /// [`VfreeError`].
    fn remove_vm_area(&self, on: &mut On<'_, '_>, at: VirtAddr) -> Result<(), VfreeError>;

    /// `Vmalloc::pcpu_get_vm_areas`.
    ///
    /// # Errors
    /// [`VmallocError`].
    fn pcpu_get_vm_areas(
        &self,
        on: &mut On<'_, '_>,
        parts: &[PcpuPart],
        align: u64,
    ) -> Result<VirtAddr, VmallocError>;

    /// `Vmalloc::pcpu_free_vm_areas`.
    ///
    /// # Errors
    /// [`VfreeError`].
    fn pcpu_free_vm_areas(
        &self,
        on: &mut On<'_, '_>,
        base: VirtAddr,
        parts: &[PcpuPart],
    ) -> Result<(), VfreeError>;

    /// `Ioremap::ioremap`.
    ///
    /// # Errors
    /// [`IoremapError`].
    fn ioremap(&self, on: &mut On<'_, '_>, phys: PhysAddr, size: u64) -> Result<VirtAddr, IoremapError>;

    /// `Ioremap::iounmap`.
    ///
    /// # Errors
    /// [`VfreeError`].
    fn iounmap(&self, on: &mut On<'_, '_>, at: VirtAddr) -> Result<(), VfreeError>;

    /// `Vmalloc::purge_vmap_area_lazy`, in all regions.
    fn purge(&self, on: &mut On<'_, '_>);

    /// Nothing waits when this returns, neither pages nor addresses, in no region, and page tables that are in nobody's way are the page allocator's.
    fn give_all_back(&self, on: &mut On<'_, '_>);

    /// The area as one looks at it.
    fn area(&self) -> &dyn RegionView;

    /// The modules' region, where it is one of its own.
    fn modules(&self) -> Option<&dyn RegionView>;

    /// Does something with what loads modules where the kernel looks for their addresses; nothing where it has no place for them.
    fn with_modules(
        &self,
        on: &mut On<'_, '_>,
        parts: ModuleParts<'_>,
        work: &mut dyn FnMut(&mut dyn ModuleHost),
    );

    /// `Stacks::alloc`, of stacks that no processor keeps.
    ///
    /// # Errors
    /// [`StackError`].
    fn alloc_stack(
        &self,
        on: &mut On<'_, '_>,
        shape: StackShape,
    ) -> Result<KernelStack, StackError<fmt::Error>>;

    /// `Stacks::free`.
    ///
    /// # Errors
    /// [`VfreeError`].
    fn free_stack(
        &self,
        on: &mut On<'_, '_>,
        shape: StackShape,
        stack: KernelStack,
    ) -> Result<(), VfreeError>;

    /// Pairs of an allocation and a free of so many bytes: how many there were before one failed.
    #[cfg(feature = "bench")]
    fn vmalloc_pairs(&self, on: &mut On<'_, '_>, bytes: u64, pairs: u64) -> u64;

    /// The same of areas that do not keep their pages: those that are asked for with a flag.
    #[cfg(feature = "bench")]
    fn anew_pairs(&self, on: &mut On<'_, '_>, bytes: u64, pairs: u64) -> u64;

    /// Pairs of [`Self::vm_map_ram`] and its end.
    #[cfg(feature = "bench")]
    fn ram_pairs(&self, on: &mut On<'_, '_>, pages: &[Pfn], pairs: u64) -> u64;

    /// Pairs of [`Self::ioremap`] and its end, of 4 KiB.
    #[cfg(feature = "bench")]
    fn io_pairs(&self, on: &mut On<'_, '_>, phys: PhysAddr, pairs: u64) -> u64;
}
