//! The console: a PL011 where /chosen says.

use super::cp15;
use arm_pl011_uart::{PL011Registers, Uart, UniqueMmioPointer};
use core::fmt::{self, Write};
use core::ptr::NonNull;
use pagewright_addr::VirtAddr;
use pagewright_kernel::console::{Console, Out};
use pagewright_kernel::lock::SpinLock;

/// What the registers' place is compatible with.
pub(super) const COMPATIBLE: [&str; 1] = ["arm,pl011"];

/// The image's console; silent until it is told where the registers are.
pub(super) struct Pl011 {
    uart: SpinLock<Option<Uart<'static>>>,
}

/// The console.
pub(super) static CONSOLE: Pl011 = Pl011 { uart: SpinLock::new(None) };

impl Pl011 {
    /// The registers are at this address from here on. The line's settings are the boot loader's.
    ///
    /// # Safety
    /// The PL011's registers are mapped there as device memory until another call, and only this console uses them.
    pub(super) unsafe fn at(&self, registers: VirtAddr) {
        let pointer =
            NonNull::new(core::ptr::with_exposed_provenance_mut::<PL011Registers>(registers.get() as usize));
        // SAFETY: the caller's; the old pointer is dropped with its owner.
        *self.uart.lock() = pointer.map(|p| Uart::new(unsafe { UniqueMmioPointer::new(p) }));
    }
}

impl Console for Pl011 {
    fn write(&self, bytes: &[u8]) {
        let mut uart = self.uart.lock();
        let Some(uart) = uart.as_mut() else { return };
        let mut put = |byte| {
            while uart.is_tx_fifo_full() {
                core::hint::spin_loop();
            }
            uart.write_word(byte);
        };
        for byte in bytes {
            if *byte == b'\n' {
                put(b'\r');
            }
            put(*byte);
        }
    }

    fn micros(&self) -> u64 {
        let frequency = u64::from(cp15::frequency().max(1));
        let ticks = cp15::ticks();
        ticks / frequency * 1_000_000 + ticks % frequency * 1_000_000 / frequency
    }
}

/// One line, as it is.
pub(super) fn print(text: fmt::Arguments<'_>) {
    // The console takes everything.
    let _ = writeln!(Out(&CONSOLE), "{text}");
}
