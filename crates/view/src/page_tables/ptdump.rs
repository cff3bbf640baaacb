//! The kernel's page tables as Linux's ptdump shows them, in each architecture's form.
//!
//! A line is a range of addresses whose entries say the same, whatever memory they lead to. Headings stand between them
//! where the kernel's layout has a border. x86 and arm64 show what is not mapped too, arm does not.

use super::style::{self, Says, Style};
use crate::{State, ViewError};
use arrayvec::ArrayVec;
use core::fmt::{self, Write};
use pagewright::pgtable::KernelTree;
use pagewright_addr::VirtAddr;
use pagewright_kspace::Marker;
use pagewright_pagetable::{Level, Run, RunKind};

/// Headings, more than any layout has.
const MARKERS: usize = 32;
type Markers = ArrayVec<Marker, MARKERS>;

/// Writes the dump of a booted machine's tables.
///
/// # Errors
/// [`ViewError`] for a machine without tables, or with damaged ones.
pub fn write(w: &mut dyn Write, state: &State<'_, '_, '_, '_, '_>) -> Result<(), ViewError> {
    let style = style::of(state.boot.machine, state.boot.version);
    let markers = markers(state);
    let tables = super::tables(state.boot)?;
    tables.with(|tree| Dump { w, style, markers: &markers, headed: 0, line: None }.write(tree))
}

/// The layout itself is large: it is gone before anything is written.
fn markers(state: &State<'_, '_, '_, '_, '_>) -> Markers {
    let layout = state.layout(state.boot.version);
    layout.map(|l| l.markers().take(MARKERS).collect()).unwrap_or_default()
}

/// A range whose entries say the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Line {
    first: u64,
    last: u64,
    level: Level,
    /// The level's name.
    name: &'static str,
    /// What the entries say, in the architecture's words; `None` for nothing mapped.
    says: Option<Says>,
}

/// A dump under way.
struct Dump<'w> {
    w: &'w mut dyn Write,
    style: Style,
    markers: &'w [Marker],
    /// How many of the headings are written.
    headed: usize,
    /// The last line, which may become longer.
    line: Option<Line>,
}

impl Dump<'_> {
    fn write(mut self, tree: &dyn KernelTree) -> Result<(), ViewError> {
        for part in tree.window().ranges().into_iter().filter(|r| !r.is_empty()) {
            let mut next = Some(part.start.get());
            let mut written = Ok(());
            tree.walk(part, &mut |run| {
                if written.is_ok() {
                    written = self.run(tree, run, next);
                    next = run.range.last().get().checked_add(1);
                }
            })?;
            written?;
            if let Some(from) = next.filter(|from| self.style.holes && *from <= part.last().get()) {
                self.holes(tree, from, part.last().get().wrapping_add(1))?;
            }
        }
        self.finish()?;
        self.heads(u64::MAX)?;
        Ok(())
    }

    /// Adds a run, and what is not mapped from `next` up to it.
    fn run(&mut self, tree: &dyn KernelTree, run: &Run, next: Option<u64>) -> fmt::Result {
        let (range, level) = (run.range, run.level);
        let word = match run.kind {
            RunKind::Leaf(leaf) => tree.leaf_word(level, &leaf).unwrap_or(0),
            RunKind::Software(_) => 0,
        };
        if let Some(from) = next.filter(|_| self.style.holes) {
            self.holes(tree, from, range.start.get())?;
        }
        let says = (word != 0).then(|| {
            let table = self.style.needs_table.then(|| table_word(tree, range.start)).flatten();
            (self.style.says)(level, word, table)
        });
        let (first, last) = (range.start.get(), range.last().get());
        let shape = tree.shape();
        let name = if says.is_some() { (self.style.leaf)(shape, level) } else { shape.name(level) };
        self.add(Line { first, last, level, name, says })
    }

    /// What is not mapped from `from` up to, not including, `end` (0 is the end of the address space), entry by entry.
    fn holes(&mut self, tree: &dyn KernelTree, from: u64, end: u64) -> fmt::Result {
        let shape = tree.shape();
        let mut at = from;
        while at != end {
            let Some(entry) = tree.path(VirtAddr::new(at)).pop() else { return Ok(()) };
            let size = shape.level(entry.level).bytes();
            let left = end.wrapping_sub(at);
            let len = left.min(size - (at & (size - 1)));
            let name = shape.name(entry.level);
            self.add(Line { first: at, last: at + (len - 1), level: entry.level, name, says: None })?;
            at = at.wrapping_add(len);
        }
        Ok(())
    }

    /// Adds a line, or lengthens the one before if that says the same.
    fn add(&mut self, line: Line) -> fmt::Result {
        match &mut self.line {
            Some(before)
                if before.last.checked_add(1) == Some(line.first)
                    && (before.level, &before.says) == (line.level, &line.says) =>
            {
                before.last = line.last;
                Ok(())
            }
            _ => {
                self.finish()?;
                self.line = Some(line);
                Ok(())
            }
        }
    }

    /// Writes the last line, cut at headings.
    fn finish(&mut self) -> fmt::Result {
        let Some(line) = self.line.take() else { return Ok(()) };
        let mut first = line.first;
        for border in self.markers.iter().map(|m| m.at.get()) {
            if border > line.first && border <= line.last {
                self.heads(first)?;
                self.part(&line, first, border)?;
                first = border;
            }
        }
        self.heads(first)?;
        self.part(&line, first, line.last.wrapping_add(1))
    }

    /// Writes the headings up to an address.
    fn heads(&mut self, upto: u64) -> fmt::Result {
        let due = self.markers[self.headed..].iter().take_while(|m| m.at.get() <= upto);
        for marker in due {
            self.headed += 1;
            writeln!(self.w, "---[ {} ]---", marker.name)?;
        }
        Ok(())
    }

    fn part(&mut self, line: &Line, first: u64, end: u64) -> fmt::Result {
        let bytes = u128::from(end.wrapping_sub(first).wrapping_sub(1)) + 1;
        let (amount, unit) = size(bytes);
        let width = self.style.digits;
        let end = if self.style.digits == 8 { end & 0xffff_ffff } else { end };
        write!(self.w, "{:#0w$x}-{:#0w$x}   {amount:>9}{unit}", first, end, w = width + 2)?;
        (self.style.rest)(self.w, line.says.as_deref(), line.name)
    }
}

/// The entry that leads to the table with the leaf for an address.
fn table_word(tree: &dyn KernelTree, va: VirtAddr) -> Option<u64> {
    let path = tree.path(va);
    path.len().checked_sub(2).map(|n| path[n].word)
}

/// A size as ptdump writes it: in the largest unit that leaves nothing over, from kilobytes on.
fn size(bytes: u128) -> (u128, char) {
    let (mut amount, mut units) = (bytes >> 10, "KMGTPE".chars());
    let mut unit = units.next().unwrap_or('K');
    for larger in units {
        if amount & 1023 != 0 {
            break;
        }
        (amount, unit) = (amount >> 10, larger);
    }
    (amount, unit)
}
