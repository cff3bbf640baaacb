//! vmalloc of a booted hosted machine: over the boot's own tables, in the kernel's own area.

use crate::pages::Pages;
use core::{fmt, slice};
use pagewright::Boot;
use pagewright::pgtable::KernelTables;
use pagewright::vmalloc::{
    MoreAreas, OnPages, VmFlags, VmSection, Vmalloc, VmallocError, VmallocInitError, VmallocSetup,
};
use pagewright_addr::VirtAddr;
use pagewright_pagetable::format::WithFormat;
use pagewright_pagetable::{Format, TableMemory, Tables, TlbFlush};
use pagewright_platform::{Carve, Mutex, NoInterrupts};
use pagewright_zone::alloc::Hooks;

/// Areas that there is memory for at first, and modules' areas; as many are appended whenever all are in use.
const AREAS: usize = 1 << 12;
const MODULES: usize = 1 << 8;
/// A region has at most 64 sections: so that they reach on large machines as well, theirs have room for an area for so many of their pages.
const PAGES_FOR_AREA: u64 = 64;
/// A section at most: areas' numbers have 22 bits.
const MOST_AREAS: u64 = 1 << 16;
/// Sections at most, the first one not among them.
const MORE_SECTIONS: usize = 63;

/// The host's memory for areas.
struct Rooms<'v>(Mutex<slice::IterMut<'v, Vec<u64>>>);

impl<'v> Rooms<'v> {
    /// In such vectors, as they are needed.
    fn of(rooms: &'v mut [Vec<u64>; MORE_SECTIONS]) -> Self {
        Self(Mutex::new(rooms.iter_mut()))
    }
}

impl<'v> MoreAreas<'v> for Rooms<'v> {
    fn section(&self, areas: usize) -> Option<VmSection<'v>> {
        let room = self.0.lock().next()?;
        *room = vec![0; VmSection::bytes(areas).div_ceil(8) as usize];
        VmSection::carve(&mut Carve::of(room), areas)
    }
}

/// A booted machine with vmalloc in service.
pub struct BootedVmalloc<'p, 'v, 'x, 'm, 's, 'a, F: Format, H> {
    /// The kernel's vmalloc area.
    pub vmalloc: Vmalloc<'v, 'a, F, &'v dyn TableMemory>,
    /// The modules' region, where that is another.
    pub modules: Option<Vmalloc<'v, 'a, F, &'v dyn TableMemory>>,
    /// The stacks for interrupts that it has in vmalloc's area.
    pub irq_stacks: Vec<VirtAddr>,
    /// The page allocator below.
    pub pages: &'p Pages<'x, 'm, 's, 'a, H>,
}

impl<F: Format, H> fmt::Debug for BootedVmalloc<'_, '_, '_, '_, '_, '_, F, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootedVmalloc").field("vmalloc", &self.vmalloc).finish_non_exhaustive()
    }
}

impl<'x, 'm, 's, 'a, F: Format, H: Hooks> BootedVmalloc<'_, '_, 'x, 'm, 's, 'a, F, H> {
    /// Runs `f` as CPU number `cpu`, which nobody else may be at the time.
    ///
    /// # Panics
    /// If there is no such CPU, or somebody is it already.
    pub fn on_cpu<R>(
        &self,
        cpu: usize,
        tlb: &mut dyn TlbFlush,
        f: impl FnOnce(&mut OnPages<'_, 'x, 'm, 's, 'a, NoInterrupts, H>) -> R,
    ) -> R {
        self.pages
            .on_cpu(cpu, |context| f(&mut OnPages { allocator: &self.pages.allocator, context, cpu, tlb }))
    }

    /// Gives the stacks for interrupts back: the machine's vmalloc can be put in service once more when all else is back.
    ///
    /// # Panics
    /// If somebody else has given one back.
    pub fn free_irq_stacks(&self, on: &mut OnPages<'_, 'x, 'm, 's, 'a, NoInterrupts, H>) {
        for at in &self.irq_stacks {
            let kinds = VmFlags::ALLOC | VmFlags::MAP;
            self.vmalloc.remove(on, *at, kinds).expect("it is the machine's own");
        }
    }
}

/// What is done with such a machine, in whichever format its tables are.
pub trait WithVmalloc<'s, 'a, H> {
    /// What comes of it.
    type Out;

