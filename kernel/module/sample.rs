//! A module that the images load: a relocatable object, compiled by the build script for the image's target.
//!
//! Its init function returns a number that only comes out where all of it was relocated: a table of pointers to its own functions (data to text), a constant and a
//! variable of its own (text to data), a function and a variable of the kernel's (exported symbols), and where that is far away a veneer.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

unsafe extern "C" {
    /// The kernel's: three times a number, and one.
    fn pagewright_triple(n: u64) -> u64;
    /// The kernel's.
    static pagewright_number: AtomicU64;
}

/// How often something was called.
static CALLS: AtomicU64 = AtomicU64::new(5);
/// What even and what odd numbers are multiplied by.
static FACTORS: [u64; 2] = [2, 7];
/// What is done one after the other.
static STEPS: [extern "C" fn(u64) -> u64; 2] = [times, far];

extern "C" fn times(n: u64) -> u64 {
    CALLS.fetch_add(1, Ordering::Relaxed);
    n.wrapping_mul(FACTORS[(n & 1) as usize])
}

extern "C" fn far(n: u64) -> u64 {
    CALLS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the kernel exports it.
    unsafe { pagewright_triple(n) }
}

/// Called once by the kernel: from `n` by all steps, and the kernel's number.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".init.text")]
pub extern "C" fn init_module(n: u64) -> u64 {
    let mut n = n;
    for step in &STEPS {
        n = step(n);
    }
    // SAFETY: the kernel exports it.
    n.wrapping_add(unsafe { &pagewright_number }.load(Ordering::Relaxed))
}

/// Called before the module goes: how often its functions were.
#[unsafe(no_mangle)]
pub extern "C" fn cleanup_module() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// Nothing here panics.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
