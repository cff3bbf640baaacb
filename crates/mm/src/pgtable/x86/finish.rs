//! What happens to the tables once they exist: the image's mapping is trimmed, and pages get the permissions that they keep.
//!
//! Linux changes permissions by address (`set_memory_ro` and its kin). A page has up to two addresses, one in the
//! direct map and one in the image's mapping; a change of one is made to the other too, except when only the no-execute
//! bit changes. Larger pages are split where a change covers a part of them.

use super::{PAGE, PAGE_KERNEL, PMD, START_KERNEL_MAP, image_virt, isolated, page_offset};
use crate::boot::Boot;
use crate::pgtable::attr::{change_range, each_mapped};
use crate::pgtable::{KernelTables, KernelTree, TableError};
use core::sync::atomic::Ordering;
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_firmware::Machine;
use pagewright_firmware::cmdline::Rodata;
use pagewright_kspace::Kind;
use pagewright_pagetable::{AttrChange, AttrFlags, MapOptions, TableSource};

/// `cleanup_highmap`: what `level2_kernel_pgt` maps before and after the image goes. `brk_end` is where the brk area closed.
///
/// # Errors
/// [`TableError`].
pub(crate) fn cleanup_highmap(tables: &KernelTables<'_>, machine: &Machine<'_>) -> Result<(), TableError> {
    let (first, end) = image_span(machine);
    let level2 = super::table(tables.memory, super::Places::of(machine).level2_kernel)?;
    for (n, cell) in level2.iter().enumerate() {
        let virt = START_KERNEL_MAP.wrapping_add(n as u64 * PMD);
        if virt < first || virt >= end {
            cell.store(0, Ordering::Release);
        }
    }
    Ok(())
}

/// The image's mapping: from `_text` to the end of the last 2 MiB that the brk area reaches into.
fn image_span(machine: &Machine<'_>) -> (u64, u64) {
    let image = &machine.image;
    let end = image_virt(machine, image.end.saturating_add(image.brk_used));
    (image_virt(machine, image.text_start), end.wrapping_add(PMD - 1) & !(PMD - 1))
}

/// Changes permissions as Linux's `set_memory_*` functions do.
struct Pages<'t> {
    tree: &'t mut dyn KernelTree,
    source: &'t mut dyn TableSource,
    /// The image's mapping.
    image: VirtRange,
    /// What the image's mapping adds to a physical address.
    image_offset: u64,
    page_offset: u64,
    /// Whether what is freed of the image leaves its mapping.
    isolated: bool,
    /// Tables that splits took.
    tables: u64,
}

impl Pages<'_> {
    /// `count` bytes from the virtual address `at`; `alias` says whether the page's other address changes too.
    fn change(&mut self, at: u64, bytes: u64, change: &AttrChange, alias: bool) -> Result<(), TableError> {
        let range = VirtRange::from_len(VirtAddr::new(at), bytes.next_multiple_of(PAGE));
        if range.is_empty() {
            return Ok(());
        }
        self.tables += change_range(self.tree, range, change, self.source)?;
        if !alias {
            return Ok(());
        }
        let (image, image_offset, page_offset) = (self.image, self.image_offset, self.page_offset);
        let in_image = image.contains(range.start);
        let (source, tables) = (&mut *self.source, &mut self.tables);
        each_mapped(self.tree, range, &mut |tree, piece, leaf, start| {
            let phys = leaf.phys.get() + (piece.start.get() - start.get());
            let other = phys.wrapping_add(if in_image { page_offset } else { image_offset });
            let other = VirtRange { start: VirtAddr::new(other), len: piece.len };
            if in_image || image.contains_range(&other) {
                *tables += change_range(tree, other, change, source)?;
            }
            Ok(())
        })
    }

    fn set(&mut self, at: u64, bytes: u64, set: AttrFlags, clear: AttrFlags) -> Result<(), TableError> {
        self.change(at, bytes, &AttrChange::flags(set, clear), true)
    }

    fn ro(&mut self, at: u64, bytes: u64) -> Result<(), TableError> {
        self.set(at, bytes, AttrFlags::empty(), AttrFlags::WRITE)
    }

    fn rw(&mut self, at: u64, bytes: u64) -> Result<(), TableError> {
        self.set(at, bytes, AttrFlags::WRITE, AttrFlags::empty())
    }

    fn nx(&mut self, at: u64, bytes: u64) -> Result<(), TableError> {
        self.change(at, bytes, &AttrChange::flags(AttrFlags::empty(), AttrFlags::EXEC), false)
    }

    fn x(&mut self, at: u64, bytes: u64) -> Result<(), TableError> {
        self.change(at, bytes, &AttrChange::flags(AttrFlags::EXEC, AttrFlags::empty()), false)
    }

    /// `free_init_pages`: memory that becomes ordinary must not be executed and may be written.
    fn free(&mut self, at: u64, bytes: u64) -> Result<(), TableError> {
        self.nx(at, bytes)?;
        self.rw(at, bytes)
    }

    /// `free_kernel_image_pages`: and where tables are isolated, the image no longer shows it (`set_memory_np_noalias`): what comes to
    /// lie there is no part of the image, and user code's tables may have a part of its mapping.
    fn free_of_image(&mut self, at: u64, bytes: u64) -> Result<(), TableError> {
        self.free(at, bytes)?;
        let range = VirtRange::from_len(VirtAddr::new(at), bytes.next_multiple_of(PAGE));
        if !self.isolated || range.is_empty() {
            return Ok(());
        }
        for end in [range.start, VirtAddr::new(range.last().get().wrapping_add(1))] {
            self.tables += self.tree.split(end, self.source)?;
        }
        Ok(self.tree.unmap(range, true, self.source)?)
    }
}

