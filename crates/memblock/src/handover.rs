//! The end of memblock's rule: its free memory goes to the page allocator.

use crate::event::Event;
use crate::{Error, Flags, Memblock, Phase};
use pagewright_addr::{NodeId, PfnRange, PhysRange};

impl Memblock<'_> {
    /// Gives every whole free frame away, lowest first, each once, and ends memblock's phase
    /// (`memblock_free_all`). Returns the number of frames.
    ///
    /// First all hot-pluggable marks go, as in Linux, so that such memory is given away too. Frames that are
    /// partly reserved stay behind, as do unmapped and driver-managed ones. `give` gets runs of frames with
    /// their node; a caller with high memory splits them at its `max_low_pfn`.
    ///
    /// Afterwards only questions, dumps, walks and [`Self::phys_free`] work; everything else is
    /// [`Error::WrongPhase`].
    ///
    /// # Errors
    /// [`Error::WrongPhase`] if this was done before.
    pub fn free_all(&mut self, give: &mut dyn FnMut(PfnRange, Option<NodeId>)) -> Result<u64, Error> {
        self.require_memblock("memblock_free_all")?;
        for r in &mut self.memory.slots[..self.memory.cnt] {
            r.flags.remove(Flags::HOTPLUG);
        }
        let all = 0..self.memory.live().len();
        self.memory.merge(all);
        self.phase = Phase::Buddy;
        let shift = self.config.page_shift;
        let mut pages = 0;
        for (range, nid) in self.free_ranges(None, Flags::NONE) {
            let frames = range.frames_inside(shift);
            if !frames.is_empty() {
                pages += frames.len();
                give(frames, nid);
            }
        }
        self.emit(Event::FreeAll { pages, caller: self.caller });
        Ok(pages)
    }

    /// Gives the memory of grown region arrays away and forgets the sets (`memblock_discard`), on kernels that
    /// do not keep memblock. `give` gets the arrays' places: reserved first, then memory.
    ///
    /// # Errors
    /// [`Error::WrongPhase`] unless [`Self::free_all`] was done, and this was not.
    pub fn discard(&mut self, give: &mut dyn FnMut(PhysRange)) -> Result<(), Error> {
        if self.phase != Phase::Buddy {
            return Err(Error::WrongPhase { operation: "memblock_discard", phase: self.phase });
        }
        self.phase = Phase::Discarded;
        self.emit(Event::Discard { caller: self.caller });
        for set in [Some(&mut self.reserved), Some(&mut self.memory), self.physmem.as_mut()] {
            let Some(set) = set else { continue };
            let block = set.block.take();
            set.cnt = 0;
            set.total = 0;
            set.slots = &mut [];
            if let Some(block) = block {
                give(block);
            }
        }
        Ok(())
    }
}
