//! Physical memory as a picture: one line of marks for each stretch of a zone, every mark the same number of bytes.

use super::ledger::{Ledger, Purpose};
use crate::run::Booted;
use owo_colors::{AnsiColors, OwoColorize};
use pagewright_addr::PhysRange;
use std::collections::HashMap;
use std::fmt;

/// The picture; `Display` draws it, with colours that a stream without colour has to strip.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    /// Bytes of one mark.
    pub mark: u64,
    /// Zones with their stretches of RAM.
    zones: Vec<(String, Vec<Stretch>)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Stretch {
    range: PhysRange,
    marks: Vec<Purpose>,
}

/// Marks in a line.
const WIDTH: usize = 64;
/// Marks in the whole picture, about.
const MARKS: u64 = 512;

/// How a purpose is drawn.
const fn look(purpose: Purpose) -> (char, AnsiColors) {
    match purpose {
        Purpose::Free => ('.', AnsiColors::Green),
        Purpose::Cma => ('c', AnsiColors::Cyan),
        Purpose::Kernel | Purpose::KernelInit => ('K', AnsiColors::Magenta),
        Purpose::PageMetadata => ('m', AnsiColors::Yellow),
        Purpose::CrashKernel => ('x', AnsiColors::BrightRed),
        Purpose::Initrd => ('i', AnsiColors::Blue),
        Purpose::HugePages => ('h', AnsiColors::BrightCyan),
        _ => ('#', AnsiColors::Red),
    }
}

impl Picture {
    /// Draws a booted machine.
    pub fn of(booted: &Booted<'_, '_, '_, '_, '_>, ledger: &Ledger) -> Self {
        let mark = (ledger.total() / MARKS).next_power_of_two().max(booted.boot.page_bytes());
        let shift = booted.boot.machine.config.page_shift;
        let mut zones = Vec::new();
        for zone in booted.running.buddy.zones() {
            let Some(layout) = &booted.boot.layout else { continue };
            let span = layout.nodes()[zone.nid().index()].zone(zone.kind()).pfns().bytes(shift);
            let name = format!("node {} {}", zone.nid(), zone.kind());
            let mine = layout.ranges().iter().filter(|r| r.nid == zone.nid());
            let ram = mine.map(|r| r.pfns.bytes(shift).intersection(&span)).filter(|r| !r.is_empty());
            zones.push((name, merged(ram).map(|range| stretch(range, mark, ledger)).collect()));
        }
        Self { mark, zones }
    }
}

/// Ranges that touch become one.
fn merged(ranges: impl Iterator<Item = PhysRange>) -> impl Iterator<Item = PhysRange> {
    let mut out: Vec<PhysRange> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => out.push(range),
        }
    }
    out.into_iter()
}

fn stretch(range: PhysRange, mark: u64, ledger: &Ledger) -> Stretch {
    let count = range.len().div_ceil(mark);
    let mut bytes: Vec<HashMap<Purpose, u64>> = vec![HashMap::new(); count as usize];
    for (span, purpose) in ledger.spans() {
        let inside = span.intersection(&range);
        let mut at = inside.start.get();
        while at < inside.end.get() {
            let index = (at - range.start.get()) / mark;
            // The last mark of memory at the very top ends beyond all addresses.
            let next = range.start.get().saturating_add((index + 1).saturating_mul(mark));
            let end = next.min(inside.end.get());
            *bytes[index as usize].entry(purpose).or_default() += end - at;
            at = end;
        }
    }
    let most = |m: &HashMap<Purpose, u64>| {
        m.iter().max_by_key(|(p, n)| (**n, **p)).map_or(Purpose::Free, |(p, _)| *p)
    };
    Stretch { range, marks: bytes.iter().map(most).collect() }
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Physical memory, {} a mark:", human(self.mark))?;
        for (name, stretches) in &self.zones {
            for (i, stretch) in stretches.iter().enumerate() {
                let name = if i == 0 { name.as_str() } else { "" };
                let (start, last) = (stretch.range.start.get(), stretch.range.end.get() - 1);
                writeln!(f, "{name:<14} {start:#012x}-{last:#012x}  {}", human(stretch.range.len()))?;
                for line in stretch.marks.chunks(WIDTH) {
                    write!(f, "  ")?;
                    for purpose in line {
                        let (mark, colour) = look(*purpose);
                        write!(f, "{}", mark.color(colour))?;
                    }
                    writeln!(f)?;
                }
            }
        }
        write!(f, "  ")?;
        let legend = [
            (Purpose::Free, "free"),
            (Purpose::Cma, "CMA"),
            (Purpose::Kernel, "kernel"),
            (Purpose::PageMetadata, "page metadata"),
            (Purpose::Initrd, "initial RAM disk"),
            (Purpose::CrashKernel, "crash kernel"),
            (Purpose::HugePages, "huge pages"),
            (Purpose::SetAside, "reserved"),
        ];
        for (i, (purpose, name)) in legend.into_iter().enumerate() {
            let (mark, colour) = look(purpose);
            write!(f, "{}{} {name}", if i == 0 { "" } else { "  " }, mark.color(colour))?;
        }
        writeln!(f)
    }
}

/// A size in the largest unit that keeps it exact, or with one decimal.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in UNITS {
        let one = 1u64 << shift;
        if bytes >= one {
            return match bytes % one {
                0 => format!("{} {unit}", bytes >> shift),
                _ => format!("{:.1} {unit}", bytes as f64 / one as f64),
            };
        }
    }
    format!("{bytes} B")
}
