//! x86_64: which tables exist from the decompressor to the running kernel, and what they map.
//!
//! The order of a boot: the decompressor maps 4 GiB one to one ([`early::identity_4g`]); the head starts on `early_top_pgt`, where
//! page faults fill in what early code touches ([`early::EarlyTables`]); `init_mem_mapping` builds the direct map in
//! `init_top_pgt` (`crate::x86`), which stays. Permissions come last ([`finish`]): when init memory is
//! freed and read-only data becomes so.
//!
//! Sources: Documentation/x86/x86_64/mm and the boot protocol, the Intel SDM for the entries, and what captured kernels'
//! tables hold.

mod areas;
pub mod early;
pub mod finish;
mod fixmap;

pub(crate) use areas::{entry_areas, preallocate_vmalloc};
pub(crate) use fixmap::apics;

use super::{KernelFormat, KernelTables, TableError};
use crate::boot::Boot;
use crate::error::BootError;
use core::sync::atomic::{AtomicU64, Ordering};
use pagewright_addr::PhysAddr;
use pagewright_firmware::cmdline::Pti;
use pagewright_firmware::{Arch, Machine};
use pagewright_pagetable::format::x86::{X86_64, X86Config, bits};
use pagewright_pagetable::{Attr, AttrFlags, TableMemory};

pub(crate) const PAGE: u64 = 4096;
/// What one entry of the PMD level maps.
pub(crate) const PMD: u64 = 2 << 20;
/// `__START_KERNEL_map`: where the image's mapping begins.
pub const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// `_KERNPG_TABLE`.
const KERNPG_TABLE: u64 = bits::PRESENT | bits::WRITE | bits::ACCESSED | bits::DIRTY;
/// `_PAGE_TABLE`.
const PAGE_TABLE: u64 = KERNPG_TABLE | bits::USER;
/// Tables of the fixed mappings that the image brings (FIXMAP_PMD_NUM): 4 MiB of addresses.
const FIXMAP_PMD_NUM: u64 = 2;
/// PMD entries above the fixed mappings: 6 MiB kept and a hole of 2 MiB.
const ABOVE_FIXMAP: usize = 4;

/// `PAGE_KERNEL`: data, the same in every address space, never executed.
pub(crate) const PAGE_KERNEL: Attr = Attr::normal(
    AttrFlags::WRITE.union(AttrFlags::GLOBAL).union(AttrFlags::ACCESSED).union(AttrFlags::DIRTY),
);

/// Whether kernel and user have page tables of their own (`pti_check_boottime_disable`): with a processor that needs it, or where the
/// command line wants it.
pub(crate) fn isolated(b: &Boot<'_>) -> bool {
    b.machine.config.page_table_isolation
        && match b.params.pti {
            Some(Pti::Off) => false,
            Some(Pti::On) => true,
            _ => b.machine.cpus.meltdown,
        }
}

/// `PAGE_KERNEL` as this kernel and its processor have it (`__default_kernel_pte_mask`): with isolated tables next to nothing is
/// global.
pub(crate) fn page_kernel(b: &Boot<'_>) -> Attr {
    let attr =
        if isolated(b) { PAGE_KERNEL.changed(AttrFlags::empty(), AttrFlags::GLOBAL) } else { PAGE_KERNEL };
    if b.machine.arch == Arch::I386 { super::i386::supported(b.machine, attr) } else { attr }
}

/// `PAGE_OFFSET`: where the direct map begins.
pub(crate) const fn page_offset(la57: bool) -> u64 {
    if la57 { 0xff11_0000_0000_0000 } else { 0xffff_8880_0000_0000 }
}

/// Bytes that the image and the modules' mapping share (KERNEL_IMAGE_SIZE): modules begin behind it.
pub fn kernel_image_size(machine: &Machine<'_>) -> u64 {
    if machine.config.randomize_base { 1 << 30 } else { 512 << 20 }
}

/// The virtual address that the image's mapping gives a physical one.
pub(crate) fn image_virt(machine: &Machine<'_>, phys: PhysAddr) -> u64 {
    let text = machine.image.text_start;
    // Without randomisation the image runs at the physical address that it was linked for.
    let base = match machine.image.virt {
        0 => START_KERNEL_MAP.wrapping_add(text.get()),
        virt => virt,
    };
    base.wrapping_add(phys.get().wrapping_sub(text.get()))
}

/// Where the tables with fixed places are: inside the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Places {
    /// `early_top_pgt`.
    pub early_top: PhysAddr,
    /// `early_dynamic_pgts`.
    pub early_dynamic: PhysAddr,
    /// `init_top_pgt`.
    pub init_top: PhysAddr,
    /// `level4_kernel_pgt`, used with 5 levels.
    pub level4_kernel: PhysAddr,
    /// `level3_kernel_pgt`.
    pub level3_kernel: PhysAddr,
    /// `level2_kernel_pgt`.
    pub level2_kernel: PhysAddr,
    /// `level2_fixmap_pgt`.
    pub level2_fixmap: PhysAddr,
    /// `level1_fixmap_pgt`.
    pub level1_fixmap: PhysAddr,
    /// The decompressor's tables, in memory that the kernel finds free.
    pub decompressor: PhysAddr,
}

