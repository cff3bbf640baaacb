//! The local interrupt controller (Intel SDM volume 3, chapters 10 and 11): each processor's timer, and interrupts among processors. By its
//! registers in memory, which the boot maps, or by processor registers where the firmware has switched it to x2APIC.

use super::console::CONSOLE;
use core::sync::atomic::{AtomicU64, Ordering};
use pagewright::Boot;
use pagewright_kernel::console::Console;
use pagewright_kernel::team::HZ;
use pagewright_kspace::{Facts, Fixmap, Slot};
use x86_64::instructions::port::Port;
use x86_64::registers::model_specific::Msr;

/// The timer's vector (`LOCAL_TIMER_VECTOR`).
pub(super) const TIMER: u8 = 0xec;
/// Work was posted (`CALL_FUNCTION_VECTOR`).
pub(super) const CALL: u8 = 0xfc;
/// Translations are to be forgotten (`INVALIDATE_TLB_VECTOR_START` of older kernels).
pub(super) const FLUSH: u8 = 0xfd;
/// What is no interrupt after all (`SPURIOUS_APIC_VECTOR`).
pub(super) const SPURIOUS: u8 = 0xff;

/// Registers, by their distance from the first.
const ID: u64 = 0x20;
const EOI: u64 = 0xb0;
const SPURIOUS_VECTOR: u64 = 0xf0;
const COMMAND: u64 = 0x300;
const COMMAND_HIGH: u64 = 0x310;
const TIMER_ENTRY: u64 = 0x320;
const LINT0: u64 = 0x350;
const LINT1: u64 = 0x360;
const INITIAL_COUNT: u64 = 0x380;
const CURRENT_COUNT: u64 = 0x390;
const DIVIDE: u64 = 0x3e0;

const MASKED: u32 = 1 << 16;
const NMI: u32 = 4 << 8;

/// Where the registers are: 0 nowhere yet, 1 processor registers, else their address.
static PLACE: AtomicU64 = AtomicU64::new(0);
/// The timer's count for one interrupt; 0 before it was measured.
static COUNT: AtomicU64 = AtomicU64::new(0);

const X2APIC: u64 = 1;

fn read(register: u64) -> u32 {
    match PLACE.load(Ordering::Relaxed) {
        0 => 0,
        // SAFETY: the firmware has switched the controller to these registers.
        X2APIC => unsafe { Msr::new(0x800 + (register >> 4) as u32).read() as u32 },
        at => {
            let word = core::ptr::with_exposed_provenance::<u32>((at + register) as usize);
            // SAFETY: the registers' page, which the boot has mapped.
            unsafe { word.read_volatile() }
        }
    }
}

fn write(register: u64, value: u32) {
    match PLACE.load(Ordering::Relaxed) {
        0 => {}
        // SAFETY: as above; callers write what the manual says.
        X2APIC => unsafe { Msr::new(0x800 + (register >> 4) as u32).write(value.into()) },
        at => {
            let word = core::ptr::with_exposed_provenance_mut::<u32>((at + register) as usize);
            // SAFETY: as above.
            unsafe { word.write_volatile(value) }
        }
    }
}

/// Whether there is a controller that this image drives.
pub(super) fn is_there() -> bool {
    COUNT.load(Ordering::Relaxed) != 0
}

/// Finds the registers where the boot has mapped them, silences the older controllers, and measures the timer.
pub(super) fn find(boot: &Boot<'_>) -> Option<()> {
    let place = if boot.machine.cpus.x2apic {
        X2APIC
    } else {
        let fixmap = Fixmap::of(&Facts::of(boot.machine, &boot.params)).ok()?;
        let at = fixmap.address(Slot::ApicBase)?;
        boot.pgtable?.with(|tree| tree.leaf(at).is_ok()).then_some(at.get())?
    };
    PLACE.store(place, Ordering::Relaxed);
    for port in [0x21, 0xa1] {
        // SAFETY: the mask registers of the two 8259s: none of their interrupts is wanted.
        unsafe { Port::<u8>::new(port).write(0xff) };
    }
    switch_on();
    write(DIVIDE, 0b0011);
    write(TIMER_ENTRY, MASKED);
    write(INITIAL_COUNT, u32::MAX);
    const MICROS: u64 = 1000;
    let begin = CONSOLE.micros();
    while CONSOLE.micros() - begin < MICROS {
        core::hint::spin_loop();
    }
    let counted = u64::from(u32::MAX - read(CURRENT_COUNT));
    write(INITIAL_COUNT, 0);
    let count = counted * (1_000_000 / MICROS) / HZ;
    COUNT.store(count, Ordering::Relaxed);
    (count > 0).then_some(())
}

fn switch_on() {
    write(LINT0, MASKED);
    write(LINT1, NMI);
    write(SPURIOUS_VECTOR, 1 << 8 | u32::from(SPURIOUS));
}

/// Has this processor's timer interrupt it from now on.
pub(super) fn start_timer() {
    switch_on();
    write(DIVIDE, 0b0011);
    // Periodic.
    write(TIMER_ENTRY, 1 << 17 | u32::from(TIMER));
    write(INITIAL_COUNT, COUNT.load(Ordering::Relaxed).min(u32::MAX.into()) as u32);
}

/// The interrupt has been served.
pub(super) fn end() {
    write(EOI, 0);
}

/// This processor's number among controllers.
pub(super) fn id() -> u32 {
    match PLACE.load(Ordering::Relaxed) {
        X2APIC => read(ID),
        _ => read(ID) >> 24,
    }
}

fn command(to: u32, low: u32) {
    if PLACE.load(Ordering::Relaxed) == X2APIC {
        // SAFETY: one register has both halves there.
        unsafe { Msr::new(0x830).write(u64::from(to) << 32 | u64::from(low)) };
        return;
    }
    // The last one has to be on its way. It is, unless a processor is gone: then nobody is waited for.
    for _ in 0..1_000_000 {
        if read(COMMAND) & 1 << 12 == 0 {
            break;
        }
        core::hint::spin_loop();
    }
    write(COMMAND_HIGH, to << 24);
    write(COMMAND, low);
}

/// Interrupts all other processors.
pub(super) fn interrupt_others(vector: u8) {
    // The interrupt comes after what was written before.
    core::sync::atomic::fence(Ordering::SeqCst);
    const ALL_BUT_SELF: u32 = 3 << 18;
    command(0, ALL_BUT_SELF | 1 << 14 | u32::from(vector));
}

/// Resets a processor (INIT).
pub(super) fn reset(to: u32) {
    command(to, 5 << 8 | 1 << 14);
}

/// Has a processor begin at a page of the first megabyte (STARTUP).
pub(super) fn start(to: u32, page: u8) {
    command(to, 6 << 8 | 1 << 14 | u32::from(page));
}
