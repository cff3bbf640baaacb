//! Facts: what a boot log says about memory, as keys with values, in groups.
//!
//! One extractor reads every log, the one that a real kernel printed and the one that our boot renders, so both
//! sides of a comparison are read by the same rules. A key names what is decided (`zone DMA range`), the value is
//! the decision (`[mem 0x40000000-0x7fffffff]`). Lines that may occur several times are numbered in order.

mod prefix;
mod rules;

pub use prefix::{body, plain};

use std::collections::HashMap;
use std::fmt;

/// What kind of fact it is; the groups of the conformance table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Regions, nodes, flags.
    Memory,
    /// Zone ranges, nodes, holes, zonelists.
    Zones,
    /// CMA, crash kernel, reserved memory, initial RAM disk: where they went and what was refused.
    Placements,
    /// Page flags and the per-CPU first chunk.
    Layout,
    /// Watermarks, computed from the captured managed pages.
    Watermarks,
    /// Every memblock call, executed again.
    Replay,
    /// The kernel's page tables: addresses, sizes of mappings, attributes.
    #[serde(rename = "page-tables")]
    PageTables,
    /// SLUB: how caches are laid out in slabs, and which ones kmalloc has.
    Slub,
    /// Areas of the kernel's virtual memory that are there before vmalloc is.
    Vmalloc,
    /// Physical address ranges that are in use before a driver asks for one.
    Iomem,
    /// Pages that the allocator manages in the end. Shown, never a reason to fail.
    Managed,
}

impl Group {
    /// All groups in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::Memory,
        Self::Zones,
        Self::Placements,
        Self::Layout,
        Self::Watermarks,
        Self::Replay,
        Self::PageTables,
        Self::Slub,
        Self::Vmalloc,
        Self::Iomem,
        Self::Managed,
    ];

    /// The group's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Zones => "zones",
            Self::Placements => "placements",
            Self::Layout => "layout",
            Self::Watermarks => "watermarks",
            Self::Replay => "replay",
            Self::PageTables => "page-tables",
            Self::Slub => "slub",
            Self::Vmalloc => "vmalloc",
            Self::Iomem => "iomem",
            Self::Managed => "managed",
        }
    }

    /// The group with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|g| g.name() == name)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fact {
    /// Its group.
    pub group: Group,
    /// What is decided.
    pub key: String,
    /// The decision.
    pub value: String,
    /// Whether it stands below the `Kernel command line:` line, where a log whose early buffer was too small
    /// has lost lines.
    pub late: bool,
}

/// The facts of one log, in the log's order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// The facts.
    pub list: Vec<Fact>,
    /// Whether the log reaches the `Memory:` line without a gap, so that a missing line means something.
    pub complete: bool,
    counts: HashMap<String, u32>,
}

impl Facts {
    /// Reads a log, with or without timestamps.
    pub fn from_log(text: &str) -> Self {
        let mut facts = Self::default();
        let mut reader = rules::Reader::default();
        for line in text.lines() {
            reader.line(body(line), &mut facts);
        }
        facts
    }

    /// The value of that key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.list.iter().find(|f| f.key == key).map(|f| f.value.as_str())
    }

    fn push(&mut self, group: Group, key: String, value: &str, late: bool) {
        self.list.push(Fact { group, key, value: value.trim_end().to_owned(), late });
    }

    /// Adds a fact whose key may occur again: the number of its occurrence becomes part of the key.
    fn push_next(&mut self, group: Group, key: &str, value: &str, late: bool) {
        let n = self.counts.entry(key.to_owned()).or_default();
        *n += 1;
        let key = format!("{key} #{n}");
        self.push(group, key, value, late);
    }
}

/// The text with every number replaced by `#`, so that lines which differ in numbers only share it.
pub(crate) fn shape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.trim_end();
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        let glued = before.chars().next_back().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let digits = |s: &str| s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
        let len = match number.strip_prefix("0x") {
            Some(hex) => 2 + hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len()),
            None => digits(number),
        };
        out.push_str(before);
        // A digit inside a word belongs to a name (`e820`, `DMA32`).
        out.push_str(if glued { &number[..len] } else { "#" });
        rest = &number[len..];
    }
    out + rest
}

#[cfg(test)]
mod tests;
