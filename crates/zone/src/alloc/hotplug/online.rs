//! Memory comes: `add_memory`, `online_pages`.

use super::notify::{HotplugLine, MemoryEvent, MemoryNotify};
use super::{
    Hooks, HotplugError, MemoryBlock, MemoryBlocks, OnlineType, PageAllocator, Plug, Settle, ZoneCell,
};
use crate::ZoneKind;
use pagewright_addr::{NodeId, PfnRange};
use pagewright_page::Pristine;
use pagewright_platform::Interrupts;

impl<'s, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, '_, 's, 'a, I, H> {
    /// Makes whole memory blocks of a node known; then brings them online if that is to happen by itself
    /// ([`MemoryBlocks::auto_online`]), which may fail without consequences.
    ///
    /// # Errors
    /// [`HotplugError`]: a range that is not whole blocks, a node that cannot exist, memory that is there already, or no room.
    pub fn add_memory(
        &self,
        blocks: &mut MemoryBlocks<'_, 'a>,
        nid: NodeId,
        pfns: PfnRange,
        plug: &mut Plug<'_, '_>,
    ) -> Result<(), HotplugError> {
        let numbers = blocks.numbers(pfns).inspect_err(|&e| plug.notifier.say(&HotplugLine::Failed(e)))?;
        if self.cell_of(nid, ZoneKind::Normal).is_none() || !plug.possible.contains(nid) {
            let e = HotplugError::NoNode { nid };
            plug.notifier.say(&HotplugLine::Failed(e));
            return Err(e);
        }
        let (free, capacity) = blocks.capacity();
        if numbers.end - numbers.start > capacity as u64 {
            // Not worth looking at one by one.
            return Err(HotplugError::Blocks { capacity });
        }
        let mut new = 0;
        for number in numbers.clone() {
            match blocks.known(number) {
                Some(block) if block.present => {
                    return Err(HotplugError::Exists { pfns: blocks.pfns(number) });
                }
                Some(_) => {}
                None => new += 1,
            }
        }
        if new > free {
            return Err(HotplugError::Blocks { capacity });
        }
        // What has metadata already when another block has no room keeps it, and stays absent.
        for number in numbers.clone() {
            if blocks.known(number).is_none() {
                let memory = self.ground.map.grow(blocks.pfns(number)).map_err(HotplugError::Metadata)?;
                blocks.enter(MemoryBlock { number, memory: Some(memory), ..MemoryBlock::EMPTY });
            }
        }
        for number in numbers.clone() {
            if let Some(block) = blocks.known(number) {
                (block.nid, block.present, block.online, block.zone) = (nid, true, false, None);
            }
        }
        if let Some(how) = blocks.auto_online {
            for number in numbers {
                let _ = self.online_pages(blocks, number, how, plug);
            }
        }
        Ok(())
    }

    /// Gives an offline memory block to a zone. One that is online already stays where it is.
    ///
    /// # Errors
    /// [`HotplugError`]: no such block, no such zone, or somebody refused. Nothing has changed then.
    pub fn online_pages(
        &self,
        blocks: &mut MemoryBlocks<'_, 'a>,
        number: u64,
        how: OnlineType,
        plug: &mut Plug<'_, '_>,
    ) -> Result<(), HotplugError> {
        let (pfns, shift) = (blocks.pfns(number), blocks.shift);
        let block = blocks.present(number)?;
        if block.online {
            return Ok(());
        }
        let nid = block.nid;
        let kind = self.zone_for_pfn_range(blocks, nid, pfns, how);
        let no_zone = HotplugError::NoZone { nid, kind };
        let cell = self.cell_of(nid, kind).filter(|_| plug.marks.zone(nid, kind).is_some()).ok_or(no_zone)?;
        let first = (!self.memory_nodes().contains(nid)).then_some(nid);
        let what = MemoryNotify { pfns, status_change_nid: first };
        if let Err(errno) = plug.notifier.notify(MemoryEvent::GoingOnline, &what) {
            let e = HotplugError::Refused { pfns, errno, shift };
            plug.notifier.say(&HotplugLine::Failed(e));
            let _ = plug.notifier.notify(MemoryEvent::CancelOnline, &what);
            return Err(e);
        }
        let block = blocks.present(number)?;
        let Some(memory) = block.memory.take() else { return Err(HotplugError::NoBlock { number }) };
        (block.online, block.zone) = (true, Some(cell.id()));
        let was_populated = cell.is_populated();
        self.give(cell, pfns, memory);
        self.settle(plug, Settle::Online, !was_populated);
        let _ = plug.notifier.notify(MemoryEvent::Online, &what);
        Ok(())
    }

    /// Gives whole blocks of untouched memory to a zone.
    fn give(&self, cell: &ZoneCell<'s, 'a>, pfns: PfnRange, memory: Pristine<'a>) {
        let (start, end) = (memory.start(), memory.end());
        cell.add_present(pfns, pfns.len());
        let mut rest = self.with_zone(cell, |z| {
            self.ground.blocks.assign(start, end, Some(cell.id()));
            z.widen(start, end);
            z.keep(memory)
        });
        // Without room for an extent its metadata is written now, a block at a time.
        while !rest.is_empty() {
            let block = rest.take_front(self.ground.largest.pages());
            self.with_zone(cell, |z| self.ground.free_untouched(z, block));
        }
    }
}
