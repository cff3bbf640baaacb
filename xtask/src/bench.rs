//! `cargo xtask bench`: measurements. They are printed, never asserted.

use crate::project::Project;
use crate::tools;
use clap::Args;
use std::time::Duration;

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// Arguments for `cargo bench` (a filter, or the options of one benchmark)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs the benchmarks of `bench/`.
///
/// # Errors
/// One line: what is missing, or that a benchmark did not end well.
pub(crate) fn run(project: &Project, options: &Options) -> Result<(), String> {
    tools::apt("valgrind", Some("valgrind"))?;
    let cmd = project.cmd("cargo").args(["bench", "--package", "pagewright-bench"]).args(&options.rest);
    let out = cmd.echo(true).limit(Duration::from_secs(3600)).run()?;
    if out.ok() { Ok(()) } else { Err("cargo bench did not end well".into()) }
}
