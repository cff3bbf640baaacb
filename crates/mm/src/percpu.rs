//! The per-CPU first chunk: `pcpu_build_alloc_info`, `pcpu_embed_first_chunk`, `pcpu_setup_first_chunk`.
//!
//! CPUs that are near each other form a group; a group's units lie together in its node's memory. The layout is
//! computed first ([`AllocInfo`]), then placed through memblock in Linux's order, and the unused tail of each unit is
//! given back. The helper structures whose sizes shape where later allocations land (`struct pcpu_chunk`, bitmaps,
//! block metadata) are allocated with the sizes the modelled kernel has.
//!
//! Sources: Documentation of the percpu allocator (mm/percpu's overview in the kernel docs), and the layouts that
//! `pcpu-alloc:` lines show.

mod paged;

use crate::boot::{Boot, info};
use crate::error::BootError;
use crate::sink::Level;
use arrayvec::ArrayVec;
use core::fmt;
use pagewright_addr::{NodeId, PhysAddr, PhysRange, VirtAddr};
use pagewright_firmware::Arch;
use pagewright_firmware::cmdline::PercpuAlloc;
use pagewright_kspace::Kind;
use pagewright_memblock::Error as MemblockError;

/// The most groups (nodes with CPUs) that a layout can hold.
pub const MAX_GROUPS: usize = 64;
/// The most possible CPUs that a layout can hold.
pub const MAX_CPUS: usize = 512;

/// PCPU_MIN_UNIT_SIZE: no unit is smaller than 32 KiB.
const MIN_UNIT: u64 = 32 << 10;
/// PERCPU_DYNAMIC_EARLY_SIZE: dynamic space needed before slabs exist, and all of it that units of pages have.
const DYNAMIC_EARLY: u64 = 12 << 10;
/// PCPU_MIN_ALLOC_SIZE: one bit of an allocation map stands for this many bytes.
const MIN_ALLOC: u64 = 4;
/// Linux's errors.
const ENOMEM: u32 = 12;
const EINVAL: u32 = 22;
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
}

