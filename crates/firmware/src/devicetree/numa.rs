//! NUMA facts of a device tree: node ids of memory and processors, and the distance map.
//!
//! Linux reads them from the unflattened tree (`of_numa_init`), by other rules than the early scan: memory nodes
//! count anywhere in the tree and even when disabled, and only their `reg` is looked at.

use super::flat::Blob;
use super::memory::is_memory;
use super::translate::{Path, translatable};
use super::{DeviceTree, Node, PropertyError, PropertyProblem, Region, Regions};

/// The memory of one node of the tree that has a `numa-node-id`.
#[derive(Clone, Debug)]
pub struct NumaMemory<'a> {
    /// The memory node's name.
    pub name: &'a str,
    /// `numa-node-id`.
    pub node: u32,
    /// The pairs of `reg`, at least one.
    pub regions: NumaRegions<'a>,
}

/// The pairs of a memory node's `reg` as physical addresses, up to the first that its buses do not map.
#[derive(Clone, Debug)]
pub struct NumaRegions<'a>(Place<'a>);

#[derive(Clone, Debug)]
enum Place<'a> {
    /// A child of the root: its addresses are physical.
    Root(Regions<'a>),
    /// A node on a bus. The path to it is searched anew for each pair, since it is too large to be kept.
    Bus { blob: Blob<'a>, node: Node<'a>, index: usize },
}

impl Iterator for NumaRegions<'_> {
    type Item = Region;

    fn next(&mut self) -> Option<Region> {
        match &mut self.0 {
            Place::Root(regions) => regions.next(),
            Place::Bus { blob, node, index } => {
                let region = Path::to(blob, node.position())?.register(*index)?;
                *index += 1;
                Some(region)
            }
        }
    }
}

/// The triples of a distance matrix, (from, to, distance), in order.
#[derive(Clone, Debug)]
pub struct Distances<'a> {
    cells: core::slice::Iter<'a, [u8; 4]>,
}

impl Iterator for Distances<'_> {
    type Item = (u32, u32, u32);

    fn next(&mut self) -> Option<(u32, u32, u32)> {
        let mut cell = || self.cells.next().map(|c| u32::from_be_bytes(*c));
        Some((cell()?, cell()?, cell()?))
    }
}

impl Distances<'_> {
    /// The first triple at which Linux gives up the map: a node's distance to itself must be 10, any other more.
    pub fn first_invalid(&self) -> Option<(u32, u32, u32)> {
        const LOCAL_DISTANCE: u32 = 10;
        self.clone().find(
            |(from, to, distance)| {
                if from == to { *distance != LOCAL_DISTANCE } else { *distance <= LOCAL_DISTANCE }
            },
        )
    }
}

/// A whole `numa-node-id`: `None` if there is none, an error if it is too short (of_property_read_u32).
pub(super) fn numa_node_id<'a>(node: &Node<'a>) -> Option<Result<u32, PropertyError<'a>>> {
    let property = node.property("numa-node-id")?;
    Some(property.as_u32().ok_or(PropertyError {
        node: node.name(),
        property: "numa-node-id",
        problem: PropertyProblem::BadLength { len_bytes: property.value.len() as u32, expected_bytes: 4 },
    }))
}

impl<'a> DeviceTree<'a> {
    /// Memory nodes with a `numa-node-id`, in the tree's order. At an error Linux gives up NUMA as a whole.
    pub fn numa_memory(
        &self,
    ) -> impl Iterator<Item = Result<NumaMemory<'a>, PropertyError<'a>>> + Clone + use<'a> {
        let (blob, cells) = (self.blob, self.root_cells());
        let nodes = self.blob.nodes().filter(|(_, n)| is_memory(n));
        nodes.filter_map(move |(depth, n)| {
            let id = numa_node_id(&n)?;
            Some(id.and_then(|node| {
                let regions = NumaRegions(match n.property("reg") {
                    Some(reg) if depth == 1 && translatable(cells) => {
                        Place::Root(Regions::new(reg.value, cells))
                    }
                    _ => Place::Bus { blob, node: n, index: 0 },
                });
                if regions.clone().next().is_none() {
                    let problem = PropertyProblem::Missing;
                    return Err(PropertyError { node: n.name(), property: "reg", problem });
                }
                Ok(NumaMemory { name: n.name(), node, regions })
            }))
        })
    }

    /// The first node compatible with `numa-distance-map-v1`: its matrix, or why Linux refuses it.
    pub fn distance_map(&self) -> Option<Result<Distances<'a>, PropertyError<'a>>> {
        let (_, map) = self.blob.nodes().find(|(_, n)| n.is_compatible("numa-distance-map-v1"))?;
        let error = |problem| PropertyError { node: map.name(), property: "distance-matrix", problem };
        let Some(matrix) = map.property("distance-matrix") else {
            return Some(Err(error(PropertyProblem::Missing)));
        };
        let (cells, rest) = matrix.value.as_chunks::<4>();
        if cells.is_empty() || !rest.is_empty() {
            let len_bytes = matrix.value.len() as u32;
            return Some(Err(error(PropertyProblem::BadLength { len_bytes, expected_bytes: 4 })));
        }
        Some(Ok(Distances { cells: cells.iter() }))
    }

    /// The triples of the distance map, if there is one that Linux reads.
    pub fn distances(&self) -> Option<Distances<'a>> {
        self.distance_map()?.ok()
    }

    /// Whether anything in the tree names a NUMA node: without, Linux says "No NUMA configuration found".
    pub fn has_numa(&self) -> bool {
        self.cpus().any(|c| c.node.is_some()) || self.numa_memory().next().is_some()
    }
}
