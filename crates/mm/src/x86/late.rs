//! The rest of x86's `setup_arch`, its per-CPU areas and `mem_init`.

use super::{MAX_DMA32_PFN, PAGE, X86};
use crate::boot::{Boot, info};
use crate::error::BootError;
use crate::percpu::{CpuPlace, MAX_CPUS};
use crate::{early, percpu, pgtable};
use arrayvec::ArrayVec;
use pagewright_addr::{NodeId, Pfn, PhysAddr};
use pagewright_firmware::Arch;
use pagewright_firmware::e820::E820Kind;

/// `sizeof(struct resource)`.
fn resource_bytes(b: &Boot<'_>) -> u64 {
    // Four addresses and words, then four pointers; resource_size_t has 64 bits with PAE.
    match b.machine.arch {
        Arch::X86_64 => 64,
        _ if b.machine.config.lpae => 40,
        _ => 32,
    }
}

/// What is allocated between the zones and the end of `setup_arch`: ACPI, EFI's logo, IO APICs, resources of the e820 map.
pub(super) fn rest_of_setup_arch(b: &mut Boot<'_>, x: &mut X86<'_>) -> Result<(), BootError> {
    let line = b.cache_line();
    let resource = resource_bytes(b);
    if x.pc.hpet {
        b.mb.set_caller("acpi_parse_hpet");
        b.alloc(resource + 9, line)?;
    }
    super::efi::reserve_boot_logo(b, x.pc, &mut x.efi_copy, &mut x.e820)?;
    crate::cpus::prefill_possible_map(b, x.pc.hotplug_cpus)?;
    online_cpu_nodes(b);
    if !x.pc.io_apics.is_empty() {
        b.mb.set_caller("io_apic_init_mappings");
        b.alloc(x.pc.io_apics.len() as u64 * (resource + 11), line)?;
    }
    b.mb.set_caller("e820__reserve_resources");
    b.alloc(x.e820.entries().len() as u64 * resource, line)?;
    b.mb.set_caller("firmware_map_add_early");
    let entry = if b.machine.arch == Arch::X86_64 { 104 } else { 64 };
    for _ in 0..x.firmware_entries {
        b.alloc(entry, line)?;
    }
    register_nosave_regions(b, x)?;
    pci_gap(b, x);
    info!(b, "Booting paravirtualized kernel on bare hardware");
    Ok(())
}

/// `init_cpu_to_node`: a node that has CPUs is online even without memory.
fn online_cpu_nodes(b: &mut Boot<'_>) {
    let nodes: ArrayVec<NodeId, 512> =
        b.cpu_nodes.iter().copied().take(b.possible_cpus.ids() as usize).collect();
    for nid in nodes {
        b.nodes_online.insert(nid);
    }
}

/// `e820__register_nosave_regions`: gaps between RAM that hibernation must not touch.
fn register_nosave_regions(b: &mut Boot<'_>, x: &X86<'_>) -> Result<(), BootError> {
    let long = b.long_bytes();
    let line = b.cache_line();
    let shift = b.machine.config.page_shift;
    b.mb.set_caller("register_nosave_region");
    let mut end = PhysAddr::ZERO;
    let mut last: Option<(Pfn, Pfn)> = None;
    for e in x.e820.iter().filter(|e| matches!(e.kind, E820Kind::Ram | E820Kind::ReservedKern)) {
        if end.get() < e.start.get() {
            nosave(b, &mut last, end.pfn(shift), e.start.pfn_up(shift), 4 * long, line)?;
        }
        end = e.end();
    }
    nosave(b, &mut last, end.pfn(shift), x.max_pfn, 4 * long, line)?;
    if let Some((start, end)) = last {
        say_nosave(b, start, end);
    }
    Ok(())
}

/// A region that follows the last one directly extends it.
fn nosave(
    b: &mut Boot<'_>,
    last: &mut Option<(Pfn, Pfn)>,
    start: Pfn,
    end: Pfn,
    bytes: u64,
    line: u64,
) -> Result<(), BootError> {
    if start >= end {
        return Ok(());
    }
    if let Some((_, last_end)) = last
        && *last_end == start
    {
        *last_end = end;
        return Ok(());
    }
    if let Some((s, e)) = *last {
        say_nosave(b, s, e);
    }
    b.alloc(bytes, line)?;
    *last = Some((start, end));
    Ok(())
}

fn say_nosave(b: &Boot<'_>, start: Pfn, end: Pfn) {
    let shift = b.machine.config.page_shift;
    info!(
        b,
        "PM: hibernation: Registered nosave memory: [mem {:#010x}-{:#010x}]",
        start.phys(shift),
        end.phys(shift).saturating_sub(1)
    );
}

/// `e820__setup_pci_gap`: the largest hole below 4 GiB.
fn pci_gap(b: &Boot<'_>, x: &X86<'_>) {
    let mut last = 1u64 << 32;
    let mut size = 0x40_0000;
    let mut start = 0;
    for e in x.e820.entries().iter().rev() {
        let (s, end) = (e.start.get(), e.end().get());
        if last > end && last - end >= size {
            (size, start) = (last - end, end);
        }
        last = last.min(s);
    }
    if start > 0 {
        info!(b, "[mem {:#010x}-{:#010x}] available for PCI devices", start, start + size - 1);
    }
}

