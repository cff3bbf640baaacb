//! Memory blocks that go offline while others use them, and come back.

use pagewright_addr::{NodeId, PageShift};
use pagewright_platform::NoInterrupts;
use pagewright_zone::NodeMask;
use pagewright_zone::alloc::hotplug::{MemoryBlock, MemoryBlocks, NoNotifier, Plug};
use pagewright_zone::alloc::{NoHooks, PageAllocator};
use pagewright_zone::watermark::{Cpus, Watermarks};
use pagewright_zone::zonelist::Topology;

/// Frames of a memory block: the largest order's.
pub(super) const BLOCK: u64 = 1024;
/// Blocks of the machine.
const BLOCKS: usize = 4;
/// No more than so many are offline at a time.
const MOST_OFFLINE: usize = 2;

/// The memory blocks of a machine.
pub(super) struct Hot<'h, 'w, 'a> {
    pub(super) blocks: MemoryBlocks<'h, 'a>,
    marks: &'h mut Watermarks<'w>,
    pub(super) offline: Vec<u64>,
}

impl<'h, 'w, 'a> Hot<'h, 'w, 'a> {
    /// All of a machine's, online.
    pub(super) fn new(
        allocator: &PageAllocator<'_, '_, '_, 'a, NoInterrupts, NoHooks>,
        room: &'h mut Vec<MemoryBlock<'a>>,
        marks: &'h mut Watermarks<'w>,
    ) -> Self {
        room.resize_with(BLOCKS, || MemoryBlock::EMPTY);
        let blocks =
            MemoryBlocks::new(room, allocator, BLOCK, PageShift::SHIFT_4K).expect("room for the blocks");
        Self { blocks, marks, offline: vec![] }
    }

    /// Whether any block is offline.
    pub(super) fn any_offline(&self) -> bool {
        !self.offline.is_empty()
    }

    /// Whether one more may go.
    pub(super) fn may_go(&self) -> bool {
        self.offline.len() < MOST_OFFLINE
    }

    /// The number of a block.
    pub(super) fn number(&self, at: u8) -> u64 {
        super::BASE / BLOCK + u64::from(at) % BLOCKS as u64
    }

    /// What an operation on them is done with.
    pub(super) fn parts(&mut self) -> (&mut MemoryBlocks<'h, 'a>, Plug<'_, 'w>) {
        let nodes: NodeMask = [NodeId::ZERO].into_iter().collect();
        let topology = Topology {
            distance: &|_, _| pagewright_zone::zonelist::LOCAL_DISTANCE,
            nodes_with_cpus: NodeMask::EMPTY,
            online: nodes,
            numa: false,
        };
        let cpus = Cpus { online: 1, on_node: &|_| 1 };
        let plug = Plug { marks: self.marks, cpus, topology, possible: nodes, notifier: &NoNotifier };
        (&mut self.blocks, plug)
    }
}
