//! 32-bit Arm: `setup_arch` from the device tree (or a list of ATAGs) to zones, and what follows of it in
//! `start_kernel`. Short descriptors and LPAE.
//!
//! The kernel maps only the low part of memory permanently; where that part ends (`lowmem`) decides where nearly
//! everything lies. The page tables themselves belong to the page-table layer; `paging` counts which table pages
//! there are, because each is a memblock allocation.
//!
//! Where the image says what:
//! - `image.text_start` (`_stext`, KERNEL_START) to `image.end` is what `arm_memblock_init` reserves;
//! - `image.load_start()` (`_text`) lies TEXT_OFFSET above PHYS_OFFSET, and the boot page tables (`swapper_pg_dir`, 16 KiB
//!   of section entries, or 20 KiB with LPAE) end where `_text` begins;
//! - PHYS_OFFSET, the physical address of PAGE_OFFSET, follows from the load address as the decompressor chooses it,
//!   see `phys_offset`.
//!
//! Sources: Documentation/arm (booting, memory layout, uncompressing), the Arm ARM for descriptors, and the behaviour
//! that captured boots show.

mod atags;
mod board;
mod crash;
mod limits;
mod lowmem;
mod memblock_init;
mod memmap;
mod paging;
mod phys;

pub use board::{Board, StaticMap};

use crate::boot::{Boot, info};
use crate::error::BootError;
use crate::pgtable::arm::head;
use crate::sink::Phase;
use crate::{early, fdt, free_area, memtest, numa, percpu, sparse};
use pagewright_addr::{Pfn, PhysAddr};
use pagewright_firmware::Firmware;
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_memblock::Set;
use pagewright_zone::ZoneKind;

/// What the phases of the arm boot pass on.
struct Arm<'a> {
    /// The device tree; `None` on a machine that hands over ATAGs.
    tree: Option<DeviceTree<'a>>,
    /// What the kernel's machine description asks for.
    board: Board,
    /// Bytes kept for vmalloc (`vmalloc_size`).
    vmalloc_size: u64,
    /// The RAM disk that firmware and command line name (`phys_initrd_start`), before it is checked.
    initrd: Option<pagewright_addr::PhysRange>,
}

/// `setup_arch`.
///
/// # Errors
/// See [`BootError`].
pub(crate) fn setup_arch(b: &mut Boot<'_>) -> Result<(), BootError> {
    let machine = b.machine;
    info!(b, "Booting Linux on physical CPU {:#x}", crate::cpus::boot_id(b));
    let mut arm = match &machine.firmware {
        Firmware::DeviceTree { tree, .. } => {
            b.memstart = phys::phys_offset(b, Some(tree));
            head::start(b)?;
            let tree = fdt::setup_machine_fdt(b)?;
            let initrd = fdt::initrd(b, &tree);
            Arm {
                board: Board::of(tree.compatible_root(), &machine.config),
                tree: Some(tree),
                vmalloc_size: 0,
                initrd,
            }
        }
        Firmware::Atags(tags) => {
            b.memstart = phys::phys_offset(b, None);
            head::start(b)?;
            let initrd = atags::setup_machine_tags(b, tags)?;
            Arm { tree: None, board: Board::default(), vmalloc_size: 0, initrd }
        }
        Firmware::Pc(_) => {
            return Err(BootError::Unsupported { what: "an arm machine with a PC's memory map" });
        }
    };
    head::early_fixmap_init(b)?;
    b.phase(Phase::EarlyParams);
    early::early_param_lines(b);
    limits::early_mem(b)?;
    arm.vmalloc_size = limits::vmalloc_size(b);
    arm.initrd = b.params.initrd.or(arm.initrd).filter(|r| !r.is_empty());
    b.dma_limit = dma_limit(b, &arm.board);
    crate::efi::efi_init(b)?;
    if b.mb.regions(Set::Memory).is_empty() {
        return Err(BootError::NoMemory { empty_node: false });
    }
    b.phase(Phase::Memblock);
    lowmem::adjust_lowmem_bounds(b, arm.vmalloc_size)?;
    memblock_init::arm_memblock_init(b, &arm)?;
    // Reservations without a mapping take memory away: the bounds may have moved.
    lowmem::adjust_lowmem_bounds(b, arm.vmalloc_size)?;
    crate::check::memory(b)?;
    b.phase(Phase::PagingInit);
    paging::paging_init(b, &arm.board)?;
    b.phase(Phase::BootmemInit);
    let low = bootmem_init(b)?;
    b.phase(Phase::SetupArch);
    request_standard_resources(b)?;
    if let Some(tree) = &arm.tree {
        fdt::unflatten_device_tree(b, tree)?;
    }
    crate::cpus::arm_dt_init_cpu_maps(b);
    if machine.config.kexec_core {
        crash::reserve_crashkernel(b, low)?;
    }
    Ok(())
}

