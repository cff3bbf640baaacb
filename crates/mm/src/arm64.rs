//! arm64: `setup_arch` from the device tree to zones, and what follows of it in `start_kernel`.
//!
//! Sources: Documentation/arm64/booting and memory, the Arm ARM for address sizes, and the behaviour that captured
//! boots show.

mod paging;

use crate::boot::{Boot, info, warning};
use crate::error::BootError;
use crate::pgtable::arm64::fixmap;
use crate::sink::Phase;
use crate::{cma, crash, early, efi, fdt, free_area, numa, percpu, reserved_mem, sparse};
use pagewright_addr::{Pfn, PhysAddr, PhysRange};
use pagewright_firmware::ArmAcpi;
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_memblock::Set;
use pagewright_zone::ZoneKind;

/// `setup_arch`.
///
/// # Errors
/// See [`BootError`].
pub(crate) fn setup_arch(b: &mut Boot<'_>) -> Result<(), BootError> {
    fixmap::start(b)?;
    let tree = fdt::setup_machine_fdt(b)?;
    fixmap::protect_fdt(b)?;
    b.phase(Phase::EarlyParams);
    early::early_param_lines(b);
    fixmap::map_earlycon(b)?;
    if let Some(limit) = b.params.mem_limit() {
        info!(b, "Memory limited to {}MB", limit >> 20);
    }
    efi::efi_init(b)?;
    b.phase(Phase::Memblock);
    arm64_memblock_init(b, &tree)?;
    crate::check::memory(b)?;
    b.phase(Phase::PagingInit);
    paging::paging_init(b)?;
    // Where ACPI describes the machine, the tree is not looked at again.
    let acpi = efi::acpi(b, &tree);
    match acpi {
        Some(_) => efi::reserve_boot_logo(b)?,
        None => fdt::unflatten_device_tree(b, &tree)?,
    }
    b.phase(Phase::BootmemInit);
    bootmem_init(b, &tree, acpi)?;
    b.phase(Phase::SetupArch);
    request_standard_resources(b)?;
    if let Some(acpi) = acpi.filter(|_| b.machine.config.numa) {
        numa::map_cpus_to_nodes(b, acpi);
    }
    crate::cpus::smp_init_cpus(b);
    Ok(())
}

/// Bytes that the linear map can cover: half of the kernel's address space. A kernel for 52 bits keeps its upper half
/// for 48, so that only the linear map is larger on a processor that has them all. (Where such a kernel runs KVM without
/// the host extensions it makes do with half of that.)
fn linear_region_size(b: &Boot<'_>) -> u64 {
    match (b.machine.config.va_bits, b.machine.cpus.la57) {
        (52, true) => (1 << 52) - (1 << 47),
        (52, false) => 1 << 47,
        (bits, _) => 1 << (bits - 1),
    }
}

/// ARM64_MEMSTART_ALIGN: what one entry above the leaf blocks covers, and no less than a section of the memory map.
fn memstart_align(b: &Boot<'_>) -> u64 {
    let shift = b.machine.config.page_shift.get();
    let block = if shift == 12 { 30 } else { 2 * shift - 3 + if shift == 14 { 5 } else { 0 } };
    1 << block.max(b.machine.config.section_size_bits())
}

/// `arm64_memblock_init`: limits memory to what the linear map reaches and reserves what is in use.
fn arm64_memblock_init<'a>(b: &mut Boot<'a>, tree: &DeviceTree<'a>) -> Result<(), BootError> {
    let image = b.machine.image;
    let reach = linear_region_size(b);
    b.mb.set_caller("arm64_memblock_init");
    // Nothing above what the processor can address.
    b.mb.remove_sized(PhysAddr::new(1 << b.machine.config.pa_bits), u64::MAX)?;
    if b.mb.regions(Set::Memory).is_empty() {
        return Err(BootError::NoMemory { empty_node: false });
    }
    let align = memstart_align(b);
    b.memstart = b.mb.start_of_dram().align_down(align);
    if b.mb.end_of_dram().get() - b.memstart.get() > reach {
        warning!(b, "Memory doesn't fit in the linear mapping, VA_BITS too small");
    }
    // The kernel image must stay reachable: cut above it, then, if that was not enough, below.
    let top = b.memstart.saturating_add(reach).max(image.end);
    b.mb.remove_sized(top, u64::MAX)?;
    if b.memstart.saturating_add(reach) < b.mb.end_of_dram() {
        b.memstart = PhysAddr::new(b.mb.end_of_dram().get() - reach).align_up(align);
        b.mb.remove(PhysRange::new(PhysAddr::ZERO, b.memstart))?;
    }
    if b.machine.config.va_bits == 52 && !b.machine.cpus.la57 {
        // Memory moves up to where 48 bits reach; the start of the map then lies before address 0, and wraps.
        b.memstart = PhysAddr::new(b.memstart.get().wrapping_sub((1 << 52) - (1 << 48)));
    }
    if let Some(limit) = b.params.mem_limit() {
        b.mb.mem_limit_remove_map(limit & !(b.page_bytes() - 1))?;
        b.mb.add(PhysRange::new(image.load_start(), image.end))?;
    }
    let mut initrd = fdt::initrd(b, tree);
    if let Some(range) = initrd {
        let page = b.page_bytes();
        let whole = PhysRange::new(range.start.align_down(page), range.end.align_up(page));
        let start = b.mb.start_of_dram();
        if whole.start < start || whole.end > start.saturating_add(reach) {
            warning!(
                b,
                "initrd not fully accessible via the linear mapping -- please check your bootloader ..."
            );
            initrd = None;
        } else {
            b.mb.add(whole)?;
            b.mb.clear_nomap(whole)?;
            b.mb.reserve(whole)?;
        }
    }
    b.initrd = initrd;
    randomize_linear_region(b, reach, align);
    b.mb.set_caller("arm64_memblock_init");
    b.mb.reserve(PhysRange::new(image.text_start, image.end))?;
    reserved_mem::scan(b, tree)?;
    if b.machine.config.kexec_core && !defer_reserve_crashkernel(b) {
        // From 5.18 on such kernels need nothing below an address.
        let limit = if b.version.since(5, 18) {
            PhysAddr::new(1 << b.machine.config.pa_bits)
        } else {
            max_zone_phys(b, 32)
        };
        crash::reserve_arm64(b, limit)?;
    }
    b.high_memory = b.mb.end_of_dram();
    Ok(())
}

