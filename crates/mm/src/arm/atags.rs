//! `setup_machine_tags`: memory and RAM disk from a list of ATAGs.

use super::{limits, phys};
use crate::boot::{Boot, warning};
use crate::error::BootError;
use pagewright_addr::PhysRange;
use pagewright_firmware::atags::{AtagInitrd, Atags};
use pagewright_memblock::Set;

/// Adds each bank and returns where the RAM disk lies.
///
/// # Errors
/// [`BootError::NoMemory`] without a bank that gives memory, and whatever memblock refuses.
pub(super) fn setup_machine_tags(b: &mut Boot<'_>, tags: &Atags<'_>) -> Result<Option<PhysRange>, BootError> {
    b.mb.set_caller("arm_add_memory");
    for bank in &tags.memory {
        limits::add_memory(b, bank.start.get(), bank.len())?;
    }
    if b.mb.regions(Set::Memory).is_empty() && b.params.mem.is_empty() {
        return Err(BootError::NoMemory { empty_node: false });
    }
    Ok(b.machine.initrd.or(match tags.initrd {
        Some(AtagInitrd::Physical(range)) => Some(range),
        Some(AtagInitrd::Virtual { start, size }) => {
            warning!(b, "ATAG_INITRD is deprecated; please update your bootloader.");
            let above = u64::from(start.wrapping_sub(b.machine.config.page_offset));
            Some(PhysRange::from_len(phys::pa(b, above), size.into()))
        }
        None => None,
    }))
}
