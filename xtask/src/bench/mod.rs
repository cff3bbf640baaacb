//! `cargo xtask bench`: measurements. They are printed, never asserted.
//!
//! The programs of `bench/` run on the host; with `--icount` the bare-metal images measure themselves ([`icount`]).

mod icount;

use crate::project::Project;
use crate::tools;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// Programs of bench/; all of them if none is named. With --icount: images, as `cargo xtask qemu` takes them
    programs: Vec<String>,
    /// Run the images' own benchmarks in QEMU, in guest instructions
    #[arg(long)]
    icount: bool,
    /// With --icount: the groups of benchmarks (boot, page, pagetable, percpu, slabs, vmalloc, kmap, all), with commas between them
    #[arg(long, default_value = "all", requires = "icount")]
    groups: String,
    /// With --icount: also write the table to this file
    #[arg(long, requires = "icount")]
    out: Option<PathBuf>,
    /// Arguments for the programs
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs the programs of `bench/` one after the other, or the images.
///
/// # Errors
/// One line: what is missing, or which programs did not end well.
pub(crate) fn run(project: &Project, options: &Options) -> Result<(), String> {
    if options.icount {
        return icount::run(project, &options.programs, &options.groups, options.out.as_deref());
    }
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
