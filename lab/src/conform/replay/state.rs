//! The state at which a replay starts.

use super::silent;
use pagewright_addr::PhysAddr;
use pagewright_memblock::{ArrayParts, Config, Event, Memblock, Parts, Quiet, Region, Sink};

/// Everything memblock knows at one moment, owned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// The memory regions.
    pub memory: Vec<Region>,
    /// The reserved regions.
    pub reserved: Vec<Region>,
    /// Slots of the two arrays.
    pub slots: (usize, usize),
    /// Above which nothing is allocated.
    pub current_limit: PhysAddr,
    /// Whether allocation goes upwards from the kernel's end.
    pub bottom_up: bool,
    /// Whether full arrays may grow already.
    pub can_resize: bool,
    /// Whether the machine has mirrored memory.
    pub has_mirror: bool,
    /// Whether `kernelcore=mirror` was given.
    pub mirrored_kernelcore: bool,
    /// Whether `movable_node` was given.
    pub movable_node: bool,
    /// The kernel's properties.
    pub config: Config,
}

impl Start {
    /// An empty memblock of that kernel, with Linux's usual number of slots.
    pub fn empty(config: Config) -> Self {
        Self {
            memory: Vec::new(),
            reserved: Vec::new(),
            slots: (pagewright_memblock::INIT_MEMBLOCK_REGIONS, pagewright_memblock::INIT_MEMBLOCK_REGIONS),
            current_limit: PhysAddr::new(config.width.max_addr()),
            bottom_up: false,
            can_resize: false,
            has_mirror: false,
            mirrored_kernelcore: false,
            movable_node: false,
            config,
        }
    }

    /// Takes the state of a memblock.
    pub fn of(memblock: &Memblock<'_>) -> Self {
        use pagewright_memblock::Set;
        let mut start = Self::empty(*memblock.config());
        start.memory = memblock.regions(Set::Memory).to_vec();
        start.reserved = memblock.regions(Set::Reserved).to_vec();
        start.current_limit = memblock.current_limit();
        start.bottom_up = memblock.bottom_up();
        start.can_resize = memblock.can_resize();
        start.has_mirror = memblock.has_mirror();
        start.mirrored_kernelcore = memblock.mirrored_kernelcore();
        start.movable_node = memblock.movable_node();
        start
    }

    /// The state after these events, whether Linux prints them or not: calls made before the log begins.
    ///
    /// # Errors
    /// If the events are not possible in this state.
    pub fn after<'e>(
        &self,
        events: impl Iterator<Item = &'e Event>,
    ) -> Result<Self, pagewright_memblock::Error> {
        let mut arrays = self.arrays();
        let mut memblock = self.memblock(&mut arrays, &Quiet)?;
        for event in events {
            if event.is_logged() {
                silent::apply_logged(&mut memblock, event)?;
            } else {
                silent::apply(&mut memblock, event)?;
            }
        }
        Ok(Self { slots: self.slots, ..Self::of(&memblock) })
    }

    /// Room for the two arrays, to be lent to [`Self::memblock`].
    pub fn arrays(&self) -> (Vec<Region>, Vec<Region>) {
        let room = |regions: &[Region], slots: usize| {
            let mut array = regions.to_vec();
            array.resize(slots.max(regions.len() + 1), Region::default());
            array
        };
        (room(&self.memory, self.slots.0), room(&self.reserved, self.slots.1))
    }

    /// A memblock in this state over arrays made by [`Self::arrays`].
    ///
    /// # Errors
    /// As [`Memblock::from_parts`].
    pub fn memblock<'a>(
        &self,
        arrays: &'a mut (Vec<Region>, Vec<Region>),
        sink: &'a dyn Sink,
    ) -> Result<Memblock<'a>, pagewright_memblock::Error> {
        // An empty memblock tells how it marks regions without a node.
        let blank = Memblock::new(&mut [], &mut [], self.config, &Quiet).into_parts();
        let part = |regions: &'a mut Vec<Region>, live: &[Region]| ArrayParts {
            // An empty set counts one dummy region.
            cnt: live.len().max(1),
            total_size: live.iter().map(Region::size).sum(),
            block: None,
            regions,
        };
        let parts = Parts {
            memory: part(&mut arrays.0, &self.memory),
            reserved: part(&mut arrays.1, &self.reserved),
            current_limit: self.current_limit,
            bottom_up: self.bottom_up,
            can_resize: self.can_resize,
            has_mirror: self.has_mirror,
            movable_node: self.movable_node,
            max_numnodes: blank.max_numnodes,
        };
        let mut memblock = Memblock::from_parts(parts, self.config, sink)?;
        memblock.set_mirrored_kernelcore(self.mirrored_kernelcore);
        Ok(memblock)
    }
}
