//! Running a boot: the memory that it borrows, and a record of all it says.

mod cpus;
mod log;
mod mmu;
mod ram;
mod record;
mod serving;
mod slots;
mod stopped;

pub use cpus::nodes as cpu_nodes;
pub use record::{Entry, Recorder};
pub use serving::serve;
pub(crate) use serving::{TRACE_SITES, WithShown, needs_service, with_vmalloc};
pub use slots::{SPARE_SLOTS, SpareSlots};

use crate::fault::Fault;
use crate::machine::OwnedMachine;
use pagewright::pgtable::KernelTables;
use pagewright::workspace::initial_slots;
use pagewright::{Boot, BootError, Running, Workspace};
use pagewright_addr::{NodeId, PfnRange, VirtAddr};
use pagewright_kspace::Kind;
use pagewright_memblock::Region;
use pagewright_page::model::{MapSpace, NodeMap, SectionRun};
use pagewright_pagetable::TableUse;
use pagewright_sim::mmu::{Access, Fault as MmuFault, Mapping};
use pagewright_sim::{PhysMemory, with_page_allocator};
use pagewright_view::State;
use pagewright_zone::layout::{MemFlags, MemRange, NodeLayout};

/// Memory ranges that zones are computed from, at most.
const MAX_RANGES: usize = 1 << 14;

/// A machine whose page allocator serves, and everything that was said on the way.
pub struct Booted<'b, 'z, 's, 'p, 'a> {
    /// The state that the boot built.
    pub boot: &'b Boot<'a>,
    /// The page allocator with its watermarks.
    pub running: &'b Running<'z, 's, 'p>,
    /// What was said.
    pub record: &'b Recorder,
    /// The RAM with the page tables in it.
    ram: Option<&'b PhysMemory>,
}

impl<'b, 'z, 's, 'p, 'a> Booted<'b, 'z, 's, 'p, 'a> {
    /// What its views show.
    pub fn state(&self) -> State<'b, 'z, 's, 'p, 'a> {
        State::new(self.boot, self.running)
    }
}

impl<'a> Booted<'_, '_, '_, '_, 'a> {
    /// The kernel's page tables.
    ///
    /// # Errors
    /// A [`Fault`] where they were only counted, or could not be finished.
    pub fn tables(&self) -> Result<&KernelTables<'a>, Fault> {
        let place = crate::machine::arch_name(self.boot.machine.arch);
        if let Some(e) = self.boot.table_error {
            return Err(Fault::caused(e, place, "page tables that can be changed"));
        }
        let expected = "a machine whose page tables are built: at most 64 GiB of RAM";
        self.boot
            .pgtable
            .as_ref()
            .ok_or_else(|| Fault::new("no page tables, they were only counted", place, expected))
    }
}

impl Booted<'_, '_, '_, '_, '_> {
    /// The tables of the linear map, and the fewest that could hold it; `None` where tables were only counted.
    pub fn linear_map_tables(&self) -> Option<TableUse> {
        let range = self.state().layout(self.boot.version).ok()?.get(Kind::LinearMap)?;
        self.tables().ok()?.with(|tree| tree.table_use(range)).ok()
    }

    /// What the software MMU makes of an access to the kernel's addresses.
    ///
    /// # Errors
    /// A [`Fault`] where page tables were only counted; the access's own fault is the answer.
    pub fn access(&self, va: VirtAddr, access: Access) -> Result<Result<Mapping, MmuFault>, Fault> {
        let tables = self.tables()?;
        let Some(ram) = self.ram else { return Err(Fault::new("no page tables", "RAM", "")) };
        let registers = mmu::registers(self.boot.machine, self.boot.version, tables);
        Ok(registers.look_up(ram, va, access).and_then(|mapping| {
            registers.probe(ram, va, access)?;
            Ok(mapping)
        }))
    }
}

