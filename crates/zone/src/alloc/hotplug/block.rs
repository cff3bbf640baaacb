//! The table of memory blocks (`/sys/devices/system/memory`).

use super::policy::{OnlinePolicy, OnlineType};
use super::{Hooks, HotplugError, PageAllocator};
use crate::buddy::ZoneId;
use core::fmt;
use pagewright_addr::{NodeId, PageShift, Pfn, PfnRange};
use pagewright_page::Pristine;
use pagewright_platform::Interrupts;

/// What a memory block is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BlockState {
    /// Its memory is gone; only its metadata is kept.
    Absent,
    /// Known, and used by nobody.
    Offline,
    /// In a zone.
    Online,
}

impl fmt::Display for BlockState {
    /// As in `memoryN/state`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "absent",
            Self::Offline => "offline",
            Self::Online => "online",
        })
    }
}

/// One block.
#[derive(Debug)]
pub struct MemoryBlock<'a> {
    pub(super) number: u64,
    pub(super) nid: NodeId,
    pub(super) zone: Option<ZoneId>,
    pub(super) online: bool,
    pub(super) present: bool,
    /// Its frames, as long as no zone has them.
    pub(super) memory: Option<Pristine<'a>>,
}

impl<'a> MemoryBlock<'a> {
    /// An unused entry, to make room for a table.
    pub const EMPTY: Self =
        Self { number: 0, nid: NodeId::ZERO, zone: None, online: false, present: false, memory: None };

    /// Its number: `memoryN`, `phys_index`.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Its node.
    pub const fn nid(&self) -> NodeId {
        self.nid
    }

    /// The zone of an online block; none if it has memory of several.
    pub const fn zone(&self) -> Option<ZoneId> {
        self.zone
    }

    /// What it is.
    pub const fn state(&self) -> BlockState {
        match (self.present, self.online) {
            (false, _) => BlockState::Absent,
            (true, false) => BlockState::Offline,
            (true, true) => BlockState::Online,
        }
    }
}

/// Why a table cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryBlocksError {
    /// A block is not whole pageblocks and whole blocks of the largest order, a power of two of them.
    Size {
        /// Frames of a block.
        block_pages: u64,
    },
    /// Too few entries for what the machine booted with.
    Full {
        /// How many there are.
        capacity: usize,
    },
}

impl fmt::Display for MemoryBlocksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { block_pages } => write!(f, "memory blocks of {block_pages} pages are impossible"),
            Self::Full { capacity } => write!(f, "more memory blocks than the table's {capacity}"),
        }
    }
}

impl core::error::Error for MemoryBlocksError {}

/// All memory blocks of a machine. Whoever has it exclusively is the only one who plugs.
#[derive(Debug)]
pub struct MemoryBlocks<'s, 'a> {
    blocks: &'s mut [MemoryBlock<'a>],
    used: usize,
    block_pages: u64,
    pub(super) shift: PageShift,
    /// How new memory comes online by itself, if it does (`auto_online_blocks`, `memhp_default_state=`).
    pub auto_online: Option<OnlineType>,
    /// Which zone memory goes to that is simply to be online (`online_policy`).
    pub policy: OnlinePolicy,
    /// Memory that may go either way goes to ZONE_MOVABLE (`movable_node`).
    pub movable_node: bool,
}

impl<'s, 'a> MemoryBlocks<'s, 'a> {
    /// The blocks of a machine that has booted: all online. `block_pages` is how many frames a block has (`block_size_bytes`: 128 MiB on most
    /// machines); `room` needs an entry for each block that is ever known.
    ///
    /// # Errors
    /// [`MemoryBlocksError`].
    pub fn new<I: Interrupts, H: Hooks>(
        room: &'s mut [MemoryBlock<'a>],
        allocator: &PageAllocator<'_, '_, '_, 'a, I, H>,
        block_pages: u64,
        shift: PageShift,
    ) -> Result<Self, MemoryBlocksError> {
        let ground = &allocator.ground;
        let least = ground.largest.pages().max(ground.blocks.order().pages());
        if !block_pages.is_power_of_two() || block_pages < least {
            return Err(MemoryBlocksError::Size { block_pages });
        }
        let mut table = Self {
            blocks: room,
            used: 0,
            block_pages,
            shift,
            auto_online: None,
            policy: OnlinePolicy::ContigZones,
            movable_node: false,
        };
        for section in ground.map.sections().sections() {
            let pfns = section.pfns();
            let mut pfn = pfns.start;
            while pfn < pfns.end {
                let next = pfn.saturating_add(1).align_up(block_pages).min(pfns.end);
                let (start, len) = (ground.map.idx(pfn), next.get() - pfn.get());
                let zone = start.and_then(|start| {
                    let (zone, run) = ground.blocks.stretch(start, len);
                    let after = pagewright_page::FrameIdx::new(start.get() + run as u32);
                    zone.or_else(|| ground.blocks.stretch(after, len - run.min(len)).0)
                });
                let number = pfn.get() / block_pages;
                let known = table.blocks[..table.used].last().is_some_and(|b| b.number == number);
                if let Some(cell) = zone.and_then(|zone| allocator.zones().get(zone.index()))
                    && !known
                {
                    let whole = allocator.one_zone(table.pfns(number)).map(|(zone, ..)| zone);
                    let block = MemoryBlock {
                        number,
                        nid: cell.nid(),
                        zone: whole,
                        online: true,
                        present: true,
                        memory: None,
                    };
                    if !table.enter(block) {
                        return Err(MemoryBlocksError::Full { capacity: table.blocks.len() });
                    }
                }
                pfn = next;
            }
        }
        Ok(table)
    }

    /// Frames of a block.
    pub const fn block_pages(&self) -> u64 {
        self.block_pages
    }

    /// Every block that was ever known, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &MemoryBlock<'a>> {
        self.blocks[..self.used].iter()
    }

    /// The block of a number, if its memory is there.
    pub fn block(&self, number: u64) -> Option<&MemoryBlock<'a>> {
        self.iter().find(|block| block.number == number && block.present)
    }

    /// The frames of a block, or none of a number that is beyond all frames.
    pub const fn pfns(&self, number: u64) -> PfnRange {
        PfnRange::from_len(Pfn::new(number.saturating_mul(self.block_pages)), self.block_pages)
    }

    pub(super) fn enter(&mut self, block: MemoryBlock<'a>) -> bool {
        let Some(slot) = self.blocks.get_mut(self.used) else { return false };
        *slot = block;
        self.used += 1;
        true
    }

    pub(super) fn capacity(&self) -> (usize, usize) {
        (self.blocks.len() - self.used, self.blocks.len())
    }

    pub(super) fn known(&mut self, number: u64) -> Option<&mut MemoryBlock<'a>> {
        self.blocks[..self.used].iter_mut().find(|block| block.number == number)
    }

    pub(super) fn present(&mut self, number: u64) -> Result<&mut MemoryBlock<'a>, HotplugError> {
        self.known(number).filter(|block| block.present).ok_or(HotplugError::NoBlock { number })
    }

    /// The numbers of the blocks that a range is made of.
    pub(super) fn numbers(&self, pfns: PfnRange) -> Result<core::ops::Range<u64>, HotplugError> {
        let block_pages = self.block_pages;
        let whole = pfns.start.is_aligned(block_pages) && pfns.end.is_aligned(block_pages);
        if pfns.is_empty() || !whole {
            return Err(HotplugError::Unaligned { pfns, block_pages, shift: self.shift });
        }
        Ok(pfns.start.get() / block_pages..pfns.end.get() / block_pages)
    }
}
