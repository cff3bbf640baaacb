//! The state word of a frame as a plain value, and the transitions between its states.
//!
//! Pure: [`crate::map`] applies these functions to the atomic word in a slot. All zeroes is
//! [`State::Pristine`], so metadata in lazily zeroed memory needs no writing before its frame is used.
//!
//! ```text
//!  31                                   9 8     5 4     0
//! +--------------------------------------+-------+-------+
//! | flags (PageFlags)                    | order | state |
//! +--------------------------------------+-------+-------+
//! ```

use bitflags::bitflags;
use core::fmt;
use pagewright_addr::Order;

const STATE_BITS: u32 = 5;
const ORDER_BITS: u32 = 4;
const STATE_MASK: u32 = (1 << STATE_BITS) - 1;
const ORDER_MASK: u32 = (1 << ORDER_BITS) - 1;

const _: () = assert!(Order::LIMIT <= 1 << ORDER_BITS);
const _: () = assert!(PageFlags::all().bits() & (STATE_MASK | (ORDER_MASK << STATE_BITS)) == 0);

/// What a frame is. The numbers are those in the word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum State {
    /// The metadata was never written. A [`crate::Pristine`] token covers the frame.
    Pristine = 0,
    /// Not the first frame of its block: the block's head is at a lower index and says what the block is.
    Inner = 1,
    /// A tail of a compound page; `next` leads to the head (PageTail).
    Tail = 2,
    /// The head of a free block of the word's order in a buddy list (PageBuddy).
    Free = 3,
    /// The first frame of a [`crate::Frames`] token; the token knows how many follow. An order that is not 0 is that of the compound
    /// page it heads.
    Owned = 4,
    /// Taken before the page allocator existed (PageReserved); each frame by itself.
    Reserved = 5,
    /// Handed out by number or address, `__free_pages` style.
    Kernel = 6,
    /// Belongs to a slab cache (PageSlab); `owner` is the cache.
    Slab = 7,
    /// A page-table page (PageTable).
    PageTable = 8,
    /// Anonymous memory (PageAnon); `owner` is the anon root.
    Anon = 9,
    /// Page cache; `owner` is the mapping.
    File = 10,
    /// Device memory in ZONE_DEVICE; `owner` is the device's pagemap.
    Device = 11,
    /// A huge page of the hugetlb pools.
    Hugetlb = 12,
    /// Movable memory of a driver (balloon, zsmalloc); `owner` has the operations.
    Movable = 13,
    /// Logically offline (PageOffline).
    Offline = 14,
    /// Unmapped to catch stray accesses (PageGuard).
    Guard = 15,
    /// Known to be faulty and never used again.
    Poisoned = 16,
}

impl State {
    const ALL: [Self; 17] = [
        Self::Pristine,
        Self::Inner,
        Self::Tail,
        Self::Free,
        Self::Owned,
        Self::Reserved,
        Self::Kernel,
        Self::Slab,
        Self::PageTable,
        Self::Anon,
        Self::File,
        Self::Device,
        Self::Hugetlb,
        Self::Movable,
        Self::Offline,
        Self::Guard,
        Self::Poisoned,
    ];
}

/// A use that frames can be deposited under: their token is given up, and comes back by
/// [`crate::PageMap::withdraw`]. Blocks in per-CPU lists are none of them: their tokens are in a [`crate::Rack`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Use {
    /// See [`State::Kernel`].
    Kernel,
    /// See [`State::Slab`].
    Slab,
    /// See [`State::PageTable`].
    PageTable,
    /// See [`State::Anon`].
    Anon,
    /// See [`State::File`].
    File,
    /// See [`State::Device`].
    Device,
    /// See [`State::Hugetlb`].
    Hugetlb,
    /// See [`State::Movable`].
    Movable,
    /// See [`State::Offline`].
    Offline,
    /// See [`State::Guard`].
    Guard,
    /// See [`State::Poisoned`].
    Poisoned,
}

impl Use {
    /// The state of a block under this use.
    pub const fn state(self) -> State {
        match self {
            Self::Kernel => State::Kernel,
            Self::Slab => State::Slab,
            Self::PageTable => State::PageTable,
            Self::Anon => State::Anon,
            Self::File => State::File,
            Self::Device => State::Device,
            Self::Hugetlb => State::Hugetlb,
            Self::Movable => State::Movable,
            Self::Offline => State::Offline,
            Self::Guard => State::Guard,
            Self::Poisoned => State::Poisoned,
        }
    }
}

