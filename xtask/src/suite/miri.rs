//! The stage that runs tests under Miri.

use super::Suite;
use super::rust::{libtest_summary, same_cases};
use crate::stage::{Limit, Outcome};
use crate::tools;

/// Miri's flags for property tests, which read the host's clock and working directory.
pub(crate) const MIRI_FLAGS: &str = "-Zmiri-disable-isolation";
/// The same for crates without unsafe code: there is nothing that could break the rules of aliasing, and following them
/// through tables of hundreds of atomics takes ten times as long. Races, overflows and bounds are still looked for.
pub(crate) const MIRI_SAFE_CRATES: &str = "-Zmiri-disable-isolation -Zmiri-disable-stacked-borrows";

/// The same by the newer of the two models of borrows.
pub(crate) const MIRI_TREE_BORROWS: &str = "-Zmiri-disable-isolation -Zmiri-tree-borrows";

/// Tests that run in one process: their log's name, what `cargo miri test` is told, Miri's flags.
type Run = (&'static str, &'static [&'static str], &'static str);

/// The two rows take about as long: the page metadata and the slabs by one model of borrows, the others and the slabs by the other.
const FIRST: [Run; 2] = [
    ("miri-slab", SLABS, MIRI_FLAGS),
    (
        "miri-page",
        &[
            "--lib",
            "-p",
            "pagewright-page",
            "--",
            // Text and arithmetic.
            "--skip",
            "flags_layout",
            // No unsafe code: `cargo xtask soak --miri` has them.
            "--skip",
            "model::tests",
            "--skip",
            "counts::tests",
            "--skip",
            "park::every_frame",
        ],
        MIRI_FLAGS,
    ),
];

const SECOND: [Run; 5] = [
    ("miri-low", &["--lib", "--tests", "-p", "pagewright-percpu", "-p", "pagewright-platform"], MIRI_FLAGS),
    // It has no unsafe code: its model drives the page metadata; all of its tests are `cargo xtask soak --miri`'s.
    ("miri-zone", &["--lib", "-p", "pagewright-zone", "--", "buddy::tests::model"], MIRI_SAFE_CRATES),
    // Simulated RAM and the TLB; whole walks of the software MMU are left to the native run.
    ("miri-sim", &["--lib", "-p", "pagewright-sim", "--", "phys::", "mmu::tests::tlb"], MIRI_FLAGS),
    // The codecs are arithmetic; what builds and takes down trees is this.
    ("miri-pagetable", &["--lib", "--test", "model", "-p", "pagewright-pagetable"], MIRI_SAFE_CRATES),
    ("miri-slab-tree", SLABS, MIRI_TREE_BORROWS),
];

/// The slabs' own tests: links in free objects and objects that are given out are where models of borrows differ.
const SLABS: &[&str] = &["--lib", "-p", "pagewright-slab"];

/// Miri over the crates on whose memory safety the others rest, then over the slabs and the page tables. Memblock is safe code with nothing shared:
/// it is `cargo xtask soak --miri`'s. A process interprets one test after the other, since one that begins takes as long as most
/// tests do; two rows of such processes run side by side.
pub(super) fn miri(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    if let Err(line) = tools::miri(suite.project) {
        return Outcome::Missing(line);
    }
    let suite = &*suite;
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| in_turn(suite, limit, &SECOND));
        let first = in_turn(suite, limit, &FIRST);
        (first, other.join())
    });
    let second = second.unwrap_or_else(|_| Err(Outcome::Failed("the second row of runs ended early".into())));
    match (first, second) {
        (Ok(first), Ok(second)) => Outcome::Passed([first, second].concat().join("; ")),
        (Err(outcome), _) | (_, Err(outcome)) => outcome,
    }
}

/// One line for each run, or how the first that did not pass ended.
fn in_turn(suite: &Suite<'_>, limit: Limit, runs: &[Run]) -> Result<Vec<String>, Outcome> {
    runs.iter().map(|run| one(suite, limit, run)).collect()
}

/// One run of tests under Miri, with a log of its own.
fn one(suite: &Suite<'_>, limit: Limit, &(log, what, flags): &Run) -> Result<String, Outcome> {
    let cmd = suite.project.cmd("cargo").args(["+nightly", "miri", "test", "--quiet", "--no-fail-fast"]);
    let (name, seed) = same_cases();
    let cmd = cmd.args(what).env("MIRIFLAGS", flags).env("PROPTEST_CASES", "4").env(name, seed);
    let out = suite.run(log, cmd, limit)?;
    match libtest_summary(&out.text) {
        Some(line) if out.ok() => Ok(format!("{}: {line}", log.trim_start_matches("miri-"))),
        _ => Err(Outcome::Failed(format!("{log} failed\n{}", crate::cmd::tail(&out.text, 150)))),
    }
}
