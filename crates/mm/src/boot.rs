//! The boot: what every architecture shares, in `start_kernel`'s order.
//!
//! [`boot`] takes a machine and the memory for its tables (a [`Workspace`]) and goes through Linux's phases: the
//! architecture's `setup_arch` first (modules [`crate::arm64`], [`crate::arm`], [`crate::x86`]), then what is common.
//! [`Boot`] is the state in between: memblock, the command line, and what earlier steps decided. Each step says what
//! it did to the [`EventSink`].

use crate::built;
use crate::census::Census;
use crate::cpus::CpuMask;
use crate::crash::CrashKernel;
use crate::derived::{long_bytes, wide_phys};
use crate::error::BootError;
use crate::memmap::BootModel;
use crate::numa::{Distances, MAX_NODES, NodeData};
use crate::pgtable::{KernelTables, TableCounts, TableError};
use crate::reserved_mem::Verdicts;
use crate::sink::{EventSink, Phase};
use crate::tables::{CmaAreas, GiganticPages, MemmapAreas, Tables};
use crate::{early, percpu};
use arrayvec::ArrayVec;
use pagewright_addr::{NodeId, Pfn, PhysAddr, PhysRange};
use pagewright_firmware::cmdline::{CommandLine, Params};
use pagewright_firmware::{Arch, Machine};
use pagewright_kspace::Version;
use pagewright_kspace::vmalloc::EarlyAreas;
use pagewright_memblock::{self as memblock, AddrWidth, Memblock, Region, RegionMemory};
use pagewright_page::model::{MapSpace, Sections};
use pagewright_pagetable::TableMemory;
use pagewright_zone::NodeMask;
use pagewright_zone::layout::{Layout, MemRange, NodeLayout};
use pagewright_zone::zonelist::ZoneLists;

/// Memory that the caller lends to a boot.
pub struct Workspace<'a> {
    /// memblock's first array of memory regions (INIT_MEMBLOCK_MEMORY_REGIONS of them in Linux).
    pub memory: &'a mut [Region],
    /// memblock's first array of reservations (INIT_MEMBLOCK_RESERVED_REGIONS).
    pub reserved: &'a mut [Region],
    /// Where larger arrays come from; without, the first ones must do.
    pub region_memory: Option<&'a mut dyn RegionMemory<'a>>,
    /// Room for the memory ranges that zones are computed from: as many as there can be memory regions.
    pub ranges: &'a mut [MemRange],
    /// Room for the nodes, indexed by node number.
    pub nodes: &'a mut [NodeLayout],
    /// Room for the zonelists: the square of the number of nodes is always enough.
    pub zonelists: &'a mut [NodeId],
    /// The tables of fixed size.
    pub tables: &'a mut Tables,
    /// Room for the memory model: sections, or the maps of nodes.
    pub maps: MapSpace<'a>,
}

