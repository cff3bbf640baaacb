//! One region, its flags, and the names of the region sets.
//!
//! [`Region`] has the layout of Linux's `struct memblock_region` on a 64-bit NUMA kernel, so that an array of
//! them can be C's array (see `pagewright-capi`).

use core::fmt;
use pagewright_addr::{NodeId, PhysAddr, PhysRange};

bitflags::bitflags! {
    /// What is special about a region (`enum memblock_flags`). Empty is `MEMBLOCK_NONE`.
    #[repr(transparent)]
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Flags: u32 {
        /// Firmware says that this memory may be unplugged (`MEMBLOCK_HOTPLUG`).
        const HOTPLUG = 1;
        /// Mirrored memory (`MEMBLOCK_MIRROR`).
        const MIRROR = 2;
        /// Not in the kernel's linear map (`MEMBLOCK_NOMAP`).
        const NOMAP = 4;
        /// Detected and added by a driver only (`MEMBLOCK_DRIVER_MANAGED`).
        const DRIVER_MANAGED = 8;
    }
}

impl Flags {
    /// No flag: `MEMBLOCK_NONE`.
    pub const NONE: Self = Self::empty();
}

/// The node number stored in a region that belongs to no node yet: `MAX_NUMNODES` of the largest kernel.
pub(crate) const UNSET_NODE: i32 = NodeId::LIMIT as i32;

/// Linux's `NUMA_NO_NODE`.
pub(crate) const NO_NODE: i32 = -1;

/// `NUMA_NO_NODE` for `None`, the number otherwise.
pub(crate) const fn node_number(nid: Option<NodeId>) -> i32 {
    match nid {
        Some(n) => n.get() as i32,
        None => NO_NODE,
    }
}

/// The node with this number; `None` for `NUMA_NO_NODE`, `MAX_NUMNODES` and everything else that is no node.
pub(crate) fn node_from_number(nid: i32) -> Option<NodeId> {
    u16::try_from(nid).ok().and_then(NodeId::new)
}

/// A range of physical addresses with flags and a node (`struct memblock_region`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Region {
    pub(crate) base: u64,
    pub(crate) size: u64,
    pub(crate) flags: Flags,
    pub(crate) nid: i32,
}

// Without gaps, also where 64-bit words are aligned to four bytes (32-bit x86).
const _: () = assert!(size_of::<Region>() == 24 && align_of::<Region>() == align_of::<u64>());

impl Region {
    /// A region from its parts, `nid` as Linux stores it (-1 or `MAX_NUMNODES` for no node).
    pub const fn from_raw(base: PhysAddr, size: u64, flags: Flags, nid: i32) -> Self {
        Self { base: base.get(), size, flags, nid }
    }

    /// The first address.
    pub const fn base(&self) -> PhysAddr {
        PhysAddr::new(self.base)
    }

    /// Length in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// One past the last address.
    pub const fn end(&self) -> PhysAddr {
        PhysAddr::new(self.last())
    }

    /// From [`Self::base`] to [`Self::end`].
    pub const fn range(&self) -> PhysRange {
        PhysRange::new(self.base(), self.end())
    }

    /// The region's flags.
    pub const fn flags(&self) -> Flags {
        self.flags
    }

    /// The region's node, if it was given one.
    pub fn nid(&self) -> Option<NodeId> {
        node_from_number(self.nid)
    }

    /// The node number as stored: what Linux's `memblock_get_region_node` returns.
    pub const fn raw_nid(&self) -> i32 {
        self.nid
    }

    /// `base + size` as a number. Saturates, so that a region that C wrote cannot overflow here.
    pub(crate) const fn last(&self) -> u64 {
        self.base.saturating_add(self.size)
    }
}

/// Which of memblock's region sets is meant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Set {
    /// RAM that the kernel may use: `memblock.memory`.
    Memory,
    /// Ranges in use: `memblock.reserved`.
    Reserved,
    /// RAM as the firmware described it, before limits: `physmem`.
    Physmem,
}

impl Set {
    /// Linux's name of the set, as logs and dumps print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Reserved => "reserved",
            Self::Physmem => "physmem",
        }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
