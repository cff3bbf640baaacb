//! Exceptions.

use super::end::fail;
use pagewright_kernel::exit::Exit;
use pagewright_kernel::extable;

/// What `entry.s` saves of the interrupted code.
#[repr(C)]
pub(super) struct Frame {
    /// r0 to r12.
    pub(super) r: [u32; 13],
    /// SVC mode's stack pointer.
    pub(super) sp: u32,
    /// SVC mode's link register.
    pub(super) lr: u32,
    /// Where it was.
    pub(super) pc: u32,
    /// Its state.
    pub(super) psr: u32,
    /// What happened (aborts): DFSR or IFSR.
    pub(super) status: u32,
    /// The address that it happened at: DFAR or IFAR.
    pub(super) address: u32,
}

unsafe extern "C" {
    fn probe_read();
    fn probe_write_old();
    fn probe_write();
    fn probe_fault();
    fn probe_called();
}

/// The vectors' numbers.
pub(super) const UNDEFINED: u32 = 1;
pub(super) const PREFETCH_ABORT: u32 = 3;
pub(super) const DATA_ABORT: u32 = 4;
pub(super) const INTERRUPT: u32 = 6;

/// The address of a piece of code.
fn address(of: unsafe extern "C" fn()) -> u32 {
    of as *const () as u32
}

/// Called by `entry.s` for every exception but system calls; `kind` is the vector's number.
pub(super) extern "C" fn trap(kind: u32, frame: &mut Frame) {
    if expected(kind, frame) {
        frame.r[0] = frame.status | 1 << 31;
        frame.pc = address(probe_fault);
        return;
    }
    if kind == DATA_ABORT
        && let Some(fixup) = extable::search(frame.pc.into())
    {
        frame.pc = fixup.address as u32;
        return;
    }
    if kind == INTERRUPT {
        return super::smp::interrupt();
    }
    fail(Exit::Fault, || super::fault::report(kind, frame))
}

/// Whether it happened to `probe`, which is told.
fn expected(kind: u32, frame: &Frame) -> bool {
    match kind {
        DATA_ABORT => [probe_read, probe_write_old, probe_write].map(address).contains(&frame.pc),
        PREFETCH_ABORT => frame.pc == frame.address && frame.lr == address(probe_called),
        _ => false,
    }
}
