//! vmalloc and the mappings of devices in the types of an image, behind one object: which format the tables have is known when it runs.

use crate::{Masking, Zeroing};
use core::fmt;
#[cfg(feature = "bench")]
use core::hint::black_box;
use core::ptr::with_exposed_provenance_mut;
use pagewright::Boot;
use pagewright::pgtable::KernelTables;
use pagewright::vmalloc::ioremap::{Ioremap, IoremapError, RamMap};
use pagewright::vmalloc::{
    Gaps, IoremapInitError, OnPages, PcpuPart, Seen, VfreeError, VmFlags, VmRequest, VmSection, VmSlot,
    Vmalloc, VmallocError, VmallocInitError, VmallocSetup, VmallocViolation,
};
use pagewright_addr::{NodeId, Pfn, PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_kspace::stacks::{KernelStack, StackError, StackShape, Stacks};
use pagewright_page::PageMap;
use pagewright_pagetable::format::WithFormat;
use pagewright_pagetable::{Format, TableMemory, Tables};
use pagewright_platform::{Carve, MappedMemory};
use pagewright_zone::Gfp;

/// vmalloc's context on a processor of an image.
pub type On<'c, 'z> = OnPages<'c, 'z, 'static, 'static, 'static, Masking, Zeroing>;
/// A region of kernel addresses of an image. It reaches its tables as everything else in an image does: code for another kind of memory would be as much again.
pub type Region<'v, F> = Vmalloc<'v, 'static, F, &'v dyn TableMemory>;

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

    /// [`Vmalloc::vmalloc_request`]; what is to be zeroed is zeroed where it is mapped, high memory too.
    ///
    /// # Errors
    /// [`VmallocError`].
    fn vmalloc(&self, on: &mut On<'_, '_>, request: &VmRequest) -> Result<VirtAddr, VmallocError>;

    /// [`Vmalloc::vfree`].
    ///
    /// # Errors
    /// [`VfreeError`].
    fn vfree(&self, on: &mut On<'_, '_>, at: VirtAddr) -> Result<(), VfreeError>;

    /// [`Vmalloc::vm_map_ram`].
    ///
    /// # Errors
    /// [`VmallocError`].
    fn vm_map_ram(&self, on: &mut On<'_, '_>, pages: &[Pfn]) -> Result<VirtAddr, VmallocError>;

    /// [`Vmalloc::vm_unmap_ram`].
    ///
    /// # Errors
    /// [`VfreeError`].
    fn vm_unmap_ram(&self, on: &mut On<'_, '_>, at: VirtAddr, pages: u64) -> Result<(), VfreeError>;

    /// [`Vmalloc::get_vm_area`].
    ///
    /// # Errors
    /// [`VmallocError`].
    fn get_vm_area(&self, on: &mut On<'_, '_>, size: u64, align: u64) -> Result<VirtAddr, VmallocError>;

    /// [`Vmalloc::remove`], of any kind.
    ///
    /// # Errors
    /// [`VfreeError`].
    fn remove_vm_area(&self, on: &mut On<'_, '_>, at: VirtAddr) -> Result<(), VfreeError>;

    /// [`Vmalloc::pcpu_get_vm_areas`].
    ///
    /// # Errors
    /// [`VmallocError`].
    fn pcpu_get_vm_areas(
        &self,
        on: &mut On<'_, '_>,
        parts: &[PcpuPart],
        align: u64,
    ) -> Result<VirtAddr, VmallocError>;

    /// [`Vmalloc::pcpu_free_vm_areas`].
    ///
    /// # Errors
    /// [`VfreeError`].
    fn pcpu_free_vm_areas(
        &self,
        on: &mut On<'_, '_>,
        base: VirtAddr,
        parts: &[PcpuPart],
    ) -> Result<(), VfreeError>;

    /// [`Ioremap::ioremap`].
    ///
    /// # Errors
    /// [`IoremapError`].
    fn ioremap(&self, on: &mut On<'_, '_>, phys: PhysAddr, size: u64) -> Result<VirtAddr, IoremapError>;

    /// [`Ioremap::iounmap`].
    ///
    /// # Errors
    /// [`VfreeError`].
    fn iounmap(&self, on: &mut On<'_, '_>, at: VirtAddr) -> Result<(), VfreeError>;

    /// [`Vmalloc::purge_vmap_area_lazy`].
    fn purge(&self, on: &mut On<'_, '_>);

    /// Nothing waits when this returns, neither pages nor addresses, and page tables that are in nobody's way are the page allocator's.
    fn give_all_back(&self, on: &mut On<'_, '_>);

    /// [`Vmalloc::nr_pages`].
    fn nr_pages(&self) -> u64;

    /// [`Vmalloc::next_area`].
    fn next_area(&self, from: VirtAddr) -> Option<Seen>;

    /// [`Vmalloc::pages_by_node`].
    fn pages_by_node(&self, on: &On<'_, '_>, at: VirtAddr, see: &mut dyn FnMut(NodeId, u64));

    /// [`Vmalloc::gaps`].
    fn gaps(&self) -> Gaps;

    /// What is wrong with an access to that byte ([`Vmalloc::try_check_access`]), in words; not told if nothing is, or somebody is about to change it.
    fn explain(&self, at: VirtAddr, tell: &mut dyn FnMut(&dyn fmt::Display));

    /// [`Stacks::alloc`], of stacks that no processor keeps.
    ///
    /// # Errors
    /// [`StackError`].
    fn alloc_stack(
        &self,
        on: &mut On<'_, '_>,
        shape: StackShape,
    ) -> Result<KernelStack, StackError<fmt::Error>>;

    /// [`Stacks::free`].
    ///
    /// # Errors
    /// [`VfreeError`].
    fn free_stack(
        &self,
        on: &mut On<'_, '_>,
        shape: StackShape,
        stack: KernelStack,
    ) -> Result<(), VfreeError>;

    /// [`Vmalloc::validate`].
    ///
    /// # Errors
    /// [`VmallocViolation`].
    fn validate(&self) -> Result<(), VmallocViolation>;

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

struct Both<'i, 'v, F: Format> {
    vmalloc: &'i Region<'v, F>,
    io: Ioremap<'i, 'v, 'static, F, &'v dyn TableMemory>,
    areas: usize,
    /// Whether processes have copies of the entries that the boot has made for good in the root. (arm's have copies of what was there when they were
    /// made: nobody may use the area in an address space of a process.)
    copies: bool,
}

// SAFETY: what of a region could not be shared is the memory of its tables behind the `dyn`, and that is the image's direct map, which all processors
// share for their tables in any case (`SpaceSetup::tables`).
unsafe impl<F: Format> Sync for Both<'_, '_, F> {}

impl<F: Format> KernelSpace for Both<'_, '_, F> {
    fn range(&self) -> VirtRange {
        self.vmalloc.range()
    }

    fn section(&self) -> usize {
        self.areas
    }

    fn section_bytes(&self) -> u64 {
        Region::<'_, F>::bytes(self.areas, 0)
    }

    fn add_section(&self, memory: &mut Carve<'static>) -> bool {
        let nodes = memory.slice(self.areas, Default::default);
        let slots = memory.slice(self.areas, VmSlot::new);
        nodes.zip(slots).is_some_and(|(nodes, slots)| self.vmalloc.add_section(VmSection { nodes, slots }))
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

    fn get_vm_area(&self, on: &mut On<'_, '_>, size: u64, align: u64) -> Result<VirtAddr, VmallocError> {
        self.vmalloc.get_vm_area(on, size, align, None, VmFlags::MAP).map(|area| area.range().start)
    }

    fn remove_vm_area(&self, on: &mut On<'_, '_>, at: VirtAddr) -> Result<(), VfreeError> {
        self.vmalloc.remove(on, at, VmFlags::empty()).map(drop)
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
    }

    fn give_all_back(&self, on: &mut On<'_, '_>) {
        self.vmalloc.give_all_back(on);
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

    fn nr_pages(&self) -> u64 {
        self.vmalloc.nr_pages()
    }

    fn next_area(&self, from: VirtAddr) -> Option<Seen> {
        self.vmalloc.next_area(from)
    }

    fn pages_by_node(&self, on: &On<'_, '_>, at: VirtAddr, see: &mut dyn FnMut(NodeId, u64)) {
        self.vmalloc.pages_by_node(on, at, see);
    }

    fn gaps(&self) -> Gaps {
        self.vmalloc.gaps()
    }

    fn explain(&self, at: VirtAddr, tell: &mut dyn FnMut(&dyn fmt::Display)) {
        if let Some(Err(why)) = self.vmalloc.try_check_access(at, 1) {
            tell(&why);
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

    fn validate(&self) -> Result<(), VmallocViolation> {
        self.vmalloc.validate()
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

/// Why an image has no vmalloc area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpaceError {
    /// It does not come into service.
    Vmalloc(VmallocInitError),
    /// Addresses that are in use cannot be kept.
    Own(VmallocError),
    /// Devices cannot be mapped.
    Ioremap(IoremapInitError),
    /// There is no memory for its bookkeeping.
    Memory,
    /// It was asked for on a processor without a number.
    Here,
}

impl fmt::Display for SpaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vmalloc(e) => e.fmt(f),
            Self::Own(e) => e.fmt(f),
            Self::Ioremap(e) => e.fmt(f),
            Self::Memory => f.write_str("there is no memory for its areas"),
            Self::Here => f.write_str("this processor has no number"),
        }
    }
}

impl core::error::Error for SpaceError {}

/// Does something with the vmalloc area.
pub type WithSpace<'w> = dyn FnMut(&dyn KernelSpace) + 'w;
/// Does something as this processor; it is not done if the processor has no number.
pub type Here<'h> = dyn Fn(&mut dyn FnMut(&mut On<'_, '_>)) + 'h;

/// What an image's vmalloc area is put in service with.
pub struct SpaceSetup<'s, 'b> {
    /// The boot.
    pub boot: &'s Boot<'b>,
    /// The kernel's page tables, in memory that all processors may reach at once: a direct map.
    pub tables: KernelTables<'s>,
    /// The map of the pages that areas get.
    pub map: PageMap<'static>,
    /// Which physical addresses are RAM.
    pub ram_map: &'s (dyn RamMap + Sync),
    /// Addresses of the area that the image uses itself.
    pub own: Option<VirtRange>,
    /// Bytes of areas' bookkeeping, for good.
    pub memory: &'s dyn Fn(u64) -> Option<Carve<'static>>,
    /// How many areas there is room for, a power of two.
    pub areas: usize,
    /// How many processors ask.
    pub cpus: usize,
    /// Who asks now.
    pub here: &'s Here<'s>,
}

impl fmt::Debug for SpaceSetup<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpaceSetup")
            .field("areas", &self.areas)
            .field("cpus", &self.cpus)
            .finish_non_exhaustive()
    }
}

struct Start<'s, 'b, 'w> {
    setup: &'s SpaceSetup<'s, 'b>,
    work: &'s mut WithSpace<'w>,
}

