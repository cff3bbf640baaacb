//! The end: semihosting, which tells the host a number, then PSCI, which ends the machine.

use super::this::cpu;
use core::sync::atomic::{AtomicU8, Ordering};
use pagewright_kernel::devices::PsciMethod;
use pagewright_kernel::exit::Exit;
use smccc::{Hvc, Smc, psci};

/// How PSCI is called: 0 not at all, 1 by `hvc`, 2 by `smc`.
static METHOD: AtomicU8 = AtomicU8::new(0);

/// Notes how PSCI is called.
pub(crate) fn set_psci(method: Option<PsciMethod>) {
    let number = match method {
        None => 0,
        Some(PsciMethod::Hvc) => 1,
        Some(PsciMethod::Smc) => 2,
    };
    METHOD.store(number, Ordering::Relaxed);
}

/// How PSCI is called.
pub(crate) fn psci_method() -> Option<PsciMethod> {
    match METHOD.load(Ordering::Relaxed) {
        1 => Some(PsciMethod::Hvc),
        2 => Some(PsciMethod::Smc),
        _ => None,
    }
}

unsafe extern "C" {
    /// See `entry.s`.
    fn semihosting_exit(parameters: *const [usize; 2]);
}

/// `ADP_Stopped_ApplicationExit`: the program came to its end.
const APPLICATION_EXIT: usize = 0x20026;

/// Ends the machine with a number for its host. Where nobody listens to semihosting, and PSCI is not there either, the processor
/// waits for good.
pub(crate) fn exit(how: Exit) -> ! {
    let parameters = [APPLICATION_EXIT, usize::from(how.code())];
    // SAFETY: the call reads the two words. Without a host that listens it is an instruction that the vectors step over.
    unsafe { semihosting_exit(&raw const parameters) };
    let _ = match psci_method() {
        Some(PsciMethod::Hvc) => psci::system_off::<Hvc>(),
        Some(PsciMethod::Smc) => psci::system_off::<Smc>(),
        None => Ok(()),
    };
    loop {
        cpu::park();
    }
}
