//! The stage that feeds the committed fuzz corpora, and mutations of them, to every parser of outside input.
//!
//! It needs no fuzzer: `fuzz/` has a plain program beside the targets of cargo-fuzz. Long runs with coverage
//! guidance are `cargo xtask fuzz`.

use super::Suite;
use crate::stage::{Limit, Outcome};

/// Runs `fuzz/`'s corpus program.
pub(super) fn run(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    let manifest = suite.project.path("fuzz/Cargo.toml");
    if !manifest.is_file() {
        return Outcome::Failed("fuzz/Cargo.toml is not there".into());
    }
    let target = match suite.project.scratch("fuzz-target") {
        Ok(target) => target,
        Err(why) => return Outcome::Failed(why),
    };
    let cmd = suite.project.cmd("cargo").args([
        "run",
        "--quiet",
        "--release",
        "--bin",
        "corpus",
        "--manifest-path",
    ]);
    let cmd = cmd.arg(&manifest).env("CARGO_TARGET_DIR", &target);
    match suite.run("corpus", cmd, limit) {
        Err(outcome) => outcome,
        Ok(out) if out.ok() => Outcome::Passed(crate::cmd::tail(&out.stdout, 1)),
        Ok(out) => Outcome::Failed(format!("a target panicked\n{}", crate::cmd::tail(&out.text, 60))),
    }
}
