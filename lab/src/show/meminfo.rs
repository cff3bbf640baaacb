//! `/proc/meminfo`: one labelled amount a line.

use crate::fault::Fault;
use pagewright_view::meminfo as view;
use std::fmt;

/// The whole file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemInfo {
    /// The lines, in Linux's order.
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Line {
    /// The label without its colon.
    pub name: String,
    /// The amount.
    pub value: u64,
    /// Whether the amount is in KiB (written `kB`) or a plain count.
    pub kib: bool,
}

impl MemInfo {
    /// The amount with that label.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.lines.iter().find(|l| l.name == name).map(|l| l.value)
    }

    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let lines = text.lines().enumerate().map(|(i, line)| {
            let fault = || Fault::line(i + 1, line, "`<name>: <number> [kB]`");
            let (name, rest) = line.split_once(':').ok_or_else(fault)?;
            let rest = rest.trim();
            let (number, kib) = match rest.strip_suffix(" kB") {
                Some(n) => (n, true),
                None => (rest, false),
            };
            Ok(Line { name: name.to_owned(), value: number.parse().map_err(|_| fault())?, kib })
        });
        Ok(Self { lines: lines.collect::<Result<_, Fault>>()? })
    }
}

impl fmt::Display for MemInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { name, value, kib } in &self.lines {
            view::amount(f, name, *value, *kib)?;
        }
        Ok(())
    }
}
