//! `/memreserve/` and `/reserved-memory`: what the device tree sets aside.
//!
//! Static regions are taken in tree order, then dynamic ones are placed in the order in which they were found;
//! regions that a driver or CMA claims at once are initialised in the order of their addresses. Each node gets a
//! [`Verdict`].

use crate::boot::{Boot, debug, info, warning};
use crate::cma;
use crate::error::BootError;
use arrayvec::{ArrayString, ArrayVec};
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::Arch;
use pagewright_firmware::devicetree::{DeviceTree, ReservedKind, ReservedNode};
use pagewright_memblock::Set;

/// MAX_RESERVED_REGIONS: what Linux 6.1 keeps track of.
pub const MAX_RESERVED_REGIONS: usize = 64;

/// What came of one node under `/reserved-memory`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The node's name, with its unit address.
    pub name: ArrayString<64>,
    /// Where it lies, or would have.
    pub range: PhysRange,
    /// Kept out of the linear map.
    pub nomap: bool,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a reserved-memory node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Reserved (or unmapped) for a driver to pick up.
    Reserved,
    /// A coherent DMA pool.
    DmaPool,
    /// A CMA area; `true` for the default one.
    Cma(bool),
    /// Disabled by its status property.
    Disabled,
    /// A static region that could not be reserved.
    StaticRefused,
    /// No memory for a dynamic region of `size` bytes.
    NoMemory {
        /// Bytes asked for.
        size: u64,
    },
    /// A property is malformed, or sizes are impossible.
    Malformed,
    /// Neither CMA nor the coherent pool would take it: given back.
    NotClaimed,
    /// Beyond [`MAX_RESERVED_REGIONS`].
    TooMany,
}

/// A region as `early_init_fdt_scan_reserved_mem` keeps it.
struct Entry<'a> {
    node: ReservedNode<'a>,
    range: PhysRange,
    verdict: usize,
}

/// Takes everything the device tree reserves (`early_init_fdt_scan_reserved_mem`).
///
/// # Errors
/// Only what is no verdict on a node: a full memblock.
pub fn scan<'a>(boot: &mut Boot<'a>, tree: &DeviceTree<'a>) -> Result<(), BootError> {
    boot.mb.set_caller("early_init_fdt_scan_reserved_mem");
    for range in tree.memory_reservations() {
        let (base, size) = (narrowed(boot, range.start.get()), narrowed(boot, range.len()));
        if size > 0 {
            boot.mb.reserve_sized(PhysAddr::new(base), size)?;
        }
    }
    let mut entries: ArrayVec<Entry<'a>, MAX_RESERVED_REGIONS> = ArrayVec::new();
    for node in tree.reserved_memory() {
        scan_node(boot, node, &mut entries)?;
    }
    reserve_elfcorehdr(boot, tree)?;
    init_reserved_mem(boot, &mut entries)
}

/// What is left of a cell value in `phys_addr_t`: on kernels without wide addresses the upper half is lost.
fn narrowed(boot: &Boot<'_>, value: u64) -> u64 {
    value & boot.phys_addr_max().get()
}

fn verdict(boot: &mut Boot<'_>, node: &ReservedNode<'_>, range: PhysRange, outcome: Outcome) -> usize {
    let mut name = ArrayString::new();
    for c in node.name.chars() {
        if name.try_push(c).is_err() {
            break;
        }
    }
    boot.reserved_mem.push(Verdict { name, range, nomap: node.nomap, outcome })
}

