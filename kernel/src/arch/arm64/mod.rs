//! arm64: from the boot protocol's `Image` to the memory manager.
//!
//! `entry.s` is entered at the image's physical address with the MMU off. It relocates the image to there, calls [`head`],
//! which has the library fill the first tables, turns the MMU on, relocates the image to its link address and calls
//! [`start`]. From then on this is an embedder of the library like any other.
//!
//! Code runs at EL1 on SP_EL0; exceptions run on SP_EL1, a stack of their own, so that running off a stack is reported
//! and not the end of everything.

pub(crate) mod cpu;
mod fault;
mod head;
pub(crate) mod image;
pub(crate) mod metal;
pub(crate) mod secondary;
mod start;
mod tlb;
mod trap;

use super::arms::{clock, events, gic, smp, tree};
pub(crate) use super::arms::{console, exit};
use super::{end, sequence};
use core::arch::global_asm;

/// `SCTLR_EL1` with its reserved ones and the MMU off.
const SCTLR_MMU_OFF: u64 = 0x30d0_0800;
/// The same with MMU, caches and the check of the stack's alignment on.
const SCTLR_MMU_ON: u64 = SCTLR_MMU_OFF | 1 | 1 << 2 | 1 << 3 | 1 << 12;
/// MAIR_EL1 as Linux 6.1 fills it on a processor without memory tags: normal, normal (tagged), non-cacheable,
/// device-nGnRnE, device-nGnRE.
const MAIR: u64 = 0x04_0044_ffff;
/// TCR_EL1: 48 bits and 4 KiB pages in both halves, table walks cached, inner shareable; `entry.s` adds what the processor
/// tells: the physical address size, the access flag, dirty state.
const TCR: u64 =
    16 | 16 << 16 | 0b01 << 8 | 0b01 << 10 | 0b11 << 12 | 0b01 << 24 | 0b01 << 26 | 0b11 << 28 | 0b10 << 30;

global_asm!(
    include_str!("entry.s"),
    KIMAGE_VADDR = const image::KIMAGE_VADDR,
    SCTLR_MMU_OFF = const SCTLR_MMU_OFF,
    SCTLR_MMU_ON = const SCTLR_MMU_ON,
    MAIR = const MAIR,
    TCR = const TCR,
    head = sym head::head,
    main = sym start::start,
    exit_early = sym head::exit_early,
    secondary_main = sym smp::secondary_main,
    trap = sym trap::trap,
);
