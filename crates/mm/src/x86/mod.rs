//! x86_64 and i386: `setup_arch` from the e820 map to zones, and what follows of it in `start_kernel`.
//!
//! Sources: Documentation/x86 (boot protocol, memory map), the ACPI specification for NUMA, and the behaviour that
//! captured boots show.

mod e820;
mod efi;
mod fake;
mod late;
mod mapping;
mod numa;

pub(crate) use late::{addressing_limit, has_swiotlb, low_table, mem_init, setup_per_cpu_areas};
pub(crate) use mapping::Mapped;

use crate::boot::{Boot, info, warning};
use crate::error::BootError;
use crate::sink::Phase;
use crate::{cma, early, free_area, hugetlb, pgtable, sparse};
use pagewright_addr::{Pfn, PhysAddr, PhysRange};
use pagewright_firmware::e820::E820Table;
use pagewright_firmware::{Arch, Firmware, Pc};
use pagewright_memblock::{Flags, Set};
use pagewright_zone::ZoneKind;

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// ISA_END_ADDRESS.
const ISA_END: PhysAddr = PhysAddr::new(MIB);
/// First frame above 4 GiB (MAX_DMA32_PFN).
const MAX_DMA32_PFN: Pfn = Pfn::new(4 * GIB / PAGE);
/// First frame above 16 MiB (MAX_DMA_PFN).
const MAX_DMA_PFN: Pfn = Pfn::new(16 * MIB / PAGE);

/// What the phases of the x86 boot pass on.
pub(crate) struct X86<'a> {
    /// The firmware's tables.
    pc: &'a Pc<'a>,
    /// The working copy of the map.
    e820: E820Table,
    /// `max_pfn`: one past the last frame of RAM.
    max_pfn: Pfn,
    /// `max_low_pfn`: the same below 4 GiB until everything is mapped; of low memory on i386.
    max_low_pfn: Pfn,
    /// Entries of the firmware's map once sanitised (`e820_table_firmware`).
    firmware_entries: usize,
    /// What the direct map covers.
    mapped: mapping::Mapped,
    /// EFI's map, once it had to be changed.
    efi_copy: efi::MapCopy,
}

/// `setup_arch`.
///
/// # Errors
/// See [`BootError`].
pub(crate) fn setup_arch<'a>(b: &mut Boot<'a>) -> Result<(), BootError> {
    let machine = b.machine;
    let Firmware::Pc(pc) = &machine.firmware else {
        return Err(BootError::Unsupported { what: "an x86 machine without an e820 map" });
    };
    if machine.arch == Arch::X86_64 {
        pgtable::x86::start_kernel(b)?;
    } else {
        let end = mapping::initial_pages_mapped(b);
        pgtable::i386::head::start_kernel(b, end)?;
    }
    early_reserve_memory(b, pc)?;
    let e820 = e820::memory_setup(b, pc)?;
    let firmware_entries = e820.entries().len();
    b.phase(Phase::EarlyParams);
    early::early_param_lines(b);
    if b.mb.movable_node() {
        // SRAT is not read yet: memory next to the image is the least likely to be unplugged.
        b.mb.set_bottom_up(true);
    }
    let mut x = X86 {
        pc,
        e820,
        max_pfn: Pfn::ZERO,
        max_low_pfn: Pfn::ZERO,
        firmware_entries,
        mapped: mapping::Mapped::default(),
        efi_copy: efi::MapCopy::default(),
    };
    e820::parse_early_params(b, &mut x.e820)?;
    efi::memblock_reserve_range(b, pc, &mut x.e820)?;
    e820::reserve_setup_data(b, pc, &mut x.e820)?;
    e820::finish_early_params(b, &mut x.e820)?;
    crate::efi::config_tables(b, &pc.efi)?;
    e820::trim_bios_range(b, &mut x.e820)?;
    find_max_pfn(b, &mut x)?;
    b.phase(Phase::Memblock);
    find_smp_config(b, pc)?;
    reserve_brk(b)?;
    if let Some(tables) = b.pgtable.filter(|_| machine.arch == Arch::X86_64) {
        pgtable::x86::finish::cleanup_highmap(&tables, machine).map_err(BootError::PageTables)?;
    }
    b.mb.set_current_limit(ISA_END);
    e820::memblock_setup(b, &x.e820)?;
    efi::after_memblock_setup(b, pc, &mut x.efi_copy, &mut x.e820)?;
    if b.mb.regions(Set::Memory).is_empty() {
        return Err(BootError::NoMemory { empty_node: false });
    }
    if machine.arch == Arch::I386 {
        let mapped = mapping::initial_pages_mapped(b);
        info!(b, "initial memory mapped: [mem 0x00000000-{:#010x}]", mapped.get() - 1);
    }
    reserve_real_mode(b)?;
    crate::check::memory(b)?;
    b.phase(Phase::PagingInit);
    mapping::init_mem_mapping(b, &mut x)?;
    b.mb.set_current_limit(x.mapped.max_pfn.phys(b.machine.config.page_shift));
    early::setup_log_buf(b, true)?;
    reserve_initrd(b, &x)?;
    for range in pc.acpi_tables {
        b.mb.set_caller("acpi_reserve_initial_tables");
        b.mb.reserve(*range)?;
    }
    b.phase(Phase::BootmemInit);
    initmem_init(b, &mut x)?;
    cma::dma_contiguous_reserve(b, x.mapped.max_pfn.phys(b.machine.config.page_shift))?;
    hugetlb::cma_reserve(b)?;
    if machine.config.kexec_core {
        crate::crash::reserve_x86(b)?;
    }
    let dma_reserve = if machine.arch == Arch::X86_64 { find_dma_reserve(b) } else { 0 };
    if machine.arch == Arch::I386 {
        mapping::pagetable_init(b, &mut x)?;
    }
    sparse::sparse_init(b)?;
    zone_sizes_init(b, &x, dma_reserve)?;
    if machine.arch == Arch::I386 {
        pgtable::i386::head::sync_initial_page_table(b)?;
    }
    b.phase(Phase::SetupArch);
    late::rest_of_setup_arch(b, &mut x)?;
    if let Some(tables) = b.pgtable {
        pgtable::x86::apics(b, &tables).map_err(BootError::PageTables)?;
    }
    *b.e820 = Some(x.e820);
    *b.x86_mapped = Some(x.mapped);
    Ok(())
}

