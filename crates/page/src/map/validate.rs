//! The invariants of a map, checked: every frame's fields say the same.

use super::PageMap;
use crate::{FrameIdx, PageMeta, State, TableViolation, Word};
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::Order;

/// What [`PageMap::validate`] found to be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapViolation {
    /// The section table is wrong.
    Sections(TableViolation),
    /// More or fewer slots than the section table has frames.
    Slots {
        /// Slots of the map.
        slots: u64,
        /// Frames of the section table.
        frames: u64,
    },
    /// A state word that holds no known state.
    Unknown {
        /// The frame.
        idx: FrameIdx,
        /// The word's bits.
        bits: u32,
    },
    /// A frame that passes for untouched, with something in its metadata.
    Touched {
        /// The frame.
        idx: FrameIdx,
    },
    /// The head of a block that is misaligned, larger than the alignment order, or reaches past the map.
    Block {
        /// The block's first frame.
        idx: FrameIdx,
        /// Its order.
        order: Order,
    },
    /// A frame of a block that is in a state of its own.
    Torn {
        /// The block's first frame.
        head: FrameIdx,
        /// The frame.
        idx: FrameIdx,
        /// Its state.
        state: State,
    },
    /// A frame inside a block that no head accounts for.
    Headless {
        /// The frame.
        idx: FrameIdx,
    },
    /// References, mappings, an owner or flags that the frame's state does not have.
    Fields {
        /// The frame.
        idx: FrameIdx,
        /// Its state.
        state: State,
    },
}

impl fmt::Display for MapViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sections(e) => write!(f, "section table: {e}"),
            Self::Slots { slots, frames } => write!(f, "{slots} slots of metadata for {frames} frames"),
            Self::Unknown { idx, bits } => {
                write!(f, "state word {bits:#x} at frame index {idx} holds no known state")
            }
            Self::Touched { idx } => write!(f, "metadata at frame index {idx} is not untouched as it claims"),
            Self::Block { idx, order } => {
                write!(f, "no block of order {} can start at frame index {idx}", order.get())
            }
            Self::Torn { head, idx, state } => {
                write!(f, "frame index {idx} is {state:?} inside the block at {head}")
            }
            Self::Headless { idx } => write!(f, "frame index {idx} is inside a block without a head"),
            Self::Fields { idx, state } => {
                write!(f, "frame index {idx} is {state:?}, which does not go with its counts, owner or flags")
            }
        }
    }
}

impl core::error::Error for MapViolation {}

impl PageMap<'_> {
    /// Checks the section table and every frame: known states, blocks that are aligned and whole, no inside without
    /// a head, and fields that go with the state as the table in [`crate::meta`] has it. Links and `data` are the
    /// policy's.
    ///
    /// Looks at every slot, so its cost is that of the whole map; nothing may change meanwhile.
    ///
    /// # Errors
    /// The first [`MapViolation`], from the lowest index up.
    pub fn validate(&self) -> Result<(), MapViolation> {
        self.sections.validate().map_err(MapViolation::Sections)?;
        let (slots, frames) = (self.len(), self.sections.frames());
        if slots != frames || frames > self.capacity() {
            return Err(MapViolation::Slots { slots, frames });
        }
        let mut at = 0;
        while (at as u64) < frames {
            at = self.validate_block(at)?;
        }
        Ok(())
    }

    /// Checks the block that starts at `at`, and says where the next one does.
    fn validate_block(&self, at: usize) -> Result<usize, MapViolation> {
        let idx = FrameIdx::new(at as u32);
        let slot = &self.slots[at];
        let state = known(idx, slot)?;
        let fields = |sound| if sound { Ok(()) } else { Err(MapViolation::Fields { idx, state }) };
        match state {
            State::Pristine if slot.is_zero() => Ok(at + 1),
            State::Pristine => Err(MapViolation::Touched { idx }),
            State::Inner | State::Tail => Err(MapViolation::Headless { idx }),
            State::Reserved => fields(slot.word().order() == Order::ZERO).map(|()| at + 1),
            State::Owned if slot.word().order() == Order::ZERO => {
                fields(slot.owner.load(Relaxed) == 0)?;
                // The token knows how many frames follow; the map only sees where something else begins.
                let rest = &self.slots[at + 1..];
                let inner = rest.iter().take_while(|s| s.word().is(State::Inner)).count();
                self.validate_inside(at, at + 1 + inner)
            }
            _ => {
                let order = slot.word().order();
                let pages = order.pages() as usize;
                if order > self.sections.align()
                    || !idx.is_aligned(order)
                    || pages as u64 > self.len() - at as u64
                {
                    return Err(MapViolation::Block { idx, order });
                }
                fields(state != State::Free || (slot.is_unreferenced() && slot.word() == Word::free(order)))?;
                fields(state != State::Owned || self.is_head(idx))?;
                self.validate_inside(at, at + pages)
            }
        }
    }

    /// Checks the frames behind a block's head.
    fn validate_inside(&self, head: usize, end: usize) -> Result<usize, MapViolation> {
        // A block has tails only or none.
        let compound = self.is_head(FrameIdx::new(head as u32));
        for at in head + 1..end {
            let (idx, slot) = (FrameIdx::new(at as u32), &self.slots[at]);
            match known(idx, slot)? {
                State::Inner if !compound && is_unused(slot) && slot.word() == Word::INNER => {}
                State::Tail
                    if compound
                        && slot.refcount() == 0
                        && slot.next(idx) == Some(FrameIdx::new(head as u32)) => {}
                state @ (State::Inner | State::Tail) => return Err(MapViolation::Fields { idx, state }),
                state => return Err(MapViolation::Torn { head: FrameIdx::new(head as u32), idx, state }),
            }
        }
        Ok(end)
    }
}

fn known(idx: FrameIdx, slot: &PageMeta) -> Result<State, MapViolation> {
    let word = slot.word();
    word.known_state().ok_or(MapViolation::Unknown { idx, bits: word.bits() })
}

/// Whether nobody refers to the frame, maps it or owns it.
fn is_unused(slot: &PageMeta) -> bool {
    slot.counts.is_none() && slot.owner.load(Relaxed) == 0
}