bitflags! {
    /// Flags of a frame in use, by Linux's names (`PG_*`). What Linux says with a flag and this
    /// library says with the state (reserved, slab, head) has none; `young` and `idle` are a side array.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct PageFlags: u32 {
        /// Locked for I/O or truncation.
        const LOCKED = 1 << 9;
        /// Somebody waits for the lock or for write-back.
        const WAITERS = 1 << 10;
        /// Accessed since it was last looked at.
        const REFERENCED = 1 << 11;
        /// The contents are valid.
        const UPTODATE = 1 << 12;
        /// Differs from its backing store.
        const DIRTY = 1 << 13;
        /// Being written to its backing store.
        const WRITEBACK = 1 << 14;
        /// On an LRU list.
        const LRU = 1 << 15;
        /// On the active list.
        const ACTIVE = 1 << 16;
        /// Part of the working set when it was last evicted.
        const WORKINGSET = 1 << 17;
        /// To be reclaimed as soon as write-back ends; readahead marker on reading.
        const RECLAIM = 1 << 18;
        /// Backed by swap.
        const SWAPBACKED = 1 << 19;
        /// In the swap cache (PG_owner_priv_1 of an anonymous page).
        const SWAPCACHE = 1 << 20;
        /// On the unevictable list.
        const UNEVICTABLE = 1 << 21;
        /// Locked in memory by a mapping.
        const MLOCKED = 1 << 22;
        /// A memory error was reported for it.
        const HWPOISON = 1 << 23;
        /// Mapped by one process only: writes need no copy.
        const ANON_EXCLUSIVE = 1 << 24;
        /// The owner keeps something in `data` (buffers, swap entry).
        const PRIVATE = 1 << 25;
        /// For the architecture (caches are clean, memory tags are set).
        const ARCH_1 = 1 << 26;
        /// Multi-generational LRU: the generation plus one, low bit; 0 is "in no generation".
        const LRU_GEN_0 = 1 << 27;
        /// Middle bit of the generation.
        const LRU_GEN_1 = 1 << 28;
        /// High bit of the generation.
        const LRU_GEN_2 = 1 << 29;
        /// Multi-generational LRU: accesses through file descriptors, low bit.
        const LRU_REFS_0 = 1 << 30;
        /// High bit of those accesses.
        const LRU_REFS_1 = 1 << 31;
    }
}

/// The state word as a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Word(u32);

impl Word {
    /// Of a frame whose metadata was never written.
    pub const PRISTINE: Self = Self(0);
    /// Of a frame inside a block.
    pub const INNER: Self = Self::head(State::Inner, Order::ZERO);
    /// Of a token's first frame.
    pub const OWNED: Self = Self::head(State::Owned, Order::ZERO);
    /// Of a compound page's tail.
    pub const TAIL: Self = Self::head(State::Tail, Order::ZERO);
    /// Of a reserved frame.
    pub const RESERVED: Self = Self::head(State::Reserved, Order::ZERO);

    /// The head of a block, without flags.
    pub const fn head(state: State, order: Order) -> Self {
        Self(state as u32 | ((order.get() as u32) << STATE_BITS))
    }

    /// Of a free block's head.
    pub const fn free(order: Order) -> Self {
        Self::head(State::Free, order)
    }

    /// From the stored bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits to store.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// What the frame is.
    ///
    /// # Panics
    /// If the word holds a number that is no state: the metadata was overwritten from outside this crate.
    pub fn state(self) -> State {
        match self.known_state() {
            Some(state) => state,
            None => panic!("page metadata is corrupt: state word {:#x} holds no known state", self.0),
        }
    }

    /// The same, or `None` for a number that is no state.
    pub(crate) fn known_state(self) -> Option<State> {
        State::ALL.get((self.0 & STATE_MASK) as usize).copied()
    }

    /// Whether the frame is in `state`; cheaper than [`Self::state`].
    pub const fn is(self, state: State) -> bool {
        self.0 & STATE_MASK == state as u32
    }

    /// The order of the block that this frame heads; meaningful for [`State::Free`] and the uses.
    pub const fn order(self) -> Order {
        match Order::new(((self.0 >> STATE_BITS) & ORDER_MASK) as u8) {
            Some(order) => order,
            None => Order::ZERO,
        }
    }

    /// The flags.
    pub const fn flags(self) -> PageFlags {
        PageFlags::from_bits_truncate(self.0)
    }

    /// The free block's order, if the frame heads one.
    pub const fn free_order(self) -> Option<Order> {
        if self.is(State::Free) { Some(self.order()) } else { None }
    }

    /// Deposited under `usage` to owned, with the deposited order; flags are dropped.
    pub const fn withdraw(self, usage: Use) -> Option<(Self, Order)> {
        if self.is(usage.state()) { Some((Self::OWNED, self.order())) } else { None }
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known_state() {
            Some(state) => write!(f, "{state:?} order {}", self.order().get())?,
            None => write!(f, "state word {:#x}", self.0)?,
        }
        if !self.flags().is_empty() {
            write!(f, " {:?}", self.flags())?;
        }
        Ok(())
    }
}
