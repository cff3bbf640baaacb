//! The console: a 16550 at the first serial port's place.

use super::cpu;
use core::sync::atomic::{AtomicU64, Ordering};
use pagewright_kernel::console::{Console, Device};
use x86_64::instructions::port::Port;

/// COM1.
const PORT: u16 = 0x3f8;

/// The image's console.
pub(crate) struct Uart {
    port: Device<()>,
    /// Ticks of the time stamp counter in a microsecond, times 1024; 0 until they were measured.
    scale: AtomicU64,
}

/// The console.
pub(crate) static CONSOLE: Uart = Uart { port: Device::new(()), scale: AtomicU64::new(0) };

/// Registers, by their distance from the first.
const DATA: u16 = 0;
const INTERRUPTS: u16 = 1;
const FIFO: u16 = 2;
const LINE: u16 = 3;
const MODEM: u16 = 4;
const STATUS: u16 = 5;

fn set(register: u16, value: u8) {
    // SAFETY: the registers of a serial port, which is this console's; where there is none, nobody hears it.
    unsafe { Port::new(PORT + register).write(value) };
}

fn get(register: u16) -> u8 {
    // SAFETY: as above.
    unsafe { Port::new(PORT + register).read() }
}

impl Uart {
    /// Sets the line up: 115200 baud, eight bits, no interrupts. Starts the clock.
    pub(super) fn start(&self) {
        set(INTERRUPTS, 0);
        set(LINE, 0x80);
        set(DATA, 1);
        set(INTERRUPTS, 0);
        set(LINE, 3);
        set(FIFO, 7);
        set(MODEM, 3);
        self.scale.store(ticks_per_microsecond(), Ordering::Relaxed);
    }

    /// Takes the console from what this processor has left.
    ///
    /// # Safety
    /// [`Device::take_back`].
    pub(crate) unsafe fn take_back(&self) {
        // SAFETY: the caller's.
        unsafe { self.port.take_back(cpu::hardware_id()) };
    }

    fn put(&self, byte: u8) {
        // A port that is not there reads as all ones; one that never gets ready is not waited for.
        for _ in 0..100_000 {
            if get(STATUS) & 0x20 != 0 {
                break;
            }
            core::hint::spin_loop();
        }
        set(DATA, byte);
    }
}

impl Console for Uart {
    fn write(&self, bytes: &[u8]) {
        self.port.with(cpu::hardware_id(), |()| {
            for byte in bytes {
                if *byte == b'\n' {
                    self.put(b'\r');
                }
                self.put(*byte);
            }
        });
    }

    fn hold(&self, work: &mut dyn FnMut()) {
        self.port.with(cpu::hardware_id(), |()| work());
    }

    fn micros(&self) -> u64 {
        let scale = self.scale.load(Ordering::Relaxed).max(1);
        (u128::from(cpu::time_stamp()) * 1024 / u128::from(scale)) as u64
    }
}

/// The time stamp counter's frequency by the interval timer, whose own is fixed: ticks in a microsecond, times 1024.
fn ticks_per_microsecond() -> u64 {
    const COUNTS: u64 = 238;
    const NANOS_PER_COUNT: u64 = 838;
    // SAFETY: the interval timer's second counter, which drives nothing but the speaker; that is kept off.
    unsafe {
        let (mut gate, mut mode, mut counter) =
            (Port::<u8>::new(0x61), Port::<u8>::new(0x43), Port::<u8>::new(0x42));
        let before = gate.read();
        gate.write((before & !2) | 1);
        mode.write(0xb0);
        counter.write(COUNTS as u8);
        counter.write((COUNTS >> 8) as u8);
        let start = cpu::time_stamp();
        for _ in 0..1_000_000 {
            if gate.read() & 0x20 != 0 {
                break;
            }
        }
        let ticks = cpu::time_stamp() - start;
        gate.write(before);
        (ticks * 1024 * 1000 / (COUNTS * NANOS_PER_COUNT)).max(1)
    }
}