/// Boots the machine and hands its final state to `then`.
///
/// # Errors
/// A [`Fault`] if the description cannot be read or the boot stops; the record then ends where it stopped and goes
/// to `stopped`.
pub fn boot<R>(
    machine: &OwnedMachine,
    then: impl FnOnce(&Booted<'_, '_, '_, '_, '_>) -> R,
    stopped: impl FnOnce(&Recorder),
) -> Result<R, Fault> {
    boot_to(machine, |boot, running, record, ram| then(&Booted { boot, running, record, ram }), stopped)
}

/// Boots the machine and hands its final state to `then` to go on with: the boot, the page allocator, what was said, the RAM with the page
/// tables in it.
///
/// # Errors
/// As for [`boot`].
pub(crate) fn boot_to<R>(
    machine: &OwnedMachine,
    then: impl FnOnce(&Boot<'_>, &mut Running<'_, '_, '_>, &Recorder, Option<&PhysMemory>) -> R,
    stopped: impl FnOnce(&Recorder),
) -> Result<R, Fault> {
    let lent = machine.lend()?;
    let recorder = Recorder::new(initial_slots(&machine.config));
    let (memory, reserved) = initial_slots(&machine.config);
    let mut memory = vec![Region::default(); memory];
    let mut reserved = vec![Region::default(); reserved];
    let mut spare = vec![Region::default(); SPARE_SLOTS];
    let mut growth = SpareSlots::new(&mut spare);
    let blank = MemRange { pfns: PfnRange::default(), nid: NodeId::ZERO, flags: MemFlags::empty() };
    let mut ranges = vec![blank; MAX_RANGES];
    let possible = machine.config.max_numnodes() as usize;
    let mut nodes = vec![NodeLayout::EMPTY; possible];
    let mut zonelists = vec![NodeId::ZERO; possible * (possible + 1)];
    let mut sections = vec![SectionRun::EMPTY; MAX_RANGES];
    let mut subsections = vec![PfnRange::default(); MAX_RANGES];
    let mut node_maps = vec![NodeMap::EMPTY; possible];
    let mut tables = Box::new(pagewright::Tables::new());
    let workspace = Workspace {
        memory: &mut memory,
        reserved: &mut reserved,
        region_memory: Some(&mut growth),
        ranges: &mut ranges,
        nodes: &mut nodes,
        zonelists: &mut zonelists,
        tables: &mut tables,
        maps: MapSpace { sections: &mut sections, subsections: &mut subsections, node_maps: &mut node_maps },
    };
    let table_memory = ram::table_memory(&lent);
    let booted = Boot::new(&lent, workspace, &recorder).and_then(|mut booted| {
        if let Some(memory) = &table_memory {
            booted.set_table_memory(memory);
        }
        booted.set_version(machine.linux);
        booted.run()?;
        Ok(booted)
    });
    let result = match booted {
        Ok(mut booted) => start(machine, &mut booted, &recorder, table_memory.as_ref(), then),
        Err(e) => Err(stopped::boot_fault(machine, &recorder, &e)),
    };
    if result.is_err() {
        stopped(&recorder);
    }
    result
}

/// The hand-over to the page allocator and the initcalls after it, in memory that lasts as long as `then` runs.
fn start<R>(
    machine: &OwnedMachine,
    boot: &mut Boot<'_>,
    record: &Recorder,
    ram: Option<&PhysMemory>,
    then: impl FnOnce(&Boot<'_>, &mut Running<'_, '_, '_>, &Recorder, Option<&PhysMemory>) -> R,
) -> Result<R, Fault> {
    for taken in &machine.taken {
        boot.mb.set_caller("start_allocator");
        boot.mb
            .alloc(taken.bytes, taken.align)
            .map_err(|e| stopped::boot_fault(machine, record, &BootError::Memblock(e)))?;
    }
    with_page_allocator(boot, |boot, running| {
        running.start_cpus(boot);
        then(boot, running, record, ram)
    })
    .map_err(|e| stopped::hosted_fault(machine, record, &e))
}
