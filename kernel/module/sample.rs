//! A module that the images load: a relocatable object, compiled by the build script for the image's target.
//!
//! Its init function returns a number that only comes out where all of it was relocated: a table of pointers to its own functions (data to text), a constant and a
//! variable of its own (text to data), a function and a variable of the kernel's (exported symbols), and where that is far away a veneer. It has a
//! variable on each CPU, which points to its text, and an instruction that may fault. What it exports, `user.rs` uses.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

unsafe extern "C" {
    /// The kernel's: three times a number, and one.
    fn pagewright_triple(n: u64) -> u64;
    /// The kernel's: what a processor's copies are ahead of their symbols.
    fn pagewright_per_cpu_offset(cpu: u64) -> u64;
    /// The kernel's.
    static pagewright_number: AtomicU64;
}

/// Exports a function: an entry of the table for other modules, by distances or, on arm, by addresses.
macro_rules! export {
    ($name:literal) => {
        #[cfg(not(target_arch = "arm"))]
        global_asm!(
            ".pushsection __ksymtab,\"a\"",
            ".balign 4",
            concat!(".long ", $name, " - ."),
            ".long 9f - .",
            ".long 0",
            ".popsection"
        );
        #[cfg(target_arch = "arm")]
        global_asm!(
            ".pushsection __ksymtab,\"a\"",
            ".balign 4",
            concat!(".long ", $name),
            ".long 9f",
            ".long 0",
            ".popsection"
        );
        global_asm!(
            ".pushsection __ksymtab_strings,\"a\"",
            concat!("9: .asciz \"", $name, "\""),
            ".popsection"
        );
    };
}

export!("pagewright_sample_count");
export!("pagewright_sample_peek");
export!("pagewright_sample_times");

/// How often something was called.
static CALLS: AtomicU64 = AtomicU64::new(5);
/// What even and what odd numbers are multiplied by.
static FACTORS: [u64; 2] = [2, 7];
/// What is done one after the other.
static STEPS: [extern "C" fn(u64) -> u64; 2] = [pagewright_sample_times, far];

/// What each processor has a copy of.
#[repr(C)]
struct Variables {
    count: AtomicU64,
    step: extern "C" fn(u64) -> u64,
}

#[unsafe(link_section = ".data..percpu")]
static VARIABLES: Variables = Variables { count: AtomicU64::new(100), step: twice };

extern "C" fn twice(n: u64) -> u64 {
    n.wrapping_mul(2)
}

/// Twice an even number, seven times an odd one.
#[unsafe(no_mangle)]
pub extern "C" fn pagewright_sample_times(n: u64) -> u64 {
    CALLS.fetch_add(1, Ordering::Relaxed);
    n.wrapping_mul(FACTORS[(n & 1) as usize])
}

extern "C" fn far(n: u64) -> u64 {
    CALLS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the kernel exports it.
    unsafe { pagewright_triple(n) }
}

/// Counts twice `n` on a processor: that one's count.
#[unsafe(no_mangle)]
pub extern "C" fn pagewright_sample_count(cpu: u64, n: u64) -> u64 {
    // SAFETY: the kernel exports it.
    let ahead = unsafe { pagewright_per_cpu_offset(cpu) };
    let at = (&raw const VARIABLES as usize).wrapping_add(ahead as usize);
    // SAFETY: that processor's copy, which the loader has filled; its count is atomic, and the rest is not written.
    let here = unsafe { &*core::ptr::with_exposed_provenance::<Variables>(at) };
    let more = (here.step)(n);
    here.count.fetch_add(more, Ordering::Relaxed) + more
}

/// Reads a word that may not be there: 0, or -EFAULT.
///
/// # Safety
/// `into` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagewright_sample_peek(at: usize, into: *mut usize) -> i32 {
    let (value, status): (usize, i32);
    // SAFETY: where nothing is mapped the processor faults at label 2, and the kernel goes on at label 4, as the entry of the table of faults says: with
    // -EFAULT in register 1 (EX_TYPE_EFAULT_REG).
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "xor ecx, ecx", "2: mov {value}, qword ptr [{at}]", "jmp 5f", "4: xor {value:e}, {value:e}", "5:",
            ".pushsection __ex_table,\"a\"", ".balign 4", ".long 2b - .", ".long 4b - .", ".long 17 | (1 << 8) | (-14 << 16)", ".popsection",
            at = in(reg) at, value = out(reg) value, out("rcx") status, options(nostack, readonly)
        );
    }
    // SAFETY: as above; with -EFAULT in register 1 and 0 in register 2 (EX_TYPE_UACCESS_ERR_ZERO).
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "mov x1, xzr", "2: ldr x2, [{at}]", "4:",
            ".pushsection __ex_table,\"a\"", ".balign 4", ".long 2b - .", ".long 4b - .", ".short 2", ".short 1 | (2 << 5)", ".popsection",
            at = in(reg) at, out("x2") value, out("x1") status, options(nostack, readonly)
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "arm")]
    unsafe {
        asm!(
            "mov {status}, #0", "2: ldr {value}, [{at}]", "b 5f", "4: mvn {status}, #13", "mov {value}, #0", "5:",
            ".pushsection __ex_table,\"a\"", ".balign 4", ".long 2b", ".long 4b", ".popsection",
            at = in(reg) at, value = out(reg) value, status = out(reg) status, options(nostack, readonly)
        );
    }
    // SAFETY: the caller's.
    unsafe { into.write(value) };
    status
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
