//! How an image ends, whatever the processor: with lines that say why, and a number for its host.

use super::this::console::CONSOLE;
use super::this::cpu;
use super::this::exit::exit;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU64, Ordering};
use pagewright_kernel::console::Out;
use pagewright_kernel::exit::Exit;

/// The processor that has failed, by its number plus one; further up how often it has.
static FAILED: AtomicU64 = AtomicU64::new(0);
/// One failure more.
const AGAIN: u64 = 1 << 48;

/// One line, as it is.
pub(super) fn print(text: fmt::Arguments<'_>) {
    // The console takes everything.
    let _ = writeln!(Out(&CONSOLE), "{text}");
}

/// Ends with a line that says why.
pub(super) fn stop(how: Exit, why: fmt::Arguments<'_>) -> ! {
    print(format_args!("pagewright: {why}"));
    print(format_args!("{how}"));
    exit(how)
}

/// Ends a processor that has failed, with the lines that `report` prints. Where it failed while it printed, the console is taken from
/// there. The first processor that fails ends the machine; others wait for that.
pub(super) fn fail(how: Exit, report: impl FnOnce()) -> ! {
    let me = cpu::hardware_id();
    match FAILED.compare_exchange(0, me + 1, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {
            // SAFETY: this processor; it never goes back to what it did.
            unsafe { CONSOLE.take_back() };
            report();
        }
        Err(before) if before & (AGAIN - 1) == me + 1 => {
            FAILED.fetch_add(AGAIN, Ordering::Relaxed);
            // A third time not even this line can be printed.
            if before < AGAIN {
                // SAFETY: as above.
                unsafe { CONSOLE.take_back() };
                print(format_args!("pagewright: the report of a failure fails"));
            }
        }
        Err(_) => loop {
            cpu::park();
        },
    }
    print(format_args!("{how}"));
    exit(how)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fail(Exit::Panic, || print(format_args!("pagewright: {info}")))
}
