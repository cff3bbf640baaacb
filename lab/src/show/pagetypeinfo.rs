//! `/proc/pagetypeinfo`: free blocks by migrate type, and how many pageblocks each type owns.

use super::{Lines, node_zone};
use crate::fault::Fault;
use pagewright_view::pagetypeinfo::{self as view, BLOCKS, FREE};
use std::fmt;

/// The whole file: one part for each node with memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PageTypeInfo {
    /// The nodes' parts.
    pub nodes: Vec<Node>,
}

/// One node's part.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node {
    /// The node's number.
    pub node: u32,
    /// The order of a pageblock.
    pub pageblock_order: u32,
    /// The migrate types' names, in order.
    pub types: Vec<String>,
    /// The populated zones.
    pub zones: Vec<Zone>,
}

/// One populated zone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Zone {
    /// The zone's name.
    pub name: String,
    /// Free blocks by type, then by order.
    pub free: Vec<Vec<u64>>,
    /// Pageblocks by type.
    pub blocks: Vec<u64>,
}

impl PageTypeInfo {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut lines = Lines::new(text);
        let mut nodes = Vec::new();
        while lines.peek().is_some() {
            nodes.push(node(&mut lines)?);
        }
        Ok(Self { nodes })
    }
}

fn numbers(n: usize, line: &str, text: &str) -> Result<Vec<u64>, Fault> {
    let read = |w: &str| w.trim_start_matches('>').parse();
    text.split_whitespace().map(read).collect::<Result<_, _>>().map_err(|_| Fault::line(n, line, "numbers"))
}

fn node(lines: &mut Lines<'_>) -> Result<Node, Fault> {
    let mut out = Node { pageblock_order: lines.number("Page block order:")? as u32, ..Node::default() };
    lines.number("Pages per block:")?;
    lines.need("an empty line")?;
    let (n, line) = lines.need(FREE)?;
    if !line.starts_with(FREE) {
        return Err(Fault::line(n, line, FREE));
    }
    while lines.next_is("Node") {
        let (n, line) = lines.need("a zone's line")?;
        let (node, zone, rest) = node_zone(n, line)?;
        out.node = node;
        let (kind, counts) = rest
            .strip_prefix(", type")
            .and_then(|r| r.trim_start().split_once(' '))
            .ok_or_else(|| Fault::line(n, line, "`, type <name> <numbers>`"))?;
        if out.zones.last().is_none_or(|z| z.name != zone) {
            out.zones.push(Zone { name: zone.to_owned(), ..Zone::default() });
        }
        if out.zones.len() == 1 {
            out.types.push(kind.to_owned());
        }
        let counts = numbers(n, line, counts)?;
        if let Some(last) = out.zones.last_mut() {
            last.free.push(counts);
        }
    }
    lines.need("an empty line")?;
    let (n, line) = lines.need(BLOCKS)?;
    if !line.starts_with(BLOCKS) {
        return Err(Fault::line(n, line, BLOCKS));
    }
    while lines.next_is("Node") {
        let (n, line) = lines.need("a zone's line")?;
        let (_, name, rest) = node_zone(n, line)?;
        let zone = out.zones.iter_mut().find(|z| z.name == name);
        zone.ok_or_else(|| Fault::line(n, line, "a zone that was listed above"))?.blocks =
            numbers(n, line, rest)?;
    }
    Ok(out)
}

impl fmt::Display for PageTypeInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.nodes.iter().try_for_each(|n| n.fmt(f))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let orders = self.zones.iter().flat_map(|z| z.free.first()).map(Vec::len).next().unwrap_or(0);
        view::head(f, self.pageblock_order, orders)?;
        for zone in &self.zones {
            for (kind, counts) in self.types.iter().zip(&zone.free) {
                view::free(f, self.node, &zone.name, kind, counts.iter().copied())?;
            }
        }
        view::blocks_head(f, view::BLOCKS, self.types.iter())?;
        for zone in &self.zones {
            view::blocks(f, self.node, &zone.name, zone.blocks.iter().copied())?;
        }
        Ok(())
    }
}