/// CPUs whose units lie together. [`AllocInfo::cpus`] lists them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Group {
    /// First CPU in CPU order; the group's memory comes from its node.
    pub first: u32,
    /// Its node.
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
        let mut list = ArrayVec::new();
        for g in &mut groups {
            g.at = list.len() as u32;
            for place in cpus.iter().filter(|p| !grouped || p.node == g.node) {
                list.try_push(place.cpu).map_err(|_| too_many("possible CPUs", MAX_CPUS))?;
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
/// Whatever memblock refuses, and layouts too large for the library's tables.
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
    let (choice, asked) = (boot.machine.config.percpu_choice(), boot.params.percpu_alloc);
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

/// Whether the first chunk is embedded.
enum Embedded {
    Yes,
    /// Linux's error; memblock is as it was.
    No(u32),
}

/// Places the first chunk in the linear map (`pcpu_embed_first_chunk` and `pcpu_setup_first_chunk`).
fn embed_first_chunk(
    boot: &mut Boot<'_>,
    sizes: Sizes,
    cpus: &[CpuPlace],
    grouped: bool,
) -> Result<Embedded, BootError> {
    let mut ai = AllocInfo::build(sizes, cpus, grouped)?;
    let long = boot.long_bytes();
    let line = u64::from(boot.machine.cpus.cache_line);
    let page = sizes.page;

    let info = alloc_info(boot, &ai, sizes)?;
    boot.mb.set_caller("pcpu_embed_first_chunk");
    let areas_bytes = (ai.groups.len() as u64 * long).next_multiple_of(page);
    let areas_at = boot.alloc(areas_bytes, line)?;
    let areas = PhysRange::from_len(areas_at, areas_bytes);

    let goal = boot.max_dma_address();
    boot.mb.set_caller("pcpu_fc_alloc");
    for at in 0..ai.groups.len() {
        let g = &ai.groups[at];
        let bytes = u64::from(g.units) * ai.unit_size;
        let base = match g.node.filter(|n| grouped && boot.node_has_data(*n)) {
            Some(node) => boot.mb.alloc_try_nid(bytes, ai.atom_size, goal, PhysAddr::ZERO, Some(node)),
            None => boot.mb.alloc_from(bytes, ai.atom_size, goal),
        };
        match base {
            Ok(base) => ai.groups[at].base = base,
            Err(MemblockError::NoMemory { .. }) => {
                give_up(boot, &ai, at, info, areas)?;
                return Ok(Embedded::No(ENOMEM));
            }
            Err(e) => return Err(e.into()),
        }
    }
    // Later chunks have the same distances in vmalloc space, and most of it is for others.
    let distance = max_distance(&ai);
    let room = boot.virtual_layout(boot.version).ok().and_then(|layout| layout.get(Kind::Vmalloc));
    // VMALLOC_END is the last byte on x86_64, and behind it elsewhere.
    let less = u64::from(boot.machine.arch == Arch::X86_64);
    let total = room.map_or(u64::MAX, |room| room.len - less);
    if distance > (u128::from(total) * 3 / 4) as u64 {
        boot.sink.line(
            Level::Warning,
            format_args!("percpu: max_distance={distance:#x} too large for vmalloc space {total:#x}"),
        );
        if boot.machine.config.percpu_choice() {
            let all = ai.groups.len();
            give_up(boot, &ai, all, info, areas)?;
            return Ok(Embedded::No(EINVAL));
        }
    }
    boot.mb.set_caller("pcpu_embed_first_chunk");
    let used = ai.size_sum();
    for g in &ai.groups {
        for unit in 0..g.units {
            let at = g.base.saturating_add(u64::from(unit) * ai.unit_size);
            if unit < g.count {
                boot.mb.phys_free(PhysRange::from_len(at.saturating_add(used), ai.unit_size - used))?;
            } else {
                boot.mb.phys_free(PhysRange::from_len(at, ai.unit_size))?;
            }
        }
    }
    info!(
        boot,
        "percpu: Embedded {} pages/cpu s{} r{} d{} u{}",
        used / page,
        ai.static_size,
        ai.reserved_size,
        ai.dyn_size,
        ai.unit_size
    );
    setup_first_chunk(boot, &ai, sizes, cpus.len() as u64)?;
    boot.mb.set_caller("pcpu_embed_first_chunk");
    boot.mb.phys_free(info)?;
    boot.mb.phys_free(areas)?;
    *boot.percpu = Some(ai);
    Ok(Embedded::Yes)
}

/// From the lowest unit of all groups to behind the last of the highest.
fn max_distance(ai: &AllocInfo) -> u64 {
    let base = ai.groups.iter().map(|g| g.base).min().unwrap_or_default();
    let highest = ai.groups.iter().max_by_key(|g| g.base);
    highest.map_or(0, |g| g.base.get() - base.get() + u64::from(g.units) * ai.unit_size)
}

/// Takes back what embedding has taken: the memory of the first `groups` groups, and its notes.
fn give_up(
    boot: &mut Boot<'_>,
    ai: &AllocInfo,
    groups: usize,
    info: PhysRange,
    areas: PhysRange,
) -> Result<(), BootError> {
    boot.mb.set_caller("pcpu_fc_free");
    for g in &ai.groups[..groups] {
        boot.mb.phys_free(PhysRange::from_len(g.base, u64::from(g.units) * ai.unit_size))?;
    }
    boot.mb.set_caller("pcpu_embed_first_chunk");
    boot.mb.phys_free(info)?;
    Ok(boot.mb.phys_free(areas)?)
}

/// Memory for the description itself (`pcpu_alloc_alloc_info`): a head, one record for each group, one CPU number for
/// each unit.
fn alloc_info(boot: &mut Boot<'_>, ai: &AllocInfo, sizes: Sizes) -> Result<PhysRange, BootError> {
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
    };
    ai.groups.push(group);
    ai.cpus.push(0);
    let info = alloc_info(boot, &ai, sizes)?;
    boot.mb.set_caller("start_kernel");
    let goal = boot.max_dma_address();
    ai.groups[0].base = boot.mb.alloc_from(unit, sizes.page, goal)?;
    setup_first_chunk(boot, &ai, sizes, 1)?;
    boot.mb.set_caller("start_kernel");
    boot.mb.phys_free(info)?;
    Ok(ai)
}

fn setup_first_chunk(boot: &mut Boot<'_>, ai: &AllocInfo, sizes: Sizes, cpus: u64) -> Result<(), BootError> {
    let long = boot.long_bytes();
    let line = u64::from(boot.machine.cpus.cache_line);
    let groups = ai.groups.len() as u64;
    boot.mb.set_caller("pcpu_setup_first_chunk");
    for bytes in [groups * long, groups * long, cpus * 4, cpus * long] {
        boot.alloc(bytes, line)?;
    }
    boot.sink.line(
        Level::Debug,
        format_args!(
            "pcpu-alloc: s{} r{} d{} u{} alloc={}*{}",
            ai.static_size,
            ai.reserved_size,
            ai.dyn_size,
            ai.unit_size,
            ai.alloc_size / ai.atom_size,
            ai.atom_size
        ),
    );
    boot.sink.line(Level::Debug, format_args!("{}", Map(ai)));
    // One list of chunks for each size class: classes are powers of two from 32 bytes, and three special lists.
    boot.alloc(chunk_lists(ai.unit_size) * 2 * long, line)?;
    let base = ai.static_size;
    if ai.reserved_size > 0 {
        alloc_first_chunk(boot, base, ai.reserved_size, sizes.page)?;
    }
    alloc_first_chunk(boot, base + ai.reserved_size, ai.dyn_size, sizes.page)
}

/// How many chunk lists there are for a unit size (`pcpu_nr_slots`).
fn chunk_lists(unit_size: u64) -> u64 {
    let highest_bit = u64::from(u64::BITS - unit_size.leading_zeros());
    highest_bit.saturating_sub(5).saturating_add(2).max(1) + 4
}

/// The bookkeeping of one first chunk that serves `[offset, offset + bytes)` of a unit.
fn alloc_first_chunk(boot: &mut Boot<'_>, offset: u64, bytes: u64, page: u64) -> Result<(), BootError> {
    let long = boot.long_bytes();
    let line = u64::from(boot.machine.cpus.cache_line);
    let pages = (offset % page + bytes).div_ceil(page);
    let bitmap = |bits: u64| bits.div_ceil(long * 8) * long;
    let bits = pages * page / MIN_ALLOC;
    // struct pcpu_chunk without its bitmap of populated pages.
    let head = if long == 8 { 136 } else { 92 };
    boot.mb.set_caller("pcpu_alloc_first_chunk");
    for size in [head + bitmap(pages), bitmap(bits), bitmap(bits + 1), pages * BLOCK_MD] {
        boot.alloc(size, line)?;
    }
    Ok(())
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
