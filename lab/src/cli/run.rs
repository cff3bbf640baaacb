//! `pagewright run WORKLOAD`

use super::machine::MachineArgs;
use super::{Outcome, colour, print};
use crate::fault::Fault;
use crate::workload::{BUILTIN, Report, Watch, Workload, builtin, document, drive};
use pagewright_slab::objects::Design;
use pagewright_view::Views;
use std::io::Read;
use std::path::Path;

/// Arguments of `run`.
#[derive(clap::Args, Debug)]
pub(super) struct RunArgs {
    /// steady, bursty, fragmenting, huge-page or vmalloc; a file with the text of one, `-` for standard input; or the text itself (`fill=80%; orders=0:9 9:1`).
    /// docs/workloads.md has the words.
    #[arg(value_name = "WORKLOAD")]
    workload: String,
    #[command(flatten)]
    machine: MachineArgs,
    /// Where the workload's random numbers begin, instead of what it says.
    #[arg(long, value_name = "N")]
    workload_seed: Option<u64>,
    /// Each processor is a thread of the host, all at once; else they take turns, which always ends the same.
    #[arg(long)]
    threads: bool,
    /// Files to print before and after the work, with commas between them: zoneinfo, buddyinfo, vmstat, ...
    #[arg(long, value_name = "FILES", default_value = "")]
    show: String,
    /// Print what the kernel would say of the first so many allocations that failed, with its Mem-Info.
    #[arg(long, value_name = "N", default_value_t = 0)]
    failures: usize,
    /// Print who holds each block when the work is done, as /sys/kernel/debug/page_owner does; page_owner_sort reads it.
    #[arg(long)]
    page_owner: bool,
    /// Let allocations fail that could be served: INTERVAL,PROBABILITY,SPACE,TIMES, as fail_page_alloc= of a kernel's command line.
    #[arg(long, value_name = "I,P,S,T")]
    fail_page_alloc: Option<String>,
    /// Print the first so many blocks that were taken from another migrate type's lists, as the tracepoint `mm_page_alloc_extfrag` tells of them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    events: usize,
    /// How objects are cut from pages, if the workload has any, instead of as the kernel is configured (SLUB, unless `--kernel-config` says otherwise).
    #[arg(long, value_enum)]
    slabs: Option<Chosen>,
    /// Print the workload's text and do nothing.
    #[arg(long)]
    text: bool,
    /// Print one JSON document instead; docs/json.md lists its keys.
    #[arg(long, conflicts_with = "text")]
    json: bool,
}

/// A design of slabs.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Chosen {
    /// Free lists through objects, an array of objects for each processor.
    Slub,
    /// The same with a slab for each processor, as Linux has it up to 6.17.
    SlubCpuSlabs,
    /// Lists of indices, arrays for processors and nodes.
    Slab,
    /// First fit in pages.
    Slob,
}

impl Chosen {
    const fn design(self) -> Design {
        match self {
            Self::Slub => Design::Slub,
            Self::SlubCpuSlabs => Design::SlubCpuSlabs,
            Self::Slab => Design::Slab,
            Self::Slob => Design::Slob,
        }
    }
}

/// A workload's text, and what it is called.
fn read(what: &str) -> Result<(String, String), Fault> {
    if let Some(text) = builtin(what) {
        return Ok((what.to_owned(), text.to_owned()));
    }
    if what == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|e| Fault::caused(e, "standard input", "the text of a workload"))?;
        return Ok(("standard input".to_owned(), text));
    }
    let is_text = what.contains(['=', '[', ';', '#']) || what.trim().is_empty();
    if is_text && !Path::new(what).exists() {
        return Ok(("the workload".to_owned(), what.to_owned()));
    }
    let names: Vec<&str> = BUILTIN.iter().map(|(name, _)| *name).collect();
    let expected = format!("one of {}, a file, or text such as `fill=80%; orders=0:9 9:1`", names.join(", "));
    let text = std::fs::read_to_string(what).map_err(|e| Fault::caused(e, what, expected))?;
    Ok((what.to_owned(), text))
}

/// Runs the command.
pub(super) fn run(args: &RunArgs) -> Result<Outcome, Fault> {
    let (name, text) = read(&args.workload)?;
    let mut workload = Workload::parse(&text).map_err(|e| Fault::from(e).within(&name))?;
    if args.text {
        print(text)?;
        return Ok(Outcome::Fine);
    }
    workload.seed = args.workload_seed.unwrap_or(workload.seed);
    workload.threads |= args.threads;
    let views = Views::parse(&args.show).map_err(|e| Fault::caused(e, "--show", ""))?;
    let watch = Watch {
        failures: args.failures,
        page_owner: args.page_owner,
        events: args.events,
        fail_page_alloc: args.fail_page_alloc.clone(),
    };
    let machine = args.machine.machine()?;
    let account = drive(&machine, &workload, args.slabs.map(Chosen::design), &views, &watch)?;
    if args.json {
        let text = serde_json::to_string_pretty(&document(&name, &machine.name, &account));
        print(format_args!("{}\n", text.map_err(|e| Fault::caused(e, "JSON", ""))?))?;
    } else {
        print(Report { account: &account, name: &name, machine: &machine.name, colour: colour() })?;
    }
    Ok(if account.all_back() { Outcome::Fine } else { Outcome::Differs })
}
