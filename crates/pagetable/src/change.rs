//! Changing what is mapped in place: permissions, memory type, accessed and dirty bits.
//!
//! A first pass finds out whether every leaf can be changed; then each entry is replaced by compare-and-swap, so that
//! an accessed or dirty bit that hardware sets meanwhile is never lost. Permissions may change on a live entry. Another memory
//! type or shareability may not, on formats with break-before-make: the entries are taken out, flushed, and written again.

use crate::attr::{Attr, AttrFlags, MemoryType, Shareability};
use crate::error::{Damage, UnmapError};
use crate::flush::{FlushScope, PendingFlush, TlbFlush};
use crate::format::{Entry, Format, Leaf};
use crate::memory::TableMemory;
use crate::shape::Level;
use crate::tables::{Cursor, Node};
use crate::walk::{RunKind, WalkError, run_limit};
use pagewright_addr::{VirtAddr, VirtRange};

/// Who may be using the entries that are about to change.
pub enum Live<'f> {
    /// No CPU uses the tables, or none can hold these entries: they are just replaced.
    No,
    /// CPUs do, but nothing breaks if the addresses lead nowhere for a moment: break-before-make is allowed, with
    /// this to flush in between.
    MayBreak(&'f mut dyn TlbFlush),
    /// CPUs do, and the addresses must lead somewhere all the time (the running code is there): what cannot be done
    /// that way is refused.
    Always,
}

impl Live<'_> {
    /// The error, if the format wants a break that the caller forbids.
    pub(crate) fn check<F: Format>(&self, at: VirtAddr, level: Level) -> Result<(), UnmapError> {
        match self {
            Self::Always if F::BREAK_BEFORE_MAKE => Err(UnmapError::NeedsBreak { at, level }),
            _ => Ok(()),
        }
    }

    /// Whether entries have to be taken out and flushed before new ones take their place.
    pub(crate) fn breaks<F: Format>(&self) -> bool {
        F::BREAK_BEFORE_MAKE && matches!(self, Self::MayBreak(_))
    }

    /// The same once more, for the next step of several.
    pub(crate) fn again(&mut self) -> Live<'_> {
        match self {
            Self::No => Live::No,
            Self::MayBreak(tlb) => Live::MayBreak(&mut **tlb),
            Self::Always => Live::Always,
        }
    }

    pub(crate) fn flush(&mut self, scope: &FlushScope) {
        if let Self::MayBreak(tlb) = self {
            tlb.flush(scope);
        }
    }
}

/// What is to become different.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AttrChange {
    /// Flags to set.
    pub set: AttrFlags,
    /// Flags to clear.
    pub clear: AttrFlags,
    /// The new memory type.
    pub memory: Option<MemoryType>,
    /// The new shareability.
    pub share: Option<Shareability>,
    /// The new protection key or domain.
    pub key: Option<u8>,
}

impl AttrChange {
    /// Only flags.
    pub const fn flags(set: AttrFlags, clear: AttrFlags) -> Self {
        Self { set, clear, memory: None, share: None, key: None }
    }

    /// What it makes of `old`.
    pub fn apply(&self, old: Attr) -> Attr {
        let mut new = old.changed(self.set, self.clear);
        new.memory = self.memory.unwrap_or(new.memory);
        new.share = self.share.unwrap_or(new.share);
        new.key = self.key.unwrap_or(new.key);
        new
    }
}

/// What a change met.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Changed {
    /// Leaves in the range.
    pub leaves: u64,
    /// Every flag that one of them had before.
    pub had: AttrFlags,
}

