//! `cargo xtask fuzz`: the targets of `fuzz/` under cargo-fuzz, with coverage guidance.
//!
//! Inputs that reach new code are kept below the target directory and are where the next run starts. An input worth
//! keeping for good (a crash that was mended) is copied by hand into `fuzz/corpus/`, which the `corpus` stage of
//! `cargo xtask test` replays without a fuzzer.

use crate::project::Project;
use crate::tools;
use clap::Args;
use std::time::Duration;

/// Options of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct Options {
    /// Targets; all of them if none is named
    targets: Vec<String>,
    /// Time for each target
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u64,
}

/// Fuzzes each target for the given time.
///
/// # Errors
/// One line: what is missing, or which targets crashed (the input lies below `fuzz/artifacts/`).
pub(crate) fn run(project: &Project, options: &Options) -> Result<(), String> {
    tools::cargo_command(project, "fuzz", "cargo-fuzz")?;
    let targets = if options.targets.is_empty() {
        project.sources_in("fuzz/fuzz_targets")?
    } else {
        options.targets.clone()
    };
    let mut crashed = Vec::new();
    for target in targets {
        println!("== {target} for {} s", options.seconds);
        let found = project.scratch(&format!("fuzz-corpus/{target}"))?;
        // A boot is fed what the parser of the same input is fed.
        let seeds = project.path("fuzz/corpus").join(target.strip_prefix("boot_").unwrap_or(&target));
        let cmd =
            project.cmd("cargo").args(["+nightly", "fuzz", "run", "--features", "libfuzzer", "--fuzz-dir"]);
        // libFuzzer writes what it finds into the first folder and only reads the second.
        let cmd = cmd.arg(project.path("fuzz")).arg(&target).arg(&found).arg(seeds);
        let cmd = cmd.args(["--", &format!("-max_total_time={}", options.seconds), "-timeout=10"]).echo(true);
        // Building comes on top of the fuzzing time.
        if !cmd.limit(Duration::from_secs(options.seconds + 900)).run()?.ok() {
            crashed.push(target);
        }
    }
    if crashed.is_empty() {
        Ok(())
    } else {
        Err(format!("crashed: {}; see fuzz/artifacts/", crashed.join(", ")))
    }
}