/// Whether the crash kernel's memory is reserved when zones are known only (`defer_reserve_crashkernel`), after the linear map is made:
/// from 5.11 to 5.17 always, then where there are zones for DMA.
fn defer_reserve_crashkernel(b: &Boot<'_>) -> bool {
    let zones = b.machine.config.zone_dma || b.machine.config.zone_dma32;
    b.version.since(5, 11) && (zones || !b.version.since(5, 18))
}

/// Moves the start of the linear map by a random multiple of its alignment, if there is room and a seed.
fn randomize_linear_region(b: &mut Boot<'_>, reach: u64, align: u64) {
    let Some(seed) = b.machine.seed.filter(|_| b.machine.config.randomize_base && !b.params.nokaslr) else {
        return;
    };
    let parange = 1u64 << b.machine.cpus.phys_bits.clamp(32, 52);
    let span = reach.saturating_sub(parange);
    if span >= align {
        let steps = span / align;
        let step = (steps * (seed & 0xffff)) >> 16;
        b.memstart = PhysAddr::new(b.memstart.get().wrapping_sub(align.wrapping_mul(step)));
    }
}

/// `max_zone_phys`: the end of memory that `bits` of address reach, seen from where RAM starts.
fn max_zone_phys(b: &Boot<'_>, bits: u32) -> PhysAddr {
    let start = b.mb.start_of_dram().get();
    let mask = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
    let mask = if start > u64::from(u32::MAX) {
        u64::MAX
    } else if start > mask {
        u64::from(u32::MAX)
    } else {
        mask
    };
    PhysAddr::new(mask.min(b.mb.end_of_dram().get() - 1).saturating_add(1))
}

/// `bootmem_init`: nodes, sections, zones, CMA and the crash kernel.
fn bootmem_init(
    b: &mut Boot<'_>,
    tree: &DeviceTree<'_>,
    acpi: Option<&ArmAcpi<'_>>,
) -> Result<(), BootError> {
    crate::memtest::early_memtest(b)?;
    numa::arch_numa_init(b, tree, acpi)?;
    crate::hugetlb::cma_reserve(b)?;
    crate::hugetlb::pernuma_cma_reserve(b)?;
    sparse::sparse_init(b)?;
    zone_sizes_init(b, tree)?;
    cma::dma_contiguous_reserve(b, b.dma_limit)?;
    if b.machine.config.kexec_core && defer_reserve_crashkernel(b) {
        crash::reserve_arm64(b, b.dma_limit)?;
    }
    b.dump_memblock();
    Ok(())
}

fn zone_sizes_init(b: &mut Boot<'_>, tree: &DeviceTree<'_>) -> Result<(), BootError> {
    let shift = b.machine.config.page_shift;
    let mut max = [Pfn::ZERO; ZoneKind::COUNT];
    let dma32 = max_zone_phys(b, 32);
    b.dma_limit = PhysAddr::ZERO;
    if b.machine.config.zone_dma {
        // The narrowest bus decides, but no zone is needed above 32 bits.
        let bits = (u64::BITS - tree.dma_max_cpu_address().leading_zeros()).min(32);
        b.dma_limit = max_zone_phys(b, bits);
        max[ZoneKind::Dma.index()] = b.dma_limit.pfn(shift);
    }
    if b.machine.config.zone_dma32 {
        max[ZoneKind::Dma32.index()] = dma32.pfn(shift);
    }
    if b.dma_limit == PhysAddr::ZERO {
        b.dma_limit =
            if b.machine.config.zone_dma32 { dma32 } else { PhysAddr::new(1 << b.machine.config.pa_bits) };
    }
    max[ZoneKind::Normal.index()] = b.mb.end_of_dram().pfn(shift);
    free_area::free_area_init(b, max, 0)
}

/// One resource for each memory region.
fn request_standard_resources(b: &mut Boot<'_>) -> Result<(), BootError> {
    let regions = b.mb.regions(Set::Memory).len() as u64;
    b.mb.set_caller("setup_arch");
    let line = b.cache_line();
    b.alloc(regions * 64, line)?;
    Ok(())
}

/// The first chunk, grouped by node, or made of pages.
pub(crate) fn setup_per_cpu_areas(b: &mut Boot<'_>) -> Result<(), BootError> {
    let cpus = crate::cpus::places(b);
    let sizes = percpu::sizes(b);
    let grouped = b.machine.config.numa;
    percpu::first_chunk(b, sizes, &cpus, grouped, "NUMA: PERCPU: ")?;
    Ok(())
}

/// `mem_init`.
pub(crate) fn mem_init(b: &mut Boot<'_>) -> Result<(), BootError> {
    info!(b, "mem auto-init: {}", b.auto_init_text());
    let shift = b.machine.config.page_shift;
    let limited = b.mb.end_of_dram().pfn(shift) > b.dma_limit.pfn(shift);
    early::swiotlb_init(b, limited, PhysAddr::new(b.dma_limit.get() - 1), true)
}
