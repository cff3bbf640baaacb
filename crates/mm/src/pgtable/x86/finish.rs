//! What happens to the tables once they exist: the image's mapping is trimmed, and pages get the permissions that they keep.
//!
//! Linux changes permissions by address (`set_memory_ro` and its kin). A page has up to two addresses, one in the
//! direct map and one in the image's mapping; a change of one is made to the other too, except when only the no-execute
//! bit changes. i386's image is in low memory and has one. Larger pages are split where a change covers a part of them.

use super::{PAGE, PAGE_KERNEL, PMD, START_KERNEL_MAP, image_virt, isolated, page_offset};
use crate::boot::Boot;
use crate::pgtable::attr::{apply, each_mapped, split_for};
use crate::pgtable::{KernelTables, KernelTree, TableError, i386};
use core::sync::atomic::Ordering;
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_firmware::cmdline::Rodata;
use pagewright_firmware::{Arch, Machine};
use pagewright_kspace::Kind;
use pagewright_pagetable::{AttrChange, AttrFlags, Level, MapOptions, TableSource};

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
pub(crate) struct Pages<'t> {
    tree: &'t mut dyn KernelTree,
    source: &'t mut dyn TableSource,
    /// The image's mapping, where it is apart from the direct map.
    image: Option<VirtRange>,
    /// What the image's mapping adds to a physical address.
    image_offset: u64,
    page_offset: u64,
    /// Whether what is freed of the image leaves its mapping. (Not where that is the direct map.)
    isolated: bool,
    /// Whether there is a no-execute bit.
    nx: bool,
}

impl<'t> Pages<'t> {
    /// Those of a kernel whose image is in low memory.
    pub(crate) fn of_low_memory(
        tree: &'t mut dyn KernelTree,
        source: &'t mut dyn TableSource,
        page_offset: u64,
        nx: bool,
    ) -> Self {
        Self { tree, source, image: None, image_offset: page_offset, page_offset, isolated: false, nx }
    }

    /// The kernel's address of what is in its image.
    pub(crate) fn virt(&self, phys: PhysAddr) -> u64 {
        self.image_offset.wrapping_add(phys.get())
    }

    /// The same of the next page's border.
    pub(crate) fn up(&self, phys: PhysAddr) -> u64 {
        self.virt(phys.align_up(PAGE))
    }

    /// `bytes` from the virtual address `at`; `alias` says whether the page's other address changes too. Larger pages at
    /// both addresses are split first: if there is no page for a table, nothing is changed.
    pub(crate) fn change(
        &mut self,
        at: u64,
        bytes: u64,
        change: &AttrChange,
        alias: bool,
    ) -> Result<(), TableError> {
        let range = VirtRange::from_len(VirtAddr::new(at), bytes.next_multiple_of(PAGE));
        if range.is_empty() {
            return Ok(());
        }
        let image = self.image.filter(|_| alias);
        let (image_offset, page_offset) = (self.image_offset, self.page_offset);
        split_for(self.tree, range, None, change, self.source)?;
        if let Some(image) = image {
            let source = &mut *self.source;
            each_alias(self.tree, range, image, (image_offset, page_offset), &mut |tree, other, unit| {
                split_for(tree, other, Some(unit), change, source)
            })?;
        }
        apply(self.tree, range, change)?;
        if let Some(image) = image {
            each_alias(self.tree, range, image, (image_offset, page_offset), &mut |tree, other, _| {
                apply(tree, other, change)
            })?;
        }
        Ok(())
    }

    fn set(&mut self, at: u64, bytes: u64, set: AttrFlags, clear: AttrFlags) -> Result<(), TableError> {
        self.change(at, bytes, &AttrChange::flags(set, clear), true)
    }

    pub(crate) fn ro(&mut self, at: u64, bytes: u64) -> Result<(), TableError> {
        self.set(at, bytes, AttrFlags::empty(), AttrFlags::WRITE)
    }

    fn rw(&mut self, at: u64, bytes: u64) -> Result<(), TableError> {
        self.set(at, bytes, AttrFlags::WRITE, AttrFlags::empty())
    }

    pub(crate) fn nx(&mut self, at: u64, bytes: u64) -> Result<(), TableError> {
        if !self.nx {
            return Ok(());
        }
        self.change(at, bytes, &AttrChange::flags(AttrFlags::empty(), AttrFlags::EXEC), false)
    }

    fn x(&mut self, at: u64, bytes: u64) -> Result<(), TableError> {
        if !self.nx {
            return Ok(());
        }
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
            self.tree.split(end, self.source)?;
        }
        Ok(self.tree.unmap(range, true, self.source)?)
    }
}

/// What is done at another address of a piece, whose leaves have so many bytes.
type Each<'f> = dyn FnMut(&mut dyn KernelTree, VirtRange, u64) -> Result<(), TableError> + 'f;

