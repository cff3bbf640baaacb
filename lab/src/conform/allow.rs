//! Accepted differences, each with its reason.
//!
//! One entry a line: `<machine> <group> <key> -- <reason>`; `*` in machine and key stands for anything, `#` starts a
//! comment line. An entry that matches no difference is reported, so that the file shrinks with the differences.

use super::compare::Difference;
use crate::facts::Group;
use crate::fault::Fault;
use std::cell::Cell;

/// One accepted difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Which machines.
    pub machine: String,
    /// Which group.
    pub group: Group,
    /// Which facts.
    pub key: String,
    /// Why.
    pub reason: String,
    /// Where the entry stands in the file, counted from 1.
    pub line: usize,
    used: Cell<bool>,
}

/// All accepted differences.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Allow {
    entries: Vec<Entry>,
}

const FORM: &str = "`<machine> <group> <key> -- <reason>`";

impl Allow {
    /// Reads the file's text.
    ///
    /// # Errors
    /// A [`Fault`] with the line that is no entry.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut entries = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let fault = || Fault::line(i + 1, line, FORM);
            let (what, reason) = trimmed.split_once(" -- ").ok_or_else(fault)?;
            let (machine, rest) = what.split_once(char::is_whitespace).ok_or_else(fault)?;
            let (group, key) = rest.trim_start().split_once(char::is_whitespace).ok_or_else(fault)?;
            let group = Group::from_name(group).ok_or_else(|| {
                let names: Vec<_> = Group::ALL.iter().map(|g| g.name()).collect();
                Fault::line(i + 1, group, format!("a group: {}", names.join(", ")))
            })?;
            if reason.trim().is_empty() {
                return Err(fault());
            }
            entries.push(Entry {
                machine: machine.to_owned(),
                group,
                key: key.trim().to_owned(),
                reason: reason.trim().to_owned(),
                line: i + 1,
                used: Cell::new(false),
            });
        }
        Ok(Self { entries })
    }

    /// Marks the difference as accepted if an entry says so.
    pub fn judge(&self, machine: &str, difference: &mut Difference) {
        let entry = self.entries.iter().find(|e| {
            e.group == difference.group && matches(&e.machine, machine) && matches(&e.key, &difference.key)
        });
        if let Some(entry) = entry {
            entry.used.set(true);
            difference.allowed = Some(entry.reason.clone());
        }
    }

    /// Entries that accepted nothing.
    pub fn unused(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|e| !e.used.get())
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = pattern.rsplit_once('*').map(|(_, last)| last) else { return rest.is_empty() };
    let middle: Vec<_> = parts.collect();
    for part in &middle[..middle.len() - 1] {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
