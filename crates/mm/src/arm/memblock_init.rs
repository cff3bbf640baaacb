//! `arm_memblock_init`: what is in use already is reserved, then CMA takes its share.

use super::Arm;
use crate::boot::{Boot, warning};
use crate::error::BootError;
use crate::pgtable::arm::swapper_pg_dir;
use crate::{cma, reserved_mem};
use pagewright_addr::PhysRange;

/// Reserves the image, the RAM disk, the boot page tables, what the device tree says and the default CMA area.
pub(super) fn arm_memblock_init<'a>(b: &mut Boot<'a>, arm: &Arm<'a>) -> Result<(), BootError> {
    let image = b.machine.image;
    b.mb.set_caller("arm_memblock_init");
    b.mb.reserve(PhysRange::new(image.text_start, image.end))?;
    reserve_initrd_mem(b, arm.initrd)?;
    b.mb.set_caller("arm_memblock_init");
    let tables = swapper_pg_dir(b.machine);
    b.mb.reserve(PhysRange::new(tables, image.load_start()))?;
    if let Some(tree) = &arm.tree {
        reserved_mem::scan(b, tree)?;
    }
    // The limit is a last address here; it only serves to round down.
    cma::dma_contiguous_reserve(b, b.dma_limit.saturating_sub(1))?;
    b.dump_memblock();
    Ok(())
}

/// `reserve_initrd_mem`: whole pages of memory that nobody else uses, or no RAM disk.
fn reserve_initrd_mem(b: &mut Boot<'_>, initrd: Option<PhysRange>) -> Result<(), BootError> {
    b.initrd = None;
    let Some(initrd) = initrd else { return Ok(()) };
    let page = b.page_bytes();
    let whole = PhysRange::new(initrd.start.align_down(page), initrd.end.align_up(page));
    let (start, len) = (whole.start, whole.len());
    if !b.mb.is_region_memory(whole) {
        warning!(b, "INITRD: 0x{start:08x}+0x{len:08x} is not a memory region - disabling initrd");
        return Ok(());
    }
    if b.mb.is_region_reserved(whole) {
        // Linux ends the line before it says the rest.
        warning!(b, "INITRD: 0x{start:08x}+0x{len:08x} overlaps in-use memory region");
        warning!(b, " - disabling initrd");
        return Ok(());
    }
    b.mb.set_caller("reserve_initrd_mem");
    b.mb.reserve(whole)?;
    b.initrd = Some(initrd);
    Ok(())
}
