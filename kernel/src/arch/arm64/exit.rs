//! The end: semihosting, which tells the host a number, then PSCI, which ends the machine.

use core::arch::asm;
use core::sync::atomic::{AtomicU8, Ordering};
use pagewright_kernel::devices::PsciMethod;
use pagewright_kernel::exit::Exit;
use smccc::{Hvc, Smc, psci};

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

/// How PSCI is called.
pub(super) fn psci_method() -> Option<PsciMethod> {
    match METHOD.load(Ordering::Relaxed) {
        1 => Some(PsciMethod::Hvc),
        2 => Some(PsciMethod::Smc),
        _ => None,
    }
}

unsafe extern "C" {
    fn semihosting_exit(zero: u64, parameters: *const [u64; 2]);
}

/// `ADP_Stopped_ApplicationExit`: the program came to its end.
const APPLICATION_EXIT: u64 = 0x20026;

/// Ends the machine with a number for its host. Where nobody listens to semihosting, and PSCI is not there either, the processor
/// waits for good.
pub(super) fn exit(how: Exit) -> ! {
    let parameters = [APPLICATION_EXIT, u64::from(how.code())];
    // SAFETY: the call reads the two words. Without a host that listens it is an undefined instruction, which the exception
    // handler steps over.
    unsafe { semihosting_exit(0, &raw const parameters) };
    let _ = match psci_method() {
        Some(PsciMethod::Hvc) => psci::system_off::<Hvc>(),
        Some(PsciMethod::Smc) => psci::system_off::<Smc>(),
        None => Ok(()),
    };
    loop {
        // SAFETY: waiting changes nothing.
        unsafe { asm!("wfi", options(nomem, nostack, preserves_flags)) };
    }
}

/// The same for `entry.s`, before there is a console.
pub(super) extern "C" fn exit_early() -> ! {
    exit(Exit::BootFailed)
}
