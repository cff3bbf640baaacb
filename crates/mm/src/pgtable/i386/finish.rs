//! The permissions that i386's low memory ends up with.

use super::has_nx;
use crate::boot::Boot;
use crate::pgtable::TableError;
use crate::pgtable::x86::finish::{Pages, kept};
use crate::pgtable::x86::isolated;
use pagewright_firmware::Machine;
use pagewright_firmware::cmdline::{Pti, Rodata};
use pagewright_pagetable::{AttrChange, AttrFlags, TableSource};

/// Those of a running kernel: the IDT, the real-mode trampoline, freed init memory, and the kernel's text and read-only data
/// (`mark_rodata_ro`). Each page has one address.
///
/// # Errors
/// [`TableError`].
pub(crate) fn finish(b: &Boot<'_>, source: &mut dyn TableSource) -> Result<(), TableError> {
    let Some(tables) = b.pgtable else { return Ok(()) };
    let machine = b.machine;
    let page_offset = u64::from(machine.config.page_offset);
    let entry_area = b.i386_areas().ok().map(|areas| areas.cpu_entry_area);
    tables.with(|tree| {
        let mut pages = Pages::of_low_memory(tree, source, page_offset, has_nx(machine));
        if isolated(b) && machine.cpus.i386.pge && !matches!(b.params.pti, Some(Pti::On)) {
            // pti_clone_kernel_text: there are no PCIDs with 32 bits, so that the text, which user code's tables have too, is global.
            let (start, end) = (pages.up(machine.image.text_start), pages.up(machine.image.text_end));
            let global = AttrChange::flags(AttrFlags::GLOBAL, AttrFlags::empty());
            pages.change(start, end.saturating_sub(start), &global, false)?;
        }
        kept(b, &mut pages, entry_area)?;
        if machine.config.strict_kernel_rwx && b.params.rodata != Some(Rodata::Off) {
            mark_rodata_ro(machine, &mut pages)?;
        }
        Ok(())
    })
}

/// `mark_rodata_ro`: text and read-only data lose the right to be written; everything behind the text that was mapped as text,
/// the right to be executed (`mark_nxdata_nx`).
fn mark_rodata_ro(machine: &Machine<'_>, pages: &mut Pages<'_>) -> Result<(), TableError> {
    let image = &machine.image;
    let (start, text_end) = (pages.up(image.text_start), pages.up(image.text_end));
    pages.ro(start, pages.virt(image.rodata_end).saturating_sub(start))?;
    let large = super::pmd_bytes(machine.config.lpae);
    let end = pages.virt(image.init_end).saturating_add(large) & !(large - 1);
    pages.nx(text_end, end.saturating_sub(text_end))
}
