//! Grace periods: when nobody can still look at what was taken out of everybody's sight.
//!
//! Readers follow pointers without a lock, inside a *read section* ([`ReaderHere::read_lock`]). Whoever takes something out of their reach
//! may give its memory to others only when all sections have ended that were open at the time: after a *grace period*. Nothing here waits:
//! [`GracePeriods::begin`] gives a number, and [`GracePeriods::is_over`] says whether its time has come.
//!
//! # Protocol
//! There is one *epoch* for all and a word for each processor: [`QUIET`] outside of sections, else the epoch that the processor knew when its
//! section began. A grace period's number is the epoch that it begins; it is over when every processor's word is that number or more.
//! - A reader writes its word, then a sequentially consistent fence, then reads pointers. A grace period begins with such a fence, after whatever was
//!   taken out of sight. So either the reader sees what was taken out, or whoever asks sees the reader's word.
//! - A reader that knows the new epoch has acquired it from the grace period's beginning, and sees what was taken out before.
//! - Every word is released, so whoever acquires one knows that the sections before it have ended: of [`QUIET`], and of the epoch of a later section.
//!
//! # Interrupt handlers
//! A handler may come between any two steps, and reads too. So what a section relies on is not how deep it lies but whether the processor has
//! *announced* itself: the word was written and the fence is behind it. That is noted after the fence, and taken back before the word becomes quiet. A handler
//! that comes before the note announces for itself and leaves the word to the section that it interrupted, whose depth is counted already. One that comes
//! at a section's end finds the depth counted down: it ends what is announced, or announces anew, and the word becomes quiet last.
//!
//! # Quiescent states
//! A kernel that knows when its processors hold nothing (a timer's interrupt outside of sections, the idle loop) makes sections cheaper: a processor that is
//! [`ReaderHere::online`] keeps its word at the epoch of its last *quiescent state* ([`ReaderHere::quiescent`]), and a section only counts.

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicU32, AtomicU64, compiler_fence, fence};

/// The word of a processor that is in no section.
pub const QUIET: u64 = u64::MAX;

/// Whoever knows when readers have left.
///
/// # Safety
/// [`Self::is_over`] says true of a number only when every read section has ended that began before [`Self::begin`] returned it; what was
/// done in those sections happened before then.
pub unsafe trait GracePeriods: Sync {
    /// Begins a grace period, after something was taken out of readers' sight. Numbers never become smaller.
    fn begin(&self) -> u64;

    /// Whether it is over.
    fn is_over(&self, period: u64) -> bool;
}

/// One processor's part.
#[repr(align(64))]
pub struct Reader {
    word: AtomicU64,
    /// Sections that are open one inside the other. Only the processor itself writes it.
    depth: AtomicU32,
    /// Whether the processor tells of quiescent states (1) or its sections announce themselves (0). Only the processor itself writes it.
    online: AtomicU32,
    /// Whether the word is an epoch, with the fence behind it (1). Only the processor itself writes it.
    announced: AtomicU32,
}

impl Reader {
    /// In no section.
    pub const fn new() -> Self {
        Self {
            word: AtomicU64::new(QUIET),
            depth: AtomicU32::new(0),
            online: AtomicU32::new(0),
            announced: AtomicU32::new(0),
        }
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("word", &self.word.load(Relaxed)).finish_non_exhaustive()
    }
}

/// All processors that read.
#[derive(Debug)]
pub struct Readers<'r> {
    epoch: AtomicU64,
    readers: &'r [Reader],
}

impl<'r> Readers<'r> {
    /// Processors, in the order of their numbers, none of which reads.
    pub const fn new(readers: &'r [Reader]) -> Self {
        Self { epoch: AtomicU64::new(1), readers }
    }

    /// A processor's handle; `None` if there is none of that number.
    ///
    /// # Safety
    /// Handles of one processor are used on it only, one thing after the other (its interrupt handlers return before what they
    /// interrupted goes on).
    pub unsafe fn here(&self, cpu: usize) -> Option<ReaderHere<'_>> {
        self.readers.get(cpu).map(|reader| ReaderHere { epoch: &self.epoch, reader, here: PhantomData })
    }
}

