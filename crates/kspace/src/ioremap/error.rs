//! Why a device is not mapped.

use super::IoKind;
use crate::vmalloc::VmallocError;
use pagewright_addr::{PhysAddr, PhysRange};

/// Why a device is not mapped. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IoremapError {
    /// No bytes, or some beyond the addresses that the kernel can map.
    #[error("ioremap: {size:#x} bytes at {phys:#x} are none, or beyond what can be mapped")]
    Size {
        /// The first.
        phys: PhysAddr,
        /// How many.
        size: u64,
    },
    /// Some of it is the kernel's RAM.
    #[error("ioremap on RAM at {:#x} - {:#x}", .0.start, .0.end.get().saturating_sub(1))]
    Ram(PhysRange),
    /// The architecture has no such kind.
    #[error("this architecture maps nothing as {0:?}")]
    Kind(IoKind),
    /// There is no area for it.
    #[error("{0}")]
    Area(VmallocError),
    /// There is memory for so many static maps.
    #[error("there is memory for {0} static maps")]
    TooManyStatic(usize),
}
