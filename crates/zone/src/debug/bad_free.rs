//! What must not be freed by number.

use crate::alloc::compact::CHAINED;
use core::fmt;
use pagewright_addr::{Order, Pfn};
use pagewright_page::{FrameIdx, PageFlags, PageMap, State, Word};

/// Why a page was not freed. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadFree {
    /// There is no such frame.
    NoFrame(Pfn),
    /// It is free already.
    DoubleFree(Pfn),
    /// It lies in a CPU's list, so it is free already; or whoever owns it does not go by numbers.
    NotByNumber(Pfn),
    /// It was taken before the page allocator existed.
    Reserved(Pfn),
    /// It lies inside a block or compound page.
    Tail {
        /// The frame.
        pfn: Pfn,
        /// The first of the block.
        head: Pfn,
    },
    /// It heads a block of another order.
    Order {
        /// The frame.
        pfn: Pfn,
        /// The block's order.
        allocated: Order,
        /// The order it was to be freed with.
        freed: Order,
    },
    /// A tail of the compound page does not lead to its head, or somebody refers to it or maps it.
    TornTail {
        /// The tail.
        pfn: Pfn,
        /// The head.
        head: Pfn,
    },
    /// It is a compound page, which is freed whole and not split.
    Compound(Pfn, Order),
    /// It is in another use.
    InUse(Pfn, State),
    /// It has flags that no free page has.
    Flags(Pfn, PageFlags),
    /// Others refer to it or map it.
    Referenced {
        /// The frame.
        pfn: Pfn,
        /// References, that of whoever frees it included.
        references: u32,
        /// Page-table entries that map it.
        mappings: u32,
    },
}

impl BadFree {
    /// The frame.
    pub const fn pfn(&self) -> Pfn {
        match *self {
            Self::NoFrame(pfn)
            | Self::DoubleFree(pfn)
            | Self::NotByNumber(pfn)
            | Self::Reserved(pfn)
            | Self::InUse(pfn, _)
            | Self::Flags(pfn, _)
            | Self::Tail { pfn, .. }
            | Self::TornTail { pfn, .. }
            | Self::Compound(pfn, _)
            | Self::Order { pfn, .. }
            | Self::Referenced { pfn, .. } => pfn,
        }
    }
}

impl fmt::Display for BadFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BUG: Bad page state pfn:{:05x}: ", self.pfn().get())?;
        match self {
            Self::NoFrame(_) => f.write_str("no such frame"),
            Self::DoubleFree(_) => f.write_str("double free"),
            Self::NotByNumber(_) => f.write_str("double free, or not allocated by number"),
            Self::Reserved(_) => f.write_str("free of a reserved page"),
            Self::Tail { head, .. } => write!(f, "free of a tail page, the head is {:05x}", head.get()),
            Self::TornTail { head, .. } => {
                write!(f, "corrupted or mapped tail page, the head is {:05x}", head.get())
            }
            Self::Compound(_, order) => write!(f, "compound page of order {} is not split", order.get()),
            Self::Order { allocated, freed, .. } => {
                write!(f, "wrong order: allocated with {}, freed with {}", allocated.get(), freed.get())
            }
            Self::InUse(_, state) => write!(f, "in use: {state:?}"),
            Self::Flags(_, flags) => write!(f, "flags that no free page has: {flags:?}"),
            Self::Referenced { references, mappings, .. } => {
                write!(f, "nonzero _refcount or mapcount: {references} references, {mappings} mappings")
            }
        }
    }
}

impl core::error::Error for BadFree {}

/// The head of the block that a frame lies inside of, as far as heads tell.
fn head_of(map: &PageMap<'_>, idx: FrameIdx) -> Option<(FrameIdx, Word)> {
    if map.is_tail(idx) {
        let head = map.compound_head(idx);
        return Some((head, map.word(head)));
    }
    let mut orders = (1..=map.sections().align().get()).filter_map(Order::new);
    orders.find_map(|order| {
        let head = idx.align_down(order);
        let word = map.word(head);
        let inner = matches!(word.state(), State::Inner | State::Tail);
        (head != idx && !inner).then_some((head, word))
    })
}

/// Checks that a block that was allocated by number may be freed.
pub(crate) fn check(map: &PageMap<'_>, pfn: Pfn, freed: Order) -> Result<FrameIdx, BadFree> {
    let idx = map.idx(pfn).ok_or(BadFree::NoFrame(pfn))?;
    let word = map.word(idx);
    match word.state() {
        // On its way from one place to another, and nobody's.
        State::Kernel if map.owner(idx) == CHAINED => return Err(BadFree::DoubleFree(pfn)),
        State::Kernel => {}
        State::Free | State::Pristine => return Err(BadFree::DoubleFree(pfn)),
        State::Owned => return Err(BadFree::NotByNumber(pfn)),
        State::Reserved => return Err(BadFree::Reserved(pfn)),
        State::Inner | State::Tail => {
            return Err(match head_of(map, idx) {
                Some((_, word)) if word.is(State::Free) => BadFree::DoubleFree(pfn),
                Some((_, word)) if word.is(State::Owned) => BadFree::NotByNumber(pfn),
                Some((head, _)) => BadFree::Tail { pfn, head: map.pfn(head) },
                None => BadFree::NotByNumber(pfn),
            });
        }
        state => return Err(BadFree::InUse(pfn, state)),
    }
    if word.order() != freed {
        return Err(BadFree::Order { pfn, allocated: word.order(), freed });
    }
    let (references, mappings) = (map.refcount(idx), map.mapcount(idx));
    if references > 1 || mappings > 0 {
        return Err(BadFree::Referenced { pfn, references, mappings });
    }
    if !word.flags().is_empty() {
        return Err(BadFree::Flags(pfn, word.flags()));
    }
    if map.is_head(idx)
        && let Err(tail) = map.check_tails(idx, freed)
    {
        return Err(BadFree::TornTail { pfn: map.pfn(tail), head: pfn });
    }
    Ok(idx)
}
