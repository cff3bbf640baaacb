//! `pagewright conform DIR...`

use super::machine::ArchArg;
use super::{Outcome, colour, print};
use crate::capture::{self, Capture};
use crate::conform::allow::Allow;
use crate::conform::machine::conform;
use crate::conform::report::{Differences, Report};
use crate::fault::Fault;
use std::fs;
use std::path::PathBuf;

/// Arguments of `conform`.
#[derive(clap::Args, Debug)]
pub(super) struct ConformArgs {
    /// Captured machines: directories with a dmesg.txt, or folders of such directories.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Accepted differences: lines of `<machine> <group> <key> -- <reason>`.
    #[arg(long, value_name = "FILE")]
    allow: Option<PathBuf>,
    /// The architecture of captures whose log does not name it (`Linux version ...-arm64`) and where no file tells it.
    #[arg(long, value_enum)]
    arch: Option<ArchArg>,
    /// Print one JSON document instead of a table; docs/json.md lists its keys.
    #[arg(long)]
    json: bool,
    /// Also list what the replay took from the boot path, accepted differences, and why groups are left out.
    #[arg(short, long)]
    verbose: bool,
}

/// Runs the command.
pub(super) fn run(args: &ConformArgs) -> Result<Outcome, Fault> {
    let allow = match &args.allow {
        Some(path) => read_allow(path)?,
        None => Allow::default(),
    };
    let found = capture::find(&args.dirs)?;
    let mut report = Report::default();
    let mut unread: Vec<Fault> = Vec::new();
    for dir in &found.captures {
        let done = Capture::read(dir).and_then(|c| conform(&c, args.arch.map(ArchArg::flavour)));
        let mut machine = match done {
            Ok(machine) => machine,
            // One machine that cannot be read hides nothing of the others.
            Err(fault) => {
                unread.push(fault);
                continue;
            }
        };
        if !args.verbose {
            machine.silent_changes.clear();
            machine.diverging_calls.clear();
            machine.excluded.clear();
        }
        report.machines.push(machine);
    }
    if report.machines.is_empty() && unread.len() == 1 {
        return Err(unread.remove(0));
    }
    // A run that compared nothing has shown nothing.
    if let (Some(machine), true) =
        (report.machines.first(), report.machines.iter().all(|m| m.groups.is_empty()))
    {
        let why = machine.left_out.values().next().cloned().unwrap_or_default();
        return Err(Fault::new(format!("nothing to compare: {why}"), &machine.machine, ""));
    }
    report.judge(&allow);
    if args.json {
        let text = serde_json::to_string_pretty(&report);
        print(format_args!("{}\n", text.map_err(|e| Fault::caused(e, "JSON", ""))?))?;
    } else {
        print(format_args!("{}\n", report.table(colour())))?;
        print(Differences { report: &report, verbose: args.verbose })?;
        for path in &found.passed_over {
            print(format_args!("passed over: {} (no dmesg.txt)\n", path.display()))?;
        }
    }
    if !unread.is_empty() {
        for fault in &unread {
            anstream::eprintln!("pagewright: {fault}");
        }
        let what = format!("{} of {} captures could not be compared", unread.len(), found.captures.len());
        return Err(Fault::new(what, "conform", "captures that can be read"));
    }
    Ok(if report.differs() { Outcome::Differs } else { Outcome::Fine })
}

fn read_allow(path: &std::path::Path) -> Result<Allow, Fault> {
    let shown = path.display().to_string();
    let text =
        fs::read_to_string(path).map_err(|e| Fault::caused(e, &shown, "a file of accepted differences"))?;
    Allow::parse(&text).map_err(|f| f.within(shown))
}
