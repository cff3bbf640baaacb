//! What can go wrong, with the operands that went wrong.

use crate::Set;
use core::fmt;
use pagewright_addr::{NodeId, PhysAddr};

/// Who owns the machine's free memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// Memblock does: every operation works.
    Memblock,
    /// The page allocator does: memblock only records what is given back (`CONFIG_ARCH_KEEP_MEMBLOCK`).
    Buddy,
    /// The page allocator does, and memblock's tables are gone ([`Memblock::discard`](crate::Memblock::discard)).
    Discarded,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memblock => "memblock phase",
            Self::Buddy => "buddy phase",
            Self::Discarded => "buddy phase, memblock discarded",
        })
    }
}

/// Why a memblock operation was refused. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// No free range fits.
    NoMemory {
        /// Bytes asked for.
        size: u64,
        /// Alignment asked for.
        align: u64,
        /// Lowest address allowed, as the caller gave it.
        min: PhysAddr,
        /// End of the allowed addresses, as the caller gave it.
        max: PhysAddr,
        /// The node asked for.
        nid: Option<NodeId>,
    },
    /// A region array is full and may not grow yet ([`Memblock::allow_resize`](crate::Memblock::allow_resize)).
    Full {
        /// Whose array.
        set: Set,
        /// Its capacity in regions.
        max: usize,
    },
    /// A region array is full, may grow, and no memory was found for the larger one.
    CannotGrow {
        /// Whose array.
        set: Set,
        /// The capacity that was wanted, in regions.
        new_max: usize,
    },
    /// The allocation that [`Memblock::fail_nth`](crate::Memblock::fail_nth) chose.
    Injected,
    /// The machine is past the phase in which this works.
    WrongPhase {
        /// Linux's name of the operation.
        operation: &'static str,
        /// The phase the machine is in.
        phase: Phase,
    },
    /// An alignment that is not a power of two.
    BadAlign {
        /// The alignment.
        align: u64,
    },
    /// An address that the machine's `phys_addr_t` cannot hold.
    TooWide {
        /// The address.
        addr: PhysAddr,
    },
    /// Memory that a grown region array lies in would become free while the array is in use. (Linux does what it
    /// is told, and then hands out its own table.)
    HoldsArray {
        /// Whose array.
        set: Set,
    },
    /// `physmem` was named, but this memblock has none.
    NoPhysmem,
    /// [`Memblock::cap_memory_range`](crate::Memblock::cap_memory_range) before any memory was added.
    NoMemoryYet,
    /// A region array that was handed in claims more regions than it has room for.
    BadCount {
        /// Whose array.
        set: Set,
        /// Regions it claims.
        cnt: usize,
        /// Its room.
        max: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoMemory { size, align, min, max, nid } => {
                write!(f, "no free range for {size} bytes align={align:#x} from={min:#x} max_addr={max:#x}")?;
                nid.map_or(Ok(()), |n| write!(f, " nid={n}"))
            }
            Self::Full { set, max } => {
                write!(f, "the {set} array is full ({max} regions) and may not grow yet")
            }
            Self::CannotGrow { set, new_max } => {
                write!(f, "no memory to grow the {set} array to {new_max} regions")
            }
            Self::Injected => f.write_str("injected failure"),
            Self::WrongPhase { operation, phase } => write!(f, "{operation} in the {phase}"),
            Self::BadAlign { align } => write!(f, "alignment {align:#x} is not a power of two"),
            Self::TooWide { addr } => write!(f, "address {addr:#x} does not fit the machine's phys_addr_t"),
            Self::HoldsArray { set } => write!(f, "the {set} array lies in this range"),
            Self::NoPhysmem => f.write_str("this memblock has no physmem set"),
            Self::NoMemoryYet => f.write_str("no memory registered yet"),
            Self::BadCount { set, cnt, max } => {
                write!(f, "the {set} array claims {cnt} regions and has room for {max}")
            }
        }
    }
}

impl core::error::Error for Error {}
