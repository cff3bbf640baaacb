//! Devices' registers and memory in the kernel's address space.
//!
//! [`Ioremap`] maps physical addresses into areas of vmalloc space: as a device's, with writes gathered, cached, or not posted, as far as the architecture
//! has it ([`IoKind`]). The kernel's RAM is refused, since it is mapped already and must not be mapped in two ways at once (x86 refuses whole pages
//! that are not reserved, as there is much else in its first megabyte); only where nothing else is asked for, and as the linear map has it, its address there
//! is the answer. What a board mapped from the start ([`Ioremap::iotable_init`]) is found again instead of
//! mapped once more. [`PciIo`] maps I/O ports into the window that is kept for them, and [`Ioremap::take_over`] moves what early boot left mapped.

mod attr;
mod error;
mod handover;
mod pci;
mod statics;

pub use attr::IoKind;
pub use error::IoremapError;
pub use handover::HandOverError;
pub use pci::{PciIo, PciIoError};
pub use statics::{MapDesc, StaticMaps};

use crate::highmem::Linear;
use crate::resource::{ResourceFlags, Resources};
use crate::vmalloc::{PhysMapping, VfreeError, VmContext, VmFlags, Vmalloc};
use core::fmt;
use core::ops::ControlFlow;
use core::sync::atomic::{AtomicBool, Ordering::Acquire};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr};
use pagewright_firmware::Arch;
use pagewright_pagetable::{Format, Level, TableMemory};
use pagewright_platform::Mutex;

/// How much of some physical addresses is the kernel's RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RamShare {
    /// None.
    None,
    /// Some bytes are; others are a device's or nobody's.
    Part,
    /// Every byte.
    Whole,
}

/// Which physical addresses are the kernel's RAM.
pub trait RamMap {
    /// The first run of RAM in `range`, as far as it lies in it.
    fn next_ram(&self, range: PhysRange) -> Option<PhysRange>;

    /// How much of `range` is RAM.
    fn ram(&self, range: PhysRange) -> RamShare {
        let mut bytes = 0;
        each_run(self, range, &mut |run| {
            bytes += run.len();
            ControlFlow::Continue(())
        });
        match bytes {
            0 => RamShare::None,
            bytes if bytes == range.len() => RamShare::Whole,
            _ => RamShare::Part,
        }
    }
}

/// Shows each run of RAM in `range` until `see` has seen enough.
fn each_run(
    ram: &(impl RamMap + ?Sized),
    range: PhysRange,
    see: &mut dyn FnMut(PhysRange) -> ControlFlow<()>,
) {
    let mut rest = range;
    while let Some(run) = ram.next_ram(rest).map(|run| run.intersection(&rest)).filter(|run| !run.is_empty())
    {
        if see(run).is_break() {
            return;
        }
        rest = PhysRange::new(run.end, range.end);
    }
}

impl RamMap for Mutex<Resources<'_, '_>> {
    fn next_ram(&self, range: PhysRange) -> Option<PhysRange> {
        self.lock().next_of(range, ResourceFlags::SYSTEM_RAM)
    }
}

/// What a kernel needs to know to map devices.
#[derive(Clone, Copy, Debug)]
pub struct IoFacts {
    /// Its architecture.
    pub arch: Arch,
    /// The last physical address that it can map.
    pub last_phys: PhysAddr,
    /// What it maps permanently.
    pub linear: Linear,
}

/// The mappings of devices of one kernel.
pub struct Ioremap<'i, 'v, 'a, F: Format, M: TableMemory> {
    vmalloc: &'i Vmalloc<'v, 'a, F, M>,
    facts: IoFacts,
    ram: &'i (dyn RamMap + Sync),
    statics: Mutex<StaticMaps<'i>>,
    /// Whether there are any: who looks for one takes no lock where there are none, as on most machines.
    any_static: AtomicBool,
}

