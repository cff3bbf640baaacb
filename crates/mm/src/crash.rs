//! `crashkernel=`: memory for the kernel that takes over after a crash.

use crate::boot::{Boot, info, warning};
use crate::error::BootError;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::cmdline::{CrashkernelError, CrashkernelSuffix};

/// What was reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CrashKernel {
    /// The main region (`crashk_res`).
    pub main: Option<PhysRange>,
    /// The extra region below 4 GiB that a high one needs (`crashk_low_res`).
    pub low: Option<PhysRange>,
}

/// CRASH_ALIGN of arm64.
const ALIGN: u64 = 2 << 20;

/// Reserves the crash kernel on arm64 (`reserve_crashkernel`). `low_max` is the end of memory that DMA can reach.
///
/// # Errors
/// None of its own: what cannot be had is said in the log.
pub fn reserve_arm64(boot: &mut Boot<'_>, low_max: PhysAddr) -> Result<(), BootError> {
    let Some(param) = boot.params.crashkernel else { return Ok(()) };
    // CRASH_ADDR_HIGH_MAX: all that page tables can name.
    let high_max = PhysAddr::new(1 << boot.machine.config.pa_bits);
    let (size, base, mut max, low_size) = match param.resolve(boot.mb.phys_mem_size()) {
        Ok(c) => (c.size, PhysAddr::new(c.base), low_max, 0),
        Err(CrashkernelError::NotGiven) => {
            let Ok(c) = param.resolve_suffix(CrashkernelSuffix::High) else { return Ok(()) };
            // Low memory is kept only where it is asked for: Linux 6.1 has no default size here.
            let low_size = match param.resolve_suffix(CrashkernelSuffix::Low) {
                Ok(low) => low.size,
                Err(CrashkernelError::NotGiven) => 0,
                Err(e) => {
                    warning!(boot, "{e}");
                    return Ok(());
                }
            };
            (c.size, PhysAddr::ZERO, high_max, low_size)
        }
        Err(e) => {
            warning!(boot, "{e}");
            return Ok(());
        }
    };
    let size = size.checked_next_multiple_of(boot.page_bytes()).unwrap_or(0);
    if size == 0 {
        return Ok(());
    }
    if base > PhysAddr::ZERO {
        max = base.saturating_add(size);
    }
    boot.mb.set_caller("reserve_crashkernel");
    let Ok(at) = boot.mb.phys_alloc_range(size, ALIGN, base, max) else {
        warning!(boot, "cannot allocate crashkernel (size:0x{size:x})");
        return Ok(());
    };
    let range = PhysRange::from_len(at, size);
    if low_size > 0 && at > low_max.saturating_sub(low_size) {
        boot.mb.set_caller("reserve_crashkernel_low");
        match boot.mb.phys_alloc_range(low_size, ALIGN, PhysAddr::ZERO, low_max) {
            Ok(low) => {
                let low = PhysRange::from_len(low, low_size);
                info!(
                    boot,
                    "crashkernel low memory reserved: 0x{:08x} - 0x{:08x} ({} MB)",
                    low.start,
                    low.end,
                    low_size >> 20
                );
                boot.crash.low = Some(low);
            }
            Err(_) => {
                warning!(boot, "cannot allocate crashkernel low memory (size:0x{low_size:x}).");
                boot.mb.phys_free(range)?;
                return Ok(());
            }
        }
    }
    info!(boot, "crashkernel reserved: 0x{:016x} - 0x{:016x} ({} MB)", range.start, range.end, size >> 20);
    boot.crash.main = Some(range);
    Ok(())
}

/// CRASH_ALIGN of x86.
const X86_ALIGN: u64 = 16 << 20;

/// Reserves the crash kernel on x86 (`reserve_crashkernel`).
///
/// # Errors
/// None of its own: what cannot be had is said in the log.
pub fn reserve_x86(boot: &mut Boot<'_>) -> Result<(), BootError> {
    use pagewright_firmware::Arch;
    let Some(param) = boot.params.crashkernel else { return Ok(()) };
    let total = boot.mb.phys_mem_size();
    let (size, mut base, high) = match param.resolve(total) {
        Ok(c) if c.size > 0 => (c.size, PhysAddr::new(c.base), false),
        _ => match param.resolve_suffix(CrashkernelSuffix::High) {
            Ok(c) if c.size > 0 => (c.size, PhysAddr::ZERO, true),
            _ => return Ok(()),
        },
    };
    let x64 = boot.machine.arch == Arch::X86_64;
    let low_max = PhysAddr::new(if x64 { 4 << 30 } else { 512 << 20 });
    let high_max = PhysAddr::new(if x64 { 64 << 40 } else { 512 << 20 });
    let first = PhysAddr::new(X86_ALIGN);
    boot.mb.set_caller("reserve_crashkernel");
    if base == PhysAddr::ZERO {
        let mut found = None;
        if !high {
            found = boot.mb.phys_alloc_range(size, X86_ALIGN, first, low_max).ok();
        }
        if found.is_none() {
            found = boot.mb.phys_alloc_range(size, X86_ALIGN, first, high_max).ok();
        }
        let Some(at) = found else {
            info!(boot, "crashkernel reservation failed - No suitable area found.");
            return Ok(());
        };
        base = at;
    } else {
        let end = base.saturating_add(size);
        if boot.mb.phys_alloc_range(size, 1 << 20, base, end) != Ok(base) {
            info!(boot, "crashkernel reservation failed - memory is in use.");
            return Ok(());
        }
    }
    let range = PhysRange::from_len(base, size);
    if base >= PhysAddr::new(4 << 30) && !reserve_x86_low(boot, low_max)? {
        boot.mb.phys_free(range)?;
        return Ok(());
    }
    info!(
        boot,
        "Reserving {}MB of memory at {}MB for crashkernel (System RAM: {}MB)",
        size >> 20,
        base.get() >> 20,
        total >> 20
    );
    boot.crash.main = Some(range);
    Ok(())
}

/// `reserve_crashkernel_low`: a crash kernel above 4 GiB needs bounce buffers below.
fn reserve_x86_low(boot: &mut Boot<'_>, low_max: PhysAddr) -> Result<bool, BootError> {
    let Some(param) = boot.params.crashkernel else { return Ok(true) };
    let size = match param.resolve_suffix(CrashkernelSuffix::Low) {
        Ok(c) if c.size == 0 => return Ok(true),
        Ok(c) => c.size,
        Err(_) => 256 << 20,
    };
    let low_mib = boot.mb.phys_mem_size().min(low_max.get()) >> 20;
    boot.mb.set_caller("reserve_crashkernel_low");
    match boot.mb.phys_alloc_range(size, X86_ALIGN, PhysAddr::ZERO, low_max) {
        Ok(at) => {
            info!(
                boot,
                "Reserving {}MB of low memory at {}MB for crashkernel (low RAM limit: {low_mib}MB)",
                size >> 20,
                at.get() >> 20
            );
            boot.crash.low = Some(PhysRange::from_len(at, size));
            Ok(true)
        }
        Err(_) => {
            warning!(
                boot,
                "Cannot reserve {}MB crashkernel low memory, please try smaller size.",
                size >> 20
            );
            Ok(false)
        }
    }
}
