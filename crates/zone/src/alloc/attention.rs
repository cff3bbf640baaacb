//! The word by which others reach a CPU: while it is zero, the CPU needs to look at nothing else.

use bitflags::bitflags;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

bitflags! {
    /// Why a CPU should not simply use its lists.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Reasons: u32 {
        /// Some zone is below its low watermark: allocations look at watermarks first.
        const PRESSURE = 1;
        /// An allocation is to fail.
        const FAULT = 2;
        /// Its lists, or those of some zones, should go back to the zones.
        const DRAIN = 4;
        /// Pages are looked at on their way out of the lists and back ([`crate::debug`]).
        const DEBUG = 8;
        /// Memory came or went: zones are tried in another order, or lists hold more or less.
        const ZONES = 0x10;
        /// Somebody is told of allocations and frees ([`PageEvents`](super::PageEvents)).
        const EVENTS = 0x20;
        /// Pages are charged for ([`set_accounting`](super::PageAllocator::set_accounting)).
        const ACCOUNT = 0x40;
        /// It gives lists back just now.
        const DRAINING = 0x80;
        /// What is freed is looked at before a list takes it ([`set_hardened`](super::PageAllocator::set_hardened)).
        const HARDENED = 1 << 31;
    }
}

impl Reasons {
    /// Those that freeing need not heed: the lowest bits, which a shift loses.
    pub const OF_ALLOCATION: Self = Self::PRESSURE.union(Self::FAULT);
    /// Those that allocations need not heed: the highest.
    pub const OF_FREEING: Self = Self::HARDENED;
}

// Shifts and not masks: where an instruction shifts one of its operands by the way they cost nothing.
const ALLOCATION_BITS: u32 = Reasons::OF_ALLOCATION.bits().trailing_ones();
const FREEING_BITS: u32 = Reasons::OF_FREEING.bits().leading_ones();
const _: () = assert!(Reasons::OF_ALLOCATION.bits().count_ones() == ALLOCATION_BITS);
const _: () = assert!(Reasons::OF_FREEING.bits().count_ones() == FREEING_BITS);

static NEVER_QUIET: Attention = Attention { word: AtomicU32::new(1 << 30) };

/// One CPU's word.
#[derive(Debug, Default)]
pub struct Attention {
    word: AtomicU32,
}

impl Attention {
    /// A word that always has a reason, whatever happens: of nobody, and nobody is told about it.
    pub(super) const NEVER_QUIET: &'static Self = &NEVER_QUIET;

    /// A word without reasons.
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(0) }
    }

    /// Whether there is no reason but those in `except`.
    #[inline]
    pub fn is_quiet(&self, except: Reasons) -> bool {
        self.word.load(Relaxed) & !except.bits() == 0
    }

    /// Whether allocations have to heed a reason: a number that is not 0.
    #[inline]
    pub fn for_allocation(&self) -> u32 {
        self.word.load(Relaxed) << FREEING_BITS
    }

    /// Whether who frees has to heed a reason: a number that is not 0.
    #[inline]
    pub fn for_freeing(&self) -> u32 {
        self.word.load(Relaxed) >> ALLOCATION_BITS
    }

    /// The reasons there are.
    pub fn reasons(&self) -> Reasons {
        Reasons::from_bits_truncate(self.word.load(Relaxed))
    }

    /// Posts a reason, from any CPU. What made it a reason is synchronised by other means (a zone's lock).
    pub fn post(&self, reasons: Reasons) {
        self.word.fetch_or(reasons.bits(), Relaxed);
    }

    /// Takes a reason back, or answers it; returns whether it was there.
    pub fn take(&self, reasons: Reasons) -> bool {
        self.word.fetch_and(!reasons.bits(), Relaxed) & reasons.bits() != 0
    }
}
