//! Where a boot loader puts things when nobody says: the kernel image, the initial RAM disk, the device tree.
//!
//! The rules are those of QEMU's loaders (the documented defaults of `-kernel`), which keep clear of each other on
//! every machine: the image at the start of RAM plus the architecture's text offset, the RAM disk 128 MiB or half
//! of RAM above its start, the device tree after it.

use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::Arch;

/// The places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The initial RAM disk, if there is one.
    pub initrd: Option<PhysRange>,
    /// The device tree's first byte.
    pub dtb: PhysAddr,
}

/// The largest distance of the RAM disk from the start of RAM.
const INITRD_OFFSET: u64 = 128 << 20;

/// Places the RAM disk of `initrd_len` bytes and the device tree in RAM that starts at `ram.start`.
pub fn place(arch: Arch, ram: PhysRange, initrd_len: Option<u64>) -> Layout {
    let start = ram.start.saturating_add((ram.len() / 2).min(INITRD_OFFSET)).align_down(4096);
    let initrd = initrd_len.map(|len| PhysRange::from_len(start, len));
    Layout { initrd, dtb: after_initrd(arch, initrd.map_or(start, |r| r.end)) }
}

/// The device tree comes after the RAM disk: in a 2 MiB block of its own for arm64, on a page for arm.
pub fn after_initrd(arch: Arch, end: PhysAddr) -> PhysAddr {
    end.align_up(if arch == Arch::Arm64 { 2 << 20 } else { 4096 })
}
