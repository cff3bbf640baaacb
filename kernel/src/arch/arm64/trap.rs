//! Exceptions.

use super::end::fail;
use pagewright_kernel::exit::Exit;
use pagewright_kernel::extable;
use pagewright_kspace::module::ModuleArch;

/// What `entry.s` saves of the interrupted code.
#[repr(C)]
pub(super) struct Frame {
    /// x0 to x30.
    pub(super) x: [u64; 31],
    /// Where it was.
    pub(super) elr: u64,
    /// Its state.
    pub(super) spsr: u64,
    /// What happened (synchronous exceptions).
    pub(super) esr: u64,
    /// The address that it happened at.
    pub(super) far: u64,
}

unsafe extern "C" {
    fn semihosting_hlt();
    fn probe_read();
    fn probe_write();
    fn probe_fault();
    fn probe_called();
}

/// Exception classes (ESR_EL1.EC).
const UNKNOWN: u64 = 0;
const INSTRUCTION_ABORT: u64 = 0x21;
const DATA_ABORT: u64 = 0x25;

/// Called by `entry.s` for every exception; `kind` is the vector's number.
pub(super) extern "C" fn trap(kind: u64, frame: &mut Frame) {
    let class = frame.esr >> 26;
    if kind & 3 == 0 {
        if class == UNKNOWN && frame.elr == semihosting_hlt as *const () as u64 {
            frame.elr += 4;
            return;
        }
        if expected(class, frame) {
            frame.x[0] = frame.esr;
            frame.elr = probe_fault as *const () as u64;
            return;
        }
        if class == DATA_ABORT
            && let Some(fixup) = extable::search(frame.elr)
            && let Some(changes) = fixup.registers(ModuleArch::Arm64)
        {
            for change in changes.into_iter().flatten() {
                if let Some(x) = frame.x.get_mut(usize::from(change.register)) {
                    *x = change.value as u64;
                }
            }
            frame.elr = fixup.address;
            return;
        }
    }
    if kind & 3 == 1 {
        return super::smp::interrupt();
    }
    fail(Exit::Fault, || super::fault::report(kind, frame))
}

/// Whether it happened to `probe`, which is told.
fn expected(class: u64, frame: &Frame) -> bool {
    match class {
        DATA_ABORT => {
            frame.elr == probe_read as *const () as u64 || frame.elr == probe_write as *const () as u64
        }
        INSTRUCTION_ABORT => frame.elr == frame.far && frame.x[30] == probe_called as *const () as u64,
        _ => false,
    }
}
