//! A module that uses what another exports (`sample.rs`), which stays as long as this one does.
#![no_std]
#![no_main]

unsafe extern "C" {
    /// The other module's: seven times an odd number.
    fn pagewright_sample_times(n: u64) -> u64;
}

/// Called once by the kernel: seven times an odd number.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".init.text")]
pub extern "C" fn init_module(n: u64) -> u64 {
    // SAFETY: the other module exports it, and cannot be unloaded before this one.
    unsafe { pagewright_sample_times(n) }
}

/// Called before the module goes: seven times three.
#[unsafe(no_mangle)]
pub extern "C" fn cleanup_module() -> u64 {
    // SAFETY: as above.
    unsafe { pagewright_sample_times(3) }
}

/// Nothing here panics.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
