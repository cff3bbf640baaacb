//! The group `page-tables`: the kernel's mappings as they stand in RAM, captured and ours.
//!
//! Named ranges of addresses are compared, in address, mapping size and attributes: the linear map, the kernel image, the
//! fixed mappings and the memory map; on arm the persistent kmaps, the device tree and the vectors too. Everything else
//! (vmalloc, modules, per-CPU areas, stacks) belongs to what runs on a kernel. What a running kernel changes inside the
//! ranges is left out by [`RULES`], each with the bytes that it leaves out.

use super::compare::Tally;
use crate::capture::page_tables::{Mapped, PageTables};
use crate::facts::Group;
use crate::run::Booted;
use crate::show::page_tables::{attributes, compared, executes};
use pagewright::pgtable::KernelTables;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::{Arch, Machine};
use pagewright_kspace::{Facts, Fixmap, Slot};
use pagewright_pagetable::RunKind;
use std::collections::BTreeMap;

/// What a running kernel does to its mappings that a boot does not.
pub const RULES: [&str; 4] = [
    "frames that the kernel maps as code outside its image (modules, trampolines, compiled filters): their permissions in the linear map",
    "larger mappings that hold such a frame, split by the change of its permissions: their size",
    "pages of contiguous areas (CMA) in the linear map, lent to devices that the processor shares memory with: their memory type",
    "i386's fixed mapping for PCI configuration space: that of the device that was asked last",
];

/// What came of the comparison.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The facts.
    pub tally: Tally,
    /// Bytes that each rule left out.
    pub excluded: [u64; RULES.len()],
}

/// A mapping of one size; captured and ours in the same words.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Value {
    phys: u64,
    size: u64,
    attributes: String,
}

impl Value {
    fn text(&self) -> String {
        format!("{:012x} {:>8}K {}", self.phys, self.size >> 10, self.attributes)
    }
}

/// Compares the captured tables with ours.
pub fn compare(
    captured: &PageTables,
    booted: &Booted<'_, '_, '_, '_, '_>,
    tables: &KernelTables<'_>,
) -> Outcome {
    let ours = runs(booted.boot.machine, tables);
    let ranges = compared(booted);
    let cma = booted.boot.cma.iter().map(|area| (area.range.start.get(), area.range.end.get()));
    let changed = Changed {
        code: code_frames(captured, &ranges),
        contiguous: cma.collect(),
        config_space: config_space(booted.boot.machine),
    };
    let mut outcome = Outcome::default();
    for (name, range) in ranges {
        let theirs = cut(&captured.runs, range);
        let mine = cut(&ours, range);
        section(name, &theirs, &mine, &changed, &mut outcome);
    }
    outcome
}

/// Our tables in the capture's form.
fn runs(machine: &Machine<'_>, tables: &KernelTables<'_>) -> Vec<Mapped> {
    let mut out: Vec<Mapped> = Vec::new();
    tables.with(|tree| {
        let shape = tree.shape();
        let all = VirtRange { start: VirtAddr::ZERO, len: u64::MAX };
        // A damaged tree ends early; the rest then differs.
        let _ = tree.walk(all, &mut |run| {
            let RunKind::Leaf(leaf) = run.kind else { return };
            let word = tree.leaf_word(run.level, &leaf).unwrap_or(0);
            let size = shape.level(run.level).bytes();
            // A run may go on in the next table, and on arm it depends on the entry that leads there what is allowed.
            let span = match machine.arch {
                Arch::Arm => size * shape.level(run.level).entries() as u64,
                _ => 1 << 63,
            };
            let (mut start, mut left) = (run.range.start, run.range.len);
            while left > 0 {
                let len = left.min(span - (start.get() & (span - 1)));
                let path = tree.path(start);
                let above = path.iter().rev().nth(1).map_or(0, |entry| entry.word);
                let phys = leaf.phys.saturating_add(run.range.len - left);
                let attributes = attributes(machine, run.level, word, above);
                out.push(Mapped { range: VirtRange { start, len }, phys, size, attributes });
                start = VirtAddr::new(start.get().wrapping_add(len));
                left -= len;
            }
        });
    });
    out
}

/// The parts of runs inside a range.
fn cut(runs: &[Mapped], range: VirtRange) -> Vec<Mapped> {
    let inside = runs.iter().filter(|r| r.range.overlaps(&range));
    inside
        .map(|r| {
            let start = r.range.start.max(range.start);
            let last = r.range.last().min(range.last());
            Mapped {
                range: VirtRange { start, len: last.get() - start.get() + 1 },
                phys: PhysAddr::new(r.phys.get() + (start.get() - r.range.start.get())),
                ..r.clone()
            }
        })
        .collect()
}

/// Physical ranges that the captured kernel executes outside its image and linear map, sorted.
fn code_frames(captured: &PageTables, ranges: &[(&str, VirtRange)]) -> Vec<(u64, u64)> {
    let outside =
        |r: &&Mapped| executes(&r.attributes) && ranges.iter().all(|(_, known)| !known.overlaps(&r.range));
    let frames = captured.runs.iter().filter(outside);
    let mut frames: Vec<_> = frames.map(|r| (r.phys.get(), r.phys.get() + r.range.len)).collect();
    frames.sort_unstable();
    frames
}

/// Attributes without the words that tell arm's memory type: TEX, C and B, or the index into MAIR.
fn without_memory_type(attributes: &str) -> String {
    let tells = |word: &&str| {
        let name = word.trim_end_matches(|c: char| c.is_ascii_digit());
        !matches!(name, "tex" | "c" | "b" | "attr")
    };
    attributes.split(' ').filter(tells).collect::<Vec<_>>().join(" ")
}