/// A boot under way.
pub struct Boot<'a> {
    /// The machine.
    pub machine: &'a Machine<'a>,
    /// The command line in force.
    pub cmdline: CommandLine<'a>,
    /// The same, parsed.
    pub params: Params<'a>,
    /// Early memory.
    pub mb: Memblock<'a>,
    /// Who listens.
    pub sink: &'a dyn EventSink,
    /// Contiguous areas so far.
    pub cma: &'a mut CmaAreas,
    /// Pages in them.
    pub total_cma_pages: u64,
    /// The crash kernel's reservation.
    pub crash: CrashKernel,
    /// What came of each reserved-memory node.
    pub reserved_mem: &'a mut Verdicts,
    /// Distances between nodes.
    pub distances: &'a mut Distances,
    /// Nodes that can exist (N_POSSIBLE).
    pub nodes_possible: NodeMask,
    /// Nodes that exist (N_ONLINE).
    pub nodes_online: NodeMask,
    /// NUMA was switched off or not found: every CPU is on node 0.
    pub numa_off: bool,
    /// End of the memory that the kernel maps permanently (`__pa(high_memory - 1) + 1`).
    pub high_memory: PhysAddr,
    /// arm: the page of zeroes for user space (`empty_zero_page`), once `paging_init` has it; elsewhere it lies in the image.
    pub zero_page: Option<PhysAddr>,
    /// Which page tables of the kernel exist.
    pub tables: &'a mut Census,
    /// The kernel's page tables, where there is memory for them ([`Self::set_table_memory`]).
    pub pgtable: Option<KernelTables<'a>>,
    /// arm64: what the head left behind, where its tables were built.
    pub arm64_head: Option<crate::pgtable::arm64::head::Head<'a>>,
    /// How many tables each step took.
    pub table_counts: TableCounts,
    /// What kept the last changes of permissions from being made, if something did.
    pub table_error: Option<TableError>,
    pub(crate) table_memory: Option<&'a dyn TableMemory>,
    /// Whose mappings the kernel's are like ([`Self::set_version`]).
    pub version: Version,
    /// Where the linear map starts in physical memory (`memstart_addr`, `PHYS_OFFSET`).
    pub memstart: PhysAddr,
    /// The initial RAM disk, if it is usable.
    pub initrd: Option<PhysRange>,
    /// End of memory that the narrowest DMA can reach (`arm64_dma_phys_limit`, `arm_dma_limit + 1`).
    pub dma_limit: PhysAddr,
    /// Where each frame's `struct page` is, once the maps are placed.
    pub model: Option<BootModel<'a>>,
    /// Where memory maps were placed.
    pub memmap_areas: &'a mut MemmapAreas,
    /// The per-CPU first chunk.
    pub percpu: &'a mut Option<percpu::AllocInfo>,
    /// Nodes and zones, once computed.
    pub layout: Option<Layout<'a>>,
    /// In which order nodes and zones are tried.
    pub zonelists: Option<ZoneLists<'a>>,
    /// Whether pages are grouped by mobility.
    pub mobility_grouping: bool,
    /// Pools of huge pages.
    pub huge_pools: crate::hugetlb::Pools,
    /// x86_64: what EFI's boot services leave free for the kernel, given back once its runtime services are set up.
    pub boot_services: ArrayVec<PhysRange, 64>,
    /// Frames of gigantic pages by the zone that they lie in.
    pub gigantic_pages: &'a mut GiganticPages,
    /// How `page->flags` is divided.
    pub page_flags: Option<pagewright_page::flags_layout::PageFlagsLayout>,
    /// `nr_kernel_pages`: pages that size hash tables.
    pub nr_kernel_pages: u64,
    /// `nr_all_pages`.
    pub nr_all_pages: u64,
    /// Processors that are there or may come (`cpu_possible_mask`).
    pub possible_cpus: CpuMask,
    /// x86: how many of them are there.
    pub(crate) present_cpus: u32,
    /// The node of each CPU by number, where the firmware says (x86).
    pub(crate) cpu_nodes: ArrayVec<NodeId, 512>,
    /// Which physical node each faked one lies on (`emu_nid_to_phys`); empty where none are faked.
    pub(crate) faked_on: ArrayVec<NodeId, MAX_NODES>,
    /// x86: one past the last frame that RAM can ever have (`max_possible_pfn`), hot-pluggable ranges included.
    pub(crate) max_possible_pfn: Pfn,
    /// Bounce buffers for DMA.
    pub swiotlb: Option<PhysRange>,
    /// x86: the e820 map as it stands after the boot.
    pub e820: &'a mut Option<pagewright_firmware::e820::E820Table>,
    /// x86: what the direct map covers and where its tables come from.
    pub(crate) x86_mapped: &'a mut Option<crate::x86::Mapped>,
    /// Areas that are in use before vmalloc serves (`vmlist`): [`Self::vmalloc_init`] takes over those of its region.
    pub early_areas: &'a mut EarlyAreas,
    /// x86: where the memory for the real-mode trampoline lies, which other processors begin in; `None` if there was none.
    pub real_mode: Option<PhysAddr>,
    pub(crate) log_buf_done: bool,
    pub(crate) node_data: NodeData,
    pub(crate) ranges: Option<&'a mut [MemRange]>,
    pub(crate) nodes: Option<&'a mut [NodeLayout]>,
    pub(crate) zonelist_room: Option<&'a mut [NodeId]>,
    /// Room for the model's tables; each is taken once.
    pub(crate) maps: Option<MapSpace<'a>>,
    /// The sections between `sparse_init` and the zones.
    pub(crate) sections: Option<Sections<'a>>,
    started: bool,
}

