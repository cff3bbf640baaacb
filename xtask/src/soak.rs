//! `cargo xtask soak`: the workspace's randomised tests, again and again with fresh seeds; and the longer run under Miri.
//!
//! Each round runs with more cases than an everyday run; proptest draws a new seed every time and writes what it
//! finds into the `proptest-regressions` files, which are committed.

use crate::project::Project;
use crate::tools;
use clap::Args;
use std::time::{Duration, Instant};

/// How long each part may take under Miri.
const MIRI_LIMIT: Duration = Duration::from_secs(2 * 3600);

/// Options of `cargo xtask soak`.
#[derive(Args)]
pub(crate) struct Options {
    /// How long to go on
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Cases for each property in a round
    #[arg(long, default_value_t = 5000)]
    cases: u32,
    /// Operations on each page-table format in a round
    #[arg(long, default_value_t = 1_000_000)]
    operations: u64,
    /// Operations on the page allocator in a round
    #[arg(long, default_value_t = 100_000_000)]
    page_operations: u64,
    /// Instead, run memblock's and the zones' tests and a thousand operations on each page-table format under Miri, once (about a minute of processor time for a format with 4 KiB pages, several for larger ones)
    #[arg(long)]
    miri: bool,
}

/// Runs rounds until the time is up or one fails.
///
/// # Errors
/// One line naming the round that failed (the runner has said which test).
pub(crate) fn run(project: &Project, options: &Options) -> Result<(), String> {
    if options.miri {
        return miri(project);
    }
    let end = Instant::now() + Duration::from_secs(options.minutes * 60);
    let mut rounds = 0;
    while Instant::now() < end {
        rounds += 1;
        println!("== round {rounds}, {} cases a property", options.cases);
        let cmd =
            project.cmd("cargo").args(["test", "--quiet", "--release", "--workspace", "--no-fail-fast"]);
        // The page tables' model runs so many operations of each format, from a seed of the round.
        let seed = fresh_seed();
        println!("   PAGEWRIGHT_OPS={} PAGEWRIGHT_SEED={seed}", options.operations);
        let cmd = cmd.env("PAGEWRIGHT_OPS", options.operations.to_string());
        // So many on the page allocator beside the set of frames, and a tenth as many of all kinds beside the reference model.
        let cmd = cmd.env("PAGEWRIGHT_PAGE_OPS", options.page_operations.to_string());
        let cmd = cmd.env("PAGEWRIGHT_SEED", seed.to_string());
        let cmd = cmd.env("PROPTEST_CASES", options.cases.to_string()).limit(Duration::from_secs(4 * 3600));
        let out = cmd.run()?;
        if !out.ok() {
            println!("{}", crate::cmd::tail(&out.text, 200));
            return Err(format!("round {rounds} failed"));
        }
    }
    println!("{rounds} rounds without a failure");
    Ok(())
}

/// A seed that no other run has.
fn fresh_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |t| t.as_nanos() as u64)
}

/// Under Miri: all tests of memblock and the zones, and the page tables' model.
fn miri(project: &Project) -> Result<(), String> {
    tools::miri(project)?;
    let seed = fresh_seed();
    for (name, what) in [
        ("all tests of memblock", &["-p", "pagewright-memblock", "--lib", "--tests"][..]),
        ("all tests of the zones", &["-p", "pagewright-zone", "--lib", "--tests"]),
        ("the page tables' model", &["-p", "pagewright-pagetable", "--test", "model"]),
    ] {
        println!("== {name} under Miri, PAGEWRIGHT_OPS=1000 PAGEWRIGHT_SEED={seed}");
        let cmd = project.cmd("cargo").args(["+nightly", "miri"]);
        let cmd = if tools::has_cargo_command("nextest") {
            cmd.args(["nextest", "run", "--no-fail-fast", "--status-level", "all", "--show-progress", "none"])
        } else {
            cmd.args(["test", "--quiet", "--no-fail-fast"])
        };
        let cmd =
            cmd.args(what).env("MIRIFLAGS", crate::suite::MIRI_SAFE_CRATES).env("PAGEWRIGHT_OPS", "1000");
        let out = cmd.env("PAGEWRIGHT_SEED", seed.to_string()).limit(MIRI_LIMIT).echo(true).run()?;
        if !out.ok() {
            return Err(format!("{name} failed under Miri"));
        }
    }
    Ok(())
}
