//! `/proc/pagetypeinfo`: free blocks by migrate type, and how many pageblocks each type owns.
//!
//! A node's part has a head, a line for each type of each zone, a second head, and a line for each zone; where page_owner is on, a third head, and again a line
//! for each zone.

use crate::State;
use core::fmt::{self, Display, Write};
use pagewright_addr::NodeId;
use pagewright_zone::buddy::MigrateType;

/// The beginning of the line above a node's lists.
pub const FREE: &str = "Free pages count per migrate type at order";
/// The beginning of the line above a node's pageblocks.
pub const BLOCKS: &str = "Number of blocks type";
/// The beginning of the line above a node's pageblocks with pages of other types.
pub const MIXED: &str = "Number of mixed blocks";
/// Linux stops counting a free list here and prints `>` before this number, however long the list is.
const COUNT_LIMIT: u64 = 100_000;

/// Writes the head of a node's part.
///
/// # Errors
/// The writer's.
pub fn head(w: &mut dyn Write, pageblock_order: u32, orders: usize) -> fmt::Result {
    writeln!(w, "Page block order: {pageblock_order}")?;
    writeln!(w, "Pages per block:  {}", 1u64 << pageblock_order.min(63))?;
    write!(w, "\n{FREE:<43} ")?;
    (0..orders).try_for_each(|order| write!(w, "{order:>6} "))?;
    writeln!(w)
}

/// Writes the line of one type in a zone: free blocks of order 0, 1, ...
///
/// # Errors
/// The writer's.
pub fn free(
    w: &mut dyn Write,
    node: u32,
    zone: &str,
    migrate: impl Display,
    counts: impl Iterator<Item = u64>,
) -> fmt::Result {
    write!(w, "Node {node:>4}, zone {zone:>8}, type {migrate:>12} ")?;
    for count in counts {
        let mark = if count >= COUNT_LIMIT { ">" } else { "" };
        write!(w, "{mark}{:>6} ", count.min(COUNT_LIMIT))?;
    }
    writeln!(w)
}

/// Writes the head above a node's pageblocks: [`BLOCKS`] or [`MIXED`], and the types' names.
///
/// # Errors
/// The writer's.
pub fn blocks_head(w: &mut dyn Write, what: &str, types: impl Iterator<Item = impl Display>) -> fmt::Result {
    write!(w, "\n{what:<23}")?;
    for migrate in types {
        write!(w, "{migrate:>12} ")?;
    }
    writeln!(w)
}

/// Writes a zone's pageblocks by type.
///
/// # Errors
/// The writer's.
pub fn blocks(w: &mut dyn Write, node: u32, zone: &str, counts: impl Iterator<Item = u64>) -> fmt::Result {
    write!(w, "Node {node}, zone {zone:>8} ")?;
    for count in counts {
        write!(w, "{count:>12} ")?;
    }
    writeln!(w)
}

/// Writes the file: a part for each node with memory.
///
/// # Errors
/// The writer's.
pub fn write(w: &mut dyn Write, state: &State<'_, '_, '_, '_, '_>) -> fmt::Result {
    let mut last = None;
    for nid in state.zones.zones().map(|z| z.nid) {
        // Zones come in the order of nodes.
        if last.replace(nid) != Some(nid) {
            node(w, state, nid)?;
        }
    }
    Ok(())
}

fn node(w: &mut dyn Write, state: &State<'_, '_, '_, '_, '_>, nid: NodeId) -> fmt::Result {
    let (config, all) = (&state.boot.machine.config, state.zones);
    // Those that this kernel has, in order.
    let types = || {
        MigrateType::ALL.into_iter().filter(|m| match m {
            MigrateType::Cma => config.cma.is_some(),
            MigrateType::Isolate => config.memory_isolation,
            _ => true,
        })
    };
    let zones = || {
        let here = all.zones().filter(move |z| z.nid == nid);
        here.map(|z| (z.kind.name(), z.zone))
    };
    let number = nid.get().into();
    head(w, config.pageblock_order(), state.orders().count())?;
    for (name, id) in zones() {
        let areas = all.free_areas(id);
        for migrate in types() {
            free(w, number, name, migrate, state.orders().map(|o| areas.blocks_of(o, migrate)))?;
        }
    }
    blocks_head(w, BLOCKS, types())?;
    for (name, id) in zones() {
        let counts = all.pageblock_counts(id);
        blocks(w, number, name, types().map(|m| counts[m.index()]))?;
    }
    let mut mixed = zones().filter_map(|(name, id)| Some((name, all.mixed_pageblocks(id)?))).peekable();
    if mixed.peek().is_some() {
        blocks_head(w, MIXED, types())?;
    }
    mixed.try_for_each(|(name, counts)| blocks(w, number, name, types().map(|m| counts[m.index()])))
}