/// A line at info level.
macro_rules! info {
    ($boot:expr, $($text:tt)*) => {
        $boot.sink.line($crate::sink::Level::Info, format_args!($($text)*))
    };
}
/// A line at warning level.
macro_rules! warning {
    ($boot:expr, $($text:tt)*) => {
        $boot.sink.line($crate::sink::Level::Warning, format_args!($($text)*))
    };
}
/// A line at debug level.
macro_rules! debug {
    ($boot:expr, $($text:tt)*) => {
        $boot.sink.line($crate::sink::Level::Debug, format_args!($($text)*))
    };
}
pub(crate) use {debug, info, warning};

impl<'a> Boot<'a> {
    /// Whether a boot of this machine can begin: its architecture is built in, its numbers can be.
    ///
    /// # Errors
    /// [`BootError`], as [`Self::new`] gives it.
    pub fn check(machine: &Machine<'_>) -> Result<(), BootError> {
        crate::check::machine(machine)
    }

    /// The state before the first phase: an empty memblock over the workspace, and the command line read.
    ///
    /// For those who want a word before [`Self::run`], say to make an allocation fail
    /// ([`Memblock::fail_nth`]), or a look at what is left after an error. [`boot`] is both in one.
    ///
    /// # Errors
    /// [`BootError`] names what of the machine is impossible.
    pub fn new(
        machine: &'a Machine<'a>,
        ws: Workspace<'a>,
        sink: &'a dyn EventSink,
    ) -> Result<Self, BootError> {
        crate::check::machine(machine)?;
        let config = &machine.config;
        let cmdline = machine.command_line();
        let width = if wide_phys(machine) { AddrWidth::Bits64 } else { AddrWidth::Bits32 };
        let mut mb = Memblock::new(
            ws.memory,
            ws.reserved,
            memblock::Config {
                width,
                page_shift: config.page_shift,
                cache_line: machine.cpus.cache_line.into(),
                numa: config.numa,
                keep_physmem: false,
            },
            sink,
        );
        if let Some(memory) = ws.region_memory {
            mb.set_region_memory(memory);
        }
        if machine.arch == Arch::I386 && wide_phys(machine) {
            // 64-bit words are aligned to four bytes there.
            mb.set_region_bytes(20);
        }
        let params = cmdline.parse_for(config).0;
        crate::check::upper_addresses(machine, &params)?;
        mb.set_mirrored_kernelcore(params.kernelcore == Some(pagewright_firmware::cmdline::Amount::Mirror));
        mb.set_movable_node(params.movable_node && config.memory_hotplug);
        let bits = if long_bytes(machine.arch) == 8 || wide_phys(machine) && machine.arch == Arch::Arm {
            9
        } else {
            10
        };
        let bits = if machine.arch == Arch::Arm64 { config.page_shift.get() - 3 } else { bits };
        ws.tables.clear();
        let Tables {
            census,
            verdicts,
            distances,
            memmap_areas,
            gigantic_pages,
            cma,
            percpu,
            e820,
            x86_mapped,
            early_areas,
        } = ws.tables;
        census.reset(config.page_shift.get(), bits, config.pgtable_levels);
        Ok(Self {
            machine,
            cmdline,
            params,
            mb,
            sink,
            cma,
            total_cma_pages: 0,
            crash: CrashKernel::default(),
            reserved_mem: verdicts,
            distances,
            nodes_possible: NodeMask::EMPTY,
            nodes_online: NodeMask::EMPTY,
            numa_off: false,
            high_memory: PhysAddr::MAX,
            zero_page: None,
            tables: census,
            pgtable: None,
            arm64_head: None,
            table_counts: TableCounts::default(),
            table_error: None,
            table_memory: None,
            version: Version::V6_1,
            memstart: PhysAddr::ZERO,
            initrd: None,
            dma_limit: PhysAddr::ZERO,
            model: None,
            memmap_areas,
            percpu,
            layout: None,
            page_flags: None,
            nr_kernel_pages: 0,
            nr_all_pages: 0,
            possible_cpus: CpuMask::first(1),
            present_cpus: 1,
            cpu_nodes: ArrayVec::new(),
            faked_on: ArrayVec::new(),
            max_possible_pfn: Pfn::ZERO,
            swiotlb: None,
            e820,
            x86_mapped,
            early_areas,
            real_mode: None,
            log_buf_done: false,
            node_data: NodeData::new(),
            ranges: Some(ws.ranges),
            nodes: Some(ws.nodes),
            zonelist_room: Some(ws.zonelists),
            maps: Some(ws.maps),
            sections: None,
            zonelists: None,
            mobility_grouping: true,
            huge_pools: crate::hugetlb::Pools::new(),
            boot_services: ArrayVec::new(),
            gigantic_pages,
            started: false,
        })
    }

