//! arm64: which tables exist from the head to the running kernel, and what they map.
//!
//! The order of a boot: the head maps the image one to one and at its link address ([`head`]); fixed addresses get their
//! tables, and the device tree is read through them ([`fixmap`]); `paging_init` (`crate::arm64`) builds the kernel's own
//! mappings in `swapper_pg_dir` and switches to them. Permissions come last ([`finish`]): the image's alias in the
//! linear map becomes read-only, init memory goes, read-only data becomes so.
//!
//! Sources: Documentation/arm64/booting and memory, the Arm ARM for the entries, and what captured kernels' tables hold.

pub mod finish;
pub mod fixmap;
mod format;
pub mod head;
pub mod mmu;

pub(crate) use format::idmap_format;
pub use format::{Arm64Format, format};

use super::{KernelFormat, KernelTables, TableError};
use crate::boot::Boot;
use crate::error::BootError;
use core::sync::atomic::Ordering;
use pagewright_addr::PhysAddr;
use pagewright_firmware::Machine;
use pagewright_kspace::{Facts, Kind, Layout};
use pagewright_pagetable::{Attr, AttrFlags, TableLimits, TableMemory};

/// What all of the kernel's mappings have in common (PROT_DEFAULT).
const KERNEL: AttrFlags = AttrFlags::GLOBAL.union(AttrFlags::ACCESSED);
/// `PAGE_KERNEL`: data.
pub const PAGE_KERNEL: Attr = Attr::normal(KERNEL.union(AttrFlags::WRITE).union(AttrFlags::DIRTY));
/// `PAGE_KERNEL_RO`: constants.
pub const PAGE_KERNEL_RO: Attr = Attr::normal(KERNEL);
/// `PAGE_KERNEL_ROX`: code.
pub const PAGE_KERNEL_ROX: Attr = Attr::normal(KERNEL.union(AttrFlags::EXEC));
/// `PAGE_KERNEL_EXEC`: code that may be written, with `rodata=off`.
pub const PAGE_KERNEL_EXEC: Attr = PAGE_KERNEL.changed(AttrFlags::EXEC, AttrFlags::empty());

/// What the kernel's table entries take away: since 5.13 user code executes nothing below (PXD_TABLE_UXN).
pub(crate) fn table_limits(b: &Boot<'_>) -> TableLimits {
    if b.version.since(5, 13) { TableLimits::NO_USER_EXEC } else { TableLimits::empty() }
}

/// Where the tables with fixed places are: inside the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Places {
    /// `idmap_pg_dir`.
    pub idmap: PhysAddr,
    /// `tramp_pg_dir`.
    pub tramp: PhysAddr,
    /// `swapper_pg_dir`.
    pub swapper: PhysAddr,
    /// `bm_pte`, `bm_pmd`, `bm_pud`.
    pub fixmap: [PhysAddr; 3],
}

impl Places {
    /// Those of a machine. An image that does not tell has the top tables on the last pages before the init sections,
    /// and those of the fixed mappings at the start of bss.
    pub fn of(machine: &Machine<'_>) -> Self {
        let (image, page) = (&machine.image, machine.config.page_shift.bytes());
        let known = |at: PhysAddr, else_at: PhysAddr| if at == PhysAddr::ZERO { else_at } else { at };
        let before_init = |n: u64| image.init_begin.align_down(page).saturating_sub(n * page);
        let bss = |n: u64| image.bss_start.align_up(page).saturating_add(n * page);
        let a = &image.arm64;
        Self {
            idmap: known(a.idmap_pg_dir, before_init(4)),
            tramp: known(a.tramp_pg_dir, before_init(3)),
            swapper: known(a.swapper_pg_dir, before_init(1)),
            fixmap: [known(a.bm_pte, bss(0)), known(a.bm_pmd, bss(1)), known(a.bm_pud, bss(2))],
        }
    }
}

/// The layout of the kernel's addresses, without what RAM fills of it; `None` for configurations that there are not.
fn layout(b: &Boot<'_>) -> Option<Layout> {
    Layout::of(&Facts::of(b.machine, &b.params).at_version(b.version)).ok()
}

/// Where 6.1 runs its image if it does not move it (KIMAGE_VADDR): above the modules, which have 128 MiB after the linear map.
fn kimage_vaddr(machine: &Machine<'_>) -> u64 {
    (128u64 << 20).wrapping_sub(1 << (machine.config.va_bits.min(48) - 1))
}

/// By how much the image was moved (`kaslr_offset`). A machine that does not tell where it runs has not moved it.
fn kaslr_offset(machine: &Machine<'_>) -> u64 {
    let image = &machine.image;
    match image.virt {
        0 => 0,
        virt => virt.wrapping_sub(image.head_len).wrapping_sub(kimage_vaddr(machine)),
    }
}

