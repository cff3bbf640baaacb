//! The project's own commands, run as `cargo xtask COMMAND`.
//!
//! `test` is the one that decides whether a change is good; the others answer longer questions (`boards`, `fuzz`,
//! `soak`), questions that need the network (`audit`) or measure instead of judging (`bench`). Nothing here is
//! part of the library, and the library never depends on it.

mod audit;
mod bench;
mod boards;
mod cmd;
mod fuzz;
#[cfg(test)]
mod ledger;
mod loom;
mod memblock_suite;
mod names;
mod project;
mod qemu;
mod soak;
mod stage;
mod suite;
mod tools;

use clap::{Parser, Subcommand};
use project::Project;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Pagewright's project commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check: formatting, lints, tests, documentation, suites, Miri, conformance, boot smoke tests
    Test(suite::Options),
    /// Check licences, bans and sources of all dependencies with cargo-deny
    Audit,
    /// Fuzz the parsers of outside input with cargo-fuzz
    Fuzz(fuzz::Options),
    /// Repeat the randomised tests with fresh seeds until the time is up
    Soak(soak::Options),
    /// Explore every interleaving of what the models of `tests/loom` hold
    Loom(loom::Options),
    /// Boot every device tree of Debian's arm and arm64 kernel packages
    Boards(boards::Options),
    /// Measure; judges nothing
    Bench(bench::Options),
    /// Build a bare-metal image and boot it in QEMU
    Qemu(qemu::Options),
    /// Check that docs/linux-map.md answers for every name in docs/linux-names.txt
    Names,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let project = Project::locate();
    let result = match cli.command {
        Command::Test(options) => suite::run(&project, &options),
        Command::Audit => audit::run(&project),
        Command::Fuzz(options) => fuzz::run(&project, &options),
        Command::Soak(options) => soak::run(&project, &options),
        Command::Loom(options) => loom::run(&project, &options),
        Command::Boards(options) => boards::run(&project, &options),
        Command::Bench(options) => bench::run(&project, &options),
        Command::Qemu(options) => qemu::run(&project, &options),
        Command::Names => names::run(&project),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            // `test` has said it all above the runner's closing line.
            if !line.is_empty() {
                eprintln!("xtask: {line}");
            }
            ExitCode::FAILURE
        }
    }
}
