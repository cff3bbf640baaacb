//! `pagewright show FILE`

use super::machine::MachineArgs;
use super::{Outcome, print};
use crate::fault::Fault;
use crate::run::{self, Booted};
use crate::show::layout;
use crate::show::page_tables::PtDump;
use pagewright_kspace::Version;
use pagewright_view::View;

/// Arguments of `show`.
#[derive(clap::Args, Debug)]
pub(super) struct ShowArgs {
    /// The file, as Linux 6.1 prints it right after boot.
    #[arg(value_enum)]
    file: File,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print one JSON document instead (layout only); docs/json.md lists its keys.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum File {
    Zoneinfo,
    Buddyinfo,
    Pagetypeinfo,
    Meminfo,
    Iomem,
    #[value(name = "memblock/memory")]
    MemblockMemory,
    #[value(name = "memblock/reserved")]
    MemblockReserved,
    Vmstat,
    /// The kernel's virtual address space, in the form of the banner that kernels printed until 5.0.
    Layout,
    /// The kernel's page tables, as debugfs shows them (ptdump).
    PageTables,
}

/// Runs the command.
pub(super) fn run(args: &ShowArgs) -> Result<Outcome, Fault> {
    let layout = args.file == File::Layout;
    if args.json && !layout {
        return Err(Fault::new("--json", "show", "no such option for anything but `show layout`"));
    }
    if args.machine.linux.is_some() && !layout && args.file != File::PageTables {
        let expected = "no such option for anything but `show layout` and `show page-tables`";
        return Err(Fault::new("--linux", "show", expected));
    }
    let mut machine = args.machine.machine()?;
    if layout {
        // Layouts are known of more versions than page tables.
        machine.linux = Version::V6_1;
    }
    let text = run::boot(&machine, |booted| render(args, booted), |_| ())??;
    print(text)?;
    Ok(Outcome::Fine)
}

fn render(args: &ShowArgs, booted: &Booted<'_, '_, '_, '_, '_>) -> Result<String, Fault> {
    Ok(match args.file {
        File::Zoneinfo => booted.show(View::Zoneinfo)?,
        File::Buddyinfo => booted.show(View::Buddyinfo)?,
        File::Pagetypeinfo => booted.show(View::Pagetypeinfo)?,
        File::Meminfo => booted.show(View::Meminfo)?,
        File::Iomem => booted.show(View::Iomem)?,
        File::MemblockMemory => booted.show(View::MemblockMemory)?,
        File::MemblockReserved => booted.show(View::MemblockReserved)?,
        File::Vmstat => booted.show(View::Vmstat)?,
        File::Layout => return virtual_layout(args, booted),
        File::PageTables => return page_tables(booted),
    })
}

fn page_tables(booted: &Booted<'_, '_, '_, '_, '_>) -> Result<String, Fault> {
    let tables = booted.tables()?;
    let dump = PtDump::of(booted, tables).map_err(|e| Fault::caused(e, "page tables", ""))?;
    Ok(dump.to_string())
}

fn virtual_layout(args: &ShowArgs, booted: &Booted<'_, '_, '_, '_, '_>) -> Result<String, Fault> {
    let layout = booted.state().layout(args.machine.linux.unwrap_or_default());
    let layout = layout.map_err(|e| Fault::caused(e, "layout", ""))?;
    if !args.json {
        let mut out = String::new();
        pagewright_view::layout::write(&mut out, &layout).map_err(|e| Fault::caused(e, "layout", ""))?;
        return Ok(out);
    }
    let text = serde_json::to_string_pretty(&layout::document(&layout));
    Ok(format!("{}\n", text.map_err(|e| Fault::caused(e, "JSON", ""))?))
}