/// `early_reserve_memory`: what is in use before anyone asks. Not logged: the command line is not parsed yet.
fn early_reserve_memory(b: &mut Boot<'_>, pc: &Pc<'_>) -> Result<(), BootError> {
    let image = b.machine.image;
    b.mb.set_caller("early_reserve_memory");
    b.mb.reserve(PhysRange::new(image.text_start, image.end))?;
    // The BIOS corrupts the first 64 KiB on some boards; frame 0 is never used.
    b.mb.reserve(PhysRange::from_len(PhysAddr::ZERO, 64 << 10))?;
    if let Some(initrd) = b.machine.initrd {
        let end = initrd.end.align_up(PAGE);
        b.mb.reserve(PhysRange::new(initrd.start, end))?;
    }
    for range in pc.setup_data {
        b.mb.reserve(*range)?;
    }
    // From where the BIOS keeps its data up to 1 MiB; the start it reports is believed within reason only.
    let (min, max) = (PhysAddr::new(0x2_0000), PhysAddr::new(0x9_f000));
    let start = pc.ebda.filter(|e| (min..=max).contains(e)).unwrap_or(max);
    b.mb.reserve(PhysRange::new(start, ISA_END))?;
    Ok(())
}

/// `max_pfn`, `max_low_pfn` and on i386 the split into low and high memory.
fn find_max_pfn(b: &mut Boot<'_>, x: &mut X86<'_>) -> Result<(), BootError> {
    let limit = Pfn::new(max_arch_pfn(b));
    x.max_pfn = end_pfn(b, &x.e820, limit, limit);
    match b.machine.arch {
        Arch::I386 => find_low_pfn_range(b, x)?,
        _ => {
            x.max_low_pfn =
                if x.max_pfn > MAX_DMA32_PFN { end_pfn(b, &x.e820, MAX_DMA32_PFN, limit) } else { x.max_pfn };
            b.high_memory = x.max_pfn.phys(b.machine.config.page_shift);
        }
    }
    b.max_possible_pfn = x.max_pfn;
    if x.max_pfn == Pfn::ZERO {
        return Err(BootError::NoMemory { empty_node: false });
    }
    Ok(())
}

