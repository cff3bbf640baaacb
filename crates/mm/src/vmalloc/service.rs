//! The vmalloc area of a booted machine in service, and the mappings of its devices.

use crate::boot::Boot;
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_kspace::highmem::Linear;
use pagewright_kspace::ioremap::{IoFacts, Ioremap, IoremapError, MapDesc, RamMap, StaticMaps};
use pagewright_kspace::module::ModuleWindows;
use pagewright_kspace::vmalloc::{
    MoreAreas, VmContext, Vmalloc, VmallocConfig, VmallocError, VmallocSetupError,
};
use pagewright_kspace::{Kind, LayoutError};
use pagewright_page::PageMap;
use pagewright_pagetable::{Format, LockError, TableMemory, Tables};
use pagewright_platform::Carve;

/// Why vmalloc does not serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmallocInitError {
    /// The kernel has no such layout.
    Layout(LayoutError),
    /// It has no vmalloc area: what is mapped of RAM leaves none, or it was asked for none.
    NoArea {
        /// Where the linear map ends.
        linear_end: VirtAddr,
        /// `vmalloc=`.
        vmalloc: Option<u64>,
    },
    /// The boot has only counted page tables.
    NoTables,
    /// Somebody else holds a part of the area in the page tables.
    Tables(LockError),
    /// The area cannot be put in service.
    Setup(VmallocSetupError),
    /// An early area cannot be taken over.
    Early(VmallocError),
}

impl fmt::Display for VmallocInitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(e) => e.fmt(f),
            Self::NoArea { linear_end, vmalloc } => {
                write!(f, "the vmalloc area has 0 bytes, behind low memory that reaches to {linear_end:#x}")?;
                match vmalloc {
                    Some(asked) => write!(f, ", as vmalloc={asked} asks"),
                    None => Ok(()),
                }
            }
            Self::NoTables => f.write_str("no page tables, they were only counted"),
            Self::Tables(e) => e.fmt(f),
            Self::Setup(e) => e.fmt(f),
            Self::Early(e) => write!(f, "an early area: {e}"),
        }
    }
}

impl core::error::Error for VmallocInitError {}

/// Why devices cannot be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoremapInitError {
    /// The layout has no linear map.
    NoLinearMap,
    /// There are so many static maps, and room for fewer.
    Room(usize),
    /// A static map is not as its area.
    Static(IoremapError),
}

impl fmt::Display for IoremapInitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLinearMap => f.write_str("the layout has no linear map"),
            Self::Room(maps) => write!(f, "the board has {maps} static maps"),
            Self::Static(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for IoremapInitError {}

/// What a vmalloc area is put in service with.
pub struct VmallocSetup<'v, 'a, F: Format, M: TableMemory> {
    /// The boot's page tables ([`Boot::pgtable`]) in their format.
    pub tables: &'v Tables<F, M>,
    /// The map of the pages that areas get.
    pub map: PageMap<'a>,
    /// How many areas there is room for at first: a power of two.
    pub areas: usize,
    /// Where memory for more of them comes from, that many at a time; without it no more than these are ever in use at once.
    pub more: Option<&'v dyn MoreAreas<'v>>,
    /// How many CPUs ask.
    pub cpus: usize,
    /// Whether flushed areas are kept for the next of their size, and CPUs take small ones from parts of their own ([`VmallocConfig::pools`]): it is faster. Else each
    /// area lies in the lowest gap, as in kernels before 6.9 ([`Boot::has_vmap_pools`]).
    pub pools: bool,
}

impl<F: Format, M: TableMemory> fmt::Debug for VmallocSetup<'_, '_, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmallocSetup")
            .field("areas", &self.areas)
            .field("cpus", &self.cpus)
            .finish_non_exhaustive()
    }
}