fn scan_node<'a>(
    boot: &mut Boot<'a>,
    node: ReservedNode<'a>,
    entries: &mut ArrayVec<Entry<'a>, MAX_RESERVED_REGIONS>,
) -> Result<(), BootError> {
    let none = PhysRange::default();
    if !node.enabled {
        verdict(boot, &node, none, Outcome::Disabled);
        return Ok(());
    }
    match node.kind.clone() {
        ReservedKind::Static(regions) => {
            let mut first = None;
            for region in regions {
                let base = PhysAddr::new(narrowed(boot, region.base.get()));
                let size = narrowed(boot, region.size);
                let taken = size > 0 && reserve_static(boot, base, size, node.nomap)?;
                let (at, mib) = (boot.pa(base), size >> 20);
                if taken {
                    debug!(
                        boot,
                        "OF: fdt: Reserved memory: reserved region for node '{}': base {at}, size {mib} MiB",
                        node.name
                    );
                } else {
                    info!(
                        boot,
                        "OF: fdt: Reserved memory: failed to reserve memory for node '{}': base {at}, size {mib} MiB",
                        node.name
                    );
                }
                first = first.or(Some((PhysRange::from_len(base, size), taken)));
            }
            match first {
                // A first pair of size zero leaves the node to its `size` property.
                Some((range, taken)) if !range.is_empty() => {
                    let outcome = if taken { Outcome::Reserved } else { Outcome::StaticRefused };
                    keep(boot, node, range, outcome, entries);
                }
                Some(_) if matches!(node.dynamic_kind(), ReservedKind::Dynamic { .. }) => {
                    keep(boot, node, none, Outcome::Reserved, entries);
                }
                _ => {
                    verdict(boot, &node, none, Outcome::Malformed);
                }
            }
        }
        ReservedKind::Dynamic { .. } => keep(boot, node, none, Outcome::Reserved, entries),
        ReservedKind::Invalid(error) => {
            warning!(boot, "{error}");
            verdict(boot, &node, none, Outcome::Malformed);
        }
        ReservedKind::Neither => {
            verdict(boot, &node, none, Outcome::Malformed);
        }
    }
    Ok(())
}

fn keep<'a>(
    boot: &mut Boot<'a>,
    node: ReservedNode<'a>,
    range: PhysRange,
    outcome: Outcome,
    entries: &mut ArrayVec<Entry<'a>, MAX_RESERVED_REGIONS>,
) {
    let at = verdict(boot, &node, range, outcome);
    if entries.is_full() {
        warning!(boot, "OF: reserved mem: not enough space for all defined regions.");
        boot.reserved_mem.set_outcome(at, Outcome::TooMany);
        return;
    }
    entries.push(Entry { node, range, verdict: at });
}

/// One static region. `Ok(false)` is a refusal: the region is in use already while it asks for no mapping.
fn reserve_static(boot: &mut Boot<'_>, base: PhysAddr, size: u64, nomap: bool) -> Result<bool, BootError> {
    boot.mb.set_caller("early_init_fdt_scan_reserved_mem");
    let range = PhysRange::from_len(base, size);
    if !nomap {
        boot.mb.reserve_sized(base, size)?;
        return Ok(true);
    }
    // Memory that is in use cannot be taken out of the linear map.
    if boot.mb.overlaps_region(Set::Memory, range) && boot.mb.is_region_reserved(range) {
        return Ok(false);
    }
    boot.mb.mark_nomap(range)?;
    Ok(true)
}

/// Places the dynamic regions and initialises all of them (`fdt_init_reserved_mem`).
fn init_reserved_mem<'a>(
    boot: &mut Boot<'a>,
    entries: &mut ArrayVec<Entry<'a>, MAX_RESERVED_REGIONS>,
) -> Result<(), BootError> {
    // Sorted by address, dynamic regions (still at zero) first. Those have equal keys, and who is placed first among
    // them follows from the sorting algorithm.
    sort_by_address(entries);
    check_overlaps(boot, entries);
    for i in 0..entries.len() {
        if entries[i].range.is_empty() {
            let Some(range) = place_dynamic(boot, &entries[i])? else { continue };
            entries[i].range = range;
            boot.reserved_mem.set_range(entries[i].verdict, range);
        }
        let e = &entries[i];
        let (node, range, at) = (e.node.clone(), e.range, e.verdict);
        initialise(boot, &node, range, at)?;
    }
    Ok(())
}

