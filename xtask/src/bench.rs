//! `cargo xtask bench`: measurements. They are printed, never asserted.

use crate::project::Project;
use crate::tools;
use clap::Args;
use std::time::Duration;

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// Programs of bench/; all of them if none is named
    programs: Vec<String>,
    /// Arguments for the programs
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs the programs of `bench/` one after the other.
///
/// # Errors
/// One line: what is missing, or which programs did not end well.
pub(crate) fn run(project: &Project, options: &Options) -> Result<(), String> {
    // Instructions are counted by callgrind.
    tools::apt("valgrind", Some("valgrind"))?;
    let programs = if options.programs.is_empty() {
        project.sources_in("bench/src/bin")?
    } else {
        options.programs.clone()
    };
    let mut failed = Vec::new();
    for program in programs {
        println!("== {program}");
        let args =
            ["run", "--quiet", "--release", "--package", "pagewright-bench", "--bin", program.as_str(), "--"];
        let cmd = project.cmd("cargo").args(args).args(&options.rest);
        if !cmd.echo(true).limit(Duration::from_secs(3600)).run()?.ok() {
            failed.push(program);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("did not end well: {}", failed.join(", "))) }
}