/// Calls `each` with the other address of every mapped piece of a range: in the direct map what is in the image's mapping,
/// there what is in the direct map and belongs to the image. The offsets are those of the two. `each` is also told the size of the
/// leaves that the piece has here: Linux changes the other address in pieces of it.
fn each_alias(
    tree: &mut dyn KernelTree,
    range: VirtRange,
    image: VirtRange,
    (image_offset, page_offset): (u64, u64),
    each: &mut Each<'_>,
) -> Result<(), TableError> {
    let in_image = image.contains(range.start);
    each_mapped(tree, range, &mut |tree, piece| {
        let other = piece.phys().wrapping_add(if in_image { page_offset } else { image_offset });
        let other = VirtRange { start: VirtAddr::new(other), len: piece.range.len };
        let size = tree.shape().level(piece.level).bytes();
        if in_image {
            return each(tree, other, size);
        }
        // Large leaves one by one, those that belong to the image as a whole; of pages those that do.
        if piece.level == Level::PTE {
            let (start, last) = (other.start.max(image.start), other.last().min(image.last()));
            let len = last.get().checked_sub(start.get()).map_or(0, |n| n + 1);
            return if len > 0 { each(tree, VirtRange { start, len }, size) } else { Ok(()) };
        }
        let (mut at, mut left) = (piece.range.start.get(), other);
        while left.len > 0 {
            let part = VirtRange { len: left.len.min(size - (at & (size - 1))), ..left };
            if image.contains_range(&part) {
                each(tree, part, size)?;
            }
            at = at.wrapping_add(part.len);
            left = VirtRange {
                start: VirtAddr::new(left.start.get().wrapping_add(part.len)),
                len: left.len - part.len,
            };
        }
        Ok(())
    })
}

/// The permissions that a running kernel ends up with: the IDT, the real-mode trampoline, freed init memory, and the
/// kernel's text and read-only data (`mark_rodata_ro`).
///
/// # Errors
/// [`TableError`].
pub(crate) fn finish(b: &Boot<'_>, source: &mut dyn TableSource) -> Result<(), TableError> {
    let Some(tables) = b.pgtable else { return Ok(()) };
    let machine = b.machine;
    let (first, end) = image_span(machine);
    let entry_area = super::areas::area(machine, Kind::CpuEntryArea).map(|area| area.start.get());
    tables.with(|tree| {
        let mut pages = Pages {
            tree,
            source,
            image: Some(VirtRange::new(VirtAddr::new(first), VirtAddr::new(end))),
            image_offset: image_virt(machine, PhysAddr::ZERO),
            page_offset: page_offset(machine.cpus.la57),
            isolated: isolated(b),
            nx: true,
        };
        kept(b, &mut pages, entry_area)?;
        if machine.config.strict_kernel_rwx && b.params.rodata != Some(Rodata::Off) {
            mark_rodata_ro(machine, &mut pages)?;
        }
        Ok(())
    })
}

/// What changes whether or not the kernel protects itself: the IDT, which the CPU entry areas begin with; lock prefixes; the real-mode
/// trampoline; init memory.
///
/// # Errors
/// [`TableError`].
pub(crate) fn kept(b: &Boot<'_>, pages: &mut Pages<'_>, entry_area: Option<u64>) -> Result<(), TableError> {
    let machine = b.machine;
    let image = &machine.image;
    if let Some(image_range) = pages.image.filter(|_| pages.isolated) {
        // pti_set_kernel_image_nonglobal: processors with Meltdown that Linux meets have PCIDs, which it prefers to global pages.
        let (start, len) = (image_range.start.get(), image_range.len);
        pages.change(start, len, &AttrChange::flags(AttrFlags::empty(), AttrFlags::GLOBAL), false)?;
    }
    let idt = image.x86.idt_table;
    // idt_setup_apic_and_irq_gates: the processor reads the IDT at the start of the CPU entry areas, read-only like itself.
    if idt != PhysAddr::ZERO {
        if let Some(area) = entry_area {
            // cea_set_pte: what isolated tables share may be global.
            let supported = machine.arch == Arch::I386;
            let attr = if supported { i386::supported(machine, PAGE_KERNEL) } else { PAGE_KERNEL };
            let attr = attr.changed(AttrFlags::empty(), AttrFlags::WRITE);
            let at = VirtRange::from_len(VirtAddr::new(area), PAGE);
            pages.tree.map(at, idt, attr, &MapOptions::PAGES, pages.source)?;
        }
        pages.ro(pages.virt(idt), PAGE)?;
    }
    // alternative_instructions: with one CPU now and more to come, the prefixes may be needed again.
    if b.frees_smp_locks() {
        free(pages, image.smp_locks)?;
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
        free(pages, image.decrypted_unused)?;
    }
    let init = image.init_end.get().saturating_sub(image.init_begin.get());
    pages.free_of_image(pages.virt(image.init_begin), init)
}

/// A part of the image becomes ordinary memory.
fn free(pages: &mut Pages<'_>, range: PhysRange) -> Result<(), TableError> {
    pages.free(pages.virt(range.start), range.len())
}

/// `mark_rodata_ro`: text and read-only data lose the right to be written, all but the text that to be executed. What alignment left
/// over between the sections is freed, writable again.
fn mark_rodata_ro(machine: &Machine<'_>, pages: &mut Pages<'_>) -> Result<(), TableError> {
    let image = &machine.image;
    let (start, text_end) = (pages.virt(image.text_start.align_down(PAGE)), pages.up(image.text_end));
    let (rodata, rodata_end) = (pages.up(image.rodata_start), pages.up(image.rodata_end));
    // __end_rodata_hpage_align: read-only data has its last large page for itself.
    let end = rodata_end.wrapping_add(PMD - 1) & !(PMD - 1);
    pages.ro(start, end.saturating_sub(start))?;
    let (_, all_end) = image_span(machine);
    pages.nx(text_end, all_end.saturating_sub(text_end))?;
    pages.free_of_image(text_end, rodata.saturating_sub(text_end))?;
    pages.free_of_image(rodata_end, pages.virt(image.data_start).saturating_sub(rodata_end))
}