/// The permissions that a running kernel ends up with: the IDT, the real-mode trampoline, freed init memory, and the
/// kernel's text and read-only data (`mark_rodata_ro`). Returns how many tables it took to split larger pages.
///
/// # Errors
/// [`TableError`].
pub(crate) fn finish(b: &Boot<'_>, source: &mut dyn TableSource) -> Result<u64, TableError> {
    let Some(tables) = b.pgtable else { return Ok(0) };
    let machine = b.machine;
    let (first, end) = image_span(machine);
    tables.with(|tree| {
        let mut pages = Pages {
            tree,
            source,
            image: VirtRange::new(VirtAddr::new(first), VirtAddr::new(end)),
            image_offset: image_virt(machine, PhysAddr::ZERO),
            page_offset: page_offset(machine.cpus.la57),
            isolated: isolated(b),
            tables: 0,
        };
        permissions(b, &mut pages)?;
        Ok(pages.tables)
    })
}

fn permissions(b: &Boot<'_>, pages: &mut Pages<'_>) -> Result<(), TableError> {
    let machine = b.machine;
    let image = &machine.image;
    let x = &image.x86;
    let virt = |phys: PhysAddr| image_virt(machine, phys);
    if pages.isolated {
        // pti_set_kernel_image_nonglobal: processors with Meltdown that Linux meets have PCIDs, which it prefers to global pages.
        let (start, len) = (pages.image.start.get(), pages.image.len);
        pages.change(start, len, &AttrChange::flags(AttrFlags::empty(), AttrFlags::GLOBAL), false)?;
    }
    // idt_setup_apic_and_irq_gates: the processor reads the IDT at the start of the CPU entry areas, read-only like itself.
    if x.idt_table != PhysAddr::ZERO {
        if let Some(area) = super::areas::area(machine, Kind::CpuEntryArea) {
            let attr = PAGE_KERNEL.changed(AttrFlags::empty(), AttrFlags::WRITE);
            let at = VirtRange::from_len(area.start, PAGE);
            pages.tables += pages.tree.map(at, x.idt_table, attr, &MapOptions::PAGES, pages.source)?;
        }
        pages.ro(virt(x.idt_table), PAGE)?;
    }
    let free = |range: PhysRange, pages: &mut Pages<'_>| pages.free(virt(range.start), range.len());
    // alternative_instructions: with one CPU now and more to come, the prefixes may be needed again.
    if b.frees_smp_locks() {
        free(image.smp_locks, pages)?;
    }
    // set_real_mode_permissions
    if let Some(at) = b.real_mode {
        let at = pages.page_offset.wrapping_add(at.get());
        let build = &machine.build;
        let (ro, text) = (u64::from(build.real_mode_ro), u64::from(build.real_mode_text));
        pages.nx(at, build.real_mode_blob.into())?;
        pages.ro(at, ro)?;
        pages.x(at.wrapping_add(text), ro.saturating_sub(text))?;
    }
    // free_initmem
    if machine.cpus.encryption_mask == 0 {
        free(image.decrypted_unused, pages)?;
    }
    pages
        .free_of_image(virt(image.init_begin), image.init_end.get().saturating_sub(image.init_begin.get()))?;
    if machine.config.strict_kernel_rwx && b.params.rodata != Some(Rodata::Off) {
        mark_rodata_ro(machine, pages)?;
    }
    Ok(())
}

/// `mark_rodata_ro`: text and read-only data lose the right to be written, all but the text that to be executed. What alignment left
/// over between the sections is freed, writable again.
fn mark_rodata_ro(machine: &Machine<'_>, pages: &mut Pages<'_>) -> Result<(), TableError> {
    let image = &machine.image;
    let virt = |phys: PhysAddr| image_virt(machine, phys);
    let up = |phys: PhysAddr| virt(phys.align_up(PAGE));
    let (start, text_end) = (virt(image.text_start.align_down(PAGE)), up(image.text_end));
    let (rodata, rodata_end) = (up(image.rodata_start), up(image.rodata_end));
    // __end_rodata_hpage_align: read-only data has its last large page for itself.
    let end = rodata_end.wrapping_add(PMD - 1) & !(PMD - 1);
    pages.ro(start, end.saturating_sub(start))?;
    let (_, all_end) = image_span(machine);
    pages.nx(text_end, all_end.saturating_sub(text_end))?;
    pages.free_of_image(text_end, rodata.saturating_sub(text_end))?;
    pages.free_of_image(rodata_end, virt(image.data_start).saturating_sub(rodata_end))
}