impl Boot<'_> {
    /// Puts the kernel's vmalloc area in service (`vmalloc_init`), in memory that is carved out of `memory`
    /// ([`Vmalloc::bytes`]). Early areas that lie in it are in use when this returns; `on` is whoever calls.
    ///
    /// # Errors
    /// [`VmallocInitError`]; the tables are as they were.
    pub fn vmalloc_init<'v, 'a, F: Format, M: TableMemory, C: VmContext<'a>>(
        &self,
        on: &mut C,
        setup: &VmallocSetup<'v, 'a, F, M>,
        memory: &mut Carve<'v>,
    ) -> Result<Vmalloc<'v, 'a, F, M>, VmallocInitError> {
        let layout = self.virtual_layout(self.version).map_err(VmallocInitError::Layout)?;
        let linear_end = self.linear_map().virt(self.high_memory);
        let no_area = VmallocInitError::NoArea { linear_end, vmalloc: self.params.vmalloc };
        let range = layout.get(Kind::Vmalloc).ok_or(no_area)?;
        let config = self.vmalloc_config().ok_or(VmallocInitError::NoTables)?;
        let config = VmallocConfig { pools: setup.pools, ..config };
        self.region_init(on, (config, range), setup, memory)
    }

    /// Puts the modules' region in service beside vmalloc's, in the same way and over the same tables; where in both an area for a module may lie
    /// is [`Self::module_windows`]'s. `None` where modules lie in vmalloc's own region (i386).
    ///
    /// # Errors
    /// As for [`Self::vmalloc_init`].
    pub fn modules_init<'v, 'a, F: Format, M: TableMemory, C: VmContext<'a>>(
        &self,
        on: &mut C,
        setup: &VmallocSetup<'v, 'a, F, M>,
        memory: &mut Carve<'v>,
    ) -> Result<Option<Vmalloc<'v, 'a, F, M>>, VmallocInitError> {
        let layout = self.virtual_layout(self.version).map_err(VmallocInitError::Layout)?;
        let own = layout.get(Kind::Modules).filter(|range| layout.get(Kind::Vmalloc) != Some(*range));
        let Some(range) = own else { return Ok(None) };
        let config = self.vmalloc_config().ok_or(VmallocInitError::NoTables)?;
        // Modules are few and of all sizes, and what is changed of their permissions is changed by pages.
        let config = VmallocConfig { name: "modules", pools: false, huge: false, ..config };
        self.region_init(on, (config, range), setup, memory).map(Some)
    }

    /// Where this kernel looks for the addresses of a module (`module_alloc`), nothing randomised; `None` if its layout has no place for them.
    pub fn module_windows(&self) -> Option<ModuleWindows> {
        ModuleWindows::of(&self.virtual_layout(self.version).ok()?)
    }

    fn region_init<'v, 'a, F: Format, M: TableMemory, C: VmContext<'a>>(
        &self,
        on: &mut C,
        (config, range): (VmallocConfig, VirtRange),
        setup: &VmallocSetup<'v, 'a, F, M>,
        memory: &mut Carve<'v>,
    ) -> Result<Vmalloc<'v, 'a, F, M>, VmallocInitError> {
        let cursor = setup.tables.lock(range).map_err(VmallocInitError::Tables)?;
        let vmalloc = Vmalloc::carve(config, range, cursor, setup.map, memory, (setup.areas, setup.cpus))
            .map_err(VmallocInitError::Setup)?;
        if let Some(more) = setup.more {
            vmalloc.grow_from(more);
        }
        vmalloc.adopt(on, self.early_areas).map_err(VmallocInitError::Early)?;
        Ok(vmalloc)
    }

    /// Lets devices be mapped into a vmalloc area that serves ([`Self::vmalloc_init`]): `ram` says what is the kernel's RAM, `statics` has room
    /// for the board's static maps ([`Self::static_maps`]), which are found again from here on.
    ///
    /// # Errors
    /// [`IoremapInitError`]; nothing was mapped. If a static map is refused, those before it stay areas of `vmalloc`.
    pub fn ioremap_init<'i, 'v, 'a, F: Format, M: TableMemory, C: VmContext<'a>>(
        &self,
        on: &mut C,
        vmalloc: &'i Vmalloc<'v, 'a, F, M>,
        ram: &'i (dyn RamMap + Sync),
        statics: &'i mut [Option<MapDesc>],
    ) -> Result<Ioremap<'i, 'v, 'a, F, M>, IoremapInitError> {
        let layout = self.virtual_layout(self.version).ok();
        let linear = layout.and_then(|layout| Linear::of(&layout)).ok_or(IoremapInitError::NoLinearMap)?;
        let maps = self.static_maps().count();
        if statics.len() < maps {
            return Err(IoremapInitError::Room(maps));
        }
        let config = &self.machine.config;
        let bits = match self.machine.arch {
            Arch::X86_64 => 52,
            Arch::Arm64 => u32::from(config.pa_bits),
            Arch::I386 if config.lpae => 36,
            Arch::Arm if config.lpae => 40,
            Arch::I386 | Arch::Arm => 32,
        };
        let last_phys = PhysAddr::new((1 << bits) - 1);
        let facts = IoFacts { arch: self.machine.arch, last_phys, linear };
        let io = Ioremap::new(vmalloc, facts, ram, StaticMaps::new(statics));
        for desc in self.static_maps() {
            io.adopt_static_maps(on, &[desc]).map_err(IoremapInitError::Static)?;
        }
        Ok(io)
    }
}
