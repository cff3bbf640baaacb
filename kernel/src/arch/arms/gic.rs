//! The interrupt controller, versions 2 and 3: as much of it as timer interrupts take.
//!
//! Its registers are the same for all processors, or a processor's own at the same address, and are used by each for itself;
//! so there is no owner whom an interrupt handler would have to ask.

use super::this::cpu::icc;
use core::sync::atomic::{AtomicU64, Ordering};
use pagewright_addr::{PhysRange, VirtAddr};
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_kernel::devices;

/// The virtual timer's interrupt (PPI 11).
pub(crate) const VIRTUAL_TIMER: u32 = 27;
/// From here on numbers mean that there is no interrupt.
const NONE: u32 = 1020;

/// Where the parts' registers lie: the distributor's, and the processors' (version 2: the interface; version 3: redistributors).
#[derive(Clone, Copy)]
pub(crate) struct Place {
    version: u8,
    /// The distributor.
    pub(crate) distributor: PhysRange,
    /// The processors' part.
    pub(crate) processors: PhysRange,
}

/// The version, or 0 before [`set`]; and where the registers are mapped.
static VERSION: AtomicU64 = AtomicU64::new(0);
static DISTRIBUTOR: AtomicU64 = AtomicU64::new(0);
static PROCESSORS: AtomicU64 = AtomicU64::new(0);
/// Bytes of the processors' part that are mapped.
static PROCESSORS_LEN: AtomicU64 = AtomicU64::new(0);

/// The machine's controller.
pub(crate) fn find(tree: &DeviceTree<'_>) -> Option<Place> {
    let v2 = ["arm,cortex-a15-gic", "arm,gic-400"];
    let (version, node) = match devices::find(tree, &v2) {
        Some(node) => (2, node),
        None => (3, devices::find(tree, &["arm,gic-v3"])?),
    };
    let part = |n| devices::registers(tree, &node, n);
    Some(Place { version, distributor: part(0)?, processors: part(1)? })
}

/// The registers are mapped there, as much of them as `processors_len` says.
///
/// # Safety
/// They are those of `place`, as device memory, for good.
pub(crate) unsafe fn set(place: &Place, distributor: VirtAddr, processors: VirtAddr, processors_len: u64) {
    DISTRIBUTOR.store(distributor.get(), Ordering::Relaxed);
    PROCESSORS.store(processors.get(), Ordering::Relaxed);
    PROCESSORS_LEN.store(processors_len, Ordering::Relaxed);
    VERSION.store(place.version.into(), Ordering::Release);
}

/// Whether there is one.
pub(crate) fn is_there() -> bool {
    VERSION.load(Ordering::Acquire) != 0
}

fn write(base: u64, offset: u64, value: u32) {
    // SAFETY: `base` is one of the mapped parts (`set`), and the offset that of a register in it.
    unsafe { core::ptr::with_exposed_provenance_mut::<u32>((base + offset) as usize).write_volatile(value) };
}

fn read(base: u64, offset: u64) -> u32 {
    // SAFETY: as in `write`.
    unsafe { core::ptr::with_exposed_provenance::<u32>((base + offset) as usize).read_volatile() }
}

/// Lets this processor get the timer's interrupt; the first one turns the distributor on.
/// `id` is what its MPIDR says.
pub(crate) fn init_cpu(first: bool, id: u64) {
    let (distributor, processors) = (DISTRIBUTOR.load(Ordering::Relaxed), PROCESSORS.load(Ordering::Relaxed));
    match VERSION.load(Ordering::Acquire) {
        2 => {
            if first {
                write(distributor, 0x000, 1);
            }
            // Of the first 32 interrupts each processor has its own registers.
            set_private(distributor);
            // GICC_PMR, GICC_CTLR
            write(processors, 0x004, 0xff);
            write(processors, 0x000, 1);
        }
        3 => {
            if first {
                // Affinity routing, group 1.
                write(distributor, 0x000, 1 << 4 | 1 << 1);
            }
            let Some(mine) =
                redistributor(processors, (id >> 8 & 0xff00_0000) as u32 | id as u32 & 0xff_ffff)
            else {
                return;
            };
            // GICR_WAKER: awake, and wait for it.
            write(mine, 0x014, read(mine, 0x014) & !2);
            while read(mine, 0x014) & 4 != 0 {
                core::hint::spin_loop();
            }
            // GICR_IGROUPR0: group 1.
            write(mine, 0x1_0080, u32::MAX);
            set_private(mine + 0x1_0000);
            icc::enable();
        }
        _ => {}
    }
}

/// The timer's interrupt, in the registers of a processor's own 32 interrupts: priority, then enabled.
fn set_private(base: u64) {
    let at = 0x400 + u64::from(VIRTUAL_TIMER & !3);
    let shift = VIRTUAL_TIMER % 4 * 8;
    write(base, at, read(base, at) & !(0xff << shift) | 0xa0 << shift);
    write(base, 0x100, 1 << VIRTUAL_TIMER);
}

/// The redistributor of the processor with this affinity.
fn redistributor(first: u64, affinity: u32) -> Option<u64> {
    const FRAMES: u64 = 0x2_0000;
    let frames = PROCESSORS_LEN.load(Ordering::Relaxed) / FRAMES;
    // GICR_TYPER's upper half.
    (0..frames).map(|n| first + n * FRAMES).find(|at| read(*at, 0x00c) == affinity)
}

/// Takes the interrupt that is pending for this processor, if there is one.
pub(crate) fn acknowledge() -> Option<u32> {
    let number = match VERSION.load(Ordering::Relaxed) {
        2 => read(PROCESSORS.load(Ordering::Relaxed), 0x00c) & 0x3ff,
        3 => icc::acknowledge() & 0xff_ffff,
        _ => NONE,
    };
    (number < NONE).then_some(number)
}

/// Ends what [`acknowledge`] took.
pub(crate) fn end(number: u32) {
    match VERSION.load(Ordering::Relaxed) {
        2 => write(PROCESSORS.load(Ordering::Relaxed), 0x010, number),
        3 => icc::end(number),
        _ => {}
    }
}
