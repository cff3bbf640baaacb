//! The per-CPU first chunk: `pcpu_build_alloc_info`, `pcpu_embed_first_chunk`, `pcpu_setup_first_chunk`.
//!
//! CPUs that are near each other form a group; a group's units lie together in its node's memory. The layout is
//! computed first ([`AllocInfo`]), then placed through memblock in Linux's order, and the unused tail of each unit is
//! given back. The helper structures whose sizes shape where later allocations land (`struct pcpu_chunk`, bitmaps,
//! block metadata) are allocated with the sizes the modelled kernel has.
//!
//! Sources: Documentation of the percpu allocator (mm/percpu's overview in the kernel docs), and the layouts that
//! `pcpu-alloc:` lines show.

mod embed;
mod paged;
mod serve;
mod setup;

pub use pagewright_percpu::*;
pub use serve::{FirstChunkError, UnitPlace};

use crate::boot::Boot;
use crate::built;
use crate::error::BootError;
use crate::sink::Level;
use arrayvec::ArrayVec;
use core::fmt;
use embed::{Embedded, embed_first_chunk};
use pagewright_addr::{NodeId, PhysAddr, PhysRange, VirtAddr};
use pagewright_firmware::Arch;
use pagewright_firmware::cmdline::PercpuAlloc;
use pagewright_memblock::Error as MemblockError;
use setup::setup_first_chunk;

/// The most groups (nodes with CPUs) that a layout can hold.
pub const MAX_GROUPS: usize = 64;
/// The most possible CPUs that a layout can hold.
pub const MAX_CPUS: usize = 512;

/// PCPU_MIN_UNIT_SIZE: no unit is smaller than 32 KiB.
const MIN_UNIT: u64 = 32 << 10;
/// PERCPU_DYNAMIC_EARLY_SIZE: dynamic space needed before slabs exist, and all of it that units of pages have.
const DYNAMIC_EARLY: u64 = 12 << 10;
/// `sizeof(struct pcpu_block_md)`.
const BLOCK_MD: u64 = 32;

/// A CPU in the layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuPlace {
    /// The CPU's number.
    pub cpu: u32,
    /// Its node, if the machine has nodes.
    pub node: Option<NodeId>,
}

/// The computed layout of the first chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllocInfo {
    /// Bytes of static data.
    pub static_size: u64,
    /// Bytes reserved for modules.
    pub reserved_size: u64,
    /// Bytes for dynamic allocation, including what rounding added.
    pub dyn_size: u64,
    /// Bytes from one unit to the next.
    pub unit_size: u64,
    /// The granularity of allocation: PAGE_SIZE, or PMD_SIZE on x86_64.
    pub atom_size: u64,
    /// Bytes of one allocation, a multiple of `atom_size` that holds a whole number of units.
    pub alloc_size: u64,
    /// The groups.
    pub groups: ArrayVec<Group, MAX_GROUPS>,
    /// Where the units begin in vmalloc space, one behind the other, if they are made of single pages (`percpu_alloc=page`): then they lie
    /// together nowhere else.
    pub paged: Option<VirtAddr>,
    /// The CPUs, group after group.
    cpus: ArrayVec<u32, MAX_CPUS>,
    /// The node of each in the same order: a group that is there for the layout's sake alone has CPUs of several.
    nodes: ArrayVec<NodeId, MAX_CPUS>,
}

/// CPUs whose units lie together, or, where they are made of single pages, follow each other. [`AllocInfo::cpus`] lists them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Group {
    /// First CPU in CPU order; the group's memory comes from its node, but for single pages.
    pub first: u32,
    /// That CPU's node; [`AllocInfo::node_of`] tells that of each.
    pub node: Option<NodeId>,
    /// How many CPUs.
    pub count: u32,
    /// Where they stand in the list of all.
    at: u32,
    /// Units, a multiple of the units in one allocation.
    pub units: u32,
    /// Where the group was placed; filled in by the boot. Zero for units that are made of single pages.
    pub base: PhysAddr,
}

/// What the layout is computed from, all sizes in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Static data.
    pub fixed: u64,
    /// Reserved for modules.
    pub reserved: u64,
    /// Wanted for dynamic allocation.
    pub dynamic: u64,
    /// Granularity of allocation.
    pub atom: u64,
    /// The page size.
    pub page: u64,
}

