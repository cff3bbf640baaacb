//! What is printed of an exception that nobody expected.

use super::console::CONSOLE;
use super::end::print;
use super::trap::{Frame, PAGE_FAULT};
use super::{metal, tlb};
use pagewright_addr::VirtAddr;
use pagewright_kernel::fault;
use pagewright_pagetable::format::x86::X86Config;
use x86_64::registers::control::Cr2;

/// The double fault.
const DOUBLE_FAULT: u64 = 8;

/// Exceptions by their vectors (Intel SDM volume 3, table 6-1).
fn name(vector: u64) -> &'static str {
    match vector {
        0 => "division by zero",
        1 => "debug exception",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound",
        6 => "undefined instruction",
        7 => "missing coprocessor",
        8 => "double fault",
        10 => "invalid task state",
        11 => "missing segment",
        12 => "stack fault",
        13 => "general protection fault",
        14 => "page fault",
        16 => "floating-point error",
        17 => "misaligned access",
        18 => "machine check",
        19 => "vector floating-point error",
        21 => "control protection fault",
        _ => "interrupt",
    }
}

/// The report.
pub(super) fn report(frame: &Frame) {
    let at = Cr2::read_raw();
    let (cpu, name) = (super::cpu::apic_id(), name(frame.vector));
    match frame.vector {
        PAGE_FAULT => {
            let (access, why) = page_fault(frame.error);
            print(format_args!("pagewright: unexpected {name} on CPU {cpu}: {access} {at:#018x}: {why}"));
        }
        DOUBLE_FAULT => {
            print(format_args!("pagewright: unexpected {name} on CPU {cpu}, after an access to {at:#018x}"));
            // What the processor pushes at a fault comes right below the stack pointer.
            if frame.rsp.wrapping_sub(at) < 4096 || at.wrapping_sub(frame.rsp) < 4096 {
                print(format_args!("pagewright: the stack at {:#018x} is full", frame.rsp));
            }
        }
        vector => print(format_args!("pagewright: unexpected {name} ({vector}) on CPU {cpu}")),
    }
    let root = tlb::root();
    print(format_args!(
        "rip {:#018x} rsp {:#018x} flags {:#x} error {:#x} cr3 {root:#x}",
        frame.rip, frame.rsp, frame.rflags, frame.error
    ));
    let f = frame;
    for [(a, x), (b, y), (c, z)] in [
        [("rax", f.rax), ("rbx", f.rbx), ("rcx", f.rcx)],
        [("rdx", f.rdx), ("rsi", f.rsi), ("rdi", f.rdi)],
        [("rbp", f.rbp), ("r8 ", f.r8), ("r9 ", f.r9)],
        [("r10", f.r10), ("r11", f.r11), ("r12", f.r12)],
        [("r13", f.r13), ("r14", f.r14), ("r15", f.r15)],
    ] {
        print(format_args!("{a} {x:#018x} {b} {y:#018x} {c} {z:#018x}"));
    }
    if let PAGE_FAULT | DOUBLE_FAULT = frame.vector {
        let format = super::image::format(X86Config::default());
        fault::walk_loaded(&CONSOLE, root, format, VirtAddr::new(at));
    }
    print(format_args!("Call trace:"));
    fault::backtrace(&CONSOLE, frame.rip, frame.rbp, 8, metal::word);
}

/// A page fault's access and its reason (Intel SDM volume 3, section 4.7).
fn page_fault(error: u64) -> (&'static str, &'static str) {
    let access = match error {
        e if e >> 4 & 1 != 0 => "executing",
        e if e >> 1 & 1 != 0 => "writing",
        _ => "reading",
    };
    let why = match error {
        e if e & 8 != 0 => "an entry has a reserved bit set",
        e if e & 1 != 0 => "the permissions forbid it",
        _ => "nothing is mapped there",
    };
    (access, why)
}
