//! x86_64: from Xen's PVH hand-over to the memory manager.
//!
//! `entry.s` is entered at the image's physical address in 32-bit mode. It fills tables that map the first 4 GiB one to one, where
//! the direct map will be, and at the image's link address, and calls [`start`] there. The boot sequence then builds the
//! kernel's own tables, and CR3 is loaded with them at the moment at which Linux does.
//!
//! Code runs in ring 0 on a stack in vmalloc space with an unmapped page below; double faults have a stack of their own, so that
//! running off a stack is reported and not the end of everything.

mod apic;
pub(crate) mod console;
pub(crate) mod cpu;
pub(crate) mod exit;
mod fault;
mod firmware;
pub(crate) mod image;
mod metal;
mod smp;
mod start;
mod tlb;
mod trap;
mod window;

use super::{end, sequence};
use core::arch::global_asm;
use pagewright_kernel::exit::Exit;

global_asm!(
    include_str!("entry.s"),
    PAGE_OFFSET_INDEX = const (image::PAGE_OFFSETS[0] >> 39) & 511,
    EXIT_PORT = const exit::PORT,
    TOO_LITTLE = const exit::written(Exit::BootFailed),
    main = sym start::start,
    record = sym smp::RECORD,
    secondary = sym smp::secondary,
    trap = sym trap::trap,
);