fn end_pfn(b: &Boot<'_>, e820: &E820Table, limit: Pfn, max_arch: Pfn) -> Pfn {
    let last = e820.end_of_ram_pfn(limit);
    info!(b, "last_pfn = {:#x} max_arch_pfn = {:#x}", last, max_arch);
    last
}

/// MAXMEM in frames.
fn max_arch_pfn(b: &Boot<'_>) -> u64 {
    match b.machine.arch {
        Arch::I386 if b.machine.config.lpae => 1 << 24,
        Arch::I386 => 1 << 20,
        _ => 1 << (b.max_physmem_bits() - 12),
    }
}

/// Bytes kept for vmalloc, fixmap and the like on i386 (VMALLOC_RESERVE), unless `vmalloc=` says otherwise.
const VMALLOC_RESERVE: u64 = 128 * MIB;
/// The gap between low memory and vmalloc space, added to what `vmalloc=` asks for.
const VMALLOC_OFFSET: u64 = 8 * MIB;

/// `find_low_pfn_range`: what the kernel can map permanently, and what is high memory.
fn find_low_pfn_range(b: &mut Boot<'_>, x: &mut X86<'_>) -> Result<(), BootError> {
    // MAXMEM: the kernel's address space less what is kept at its end.
    let kept = b.params.vmalloc.map_or(VMALLOC_RESERVE, |v| v.saturating_add(VMALLOC_OFFSET));
    let end = b.i386_areas()?.vmalloc_end;
    let top = end.saturating_sub(u64::from(b.machine.config.page_offset));
    let max_low = Pfn::new(top.saturating_sub(kept) / PAGE);
    let highmem = b.params.highmem.map(|h| h / PAGE);
    if x.max_pfn <= max_low {
        let high = highmem.unwrap_or(0);
        x.max_low_pfn = Pfn::new(x.max_pfn.get().saturating_sub(high.min(x.max_pfn.get())));
    } else {
        let limit = max_low;
        x.max_low_pfn = limit;
        if !b.machine.config.highmem {
            warning!(b, "Warning only {}MB will be used.", (limit.get() * PAGE) >> 20);
            warning!(b, "Use a HIGHMEM enabled kernel.");
            x.max_pfn = limit;
        } else if !b.machine.config.lpae && x.max_pfn > MAX_DMA32_PFN {
            x.max_pfn = MAX_DMA32_PFN;
            warning!(b, "Warning only 4GB will be used. Use a HIGHMEM64G enabled kernel.");
        }
        if let Some(high) = highmem {
            let all_high = x.max_pfn.get() - limit.get();
            if high < all_high {
                x.max_pfn = Pfn::new(limit.get() + high);
            }
        }
    }
    b.high_memory = x.max_low_pfn.phys(b.machine.config.page_shift);
    Ok(())
}

/// `find_smp_config`: the MP tables are kept if the firmware left any.
fn find_smp_config(b: &mut Boot<'_>, pc: &Pc<'_>) -> Result<(), BootError> {
    let Some(mp) = pc.mp_table else { return Ok(()) };
    let fp = mp.floating_pointer;
    info!(b, "found SMP MP-table at [mem {:#010x}-{:#010x}]", fp.start, fp.end.saturating_sub(1));
    b.mb.set_caller("smp_scan_config");
    b.mb.reserve(fp)?;
    if let Some(table) = mp.table {
        b.mb.reserve(table)?;
    }
    Ok(())
}

/// `reserve_brk`: what the brk area holds when it closes.
fn reserve_brk(b: &mut Boot<'_>) -> Result<(), BootError> {
    let used = mapping::brk_used(b);
    if used > 0 {
        b.mb.set_caller("setup_arch");
        b.mb.reserve(PhysRange::from_len(b.machine.image.end, used))?;
    }
    Ok(())
}

/// `reserve_real_mode`: the trampoline lies below 1 MiB, then all of that is taken.
fn reserve_real_mode(b: &mut Boot<'_>) -> Result<(), BootError> {
    let bytes = u64::from(b.machine.build.real_mode_blob).next_multiple_of(PAGE);
    b.mb.set_caller("reserve_real_mode");
    match b.mb.phys_alloc_range(bytes, PAGE, PhysAddr::ZERO, ISA_END) {
        Ok(at) => b.real_mode = Some(at),
        Err(_) => info!(b, "No sub-1M memory is available for the trampoline"),
    }
    b.mb.reserve(PhysRange::new(PhysAddr::ZERO, ISA_END))?;
    Ok(())
}

