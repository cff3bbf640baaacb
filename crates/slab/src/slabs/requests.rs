//! Why a processor should not simply use its rows, and the gate before them. By itself, so that every order of its steps can be explored (`tests/loom`).

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicU32, compiler_fence};

/// Why a processor should not simply use its sheaves.
///
/// A word has the reasons, a gate tells whether there is any: the rows' places below its number may be used at once, so a look at it is also the check that
/// a place exists. The owner closes it while it uses a row, as interrupt handlers on the same processor find out; others who post a reason close it too.
/// The owner's store may undo that: then it learns of the reason with a later operation, at the latest with the next that no row serves, or a poll.
#[derive(Debug)]
pub(crate) struct Requests {
    word: AtomicU32,
    gate: AtomicU32,
}

/// The owner uses its rows.
const IN_USE: u32 = 0;
/// There is a reason. The one place below has no row: it is the cache of rooms itself.
const ASKED: u32 = 1;

impl Requests {
    /// Give everything back.
    pub(crate) const FLUSH: u32 = 1;
    /// An allocation is to fail.
    pub(crate) const FAULT: u32 = 2;
    /// The slow way has the processor's slabs to itself (`cpu_slab`): the owner's alone.
    const INSIDE: u32 = 4;

    /// None; the owner opens the gate with its first operation, unless it has no rows at all: then it is never inside.
    pub(super) const fn new(rows: usize) -> Self {
        let gate = if rows == 0 { IN_USE } else { ASKED };
        Self { word: AtomicU32::new(0), gate: AtomicU32::new(gate) }
    }

    #[inline(always)]
    pub(crate) fn has(&self, request: u32) -> bool {
        self.word.load(Relaxed) & request != 0
    }

    /// Whether there is none.
    #[inline(always)]
    pub(crate) fn is_quiet(&self) -> bool {
        self.word.load(Relaxed) == 0
    }

    /// The owner's slow way begins to use the processor's slabs; whether it may: no use is interrupted by this one.
    pub(crate) fn begin(&self) -> bool {
        // Nothing of what follows may move before it.
        self.word.fetch_or(Self::INSIDE, SeqCst) & Self::INSIDE == 0
    }

    /// That use ends.
    pub(crate) fn end(&self) {
        self.word.fetch_and(!Self::INSIDE, SeqCst);
    }

    /// Posts one, from any processor. Who takes it sees what the caller did before: what it is about.
    pub(crate) fn post(&self, request: u32) {
        self.word.fetch_or(request, Release);
        // While the owner is inside, the gate is closed already, and must say so.
        let _ = self.gate.fetch_update(Relaxed, Relaxed, |gate| (gate > ASKED).then_some(ASKED));
    }

    /// Takes one back, or is about to answer it; whether it was there. Looks at what it is about come after this, and see what all did before they posted
    /// it: whoever posts later finds it gone, and asks again. All changes of the word read what was there, so that none comes between a post and who takes it.
    pub(crate) fn take(&self, request: u32) -> bool {
        self.word.fetch_and(!request, Acquire) & request != 0
    }

    /// The owner comes in for the row of a place, if the gate is open that far: what is to be handed to [`Self::pass_out`].
    #[inline(always)]
    pub(super) fn pass_in(&self, at: usize) -> Option<u32> {
        let open = self.gate.load(Relaxed);
        if at >= open as usize {
            return None;
        }
        self.gate.store(IN_USE, Relaxed);
        // Nothing of what follows may move before the gate, or a handler would see it open and the row in between.
        compiler_fence(SeqCst);
        Some(open)
    }

    /// It has left the row, and opens the gate as far as it was.
    #[inline(always)]
    pub(super) fn pass_out(&self, open: u32) {
        compiler_fence(SeqCst);
        self.gate.store(open, Relaxed);
    }

    /// The owner comes in for all rows; not if it is inside already.
    #[inline]
    pub(super) fn enter(&self) -> bool {
        if self.gate.load(Relaxed) == IN_USE {
            return false;
        }
        self.gate.store(IN_USE, Relaxed);
        compiler_fence(SeqCst);
        true
    }

    /// It has left them, and opens the gate for so many rows, unless there is a reason not to.
    #[inline]
    pub(super) fn leave(&self, rows: u32) {
        let open = if self.word.load(Relaxed) == 0 { rows } else { ASKED };
        compiler_fence(SeqCst);
        self.gate.store(open.max(ASKED), Relaxed);
    }
}
