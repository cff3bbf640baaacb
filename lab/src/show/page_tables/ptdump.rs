//! The kernel's page tables as Linux's ptdump shows them, in each architecture's form.
//!
//! A line is a range of addresses whose entries say the same, whatever memory they lead to. Headings stand between them
//! where the kernel's layout has a border. x86 shows what is not mapped too, arm64 and arm do not.

use super::style::{self, Style};
use crate::run::Booted;
use pagewright::pgtable::{KernelTables, KernelTree};
use pagewright_addr::VirtAddr;
use pagewright_kspace::Marker;
use pagewright_pagetable::{Level, RunKind, WalkError};
use std::fmt;

/// The whole dump.
pub struct PtDump {
    style: Style,
    lines: Vec<Line>,
    markers: Vec<Marker>,
}

/// A range whose entries say the same.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Line {
    first: u64,
    last: u64,
    level: Level,
    /// The level's name.
    name: &'static str,
    /// What the entries say, in the architecture's words; `None` for nothing mapped.
    says: Option<String>,
}

impl PtDump {
    /// The dump of a booted machine's tables.
    ///
    /// # Errors
    /// [`WalkError`] for tables that are damaged.
    pub fn of(booted: &Booted<'_, '_, '_, '_, '_>, tables: &KernelTables<'_>) -> Result<Self, WalkError> {
        let style = style::of(booted.boot.machine, booted.boot.version);
        let markers =
            booted.state().layout(booted.boot.version).map(|l| l.markers().collect()).unwrap_or_default();
        let lines = tables.with(|tree| lines(tree, &style))?;
        Ok(Self { style, lines, markers })
    }
}

/// All lines, not yet cut at headings.
fn lines(tree: &dyn KernelTree, style: &Style) -> Result<Vec<Line>, WalkError> {
    let shape = tree.shape();
    let mut out: Vec<Line> = Vec::new();
    for part in tree.window().ranges().into_iter().filter(|r| !r.is_empty()) {
        let mut runs = Vec::new();
        tree.walk(part, &mut |run| {
            let word = match run.kind {
                RunKind::Leaf(leaf) => tree.leaf_word(run.level, &leaf).unwrap_or(0),
                RunKind::Software(_) => 0,
            };
            runs.push((run.range, run.level, word));
        })?;
        let mut next = Some(part.start.get());
        for (range, level, word) in runs {
            if let Some(from) = next.filter(|_| style.holes) {
                holes(tree, from, range.start.get(), &mut out);
            }
            let says = (word != 0).then(|| {
                let table = style.needs_table.then(|| table_word(tree, range.start)).flatten();
                (style.says)(level, word, table)
            });
            let (first, last) = (range.start.get(), range.last().get());
            add(&mut out, Line { first, last, level, name: shape.name(level), says });
            next = last.checked_add(1);
        }
        if let Some(from) = next.filter(|from| style.holes && *from <= part.last().get()) {
            holes(tree, from, part.last().get().wrapping_add(1), &mut out);
        }
    }
    Ok(out)
}

/// The entry that leads to the table with the leaf for an address.
fn table_word(tree: &dyn KernelTree, va: VirtAddr) -> Option<u64> {
    let path = tree.path(va);
    path.len().checked_sub(2).map(|n| path[n].word)
}

/// What is not mapped from `from` up to, not including, `end` (0 is the end of the address space), entry by entry.
fn holes(tree: &dyn KernelTree, from: u64, end: u64, out: &mut Vec<Line>) {
    let shape = tree.shape();
    let mut at = from;
    while at != end {
        let Some(entry) = tree.path(VirtAddr::new(at)).pop() else { return };
        let size = shape.level(entry.level).bytes();
        let left = end.wrapping_sub(at);
        let len = left.min(size - (at & (size - 1)));
        let name = shape.name(entry.level);
        add(out, Line { first: at, last: at + (len - 1), level: entry.level, name, says: None });
        at = at.wrapping_add(len);
    }
}

/// Adds a line, or lengthens the one before if that says the same.
fn add(out: &mut Vec<Line>, line: Line) {
    match out.last_mut() {
        Some(before)
            if before.last.checked_add(1) == Some(line.first)
                && (before.level, &before.says) == (line.level, &line.says) =>
        {
            before.last = line.last;
        }
        _ => out.push(line),
    }
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

impl fmt::Display for PtDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut markers = self.markers.iter().peekable();
        let mut heads = |f: &mut fmt::Formatter<'_>, upto: u64| -> fmt::Result {
            while let Some(m) = markers.next_if(|m| m.at.get() <= upto) {
                writeln!(f, "---[ {} ]---", m.name)?;
            }
            Ok(())
        };
        for line in &self.lines {
            let mut first = line.first;
            let inside = |m: &&Marker| m.at.get() > line.first && m.at.get() <= line.last;
            for border in self.markers.iter().filter(inside).map(|m| m.at.get()) {
                heads(f, first)?;
                self.line(f, line, first, border)?;
                first = border;
            }
            heads(f, first)?;
            self.line(f, line, first, line.last.wrapping_add(1))?;
        }
        heads(f, u64::MAX)
    }
}

impl PtDump {
    fn line(&self, f: &mut fmt::Formatter<'_>, line: &Line, first: u64, end: u64) -> fmt::Result {
        let bytes = u128::from(end.wrapping_sub(first).wrapping_sub(1)) + 1;
        let (amount, unit) = size(bytes);
        let width = self.style.digits;
        let end = if self.style.digits == 8 { end & 0xffff_ffff } else { end };
        write!(f, "{:#0w$x}-{:#0w$x}   {amount:>9}{unit}", first, end, w = width + 2)?;
        (self.style.rest)(f, line.says.as_deref(), line.name)
    }
}
