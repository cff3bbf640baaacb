//! vmalloc and ioremap of the machine that boots: what is in use before them, and how they come into service (the family itself is
//! re-exported here).
//!
//! [`Boot::vmalloc_init`] puts the kernel's vmalloc area in service over the page tables that the boot built, in memory that the caller
//! brings ([`Vmalloc::bytes`](pagewright_kspace::vmalloc::Vmalloc::bytes) says how much): where the layout has it, with this
//! kernel's attributes, and with the early areas taken over, so that nobody is given the image's addresses or a board's registers.
//! [`Boot::ioremap_init`] follows with the mappings of devices; it finds a board's static maps again. [`VmallocFor`] is what kvmalloc
//! ([`Kv`](pagewright_slab::kv::Kv)) falls back on.

pub mod cases;
mod irq_stacks;
mod kv;
mod service;

pub use irq_stacks::IrqStack;
pub use kv::{Refused, VirtMemory, VmallocFor};
pub use pagewright_kspace::ioremap;
pub use pagewright_kspace::vmalloc::*;
pub use service::{IoremapInitError, VmallocInitError, VmallocSetup};

use crate::boot::Boot;
use crate::built;
use crate::error::BootError;
use crate::pgtable::{arm, arm64, x86};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_firmware::cmdline::names_equal;
use pagewright_kspace::dcache::colour::shmlba;
use pagewright_kspace::ioremap::{IoKind, MapDesc};
use pagewright_kspace::layout::Ram;
use pagewright_kspace::{Facts, Kind, Layout, LayoutError, Version};
use pagewright_pagetable::Attr;
use pagewright_zone::Gfp;

impl Boot<'_> {
    /// The virtual layout of this kernel as it would be in that version of Linux. It is a value of several KiB.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn virtual_layout(&self, version: Version) -> Result<Layout, LayoutError> {
        let x86 = self.machine.config.is_x86();
        let ram = Ram {
            map_start: self.linear_start(),
            start: if x86 { PhysAddr::ZERO } else { self.mb.start_of_dram() },
            high_memory: self.high_memory,
        };
        let facts = Facts::of(self.machine, &self.params).at_version(version).with_ram(ram);
        Layout::of(&Facts { zero_page: self.zero_page, ..facts })
    }

    /// How kernel data is mapped (`PAGE_KERNEL`); `None` where tables are only counted.
    pub fn page_kernel(&self) -> Option<Attr> {
        let format = self.pgtable?.format;
        Some(match self.machine.arch {
            Arch::X86_64 | Arch::I386 if built::X86 => x86::page_kernel(self),
            Arch::Arm64 if built::ARM64 => arm64::prot(self, arm64::PAGE_KERNEL),
            Arch::Arm if built::ARM => arm::MapType::MemoryRw.attr(&format, self.machine.config.smp),
            _ => return None,
        })
    }

    /// Whether this version of Linux keeps flushed areas for the next of their size (`vmap_node`'s pools: 6.9, 64-bit kernels, more than one processor).
    pub fn has_vmap_pools(&self) -> bool {
        self.version.since(6, 9) && self.machine.config.is_64bit() && self.possible_cpus.count() > 1
    }

    /// How this machine's vmalloc area works; `None` where tables are only counted.
    pub fn vmalloc_config(&self) -> Option<VmallocConfig> {
        let config = &self.machine.config;
        let bytes: u64 = self.mb.mem_ranges().map(|range| range.len()).sum();
        let pages = bytes >> config.page_shift.get();
        let nodes = self.nodes_online.len().max(1) as u32;
        let can = matches!(self.machine.arch, Arch::X86_64 | Arch::Arm64);
        let forbidden = self.cmdline.params().any(|param| names_equal(param.name, "nohugevmalloc"));
        let usual = VmallocConfig::new(
            self.page_kernel()?,
            self.online_cpus().count() as u32,
            pages,
            config.page_shift,
        );
        Some(VmallocConfig {
            nodes,
            huge: can && !forbidden,
            // arm's is four pages whatever its cache does, since user code may rely on it; elsewhere it is a page.
            shmlba: if self.machine.arch == Arch::Arm { shmlba(self.page_bytes()) } else { 1 },
            // On 32-bit kernels DMA32 means the normal zone.
            below_4g: match config.is_64bit() && !config.zone_dma32 && config.zone_dma {
                true => Gfp::DMA,
                false => Gfp::DMA32,
            },
            ..usual
        })
    }

    /// Adds an early area (`vm_area_add_early`).
    pub(crate) fn add_early_area(&mut self, area: EarlyArea) -> Result<(), BootError> {
        if area.range.is_empty() {
            return Ok(());
        }
        let what = if area.caller.is_empty() { "an early area" } else { area.caller };
        self.early_areas.add(area).map_err(|why| BootError::EarlyArea { what, why })
    }

    /// Takes the lowest addresses of `region` that have room (`vm_area_register_early`), for `what`.
    pub(crate) fn register_early_area(
        &mut self,
        what: &'static str,
        region: VirtRange,
        size: u64,
        align: u64,
        flags: VmFlags,
    ) -> Result<VirtAddr, BootError> {
        let registered = self.early_areas.register(region, size, align, flags);
        registered.map_err(|why| BootError::EarlyArea { what, why })
    }

    /// What a board's description has mapped from the start, in vmalloc space.
    pub fn static_maps(&self) -> impl Iterator<Item = MapDesc> {
        let room = self.virtual_layout(self.version).ok().and_then(|layout| layout.get(Kind::Vmalloc));
        // Areas that only keep others away lead nowhere.
        let mapped = |area: &&EarlyArea| area.flags.contains(VmFlags::IOREMAP) && area.phys != PhysAddr::ZERO;
        let inside = move |area: &&EarlyArea| room.is_some_and(|room| room.contains_range(&area.range));
        let desc = |area: &EarlyArea| MapDesc { virt: area.range, phys: area.phys, kind: IoKind::Device };
        self.early_areas.iter().filter(mapped).filter(inside).map(desc)
    }
}
