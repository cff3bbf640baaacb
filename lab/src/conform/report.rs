//! The outcome of a `conform` run: a table with a line for each machine, then every unequal fact with both values.

use super::allow::Allow;
use super::compare::Tally;
use crate::facts::Group;
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// One machine's outcome.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct MachineReport {
    /// The machine's name.
    pub machine: String,
    /// The groups that could be compared.
    pub groups: BTreeMap<Group, Tally>,
    /// Why groups are left out, in words.
    pub left_out: BTreeMap<Group, String>,
    /// What the replay took from the boot path between logged calls, one change a line (for `-v`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub silent_changes: Vec<String>,
    /// What rules left out of the page tables, one rule a line (for `-v`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// memblock calls that our boot makes otherwise than Linux did (for `-v`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diverging_calls: Vec<String>,
}

/// The whole run.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Report {
    /// The machines in the order given.
    pub machines: Vec<MachineReport>,
    /// Entries of the allow file that accepted nothing: line and text.
    pub unused_allowances: Vec<String>,
}

impl Report {
    /// Marks accepted differences, and notes the entries that accepted nothing.
    pub fn judge(&mut self, allow: &Allow) {
        for m in &mut self.machines {
            for tally in m.groups.values_mut() {
                for difference in &mut tally.differences {
                    allow.judge(&m.machine, difference);
                }
            }
        }
        let unused = allow.unused().map(|e| format!("line {}: {} {} {}", e.line, e.machine, e.group, e.key));
        self.unused_allowances = unused.collect();
    }

    /// Whether any fact differs that counts: managed pages are shown only.
    pub fn differs(&self) -> bool {
        let counts = |(group, tally): (&Group, &Tally)| *group != Group::Managed && tally.open() > 0;
        self.machines.iter().any(|m| m.groups.iter().any(counts))
    }

    /// The table. `colour` says whether the terminal shows colours.
    pub fn table(&self, colour: bool) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY);
        if colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let head = |name: &str| Cell::new(name).add_attribute(Attribute::Bold);
        table.set_header(std::iter::once("machine").chain(Group::ALL.map(Group::name)).map(head));
        for m in &self.machines {
            let mut row = vec![Cell::new(&m.machine)];
            row.extend(Group::ALL.map(|g| cell(g, m.groups.get(&g))));
            table.add_row(row);
        }
        table
    }
}

/// `12` if all twelve facts are equal, `10/12` if not.
fn cell(group: Group, tally: Option<&Tally>) -> Cell {
    let Some(tally) = tally else {
        return Cell::new("-").set_alignment(CellAlignment::Right).fg(Color::DarkGrey);
    };
    let unequal = tally.differences.len();
    let (text, colour) = match (unequal, tally.open()) {
        (0, _) => (tally.facts.to_string(), Color::Green),
        (_, 0) => (format!("{}/{} (allowed)", tally.facts - unequal, tally.facts), Color::Yellow),
        _ if group == Group::Managed => (format!("{}/{}", tally.facts - unequal, tally.facts), Color::Yellow),
        _ => (format!("{}/{}", tally.facts - unequal, tally.facts), Color::Red),
    };
    Cell::new(text).set_alignment(CellAlignment::Right).fg(colour)
}

/// The differences, most severe kind first, each with both values.
pub struct Differences<'a> {
    /// The run.
    pub report: &'a Report,
    /// Also accepted ones, what was left out and why, and silent changes.
    pub verbose: bool,
}

impl fmt::Display for Differences<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for m in &self.report.machines {
            let mut out = String::new();
            for d in m.groups.values().flat_map(|t| &t.differences) {
                if d.allowed.is_some() && !self.verbose {
                    continue;
                }
                let mark = match (&d.allowed, d.group) {
                    (Some(_), _) => " (allowed)",
                    (None, Group::Managed) => " (shown only)",
                    _ => "",
                };
                writeln!(out, "  {}: {}{mark}", d.group, d.key)?;
                writeln!(out, "    linux      {}", d.captured.as_deref().unwrap_or("(nothing)"))?;
                writeln!(out, "    pagewright {}", d.ours.as_deref().unwrap_or("(nothing)"))?;
                if let Some(reason) = &d.allowed {
                    writeln!(out, "    because    {reason}")?;
                }
            }
            if self.verbose {
                for (group, why) in &m.left_out {
                    writeln!(out, "  {group}: left out, {why}")?;
                }
                for rule in &m.excluded {
                    writeln!(out, "  page-tables: left out {rule}")?;
                }
                for change in &m.silent_changes {
                    writeln!(out, "  replay: {change}")?;
                }
                for call in &m.diverging_calls {
                    writeln!(out, "  end to end: {call}")?;
                }
            }
            if !out.is_empty() {
                write!(f, "{}\n{out}", m.machine)?;
            }
        }
        for unused in &self.report.unused_allowances {
            writeln!(f, "allowed but equal: {unused}")?;
        }
        Ok(())
    }
}
