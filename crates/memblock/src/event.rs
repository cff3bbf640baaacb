//! What memblock did, as values; and how Linux's log words it.
//!
//! A [`Sink`] gets every operation as an [`Event`]: those that Linux prints under `memblock=debug`, those that
//! it prints always, and the state changes about which Linux is silent. `event.line(width)` renders the text.
//! Linux's `%pS` ends in `+offset/size` of the caller; an event knows the caller's name only.

use crate::{AddrWidth, Flags, Set};
use core::fmt;
use pagewright_addr::{NodeId, PhysAddr, PhysRange};

/// Receives events. Sinks use interior mutability; events come in the order in which Linux prints them.
pub trait Sink {
    /// Called once for each operation, before its effect unless the variant says otherwise.
    fn event(&self, event: &Event);
}

/// A sink that drops everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Sink for Quiet {
    fn event(&self, _: &Event) {}
}

/// The entry points that share one log format.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AllocVariant {
    /// `memblock_alloc_try_nid`: zeroed memory.
    Plain,
    /// `memblock_alloc_try_nid_raw`: not zeroed.
    Raw,
    /// `memblock_alloc_exact_nid_raw`: not zeroed, no other node will do.
    ExactRaw,
}

impl AllocVariant {
    /// Linux's name of the function.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "memblock_alloc_try_nid",
            Self::Raw => "memblock_alloc_try_nid_raw",
            Self::ExactRaw => "memblock_alloc_exact_nid_raw",
        }
    }
}

/// How Linux treats an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Printed {
    /// Under `memblock=debug`.
    Debug,
    /// In every log.
    Always,
    /// Never.
    Silent,
}

