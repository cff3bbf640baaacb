//! `/sys/kernel/debug/extfrag/`: how fragmented the free memory of each zone is, for each order.

use core::fmt::{self, Write};
use pagewright_zone::alloc::extfrag::{write_extfrag_index, write_unusable_index};
use pagewright_zone::figures::ZoneSource;

/// Writes `extfrag_index`: towards 0 an allocation of the order fails for want of memory, towards 1 because of fragmentation; -1 where it
/// would not fail.
///
/// # Errors
/// The writer's.
pub fn index(w: &mut dyn Write, zones: &dyn ZoneSource) -> fmt::Result {
    each(zones, &mut |node, zone, free| write_extfrag_index(w, node, zone, free))
}

/// Writes `unusable_index`: which part of the free memory lies in blocks too small for the order.
///
/// # Errors
/// The writer's.
pub fn unusable(w: &mut dyn Write, zones: &dyn ZoneSource) -> fmt::Result {
    each(zones, &mut |node, zone, free| write_unusable_index(w, node, zone, free))
}

fn each(zones: &dyn ZoneSource, write: &mut dyn FnMut(u32, &str, &[u64]) -> fmt::Result) -> fmt::Result {
    zones.zones().try_for_each(|z| {
        let free = zones.free_areas(z.zone).counts();
        write(z.nid.get().into(), z.kind.name(), free.get(..zones.orders().count()).unwrap_or(&free))
    })
}
