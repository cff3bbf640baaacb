//! `reserve_crashkernel` of arm: memory for the kernel that takes over, in low memory.

use super::LowPfns;
use crate::boot::{Boot, info, warning};
use crate::error::BootError;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::cmdline::CrashkernelError;

/// CRASH_ALIGN: also the lowest address, and room for the decompressor.
const CRASH_ALIGN: u64 = 128 << 20;

/// Reserves what `crashkernel=` asks for. `low` bounds the memory that counts as the system's.
///
/// # Errors
/// None of its own: what cannot be had is said in the log.
pub(super) fn reserve_crashkernel(b: &mut Boot<'_>, low: LowPfns) -> Result<(), BootError> {
    let Some(param) = b.params.crashkernel else { return Ok(()) };
    let total = low.max.get().saturating_sub(low.min.get()) << b.machine.config.page_shift.get();
    let (size, base) = match param.resolve(total) {
        Ok(c) if c.size > 0 => (c.size, PhysAddr::new(c.base)),
        Err(e) if e != CrashkernelError::NotGiven => {
            warning!(b, "{e}");
            return Ok(());
        }
        _ => return Ok(()),
    };
    b.mb.set_caller("reserve_crashkernel");
    let (found, refusal) = if base == PhysAddr::ZERO {
        // What can be mapped one to one while the MMU is switched, and the kernel maps.
        let max = b.high_memory.min(PhysAddr::new(u32::MAX.into()));
        let found = b.mb.phys_alloc_range(size, CRASH_ALIGN, PhysAddr::new(CRASH_ALIGN), max);
        (found, "No suitable area found.")
    } else {
        // SECTION_SIZE.
        let align = if b.machine.config.lpae { 2 << 20 } else { 1 << 20 };
        let found = b.mb.phys_alloc_range(size, align, base, base.saturating_add(size));
        (found, "memory is in use.")
    };
    let Ok(at) = found else {
        warning!(b, "crashkernel reservation failed - {refusal}");
        return Ok(());
    };
    info!(
        b,
        "Reserving {}MB of memory at {}MB for crashkernel (System RAM: {}MB)",
        size >> 20,
        at.get() >> 20,
        total >> 20
    );
    b.crash.main = Some(PhysRange::from_len(at, size));
    Ok(())
}
