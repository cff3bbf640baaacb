//! What early mappings are refused for.

use crate::fixmap::SlotName;
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_pagetable::{MapError, UnmapError};

/// Why nothing was mapped or unmapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EarlyIoremapError {
    /// The system runs: `ioremap` is there.
    Running,
    /// No bytes, or more than there are addresses above the first.
    Size {
        /// The first byte.
        phys: PhysAddr,
        /// How many.
        bytes: u64,
    },
    /// Every area is taken.
    NoSlot {
        /// The first byte.
        phys: PhysAddr,
        /// How many.
        bytes: u64,
        /// Whether physical addresses are printed with 16 digits.
        wide_phys: bool,
    },
    /// More pages than an area has.
    TooLarge {
        /// The first byte.
        phys: PhysAddr,
        /// How many.
        bytes: u64,
        /// Bytes of an area.
        most: u64,
    },
    /// Nothing was given out at this address.
    NotMapped {
        /// The address.
        virt: VirtAddr,
        /// The size.
        bytes: u64,
        /// Whether addresses are printed with 16 digits.
        wide: bool,
    },
    /// Another size was mapped there.
    Inconsistent {
        /// The address.
        virt: VirtAddr,
        /// The size.
        bytes: u64,
        /// The area's number.
        area: usize,
        /// The size that was mapped.
        mapped: u64,
        /// Whether addresses are printed with 16 digits.
        wide: bool,
    },
    /// The tables refused the mapping.
    Map(SlotName, MapError),
    /// The tables refused to give it up.
    Unmap(SlotName, UnmapError),
}

impl fmt::Display for EarlyIoremapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Running => f.write_str("__early_ioremap: the system is running, expected ioremap()"),
            Self::Size { phys, bytes } => {
                write!(f, "__early_ioremap({phys:#x}, {bytes:08x}) has no size or wraps around")
            }
            Self::NoSlot { phys, bytes, wide_phys } => {
                let width = if wide_phys { 18 } else { 10 };
                write!(f, "__early_ioremap({:#0width$x}, {bytes:08x}) not found slot", phys.get())
            }
            Self::TooLarge { phys, bytes, most } => {
                write!(f, "__early_ioremap({phys:#x}, {bytes:08x}) does not fit an area of {most:#x} bytes")
            }
            Self::NotMapped { virt, bytes, wide } => {
                let width = if wide { 16 } else { 8 };
                write!(f, "early_iounmap({:0width$x}, {bytes:08x}) not found slot", virt.get())
            }
            Self::Inconsistent { virt, bytes, area, mapped, wide } => {
                let width = if wide { 16 } else { 8 };
                let at = virt.get();
                write!(
                    f,
                    "early_iounmap({at:0width$x}, {bytes:08x}) [{area}] size not consistent {mapped:08x}"
                )
            }
            Self::Map(slot, e) => write!(f, "{slot}: {e}"),
            Self::Unmap(slot, e) => write!(f, "{slot}: {e}"),
        }
    }
}

impl core::error::Error for EarlyIoremapError {}

/// Mappings that nobody gave back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leak {
    /// How many.
    pub areas: usize,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Debug warning: early ioremap leak of {} areas detected.\nplease boot with early_ioremap_debug and report the dmesg.",
            self.areas
        )
    }
}

impl core::error::Error for Leak {}