impl<F: Format, M: TableMemory> Cursor<'_, F, M> {
    /// Changes every leaf in `range`; holes stay holes.
    ///
    /// # Errors
    /// [`UnmapError`]; then nothing was changed.
    pub fn protect(
        &mut self,
        range: VirtRange,
        change: &AttrChange,
        mut live: Live<'_>,
    ) -> Result<(Changed, PendingFlush<F::Word>), UnmapError> {
        self.check_change(range)?;
        self.check_all(range, change, &live)?;
        let mut pending = PendingFlush::nothing();
        let mut changed = Changed::default();
        let root = self.tables.root_node()?;
        self.alter(root, range.start.get(), range.len, change, &mut live, &mut changed, &mut pending)?;
        Ok((changed, pending))
    }

    /// Whether a page was used since this was last asked: `flags` ([`AttrFlags::ACCESSED`], [`AttrFlags::DIRTY`]) are
    /// cleared in the leaf that `va` is in, and those that were set are returned (none if nothing is mapped). The token may be dropped where
    /// a late flush is good enough: a TLB entry only delays the next time that the bit is set.
    ///
    /// # Errors
    /// [`UnmapError`]; then nothing was changed.
    pub fn test_and_clear(
        &mut self,
        va: VirtAddr,
        flags: AttrFlags,
    ) -> Result<(AttrFlags, PendingFlush<F::Word>), UnmapError> {
        let Ok((leaf, level, start)) = self.tables.leaf(va) else {
            return Ok((AttrFlags::empty(), PendingFlush::nothing()));
        };
        let shape = F::TREE.level(level);
        let bytes = if leaf.contiguous { shape.contiguous_bytes() } else { shape.bytes() };
        let range = VirtRange { start: start.align_down(bytes), len: bytes };
        let (changed, pending) =
            self.protect(range, &AttrChange::flags(AttrFlags::empty(), flags), Live::Always)?;
        Ok((changed.had & flags, pending))
    }

    /// Whether every leaf in the range can be changed.
    fn check_all(&self, range: VirtRange, change: &AttrChange, live: &Live<'_>) -> Result<(), UnmapError> {
        let format = self.tables.format;
        let mut refused = Ok(());
        // A sound tree has no more tables for the range than this; a damaged one may lead to one again and again.
        let most_tables: u64 = (0..F::TREE.count())
            .map(|n| {
                range.len
                    / F::TREE.level(Level::new(n)).bytes()
                    / F::TREE.level(Level::new(n)).entries() as u64
                    + 2
            })
            .sum();
        self.tables
            .walk(range, most_tables, &mut |run| {
                let RunKind::Leaf(leaf) = run.kind else { return };
                if refused.is_err() {
                    return;
                }
                let attr = change.apply(leaf.attr);
                refused =
                    format.leaf_word(run.level, &Leaf { attr, ..leaf }).map(|_| ()).map_err(UnmapError::Attr);
                if refused.is_ok() && needs_break(leaf.attr, attr) {
                    refused = live.check::<F>(run.range.start, run.level);
                }
            })
            .map_err(|e| match e {
                WalkError::Damaged(d) => UnmapError::Damaged(d),
                WalkError::TooManyTables => UnmapError::Damaged(Damage {
                    level: F::TREE.top(),
                    at: range.start,
                    word: self.tables.root.get(),
                }),
            })?;
        refused
    }

    #[allow(clippy::too_many_arguments)]
    fn alter(
        &self,
        node: Node<'_, F>,
        va: u64,
        len: u64,
        change: &AttrChange,
        live: &mut Live<'_>,
        changed: &mut Changed,
        pending: &mut PendingFlush<F::Word>,
    ) -> Result<(), UnmapError> {
        let format = &self.tables.format;
        let shape = F::TREE.level(node.level);
        let (mut va, mut len) = (va, len);
        while len > 0 {
            let index = shape.index(va);
            let mut chunk = len.min(shape.bytes() - (va & (shape.bytes() - 1)));
            let word = node.load(format, index);
            match format.entry_at(node.level, word, va) {
                Entry::Empty | Entry::Software(_) => {}
                Entry::Table(next, _) => {
                    let child = self.tables.child(&node, next, va, word)?;
                    self.alter(child, va, chunk, change, live, changed, pending)?;
                }
                Entry::Reserved(word) => {
                    return Err(Damage { level: node.level, at: format.window().extend(va), word }.into());
                }
                Entry::Leaf(leaf) => {
                    let most = (len / shape.bytes()).clamp(1, (shape.entries() - index) as u64) as usize;
                    let most = run_limit::<F>(node.level, &leaf, index, most);
                    let range = VirtRange { start: format.window().extend(va), len: shape.bytes() };
                    let count = self.alter_run(&node, index, most, (word, &leaf), range, change, live)?;
                    chunk = count as u64 * shape.bytes();
                    changed.leaves += count as u64;
                    changed.had |= leaf.attr.flags;
                    pending.add(VirtRange { start: range.start, len: chunk }, node.level, shape.bytes());
                }
            }
            va = va.wrapping_add(chunk);
            len -= chunk;
        }
        Ok(())
    }

    /// Changes up to `most` leaves that continue the one that was found in entry `index`; returns how many there were.
    #[allow(clippy::too_many_arguments)]
    fn alter_run(
        &self,
        node: &Node<'_, F>,
        index: usize,
        most: usize,
        (word, first): (u64, &Leaf),
        range: VirtRange,
        change: &AttrChange,
        live: &mut Live<'_>,
    ) -> Result<usize, UnmapError> {
        let format = &self.tables.format;
        let level = node.level;
        let attr = change.apply(first.attr);
        // The bits that differ are the same for every leaf that has the same attributes. They are counted from the word as it is:
        // a leaf may have been written in another way than the format would write it.
        let delta = word ^ format.leaf_word(level, &Leaf { attr, ..*first })?;
        let step = format.leaf_step(level, first.contiguous);
        let at = node.first + index;
        if !(live.breaks::<F>() && needs_break(first.attr, attr)) {
            // Hardware may have changed the first entry since it was decoded: then none is counted, and the caller looks again.
            return Ok(format.change_run(level, node.words, at, most, word, step, delta));
        }
        let count = format.take_run(level, node.words, at, most, word, step);
        live.flush(&FlushScope {
            range: VirtRange { start: range.start, len: range.len * count as u64 },
            stride_bytes: range.len,
            level: Some(level),
            tables_freed: false,
            asid: None,
        });
        for n in 0..count {
            format.store(level, node.words, at + n, word.wrapping_add(step.wrapping_mul(n as u64)) ^ delta);
        }
        Ok(count)
    }
}

/// Whether Arm wants break-before-make between two leaves of one size and address (Arm ARM D8.16.1).
pub(crate) fn needs_break(old: Attr, new: Attr) -> bool {
    old.memory != new.memory
        || old.share != new.share
        || (new.flags.contains(AttrFlags::GLOBAL) && !old.flags.contains(AttrFlags::GLOBAL))
}
