//! `build_all_zonelists`: fallback orders and what the log says of them.

use crate::boot::{Boot, info};
use crate::error::BootError;
use crate::sink::Level;
use pagewright_zone::NodeMask;
use pagewright_zone::zonelist::{BuiltLine, PolicyZoneLine, Topology, ZoneLists, mobility_grouping_disabled};

/// Builds the zonelists of all nodes and says so.
///
/// # Errors
/// [`BootError::ZoneLists`] if the workspace is too small.
pub(crate) fn build_all_zonelists(b: &mut Boot<'_>) -> Result<(), BootError> {
    let (Some(layout), Some(room)) = (&b.layout, b.zonelist_room.take()) else {
        return Err(BootError::Unsupported { what: "zonelists before zones" });
    };
    let distances = &b.distances;
    let topology = Topology {
        distance: &|from, to| distances.get(from, to).into(),
        nodes_with_cpus: NodeMask::EMPTY,
        online: b.nodes_online,
        numa: b.machine.config.numa,
    };
    let lists = ZoneLists::build(layout, &topology, room).map_err(BootError::ZoneLists)?;
    lists.fallback_lines(layout, &mut |text| b.sink.line(Level::Info, text));
    lists.verify_lines(layout, &mut |text| b.sink.line(Level::Debug, text));
    // The processor that boots decides what "all pages" means.
    let here = b.node_of_cpu(0);
    let total = lists.total_pages_at_boot(layout, here);
    let c = &b.machine.config;
    let migrate_types = 4 + u32::from(c.cma.is_some()) + u32::from(c.memory_isolation);
    let disabled = mobility_grouping_disabled(total, layout.config().pageblock_pages(), migrate_types);
    b.mobility_grouping = !disabled;
    info!(
        b,
        "{}",
        BuiltLine { nodes: b.nodes_online.len(), mobility_grouping: !disabled, total_pages: total }
    );
    if b.machine.config.numa {
        info!(b, "{}", PolicyZoneLine { zone: lists.policy_zone });
    }
    b.zonelists = Some(lists);
    Ok(())
}
