//! Memory nodes: what `early_init_dt_scan_memory` reads.

use super::{DeviceTree, Node, Region, Regions};
use pagewright_addr::{PhysAddr, PhysRange};

/// One (address, size) pair of a memory node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryBank {
    /// The bytes, cut at the top of the address space.
    pub range: PhysRange,
    /// The size as the tree states it; larger than `range` when base and size wrap.
    pub size: u64,
    /// The node has `hotpluggable`.
    pub hotpluggable: bool,
    /// The node's `numa-node-id`.
    pub node: Option<u32>,
}

pub(super) fn is_memory(node: &Node<'_>) -> bool {
    node.property("device_type").is_some_and(|t| t.is("memory"))
}

/// Reads one hexadecimal unit address; two joined by a comma are the halves of a 64-bit one.
fn parse_unit_address(text: &str) -> Option<PhysAddr> {
    let hex = |s: &str| u64::from_str_radix(s.strip_prefix("0x").unwrap_or(s), 16).ok();
    let value = match text.split_once(',') {
        None => hex(text)?,
        Some((high, low)) => {
            let (high, low) = (hex(high)?, hex(low)?);
            if high > u64::from(u32::MAX) || low > u64::from(u32::MAX) {
                return None;
            }
            high << 32 | low
        }
    };
    Some(PhysAddr::new(value))
}

impl<'a> DeviceTree<'a> {
    /// The memory that Linux takes from the tree, in its order: each child of the root with `device_type = "memory"`
    /// that is not disabled, one item for each pair of `linux,usable-memory`, or of `reg` without it. Pairs of size 0
    /// are left out; a board whose boot loader fills the node therefore has none.
    pub fn memory_banks(&self) -> impl Iterator<Item = MemoryBank> + Clone + use<'a> {
        let cells = self.root_cells();
        self.root().children().filter(|n| is_memory(n) && n.is_available()).flat_map(move |n| {
            let reg = n.property("linux,usable-memory").or_else(|| n.property("reg"));
            let hotpluggable = n.has("hotpluggable");
            let node = n.property("numa-node-id").and_then(|p| p.as_u32());
            Regions::new(reg.map_or(&[], |p| p.value), cells)
                .filter(|r| r.size != 0)
                .map(move |r: Region| MemoryBank { range: r.range(), size: r.size, hotpluggable, node })
        })
    }

    /// The unit address of the first memory node that has one, whatever its `reg` says.
    pub fn memory_node_unit_address(&self) -> Option<PhysAddr> {
        self.memory_nodes().find_map(|n| parse_unit_address(n.unit_address()?))
    }

    /// The root's memory nodes that are not disabled, those without any size too.
    pub fn memory_nodes(&self) -> impl Iterator<Item = Node<'a>> + Clone + use<'a> {
        self.root().children().filter(|n| is_memory(n) && n.is_available())
    }
}
