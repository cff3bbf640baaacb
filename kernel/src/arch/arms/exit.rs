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
    fn semihosting(operation: usize, parameter: *const usize) -> usize;
}

/// `SYS_WRITE0`: text up to its zero byte goes to the debugger's console.
const WRITE0: usize = 0x04;
/// `SYS_EXIT_EXTENDED`.
const EXIT_EXTENDED: usize = 0x20;

/// Has whoever listens to semihosting print this. Where nobody does, it is lost.
pub(crate) fn say(bytes: &[u8]) {
    for piece in bytes.chunks(63) {
        let mut text = [0_u8; 64];
        for (to, from) in text.iter_mut().zip(piece) {
            *to = *from;
        }
        // SAFETY: the call reads up to the zero byte, which is there: a piece is shorter. Without a host that listens it is an
        // instruction that the vectors step over.
        unsafe { semihosting(WRITE0, text.as_ptr().cast()) };
    }
}

/// `ADP_Stopped_ApplicationExit`: the program came to its end.
const APPLICATION_EXIT: usize = 0x20026;

/// Ends the machine with a number for its host. Where nobody listens to semihosting, and PSCI is not there either, the processor
/// waits for good.
pub(crate) fn exit(how: Exit) -> ! {
    let parameters = [APPLICATION_EXIT, usize::from(how.code())];
    // SAFETY: the call reads the two words. Without a host that listens it is an instruction that the vectors step over.
    unsafe { semihosting(EXIT_EXTENDED, parameters.as_ptr()) };
    let _ = match psci_method() {
        Some(PsciMethod::Hvc) => psci::system_off::<Hvc>(),
        Some(PsciMethod::Smc) => psci::system_off::<Smc>(),
        None => Ok(()),
    };
    loop {
        cpu::park();
    }
}
