//! The memory that a boot borrows before there is any, out of one piece: a `static` of an image, or any other memory.

use crate::boot::Workspace;
use crate::tables::Tables;
use pagewright_addr::{NodeId, PfnRange, PhysRange};
use pagewright_firmware::Arch;
use pagewright_firmware::config::KernelConfig;
use pagewright_memblock::{INIT_MEMBLOCK_REGIONS, Region, RegionMemory};
use pagewright_page::model::{MapSpace, NodeMap, SectionRun};
use pagewright_platform::carve::{Carve, bytes_for};
use pagewright_zone::layout::{MemFlags, MemRange, NodeLayout};

/// Memory ranges and runs of sections, at most.
const RANGES: usize = 512;
/// Nodes at most: as many as the boot has distances for, though a configuration may allow for more.
const NODES: usize = crate::numa::MAX_NODES;
/// Slots that memblock's arrays may grow into.
const SPARE: usize = 4096;

/// Slots of memblock's first arrays, memory and reserved, as Linux has them: arm64 keeps eight times the usual number for
/// memory, because EFI maps come in many pieces, and a reservation for each processor's interrupt tables.
pub const fn initial_slots(config: &KernelConfig) -> (usize, usize) {
    match config.arch {
        Arch::Arm64 => (INIT_MEMBLOCK_REGIONS * 8, INIT_MEMBLOCK_REGIONS + config.nr_cpus as usize + 1),
        _ => (INIT_MEMBLOCK_REGIONS, INIT_MEMBLOCK_REGIONS),
    }
}

/// Nodes that there is room for.
const fn node_slots(config: &KernelConfig) -> usize {
    let configured = config.max_numnodes() as usize;
    if configured < NODES { configured } else { NODES }
}

/// Bytes that [`workspace`] takes at most.
pub const fn workspace_bytes(config: &KernelConfig) -> u64 {
    let (memory, reserved) = initial_slots(config);
    let nodes = node_slots(config);
    bytes_for::<Region>(memory + reserved + SPARE)
        + bytes_for::<MemRange>(RANGES)
        + bytes_for::<NodeLayout>(nodes)
        + bytes_for::<NodeId>(nodes * (nodes + 1))
        + bytes_for::<SectionRun>(RANGES)
        + bytes_for::<PfnRange>(RANGES)
        + bytes_for::<NodeMap>(nodes)
        + bytes_for::<Growth<'_>>(1)
        + 256
}

/// Slots for memblock's arrays when they grow. They come from the image, wherever the boot places the arrays.
#[derive(Debug)]
struct Growth<'a> {
    rest: &'a mut [Region],
}

impl<'a> RegionMemory<'a> for Growth<'a> {
    fn claim(&mut self, _: PhysRange, slots: usize) -> Option<&'a mut [Region]> {
        if slots > self.rest.len() {
            return None;
        }
        let (claimed, rest) = core::mem::take(&mut self.rest).split_at_mut(slots);
        self.rest = rest;
        Some(claimed)
    }
}

/// The same in words, for an array.
pub const fn workspace_words(config: &KernelConfig) -> usize {
    workspace_bytes(config).div_ceil(8) as usize
}

impl<'a> Workspace<'a> {
    /// A workspace for a kernel of this configuration in an array of [`workspace_words`]; `None` if it is smaller.
    pub fn new(config: &KernelConfig, memory: &'a mut [u64], tables: &'a mut Tables) -> Option<Self> {
        workspace(config, &mut Carve::of(memory), tables)
    }
}

/// A workspace for a kernel of this configuration; `None` if the memory is less than [`workspace_bytes`].
pub fn workspace<'a>(
    config: &KernelConfig,
    memory: &mut Carve<'a>,
    tables: &'a mut Tables,
) -> Option<Workspace<'a>> {
    let (first, reserved) = initial_slots(config);
    let nodes = node_slots(config);
    let blank = MemRange { pfns: PfnRange::default(), nid: NodeId::ZERO, flags: MemFlags::empty() };
    let rest = memory.slice(SPARE, Region::default)?;
    let mut rest = Some(rest);
    let growth = memory.slice(1, || Growth { rest: rest.take().unwrap_or(&mut []) })?.first_mut()?;
    Some(Workspace {
        memory: memory.slice(first, Region::default)?,
        reserved: memory.slice(reserved, Region::default)?,
        region_memory: Some(growth),
        ranges: memory.slice(RANGES, || blank)?,
        nodes: memory.slice(nodes, || NodeLayout::EMPTY)?,
        zonelists: memory.slice(nodes * (nodes + 1), || NodeId::ZERO)?,
        tables,
        maps: MapSpace {
            sections: memory.slice(RANGES, || SectionRun::EMPTY)?,
            subsections: memory.slice(RANGES, PfnRange::default)?,
            node_maps: memory.slice(nodes, || NodeMap::EMPTY)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pagewright_firmware::config::Flavour;
    use std::boxed::Box;
    use std::vec;

    #[test]
    fn every_configuration_finds_room_in_the_bytes_it_asks_for() {
        for flavour in Flavour::ALL {
            let config = KernelConfig::debian(flavour);
            let mut bytes = vec![0_u64; workspace_bytes(&config).div_ceil(8) as usize];
            let mut tables = Box::new(Tables::new());
            let mut carve = Carve::of(&mut bytes);
            assert!(workspace(&config, &mut carve, &mut tables).is_some(), "{}", flavour.name());
            let mut little = Carve::of(&mut bytes[..1000]);
            assert!(workspace(&config, &mut little, &mut tables).is_none());
        }
    }
}