/// `setup_dma_zone`: the end of the memory that the narrowest DMA reaches. Without a restriction that is 4 GiB, also
/// with LPAE.
fn dma_limit(b: &Boot<'_>, board: &Board) -> PhysAddr {
    match board.dma_zone_size {
        Some(size) if b.machine.config.zone_dma => b.memstart.saturating_add(size),
        _ => PhysAddr::new(1 << 32),
    }
}

/// `__pa(MAX_DMA_ADDRESS)`: the end of the DMA zone if it is narrower than the kernel's address space, else the top
/// of that space.
pub(crate) fn max_dma_address(b: &Boot<'_>) -> PhysAddr {
    let space = (1u64 << 32) - u64::from(b.machine.config.page_offset);
    let Firmware::DeviceTree { tree, .. } = &b.machine.firmware else {
        return phys::pa(b, space - 1);
    };
    let board = Board::of(tree.compatible_root(), &b.machine.config);
    match board.dma_zone_size {
        Some(size) if b.machine.config.zone_dma && size < space => phys::pa(b, size),
        _ => phys::pa(b, space - 1),
    }
}

/// Frame numbers that bound low memory (`min_low_pfn`, `max_low_pfn`).
#[derive(Clone, Copy, Debug)]
struct LowPfns {
    min: Pfn,
    max: Pfn,
}

/// `bootmem_init`: limits, sections and zones.
fn bootmem_init(b: &mut Boot<'_>) -> Result<LowPfns, BootError> {
    let shift = b.machine.config.page_shift;
    b.mb.allow_resize();
    let low = LowPfns { min: b.mb.start_of_dram().pfn_up(shift), max: b.mb.current_limit().pfn(shift) };
    memtest::early_memtest(b)?;
    numa::single_node(b)?;
    sparse::sparse_init(b)?;
    let mut max = [Pfn::ZERO; ZoneKind::COUNT];
    if b.machine.config.zone_dma {
        // The limit is the last byte's frame here, not the one after it.
        max[ZoneKind::Dma.index()] = b.dma_limit.saturating_sub(1).pfn(shift).min(low.max);
    }
    max[ZoneKind::Normal.index()] = low.max;
    if b.machine.config.highmem {
        max[ZoneKind::HighMem.index()] = b.mb.end_of_dram().pfn(shift);
    }
    free_area::free_area_init(b, max, 0)?;
    Ok(low)
}

/// One resource for each range of mapped memory, each from an allocation of its own.
fn request_standard_resources(b: &mut Boot<'_>) -> Result<(), BootError> {
    // struct resource: two addresses, the name, flags, a description and three links.
    let bytes = if b.phys_addr_is_64bit() { 40 } else { 32 };
    let line = b.cache_line();
    b.mb.set_caller("setup_arch");
    for _ in 0..b.mb.mem_ranges().count() {
        b.alloc(bytes, line)?;
    }
    Ok(())
}

/// The first chunk, in one group: there are no nodes.
pub(crate) fn setup_per_cpu_areas(b: &mut Boot<'_>) -> Result<(), BootError> {
    let cpus = crate::cpus::places(b);
    let sizes = percpu::sizes(b);
    percpu::first_chunk(b, sizes, &cpus, false, "")?;
    Ok(())
}

/// `mem_init` up to the hand-over: bounce buffers, which only LPAE kernels have, and the maps of holes.
pub(crate) fn mem_init(b: &mut Boot<'_>) -> Result<(), BootError> {
    info!(b, "mem auto-init: {}", b.auto_init_text());
    if b.machine.config.lpae {
        let shift = b.machine.config.page_shift;
        let limited = b.mb.end_of_dram().pfn(shift) > b.dma_limit.saturating_sub(1).pfn(shift);
        early::swiotlb_init(b, limited, pagewright_memblock::ARCH_LOW_ADDRESS_LIMIT, true)?;
    }
    memmap::free_unused_memmap(b)
}
