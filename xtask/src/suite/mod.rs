//! `cargo xtask test`: everything that decides whether a change is good.
//!
//! The stages run from cheap to dear. Their budgets add up to less than 25 minutes on two cores with an empty
//! target directory (a test holds them to it). The closing line of the test runner is the last line printed, and
//! the exit code tells whether every stage passed.

mod corpus;
mod hosted;
mod images;
mod minimal;
mod miri;
mod pairs;
mod parsers;
mod rust;
mod same;

use crate::cmd::Output;
use crate::project::Project;
use crate::stage::{self, Limit, Outcome, Stage};
use clap::Args;
use std::path::PathBuf;

pub(crate) use miri::{MIRI_FLAGS, MIRI_SAFE_CRATES, MIRI_TREE_BORROWS};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Options {
    /// Run only these stages (see --list)
    #[arg(long, value_delimiter = ',', value_name = "STAGE")]
    only: Vec<String>,
    /// Leave out these stages
    #[arg(long, value_delimiter = ',', value_name = "STAGE")]
    without: Vec<String>,
    /// List the stages and their budgets
    #[arg(long)]
    list: bool,
    /// Fail if a stage cannot run because something is missing (so it is with CI=true too)
    #[arg(long)]
    strict: bool,
    /// Show what each program prints as it comes
    #[arg(long, short)]
    verbose: bool,
}

/// What the stages share.
pub(crate) struct Suite<'p> {
    project: &'p Project,
    verbose: bool,
    /// The optimised `pagewright` command, once the `build` stage or a later one has made it.
    pagewright: Option<PathBuf>,
    /// The test runner's closing line.
    closing: Option<String>,
}

impl Suite<'_> {
    /// The command, built now if it was not before.
    fn pagewright(&mut self) -> Result<PathBuf, String> {
        if self.pagewright.is_none() {
            self.pagewright = Some(self.project.program("pagewright", false)?);
        }
        Ok(self.pagewright.clone().expect("just built"))
    }

    /// Runs a program of a stage: logged under the stage's name, ended at its limit.
    fn run(&self, stage: &str, cmd: crate::cmd::Cmd, limit: Limit) -> Result<Output, Outcome> {
        let log = self.project.scratch("logs").map_err(Outcome::Failed)?.join(format!("{stage}.log"));
        let out = cmd.limit(limit.left()).log(&log).echo(self.verbose).run().map_err(Outcome::Failed)?;
        if out.timed_out {
            let last = crate::cmd::tail(&out.text, 40);
            return Err(Outcome::Failed(format!("ended at {} times its budget\n{last}", stage::PATIENCE)));
        }
        Ok(out)
    }

    /// Runs a program whose success is the whole answer.
    fn judge(&self, stage: &str, cmd: crate::cmd::Cmd, limit: Limit, passed: &str) -> Outcome {
        match self.run(stage, cmd, limit) {
            Err(outcome) => outcome,
            Ok(out) if out.ok() => Outcome::Passed(passed.into()),
            Ok(out) => Outcome::Failed(format!("{stage} failed\n{}", crate::cmd::tail(&out.text, 120))),
        }
    }
}

/// All stages, in the order in which they run.
fn stages<'p>() -> Vec<Stage<Suite<'p>>> {
    let stage = |name, shows, budget_seconds, run| Stage { name, shows, budget_seconds, run };
    vec![
        stage("fmt", "the code is formatted", 15, rust::fmt),
        stage("clippy", "no lint warns, in any target of the workspace and of the images", 130, rust::clippy),
        stage("tests", "unit, property and model tests of the workspace", 350, rust::tests),
        stage("doctests", "every example in the documentation runs", 20, rust::doctests),
        stage("rustdoc", "the documentation builds without a warning", 30, rust::rustdoc),
        stage("build", "the pagewright command builds", 35, hosted::build),
        stage(
            "memblock-suite",
            "Linux's own memblock suite passes on the C interface",
            40,
            hosted::memblock_suite,
        ),
        stage("smoke", "every shipped machine boots, bad input is refused in one line", 20, hosted::smoke),
        stage("conformance", "captured machines boot as real Linux booted them", 20, hosted::conformance),
        stage("parsers", "parsers that others wrote read what `show` prints", 45, parsers::run),
        stage("corpus", "no parser of outside input panics on the committed corpus", 45, corpus::run),
        stage(
            "images",
            "the bare-metal images are small, boot in QEMU and pass their own tests",
            230,
            images::boot,
        ),
        stage("same-answers", "every bare-metal image decides as the hosted boot does", 25, same::run),
        stage("loom", "what takes no lock is right in every interleaving", 50, rust::loom),
        stage("miri", "the lower crates have no undefined behaviour", 380, miri::miri),
    ]
}

/// Runs the stages and prints the table.
///
/// # Errors
/// One line naming the stages that failed.
pub(crate) fn run(project: &Project, options: &Options) -> Result<(), String> {
    let all = stages();
    if let Some(unknown) =
        options.only.iter().chain(&options.without).find(|wanted| all.iter().all(|s| s.name != **wanted))
    {
        let names: Vec<_> = all.iter().map(|s| s.name).collect();
        return Err(format!("no stage {unknown}: there are {}", names.join(", ")));
    }
    if options.list {
        for s in &all {
            println!("{:<16} {:>4} s  {}", s.name, s.budget_seconds, s.shows);
        }
        return Ok(());
    }
    let listed = |list: &[String], name: &str| list.iter().any(|item| item == name);
    let chosen: Vec<&Stage<Suite<'_>>> = all
        .iter()
        .filter(|s| options.only.is_empty() || listed(&options.only, s.name))
        .filter(|s| !listed(&options.without, s.name))
        .collect();
    if std::env::var_os("RUSTFLAGS").is_some() {
        println!("RUSTFLAGS is set: it replaces every rustflags entry of the cargo configuration");
    }
    let mut suite = Suite { project, verbose: options.verbose, pagewright: None, closing: None };
    let rows = stage::run_all(&chosen, &mut suite);
    println!("\n{}", stage::table(&rows));
    let (failed, missing) = stage::not_passed(&rows);
    let verdict = if !failed.is_empty() {
        Err(format!("{} of {} stages failed: {}", failed.len(), rows.len(), failed.join(", ")))
    } else if (options.strict || in_ci(std::env::var("CI").ok().as_deref())) && !missing.is_empty() {
        Err(format!("{} of {} stages could not run: {}", missing.len(), rows.len(), missing.join(", ")))
    } else {
        Ok(())
    };
    if let Err(line) = &verdict {
        println!("{line}");
    }
    if let Some(closing) = &suite.closing {
        println!("{closing}");
    }
    // The reason stands above, so that the runner's line stays the last.
    verdict.map_err(|_| String::new())
}

/// Whether the variable `CI` says that nobody is there to read that something was missing.
fn in_ci(value: Option<&str>) -> bool {
    value.is_some_and(|v| !matches!(v, "" | "0" | "false"))
}

#[cfg(test)]
mod tests;