impl<F: Format, M: TableMemory> fmt::Debug for Ioremap<'_, '_, '_, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ioremap").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl<'i, 'v, 'a, F: Format, M: TableMemory> Ioremap<'i, 'v, 'a, F, M> {
    /// In this region, with room for as many static maps as `statics` has.
    pub fn new(
        vmalloc: &'i Vmalloc<'v, 'a, F, M>,
        facts: IoFacts,
        ram: &'i (dyn RamMap + Sync),
        statics: StaticMaps<'i>,
    ) -> Self {
        Self { vmalloc, facts, ram, statics: Mutex::new(statics), any_static: AtomicBool::new(false) }
    }

    const PAGE: u64 = F::SHAPE.page_bytes();

    /// Maps `size` bytes at `phys`, which need not be aligned, as registers of a device, and returns the address of the first (`ioremap`).
    ///
    /// # Errors
    /// [`IoremapError`]; nothing was changed then.
    #[track_caller]
    pub fn ioremap<C: VmContext<'a>>(
        &self,
        on: &mut C,
        phys: PhysAddr,
        size: u64,
    ) -> Result<VirtAddr, IoremapError> {
        self.ioremap_kind(on, phys, size, IoKind::Device)
    }

    /// The same with writes gathered (`ioremap_wc`): frame buffers.
    ///
    /// # Errors
    /// As for [`Self::ioremap`].
    #[track_caller]
    pub fn ioremap_wc<C: VmContext<'a>>(
        &self,
        on: &mut C,
        phys: PhysAddr,
        size: u64,
    ) -> Result<VirtAddr, IoremapError> {
        self.ioremap_kind(on, phys, size, IoKind::WriteCombine)
    }

    /// The same, cached (`ioremap_cache`). Of pages that are RAM from the first to the last, the linear map's address is the answer; pages of which only some
    /// bytes are RAM are refused.
    ///
    /// # Errors
    /// As for [`Self::ioremap`].
    #[track_caller]
    pub fn ioremap_cache<C: VmContext<'a>>(
        &self,
        on: &mut C,
        phys: PhysAddr,
        size: u64,
    ) -> Result<VirtAddr, IoremapError> {
        self.ioremap_kind(on, phys, size, IoKind::Cached)
    }

    /// The same with writes that are acknowledged by the device only (`ioremap_np`).
    ///
    /// # Errors
    /// As for [`Self::ioremap`]; [`IoremapError::Kind`] where the architecture has nothing like it.
    #[track_caller]
    pub fn ioremap_np<C: VmContext<'a>>(
        &self,
        on: &mut C,
        phys: PhysAddr,
        size: u64,
    ) -> Result<VirtAddr, IoremapError> {
        self.ioremap_kind(on, phys, size, IoKind::NonPosted)
    }

    /// The same in any way.
    ///
    /// # Errors
    /// As for [`Self::ioremap`].
    #[track_caller]
    pub fn ioremap_kind<C: VmContext<'a>>(
        &self,
        on: &mut C,
        phys: PhysAddr,
        size: u64,
        kind: IoKind,
    ) -> Result<VirtAddr, IoremapError> {
        let too_far = IoremapError::Size { phys, size };
        let last =
            phys.checked_add(size.wrapping_sub(1)).filter(|last| size > 0 && *last <= self.facts.last_phys);
        let last = last.ok_or(too_far)?;
        let memory = kind.memory(self.facts.arch).ok_or(IoremapError::Kind(kind))?;
        let start = phys.align_down(Self::PAGE);
        let end = last.get().checked_add(1).and_then(|end| end.checked_next_multiple_of(Self::PAGE));
        let end = PhysAddr::new(end.ok_or(too_far)?);
        let offset = phys.get() - start.get();
        if self.any_static.load(Acquire)
            && let Some(at) = self.statics.lock().find(phys, size, kind)
        {
            return Ok(at);
        }
        let pages = PhysRange::new(start, end);
        // Mostly none of it is RAM, which takes one question.
        if self.ram.next_ram(pages).is_some()
            && let Some(at) = self.in_ram(pages, last, kind)?
        {
            return Ok(VirtAddr::new(at.get() + offset));
        }
        let size = end.get() - start.get();
        let mapping = PhysMapping {
            align: self.align(size),
            max_leaf: self.max_leaf(),
            ..PhysMapping::io(start, size, self.vmalloc.config().attr.with_memory(memory))
        };
        let at = self.vmalloc.map_phys(on, &mapping).map_err(IoremapError::Area)?;
        Ok(VirtAddr::new(at.get() + offset))
    }

    /// What becomes of pages, asked for up to the byte `last`, of which some may be RAM: the linear map's address of the first, or `None` if they are to be mapped
    /// all the same.
    ///
    /// # Errors
    /// [`IoremapError::Ram`].
    #[cold]
    #[inline(never)]
    fn in_ram(
        &self,
        pages: PhysRange,
        last: PhysAddr,
        kind: IoKind,
    ) -> Result<Option<VirtAddr>, IoremapError> {
        let ram = self.ram.ram(pages);
        if ram == RamShare::None {
            return Ok(None);
        }
        // The linear map spans holes between RAM, and maps nothing there.
        let both = self.facts.linear.address(pages.start).zip(self.facts.linear.address(last));
        match both {
            Some((at, _)) if kind == IoKind::Cached && ram == RamShare::Whole => Ok(Some(at)),
            _ if self.is_in_the_way(pages) => Err(IoremapError::Ram(pages)),
            _ => Ok(None),
        }
    }

    /// Whether RAM in some pages forbids that they are mapped: any does, but x86 asks only for pages that are RAM from the first byte to the last
    /// and not reserved (firmware's tables often share a page with RAM's end).
    fn is_in_the_way(&self, pages: PhysRange) -> bool {
        if !matches!(self.facts.arch, Arch::X86_64 | Arch::I386) {
            return true;
        }
        let mut found = false;
        each_run(self.ram, pages, &mut |run| {
            let whole = run.start.get().next_multiple_of(Self::PAGE)..run.end.align_down(Self::PAGE).get();
            let mut pages = whole.step_by(Self::PAGE as usize).map(PhysAddr::new);
            found = pages.any(|page| !self.vmalloc.is_reserved(page));
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        found
    }

    /// Areas of devices are aligned to their size, so that blocks fit, up to IOREMAP_MAX_ORDER.
    fn align(&self, size: u64) -> u64 {
        if size <= Self::PAGE {
            return Self::PAGE;
        }
        let most: u64 = match self.facts.arch {
            Arch::Arm => 1 << 24,
            Arch::I386 => F::SHAPE.level(Level::PMD).bytes(),
            Arch::Arm64 | Arch::X86_64 => 1 << 30,
        };
        size.checked_next_power_of_two().map_or(most, |align| align.clamp(Self::PAGE, most))
    }

    /// Blocks are used where kernels do (`ioremap_huge_init`); on arm several processors would have to be told of a section.
    const fn max_leaf(&self) -> Level {
        match self.facts.arch {
            Arch::Arm => Level::PTE,
            Arch::I386 => Level::PMD,
            Arch::Arm64 | Arch::X86_64 => Level::PUD,
        }
    }

    /// Takes a mapping away (`iounmap`). Low memory stays, and so does what has fixed addresses: static maps, the window of PCI's ports, early areas that the
    /// region adopted.
    ///
    /// # Errors
    /// As for [`Vmalloc::vunmap`].
    pub fn iounmap<C: VmContext<'a>>(&self, on: &mut C, at: VirtAddr) -> Result<(), VfreeError> {
        if self.facts.linear.phys(at).is_some()
            || self.any_static.load(Acquire) && self.statics.lock().at(at).is_some()
        {
            return Ok(());
        }
        let start = at.align_down(Self::PAGE);
        // Areas at fixed addresses are those without a guard page; what ioremap maps has one.
        let fixed = VmFlags::IOREMAP | VmFlags::NO_GUARD;
        match self.vmalloc.remove_unless(on, start, VmFlags::IOREMAP, fixed) {
            Err(VfreeError::Nonexistent(_))
                if self.vmalloc.find_vm_area(start).is_some_and(|area| area.flags.contains(fixed)) =>
            {
                Ok(())
            }
            other => other,
        }
    }
}