// SAFETY: see the protocol at the head of the module.
unsafe impl GracePeriods for Readers<'_> {
    fn begin(&self) -> u64 {
        fence(SeqCst);
        self.epoch.fetch_add(1, AcqRel) + 1
    }

    fn is_over(&self, period: u64) -> bool {
        fence(SeqCst);
        self.readers.iter().all(|reader| reader.word.load(Acquire) >= period)
    }
}

/// A processor, on itself.
#[derive(Clone, Copy, Debug)]
pub struct ReaderHere<'r> {
    epoch: &'r AtomicU64,
    reader: &'r Reader,
    /// Not another thread's.
    here: PhantomData<*const ()>,
}

impl<'r> ReaderHere<'r> {
    /// Begins a read section, or one inside another.
    #[inline]
    pub fn read_lock(self) -> ReadSection<'r> {
        let depth = self.reader.depth.load(Relaxed);
        self.reader.depth.store(depth + 1, Relaxed);
        // A handler that comes from here on ends no announcement.
        compiler_fence(SeqCst);
        if self.reader.announced.load(Relaxed) == 0 {
            self.announce();
        } else {
            compiler_fence(SeqCst);
        }
        ReadSection { here: self }
    }

    /// Writes the epoch to the word, so that every grace period that begins from now on waits for this processor.
    fn announce(self) {
        // A handler may have written a later one since the load: it has acquired that, so that what the smaller one lets pass is known here too.
        self.reader.word.store(self.epoch.load(Acquire), Release);
        fence(SeqCst);
        self.reader.announced.store(1, Relaxed);
        compiler_fence(SeqCst);
    }

    /// Nobody waits for this processor from now on, which is in no section.
    fn be_quiet(self) {
        self.reader.announced.store(0, Relaxed);
        compiler_fence(SeqCst);
        self.reader.word.store(QUIET, Release);
    }

    /// From here on the processor tells by [`Self::quiescent`] when it holds nothing; its sections need no fence. Must not be called in a
    /// section, which is left alone.
    pub fn online(self) {
        if self.reader.depth.load(Relaxed) == 0 && self.reader.online.load(Relaxed) == 0 {
            self.reader.online.store(1, Relaxed);
            compiler_fence(SeqCst);
            self.announce();
        }
    }

    /// From here on its sections speak for themselves: nobody waits for a processor that sleeps.
    pub fn offline(self) {
        if self.reader.depth.load(Relaxed) == 0 {
            self.reader.online.store(0, Relaxed);
            compiler_fence(SeqCst);
            self.be_quiet();
        }
    }

    /// The processor holds nothing, unless it is in a section: an interrupt handler may ask. Whether it was not.
    #[inline]
    pub fn quiescent(self) -> bool {
        if self.reader.depth.load(Relaxed) > 0 {
            return false;
        }
        // Without an announcement the word waits for one, which has a fence.
        if self.reader.online.load(Relaxed) != 0 && self.reader.announced.load(Relaxed) != 0 {
            // What was read before is done with; what is read from now on is as of this epoch.
            self.reader.word.store(self.epoch.load(Acquire), Release);
        }
        true
    }
}

/// A read section, until it is dropped: what its processor finds in it stays what it is.
#[derive(Debug)]
#[must_use = "the section ends when this is dropped"]
pub struct ReadSection<'r> {
    here: ReaderHere<'r>,
}

impl Drop for ReadSection<'_> {
    #[inline]
    fn drop(&mut self) {
        let reader = self.here.reader;
        compiler_fence(SeqCst);
        let depth = reader.depth.load(Relaxed) - 1;
        reader.depth.store(depth, Relaxed);
        compiler_fence(SeqCst);
        if depth == 0 && reader.online.load(Relaxed) == 0 {
            self.here.be_quiet();
        }
    }
}

#[cfg(test)]
mod tests;
