//! Stages: named steps with a time budget each, run one after the other, summed up in one table.
//!
//! A stage that fails does not stop the later ones: one run tells everything that is wrong. A stage whose tool or
//! input cannot be had is *missing*: it is counted and named in the closing lines, so that nothing is skipped
//! silently. A stage over its budget is marked; it is ended, and has failed, at [`PATIENCE`] times the budget, so
//! that a slow day is no failure and a hang is.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How many budgets a stage may take before it is ended.
pub(crate) const PATIENCE: u32 = 3;

/// One step of `cargo xtask test`.
pub(crate) struct Stage<C> {
    /// A short name, as `--only` takes it.
    pub(crate) name: &'static str,
    /// What it shows, in half a line.
    pub(crate) shows: &'static str,
    /// The time it should stay within, on two cores and an empty target directory.
    pub(crate) budget_seconds: u32,
    /// Does the work.
    pub(crate) run: fn(&mut C, Limit) -> Outcome,
}

/// The time after which a stage's programs are to be ended.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    end: Instant,
}

impl Limit {
    fn of(budget_seconds: u32) -> Self {
        Self { end: Instant::now() + Duration::from_secs(u64::from(budget_seconds * PATIENCE)) }
    }

    /// What is left, at least one second (so that a late program fails by its limit, not by a strange message).
    pub(crate) fn left(self) -> Duration {
        self.end.saturating_duration_since(Instant::now()).max(Duration::from_secs(1))
    }
}

/// How a stage ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It shows what it should; the text says how much was looked at.
    Passed(String),
    /// It shows that something is wrong; the text says what.
    Failed(String),
    /// It could not run; one line says what is missing and how to get it.
    Missing(String),
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Passed(_) => "passed",
            Self::Failed(_) => "FAILED",
            Self::Missing(_) => "MISSING",
        }
    }

    fn first_line(&self) -> &str {
        let (Self::Passed(text) | Self::Failed(text) | Self::Missing(text)) = self;
        text.lines().next().unwrap_or("")
    }
}

/// One line of the closing table.
pub(crate) struct Row {
    name: &'static str,
    budget_seconds: u32,
    took: Duration,
    outcome: Outcome,
}

/// Runs the stages in order and returns a row for each.
pub(crate) fn run_all<C>(stages: &[&Stage<C>], context: &mut C) -> Vec<Row> {
    let mut rows = Vec::with_capacity(stages.len());
    for stage in stages {
        println!("== {}: {} (budget {} s)", stage.name, stage.shows, stage.budget_seconds);
        let start = Instant::now();
        let outcome = (stage.run)(context, Limit::of(stage.budget_seconds));
        let took = start.elapsed();
        if let Outcome::Failed(text) = &outcome {
            println!("{text}");
        }
        println!(
            "== {}: {} in {:.1} s; {}",
            stage.name,
            outcome.word(),
            took.as_secs_f64(),
            outcome.first_line()
        );
        rows.push(Row { name: stage.name, budget_seconds: stage.budget_seconds, took, outcome });
    }
    rows
}

/// The table of all stages, their times and budgets, and one line for each that is missing or failed.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = format!("{:<16} {:>8} {:>8}  result\n", "stage", "seconds", "budget");
    for row in rows {
        let over = row.took.as_secs_f64() > f64::from(row.budget_seconds);
        let mark = if over { " (over budget)" } else { "" };
        let seconds = row.took.as_secs_f64();
        let (name, budget, word) = (row.name, row.budget_seconds, row.outcome.word());
        writeln!(text, "{name:<16} {seconds:>8.1} {budget:>8}  {word}{mark}").expect("a string takes all");
    }
    let took: f64 = rows.iter().map(|row| row.took.as_secs_f64()).sum();
    let budget: u32 = rows.iter().map(|row| row.budget_seconds).sum();
    writeln!(text, "{:<16} {took:>8.1} {budget:>8}", "total").expect("a string takes all");
    for row in rows.iter().filter(|row| !matches!(row.outcome, Outcome::Passed(_))) {
        let (name, word, why) = (row.name, row.outcome.word(), row.outcome.first_line());
        writeln!(text, "{word} {name}: {why}").expect("a string takes all");
    }
    text
}

/// Names of the stages that failed, and of those that could not run.
pub(crate) fn not_passed(rows: &[Row]) -> (Vec<&'static str>, Vec<&'static str>) {
    let named = |wanted: fn(&Outcome) -> bool| {
        rows.iter().filter(|row| wanted(&row.outcome)).map(|row| row.name).collect()
    };
    (named(|o| matches!(o, Outcome::Failed(_))), named(|o| matches!(o, Outcome::Missing(_))))
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
