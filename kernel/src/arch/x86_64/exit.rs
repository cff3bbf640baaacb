//! The end: QEMU's debug-exit device, which tells the host a number.

use pagewright_kernel::exit::Exit;
use x86_64::instructions::port::Port;

/// Where the device is: `-device isa-debug-exit,iobase=0xf4,iosize=0x04`.
pub(super) const PORT: u16 = 0xf4;
/// What is added to the exit's number, so that QEMU's own exit codes mean something else. QEMU doubles what is written and
/// adds one: 0x10 gives 33.
const BASE: u32 = 0x10;

/// What is written to the device.
pub(super) const fn written(how: Exit) -> u32 {
    BASE + how.code() as u32
}

/// Ends the machine with a number for its host. Where the device is not there the processor waits for good.
pub(crate) fn exit(how: Exit) -> ! {
    // SAFETY: the device ends the machine; without one nobody listens at its port.
    unsafe { Port::new(PORT).write(written(how)) };
    loop {
        super::cpu::park();
    }
}
