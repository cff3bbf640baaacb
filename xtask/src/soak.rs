//! `cargo xtask soak`: the workspace's randomised tests, again and again with fresh seeds.
//!
//! Each round runs with more cases than an everyday run; proptest draws a new seed every time and writes what it
//! finds into the `proptest-regressions` files, which are committed.

use crate::project::Project;
use clap::Args;
use std::time::{Duration, Instant};

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
}

/// Runs rounds until the time is up or one fails.
///
/// # Errors
/// One line naming the round that failed (the runner has said which test).
pub(crate) fn run(project: &Project, options: &Options) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(options.minutes * 60);
    let mut rounds = 0;
    while Instant::now() < end {
        rounds += 1;
        println!("== round {rounds}, {} cases a property", options.cases);
        let cmd =
            project.cmd("cargo").args(["test", "--quiet", "--release", "--workspace", "--no-fail-fast"]);
        // The page tables' model runs so many operations of each format, from a seed of the round.
        let seed = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |t| t.as_nanos() as u64);
        println!("   PAGEWRIGHT_OPS={} PAGEWRIGHT_SEED={seed}", options.operations);
        let cmd = cmd.env("PAGEWRIGHT_OPS", options.operations.to_string());
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
