//! `pagewright show VIEW`

use super::machine::MachineArgs;
use super::size::bytes;
use super::{Outcome, print};
use crate::fault::Fault;
use crate::machine::arch_name;
use crate::run::{self, Booted};
use crate::show::cache::CacheView;
use crate::show::layout::document;
use crate::show::vmalloc;
use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use pagewright_addr::PageShift;
use pagewright_firmware::Arch;
use pagewright_kspace::Version;
use pagewright_kspace::dcache::{Behaviour, CacheShape};
use pagewright_view::{UnknownView, View, Views};
use std::ffi::OsStr;

/// Arguments of `show`.
#[derive(clap::Args, Debug)]
pub(super) struct ShowArgs {
    /// The file, as Linux 6.1 prints it right after boot; or several, with commas between them. `cache` stands alone.
    #[arg(value_parser = ViewsParser, value_name = "FILE")]
    files: Shown,
    /// The cache whose attributes `show slab` shows; else those of all.
    #[arg(value_name = "CACHE")]
    cache: Option<String>,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print one JSON document instead (layout and vmalloc-map only); docs/json.md lists its keys.
    #[arg(long)]
    json: bool,
    /// The data cache that `show cache` is about, with pages of the machine's size (--arch, --kernel-config; arm if nothing says which) or of --page-size, or that the arm
    /// machine has: kind, size, ways, bytes of a line. If colours of it alias, the machine gets no high memory.
    #[arg(long, value_name = "vivt|vipt|pipt,SIZE,WAYS,LINE")]
    dcache: Option<CacheShape>,
    /// The size of the pages that `show cache` is about, where it is not the machine's: 4K, 16K or 64K.
    #[arg(long, value_name = "SIZE", value_parser = page_size)]
    page_size: Option<u64>,
}

fn page_size(text: &str) -> Result<u64, &'static str> {
    let known = |n: &u64| [4 << 10, 16 << 10, 64 << 10].contains(n);
    bytes(text).filter(known).ok_or("expected 4K, 16K or 64K")
}

/// What is shown.
#[derive(Clone, Debug)]
enum Shown {
    /// What a described data cache means.
    Cache,
    /// Files of a machine.
    Files(Views),
}

/// What there is a document of.
const JSON_FOR: &str = "no such option for anything but `show layout` and `show vmalloc-map`";

/// The name of [`Shown::Cache`].
const CACHE: &str = "cache";

/// Reads names as every machine does, and lists them for the help text.
#[derive(Clone)]
struct ViewsParser;

impl TypedValueParser for ViewsParser {
    type Value = Shown;

    fn parse_ref(
        &self,
        cmd: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Shown, clap::Error> {
        let refused = |text: String| clap::Error::raw(ErrorKind::InvalidValue, text).with_cmd(cmd);
        let text = value.to_string_lossy();
        if text == CACHE {
            return Ok(Shown::Cache);
        }
        let views = Views::parse(&text).map_err(|e| refused(format!("{e}\n")))?;
        if views.is_empty() {
            Err(refused(format!("{}\n", UnknownView { name: "" })))
        } else {
            Ok(Shown::Files(views))
        }
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
                View::Slab => value.help(
                    "Attributes of caches, as below /sys/kernel/slab; of CACHE alone, if one is named",
                ),
                View::VmallocMap => value.help("Who has what of the vmalloc area, its gaps, and the largest"),
                _ => value,
            }
        };
        let cache = PossibleValue::new(CACHE).help(
            "Whether a data cache (--dcache) aliases, and which colours mappings need; a view of its own",
        );
        Some(Box::new(View::ALL.into_iter().map(value).chain([cache])))
    }
}

/// Runs the command.
pub(super) fn run(args: &ShowArgs) -> Result<Outcome, Fault> {
    let cache = args.cache.as_deref();
    if let Some(cache) = cache
        && !matches!(&args.files, Shown::Files(files) if files.iter().any(|view| view == View::Slab))
    {
        return Err(Fault::new(cache, "show", "a cache's name after `show slab` only"));
    }
    let files = match (&args.files, args.dcache) {
        (Shown::Files(files), _) => files,
        (Shown::Cache, Some(shape)) if !args.json => {
            let (arch, page_bytes) = if args.machine.is_unsaid() {
                // The only kernels that look after caches that alias.
                (Arch::Arm, PageShift::SHIFT_4K.bytes())
            } else {
                let machine = args.machine.machine()?;
                (machine.arch, machine.config.page_shift.bytes())
            };
            let page_bytes = args.page_size.unwrap_or(page_bytes);
            print(CacheView { shape, arch, page_bytes }.to_string())?;
            return Ok(Outcome::Fine);
        }
        (Shown::Cache, None) => {
            return Err(Fault::new("--dcache", "show cache", "a cache, such as --dcache vipt,32K,4,32"));
        }
        (Shown::Cache, _) => {
            return Err(Fault::new("--json", "show", JSON_FOR));
        }
    };
    if args.page_size.is_some() {
        return Err(Fault::new("--page-size", "show", "no such option for anything but `show cache`"));
    }
    let layout_only = files.iter().eq([View::Layout]);
    let map_only = files.iter().eq([View::VmallocMap]);
    if args.json && !layout_only && !map_only {
        return Err(Fault::new("--json", "show", JSON_FOR));
    }
    let mapped = |view| matches!(view, View::Layout | View::PageTables | View::PageTableRuns);
    if args.machine.linux.is_some() && !files.iter().all(mapped) {
        let expected = "no such option for anything but `show layout` and `show page-tables`";
        return Err(Fault::new("--linux", "show", expected));
    }
    let mut machine = args.machine.machine()?;
    if let Some(shape) = args.dcache {
        if machine.arch != Arch::Arm {
            let expected = "an arm machine, or `show cache`: no other kernel looks at its cache";
            return Err(Fault::new(arch_name(machine.arch), "--dcache", expected));
        }
        let behaviour = Behaviour::of(&shape, machine.config.page_shift.bytes());
        machine.cpus.vipt_aliasing = behaviour == Behaviour::ViptAliasing;
    }
    if layout_only {
        // Layouts are known of more versions than page tables.
        machine.linux = Version::V6_1;
    }
    let show = |booted: &Booted<'_, '_, '_, '_, '_>| {
        if layout_only { virtual_layout(args, booted) } else { booted.show_all(files) }
    };
    if files.iter().any(run::needs_service) {
        print(run::serve(&machine, files, cache, |booted, state| match state.vmalloc() {
            Some(shown) if args.json => pretty(&vmalloc::document(state, shown)),
            _ => booted.show_state(files, state),
        })??)?;
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
    pretty(&document(&layout))
}

fn pretty(document: &serde_json::Value) -> Result<String, Fault> {
    let text = serde_json::to_string_pretty(document);
    Ok(format!("{}\n", text.map_err(|e| Fault::caused(e, "JSON", ""))?))
}