    /// Goes through the phases, once.
    ///
    /// # Errors
    /// [`BootError`] says what stopped it. The state stays as that step left it, for inspection: memblock holds its
    /// invariants, nothing is half done, but the boot cannot go on.
    pub fn run(&mut self) -> Result<(), BootError> {
        if core::mem::replace(&mut self.started, true) {
            return Err(BootError::Unsupported { what: "booting twice in one workspace" });
        }
        let b = self;
        b.check_version()?;
        b.phase(Phase::Firmware);
        match b.machine.arch {
            Arch::Arm64 if built::ARM64 => crate::arm64::setup_arch(b)?,
            Arch::Arm if built::ARM => crate::arm::setup_arch(b)?,
            Arch::X86_64 | Arch::I386 if built::X86 => crate::x86::setup_arch(b)?,
            arch => return Err(BootError::NotBuilt(arch)),
        }
        b.phase(Phase::PerCpu);
        early::setup_command_line(b)?;
        match b.machine.arch {
            Arch::Arm64 if built::ARM64 => crate::arm64::setup_per_cpu_areas(b)?,
            Arch::Arm if built::ARM => crate::arm::setup_per_cpu_areas(b)?,
            Arch::X86_64 | Arch::I386 if built::X86 => crate::x86::setup_per_cpu_areas(b)?,
            arch => return Err(BootError::NotBuilt(arch)),
        }
        b.phase(Phase::StartKernel);
        crate::zonelists::build_all_zonelists(b)?;
        info!(b, "Kernel command line: {}", b.cmdline.text);
        crate::hugetlb::setup(b)?;
        early::print_unknown_bootoptions(b)?;
        early::setup_log_buf(b, false)?;
        early::vfs_caches_init_early(b)?;
        b.phase(Phase::MemInit);
        match b.machine.arch {
            Arch::Arm64 if built::ARM64 => crate::arm64::mem_init(b)?,
            Arch::Arm if built::ARM => crate::arm::mem_init(b)?,
            Arch::X86_64 | Arch::I386 if built::X86 => crate::x86::mem_init(b)?,
            arch => return Err(BootError::NotBuilt(arch)),
        }
        // The phase lasts through `hand_over`; the initcalls begin the next.
        Ok(())
    }

    /// Enters a phase.
    pub(crate) fn phase(&self, phase: Phase) {
        self.sink.phase(phase, &self.mb);
    }

    /// `memblock_alloc`: anywhere below the current limit.
    pub(crate) fn alloc(&mut self, bytes: u64, align: u64) -> Result<PhysAddr, memblock::Error> {
        self.mb.alloc(bytes, align)
    }
}

/// Boots a machine to a running page allocator.
///
/// # Errors
/// [`BootError`] says what stopped it; nothing outside the workspace has changed then.
pub fn boot<'a>(
    machine: &'a Machine<'a>,
    ws: Workspace<'a>,
    sink: &'a dyn EventSink,
) -> Result<Boot<'a>, BootError> {
    let mut b = Boot::new(machine, ws, sink)?;
    b.run()?;
    Ok(b)
}
