//! A region stretch by stretch, gaps included: what the map of it is made of, as text and as a document.

use super::{Areas, each, early_of};
use core::fmt;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_kspace::vmalloc::{EarlyArea, EarlyAreas, Seen, VmArea};

/// Addresses of a region that one has, or nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stretch<'e> {
    /// A gap.
    Free(VirtRange),
    /// An area that was there before the region served.
    Early(&'e EarlyArea),
    /// An area in use.
    Area(VmArea),
    /// What `vm_map_ram` has mapped.
    Ram(VirtRange),
    /// An area that waits for its flush.
    Unpurged(VirtRange),
    /// What is kept for the next area of its size.
    Ready(VirtRange),
}

impl Stretch<'_> {
    /// Its addresses, an area's guard page among them.
    pub const fn range(&self) -> VirtRange {
        match *self {
            Self::Free(range) | Self::Ram(range) | Self::Unpurged(range) | Self::Ready(range) => range,
            Self::Early(early) => early.range,
            Self::Area(area) => VirtRange { start: area.addr, len: area.size },
        }
    }
}

/// Goes through a region from its first address to its last: areas, and the gaps between them.
///
/// # Errors
/// Those of `see`, which ends it.
pub fn stretches(
    areas: &dyn Areas,
    early: &EarlyAreas,
    see: &mut dyn FnMut(Stretch<'_>) -> fmt::Result,
) -> fmt::Result {
    let mut at = areas.range().start;
    each(areas, &mut |seen| {
        let place = seen.range();
        // An area may have come where another was when that was looked at.
        let len = place.start.get().saturating_sub(at.get());
        if len > 0 {
            see(Stretch::Free(VirtRange { start: at, len }))?;
        }
        at = VirtAddr::new(place.last().get().saturating_add(1));
        see(match seen {
            Seen::Area(found) => match early_of(early, &found) {
                Some(early) => Stretch::Early(early),
                None => Stretch::Area(found),
            },
            Seen::Ram(place) => Stretch::Ram(place),
            Seen::Unpurged(place) => Stretch::Unpurged(place),
            Seen::Ready(place) => Stretch::Ready(place),
        })
    })?;
    match areas.range().last().get().wrapping_sub(at.get()).wrapping_add(1) {
        0 => Ok(()),
        len => see(Stretch::Free(VirtRange { start: at, len })),
    }
}