impl AllocInfo {
    /// Computes the layout (`pcpu_build_alloc_info`). `far(a, b)` says that two nodes are not local to each other;
    /// CPUs share a group unless their nodes are.
    ///
    /// # Errors
    /// [`BootError::TooMany`] for more groups than [`MAX_GROUPS`] or CPUs than [`MAX_CPUS`].
    pub fn build(sizes: Sizes, cpus: &[CpuPlace], grouped: bool) -> Result<Self, BootError> {
        let sum =
            (sizes.fixed + sizes.reserved + sizes.dynamic.max(DYNAMIC_EARLY)).next_multiple_of(sizes.page);
        let min_unit = sum.max(MIN_UNIT.next_multiple_of(sizes.page));
        let alloc_size = min_unit.next_multiple_of(sizes.atom);
        let fits = |upa: u64| alloc_size.is_multiple_of(upa) && (alloc_size / upa).is_multiple_of(sizes.page);
        let mut max_upa = alloc_size / min_unit;
        while !fits(max_upa) {
            max_upa -= 1;
        }
        let too_many = |what, limit: usize| BootError::TooMany { what, limit: limit as u64 };
        let mut groups: ArrayVec<Group, MAX_GROUPS> = ArrayVec::new();
        for place in cpus {
            let found = groups.iter_mut().find(|g| !grouped || g.node == place.node);
            if let Some(group) = found {
                group.count += 1;
                continue;
            }
            let group = Group { first: place.cpu, node: place.node, count: 1, ..Group::default() };
            groups.try_push(group).map_err(|_| too_many("per-CPU groups", MAX_GROUPS))?;
        }
        let (mut list, mut nodes) = (ArrayVec::new(), ArrayVec::new());
        for g in &mut groups {
            g.at = list.len() as u32;
            for place in cpus.iter().filter(|p| !grouped || p.node == g.node) {
                list.try_push(place.cpu).map_err(|_| too_many("possible CPUs", MAX_CPUS))?;
                // As long as the other.
                let _ = nodes.try_push(place.node.unwrap_or(NodeId::ZERO));
            }
        }
        let upa = best_units_per_alloc(&groups, cpus.len() as u64, max_upa, fits);
        for g in &mut groups {
            g.units = (u64::from(g.count)).next_multiple_of(upa) as u32;
        }
        Ok(Self {
            static_size: sizes.fixed,
            reserved_size: sizes.reserved,
            dyn_size: sum - sizes.fixed - sizes.reserved,
            unit_size: alloc_size / upa,
            atom_size: sizes.atom,
            alloc_size,
            groups,
            paged: None,
            cpus: list,
            nodes,
        })
    }

    /// Bytes of a unit that are in use; the rest is given back.
    pub fn size_sum(&self) -> u64 {
        self.static_size + self.reserved_size + self.dyn_size
    }

    /// The CPUs of a group, in order.
    pub fn cpus(&self, group: &Group) -> &[u32] {
        let at = group.at as usize;
        self.cpus.get(at..at + group.count as usize).unwrap_or_default()
    }

    /// A CPU's node: node 0 on a machine without nodes. `None` for a CPU that the layout does not have.
    pub fn node_of(&self, cpu: u32) -> Option<NodeId> {
        let mut all = self.cpus.iter().zip(&self.nodes);
        all.find(|(c, _)| **c == cpu).map(|(_, node)| *node)
    }

    /// Units of all groups.
    pub fn units(&self) -> u32 {
        self.groups.iter().map(|g| g.units).sum()
    }

    /// Units in one allocation.
    pub fn units_per_alloc(&self) -> u64 {
        self.alloc_size / self.unit_size
    }
}

/// The largest number of units in an allocation that wastes at most a third of the CPUs' units and does not need
/// more allocations than a smaller number would.
fn best_units_per_alloc(groups: &[Group], cpus: u64, max_upa: u64, fits: impl Fn(u64) -> bool) -> u64 {
    let (mut best, mut last_allocs) = (max_upa, u64::MAX);
    for upa in (1..=max_upa).rev().filter(|&u| fits(u)) {
        let allocs: u64 = groups.iter().map(|g| (u64::from(g.count)).div_ceil(upa)).sum();
        let wasted = allocs * upa - cpus;
        if wasted > cpus / 3 {
            continue;
        }
        if allocs > last_allocs {
            break;
        }
        (last_allocs, best) = (allocs, upa);
    }
    best
}

/// The `pcpu-alloc:` lines after the first: groups with their CPUs, by allocation.
struct Map<'i>(&'i AllocInfo);

impl fmt::Display for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upa = self.0.units_per_alloc() as usize;
        // Numbers are as wide as the counts, not as the largest number: ten CPUs are 00 to 09.
        let width = digits(self.0.cpus.len());
        let gwidth = digits(self.0.groups.len());
        // As many allocations in a line as 60 columns hold, a power of two of them.
        let apl = (60 / (gwidth + upa * (width + 1) + 3)).max(1);
        let apl = 1usize << apl.ilog2();
        let mut alloc = 0usize;
        for (gi, g) in self.0.groups.iter().enumerate() {
            for block in 0..g.units as usize / upa {
                if alloc.is_multiple_of(apl) {
                    if alloc > 0 {
                        f.write_str("\n")?;
                    }
                    f.write_str("pcpu-alloc: ")?;
                }
                write!(f, "[{gi:0gwidth$}] ")?;
                for unit in block * upa..(block + 1) * upa {
                    match self.0.cpus(g).get(unit) {
                        Some(cpu) => write!(f, "{cpu:0width$} ")?,
                        None => write!(f, "{:-<width$} ", "")?,
                    }
                }
                alloc += 1;
            }
        }
        Ok(())
    }
}

