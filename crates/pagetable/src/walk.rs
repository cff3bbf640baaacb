//! Looking at a tree, run by run.

use crate::attr::TableLimits;
use crate::error::Damage;
use crate::format::{Entry, Format, Leaf};
use crate::memory::TableMemory;
use crate::shape::Level;
use crate::tables::{Node, Tables};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};

/// What adjacent entries have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunKind {
    /// Leaves whose physical addresses follow each other; this is the first.
    Leaf(Leaf),
    /// One entry that is not for the hardware but holds something.
    Software(u64),
}

/// Adjacent entries of one level that say the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The addresses.
    pub range: VirtRange,
    /// The entries' level.
    pub level: Level,
    /// What they say.
    pub kind: RunKind,
    /// What the tables above take away (empty when the run came out of [`crate::Cursor::unmap`]).
    pub limits: TableLimits,
}

/// Collects entries into runs.
pub(crate) struct Runs<'f, F: Format> {
    format: F,
    out: &'f mut dyn FnMut(&Run),
    open: Option<Run>,
    /// The word that would continue the open run.
    next_word: u64,
    next_va: VirtAddr,
    step: u64,
    limits: TableLimits,
}

impl<'f, F: Format> Runs<'f, F> {
    pub(crate) fn new(format: F, out: &'f mut dyn FnMut(&Run)) -> Self {
        Self {
            format,
            out,
            open: None,
            next_word: 0,
            next_va: VirtAddr::ZERO,
            step: 0,
            limits: TableLimits::empty(),
        }
    }

    /// One entry that is neither empty nor a table.
    #[inline]
    pub(crate) fn add(&mut self, va: VirtAddr, level: Level, word: u64) {
        // Where entries hold their group's address, equal words may belong to two groups.
        let shape = F::TREE.level(level);
        let new_group = F::GROUP_ADDRESS && shape.contiguous > 0 && va.is_aligned(shape.contiguous_bytes());
        if let Some(run) = &mut self.open
            && !new_group
            && run.level == level
            && word == self.next_word
            && va == self.next_va
            && run.limits == self.limits
        {
            let bytes = shape.bytes();
            run.range.len += bytes;
            self.next_word = word.wrapping_add(self.step);
            self.next_va = VirtAddr::new(va.get().wrapping_add(bytes));
            return;
        }
        self.start(va, level, word);
    }

    /// `count` leaves that follow each other from `word`, which is `leaf`.
    pub(crate) fn add_leaves(&mut self, va: VirtAddr, level: Level, word: u64, leaf: &Leaf, count: usize) {
        self.add(va, level, word);
        let more = (count as u64 - 1) * F::TREE.level(level).bytes();
        if let Some(run) = &mut self.open {
            run.range.len += more;
            let step = self.format.leaf_step(level, leaf.contiguous);
            self.next_word = word.wrapping_add(step.wrapping_mul(count as u64));
            self.next_va = VirtAddr::new(self.next_va.get().wrapping_add(more));
        }
    }

    fn start(&mut self, va: VirtAddr, level: Level, word: u64) {
        let bytes = F::TREE.level(level).bytes();
        let (kind, step) = match self.format.entry_at(level, word, va.get()) {
            Entry::Leaf(leaf) => (RunKind::Leaf(leaf), self.format.leaf_step(level, leaf.contiguous)),
            _ => (RunKind::Software(word), 0),
        };
        let new = Run { range: VirtRange { start: va, len: bytes }, level, kind, limits: self.limits };
        // A word that the arithmetic did not foresee (addresses that carry) may still continue the run.
        if let (Some(Run { kind: RunKind::Leaf(first), range, level: l, limits }), RunKind::Leaf(leaf)) =
            (&mut self.open, kind)
            && *l == level
            && *limits == self.limits
            && va == self.next_va
            && leaf == (Leaf { phys: PhysAddr::new(first.phys.get() + range.len), ..*first })
        {
            range.len += bytes;
        } else {
            self.end();
            self.open = Some(new);
        }
        self.step = step;
        // Software's entries are told one by one: nothing is known about what continues them.
        self.next_va = match kind {
            RunKind::Leaf(_) => VirtAddr::new(va.get().wrapping_add(bytes)),
            RunKind::Software(_) => va,
        };
        self.next_word = word.wrapping_add(step);
    }

