//! The console: a PL011 where /chosen says. Before it is found, and where there is none, lines go to semihosting.

use super::exit::say;
use super::this::cpu;
use arm_pl011_uart::{PL011Registers, Uart, UniqueMmioPointer};
use core::ptr::NonNull;
use pagewright_addr::VirtAddr;
use pagewright_kernel::console::{Console, Device};

/// What the registers' place is compatible with.
pub(crate) const COMPATIBLE: [&str; 1] = ["arm,pl011"];

/// The image's console; it has semihosting alone until it is told where the registers are.
pub(crate) struct Pl011 {
    uart: Device<Option<Uart<'static>>>,
}

/// The console.
pub(crate) static CONSOLE: Pl011 = Pl011 { uart: Device::new(None) };

impl Pl011 {
    /// The registers are at this address from here on. The line's settings are the boot loader's.
    ///
    /// # Safety
    /// The PL011's registers are mapped there as device memory until another call, and only this console uses them.
    pub(crate) unsafe fn at(&self, registers: VirtAddr) {
        let pointer =
            NonNull::new(core::ptr::with_exposed_provenance_mut::<PL011Registers>(registers.get() as usize));
        // SAFETY: the caller's; the old pointer is dropped with its owner.
        let new = pointer.map(|p| Uart::new(unsafe { UniqueMmioPointer::new(p) }));
        self.uart.with(cpu::hardware_id(), |uart| *uart = new);
    }

    /// Takes the console from what this processor has left.
    ///
    /// # Safety
    /// [`Device::take_back`].
    pub(crate) unsafe fn take_back(&self) {
        // SAFETY: the caller's.
        unsafe { self.uart.take_back(cpu::hardware_id()) };
    }
}

impl Console for Pl011 {
    fn write(&self, bytes: &[u8]) {
        self.uart.with(cpu::hardware_id(), |uart| {
            let Some(uart) = uart.as_mut() else { return say(bytes) };
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
        });
    }

    fn hold(&self, work: &mut dyn FnMut()) {
        self.uart.with(cpu::hardware_id(), |_| work());
    }

    fn micros(&self) -> u64 {
        let frequency = cpu::frequency().max(1);
        let ticks = cpu::counter();
        ticks / frequency * 1_000_000 + ticks % frequency * 1_000_000 / frequency
    }
}
