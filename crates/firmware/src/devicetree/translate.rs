//! Addresses on buses: how `ranges` and `dma-ranges` map them towards the root (`of_translate_address`).
//!
//! A [`Path`] holds the nodes from the root to one node, so that a walk over the tree never searches for a parent.

use super::flat::{Blob, number};
use super::{CellCounts, Node, Region};
use pagewright_addr::PhysAddr;

/// Nodes deeper than this are not looked at; real trees have less than half.
const MAX_DEPTH: usize = 24;
/// More cells than this in an address have no translation (OF_MAX_ADDR_CELLS).
const MAX_CELLS: u32 = 4;

/// One node of a path, with the cell counts that hold for its children.
#[derive(Clone, Copy)]
pub(super) struct Level<'a> {
    pub(super) node: Node<'a>,
    /// What its own `#address-cells` and `#size-cells` say, or an ancestor's, or the default.
    pub(super) children: CellCounts,
    /// Neither it nor an ancestor below the root is disabled.
    pub(super) available: bool,
    pci: bool,
}

fn is_pci(node: &Node<'_>) -> bool {
    let kind = node.property("device_type");
    let is = |name| kind.is_some_and(|t| t.is(name));
    is("pci") || is("pciex") || is("vci") || is("ht") || node.base_name() == "pcie"
}

impl<'a> Level<'a> {
    fn new(node: Node<'a>, parent: Option<&Level<'a>>) -> Self {
        let inherited = parent.map_or(CellCounts::LINUX_DEFAULT, |p| p.children);
        let count = |name, default| node.property(name).and_then(|p| p.as_u32()).unwrap_or(default);
        Self {
            node,
            children: CellCounts {
                address: count("#address-cells", inherited.address),
                size: count("#size-cells", inherited.size),
            },
            available: parent.is_none_or(|p| p.available && node.is_available()),
            pci: is_pci(&node),
        }
    }

    /// The entries of a property of (bus address, parent address, size) triples, by the parent's cell counts.
    pub(super) fn entries(
        &self,
        property: &str,
        parent: CellCounts,
    ) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let value = self.node.property(property).map_or(&[][..], |p| p.value);
        let (cells, _) = value.as_chunks::<4>();
        let (na, pna, ns) = (self.children.address, parent.address, self.children.size);
        // Absurd counts make entries longer than any property.
        let len = [na, pna, ns].iter().try_fold(0_usize, |n, c| n.checked_add(*c as usize));
        let chunks = cells.chunks_exact(len.filter(|n| *n > 0).unwrap_or(usize::MAX));
        chunks.filter_map(move |entry| {
            let (bus, rest) = entry.split_at_checked(na as usize)?;
            let (parent, size) = rest.split_at_checked(pna as usize)?;
            Some(Entry { bus, parent, size: number(size) })
        })
    }
}

/// One triple of a `ranges` or `dma-ranges`.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    bus: &'a [[u8; 4]],
    pub(super) parent: &'a [[u8; 4]],
    pub(super) size: u64,
}

/// PCI addresses are comparable if they are of the same space: 0 is configuration, 1 I/O, 2 and 3 are memory.
fn pci_space(cell: Option<&[u8; 4]>) -> u8 {
    cell.map_or(0, |c| c[0] & 3).min(2)
}

impl Entry<'_> {
    /// Where a bus address lies in the entry.
    fn offset_of(&self, address: &BusAddress, pci: bool) -> Option<u64> {
        let base = match self.bus {
            [kind, base @ ..] if pci && pci_space(Some(kind)) == address.space => number(base),
            _ if pci => return None,
            base => number(base),
        };
        let offset = address.value.checked_sub(base)?;
        (offset < self.size).then_some(offset)
    }
}

#[derive(Clone, Copy)]
struct BusAddress {
    value: u64,
    space: u8,
}

/// Whether Linux translates between buses of such cell counts (OF_CHECK_COUNTS).
pub(super) fn translatable(cells: CellCounts) -> bool {
    (1..=MAX_CELLS).contains(&cells.address) && cells.size > 0
}

/// The nodes from the root down to one.
#[derive(Clone)]
pub(super) struct Path<'a> {
    levels: [Level<'a>; MAX_DEPTH],
    len: usize,
}

impl<'a> Path<'a> {
    pub(super) fn new(blob: &Blob<'a>) -> Self {
        Self { levels: [Level::new(blob.root(), None); MAX_DEPTH], len: 1 }
    }

    /// The path to the node at `position`, if it is not too deep.
    pub(super) fn to(blob: &Blob<'a>, position: usize) -> Option<Self> {
        let mut path = Self::new(blob);
        for (depth, node) in blob.nodes() {
            let here = path.enter(depth, node).is_some();
            if node.position() == position {
                return here.then_some(path);
            }
        }
        None
    }

    /// Steps to a node at `depth`, whose parent the path holds because it was entered before. `None`, without a
    /// change, if it is too deep.
    pub(super) fn enter(&mut self, depth: u32, node: Node<'a>) -> Option<&Level<'a>> {
        let depth = depth as usize;
        if depth >= MAX_DEPTH {
            return None;
        }
        let level = Level::new(node, depth.checked_sub(1).map(|above| &self.levels[above]));
        self.levels[depth] = level;
        self.len = depth + 1;
        self.levels.get(depth)
    }

    /// The cell counts that hold for the path's node: its parent's, the root's own for the root.
    pub(super) fn cells(&self) -> CellCounts {
        self.levels[self.len.saturating_sub(2)].children
    }

    /// Translates an address of the bus on which the path's node sits up to the root by each bus's `property`. Where
    /// it is empty addresses are equal on both sides; where it is missing, only for `dma-ranges`. `None` if there is
    /// no translation (OF_BAD_ADDR).
    pub(super) fn translate(&self, start: &[[u8; 4]], property: &str) -> Option<u64> {
        let above = self.levels.get(..self.len.checked_sub(1)?)?;
        above.last().filter(|bus| translatable(bus.children))?;
        let mut address = BusAddress { value: number(start), space: pci_space(start.first()) };
        for pair in above.windows(2).rev() {
            let [parent, bus] = pair else { return None };
            if !translatable(parent.children) {
                return None;
            }
            match bus.node.property(property) {
                None if property == "dma-ranges" => continue,
                None => return None,
                Some(p) if p.value.is_empty() => continue,
                Some(_) => {}
            }
            let mut entries = bus.entries(property, parent.children);
            let (offset, base) = entries.find_map(|e| Some((e.offset_of(&address, bus.pci)?, e.parent)))?;
            address = BusAddress { value: number(base).wrapping_add(offset), space: pci_space(base.first()) };
        }
        Some(address.value)
    }

    /// The `index`-th pair of the node's `reg`, as an address of the root's (`of_address_to_resource`).
    pub(super) fn register(&self, index: usize) -> Option<Region> {
        let cells = self.cells();
        if !(1..=MAX_CELLS).contains(&cells.address) {
            return None;
        }
        let reg = self.levels.get(self.len.checked_sub(1)?)?.node.property("reg")?;
        let (all, _) = reg.value.as_chunks::<4>();
        let pair = all.chunks_exact(cells.pair_bytes()? / 4).nth(index)?;
        let (address, size) = pair.split_at_checked(cells.address as usize)?;
        let base = self.translate(address, "ranges")?;
        Some(Region { base: PhysAddr::new(base), size: number(size) })
    }
}