    /// Tells the run that is open.
    pub(crate) fn end(&mut self) {
        if let Some(run) = self.open.take() {
            (self.out)(&run);
        }
    }
}

/// How many of `most` leaves from entry `index` on can be told to follow each other by their words.
pub(crate) fn run_limit<F: Format>(level: Level, leaf: &Leaf, index: usize, most: usize) -> usize {
    if F::GROUP_ADDRESS && leaf.contiguous {
        let group = F::TREE.level(level).contiguous as usize;
        return most.min(group - index % group);
    }
    most
}

/// Why a walk was not finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WalkError {
    /// The tree is damaged.
    Damaged(Damage),
    /// More tables than the caller allowed: a damaged tree may lead to one table many times.
    TooManyTables,
}

impl From<Damage> for WalkError {
    fn from(d: Damage) -> Self {
        Self::Damaged(d)
    }
}

impl core::fmt::Display for WalkError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Damaged(d) => d.fmt(f),
            Self::TooManyTables => f.write_str("the tree leads to more tables than there can be"),
        }
    }
}

impl core::error::Error for WalkError {}

impl<F: Format, M: TableMemory> Tables<F, M> {
    /// Tells `see` every run in `range`, in the order of addresses. At most `most_tables` tables are looked at.
    ///
    /// # Errors
    /// [`WalkError`]; runs before the place were told.
    pub fn walk(
        &self,
        range: VirtRange,
        most_tables: u64,
        see: &mut dyn FnMut(&Run),
    ) -> Result<(), WalkError> {
        let mut runs = Runs::new(self.format, see);
        let mut left = most_tables;
        let window = self.format.window();
        let mut done = Ok(());
        for part in window.ranges() {
            let (start, last) = (part.start.max(range.start), part.last().min(range.last()));
            if done.is_ok() && !part.is_empty() && !range.is_empty() && start <= last {
                let len = (last.get() - start.get()).saturating_add(1);
                let root = self.root_node()?;
                done = self.look(root, start.get(), len, TableLimits::empty(), &mut left, &mut runs);
            }
        }
        runs.end();
        done
    }

    /// Every run of the tree.
    ///
    /// # Errors
    /// As for [`Self::walk`].
    pub fn walk_all(&self, most_tables: u64, see: &mut dyn FnMut(&Run)) -> Result<(), WalkError> {
        self.walk(VirtRange { start: VirtAddr::ZERO, len: u64::MAX }, most_tables, see)
    }

    fn look(
        &self,
        node: Node<'_, F>,
        va: u64,
        len: u64,
        limits: TableLimits,
        left: &mut u64,
        runs: &mut Runs<'_, F>,
    ) -> Result<(), WalkError> {
        *left = left.checked_sub(1).ok_or(WalkError::TooManyTables)?;
        let shape = F::TREE.level(node.level);
        let (mut va, mut len) = (va, len);
        while len > 0 {
            let mut chunk = len.min(shape.bytes() - (va & (shape.bytes() - 1)));
            let index = shape.index(va);
            let word = node.load(&self.format, index);
            if word != 0 {
                let at = self.format.window().extend(va);
                let start = at.align_down(shape.bytes());
                runs.limits = limits;
                match self.format.entry_at(node.level, word, va) {
                    Entry::Table(next, more) => {
                        let child = self.child(&node, next, va, word)?;
                        self.look(child, va, chunk, limits | more, left, runs)?;
                    }
                    Entry::Reserved(word) => return Err(Damage { level: node.level, at, word }.into()),
                    Entry::Empty => {}
                    Entry::Software(_) => runs.add(start, node.level, word),
                    Entry::Leaf(leaf) => {
                        let step = self.format.leaf_step(node.level, leaf.contiguous);
                        let most = (len / shape.bytes()).clamp(1, (shape.entries() - index) as u64) as usize;
                        let most = run_limit::<F>(node.level, &leaf, index, most);
                        let first = node.first + index;
                        let count =
                            self.format.count_run(node.level, node.words, first, most, word, step).max(1);
                        runs.add_leaves(start, node.level, word, &leaf, count);
                        chunk += (count as u64 - 1) * shape.bytes();
                    }
                }
            }
            va = va.wrapping_add(chunk);
            len = len.saturating_sub(chunk);
        }
        Ok(())
    }
}
