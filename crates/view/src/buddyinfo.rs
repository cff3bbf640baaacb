//! `/proc/buddyinfo`: free blocks of each order, for each populated zone.

use core::fmt::{self, Write};
use pagewright_addr::Order;
use pagewright_zone::buddy::Buddy;

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
pub fn write(w: &mut dyn Write, buddy: &Buddy<'_, '_, '_>) -> fmt::Result {
    for z in buddy.zones() {
        let Some(id) = buddy.find(z.nid(), z.kind()) else { continue };
        let orders = (0..=buddy.largest_order().get()).filter_map(Order::new);
        zone(w, z.nid().get().into(), z.kind().name(), orders.map(|o| buddy.free_blocks(id, o)))?;
    }
    Ok(())
}
