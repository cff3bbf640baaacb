//! `/proc/buddyinfo`: free blocks of each order, for each populated zone.

use core::fmt::{self, Write};
use pagewright_zone::figures::ZoneSource;

/// Writes a zone's line: free blocks of order 0, 1, ...
///
/// # Errors
/// The writer's.
pub fn zone(w: &mut dyn Write, node: u32, name: &str, free: impl Iterator<Item = u64>) -> fmt::Result {
    write!(w, "Node {node}, zone {name:>8} ")?;
    for blocks in free {
        write!(w, "{blocks:>6} ")?;
    }
    writeln!(w)
}

/// Writes the file.
///
/// # Errors
/// The writer's.
pub fn write(w: &mut dyn Write, zones: &dyn ZoneSource) -> fmt::Result {
    zones
        .zones()
        .try_for_each(|z| zone(w, z.nid.get().into(), z.kind.name(), zones.free_areas(z.zone).by_order()))
}
