//! The stage that feeds the committed fuzz corpora, and mutations of them, to every parser of outside input.
//!
//! It needs no fuzzer: `fuzz/` has a plain program beside the targets of cargo-fuzz. Long runs with coverage
//! guidance are `cargo xtask fuzz`.

use super::Suite;
use crate::stage::{Limit, Outcome};

/// Tests `fuzz/` and runs its corpus program.
pub(super) fn run(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    let target = match suite.project.scratch("fuzz-target") {
        Ok(target) => target,
        Err(why) => return Outcome::Failed(why),
    };
    let manifest = suite.project.path("fuzz/Cargo.toml");
    let cargo = |args: &[&str]| {
        let cmd = suite.project.cmd("cargo").args(args).arg("--manifest-path").arg(&manifest);
        cmd.env("CARGO_TARGET_DIR", &target)
    };
    let tests = cargo(&["test", "--quiet", "--release", "--lib", "--tests"]);
    match suite.judge("corpus-tests", tests, limit, "") {
        Outcome::Passed(_) => {}
        other => return other,
    }
    match suite.run("corpus", cargo(&["run", "--quiet", "--release", "--bin", "corpus"]), limit) {
        Err(outcome) => outcome,
        Ok(out) if out.ok() => Outcome::Passed(crate::cmd::tail(&out.stdout, 1)),
        Ok(out) => Outcome::Failed(format!("a target panicked\n{}", crate::cmd::tail(&out.text, 60))),
    }
}
