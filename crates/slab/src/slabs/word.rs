//! What the page metadata says about a slab, as a plain value: the `data` word of its first frame.
//!
//! ```text
//!  63      58 57 56 55 54     48 47      38 37           22 21            0
//! +----------+-----+-----+------+----------+---------------+---------------+
//! |          | list      |      | node     | objects out   | first free    |
//! +----------+-----+-----+------+----------+---------------+---------------+
//! ```
//! *First free* is the free object's distance from the slab's start in units of 8 bytes; all ones is none. *Objects out* are those that are not in the
//! slab's own list: in use, or with a processor.

use pagewright_addr::NodeId;

const NONE: u64 = (1 << 22) - 1;
const OUT_SHIFT: u32 = 22;
const NODE_SHIFT: u32 = 38;
const LIST_SHIFT: u32 = 55;
const OUT_MASK: u64 = 0xffff << OUT_SHIFT;
const LIST_MASK: u64 = 3 << LIST_SHIFT;
/// Objects lie at multiples of this.
const UNIT: usize = 8;
/// Objects begin below this distance from their slab's start: all ones stands for none.
pub(crate) const REACH: u64 = NONE * UNIT as u64;

/// Which list of its node a slab is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listed {
    /// None: it is being made or given back.
    Nowhere,
    /// Those with free objects.
    Partial,
    /// Those without.
    Full,
    /// None: a processor has it, and it alone takes objects from it ([`super::cpu_slab`]).
    Frozen,
}

/// The word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlabWord(u64);

impl SlabWord {
    /// Of a new slab on a node: all of its objects are out.
    pub(crate) fn new(node: NodeId, objects: u32) -> Self {
        Self(NONE | u64::from(objects) << OUT_SHIFT | (node.index() as u64) << NODE_SHIFT)
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// The first free object's distance from the slab's start, in bytes.
    pub(crate) const fn first_free(self) -> Option<usize> {
        match self.0 & NONE {
            NONE => None,
            units => Some(units as usize * UNIT),
        }
    }

    /// Whether what has no meaning is 0.
    pub(crate) const fn is_sound(self) -> bool {
        self.0 & !(NONE | OUT_MASK | 0x3ff << NODE_SHIFT | LIST_MASK) == 0
    }

    /// How many objects are not in the slab's own list.
    pub(crate) const fn out(self) -> u32 {
        ((self.0 & OUT_MASK) >> OUT_SHIFT) as u32
    }

    pub(crate) const fn node(self) -> usize {
        (self.0 >> NODE_SHIFT) as usize & 0x3ff
    }

    pub(crate) const fn listed(self) -> Listed {
        match (self.0 & LIST_MASK) >> LIST_SHIFT {
            1 => Listed::Partial,
            2 => Listed::Full,
            3 => Listed::Frozen,
            _ => Listed::Nowhere,
        }
    }

    /// The list that a slab is in whose own list is such.
    pub(crate) const fn belongs(self) -> Listed {
        if self.first_free().is_some() { Listed::Partial } else { Listed::Full }
    }

    #[must_use]
    pub(crate) const fn with_listed(self, listed: Listed) -> Self {
        let bits = match listed {
            Listed::Nowhere => 0,
            Listed::Partial => 1,
            Listed::Full => 2,
            Listed::Frozen => 3,
        };
        Self(self.0 & !LIST_MASK | bits << LIST_SHIFT)
    }

    #[must_use]
    pub(crate) const fn with_first_free(self, offset: Option<usize>) -> Self {
        let units = match offset {
            Some(offset) => (offset / UNIT) as u64,
            None => NONE,
        };
        Self(self.0 & !NONE | units)
    }

    /// With `n` objects more out of its list.
    #[must_use]
    pub(crate) const fn lend(self, n: u32) -> Self {
        Self(self.0 + ((n as u64) << OUT_SHIFT))
    }

    /// With `n` objects fewer out. At least so many are.
    #[must_use]
    pub(crate) const fn take_back(self, n: u32) -> Self {
        Self(self.0 - ((n as u64) << OUT_SHIFT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_word_do_not_touch_each_other() {
        let node = NodeId::new(1023).unwrap();
        let new = SlabWord::new(node, 32_767);
        assert_eq!(
            (new.first_free(), new.out(), new.node(), new.listed()),
            (None, 32_767, 1023, Listed::Nowhere)
        );
        let last = REACH as usize - 8;
        let word = new.with_first_free(Some(last)).with_listed(Listed::Full).take_back(1);
        assert_eq!((word.first_free(), word.out(), word.node()), (Some(last), 32_766, 1023));
        assert_eq!(word.listed(), Listed::Full);
        let back = word.lend(1).with_first_free(None).with_listed(Listed::Nowhere);
        assert_eq!(back, new);
        assert!(new.is_sound() && word.is_sound());
        for bit in (48..55).chain(57..64) {
            assert!(!SlabWord::from_bits(word.bits() ^ 1 << bit).is_sound());
        }
        assert_eq!(SlabWord::from_bits(word.with_first_free(Some(0)).bits()).first_free(), Some(0));
    }
}
