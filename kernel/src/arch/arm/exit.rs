//! The end: semihosting, which tells the host a number, then PSCI, which ends the machine.

use core::arch::asm;
use core::sync::atomic::{AtomicU8, Ordering};
use pagewright_kernel::devices::PsciMethod;
use pagewright_kernel::exit::Exit;

/// How PSCI is called: 0 not at all, 1 by `hvc`, 2 by `smc`.
static METHOD: AtomicU8 = AtomicU8::new(0);

/// Notes how PSCI is called.
pub(super) fn set_psci(method: Option<PsciMethod>) {
    let number = match method {
        None => 0,
        Some(PsciMethod::Hvc) => 1,
        Some(PsciMethod::Smc) => 2,
    };
    METHOD.store(number, Ordering::Relaxed);
}

unsafe extern "C" {
    fn semihosting_exit(parameters: *const [u32; 2]);
    fn call_hvc(function: u32) -> u32;
    fn call_smc(function: u32) -> u32;
}

/// `ADP_Stopped_ApplicationExit`: the program came to its end.
const APPLICATION_EXIT: u32 = 0x20026;
/// PSCI's SYSTEM_OFF.
const SYSTEM_OFF: u32 = 0x8400_0008;

/// Ends the machine with a number for its host. Where nobody listens to semihosting, and PSCI is not there either, the processor
/// waits for good.
pub(super) fn exit(how: Exit) -> ! {
    let parameters = [APPLICATION_EXIT, u32::from(how.code())];
    // SAFETY: the call reads the two words. Without a host that listens it is a system call, from which the vectors come back.
    unsafe { semihosting_exit(&raw const parameters) };
    // SAFETY: the firmware said that it is called this way; the function has no parameters.
    unsafe {
        match METHOD.load(Ordering::Relaxed) {
            1 => call_hvc(SYSTEM_OFF),
            2 => call_smc(SYSTEM_OFF),
            _ => 0,
        }
    };
    loop {
        // SAFETY: waiting changes nothing.
        unsafe { asm!("wfi", options(nomem, nostack, preserves_flags)) };
    }
}
