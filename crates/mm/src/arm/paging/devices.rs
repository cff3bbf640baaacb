//! What is mapped at fixed addresses above low memory: the device tree, vectors, the board's registers.

use super::super::board::{Board, StaticMap};
use super::{MIB, Mapping, Tables, early_alloc};
use crate::boot::Boot;
use crate::error::BootError;
use crate::pgtable::arm::{FDT_FIXED_BASE, MapType, PMD, clear_mapping, fdt_is_fixed, head};
use arrayvec::ArrayVec;
use pagewright_addr::VirtAddr;

/// Where the vectors lie; processors with low vectors have them at 0 besides.
const VECTORS: u64 = 0xffff_0000;
/// PCI_IO_VIRT_BASE, 2 MiB.
const PCI_IO: u64 = 0xfee0_0000;
/// The last PMD of the fixed mappings, which early ones are in.
const FIXADDR_TOP_PMD: u64 = 0xffe0_0000;
/// ITCM_OFFSET.
const ITCM_OFFSET: u64 = 0xfffe_0000;
/// DTCM_OFFSET.
const DTCM_OFFSET: u64 = 0xfffe_8000;
/// Bytes that there are addresses for, of either.
const TCM_BYTES: u64 = 0x8000;
/// VMALLOC_OFFSET.
const VMALLOC_OFFSET: u64 = 8 * MIB;

impl From<&StaticMap> for Mapping {
    fn from(m: &StaticMap) -> Self {
        Self { virt: m.virt.into(), phys: m.phys.into(), len: m.len.into(), ty: MapType::Device }
    }
}

/// VMALLOC_START: the hole behind low memory, and then to a multiple of its size.
fn vmalloc_start(b: &Boot<'_>) -> u64 {
    (b.linear_map().virt(b.high_memory).get() + VMALLOC_OFFSET) & !(VMALLOC_OFFSET - 1)
}

/// What the data cache is flushed by reading from (FLUSH_BASE, FLUSH_BASE_MINICACHE): 1 MiB each.
fn flush_windows(b: &mut Boot<'_>, t: &mut Tables) -> Result<(), BootError> {
    let Some(flush) = b.machine.cpus.arm.cache_flush else { return Ok(()) };
    let window = |n: u64, virt: VirtAddr| Mapping {
        virt: virt.get(),
        phys: flush.phys.get().saturating_add(n * MIB),
        len: MIB,
        ty: MapType::CacheClean,
    };
    t.map(b, &window(0, flush.main))?;
    match flush.mini {
        Some(mini) => t.map(b, &window(1, mini)),
        None => Ok(()),
    }
}

/// `tcm_init`: tightly coupled memory, which the kernel moves to its virtual address; data before instructions.
pub(super) fn tcm_init(b: &mut Boot<'_>, t: &mut Tables) -> Result<(), BootError> {
    if !b.machine.config.have_tcm {
        return Ok(());
    }
    t.step = "tcm_init";
    let arm = b.machine.cpus.arm;
    for (at, bytes, ty) in [
        (DTCM_OFFSET, arm.dtcm_bytes, MapType::MemoryRwDtcm),
        (ITCM_OFFSET, arm.itcm_bytes, MapType::MemoryRwxItcm),
    ] {
        let len = u64::from(bytes).min(TCM_BYTES);
        if len > 0 {
            t.iotable(b, &[Mapping { virt: at, phys: at, len, ty }])?;
        }
    }
    Ok(())
}

/// `devicemaps_init`: vectors, the device tree (in sections), the board's registers, the window for PCI I/O if there is PCI.
pub(super) fn devicemaps_init(b: &mut Boot<'_>, t: &mut Tables, board: &Board) -> Result<(), BootError> {
    t.step = "devicemaps_init";
    let page = b.page_bytes();
    let vectors = early_alloc(b, 2 * page)?.get();
    clear_mapping(b, vmalloc_start(b), FIXADDR_TOP_PMD)?;
    if fdt_is_fixed(b.version)
        && let Some(at) = head::boot_params(b.machine, b.memstart)
    {
        let (phys, len) = (at.align_down(t.section).get(), 2 * t.section);
        t.map(b, &Mapping { virt: FDT_FIXED_BASE, phys, len, ty: MapType::MemoryRo })?;
    }
    flush_windows(b, t)?;
    let helpers = if b.machine.config.kuser_helpers { MapType::HighVectors } else { MapType::LowVectors };
    t.map(b, &Mapping { virt: VECTORS, phys: vectors, len: page, ty: helpers })?;
    if b.machine.cpus.arm.low_vectors {
        t.map(b, &Mapping { virt: 0, phys: vectors, len: 2 * page, ty: MapType::LowVectors })?;
    }
    // The code that the vectors branch to.
    let (virt, phys) = (VECTORS + page, vectors + page);
    t.map(b, &Mapping { virt, phys, len: page, ty: MapType::LowVectors })?;
    for call in board.static_maps {
        let maps: ArrayVec<Mapping, 16> = call.iter().take(16).map(Mapping::from).collect();
        t.iotable(b, &maps)?;
    }
    t.fill_pmd_gaps(b)?;
    if !b.machine.config.pci || t.fixed.iter().any(|f| (f.0..f.0 + f.1).contains(&PCI_IO)) {
        return Ok(());
    }
    t.reserve_area(b, PCI_IO, PMD, "pci_reserve_io")
}
