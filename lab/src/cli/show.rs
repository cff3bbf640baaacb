//! `pagewright show VIEW`

use super::machine::MachineArgs;
use super::{Outcome, print};
use crate::fault::Fault;
use crate::run::{self, Booted};
use crate::show::layout::document;
use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use pagewright_kspace::Version;
use pagewright_view::{UnknownView, View, Views};
use std::ffi::OsStr;

/// Arguments of `show`.
#[derive(clap::Args, Debug)]
pub(super) struct ShowArgs {
    /// The file, as Linux 6.1 prints it right after boot; or several, with commas between them.
    #[arg(value_parser = ViewsParser, value_name = "FILE")]
    files: Views,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print one JSON document instead (layout only); docs/json.md lists its keys.
    #[arg(long)]
    json: bool,
}

/// Reads names as every machine does, and lists them for the help text.
#[derive(Clone)]
struct ViewsParser;

impl TypedValueParser for ViewsParser {
    type Value = Views;

    fn parse_ref(
        &self,
        cmd: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Views, clap::Error> {
        let refused = |text: String| clap::Error::raw(ErrorKind::InvalidValue, text).with_cmd(cmd);
        let text = value.to_string_lossy();
        let views = Views::parse(&text).map_err(|e| refused(format!("{e}\n")))?;
        if views.is_empty() { Err(refused(format!("{}\n", UnknownView { name: "" }))) } else { Ok(views) }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let value = |view: View| {
            let value = PossibleValue::new(view.name());
            match view {
                View::Layout => value.help(
                    "The kernel's virtual address space, in the form of the banner that kernels printed until 5.0",
                ),
                View::PageTables => {
                    value.help("The kernel's page tables, as debugfs shows them (ptdump)")
                }
                View::PageTableRuns => value.help(
                    "Their leaves run by run, with their entries, where the software MMU reads the same",
                ),
                _ => value,
            }
        };
        Some(Box::new(View::ALL.into_iter().map(value)))
    }
}

/// Runs the command.
pub(super) fn run(args: &ShowArgs) -> Result<Outcome, Fault> {
    let layout_only = args.files.iter().eq([View::Layout]);
    if args.json && !layout_only {
        return Err(Fault::new("--json", "show", "no such option for anything but `show layout`"));
    }
    let mapped = |view| matches!(view, View::Layout | View::PageTables | View::PageTableRuns);
    if args.machine.linux.is_some() && !args.files.iter().all(mapped) {
        let expected = "no such option for anything but `show layout` and `show page-tables`";
        return Err(Fault::new("--linux", "show", expected));
    }
    let mut machine = args.machine.machine()?;
    if layout_only {
        // Layouts are known of more versions than page tables.
        machine.linux = Version::V6_1;
    }
    let show = |booted: &Booted<'_, '_, '_, '_, '_>| {
        if layout_only { virtual_layout(args, booted) } else { booted.show_all(&args.files) }
    };
    if args.files.iter().any(|view| view == View::Slabinfo) {
        print(run::serve(&machine, |booted, state| booted.show_state(&args.files, state))??)?;
        return Ok(Outcome::Fine);
    }
    print(run::boot(&machine, show, |_| ())??)?;
    Ok(Outcome::Fine)
}

fn virtual_layout(args: &ShowArgs, booted: &Booted<'_, '_, '_, '_, '_>) -> Result<String, Fault> {
    let fault = |e: &dyn std::fmt::Display| Fault::caused(e, "layout", "");
    let layout = booted.state().layout(args.machine.linux.unwrap_or_default()).map_err(|e| fault(&e))?;
    if !args.json {
        let mut out = String::new();
        pagewright_view::layout::write(&mut out, &layout).map_err(|e| fault(&e))?;
        return Ok(out);
    }
    let text = serde_json::to_string_pretty(&document(&layout));
    Ok(format!("{}\n", text.map_err(|e| Fault::caused(e, "JSON", ""))?))
}
