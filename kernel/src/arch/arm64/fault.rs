//! What is printed of an exception that nobody expected.

use super::console::print;
use super::trap::Frame;
use aarch64_cpu::registers::{Readable, SP_EL0};
use pagewright_kernel::exit::Exit;

/// Frames of a backtrace, at most.
const FRAMES: usize = 32;

unsafe extern "C" {
    fn probe(at: u64, what: u64, value: u64) -> u64;
}

/// A word at an address that may not be mapped.
fn word(at: u64) -> Option<u64> {
    // SAFETY: reads one byte, and comes back if that faults.
    let mapped = at.is_multiple_of(8) && unsafe { probe(at, 0, 0) } == 0;
    // SAFETY: the address is mapped and aligned; any bytes are a number, and nobody depends on what they are.
    mapped.then(|| unsafe { core::ptr::with_exposed_provenance::<u64>(at as usize).read_volatile() })
}

/// The report.
pub(super) fn report(kind: u64, frame: &Frame) {
    print(format_args!(
        "pagewright: exception {kind}: ESR {:#010x} at {:#018x}, address {:#018x}",
        frame.esr, frame.elr, frame.far
    ));
    let sp = if kind < 4 { SP_EL0.get() } else { &raw const *frame as u64 };
    print(format_args!("sp {sp:#018x} lr {:#018x} state {:#x}", frame.x[30], frame.spsr));
    for (n, four) in frame.x[..28].chunks(4).enumerate() {
        print(format_args!(
            "x{:<2} {:#018x} {:#018x} {:#018x} {:#018x}",
            n * 4,
            four[0],
            four[1],
            four[2],
            four[3]
        ));
    }
    print(format_args!("Call trace:"));
    print(format_args!(" {:#018x}", frame.elr));
    let mut fp = frame.x[29];
    for _ in 0..FRAMES {
        let (Some(next), Some(back)) = (word(fp), word(fp.wrapping_add(8))) else { break };
        print(format_args!(" {back:#018x}"));
        // A stack grows down: callers' frames lie above.
        if next <= fp {
            break;
        }
        fp = next;
    }
    print(format_args!("{}", Exit::Fault));
}
