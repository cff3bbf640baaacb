//! The stage that feeds the committed fuzz corpora, and mutations of them, to every parser of outside input.
//!
//! It needs no fuzzer: `fuzz/` has a plain program beside the targets of cargo-fuzz. Long runs with coverage
//! guidance are `cargo xtask fuzz`.

use super::Suite;
use crate::stage::{Limit, Outcome};

/// Runs the corpus program, with the checks for overflow that tests have.
pub(super) fn run(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    let program = match suite.project.program("corpus", false) {
        Ok(program) => program,
        Err(why) => return Outcome::Failed(why),
    };
    match suite.run("corpus", suite.project.cmd(&program.to_string_lossy()), limit) {
        Err(outcome) => outcome,
        Ok(out) if out.ok() => Outcome::Passed(crate::cmd::tail(&out.stdout, 1)),
        Ok(out) => Outcome::Failed(format!("a target panicked\n{}", crate::cmd::tail(&out.text, 60))),
    }
}