/// One operation with its operands.
///
/// `range` holds what the log shows: its end is `base + size` computed in the machine's `phys_addr_t`, so it
/// may lie at or below its start (an empty range prints an end one below its start, a size of `ULLONG_MAX`
/// wraps around), exactly as in Linux's lines. `caller` is the name of the function that asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the operands are those of the Linux function that each variant names")]
pub enum Event {
    /// `memblock_add`.
    Add { range: PhysRange, caller: &'static str },
    /// `memblock_add_node`.
    AddNode { range: PhysRange, nid: i32, flags: Flags, caller: &'static str },
    /// `memblock_physmem_add`.
    PhysmemAdd { range: PhysRange, caller: &'static str },
    /// `memblock_remove`.
    Remove { range: PhysRange, caller: &'static str },
    /// `memblock_reserve`, also as the second half of every allocation.
    Reserve { range: PhysRange, caller: &'static str },
    /// `memblock_phys_free`.
    Free { range: PhysRange, caller: &'static str },
    /// `memblock_phys_alloc_range`.
    PhysAllocRange { size: u64, align: u64, min: PhysAddr, max: PhysAddr, caller: &'static str },
    /// `memblock_alloc_try_nid` and its relatives.
    AllocTryNid {
        variant: AllocVariant,
        size: u64,
        align: u64,
        nid: Option<NodeId>,
        min: PhysAddr,
        max: PhysAddr,
        caller: &'static str,
    },
    /// `memblock_alloc_range_nid` and `memblock_phys_alloc_try_nid` when they are called as such: of these Linux logs the
    /// reservation only.
    AllocRangeNid {
        size: u64,
        align: u64,
        start: PhysAddr,
        end: PhysAddr,
        nid: Option<NodeId>,
        exact_nid: bool,
        caller: &'static str,
    },
    /// `memblock_double_array` found room: `range` is the new array without the padding to whole pages.
    Doubled { which: Set, new_max: usize, range: PhysRange },
    /// `memblock_double_array` found none.
    DoubleFailed { which: Set, max: usize, new_max: usize },
    /// Mirrored memory ran out; the search goes on among all memory.
    MirrorFallback { size: u64 },
    /// `memblock_cap_memory_range` before any memory was added.
    CapWithoutMemory,
    /// `memblock_cap_memory_range`, and what builds on it.
    Capped { range: PhysRange, caller: &'static str },
    /// `memblock_enforce_memory_limit` cut all above this address.
    LimitEnforced { max: PhysAddr, caller: &'static str },
    /// `memblock_set_node`.
    SetNode { range: PhysRange, which: Set, nid: Option<NodeId>, caller: &'static str },
    /// The mark and clear functions.
    SetFlag { range: PhysRange, flag: Flags, set: bool, caller: &'static str },
    /// `memblock_set_current_limit`.
    CurrentLimit { limit: PhysAddr, caller: &'static str },
    /// `memblock_set_bottom_up`.
    BottomUp { enable: bool, caller: &'static str },
    /// `memblock_allow_resize`.
    AllowResize { caller: &'static str },
    /// `memblock_trim_memory`.
    Trim { align: u64, caller: &'static str },
    /// `memblock_free_all` gave this many pages to the page allocator (sent afterwards).
    FreeAll { pages: u64, caller: &'static str },
    /// `memblock_discard`.
    Discard { caller: &'static str },
    /// An allocation failed: Linux's callers see the error, its log does not.
    Exhausted { size: u64, align: u64, caller: &'static str },
}

impl Event {
    /// Whether and when Linux prints a line for this.
    pub const fn printed(&self) -> Printed {
        match self {
            Self::Add { .. }
            | Self::AddNode { .. }
            | Self::PhysmemAdd { .. }
            | Self::Remove { .. }
            | Self::Reserve { .. }
            | Self::Free { .. }
            | Self::PhysAllocRange { .. }
            | Self::AllocTryNid { .. }
            | Self::Doubled { .. } => Printed::Debug,
            Self::DoubleFailed { .. } | Self::MirrorFallback { .. } | Self::CapWithoutMemory => {
                Printed::Always
            }
            _ => Printed::Silent,
        }
    }

    /// Whether Linux prints a line for this under `memblock=debug`.
    pub const fn is_logged(&self) -> bool {
        !matches!(self.printed(), Printed::Silent)
    }

    /// The text of the line, without time stamp and newline. Silent events get a line in the same manner.
    pub const fn line(&self, width: AddrWidth) -> EventLine<'_> {
        EventLine { event: self, width }
    }
}

/// An address as `%pa` prints it.
pub(crate) struct Addr(pub(crate) u64, pub(crate) AddrWidth);

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#0digits$x}", self.0 & self.1.max_addr(), digits = self.1.digits())
    }
}

/// Renders an [`Event`]; made by [`Event::line`].
#[derive(Clone, Copy, Debug)]
pub struct EventLine<'e> {
    event: &'e Event,
    width: AddrWidth,
}

impl EventLine<'_> {
    fn addr(&self, a: PhysAddr) -> Addr {
        Addr(a.get(), self.width)
    }

    /// `[first-last]`, both inclusive, wrapped as the kernel's arithmetic does.
    fn span(&self, f: &mut fmt::Formatter<'_>, r: &PhysRange) -> fmt::Result {
        write!(f, "[{}-{}]", self.addr(r.start), Addr(r.end.get().wrapping_sub(1), self.width))
    }

    fn ranged(&self, f: &mut fmt::Formatter<'_>, name: &str, r: &PhysRange, caller: &str) -> fmt::Result {
        write!(f, "{name}: ")?;
        self.span(f, r)?;
        write!(f, " {caller}")
    }
}

/// The function that sets or clears this flag.
const fn flag_function(flag: Flags, set: bool) -> &'static str {
    match (flag.bits(), set) {
        (1, true) => "memblock_mark_hotplug",
        (1, false) => "memblock_clear_hotplug",
        (2, _) => "memblock_mark_mirror",
        (4, true) => "memblock_mark_nomap",
        (4, false) => "memblock_clear_nomap",
        (_, true) => "memblock_mark",
        (_, false) => "memblock_clear",
    }
}

impl fmt::Display for EventLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nid_of = |nid: &Option<NodeId>| crate::region::node_number(*nid);
        match self.event {
            Event::Add { range, caller } => self.ranged(f, "memblock_add", range, caller),
            Event::AddNode { range, nid, flags, caller } => {
                f.write_str("memblock_add_node: ")?;
                self.span(f, range)?;
                write!(f, " nid={nid} flags={:x} {caller}", flags.bits())
            }
            Event::PhysmemAdd { range, caller } => self.ranged(f, "memblock_physmem_add", range, caller),
            Event::Remove { range, caller } => self.ranged(f, "memblock_remove", range, caller),
            Event::Reserve { range, caller } => self.ranged(f, "memblock_reserve", range, caller),
            Event::Free { range, caller } => self.ranged(f, "memblock_phys_free", range, caller),
            Event::PhysAllocRange { size, align, min, max, caller } => write!(
                f,
                "memblock_phys_alloc_range: {size} bytes align={align:#x} from={} max_addr={} {caller}",
                self.addr(*min),
                self.addr(*max)
            ),
            Event::AllocTryNid { variant, size, align, nid, min, max, caller } => write!(
                f,
                "{}: {size} bytes align={align:#x} nid={} from={} max_addr={} {caller}",
                variant.name(),
                nid_of(nid),
                self.addr(*min),
                self.addr(*max)
            ),
            Event::AllocRangeNid { size, align, start, end, nid, exact_nid, caller } => write!(
                f,
                "memblock_alloc_range_nid: {size} bytes align={align:#x} nid={} from={} max_addr={}{} {caller}",
                nid_of(nid),
                self.addr(*start),
                self.addr(*end),
                if *exact_nid { " exact" } else { "" }
            ),
            Event::Doubled { which, new_max, range } => {
                write!(f, "memblock: {which} is doubled to {new_max} at ")?;
                self.span(f, range)
            }
            Event::DoubleFailed { which, max, new_max } => {
                write!(f, "memblock: Failed to double {which} array from {max} to {new_max} entries !")
            }
            Event::MirrorFallback { size } => {
                write!(f, "Could not allocate {} bytes of mirrored memory", Addr(*size, self.width))
            }
            Event::CapWithoutMemory => f.write_str("memblock_cap_memory_range: No memory registered yet"),
            Event::Capped { range, caller } => self.ranged(f, "memblock_cap_memory_range", range, caller),
            Event::LimitEnforced { max, caller } => {
                write!(f, "memblock_enforce_memory_limit: max_addr={} {caller}", self.addr(*max))
            }
            Event::SetNode { range, which, nid, caller } => {
                f.write_str("memblock_set_node: ")?;
                self.span(f, range)?;
                write!(f, " {which} nid={} {caller}", nid_of(nid))
            }
            Event::SetFlag { range, flag, set, caller } => {
                self.ranged(f, flag_function(*flag, *set), range, caller)
            }
            Event::CurrentLimit { limit, caller } => {
                write!(f, "memblock_set_current_limit: {} {caller}", self.addr(*limit))
            }
            Event::BottomUp { enable, caller } => write!(f, "memblock_set_bottom_up: {enable} {caller}"),
            Event::AllowResize { caller } => write!(f, "memblock_allow_resize: {caller}"),
            Event::Trim { align, caller } => write!(f, "memblock_trim_memory: align={align:#x} {caller}"),
            Event::FreeAll { pages, caller } => write!(f, "memblock_free_all: {pages} pages {caller}"),
            Event::Discard { caller } => write!(f, "memblock_discard: {caller}"),
            Event::Exhausted { size, align, caller } => {
                write!(f, "memblock: no memory for {size} bytes align={align:#x} {caller}")
            }
        }
    }
}
