//! What is printed of an exception that nobody expected.

use super::console::CONSOLE;
use super::end::print;
use super::trap::{DATA_ABORT, Frame, INTERRUPT, PREFETCH_ABORT, UNDEFINED};
use super::{cp15, metal};
use pagewright_addr::VirtAddr;
use pagewright_kernel::fault;

/// What an abort's status says: long descriptors' numbers, or short ones'.
fn status(status: u32) -> &'static str {
    if status & 1 << 9 != 0 {
        return match status >> 2 & 0xf {
            1 => "translation fault",
            2 => "access flag fault",
            3 => "permission fault",
            4 => "external abort",
            8 => "alignment fault",
            _ => "fault",
        };
    }
    match status & 0xf | status >> 6 & 0x10 {
        0x1 => "alignment fault",
        0x3 | 0x6 => "access flag fault",
        0x5 | 0x7 => "translation fault",
        0x8 => "external abort",
        0x9 | 0xb => "domain fault",
        0xd | 0xf => "permission fault",
        _ => "fault",
    }
}

/// The report.
pub(super) fn report(kind: u32, frame: &Frame) {
    let cpu = cp15::mpidr() & 0xff;
    let class = match kind {
        UNDEFINED => "undefined instruction",
        PREFETCH_ABORT => "instruction abort",
        DATA_ABORT => "data abort",
        INTERRUPT => "interrupt",
        _ => "fast interrupt",
    };
    let abort = matches!(kind, PREFETCH_ABORT | DATA_ABORT);
    if abort {
        let access = match kind {
            PREFETCH_ABORT => "executing",
            _ if frame.status & 1 << 11 != 0 => "writing",
            _ => "reading",
        };
        let status = status(frame.status);
        let at = frame.address;
        print(format_args!("pagewright: unexpected {class} on CPU {cpu}: {access} {at:#010x}: {status}"));
    } else {
        print(format_args!("pagewright: unexpected {class} on CPU {cpu}"));
    }
    print(format_args!(
        "pc {:#010x} lr {:#010x} sp {:#010x} state {:#x} status {:#x}",
        frame.pc, frame.lr, frame.sp, frame.psr, frame.status
    ));
    for (n, four) in frame.r[..12].chunks(4).enumerate() {
        let n = n * 4;
        print(format_args!(
            "r{n:<2} {:#010x} {:#010x} {:#010x} {:#010x}",
            four[0], four[1], four[2], four[3]
        ));
    }
    if abort {
        fault::walk_loaded(&CONSOLE, cp15::root(), metal::format(0), VirtAddr::new(frame.address.into()));
    }
    print(format_args!("Call trace:"));
    fault::backtrace(&CONSOLE, frame.pc.into(), frame.r[11].into(), 4, metal::word);
}
