//! arm: which tables exist from the head to the running kernel, and what they map.
//!
//! The order of a boot: the head fills `swapper_pg_dir`, which ends where the image begins, with sections for itself, the image and the
//! device tree ([`head`]); `paging_init` (`crate::arm`) replaces them by what stays; when init memory is freed, the image's
//! sections get the permissions that they keep ([`finish`]). There is one top table all the time.
//!
//! A page of PTEs serves 2 MiB in both formats: with short descriptors it holds two of the hardware's tables, and
//! Linux's words beside them.
//!
//! Sources: Documentation/arm/memory, the Arm ARM for the entries, and what captured kernels' tables hold.

pub mod finish;
pub mod head;
mod put;
mod types;

pub(crate) use put::Piece;
pub use types::{DOMAIN_IO, DOMAIN_KERNEL, DOMAIN_VECTORS, MapType};

use super::{KernelFormat, KernelTables};
use crate::boot::Boot;
use crate::error::BootError;
use pagewright_addr::PhysAddr;
use pagewright_firmware::{Firmware, Machine};
use pagewright_kspace::Version;
use pagewright_pagetable::format::MemoryTypes;
use pagewright_pagetable::format::arm::lpae::{ArmLpae, ArmLpaeConfig};
use pagewright_pagetable::format::arm::short::{ArmShort, ArmShortConfig};

pub(crate) const PAGE: u64 = 4096;
/// PMD_SIZE: what one page of PTEs covers.
pub const PMD: u64 = 2 << 20;
/// The first byte above all addresses.
const TOP: u64 = 1 << 32;
/// FDT_FIXED_BASE: where the device tree is mapped, by two sections (FDT_FIXED_SIZE).
pub const FDT_FIXED_BASE: u64 = 0xff80_0000;

/// FIXADDR_START: where the fixed mappings begin.
pub const FIXADDR_START: u64 = 0xffc8_0000;
/// FIXADDR_END.
pub const FIXADDR_END: u64 = 0xfff0_0000;

/// SECTION_SIZE: what one entry maps without a table.
pub const fn section_bytes(lpae: bool) -> u64 {
    if lpae { 2 << 20 } else { 1 << 20 }
}

/// Bytes of `swapper_pg_dir` (PG_DIR_SIZE): 4096 entries, or with LPAE a page for the four of the first level and
/// the four tables that these lead to.
pub const fn swapper_bytes(lpae: bool) -> u64 {
    if lpae { 5 << 12 } else { 4 << 12 }
}

/// Where `swapper_pg_dir` is: right before the image.
pub fn swapper_pg_dir(machine: &Machine<'_>) -> PhysAddr {
    machine.image.load_start().saturating_sub(swapper_bytes(machine.config.lpae))
}

/// Whether the device tree has addresses of its own ([`FDT_FIXED_BASE`]): since 5.11. Before, the head showed it in the linear map,
/// where it stays.
pub const fn fdt_is_fixed(version: Version) -> bool {
    version.since(5, 11)
}

/// Whether the image is mapped apart from low memory (`map_kernel`): since 5.14. Before, `map_lowmem` mapped it with the bank that it
/// is in: banks below the image are executable as a whole, of the image's bank only the image's sections.
pub const fn maps_image_apart(version: Version) -> bool {
    version.since(5, 14)
}

/// Whether memory is mapped for more than one CPU (`is_smp`): not on processors without the multiprocessing extensions, where
/// a kernel for more finds out that it runs alone.
pub(crate) fn is_smp(machine: &Machine<'_>) -> bool {
    machine.config.smp && !uniprocessor(machine)
}

/// Whether the device tree's first processor is one that never has company: Cortex-A8, and those before ARMv7 but the ARM11
/// MPCore.
fn uniprocessor(machine: &Machine<'_>) -> bool {
    let Firmware::DeviceTree { tree, .. } = &machine.firmware else { return false };
    let mut cpus = tree.find("/cpus").into_iter().flat_map(|cpus| cpus.children());
    let Some(first) = cpus.find(|node| node.base_name() == "cpu") else { return false };
    let mut names = first.property("compatible").into_iter().flat_map(|p| p.strings());
    names.any(|name| match name.strip_prefix(b"arm,") {
        Some(name) => name == b"cortex-a8" || name.starts_with(b"arm") && name != b"arm11mpcore",
        None => false,
    })
}

/// The format of a machine's tables. Caches allocate on writes where several CPUs share memory (L_PTE_MT_WRITEALLOC), else
/// they do not (L_PTE_MT_WRITEBACK).
pub fn format(machine: &Machine<'_>) -> KernelFormat {
    const WRITEBACK: u8 = 3;
    let choose = |types: MemoryTypes| if is_smp(machine) { types } else { types.with_normal(WRITEBACK) };
    if machine.config.lpae {
        let memory = choose(MemoryTypes::ARM_LPAE);
        KernelFormat::ArmLpae(ArmLpae { config: ArmLpaeConfig { memory, ..ArmLpaeConfig::default() } })
    } else {
        let memory = choose(MemoryTypes::ARM_TEX_REMAP);
        KernelFormat::ArmShort(ArmShort { config: ArmShortConfig { memory, ..ArmShortConfig::default() } })
    }
}

/// The same tables, for mappings of one type: new tables get its domain.
fn of_domain<'a>(tables: &KernelTables<'a>, domain: u8) -> KernelTables<'a> {
    let mut tables = *tables;
    if let KernelFormat::ArmShort(format) = &mut tables.format {
        format.config.table_domain = domain;
    }
    tables
}

/// Takes out what is mapped in the PMDs from that of `start` up to `end` (`pmd_clear` of each), if tables are built.
///
/// # Errors
/// [`BootError::PageTables`].
pub(crate) fn clear_mapping(b: &Boot<'_>, start: u64, end: u64) -> Result<(), BootError> {
    let Some(tables) = b.pgtable else { return Ok(()) };
    let end = end.min(TOP).next_multiple_of(PMD);
    put::clear(&tables, start & !(PMD - 1), end).map_err(BootError::PageTables)
}