fn sort_by_address(entries: &mut [Entry<'_>]) {
    crate::heapsort::sort_by_key(entries, |e| (e.range.start, e.range.len()));
}

fn check_overlaps(boot: &Boot<'_>, entries: &[Entry<'_>]) {
    for pair in entries.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        if a.range.is_empty() || b.range.is_empty() || a.range.end <= b.range.start {
            continue;
        }
        warning!(
            boot,
            "OF: reserved mem: OVERLAP DETECTED!\n{} ({}--{}) overlaps with {} ({}--{})",
            a.node.name,
            boot.pa(a.range.start),
            boot.pa(a.range.end),
            b.node.name,
            boot.pa(b.range.start),
            boot.pa(b.range.end)
        );
    }
}

/// Finds memory for a dynamic region (`__reserved_mem_alloc_size`).
fn place_dynamic(boot: &mut Boot<'_>, e: &Entry<'_>) -> Result<Option<PhysRange>, BootError> {
    let ReservedKind::Dynamic { size, alignment, alloc_ranges } = e.node.dynamic_kind() else {
        return Ok(None);
    };
    let size = narrowed(boot, size);
    let mut align = alignment.unwrap_or(0);
    if boot.machine.config.cma.is_some()
        && e.node.compatible_shared_dma_pool
        && e.node.reusable
        && !e.node.nomap
    {
        align = align.max(cma::min_alignment(boot));
    }
    let mut found = None;
    match alloc_ranges {
        Some(ranges) => {
            for r in ranges {
                let start = PhysAddr::new(narrowed(boot, r.base.get()));
                let end = PhysAddr::new(narrowed(boot, r.range().end.get()));
                found = alloc_reserved(boot, size, align, start, end, e.node.nomap)?;
                if found.is_some() {
                    break;
                }
            }
        }
        None => found = alloc_reserved(boot, size, align, PhysAddr::ZERO, PhysAddr::ZERO, e.node.nomap)?,
    }
    if found.is_none() {
        let mib = size >> 20;
        let name = e.node.name;
        info!(boot, "OF: reserved mem: failed to allocate memory for node '{name}': size {mib} MiB");
        boot.reserved_mem.set_outcome(e.verdict, Outcome::NoMemory { size });
    }
    Ok(found.map(|at| PhysRange::from_len(at, size)))
}

/// `early_init_dt_alloc_reserved_memory_arch`: an `end` of zero means anywhere.
fn alloc_reserved(
    boot: &mut Boot<'_>,
    size: u64,
    align: u64,
    start: PhysAddr,
    end: PhysAddr,
    nomap: bool,
) -> Result<Option<PhysAddr>, BootError> {
    let end = if end == PhysAddr::ZERO { boot.phys_addr_max() } else { end };
    let align = if align == 0 { boot.cache_line() } else { align };
    if !align.is_power_of_two() {
        return Ok(None);
    }
    boot.mb.set_caller("early_init_dt_alloc_reserved_memory_arch");
    let Ok(at) = boot.mb.phys_alloc_range(size, align, start, end) else { return Ok(None) };
    if nomap {
        boot.mb.mark_nomap(PhysRange::from_len(at, size))?;
    }
    Ok(Some(at))
}

/// Lets CMA or the coherent pool claim a region (`__reserved_mem_init_node`). A region that both refuse, although
/// it names them, is given back.
fn initialise(
    boot: &mut Boot<'_>,
    node: &ReservedNode<'_>,
    range: PhysRange,
    at: usize,
) -> Result<(), BootError> {
    if !node.compatible_shared_dma_pool {
        return Ok(());
    }
    let claimed = if node.reusable {
        !node.nomap && boot.machine.config.cma.is_some() && setup_cma(boot, node, range, at)
    } else {
        setup_dma_pool(boot, node, range, at)
    };
    if claimed {
        info!(boot, "OF: reserved mem: initialized node {}, compatible id shared-dma-pool", node.name);
        return Ok(());
    }
    info!(boot, "OF: reserved mem: node {} compatible matching fail", node.name);
    boot.reserved_mem.set_outcome(at, Outcome::NotClaimed);
    boot.mb.set_caller("early_init_fdt_scan_reserved_mem");
    if node.nomap {
        boot.mb.clear_nomap(range)?;
    } else {
        boot.mb.phys_free(range)?;
    }
    Ok(())
}

