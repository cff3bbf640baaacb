//! `cargo xtask fuzz`: the targets of `fuzz/` under cargo-fuzz, with coverage guidance.
//!
//! What a long run finds worth keeping goes into `fuzz/corpus/`, which the `corpus` stage of `cargo xtask test`
//! replays without a fuzzer.

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
    let targets = if options.targets.is_empty() { all_targets(project)? } else { options.targets.clone() };
    let mut crashed = Vec::new();
    for target in targets {
        println!("== {target} for {} s", options.seconds);
        let cmd = project
            .cmd("cargo")
            .args(["+nightly", "fuzz", "run", "--features", "libfuzzer", "--fuzz-dir"])
            .arg(project.path("fuzz"));
        let limit = format!("-max_total_time={}", options.seconds);
        let cmd = cmd.args([target.as_str(), "--", limit.as_str(), "-timeout=10"]).echo(true);
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

/// The targets that `fuzz/fuzz_targets/` holds.
fn all_targets(project: &Project) -> Result<Vec<String>, String> {
    let dir = project.path("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|e| e.path().extension().is_some_and(|x| x == "rs"))
        .filter_map(|e| e.path().file_stem().map(|s| s.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    if names.is_empty() { Err(format!("{} holds no target", dir.display())) } else { Ok(names) }
}
