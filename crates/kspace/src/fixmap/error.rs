//! What can go wrong with a fixed mapping; every case names the slot.

use super::{FixedIndex, SlotName};
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_pagetable::{MapError, UnmapError};

/// Why a fixed mapping was not made or taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FixmapError {
    /// There are more slots than addresses.
    NoRoom {
        /// How many slots the configuration asks for.
        slots: u64,
        /// How many there is room for.
        room: u64,
    },
    /// There is no such number.
    NoSlot {
        /// What was asked for.
        index: FixedIndex,
        /// One past the last there is.
        end: u32,
    },
    /// FIX_HOLE is never mapped.
    Hole,
    /// The tables have another page size than the fixed mappings.
    PageSize {
        /// Bytes of a page of the tables.
        tables: u64,
        /// Bytes of a slot.
        slot: u64,
    },
    /// The slot is mapped already; clear it first.
    Occupied {
        /// The slot.
        slot: SlotName,
        /// Its address.
        at: VirtAddr,
    },
    /// The mapping could not be made.
    Map(SlotName, MapError),
    /// The mapping could not be taken away.
    Unmap(SlotName, UnmapError),
    /// A device tree that starts at no multiple of 8 bytes or has no size or too much of it.
    Fdt {
        /// Where it lies.
        at: PhysAddr,
        /// Its size.
        bytes: u64,
    },
}

impl fmt::Display for FixmapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom { slots, room } => {
                write!(f, "{slots} fixed addresses, there is room for {room}: fewer processors are needed")
            }
            Self::NoSlot { index, end } => write!(f, "fixed address {}, expected one below {end}", index.0),
            Self::Hole => f.write_str("FIX_HOLE is never mapped"),
            Self::PageSize { tables, slot } => {
                write!(f, "tables for pages of {tables} bytes, the fixed addresses are {slot} bytes apart")
            }
            Self::Occupied { slot, at } => write!(f, "{slot} at {at:#x} is mapped already, clear it first"),
            Self::Map(slot, e) => write!(f, "{slot}: {e}"),
            Self::Unmap(slot, e) => write!(f, "{slot}: {e}"),
            Self::Fdt { at, bytes } => write!(
                f,
                "FIX_FDT: a device tree of {bytes} bytes at {at:#x}, expected at most 2 MiB at a multiple of 8"
            ),
        }
    }
}

impl core::error::Error for FixmapError {}