fn cpu_places(b: &Boot<'_>) -> Result<ArrayVec<CpuPlace, MAX_CPUS>, BootError> {
    let mut out = ArrayVec::new();
    for cpu in b.possible_cpus.iter() {
        let node = b.cpu_nodes.get(cpu as usize).copied();
        // Without a table, CPUs go round the nodes that have memory.
        let node = node.or_else(|| {
            let online = b.nodes_online.len().max(1);
            b.nodes_online.iter().nth(cpu as usize % online)
        });
        out.try_push(CpuPlace { cpu, node: node.filter(|_| b.machine.config.numa) })
            .map_err(|_| BootError::TooMany { what: "possible CPUs", limit: MAX_CPUS as u64 })?;
    }
    Ok(out)
}

/// `setup_per_cpu_areas`.
pub(crate) fn setup_per_cpu_areas(b: &mut Boot<'_>) -> Result<(), BootError> {
    let cpus = cpu_places(b)?;
    let nodes = b.nodes_possible.iter().last().map_or(1, |n| n.index() + 1);
    let possible = b.possible_cpus.ids();
    info!(
        b,
        "setup_percpu: NR_CPUS:{} nr_cpumask_bits:{possible} nr_cpu_ids:{possible} nr_node_ids:{nodes}",
        b.machine.config.nr_cpus
    );
    let sizes = percpu::sizes(b);
    let grouped = b.machine.config.numa;
    percpu::first_chunk(b, sizes, &cpus, grouped, "setup_percpu: ")?;
    if b.machine.config.numa {
        // With many possible CPUs masks lie outside the kernel's data: one for each node, then four that track
        // CPUs as they come up.
        let line = b.cache_line();
        let mask = u64::from(possible).div_ceil(64) * 8;
        b.mb.set_caller("alloc_bootmem_cpumask_var");
        for _ in 0..nodes + 4 {
            b.alloc(mask, line)?;
        }
    }
    if b.machine.arch == Arch::I386 {
        pgtable::i386::head::sync_initial_page_table(b)?;
    }
    Ok(())
}

/// i386's page for a table, once low memory is mapped (`alloc_low_page`).
pub(crate) fn low_table(b: &mut Boot<'_>) -> Result<PhysAddr, BootError> {
    let none = BootError::Space { what: "page tables before low memory is mapped" };
    let mut mapped = b.x86_mapped.take().ok_or(none)?;
    let page = super::mapping::take_more(b, &mut mapped, 1);
    *b.x86_mapped = Some(mapped);
    page
}

/// CONFIG_SWIOTLB: wherever physical addresses are wider than 32 bits.
pub(crate) fn has_swiotlb(b: &Boot<'_>) -> bool {
    b.machine.arch == Arch::X86_64 || b.machine.arch == Arch::I386 && b.machine.config.lpae
}

/// Whether there is or can be memory that 32-bit devices do not reach (`pci_swiotlb_detect`).
pub(crate) fn addressing_limit(b: &Boot<'_>) -> bool {
    b.max_possible_pfn > MAX_DMA32_PFN
}

/// Pages of one CPU entry area on x86_64: GDT, entry stack, three of the TSS; exception stacks, each of two pages
/// above a guard page, six and a last guard; the debug store with 32 pages of buffers.
const ENTRY_AREA_PAGES: u64 = 5 + 6 * 3 + 1 + 33;
/// How far into it pages are mapped where there is no debug store: the last two stacks are for encrypted guests.
const ENTRY_AREA_MAPPED: u64 = 5 + 4 * 3;

/// Tables of the CPU entry areas on x86_64, which no others share: the areas follow each other after the page of the
/// IDT, from an address that is aligned well.
fn entry_area_tables(pages: u64) -> u64 {
    const ENTRIES: u64 = 512;
    let tables = pages.div_ceil(ENTRIES);
    tables + tables.div_ceil(ENTRIES) + 1
}

/// Pages from the IDT's to the last one that is mapped of the last CPU's area.
fn entry_area_pages(b: &Boot<'_>) -> u64 {
    let mapped = if b.machine.cpus.debug_store { ENTRY_AREA_PAGES } else { ENTRY_AREA_MAPPED };
    1 + (b.num_possible_cpus() - 1) * ENTRY_AREA_PAGES + mapped
}

/// `mem_init`, and the tables of the CPU entry area that `trap_init` makes just before.
pub(crate) fn mem_init(b: &mut Boot<'_>) -> Result<(), BootError> {
    if b.machine.arch == Arch::X86_64 {
        let pages = entry_area_pages(b);
        pgtable::x86::entry_areas(b, pages, entry_area_tables(pages), &mut |b| {
            b.mb.set_caller("spp_getpage");
            Ok(b.alloc(PAGE, PAGE)?)
        })?;
    } else if let Some(mut mapped) = b.x86_mapped.take() {
        pgtable::i386::put::entry_areas(b, &mut |b, count| super::mapping::take_more(b, &mut mapped, count))?;
        pgtable::i386::head::sync_initial_page_table(b)?;
    }
    info!(b, "mem auto-init: {}", b.auto_init_text());
    if b.machine.arch == Arch::I386 && b.machine.config.highmem {
        free_highmem_lines(b);
    }
    if has_swiotlb(b) {
        let limited = addressing_limit(b);
        early::swiotlb_init(b, limited, PhysAddr::new(u32::MAX.into()), false)?;
    }
    Ok(())
}

/// `set_highmem_pages_init`: high memory enters the buddy zone by zone.
fn free_highmem_lines(b: &Boot<'_>) {
    let Some(layout) = &b.layout else { return };
    for node in layout.nodes().iter().filter(|n| n.online) {
        for kind in layout.config().zones.iter().filter(|k| layout.is_highmem(*k)) {
            let pfns = node.zone(kind).pfns();
            info!(
                b,
                "Initializing {kind} for node {} ({:08x}:{:08x})",
                node.nid,
                pfns.start.get(),
                pfns.end.get()
            );
        }
    }
}
