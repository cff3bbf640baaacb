//! The processor's own instructions, under the names that the shared parts use.

use aarch64_cpu::registers::{
    CNTFRQ_EL0, CNTV_CTL_EL0, CNTV_TVAL_EL0, CNTVCT_EL0, ID_AA64MMFR0_EL1, MPIDR_EL1, Readable, TPIDR_EL1,
    Writeable,
};
use core::arch::asm;
use pagewright_addr::VirtRange;
use smccc::{Call, psci};

pub(crate) use super::events::{park, send_event, wait_for_event};
pub(crate) use super::tlb::publish;

/// The affinity fields of MPIDR: this processor's number among all.
pub(crate) fn hardware_id() -> u64 {
    MPIDR_EL1.get() & 0xff_00ff_ffff
}

/// Ticks so far.
pub(crate) fn counter() -> u64 {
    CNTVCT_EL0.get()
}

/// Ticks in a second.
pub(crate) fn frequency() -> u64 {
    CNTFRQ_EL0.get()
}

/// Where this processor's data is; 0 before it has some.
pub(crate) fn local() -> usize {
    TPIDR_EL1.get() as usize
}

/// Notes that.
pub(crate) fn set_local(at: usize) {
    TPIDR_EL1.set(at as u64);
}

/// Takes interrupts.
pub(crate) fn unmask() {
    // SAFETY: vectors, stack and handler are in place before anybody asks for interrupts.
    unsafe { asm!("msr daifclr, #2", options(nostack, preserves_flags)) };
}

/// Has the virtual timer interrupt after so many ticks.
pub(crate) fn start_timer(ticks: u64) {
    CNTV_TVAL_EL0.set(ticks);
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
}

/// Writes a cache line back, for who reads past the caches.
pub(crate) fn clean_line(at: usize) {
    // SAFETY: what is written back is what the processors see already.
    unsafe { asm!("dc cvac, {}", "dsb sy", in(reg) at, options(nostack, preserves_flags)) };
}

/// Makes what was written there visible to all processors' fetching of instructions ("Arm ARM", B2.7.4): to the point of unification, line by line of
/// the shortest length that there is.
pub(crate) fn sync_code(range: VirtRange) {
    const LINE: u64 = 16;
    let lines = || (range.start.get()..=range.last().get()).step_by(LINE as usize);
    for at in lines() {
        // SAFETY: what is cleaned is what the processors see already.
        unsafe { asm!("dc cvau, {}", in(reg) at, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for at in lines() {
        // SAFETY: instructions are fetched anew.
        unsafe { asm!("ic ivau, {}", in(reg) at, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// PSCI's CPU_ON.
pub(crate) fn psci_on<C: Call>(id: u64, entry: u64, argument: u64) -> Result<(), psci::Error> {
    psci::cpu_on::<C>(id, entry, argument)
}

/// Physical address bits that the processor has.
pub(crate) fn phys_bits() -> u8 {
    match ID_AA64MMFR0_EL1.read(ID_AA64MMFR0_EL1::PARange) {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        _ => 52,
    }
}

/// The interrupt controller's registers in the processor (version 3).
pub(crate) mod icc {
    use core::arch::asm;

    /// ICC_SRE_EL1, ICC_PMR_EL1, ICC_IGRPEN1_EL1: registers, all priorities, group 1.
    pub(crate) fn enable() {
        // SAFETY: interrupts come only once they are unmasked.
        unsafe {
            asm!(
                "msr s3_0_c12_c12_5, {sre}",
                "isb",
                "msr s3_0_c4_c6_0, {all}",
                "msr s3_0_c12_c12_7, {one}",
                "isb",
                sre = in(reg) 7_u64,
                all = in(reg) 0xff_u64,
                one = in(reg) 1_u64,
                options(nomem, nostack, preserves_flags)
            );
        }
    }

    /// ICC_IAR1_EL1, whose read takes the interrupt.
    pub(crate) fn acknowledge() -> u32 {
        let number: u64;
        // SAFETY: the interrupt is ended by `end`.
        unsafe {
            asm!("mrs {}, s3_0_c12_c12_0", "dsb sy", out(reg) number, options(nostack, preserves_flags))
        };
        number as u32
    }

    /// ICC_EOIR1_EL1.
    pub(crate) fn end(number: u32) {
        // SAFETY: a number that was taken.
        unsafe {
            asm!("msr s3_0_c12_c12_1, {}", "isb", in(reg) u64::from(number), options(nostack, preserves_flags));
        }
    }
}
