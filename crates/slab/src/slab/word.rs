//! What the page metadata says about a slab, as a plain value: the `data` word of its first frame.
//!
//! ```text
//!  63                                    34 33              18 17  16 15          0
//! +----------------------------------------+------------------+------+-------------+
//! | (in an object) which, 16 bits          | colour           | list | objects out |
//! +----------------------------------------+----------+-------+------+-------------+
//!  63                                              21 20   18
//! | (off the slab) where: frame, 32-byte unit in it  | colour|
//! ```
//! *Objects out* are those that the slab's free list does not have: its indices from that position on are the free objects'.

use pagewright_page::FrameIdx;

const LIST_SHIFT: u32 = 16;
const COLOUR_SHIFT: u32 = 18;
const HOLDER_SHIFT: u32 = 34;
const PLACE_SHIFT: u32 = 21;
/// Bits of a position in a page, in units.
const UNIT_BITS: u32 = 11;
/// Free lists off the slab lie at multiples of this: kmalloc's objects do.
pub(super) const PLACE_UNIT: usize = 32;
/// So many colours can be told where the free list is off the slab.
pub(super) const COLOURS_OFF: u64 = 8;

/// Which list of its node a slab is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Listed {
    /// None: it is being made or given back.
    Nowhere,
    /// Those of which some objects are out.
    Partial,
    /// All.
    Full,
    /// None.
    Free,
}

/// The word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SlabWord(u64);

impl SlabWord {
    /// Of a new slab with its free list in itself.
    pub(super) const fn new(colour: u32) -> Self {
        Self((colour as u64 & 0xffff) << COLOUR_SHIFT)
    }

    /// Of a new slab with its free list at a unit of a frame.
    pub(super) const fn off_slab(colour: u32, frame: FrameIdx, unit: usize) -> Self {
        let place = (frame.get() as u64) << UNIT_BITS | unit as u64;
        Self((colour as u64 & (COLOURS_OFF - 1)) << COLOUR_SHIFT | place << PLACE_SHIFT)
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// How many objects are out.
    pub(super) const fn out(self) -> u32 {
        self.0 as u16 as u32
    }

    #[must_use]
    pub(super) const fn with_out(self, out: u32) -> Self {
        Self(self.0 & !0xffff | out as u64 & 0xffff)
    }

    pub(super) const fn listed(self) -> Listed {
        match (self.0 >> LIST_SHIFT) & 3 {
            1 => Listed::Partial,
            2 => Listed::Full,
            3 => Listed::Free,
            _ => Listed::Nowhere,
        }
    }

    #[must_use]
    pub(super) const fn with_listed(self, listed: Listed) -> Self {
        let bits = match listed {
            Listed::Nowhere => 0,
            Listed::Partial => 1,
            Listed::Full => 2,
            Listed::Free => 3,
        };
        Self(self.0 & !(3 << LIST_SHIFT) | bits << LIST_SHIFT)
    }

    /// The colour of a slab that has its free list in itself.
    pub(super) const fn colour(self) -> u32 {
        (self.0 >> COLOUR_SHIFT) as u16 as u32
    }

    /// Of one that has it elsewhere.
    pub(super) const fn colour_off_slab(self) -> u32 {
        ((self.0 >> COLOUR_SHIFT) & (COLOURS_OFF - 1)) as u32
    }

    /// The free list's frame and unit, where it is off the slab.
    pub(super) const fn place(self) -> (u32, usize) {
        let place = self.0 >> PLACE_SHIFT;
        ((place >> UNIT_BITS) as u32, (place & ((1 << UNIT_BITS) - 1)) as usize)
    }

    /// The number of the free object that has the free list, where one has.
    pub(super) const fn holder(self) -> u32 {
        (self.0 >> HOLDER_SHIFT) as u16 as u32
    }

    #[must_use]
    pub(super) const fn with_holder(self, number: u32) -> Self {
        Self(self.0 & !(0xffff << HOLDER_SHIFT) | (number as u64 & 0xffff) << HOLDER_SHIFT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_word_do_not_touch_each_other() {
        let frame = FrameIdx::new(0xffff_fffe);
        for listed in [Listed::Nowhere, Listed::Partial, Listed::Full, Listed::Free] {
            let word = SlabWord::new(0xffff).with_out(0xffff).with_holder(0xfffe).with_listed(listed);
            assert_eq!((word.colour(), word.out(), word.holder()), (0xffff, 0xffff, 0xfffe));
            assert_eq!((word.listed(), word.with_out(1).out(), word.with_holder(0).holder()), (listed, 1, 0));
            let word = SlabWord::off_slab(7, frame, 2047).with_out(255).with_listed(listed);
            assert_eq!((word.colour_off_slab(), word.out(), word.listed()), (7, 255, listed));
            assert_eq!(word.place(), (frame.get(), 2047));
        }
    }
}
