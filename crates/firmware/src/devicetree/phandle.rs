//! References from one node to another.

use super::flat::cell;
use super::{DeviceTree, Node};

impl<'a> DeviceTree<'a> {
    /// The node whose `phandle`, or `linux,phandle` in trees of old compilers, is this number (`of_find_node_by_phandle`). No node has 0.
    pub fn by_phandle(&self, phandle: u32) -> Option<Node<'a>> {
        let is = |node: &Node<'a>| {
            let own = node.property("phandle").or_else(|| node.property("linux,phandle"));
            own.and_then(|p| p.as_u32()) == Some(phandle)
        };
        self.blob.nodes().map(|(_, node)| node).find(is).filter(|_| phandle != 0)
    }

    /// The node that entry number `index` of a property refers to, whose entries have no arguments (`of_parse_phandle`).
    pub fn referred(&self, from: &Node<'a>, property: &str, index: usize) -> Option<Node<'a>> {
        self.by_phandle(cell(from.property(property)?.value, index.checked_mul(4)?)?)
    }
}
