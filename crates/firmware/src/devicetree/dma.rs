//! The highest address that every bus of the tree can reach (`of_dma_get_max_cpu_address`), which bounds arm64's
//! ZONE_DMA.
//!
//! Each `dma-ranges` maps addresses of a bus to those of its parent. Linux translates every entry up to the root,
//! takes the largest end of each property, and of those the smallest over the tree; disabled nodes and what is below
//! them do not count. A bus without the property, or with an empty one, maps addresses one to one.

use super::flat::number;
use super::{CellCounts, DeviceTree, Node};

/// Nodes deeper than this are not looked at; real trees have less than half.
const MAX_DEPTH: usize = 24;
/// More cells than this in an address have no translation (OF_MAX_ADDR_CELLS).
const MAX_CELLS: u32 = 4;
/// What Linux computes with when an address has no translation (OF_BAD_ADDR).
const BAD_ADDR: u64 = u64::MAX;

/// A node on the way from the root, with the cell counts that hold for it and for its children.
#[derive(Clone, Copy)]
struct Level<'a> {
    node: Node<'a>,
    /// What its own `#address-cells` and `#size-cells` say, or an ancestor's, or the default.
    children: CellCounts,
    available: bool,
    pci: bool,
}

/// Two PCI addresses are comparable if they are of the same kind: the space bits of their first cell.
fn pci_space(cell: Option<&[u8; 4]>) -> u32 {
    // 0 is configuration space, 1 I/O; 2 and 3 are both memory.
    match u32::from_be_bytes(*cell.unwrap_or(&[0; 4])) >> 24 & 3 {
        2 | 3 => 2,
        other => other,
    }
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

    /// Whether there is a `dma-ranges` that is not empty.
    fn has_ranges(&self) -> bool {
        self.node.property("dma-ranges").is_some_and(|p| !p.value.is_empty())
    }

    /// The entries of `dma-ranges`, whose parent addresses have the parent's count of cells.
    fn ranges(&self, parent: CellCounts) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let value = self.node.property("dma-ranges").map_or(&[][..], |p| p.value);
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

#[derive(Clone, Copy)]
struct Entry<'a> {
    bus: &'a [[u8; 4]],
    parent: &'a [[u8; 4]],
    size: u64,
}

impl Entry<'_> {
    /// Where a bus address lies in the entry.
    fn offset_of(&self, address: u64, space: u32, pci: bool) -> Option<u64> {
        let base = match self.bus {
            [kind, base @ ..] if pci && pci_space(Some(kind)) == space => number(base),
            _ if pci => return None,
            base => number(base),
        };
        let offset = address.checked_sub(base)?;
        (offset < self.size).then_some(offset)
    }
}

/// Whether Linux translates between buses of such cell counts (OF_CHECK_COUNTS).
fn countable(cells: CellCounts) -> bool {
    (1..=MAX_CELLS).contains(&cells.address) && cells.size > 0
}

/// Translates an address of the bus on which `path`'s last node sits up to the root.
fn translate(path: &[Level<'_>], start: &[[u8; 4]]) -> u64 {
    let [above @ .., _] = path else { return BAD_ADDR };
    if above.last().is_none_or(|bus| !countable(bus.children)) {
        return BAD_ADDR;
    }
    let mut space = pci_space(start.first());
    let mut address = number(start);
    for at in (1..above.len()).rev() {
        let (bus, parent) = (&above[at], &above[at - 1]);
        if !countable(parent.children) {
            return BAD_ADDR;
        }
        if !bus.has_ranges() {
            continue;
        }
        let mut entries = bus.ranges(parent.children);
        let found = entries.find_map(|e| Some((e.offset_of(address, space, bus.pci)?, e)));
        let Some((offset, entry)) = found else { return BAD_ADDR };
        space = pci_space(entry.parent.first());
        address = number(entry.parent).wrapping_add(offset);
    }
    address
}

impl DeviceTree<'_> {
    /// The last address that every bus can reach, `u64::MAX` without any `dma-ranges`.
    ///
    /// Linux makes ZONE_DMA end at the power of two above it, and at 4 GiB at the most. A phandle in `interconnects`
    /// that names another parent for DMA is not followed.
    pub fn dma_max_cpu_address(&self) -> u64 {
        let root = Level::new(self.root(), None);
        let mut path = [root; MAX_DEPTH];
        let mut lowest = u64::MAX;
        for (depth, node) in self.blob.nodes() {
            let depth = depth as usize;
            if depth >= MAX_DEPTH {
                continue;
            }
            let above = depth.checked_sub(1).map(|above| path[above]);
            let level = Level::new(node, above.as_ref());
            path[depth] = level;
            if !level.available || !level.has_ranges() {
                continue;
            }
            let parent_cells = above.unwrap_or(level).children;
            let end = level.ranges(parent_cells).fold(0, |end, entry| {
                let past = translate(&path[..=depth], entry.parent).wrapping_add(entry.size);
                if past > end { past.wrapping_sub(1) } else { end }
            });
            lowest = lowest.min(end);
        }
        lowest
    }
}
