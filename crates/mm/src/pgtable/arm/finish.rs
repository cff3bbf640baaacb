//! The permissions that the image's sections keep.

use super::section_bytes;
use crate::boot::Boot;
use crate::pgtable::{KernelTree, TableError};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::cmdline::Rodata;
use pagewright_pagetable::{AttrChange, AttrFlags};

/// `free_initmem` and `mark_rodata_ro`: everything but the text loses the right to be executed (`fix_kernmem_perms`), text and
/// read-only data the right to be written. Both by whole sections: what does not begin and end with one stays as it is.
///
/// # Errors
/// [`TableError`].
pub(crate) fn finish(b: &Boot<'_>) -> Result<(), TableError> {
    let Some(tables) = b.pgtable else { return Ok(()) };
    if !b.machine.config.strict_kernel_rwx {
        return Ok(());
    }
    let image = &b.machine.image;
    let nx = AttrChange::flags(AttrFlags::empty(), AttrFlags::EXEC);
    let ro = AttrChange::flags(AttrFlags::empty(), AttrFlags::WRITE);
    tables.with(|tree| {
        for (start, end) in [
            // Before the text; init sections up to the data; read-only data.
            (b.memstart, image.text_start),
            (image.init_begin, image.data_start),
            (image.rodata_start, image.init_begin),
        ] {
            set_section_perms(b, tree, start, end, &nx)?;
        }
        if b.params.rodata != Some(Rodata::Off) {
            set_section_perms(b, tree, image.text_start, image.init_begin, &ro)?;
        }
        Ok(())
    })
}

/// Changes whole sections; Linux complains of others and leaves them.
fn set_section_perms(
    b: &Boot<'_>,
    tree: &mut dyn KernelTree,
    start: PhysAddr,
    end: PhysAddr,
    change: &AttrChange,
) -> Result<(), TableError> {
    let section = section_bytes(b.machine.config.lpae);
    let at = |phys: PhysAddr| phys.get().saturating_sub(b.memstart.get());
    let (start, end) = (at(start), at(end));
    if start >= end || !start.is_multiple_of(section) || !end.is_multiple_of(section) {
        return Ok(());
    }
    let first = u64::from(b.machine.config.page_offset) + start;
    let range = VirtRange { start: VirtAddr::new(first), len: end - start };
    tree.protect(range, change)?;
    Ok(())
}
