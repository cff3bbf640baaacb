//! The processor's own instructions, under the names that the shared parts use.

use super::cp15;
pub(crate) use super::cp15::publish;
pub(crate) use super::events::{park, send_event, wait_for_event};
use core::arch::asm;
use smccc::{Call, psci};

/// The affinity fields of MPIDR: this processor's number among all.
pub(crate) fn hardware_id() -> u64 {
    u64::from(cp15::mpidr() & 0xff_ffff)
}

/// Ticks so far.
pub(crate) fn counter() -> u64 {
    cp15::ticks()
}

/// Ticks in a second.
pub(crate) fn frequency() -> u64 {
    cp15::frequency().into()
}

/// Where this processor's data is; 0 before it has some.
pub(crate) fn local() -> usize {
    cp15::tpidrprw() as usize
}

/// Notes that.
pub(crate) fn set_local(at: usize) {
    cp15::set_tpidrprw(at as u32);
}

/// Takes interrupts.
pub(crate) fn unmask() {
    // SAFETY: vectors, stack and handler are in place before anybody asks for interrupts.
    unsafe { asm!("cpsie i", options(nostack, preserves_flags)) };
}

/// Has the virtual timer interrupt after so many ticks.
pub(crate) fn start_timer(ticks: u64) {
    cp15::set_cntv_tval(u32::try_from(ticks).unwrap_or(u32::MAX));
    cp15::set_cntv_ctl(1);
}

/// Writes a cache line back, for who reads past the caches.
pub(crate) fn clean_line(at: usize) {
    cp15::clean(at as u32);
}

/// PSCI's CPU_ON.
pub(crate) fn psci_on<C: Call>(id: u64, entry: u64, argument: u64) -> Result<(), psci::Error> {
    psci::cpu_on_32::<C>(id as u32, entry as u32, argument as u32)
}

/// The interrupt controller's registers in the processor (version 3).
pub(crate) mod icc {
    use super::cp15;

    /// ICC_SRE, ICC_PMR, ICC_IGRPEN1: registers, all priorities, group 1.
    pub(crate) fn enable() {
        cp15::set_icc_sre(7);
        cp15::set_icc_pmr(0xff);
        cp15::set_icc_igrpen1(1);
    }

    /// ICC_IAR1, whose read takes the interrupt.
    pub(crate) fn acknowledge() -> u32 {
        let number = cp15::icc_iar1();
        cp15::publish();
        number
    }

    /// ICC_EOIR1.
    pub(crate) fn end(number: u32) {
        cp15::set_icc_eoir1(number);
    }
}
