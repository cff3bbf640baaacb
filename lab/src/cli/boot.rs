//! `pagewright boot`

use super::machine::MachineArgs;
use super::{Outcome, colour, print};
use crate::fault::Fault;
use crate::run::{self, Booted, Recorder};
use crate::summary::{Ledger, Picture, accounts, json, page_tables, phases};
use pagewright_view::log::{LogOptions, Verbosity};
use std::time::Instant;

/// Arguments of `boot`.
#[derive(clap::Args, Debug)]
pub(super) struct BootArgs {
    #[command(flatten)]
    machine: MachineArgs,
    /// Leave the log out.
    #[arg(short, long)]
    quiet: bool,
    /// Which lines of the log to print.
    #[arg(long, value_enum, default_value_t)]
    log_level: LogLevel,
    /// Print one JSON document instead; docs/json.md lists its keys.
    #[arg(long)]
    json: bool,
}

/// How much of the log is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
enum LogLevel {
    /// Errors and warnings.
    Warning,
    /// What Linux keeps with this command line.
    #[default]
    Info,
    /// Also what `memblock=debug mminit_loglevel=4` would show.
    Debug,
}

impl LogLevel {
    fn verbosity(self) -> Verbosity {
        match self {
            Self::Warning => Verbosity::Warning,
            Self::Info => Verbosity::Info,
            Self::Debug => Verbosity::Debug,
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &BootArgs) -> Result<Outcome, Fault> {
    let machine = args.machine.machine()?;
    run::boot(
        &machine,
        |booted| report(args, booted),
        // What was said before the boot stopped tells why.
        |record| {
            if !args.quiet && !args.json {
                let options = LogOptions { verbosity: args.log_level.verbosity(), ..LogOptions::default() };
                let _ = print(record.log(&options));
            }
        },
    )??;
    Ok(Outcome::Fine)
}

fn log(args: &BootArgs, booted: &Booted<'_, '_, '_, '_, '_>, record: &Recorder) -> String {
    record.log(&LogOptions { verbosity: args.log_level.verbosity(), ..LogOptions::of(&booted.boot.params) })
}

fn report(args: &BootArgs, booted: &Booted<'_, '_, '_, '_, '_>) -> Result<(), Fault> {
    let end = Instant::now();
    let ledger = Ledger::of(booted);
    let log = (!args.quiet).then(|| log(args, booted, booted.record));
    if args.json {
        let document = json::document(booted, &ledger, log.as_deref(), end)?;
        let text = serde_json::to_string_pretty(&document);
        return print(format_args!("{}\n", text.map_err(|e| Fault::caused(e, "JSON", ""))?));
    }
    if let Some(log) = log {
        print(format_args!("{log}\n"))?;
    }
    print(format_args!("{}\n", Picture::of(booted, &ledger)))?;
    print(format_args!("{}\n", accounts(&ledger, colour())))?;
    let counts = &booted.boot.table_counts;
    if let Some(table) = page_tables(counts, booted.linear_map_tables(), booted.boot.page_bytes(), colour()) {
        print(format_args!("{table}\n"))?;
    }
    print(format_args!("{}\n", phases(&booted.record.phases(), end, colour())))
}
