//! What keeps memory from coming or going, with Linux's numbers and words.

use crate::ZoneKind;
use crate::alloc::ContigError;
use core::fmt;
use pagewright_addr::{NodeId, PageShift, PfnRange};
use pagewright_page::MapError;

/// Why memory cannot be taken offline (the text after "failed due to").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfflineFailure {
    /// Some of the block is no memory.
    Holes,
    /// The block's memory is of several zones.
    MultiZone,
    /// A pageblock has something in it that cannot move, or somebody else isolates it.
    Isolate,
    /// Somebody who was asked refused, with this number.
    Notifier(i32),
    /// The task is being killed.
    Signal,
    /// Something stays in use however often it is tried.
    Unmovable(ContigError),
}

impl OfflineFailure {
    /// Linux's number for it.
    pub const fn errno(&self) -> i32 {
        match self {
            Self::Holes | Self::MultiZone => -22,
            Self::Isolate | Self::Unmovable(_) => -16,
            Self::Notifier(errno) => *errno,
            Self::Signal => -4,
        }
    }
}

impl fmt::Display for OfflineFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holes => "memory holes",
            Self::MultiZone => "multizone range",
            Self::Isolate => "failure to isolate range",
            Self::Notifier(_) => "notifier failure",
            Self::Signal => "signal backoff",
            Self::Unmovable(_) => "unmovable page",
        })
    }
}

/// Why memory did not come or go. Everything is as it was then, but for pages that were moved elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HotplugError {
    /// Not whole memory blocks, or none.
    Unaligned {
        /// The range.
        pfns: PfnRange,
        /// Frames of a block.
        block_pages: u64,
        /// The page size.
        shift: PageShift,
    },
    /// The node cannot exist: it has no zones.
    NoNode {
        /// The node.
        nid: NodeId,
    },
    /// There is no zone of this kind on the node that could get memory.
    NoZone {
        /// The node.
        nid: NodeId,
        /// The kind.
        kind: ZoneKind,
    },
    /// Some of the memory is there already.
    Exists {
        /// The block.
        pfns: PfnRange,
    },
    /// There is no such memory block.
    NoBlock {
        /// Its number.
        number: u64,
    },
    /// The table of memory blocks is full.
    Blocks {
        /// How many it has.
        capacity: usize,
    },
    /// There is no room for the metadata.
    Metadata(MapError),
    /// Somebody who was asked refused that memory comes, with this number.
    Refused {
        /// The block.
        pfns: PfnRange,
        /// The number, negative.
        errno: i32,
        /// The page size.
        shift: PageShift,
    },
    /// It could not be taken offline.
    Offline {
        /// The block.
        pfns: PfnRange,
        /// Why.
        why: OfflineFailure,
        /// The page size.
        shift: PageShift,
    },
    /// Memory that is online cannot be removed.
    Online {
        /// The block.
        pfns: PfnRange,
        /// The page size.
        shift: PageShift,
    },
}

impl HotplugError {
    /// Linux's number for it, negative.
    pub const fn errno(&self) -> i32 {
        match self {
            Self::Unaligned { .. } | Self::NoNode { .. } | Self::NoZone { .. } => -22,
            Self::Exists { .. } => -17,
            Self::NoBlock { .. } => -19,
            Self::Blocks { .. } | Self::Metadata(_) => -12,
            Self::Refused { errno, .. } => *errno,
            Self::Offline { why, .. } => why.errno(),
            Self::Online { .. } => -16,
        }
    }
}

/// A range as addresses, its last byte included: "[mem 0x0000000100000000-0x0000000107ffffff]".
fn mem(pfns: PfnRange, shift: PageShift) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let (start, end) = (pfns.start.get() << shift.get(), pfns.end.get() << shift.get());
        write!(f, "[mem {start:#010x}-{:#010x}]", end.wrapping_sub(1))
    })
}

impl fmt::Display for HotplugError {
    /// In the words of the kernel log, where it has any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unaligned { pfns, block_pages, shift } => {
                let bytes = |pages: u64| pages << shift.get();
                let (block, start, size) = (bytes(block_pages), bytes(pfns.start.get()), bytes(pfns.len()));
                write!(f, "Block size [{block:#x}] unaligned hotplug range: start {start:#x}, size {size:#x}")
            }
            Self::NoNode { nid } => write!(f, "node {nid} was absent from the node_possible_map"),
            Self::NoZone { nid, kind } => write!(f, "node {nid} has no zone {kind} that could get memory"),
            Self::Exists { pfns } => write!(f, "some of {pfns:?} is known memory"),
            Self::NoBlock { number } => write!(f, "there is no memory{number}"),
            Self::Blocks { capacity } => write!(f, "more memory blocks than the table's {capacity}"),
            Self::Metadata(e) => e.fmt(f),
            Self::Refused { pfns, shift, .. } => write!(f, "online_pages {} failed", mem(pfns, shift)),
            Self::Offline { pfns, why, shift } => {
                write!(f, "memory offlining {} failed due to {why}", mem(pfns, shift))
            }
            Self::Online { pfns, shift } => {
                write!(f, "removing memory fails, because memory {} is onlined", mem(pfns, shift))
            }
        }
    }
}

impl core::error::Error for HotplugError {}
