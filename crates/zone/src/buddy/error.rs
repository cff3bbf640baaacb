//! Why an allocation fails, and why a buddy allocator cannot be made.

use super::ZoneId;
use core::fmt;
use pagewright_addr::Order;

/// Why there is no block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocError {
    /// No free block of the order or a larger one that the request may take.
    NoMemory {
        /// The order asked for.
        order: Order,
    },
    /// No zone has blocks of this order.
    TooLarge {
        /// The order asked for.
        order: Order,
        /// The largest there is.
        largest: Order,
    },
    /// There is no such zone.
    NoZone {
        /// What was asked for.
        zone: ZoneId,
    },
    /// Fault injection: this allocation was told to fail.
    Injected {
        /// How many allocations had been asked for, this one included.
        nth: u64,
    },
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoMemory { order } => write!(f, "no free block of order {}", order.get()),
            Self::TooLarge { order, largest } => {
                write!(f, "order {} is beyond the largest, {}", order.get(), largest.get())
            }
            Self::NoZone { zone } => write!(f, "there is no zone {}", zone.0),
            Self::Injected { nth } => write!(f, "allocation {nth} was made to fail"),
        }
    }
}

impl core::error::Error for AllocError {}

/// Why a buddy allocator cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BuddyError {
    /// The largest order is below the pageblock order, or above what the page map's sections are aligned to.
    Orders {
        /// The largest order.
        largest: Order,
        /// The pageblock order.
        pageblock: Order,
        /// The map's alignment.
        align: Order,
    },
    /// A piece of memory belongs to a zone beyond the list of zones.
    MissingZone {
        /// The zone.
        zone: ZoneId,
        /// How many zones there are.
        zones: usize,
    },
}

impl fmt::Display for BuddyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Orders { largest, pageblock, align } => write!(
                f,
                "largest order {} must lie between the pageblock order {} and the map's alignment {}",
                largest.get(),
                pageblock.get(),
                align.get()
            ),
            Self::MissingZone { zone, zones } => write!(f, "memory of zone {}, but {zones} zones", zone.0),
        }
    }
}

impl core::error::Error for BuddyError {}