impl Places {
    /// Those of a machine. An image that does not tell has them side by side at the start of its data.
    pub fn of(machine: &Machine<'_>) -> Self {
        let image = &machine.image;
        let x = &image.x86;
        let page = |n: u64| image.data_start.align_down(PAGE).saturating_add(n * PAGE);
        let decompressor = image.end.saturating_add(image.brk_used).align_up(PMD);
        if x.init_top_pgt == PhysAddr::ZERO || x.early_top_pgt == PhysAddr::ZERO {
            return Self {
                init_top: page(0),
                level4_kernel: page(1),
                level3_kernel: page(2),
                level2_kernel: page(3),
                level2_fixmap: page(4),
                level1_fixmap: page(5),
                early_top: page(7),
                early_dynamic: page(8),
                decompressor,
            };
        }
        Self {
            early_top: x.early_top_pgt,
            early_dynamic: x.early_dynamic_pgts,
            init_top: x.init_top_pgt,
            level4_kernel: x.level3_kernel_pgt.saturating_sub(PAGE),
            level3_kernel: x.level3_kernel_pgt,
            level2_kernel: x.level2_kernel_pgt,
            level2_fixmap: x.level2_fixmap_pgt,
            level1_fixmap: x.level1_fixmap_pgt,
            decompressor,
        }
    }
}

/// The format of a machine's tables.
pub fn format(machine: &Machine<'_>) -> KernelFormat {
    let config = X86Config {
        gigabyte_pages: machine.cpus.gbpages,
        encryption_mask: machine.cpus.encryption_mask,
        ..X86Config::default()
    };
    if machine.cpus.la57 {
        KernelFormat::X86Level5(X86_64 { config })
    } else {
        KernelFormat::X86Level4(X86_64 { config })
    }
}

/// The 512 entries of the table at `at`.
fn table(memory: &dyn TableMemory, at: PhysAddr) -> Result<&[AtomicU64], TableError> {
    memory.words64(at, 512).ok_or(TableError::NoMemory(at))
}

/// The same, emptied.
fn cleared(memory: &dyn TableMemory, at: PhysAddr) -> Result<&[AtomicU64], TableError> {
    let cells = table(memory, at)?;
    cells.iter().for_each(|cell| cell.store(0, Ordering::Relaxed));
    Ok(cells)
}

fn set(cells: &[AtomicU64], index: usize, word: u64) {
    cells[index & 511].store(word, Ordering::Release);
}

/// From the decompressor to the moment when C code starts: the tables that the image brings, the identity mappings that
/// carried it there, and `init_top_pgt` with the image's mapping in it, to be filled by `init_mem_mapping`.
///
/// # Errors
/// [`BootError::PageTables`] when a table's place is no memory.
pub(crate) fn start_kernel(b: &mut Boot<'_>) -> Result<(), BootError> {
    let machine = b.machine;
    let levels: u64 = if machine.cpus.la57 { 5 } else { 4 };
    // The top table, with 5 levels one above it, one for 512 GiB and four for a gigabyte each.
    let decompressor = levels - 4 + 6;
    // The top table, those that lead to the image and the fixed mappings, and for the identity mapping of the image one for each level.
    let head = 1 + (levels - 3) + 2 + FIXMAP_PMD_NUM + (levels - 2);
    let built = b.table_memory.is_some();
    b.table_counts.add("decompressor", decompressor, built.then_some(decompressor));
    b.table_counts.add("startup_64", head, built.then_some(head));
    let Some(memory) = b.table_memory else { return Ok(()) };
    let places = Places::of(machine);
    early::identity_4g(memory, places.decompressor, machine.cpus.la57).map_err(BootError::PageTables)?;
    let mut early = early::EarlyTables::startup_64(memory, machine, places).map_err(BootError::PageTables)?;
    let root = early.start_kernel(memory).map_err(BootError::PageTables)?;
    // What is known to be touched before the direct map exists: the boot parameters and the BIOS data area in the first
    // megabyte, and the RAM disk, which may hold microcode.
    for phys in [Some(PhysAddr::ZERO), machine.initrd.map(|r| r.start)].into_iter().flatten() {
        let virt = b.linear_map().virt(phys);
        let took = early.fault(memory, virt.get()).map_err(BootError::PageTables)?;
        b.table_counts.add("__early_make_pgtable", took, Some(took));
    }
    b.pgtable = Some(KernelTables { memory, root, format: format(machine) });
    Ok(())
}

#[cfg(test)]
mod tests;
