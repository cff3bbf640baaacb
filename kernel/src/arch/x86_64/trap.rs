//! Exceptions and interrupts.

use super::end::fail;
use pagewright_kernel::exit::Exit;
use pagewright_kernel::extable;
use pagewright_kspace::module::ModuleArch;
use x86_64::registers::control::Cr2;

/// What `entry.s` saves of the interrupted code.
#[repr(C)]
pub(super) struct Frame {
    pub(super) r15: u64,
    pub(super) r14: u64,
    pub(super) r13: u64,
    pub(super) r12: u64,
    pub(super) r11: u64,
    pub(super) r10: u64,
    pub(super) r9: u64,
    pub(super) r8: u64,
    pub(super) rbp: u64,
    pub(super) rdi: u64,
    pub(super) rsi: u64,
    pub(super) rdx: u64,
    pub(super) rcx: u64,
    pub(super) rbx: u64,
    pub(super) rax: u64,
    /// Which exception or interrupt.
    pub(super) vector: u64,
    /// What the processor says of it; 0 where it says nothing.
    pub(super) error: u64,
    /// Where it was.
    pub(super) rip: u64,
    pub(super) cs: u64,
    pub(super) rflags: u64,
    pub(super) rsp: u64,
    pub(super) ss: u64,
}

impl Frame {
    /// A register by the number that instructions have for it.
    fn register(&mut self, number: u8) -> &mut u64 {
        match number & 15 {
            0 => &mut self.rax,
            1 => &mut self.rcx,
            2 => &mut self.rdx,
            3 => &mut self.rbx,
            4 => &mut self.rsp,
            5 => &mut self.rbp,
            6 => &mut self.rsi,
            7 => &mut self.rdi,
            8 => &mut self.r8,
            9 => &mut self.r9,
            10 => &mut self.r10,
            11 => &mut self.r11,
            12 => &mut self.r12,
            13 => &mut self.r13,
            14 => &mut self.r14,
            _ => &mut self.r15,
        }
    }
}

unsafe extern "C" {
    fn probe_read();
    fn probe_write();
    fn probe_fault();
    fn probe_called();
}

/// The page fault.
pub(super) const PAGE_FAULT: u64 = 14;
/// The general protection fault, which addresses that are none at all raise.
const PROTECTION: u64 = 13;

/// Vectors from here on are no exceptions of the processor's own.
const FIRST_INTERRUPT: u64 = 32;

/// Called by `entry.s` for everything that interrupts.
pub(super) extern "C" fn trap(frame: &mut Frame) {
    if matches!(frame.vector, PAGE_FAULT | PROTECTION) && expected(frame) {
        frame.rip = probe_fault as *const () as u64;
        return;
    }
    if matches!(frame.vector, PAGE_FAULT | PROTECTION)
        && let Some(fixup) = extable::search(frame.rip)
        && let Some(changes) = fixup.registers(ModuleArch::X86_64)
    {
        for change in changes.into_iter().flatten() {
            *frame.register(change.register) = change.value as u64;
        }
        frame.rip = fixup.address;
        return;
    }
    if frame.vector >= FIRST_INTERRUPT && super::smp::interrupt(frame.vector as u8) {
        return;
    }
    fail(Exit::Fault, || super::fault::report(frame))
}

/// Whether it happened to `probe`, which is told.
fn expected(frame: &mut Frame) -> bool {
    if frame.rip == probe_read as *const () as u64 || frame.rip == probe_write as *const () as u64 {
        return true;
    }
    if frame.vector != PAGE_FAULT || frame.rip != Cr2::read_raw() {
        return false;
    }
    // What was called could not be executed: the stack is as the call left it.
    // SAFETY: the interrupted code's stack, whose top word is there: the processor has just pushed below it.
    let back = unsafe { core::ptr::with_exposed_provenance::<u64>(frame.rsp as usize).read_volatile() };
    let called = back == probe_called as *const () as u64;
    if called {
        frame.rsp += 8;
    }
    called
}