/// `rmem_dma_setup`: arm cannot keep a region mapped twice with different attributes.
fn setup_dma_pool(boot: &mut Boot<'_>, node: &ReservedNode<'_>, range: PhysRange, at: usize) -> bool {
    if boot.machine.arch == Arch::Arm && !node.nomap {
        warning!(boot, "Reserved memory: regions without no-map are not yet supported");
        return false;
    }
    // Linux makes a pool also of a region that it could not set aside; the verdict stays what it was then.
    if boot.reserved_mem.get(at).is_none_or(|v| v.outcome != Outcome::StaticRefused) {
        boot.reserved_mem.set_outcome(at, Outcome::DmaPool);
    }
    info!(
        boot,
        "Reserved memory: created DMA memory pool at {}, size {} MiB",
        boot.pa(range.start),
        range.len() >> 20
    );
    true
}

/// `rmem_cma_setup`.
fn setup_cma(boot: &mut Boot<'_>, node: &ReservedNode<'_>, range: PhysRange, at: usize) -> bool {
    let default = node.linux_cma_default;
    if boot.params.cma.is_some() && default {
        info!(boot, "Reserved memory: bypass {} node, using cmdline CMA params instead", node.name);
        return false;
    }
    let align = cma::min_alignment(boot);
    if !range.start.is_aligned(align) || !range.len().is_multiple_of(align) {
        warning!(boot, "Reserved memory: incorrect alignment of CMA region");
        return false;
    }
    if !cma::has_slot(boot) {
        warning!(boot, "cma: Not enough slots for CMA reserved regions!");
        warning!(boot, "Reserved memory: unable to setup CMA region");
        return false;
    }
    cma::register(boot, node.name, range);
    if default && let Some(area) = boot.cma.last_mut() {
        area.default = true;
    }
    boot.reserved_mem.set_outcome(at, Outcome::Cma(default));
    info!(
        boot,
        "Reserved memory: created CMA memory pool at {}, size {} MiB",
        boot.pa(range.start),
        range.len() >> 20
    );
    true
}

/// Keeps the core header of the kernel that crashed (`fdt_reserve_elfcorehdr`): where the tree says, or the command
/// line, which may give the address alone.
fn reserve_elfcorehdr(boot: &mut Boot<'_>, tree: &DeviceTree<'_>) -> Result<(), BootError> {
    if !boot.machine.config.crash_dump {
        return Ok(());
    }
    let mut header = tree.chosen().elfcorehdr.unwrap_or_default();
    if let Some(asked) = boot.params.elfcorehdr {
        header = PhysRange::from_len(PhysAddr::new(asked.address), asked.size.unwrap_or(header.len()));
    }
    if header.is_empty() {
        return Ok(());
    }
    if boot.mb.is_region_reserved(header) {
        warning!(boot, "OF: fdt: elfcorehdr is overlapped");
        return Ok(());
    }
    boot.mb.set_caller("early_init_fdt_scan_reserved_mem");
    boot.mb.reserve(header)?;
    let (kib, at) = (header.len() >> 10, header.start);
    info!(boot, "OF: fdt: Reserving {kib} KiB of memory at 0x{at:x} for elfcorehdr");
    Ok(())
}

/// The verdicts of a boot, in tree order.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    list: ArrayVec<Verdict, { 2 * MAX_RESERVED_REGIONS }>,
    /// Nodes for which there was no room here.
    pub dropped: u32,
}

impl Verdicts {
    fn push(&mut self, v: Verdict) -> usize {
        if self.list.try_push(v).is_err() {
            self.dropped += 1;
            return usize::MAX;
        }
        self.list.len() - 1
    }

    fn set_outcome(&mut self, at: usize, outcome: Outcome) {
        if let Some(v) = self.list.get_mut(at) {
            v.outcome = outcome;
        }
    }

    fn set_range(&mut self, at: usize, range: PhysRange) {
        if let Some(v) = self.list.get_mut(at) {
            v.range = range;
        }
    }

    /// One verdict by position.
    pub fn get(&self, at: usize) -> Option<&Verdict> {
        self.list.get(at)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Verdict> {
        self.list.iter()
    }
}
