//! arm: from a flat binary, which a boot loader enters with the device tree in r2, to the memory manager.
//!
//! `entry.s` is entered at the image's physical address with the MMU off. It fills tables of its own, with low memory where the
//! kernel's linear map will have it, turns the MMU on and calls [`start`] at the link address. The boot sequence fills `swapper_pg_dir`, from the
//! head's sections to what stays, while the first tables are in force: the processor changes over when all is mapped.
//!
//! Short descriptors, or long ones with the feature `lpae`. Code runs in SVC mode; aborts and undefined instructions have
//! stacks of their own, so that running off a stack is reported and not the end of everything.

mod cp15;
pub(crate) mod cpu;
mod fault;
pub(crate) mod image;
pub(crate) mod metal;
pub(crate) mod secondary;
mod start;
mod trap;

use super::arms::{clock, events, gic, smp, tree};
pub(crate) use super::arms::{console, exit};
use super::{end, sequence};
use core::arch::global_asm;

/// TTBCR: short descriptors, one tree; or long ones, one tree, walked through the caches, inner shareable.
const TTBCR: u32 = if image::LPAE { 0x8000_3500 } else { 0 };
/// The same for walks with short descriptors, in TTBR0's lowest bits.
const TTBR_FLAGS: u32 = if image::LPAE { 0 } else { 0x6a };
/// PRRR or MAIR0, as Linux fills it.
const PRRR: u32 = if image::LPAE { 0xeeaa_4400 } else { 0xff0a_81a8 };
/// NMRR or MAIR1.
const NMRR: u32 = if image::LPAE { 0xff00_0004 } else { 0x40e0_40e0 };
/// What SCTLR must not have: alignment checks, WXN, UWXN, big-endian exceptions, high vectors, exceptions in Thumb, the access
/// flag of short descriptors.
const SCTLR_CLEAR: u32 = 1 << 1 | 1 << 13 | 1 << 19 | 1 << 20 | 1 << 25 | 1 << 29 | 1 << 30;
/// What it must have: MMU, caches, branch prediction, types by TEX remap; and with long descriptors the access flag.
const SCTLR_SET: u32 = 1 | 1 << 2 | 1 << 11 | 1 << 12 | 1 << 28 | if image::LPAE { 1 << 29 } else { 0 };
/// A section (a block of 2 MiB) of normal memory that is cached and shared, for the kernel to read, write and execute.
const SECTION: u32 = if image::LPAE { 0x71d } else { 0x1_140e };

global_asm!(
    include_str!("entry.s"),
    LPAE = const image::LPAE as u32,
    PAGE_OFFSET = const image::PAGE_OFFSET,
    SECTIONS = const (image::LOWMEM / image::SECTION_BYTES) as u32,
    SECTION = const SECTION,
    TTBCR = const TTBCR,
    TTBR_FLAGS = const TTBR_FLAGS,
    PRRR = const PRRR,
    NMRR = const NMRR,
    SCTLR_CLEAR = const SCTLR_CLEAR,
    SCTLR_SET = const SCTLR_SET,
    main = sym start::start,
    secondary_main = sym smp::secondary_main,
    trap = sym trap::trap,
);
