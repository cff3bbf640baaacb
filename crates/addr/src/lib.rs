//! Addresses, page frame numbers, orders and ranges: the words that every Pagewright crate speaks.
//!
//! All of them are `u64` inside, whatever the host: a 32-bit or wasm build can describe a 64-bit machine.
//! A [`PhysAddr`] is never a pointer; only the platform turns frames of its direct map into host memory.
//! Conversions between addresses and frame numbers name the page size they use ([`PageShift`]), because one
//! program may model a 4 KiB and a 64 KiB kernel side by side.
//!
//! ```
//! use pagewright_addr::{PageShift, PhysAddr, PhysRange};
//!
//! let ram = PhysRange::from_len(PhysAddr::new(0x4000_0000), 1 << 30);
//! let frames = ram.frames_inside(PageShift::SHIFT_4K);
//! assert_eq!(frames.len(), 262_144);
//! assert_eq!(frames.start.phys(PageShift::SHIFT_4K), ram.start);
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod range;

use core::fmt;
pub use range::{PfnRange, PhysRange, VirtRange};

/// The base-2 logarithm of a page's size in bytes: 12, 14 or 16 on the machines modelled here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageShift(Shift);

/// The shifts that there are. As these are all, the compiler knows that a word can be shifted by each, and does not see to larger ones first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
enum Shift {
    Of4K = 12,
    Of16K = 14,
    Of64K = 16,
}

impl fmt::Debug for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&(*self as u8), f)
    }
}

impl PageShift {
    /// 4 KiB pages.
    pub const SHIFT_4K: Self = Self(Shift::Of4K);
    /// 16 KiB pages (arm64 only).
    pub const SHIFT_16K: Self = Self(Shift::Of16K);
    /// 64 KiB pages (arm64 only).
    pub const SHIFT_64K: Self = Self(Shift::Of64K);

    /// The shift itself.
    #[inline(always)]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// Bytes in one page.
    pub const fn bytes(self) -> u64 {
        1 << self.get()
    }

    /// How many whole pages are needed to hold `len_bytes`.
    pub const fn pages_for(self, len_bytes: u64) -> u64 {
        len_bytes.div_ceil(self.bytes())
    }
}

/// A physical address. Its layout is that of the `u64` inside (the C interface relies on it).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PhysAddr(u64);

/// A virtual address of the modelled machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VirtAddr(u64);

/// A page frame number: a physical address divided by the page size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pfn(u64);

macro_rules! word {
    ($name:ident, $label:literal) => {
        impl $name {
            /// The smallest value.
            pub const ZERO: Self = Self(0);
            /// The largest value.
            pub const MAX: Self = Self(u64::MAX);

            /// Wraps a number.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The number itself.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// `self + n`, or `None` on overflow.
            pub const fn checked_add(self, n: u64) -> Option<Self> {
                match self.0.checked_add(n) {
                    Some(v) => Some(Self(v)),
                    None => None,
                }
            }

            /// `self + n`, held at the largest value.
            pub const fn saturating_add(self, n: u64) -> Self {
                Self(self.0.saturating_add(n))
            }

            /// `self - n`, held at zero.
            pub const fn saturating_sub(self, n: u64) -> Self {
                Self(self.0.saturating_sub(n))
            }

            /// Rounded down to a multiple of `align`, which must be a power of two.
            pub const fn align_down(self, align: u64) -> Self {
                debug_assert!(align.is_power_of_two());
                Self(self.0 & !(align - 1))
            }

            /// Rounded up to a multiple of `align` (a power of two), held at the largest multiple.
            pub const fn align_up(self, align: u64) -> Self {
                debug_assert!(align.is_power_of_two());
                Self(self.0.saturating_add(align - 1) & !(align - 1))
            }

            /// Whether it is a multiple of `align`, a power of two.
            pub const fn is_aligned(self, align: u64) -> bool {
                self.0 & (align - 1) == 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($label, "({:#x})"), self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

word!(PhysAddr, "PhysAddr");
word!(VirtAddr, "VirtAddr");
word!(Pfn, "Pfn");

impl PhysAddr {
    /// The frame that holds this address (PFN_DOWN).
    pub const fn pfn(self, shift: PageShift) -> Pfn {
        Pfn(self.0 >> shift.get())
    }

    /// The first frame at or above this address (PFN_UP).
    pub const fn pfn_up(self, shift: PageShift) -> Pfn {
        Pfn(self.0.div_ceil(shift.bytes()))
    }
}

impl Pfn {
    /// The frame's first byte (PFN_PHYS). Held at the last page below 2^64 for numbers that have no address.
    pub const fn phys(self, shift: PageShift) -> PhysAddr {
        match self.0.checked_mul(shift.bytes()) {
            Some(v) => PhysAddr(v),
            None => PhysAddr(!(shift.bytes() - 1)),
        }
    }
}

/// A buddy order: a block of `2^order` frames.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Order(u8);

impl Order {
    /// The largest order any modelled kernel has, plus one (ARCH_FORCE_MAX_ORDER goes to 15 on arm64).
    pub const LIMIT: usize = 16;
    /// A single frame.
    pub const ZERO: Self = Self(0);

    /// An order below [`Self::LIMIT`], or `None`.
    pub const fn new(order: u8) -> Option<Self> {
        if (order as usize) < Self::LIMIT { Some(Self(order)) } else { None }
    }

    /// The order as a number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The order as an array index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Frames in a block of this order.
    pub const fn pages(self) -> u64 {
        // In 32 bits, where an order has its place: half the work on machines whose registers have no more.
        1_u32.wrapping_shl(self.0 as u32) as u64
    }

    /// Whether it is a single frame's.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The next larger order, if there is one.
    pub const fn up(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }

    /// The next smaller order, if there is one.
    pub const fn down(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(order) => Some(Self(order)),
            None => None,
        }
    }
}

/// A NUMA node's number.
///
/// Where Linux writes `NUMA_NO_NODE` (-1), this library has `Option<NodeId>` with `None`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct NodeId(u16);

impl NodeId {
    /// Node 0, the only one on a machine without NUMA.
    pub const ZERO: Self = Self(0);
    /// One more than the largest node number of any modelled kernel (NODES_SHIFT of 10).
    pub const LIMIT: usize = 1024;

    /// A node below [`Self::LIMIT`], or `None`.
    pub const fn new(nid: u16) -> Option<Self> {
        if (nid as usize) < Self::LIMIT { Some(Self(nid)) } else { None }
    }

    /// The node's number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The node's number as an array index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests;