/// `kimage_voffset`: what the image's addresses are ahead of the physical ones. Until 5.16 the image ran above a region for BPF programs.
pub(crate) fn image_offset(b: &Boot<'_>) -> u64 {
    let machine = b.machine;
    if !b.version.since(5, 17)
        && let Some(text) = layout(b).and_then(|l| l.get(Kind::Text))
    {
        return text.start.get().wrapping_sub(machine.image.load_start().get());
    }
    let base = kimage_vaddr(machine).wrapping_add(kaslr_offset(machine));
    base.wrapping_sub(machine.image.load_start().get())
}

/// VMEMMAP_START: since 5.11 `VA bits - (page shift - 6)` below the top.
pub(crate) fn vmemmap_start(b: &Boot<'_>) -> u64 {
    let c = &b.machine.config;
    let from_top = 0u64.wrapping_sub(1 << (u32::from(c.va_bits) - (c.page_shift.get() - 6)));
    if b.version.since(5, 11) {
        return from_top;
    }
    layout(b).and_then(|l| l.get(Kind::Vmemmap)).map_or(from_top, |r| r.start.get())
}

/// What the kernel's mappings are like on this machine: the same in every address space, unless they are kept from user
/// space because the image was moved (`arm64_use_ng_mappings`, `kaslr_requires_kpti`).
pub(crate) fn prot(b: &Boot<'_>, attr: Attr) -> Attr {
    let c = &b.machine.config;
    let moved = c.randomize_base && c.page_table_isolation && kaslr_offset(b.machine) != 0;
    attr.changed(AttrFlags::empty(), if moved { AttrFlags::GLOBAL } else { AttrFlags::empty() })
}

/// An empty top table of that format at `root`.
fn cleared_root<'a>(
    memory: &'a dyn TableMemory,
    root: PhysAddr,
    format: Arm64Format,
) -> Result<KernelTables<'a>, TableError> {
    let tables = KernelTables { memory, root, format: KernelFormat::Arm64(format) };
    let entries = tables.with(|tree| tree.shape().level(tree.shape().top()).entries());
    clear(memory, root, entries as u64 * 8)?;
    Ok(tables)
}

/// Empties the table of `bytes` bytes at `at`.
fn clear(memory: &dyn TableMemory, at: PhysAddr, bytes: u64) -> Result<(), TableError> {
    let words = usize::try_from(bytes / 8).unwrap_or(usize::MAX);
    let cells = memory.words64(at, words).ok_or(TableError::NoMemory(at))?;
    cells.iter().for_each(|cell| cell.store(0, Ordering::Relaxed));
    Ok(())
}

/// Makes `swapper_pg_dir` the tree that mappings are made in, empty. Returns the one before it.
///
/// # Errors
/// [`BootError::PageTables`] when its place is no memory.
pub(crate) fn begin_swapper<'a>(b: &mut Boot<'a>) -> Result<Option<KernelTables<'a>>, BootError> {
    let (Some(old), Some(format)) = (b.pgtable, format(b.machine, b.version)) else { return Ok(None) };
    let root = Places::of(b.machine).swapper;
    b.pgtable = Some(cleared_root(old.memory, root, format).map_err(BootError::PageTables)?);
    Ok(Some(old))
}

/// `idmap_pg_dir`, empty.
///
/// # Errors
/// As for [`begin_swapper`].
pub(crate) fn begin_idmap<'a>(b: &Boot<'a>) -> Result<Option<KernelTables<'a>>, BootError> {
    let format = idmap_format(b.machine, b.version, b.machine.image.end);
    let (Some(kernel), Some(format)) = (b.pgtable, format) else { return Ok(None) };
    cleared_root(kernel.memory, Places::of(b.machine).idmap, format).map(Some).map_err(BootError::PageTables)
}

/// The end of `map_kernel`: the tables of the fixed mappings are hung into `swapper_pg_dir` too, below the entry where it
/// has none of its own. That is the top one, except where the image shares it (pages of 16 KiB, 48-bit addresses).
///
/// # Errors
/// [`BootError::PageTables`].
pub(crate) fn copy_fixmap(b: &Boot<'_>, old: Option<KernelTables<'_>>) -> Result<(), BootError> {
    let (Some(old), Some(new)) = (old, b.pgtable) else { return Ok(()) };
    let Ok(fixmap) = fixmap::of(b) else { return Ok(()) };
    let at = fixmap.start();
    let (from, to) = (old.with(|tree| tree.path(at)), new.with(|tree| tree.path(at)));
    let Some(target) = to.last() else { return Ok(()) };
    let Some(source) = from.get(to.len() - 1) else { return Ok(()) };
    let cell = new.memory.word64(target.at).ok_or(BootError::PageTables(TableError::NoMemory(target.at)))?;
    cell.store(source.word, Ordering::Release);
    Ok(())
}
