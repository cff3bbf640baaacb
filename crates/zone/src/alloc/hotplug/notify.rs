//! Who is told when memory comes and goes, and may refuse (`register_memory_notifier`).

use super::HotplugError;
use crate::watermark::MinFreeKept;
use crate::zonelist::BuiltLine;
use core::fmt;
use pagewright_addr::{NodeId, PfnRange};

/// What happens to memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemoryEvent {
    /// It is about to come (MEM_GOING_ONLINE); may be refused.
    GoingOnline,
    /// It does not (MEM_CANCEL_ONLINE).
    CancelOnline,
    /// It is there (MEM_ONLINE).
    Online,
    /// It is about to go (MEM_GOING_OFFLINE): caches of it should be given up. May be refused.
    GoingOffline,
    /// It stays (MEM_CANCEL_OFFLINE).
    CancelOffline,
    /// It is gone (MEM_OFFLINE).
    Offline,
}

/// What it happens to (`struct memory_notify`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryNotify {
    /// The frames.
    pub pfns: PfnRange,
    /// The node whose first memory comes or whose last goes, if it is so.
    pub status_change_nid: Option<NodeId>,
}

/// A line of the kernel log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HotplugLine {
    /// It did not work.
    Failed(HotplugError),
    /// Fallback orders were built anew.
    Built(BuiltLine),
    /// The administrator's min_free_kbytes stands.
    MinFreeKept(MinFreeKept),
    /// So many pages went offline.
    Offlined(u64),
}

impl fmt::Display for HotplugLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(e) => e.fmt(f),
            Self::Built(line) => line.fmt(f),
            Self::MinFreeKept(line) => line.fmt(f),
            Self::Offlined(pages) => write!(f, "Offlined Pages {pages}"),
        }
    }
}

/// Users of memory by node or by frame: slab caches, the swap and page-extension code, drivers of balloons. No lock of the allocator is held.
pub trait HotplugNotifier {
    /// Something happens to memory. Answers of the two "going" events count; the others cannot be refused.
    ///
    /// Whoever is asked and agreed is told when it is cancelled, and so is who refused.
    ///
    /// # Errors
    /// Linux's number, negative.
    fn notify(&self, event: MemoryEvent, what: &MemoryNotify) -> Result<(), i32> {
        let _ = (event, what);
        Ok(())
    }

    /// A line for the log.
    fn say(&self, line: &HotplugLine) {
        let _ = line;
    }
}

/// Nobody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNotifier;

impl HotplugNotifier for NoNotifier {}