    /// Does it.
    fn run<F: Format>(self, machine: &BootedVmalloc<'_, '_, '_, '_, 's, 'a, F, H>) -> Self::Out;
}

/// Why a booted machine has no vmalloc.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootedVmallocError {
    /// The boot has only counted page tables.
    NoTables,
    /// The area does not come into service.
    Init(VmallocInitError),
    /// A processor has no stack for interrupts.
    IrqStacks(VmallocError),
}

impl fmt::Display for BootedVmallocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTables => VmallocInitError::NoTables.fmt(f),
            Self::Init(e) => e.fmt(f),
            Self::IrqStacks(e) => write!(f, "a stack for interrupts: {e}"),
        }
    }
}

impl core::error::Error for BootedVmallocError {}

struct Start<'r, 'b, 't, 'x, 'm, 's, 'a, H, W> {
    boot: &'r Boot<'b>,
    tables: KernelTables<'t>,
    pages: &'r Pages<'x, 'm, 's, 'a, H>,
    tlb: &'r mut dyn TlbFlush,
    work: W,
}

impl<'s, 'a, H: Hooks, W: WithVmalloc<'s, 'a, H>> WithFormat for Start<'_, '_, '_, '_, '_, 's, 'a, H, W> {
    type Out = Result<W::Out, BootedVmallocError>;

    fn run<F: Format>(self, format: F) -> Self::Out {
        let Self { boot, tables, pages, tlb, work } = self;
        let cpus = pages.cpus();
        let room = |areas| {
            let bytes = Vmalloc::<'_, '_, F, &dyn TableMemory>::bytes(areas, cpus);
            vec![0_u64; bytes.div_ceil(8) as usize]
        };
        let areas = (pages.base.map().len() / PAGES_FOR_AREA).next_power_of_two();
        let areas = areas.clamp(AREAS as u64, MOST_AREAS) as usize;
        let (mut own_room, mut module_room) = (room(areas), room(MODULES));
        let (mut more, mut more_of_modules) = ([const { Vec::new() }; _], [const { Vec::new() }; _]);
        let (more, more_of_modules) = (Rooms::of(&mut more), Rooms::of(&mut more_of_modules));
        let tree = Tables::new(format, tables.memory, tables.root);
        let (map, pools) = (*pages.base.map(), boot.has_vmap_pools());
        let setup = VmallocSetup { tables: &tree, map, areas, more: Some(&more), cpus, pools };
        let served = pages.on_cpu(0, |context| {
            let on = &mut OnPages { allocator: &pages.allocator, context, cpu: 0, tlb };
            let vmalloc = boot
                .vmalloc_init(on, &setup, &mut Carve::of(&mut own_room))
                .map_err(BootedVmallocError::Init)?;
            let setup = VmallocSetup { areas: MODULES, more: Some(&more_of_modules), ..setup };
            let modules = boot
                .modules_init(on, &setup, &mut Carve::of(&mut module_room))
                .map_err(BootedVmallocError::Init)?;
            let mut irq_stacks = Vec::new();
            boot.init_irq_stacks(on, &vmalloc, &mut |at| irq_stacks.push(at))
                .map_err(BootedVmallocError::IrqStacks)?;
            Ok((vmalloc, modules, irq_stacks))
        });
        let (vmalloc, modules, irq_stacks) = served?;
        Ok(work.run(&BootedVmalloc { vmalloc, modules, irq_stacks, pages }))
    }
}

/// Puts the vmalloc area of a booted machine in service above its page allocator, for the same CPUs, and hands both to `work`. `tlb` reaches whoever
/// runs on the machine's tables; nobody does, where [`NotLive`](pagewright_pagetable::NotLive) is given.
///
/// # Errors
/// [`BootedVmallocError`].
pub fn with_booted_vmalloc<'s, 'a, H: Hooks, W: WithVmalloc<'s, 'a, H>>(
    boot: &Boot<'_>,
    pages: &Pages<'_, '_, 's, 'a, H>,
    tlb: &mut dyn TlbFlush,
    work: W,
) -> Result<W::Out, BootedVmallocError> {
    let tables = boot.pgtable.ok_or(BootedVmallocError::NoTables)?;
    tables.format.with(Start { boot, tables, pages, tlb, work })
}
