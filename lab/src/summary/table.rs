//! The tables below the picture.

use super::ledger::{Ledger, Purpose};
use super::picture::human;
use comfy_table::{CellAlignment, Table, presets};
use pagewright::Phase;
use pagewright::pgtable::TableCounts;
use pagewright_pagetable::TableUse;
use std::time::{Duration, Instant};

pub(crate) fn table(header: &[&str], colour: bool) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    if !colour {
        table.force_no_tty();
    }
    table.set_header(header.iter().copied());
    table
}

pub(crate) fn right(table: &mut Table, columns: &[usize]) {
    for &column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Where RAM went: every purpose in bytes, with the sums.
pub fn accounts(ledger: &Ledger, colour: bool) -> Table {
    let total = ledger.total();
    let mut table = table(&["RAM", "bytes", "", "share"], colour);
    let mut row = |what: &str, bytes: u64| {
        let share = if total == 0 { 0.0 } else { bytes as f64 * 100.0 / total as f64 };
        table.add_row([what.to_owned(), bytes.to_string(), human(bytes), format!("{share:.2} %")]);
    };
    for purpose in Purpose::ALL {
        let bytes = ledger.bytes(purpose);
        if bytes > 0 {
            row(purpose.title(), bytes);
        }
    }
    let managed: u64 = Purpose::ALL.into_iter().filter(|p| p.is_managed()).map(|p| ledger.bytes(p)).sum();
    row("all", total);
    row("of it managed", managed);
    right(&mut table, &[1, 2, 3]);
    table
}

/// How many page tables each step took, in the boot's order, and what the linear map has of them beside the fewest that could
/// hold it; `None` when there were none.
pub fn page_tables(
    counts: &TableCounts,
    linear_map: Option<TableUse>,
    page_bytes: u64,
    colour: bool,
) -> Option<Table> {
    let mut table = table(&["page tables", "tables", ""], colour);
    let mut row = |what: &str, tables: u64| {
        table.add_row([what.to_owned(), tables.to_string(), human(tables * page_bytes)]);
    };
    counts.steps().iter().for_each(|step| row(step.step, step.built.unwrap_or(step.counted)));
    row("all", counts.total());
    if let Some(used) = linear_map {
        row("in use by the linear map", used.built);
        row("fewest that could hold it", used.minimum);
    }
    right(&mut table, &[1, 2]);
    (counts.total() > 0).then_some(table)
}

/// How long each phase took.
pub fn phases(phases: &[(Phase, Instant)], end: Instant, colour: bool) -> Table {
    let mut table = table(&["phase", "time"], colour);
    for (phase, took) in durations(phases, end) {
        table.add_row([phase.title().to_owned(), format!("{:.1} µs", took.as_secs_f64() * 1e6)]);
    }
    if let Some((_, start)) = phases.first() {
        table
            .add_row(["all".to_owned(), format!("{:.1} µs", end.duration_since(*start).as_secs_f64() * 1e6)]);
    }
    right(&mut table, &[1]);
    table
}

/// Each phase with its duration, in order. A phase that is announced twice began with the second announcement: what
/// is between belongs to the phase before.
pub(super) fn durations(phases: &[(Phase, Instant)], end: Instant) -> Vec<(Phase, Duration)> {
    let mut begun: Vec<(Phase, Instant)> = Vec::new();
    for &(phase, at) in phases {
        match begun.last_mut() {
            Some(last) if last.0 == phase => last.1 = at,
            _ => begun.push((phase, at)),
        }
    }
    let next = begun.iter().skip(1).map(|(_, at)| *at).chain([end]);
    begun.iter().zip(next).map(|((phase, at), next)| (*phase, next.duration_since(*at))).collect()
}