fn digits(n: usize) -> usize {
    n.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Places the first chunk as the command line asks for it (`setup_per_cpu_areas`): embedded in the linear map, or, where the kernel has that, made
/// of single pages. If it cannot be embedded it is made of pages as well; `warns` is how the architecture's warning of that begins.
///
/// # Errors
/// Whatever memblock refuses, and layouts too large for the library's tables. What was taken for the chunk is given back then, but for page tables.
pub fn first_chunk(
    boot: &mut Boot<'_>,
    sizes: Sizes,
    cpus: &[CpuPlace],
    grouped: bool,
    warns: &str,
) -> Result<(), BootError> {
    if cpus.is_empty() {
        return Err(BootError::Machine { what: "number of possible CPUs", value: 0 });
    }
    if !boot.machine.config.smp {
        *boot.percpu = Some(up_first_chunk(boot, sizes)?);
        return Ok(());
    }
    // arm never has it, and its images are without the code.
    let choice = (built::X86 || built::ARM64) && boot.machine.config.percpu_choice();
    let asked = boot.params.percpu_alloc;
    if choice && asked == Some(PercpuAlloc::Page) {
        return paged::page_first_chunk(boot, sizes, cpus, grouped);
    }
    match embed_first_chunk(boot, sizes, cpus, grouped)? {
        Embedded::Yes => Ok(()),
        Embedded::No(errno) if choice => {
            let name = if asked.is_some() { "embed" } else { "auto" };
            boot.sink.line(
                Level::Warning,
                format_args!("{warns}{name} allocator failed (-{errno}), falling back to page size"),
            );
            paged::page_first_chunk(boot, sizes, cpus, grouped)
        }
        Embedded::No(_) => Err(BootError::Space { what: "the per-CPU first chunk" }),
    }
}

/// Memory for the description itself (`pcpu_alloc_alloc_info`): a head, one record for each group, one CPU number for
/// each unit.
fn alloc_info(boot: &mut Boot<'_>, ai: &AllocInfo, sizes: Sizes) -> Result<PhysRange, MemblockError> {
    let long = boot.long_bytes();
    let (head, record) = (8 * long, 3 * long);
    let bytes = (head + record * ai.groups.len() as u64).next_multiple_of(4) + u64::from(ai.units()) * 4;
    let bytes = bytes.next_multiple_of(sizes.page);
    boot.mb.set_caller("pcpu_build_alloc_info");
    Ok(PhysRange::from_len(boot.alloc(bytes, sizes.page)?, bytes))
}

/// The first chunk of a kernel without SMP (its `setup_per_cpu_areas`): static data stays in the image, so that the
/// one unit serves dynamic allocation only, and is a power of two.
fn up_first_chunk(boot: &mut Boot<'_>, sizes: Sizes) -> Result<AllocInfo, BootError> {
    let unit = MIN_UNIT.max(sizes.dynamic).next_power_of_two();
    let group = Group { units: 1, count: 1, ..Group::default() };
    let mut ai = AllocInfo {
        static_size: 0,
        reserved_size: 0,
        dyn_size: unit,
        unit_size: unit,
        atom_size: unit,
        alloc_size: unit,
        groups: ArrayVec::new(),
        paged: None,
        cpus: ArrayVec::new(),
        nodes: ArrayVec::new(),
    };
    ai.groups.push(group);
    ai.cpus.push(0);
    ai.nodes.push(NodeId::ZERO);
    let info = alloc_info(boot, &ai, sizes)?;
    boot.mb.set_caller("start_kernel");
    let goal = boot.max_dma_address();
    ai.groups[0].base = boot.mb.alloc_from(unit, sizes.page, goal)?;
    setup_first_chunk(boot, &ai, sizes, 1)?;
    boot.mb.set_caller("start_kernel");
    boot.mb.phys_free(info)?;
    Ok(ai)
}

/// Sizes of the first chunk for the machine being booted.
pub(crate) fn sizes(boot: &Boot<'_>) -> Sizes {
    let b = &boot.machine.build;
    let page = boot.page_bytes();
    Sizes {
        fixed: b.percpu_static.into(),
        reserved: b.percpu_reserved.into(),
        dynamic: b.percpu_dynamic.into(),
        atom: if boot.machine.arch == Arch::X86_64 { 2 << 20 } else { page },
        page,
    }
}
