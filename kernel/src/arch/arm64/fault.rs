//! What is printed of an exception that nobody expected.

use super::console::CONSOLE;
use super::end::print;
use super::metal;
use super::trap::Frame;
use aarch64_cpu::registers::{MPIDR_EL1, Readable, SP_EL0, TTBR0_EL1, TTBR1_EL1};
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_kernel::fault;

/// Exception classes by their numbers (ESR_EL1.EC).
fn class(esr: u64) -> &'static str {
    match esr >> 26 {
        0x00 => "undefined instruction",
        0x0e => "illegal execution state",
        0x21 => "instruction abort",
        0x22 => "misaligned program counter",
        0x25 => "data abort",
        0x26 => "misaligned stack pointer",
        0x2f => "system error",
        0x3c => "breakpoint",
        _ => "exception",
    }
}

/// What an abort's status says (ESR_EL1.ISS, DFSC and IFSC).
fn status(esr: u64) -> &'static str {
    match esr >> 2 & 0xf {
        0 => "address size fault",
        1 => "translation fault",
        2 => "access flag fault",
        3 => "permission fault",
        4 => "external abort",
        8 => "alignment fault",
        _ => "fault",
    }
}

/// The report.
pub(super) fn report(kind: u64, frame: &Frame) {
    let class = class(frame.esr);
    let abort = matches!(frame.esr >> 26, 0x21 | 0x25);
    let cpu = MPIDR_EL1.get() & 0xff;
    if abort {
        let access = match frame.esr >> 26 {
            0x21 => "executing",
            _ if frame.esr & 1 << 6 != 0 => "writing",
            _ => "reading",
        };
        print(format_args!(
            "pagewright: unexpected {class} on CPU {cpu}: {access} {:#018x}: {} on level {}",
            frame.far,
            status(frame.esr),
            frame.esr & 3
        ));
    } else {
        let kind = ["synchronous", "interrupt", "fast interrupt", "system error"][(kind & 3) as usize];
        print(format_args!("pagewright: unexpected {class} ({kind}) on CPU {cpu}"));
    }
    let sp = if kind < 4 { SP_EL0.get() } else { &raw const *frame as u64 };
    print(format_args!(
        "pc {:#018x} lr {:#018x} sp {sp:#018x} state {:#x} ESR {:#x}",
        frame.elr, frame.x[30], frame.spsr, frame.esr
    ));
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
    if abort {
        let (root, format) = if frame.far >> 63 != 0 {
            (TTBR1_EL1.get_baddr(), metal::high_format())
        } else {
            (TTBR0_EL1.get_baddr(), metal::low_format())
        };
        if let Some(format) = format {
            fault::walk_loaded(&CONSOLE, PhysAddr::new(root), format, VirtAddr::new(frame.far));
        }
    }
    print(format_args!("Call trace:"));
    fault::backtrace(&CONSOLE, frame.elr, frame.x[29], 8, metal::word);
}
