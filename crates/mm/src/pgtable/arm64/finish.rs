//! What happens to the kernel's mappings when the boot is over: constants become read-only, init memory goes.

use super::fixmap;
use crate::boot::Boot;
use crate::pgtable::TableError;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::cmdline::{Pti, Rodata};
use pagewright_pagetable::{AttrChange, AttrFlags, NoTables, TableSource};

/// The mappings that a running kernel keeps: the entry trampoline, the linear alias of the image's text and constants
/// (`mark_linear_text_alias_ro`), freed init memory, constants (`mark_rodata_ro`), and isolation.
///
/// # Errors
/// [`TableError`].
pub(crate) fn finish(b: &Boot<'_>, source: &mut dyn TableSource) -> Result<(), TableError> {
    let Some(tables) = b.pgtable else { return Ok(()) };
    let image = &b.machine.image;
    let linear = b.linear_map();
    let page = b.page_bytes();
    // The whole pages from one place of the image up to another, where they are mapped with the image or in the linear map.
    let in_image = |from: PhysAddr, to: PhysAddr| {
        pages(from.get().wrapping_add(super::image_offset(b)), to.get().saturating_sub(from.get()), page)
    };
    let (text, rodata, init) = (image.text_start, image.text_end, image.init_begin);
    let read_only = AttrChange::flags(AttrFlags::empty(), AttrFlags::WRITE | AttrFlags::DIRTY);
    tables.with(|tree| {
        if let Some(alias) = pages(linear.virt(text).get(), init.get().saturating_sub(text.get()), page) {
            tree.protect(alias, &read_only)?;
        }
        if let Some(freed) = in_image(init, image.init_end) {
            tree.unmap(freed, true, &mut NoTables)?;
        }
        if let Some(constants) = in_image(rodata, init).filter(|_| b.params.rodata != Some(Rodata::Off)) {
            tree.protect(constants, &read_only)?;
        }
        let apart = kept_apart(b);
        if !apart.is_empty() {
            tree.protect(tree.window().ranges()[0], &AttrChange::flags(AttrFlags::empty(), apart))?;
        }
        Ok::<_, TableError>(())
    })?;
    fixmap::map_entry_trampoline(b, source)
}

/// What mappings lose when the processors turn out to need page-table isolation although the image was not moved: they are no more the
/// same in every address space (`kpti_install_ng_mappings`). Here that is when `kpti=on` says so.
pub(super) fn kept_apart(b: &Boot<'_>) -> AttrFlags {
    let on = b.machine.config.page_table_isolation && b.params.pti == Some(Pti::On);
    if on { AttrFlags::GLOBAL } else { AttrFlags::empty() }
}

/// The pages that `len` bytes at `virt` touch; `None` without any.
fn pages(virt: u64, len: u64, page: u64) -> Option<VirtRange> {
    let start = virt & !(page - 1);
    let len = (len + (virt - start)).next_multiple_of(page);
    (len > 0).then(|| VirtRange::from_len(VirtAddr::new(start), len))
}
