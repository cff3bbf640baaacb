//! How an image's vmalloc area and the region of its modules come into service, over tables of whichever format it has.

use crate::space::KernelSpace;
use crate::vmalloc::{On, Region, Serving};
use core::fmt;
use pagewright::Boot;
use pagewright::pgtable::KernelTables;
use pagewright::vmalloc::ioremap::RamMap;
use pagewright::vmalloc::{IoremapInitError, VmFlags, VmallocError, VmallocInitError, VmallocSetup};
use pagewright_addr::{PhysAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_page::PageMap;
use pagewright_pagetable::format::WithFormat;
use pagewright_pagetable::{Format, Tables};
use pagewright_platform::Carve;

/// Areas of modules that there is room for: each has two, and lies between others.
const MODULE_AREAS: usize = 64;

/// Why an image has no vmalloc area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpaceError {
    /// It does not come into service.
    Vmalloc(VmallocInitError),
    /// The modules' region does not.
    Modules(VmallocInitError),
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
            Self::Modules(e) => write!(f, "the modules' region: {e}"),
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
        let (map, areas, cpus) = (self.map, self.areas, self.cpus);
        let setup = VmallocSetup { tables: &tables, map, areas, more: None, cpus, pools: true };
        let mut vmalloc = None;
        (self.here)(&mut |on| vmalloc = Some(self.boot.vmalloc_init(on, &setup, &mut memory)));
        let vmalloc = vmalloc.ok_or(SpaceError::Here)?.map_err(SpaceError::Vmalloc)?;
        let areas = MODULE_AREAS;
        let mut memory = (self.memory)(Region::<'_, F>::bytes(areas, self.cpus)).ok_or(SpaceError::Memory)?;
        let setup = VmallocSetup { areas, ..setup };
        let mut modules = None;
        (self.here)(&mut |on| modules = Some(self.boot.modules_init(on, &setup, &mut memory)));
        let modules = modules.ok_or(SpaceError::Here)?.map_err(SpaceError::Modules)?;
        let windows = self.boot.module_windows();
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
        let areas = self.areas;
        work(&Serving { vmalloc: &vmalloc, io: io?, modules, windows, areas, copies });
        Ok(())
    }
}
