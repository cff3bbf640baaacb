//! The command line: what can be asked, and how the answer leaves.
//!
//! Exit codes: 0 fine, 1 facts differ or pages did not come back, 2 bad usage or bad input (one line on standard error: where, what, what was
//! expected).

mod boot;
mod conform;
mod machine;
mod run;
mod show;
mod size;
mod translate;

pub(crate) use size::bytes;

use crate::fault::Fault;
use crate::machine::description::{SHIPPED, shipped};
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Linux's memory management as a library: boot a described machine, look at it, compare it with real ones.
#[derive(Parser, Debug)]
#[command(name = "pagewright", version, about, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Boot the machines that were captured and compare every fact with what Linux did there.
    Conform(conform::ConformArgs),
    /// Boot a machine to a running page allocator; print its log and where its memory went.
    Boot(boot::BootArgs),
    /// List the machines that ship with the command.
    Machines,
    /// Have a booted machine's page allocator do a described workload; show memory before and after, and a picture of its pageblocks.
    Run(run::RunArgs),
    /// Print one of Linux's memory files for a machine, byte for byte.
    Show(show::ShowArgs),
    /// Follow one address through the kernel's page tables: every entry, its bits, and what an access meets.
    Translate(translate::TranslateArgs),
}

/// What a command that did not fail has to say about the facts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Fine,
    Differs,
}

/// Parses the command line, runs the command, and turns its outcome into an exit code.
pub fn run() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) if e.use_stderr() && e.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            anstream::eprintln!("pagewright: {}", usage_line(&e.to_string()));
            return ExitCode::from(2);
        }
        // Help and version are answers, not errors.
        Err(e) => e.exit(),
    };
    let result = match &args.command {
        Command::Conform(args) => conform::run(args),
        Command::Show(args) => show::run(args),
        Command::Boot(args) => boot::run(args),
        Command::Run(args) => run::run(args),
        Command::Translate(args) => translate::run(args),
        Command::Machines => machines(),
    };
    match result {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Differs) => ExitCode::from(1),
        Err(fault) => {
            anstream::eprintln!("pagewright: {fault}");
            ExitCode::from(2)
        }
    }
}

/// Clap's several lines about a usage error as one: what, where, what was expected.
fn usage_line(text: &str) -> String {
    let told =
        text.lines().map(str::trim).take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more"));
    let parts = told.filter(|l| !l.is_empty()).map(|l| {
        let values = l.strip_prefix("[possible values: ").and_then(|l| l.strip_suffix(']'));
        values.map_or_else(|| l.to_owned(), |values| format!("expected one of {values}"))
    });
    let line =
        parts.collect::<Vec<_>>().join("; ").replace(":; ", ": ").replace(": expected ", "; expected ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

fn machines() -> Result<Outcome, Fault> {
    for (name, _) in SHIPPED {
        print(format_args!("{name:<16} {}\n", shipped(name)?.about))?;
    }
    Ok(Outcome::Fine)
}

/// Writes to standard output. A closed pipe (`pagewright boot | head`) is no error.
fn print(text: impl std::fmt::Display) -> Result<(), Fault> {
    use std::io::{ErrorKind, Write};
    match write!(anstream::stdout(), "{text}") {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Fault::caused(e, "standard output", "")),
        _ => Ok(()),
    }
}

/// Whether standard output shows colours.
fn colour() -> bool {
    anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
}