/// Frames, as half-open ranges, whose mappings a running kernel changes.
struct Changed {
    /// What it executes outside its image.
    code: Vec<(u64, u64)>,
    /// Contiguous areas.
    contiguous: Vec<(u64, u64)>,
    /// Addresses that lead wherever they were needed last.
    config_space: Option<VirtRange>,
}

/// Where i386 maps a device's PCI configuration space while it asks it.
fn config_space(machine: &Machine<'_>) -> Option<VirtRange> {
    let fixmap = Fixmap::of(&Facts::new(machine.config)).ok()?;
    fixmap.range(Slot::PcieMcfg)
}

/// The value at an address.
fn at(runs: &[Mapped], va: u64) -> Option<Value> {
    let after = runs.partition_point(|r| r.range.start.get() <= va);
    let run = runs[..after].last().filter(|r| r.range.last().get() >= va)?;
    let phys = run.phys.get() + (va - run.range.start.get());
    Some(Value { phys, size: run.size, attributes: run.attributes.clone() })
}

/// Compares one range, piece by piece between the places where either side changes.
fn section(name: &str, theirs: &[Mapped], ours: &[Mapped], changed: &Changed, outcome: &mut Outcome) {
    // First and last addresses: the end of the address space is no address.
    let mut bounds: BTreeMap<u64, ()> = BTreeMap::new();
    for run in theirs.iter().chain(ours) {
        bounds.insert(run.range.start.get(), ());
        if let Some(end) = run.range.last().get().checked_add(1) {
            bounds.insert(end, ());
        }
        for (start, end) in changed.code.iter().chain(&changed.contiguous) {
            for edge in [start, end] {
                let inside = edge.wrapping_sub(run.phys.get());
                if inside < run.range.len {
                    bounds.insert(run.range.start.get() + inside, ());
                }
            }
        }
    }
    if let Some(range) = changed.config_space {
        bounds.insert(range.start.get(), ());
        bounds.insert(range.last().get() + 1, ());
    }
    let bounds: Vec<u64> = bounds.into_keys().collect();
    let mut open: Option<Fact> = None;
    for (n, &start) in bounds.iter().enumerate() {
        let last = bounds.get(n + 1).map_or(u64::MAX, |next| next - 1);
        let (mut captured, mut mine) = (at(theirs, start), at(ours, start));
        if changed.config_space.is_some_and(|range| range.contains(VirtAddr::new(start)))
            && captured.is_some()
        {
            outcome.excluded[3] += last - start + 1;
            captured = None;
        }
        if captured.is_none() && mine.is_none() {
            continue;
        }
        if let (Some(captured), Some(mine)) = (&mut captured, &mut mine) {
            leave_out(captured, mine, last - start + 1, changed, outcome);
        }
        let piece = Fact { start, last, captured, ours: mine };
        match &mut open {
            Some(fact) if fact.continues(&piece) => fact.last = piece.last,
            _ => {
                if let Some(fact) = open.replace(piece) {
                    fact.check(name, outcome);
                }
            }
        }
    }
    if let Some(fact) = open {
        fact.check(name, outcome);
    }
}

/// Applies the rules to a piece that both sides map.
fn leave_out(captured: &mut Value, ours: &mut Value, bytes: u64, changed: &Changed, outcome: &mut Outcome) {
    if captured.phys != ours.phys || captured.size >= ours.size && captured.attributes == ours.attributes {
        return;
    }
    let holds =
        |from: u64, len: u64| changed.code.iter().any(|(start, end)| *start < from + len && from < *end);
    if captured.attributes != ours.attributes && holds(ours.phys, bytes) {
        outcome.excluded[0] += bytes;
        captured.attributes.clone_from(&ours.attributes);
    }
    let lent = changed.contiguous.iter().any(|(start, end)| (*start..*end).contains(&ours.phys));
    if captured.attributes != ours.attributes
        && lent
        && without_memory_type(&captured.attributes) == without_memory_type(&ours.attributes)
    {
        outcome.excluded[2] += bytes;
        captured.attributes.clone_from(&ours.attributes);
    }
    if captured.size < ours.size && holds(ours.phys & !(ours.size - 1), ours.size) {
        outcome.excluded[1] += bytes;
        captured.size = ours.size;
    }
}

/// A stretch of addresses with one value on each side.
struct Fact {
    start: u64,
    last: u64,
    captured: Option<Value>,
    ours: Option<Value>,
}

impl Fact {
    /// Whether `next` says the same of the addresses that follow.
    fn continues(&self, next: &Self) -> bool {
        let follows = |a: &Option<Value>, b: &Option<Value>| match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                let phys = a.phys.wrapping_add(next.start - self.start);
                (phys, a.size, &a.attributes) == (b.phys, b.size, &b.attributes)
            }
            _ => false,
        };
        self.last.checked_add(1) == Some(next.start)
            && follows(&self.captured, &next.captured)
            && follows(&self.ours, &next.ours)
    }

    fn check(self, name: &str, outcome: &mut Outcome) {
        let key = format!("{name} {:016x}-{:016x}", self.start, self.last);
        let text = |v: Option<Value>| v.map(|v| v.text());
        outcome.tally.check(Group::PageTables, &key, text(self.captured), text(self.ours));
    }
}

#[cfg(test)]
mod tests;
