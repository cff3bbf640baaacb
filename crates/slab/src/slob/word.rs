//! What the page metadata says about a page of blocks: the `data` word of its frame.
//!
//! ```text
//!  63            50 49   48 47          32 31          16 15            0
//! +----------------+-------+--------------+--------------+---------------+
//! |                | list  |              | free units   | first free    |
//! +----------------+-------+--------------+--------------+---------------+
//! ```
//! *First free* is in units from the page's start, the page's end if nothing is free.

/// Which of the lists a page is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Listed {
    /// None: nothing in it is free, or its free blocks were damaged.
    Nowhere,
    /// What was put there first had fewer than 256 bytes.
    Small,
    /// Fewer than 1024.
    Medium,
    /// More.
    Large,
}

impl Listed {
    /// Where requests of a size look, and where pages go of which such a block is the first that is free.
    pub(super) const fn of(bytes: usize) -> Self {
        match bytes {
            0..256 => Self::Small,
            256..1024 => Self::Medium,
            _ => Self::Large,
        }
    }

    /// The number of a list.
    pub(super) const fn index(self) -> Option<usize> {
        match self {
            Self::Nowhere => None,
            Self::Small => Some(0),
            Self::Medium => Some(1),
            Self::Large => Some(2),
        }
    }
}

/// The word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PageWord {
    pub(super) first: usize,
    pub(super) free: usize,
    pub(super) listed: Listed,
}

impl PageWord {
    pub(super) const fn from_bits(bits: u64) -> Self {
        let listed = match (bits >> 48) & 3 {
            1 => Listed::Small,
            2 => Listed::Medium,
            3 => Listed::Large,
            _ => Listed::Nowhere,
        };
        Self { first: bits as u16 as usize, free: (bits >> 16) as u16 as usize, listed }
    }

    pub(super) const fn bits(self) -> u64 {
        let listed = match self.listed {
            Listed::Nowhere => 0,
            Listed::Small => 1,
            Listed::Medium => 2,
            Listed::Large => 3,
        };
        self.first as u64 | (self.free as u64) << 16 | listed << 48
    }
}