/// `reserve_initrd`: one that is not in permanently mapped memory is moved.
fn reserve_initrd(b: &mut Boot<'_>, x: &X86<'_>) -> Result<(), BootError> {
    let Some(at) = b.machine.initrd.filter(|r| !r.is_empty()) else { return Ok(()) };
    let whole = PhysRange::new(at.start, at.end.align_up(PAGE));
    let last = whole.end.saturating_sub(1);
    info!(b, "RAMDISK: [mem {:#010x}-{:#010x}]", whole.start, last);
    if x.mapped.contains(whole.frames_inside(b.machine.config.page_shift)) {
        b.initrd = Some(at);
        return Ok(());
    }
    b.mb.set_caller("relocate_initrd");
    let bytes = at.len().checked_next_multiple_of(PAGE).unwrap_or(at.len());
    let limit = x.mapped.max_pfn.phys(b.machine.config.page_shift);
    let to = b.mb.phys_alloc_range(bytes, PAGE, PhysAddr::ZERO, limit)?;
    let last_moved = to.saturating_add(at.len() - 1);
    info!(b, "Allocated new RAMDISK: [mem {to:#010x}-{last_moved:#010x}]");
    info!(
        b,
        "Move RAMDISK from [mem {:#010x}-{:#010x}] to [mem {to:#010x}-{last_moved:#010x}]",
        at.start,
        at.end.saturating_sub(1)
    );
    b.mb.phys_free(whole)?;
    b.initrd = Some(PhysRange::from_len(to, at.len()));
    Ok(())
}

/// `initmem_init`: nodes on x86_64; on i386 everything is node 0 and the log says how much is high.
fn initmem_init(b: &mut Boot<'_>, x: &mut X86<'_>) -> Result<(), BootError> {
    if b.machine.config.numa {
        return numa::x86_numa_init(b, x);
    }
    if b.machine.arch == Arch::I386 && b.machine.config.highmem {
        info!(b, "{}MB HIGHMEM available.", ((x.max_pfn.get() - x.max_low_pfn.get()) * PAGE) >> 20);
    }
    crate::numa::single_node(b)?;
    if b.machine.arch == Arch::I386 {
        info!(b, "{}MB LOWMEM available.", (x.max_low_pfn.get() * PAGE) >> 20);
        info!(b, "  mapped low ram: 0 - {:08x}", x.mapped.max_low_pfn.get() * PAGE);
        info!(b, "  low ram: 0 - {:08x}", x.max_low_pfn.get() * PAGE);
    }
    Ok(())
}

/// `memblock_find_dma_reserve`: frames below 16 MiB that are reserved already.
fn find_dma_reserve(b: &Boot<'_>) -> u64 {
    let shift = b.machine.config.page_shift;
    let cut = |r: pagewright_addr::PfnRange| {
        r.end.min(MAX_DMA_PFN).get().saturating_sub(r.start.min(MAX_DMA_PFN).get())
    };
    let all: u64 = b.mb.mem_pfn_ranges(None).map(|(r, _)| cut(r)).sum();
    let free: u64 = b.mb.free_ranges(None, Flags::empty()).map(|(r, _)| cut(r.frames_inside(shift))).sum();
    all - free
}

fn zone_sizes_init(b: &mut Boot<'_>, x: &X86<'_>, dma_reserve: u64) -> Result<(), BootError> {
    let c = &b.machine.config;
    // On 64-bit everything is low once it is mapped.
    let low = if b.machine.arch == Arch::X86_64 { x.max_pfn } else { x.max_low_pfn };
    let mut max = [Pfn::ZERO; ZoneKind::COUNT];
    if c.zone_dma {
        max[ZoneKind::Dma.index()] = MAX_DMA_PFN.min(low);
    }
    if c.zone_dma32 {
        max[ZoneKind::Dma32.index()] = MAX_DMA32_PFN.min(low);
    }
    max[ZoneKind::Normal.index()] = low;
    if c.highmem {
        max[ZoneKind::HighMem.index()] = x.max_pfn;
    }
    free_area::free_area_init(b, max, dma_reserve)
}
