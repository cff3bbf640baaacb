//! The text files in which Linux 6.1 shows its memory, byte for byte.
//!
//! [`pagewright_view`] writes them from a booted machine. Here each module holds one file as a plain model and its
//! reader, for `conform` and for those who ask for single numbers. A model's [`std::fmt::Display`] goes through the same
//! functions line by line, so that a mistake in a format is caught by reading a real file and writing it back.

pub mod buddyinfo;
pub mod cache;
pub mod iomem;
pub mod layout;
pub mod memblock;
pub mod meminfo;
pub mod page_tables;
pub mod pagetypeinfo;
pub mod vmalloc;
pub mod vmstat;
pub mod zoneinfo;

use crate::fault::Fault;
use crate::run::Booted;
use pagewright_view::{NotShown, State, View, Views};

impl Booted<'_, '_, '_, '_, '_> {
    /// The text of a file of this machine.
    ///
    /// # Errors
    /// A [`Fault`] that says why this machine has no such file.
    pub fn show(&self, view: View) -> Result<String, Fault> {
        self.show_all(&view.into())
    }

    /// The text of several, with headings between them.
    ///
    /// # Errors
    /// A [`Fault`] for the first that this machine has not.
    pub fn show_all(&self, views: &Views) -> Result<String, Fault> {
        self.show_state(views, &self.state())
    }

    /// The same of a machine whose allocators are in service.
    ///
    /// # Errors
    /// As for [`Self::show_all`].
    pub fn show_state(&self, views: &Views, state: &State<'_, '_, '_, '_, '_>) -> Result<String, Fault> {
        if views.iter().any(|view| matches!(view, View::PageTables | View::PageTableRuns)) {
            self.tables()?;
        }
        if views.iter().any(|view| view == View::PageTableRuns) {
            page_tables::agrees(self)?;
        }
        let mut out = String::new();
        let fault = |e: NotShown| Fault::caused(e.why, e.view.name(), "");
        views.write(&mut out, state).map_err(fault)?;
        Ok(out)
    }
}

/// Lines of a text with their numbers, counted from 1, for readers that look one line ahead.
pub(crate) struct Lines<'a> {
    rest: std::iter::Peekable<std::iter::Enumerate<std::str::Lines<'a>>>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text.lines().enumerate().peekable() }
    }

    pub(crate) fn peek(&mut self) -> Option<&'a str> {
        self.rest.peek().map(|(_, l)| *l)
    }

    pub(crate) fn next(&mut self) -> Option<(usize, &'a str)> {
        self.rest.next().map(|(n, l)| (n + 1, l))
    }

    /// The next line, which must exist.
    pub(crate) fn need(&mut self, expected: &str) -> Result<(usize, &'a str), Fault> {
        self.next().ok_or_else(|| Fault::new("the text ends", "last line", expected))
    }

    /// The next line's number after `label`, blanks ignored: `managed  3840` read with `managed` is 3840.
    pub(crate) fn number(&mut self, label: &str) -> Result<u64, Fault> {
        let expected = || format!("`{label} <number>`");
        let (n, line) = self.need(&expected())?;
        line.trim()
            .strip_prefix(label)
            .and_then(|v| v.trim().parse().ok())
            .ok_or_else(|| Fault::line(n, line, expected()))
    }

    /// Whether the next line starts with `prefix` once its indentation is taken off.
    pub(crate) fn next_is(&mut self, prefix: &str) -> bool {
        self.peek().is_some_and(|l| l.trim_start().starts_with(prefix))
    }
}

/// A name and a value, as counters stand in several files.
pub type Counter = (String, u64);

/// `name   123` as a counter.
pub(crate) fn counter(number: usize, line: &str) -> Result<Counter, Fault> {
    let mut words = line.split_whitespace();
    match (words.next(), words.next().and_then(|v| v.parse().ok()), words.next()) {
        (Some(name), Some(value), None) => Ok((name.to_owned(), value)),
        _ => Err(Fault::line(number, line, "`<name> <number>`")),
    }
}

/// `Node 0, zone      DMA` and what follows it.
pub(crate) fn node_zone(number: usize, line: &str) -> Result<(u32, &str, &str), Fault> {
    let fault = || Fault::line(number, line, "`Node <number>, zone <name>`");
    let rest = line.strip_prefix("Node").ok_or_else(fault)?;
    let (node, rest) = rest.split_once(',').ok_or_else(fault)?;
    let rest = rest.trim_start().strip_prefix("zone").ok_or_else(fault)?.trim_start();
    let end = rest.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(rest.len());
    let (zone, rest) = rest.split_at(end);
    Ok((node.trim().parse().map_err(|_| fault())?, zone, rest))
}

#[cfg(test)]
mod tests;
