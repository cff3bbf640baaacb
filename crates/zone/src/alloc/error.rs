//! Why an allocation fails.

use crate::ZoneSet;
use crate::gfp::{Gfp, GfpError};
use core::fmt;
use pagewright_addr::Order;

/// Why there are no pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocFailure {
    /// No zone that the mask allows has memory to spare.
    NoMemory {
        /// What was asked for.
        order: Order,
        /// How.
        gfp: Gfp,
    },
    /// No zone has blocks of this order.
    TooLarge {
        /// The order asked for.
        order: Order,
        /// The largest there is.
        largest: Order,
    },
    /// The mask contradicts itself ([`GfpError`]).
    Mask(Gfp),
    /// There are such pages, but whoever would be charged for them may have no more ([`Hooks::charge`](super::Hooks::charge)).
    NotCharged {
        /// What was asked for.
        order: Order,
        /// How.
        gfp: Gfp,
    },
    /// `__GFP_ZERO`, and whoever zeroes pages does not reach these ([`Hooks::zero`](super::Hooks::zero)).
    NotZeroed {
        /// What was asked for.
        order: Order,
        /// How.
        gfp: Gfp,
    },
    /// Fault injection: this allocation was told to fail.
    Injected {
        /// How many allocations had been asked for since it was armed, this one included.
        nth: u32,
    },
}

// What allocations return travels in two registers.
const _: () = assert!(size_of::<Result<pagewright_page::Frames<'_>, AllocFailure>>() <= 16);

impl fmt::Display for AllocFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoMemory { order, gfp } => {
                write!(f, "page allocation failure: order:{}, mode:{:#x}({gfp})", order.get(), gfp.bits())
            }
            Self::NotCharged { order, gfp } => {
                write!(f, "nobody may be charged for order {}, mode {:#x}({gfp})", order.get(), gfp.bits())
            }
            Self::NotZeroed { order, gfp } => {
                write!(f, "nobody zeroes pages of order {}, mode {:#x}({gfp})", order.get(), gfp.bits())
            }
            Self::TooLarge { order, largest } => {
                write!(f, "order {} is beyond the largest, {}", order.get(), largest.get())
            }
            Self::Mask(gfp) => match (gfp.zone(ZoneSet::BASE), gfp.migrate_type(true)) {
                (Err(e), _) | (_, Err(e)) => e.fmt(f),
                _ => GfpError::Zones(gfp).fmt(f),
            },
            Self::Injected { nth } => write!(f, "allocation {nth} was made to fail"),
        }
    }
}

impl core::error::Error for AllocFailure {}