impl WithFormat for Start<'_, '_, '_> {
    type Out = Result<(), SpaceError>;

    fn run<F: Format>(self, format: F) -> Self::Out {
        self.setup.serve_with(format, self.work)
    }
}

impl SpaceSetup<'_, '_> {
    /// Puts the area in service over tables of whichever format the machine has, and does something with it; it is over when that is.
    ///
    /// # Errors
    /// [`SpaceError`]; nothing is done then.
    pub fn serve(&self, work: &mut WithSpace<'_>) -> Result<(), SpaceError> {
        self.tables.format.with(Start { setup: self, work })
    }

    /// The same over tables of one format, for who has only one.
    ///
    /// # Errors
    /// As for [`Self::serve`].
    // A frame of its own for each format.
    #[inline(never)]
    pub fn serve_with<F: Format>(&self, format: F, work: &mut WithSpace<'_>) -> Result<(), SpaceError> {
        let tables = Tables::new(format, self.tables.memory, self.tables.root);
        let bytes = Region::<'_, F>::bytes(self.areas, self.cpus);
        let mut memory = (self.memory)(bytes).ok_or(SpaceError::Memory)?;
        let setup = VmallocSetup { tables: &tables, map: self.map, areas: self.areas, cpus: self.cpus };
        let mut vmalloc = None;
        (self.here)(&mut |on| vmalloc = Some(self.boot.vmalloc_init(on, &setup, &mut memory)));
        let vmalloc = vmalloc.ok_or(SpaceError::Here)?.map_err(SpaceError::Vmalloc)?;
        let mut statics = [None; 16];
        let mut io = Err(SpaceError::Here);
        let mut room = Some(&mut statics[..]);
        (self.here)(&mut |on| {
            let own = self.own.map(|own| vmalloc.add_vm_area(on, own, PhysAddr::ZERO, VmFlags::MAP));
            io = match (own, room.take()) {
                (Some(Err(e)), _) => Err(SpaceError::Own(e)),
                (_, Some(room)) => {
                    self.boot.ioremap_init(on, &vmalloc, self.ram_map, room).map_err(SpaceError::Ioremap)
                }
                (_, None) => return,
            };
        });
        let copies = self.boot.machine.arch == Arch::X86_64;
        work(&Both { vmalloc: &vmalloc, io: io?, areas: self.areas, copies });
        Ok(())
    }
}
