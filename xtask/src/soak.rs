//! `cargo xtask soak`: the workspace's randomised tests, again and again with fresh seeds; and the longer run under Miri.
//!
//! Each round runs with more cases than an everyday run; proptest draws a new seed every time and writes what it
//! finds into the `proptest-regressions` files, which are committed.

use crate::project::Project;
use crate::suite::{MIRI_FLAGS, MIRI_SAFE_CRATES, MIRI_TREE_BORROWS};
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
    /// Instead, run memblock's and the zones' tests, a thousand operations on each page-table format (about a minute of processor time for a format with 4 KiB pages, several for larger ones), and
    /// the slabs' tests by both models of borrows under Miri, once
    #[arg(long)]
    miri: bool,
    /// With --miri: only what has this in its name (`slabs`, `zones`, `metadata`, `page tables`, `memblock`, `tree`)
    #[arg(long, requires = "miri")]
    only: Option<String>,
}

/// Runs rounds until the time is up or one fails.
///
/// # Errors
/// One line naming the round that failed (the runner has said which test).
pub(crate) fn run(project: &Project, options: &Options) -> Result<(), String> {
    if options.miri {
        return miri(project, options.only.as_deref().unwrap_or(""));
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
        // So many on the page allocator of all kinds, beside the reference model and its oracles; a third as many beside a set of frames alone.
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

/// The slabs' own tests.
const SLABS: &[&str] = &["-p", "pagewright-slab", "--lib"];
/// Those that hosted machines have of them, on smaller machines and with fewer rounds.
const HOSTED_SLABS: &[&str] = &["-p", "pagewright-hosted-tests", "--test", "slabs"];

/// The page allocator in service, with threads, on machines of a few MiB.
const HOSTED_PAGES: &[&str] = &["-p", "pagewright-hosted-tests", "--test", "pages"];

/// Miri itself panics where memory that was accessed atomically becomes an object's and atomic again ("cannot have empty store buffer when
/// previous write was atomic", `rust-lang/miri` 5185 is alike): there no atomic load sees an older value.
const HOSTED_STACKED: &str = "-Zmiri-disable-isolation -Zmiri-disable-weak-memory-emulation";
const HOSTED_TREE: &str = "-Zmiri-disable-isolation -Zmiri-tree-borrows -Zmiri-disable-weak-memory-emulation";

/// What is run under Miri: its name, the tests, Miri's flags.
const UNDER_MIRI: [(&str, &[&str], &str); 9] = [
    ("all tests of memblock", &["-p", "pagewright-memblock", "--lib", "--tests"], MIRI_SAFE_CRATES),
    ("all tests of the zones", &["-p", "pagewright-zone", "--lib", "--tests"], MIRI_SAFE_CRATES),
    ("all tests of page metadata", &["-p", "pagewright-page", "--lib"], MIRI_FLAGS),
    ("the page allocator on hosted machines", HOSTED_PAGES, MIRI_SAFE_CRATES),
    ("the page tables' model", &["-p", "pagewright-pagetable", "--test", "model"], MIRI_SAFE_CRATES),
    ("the slabs' own tests, stacked borrows", SLABS, MIRI_FLAGS),
    ("the slabs' own tests, tree borrows", SLABS, MIRI_TREE_BORROWS),
    ("slabs on hosted machines, stacked borrows", HOSTED_SLABS, HOSTED_STACKED),
    ("slabs on hosted machines, tree borrows", HOSTED_SLABS, HOSTED_TREE),
];

/// Under Miri, as far as the names have `only` in them: all tests of memblock, the zones and page metadata, the page tables' model, and the slabs by both models of borrows.
fn miri(project: &Project, only: &str) -> Result<(), String> {
    let chosen = || UNDER_MIRI.iter().filter(|(name, ..)| name.contains(only));
    if chosen().next().is_none() {
        return Err(format!("nothing that runs under Miri has `{only}` in its name"));
    }
    tools::miri(project)?;
    let seed = fresh_seed();
    for (name, what, flags) in chosen() {
        println!("== {name} under Miri, PAGEWRIGHT_OPS=1000 PAGEWRIGHT_SEED={seed}");
        let cmd = project.cmd("cargo").args(["+nightly", "miri"]);
        let cmd = if tools::has_cargo_command("nextest") {
            cmd.args(["nextest", "run", "--no-fail-fast", "--status-level", "all", "--show-progress", "none"])
        } else {
            cmd.args(["test", "--quiet", "--no-fail-fast"])
        };
        let cmd = cmd.args(*what).env("MIRIFLAGS", flags).env("PAGEWRIGHT_OPS", "1000");
        let out = cmd.env("PAGEWRIGHT_SEED", seed.to_string()).limit(MIRI_LIMIT).echo(true).run()?;
        if !out.ok() {
            return Err(format!("{name} failed under Miri"));
        }
    }
    Ok(())
}
