//! The stages that are cargo's own commands.

use super::Suite;
use crate::qemu::{Purpose, TARGETS};
use crate::stage::{Limit, Outcome};
use crate::tools;

/// `cargo fmt --check` over the workspace.
pub(super) fn fmt(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    if let Err(line) = tools::rustup_component(suite.project, "rustfmt", &["fmt", "--version"]) {
        return Outcome::Missing(line);
    }
    let fmt = suite.project.cmd("cargo").args(["fmt", "--all", "--check", "--", "--color", "never"]);
    suite.judge("fmt", fmt, limit, "formatted")
}

/// Clippy over every target, and over what the images are made of as their processors see it, those with tests and those with benchmarks, warnings denied. (By an argument: `RUSTFLAGS` would replace the cargo configuration's.)
pub(super) fn clippy(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    if let Err(line) = tools::rustup_component(suite.project, "clippy", &["clippy", "--version"]) {
        return Outcome::Missing(line);
    }
    let all = suite.project.cmd("cargo").args(["clippy", "--quiet", "--all-targets", "--workspace"]);
    let mut last = suite.judge("clippy", all.args(["--", "-D", "warnings"]), limit, "no warnings");
    // The library's crates are linted with the image, as its dependencies.
    for image in &TARGETS {
        if !matches!(last, Outcome::Passed(_)) {
            return last;
        }
        if let Err(line) = tools::rust_target(suite.project, image.triple) {
            return Outcome::Missing(line);
        }
        for purpose in [Purpose::Tests, Purpose::Benchmarks] {
            let features = [image.features, &[purpose.names().1]].concat().join(",");
            let what = ["--package", "pagewright-kernel", "--lib", "--bins", "--no-default-features"];
            let cmd = suite.project.cmd("cargo").args(["clippy", "--quiet", "--target", image.triple]);
            let cmd = cmd.args(what).args(["--features", &features, "--", "-D", "warnings"]);
            last = suite.judge("clippy", cmd, limit, "no warnings");
            if !matches!(last, Outcome::Passed(_)) {
                return last;
            }
        }
    }
    // The C library as a kernel has it, without std. It is for 64 bits.
    for image in TARGETS.iter().filter(|image| CAPI.contains(&image.name)) {
        if !matches!(last, Outcome::Passed(_)) {
            return last;
        }
        let what = ["--package", "pagewright-capi", "--lib", "--no-default-features", "--features", "slab"];
        let cmd = suite.project.cmd("cargo").args(["clippy", "--quiet", "--target", image.triple]);
        last = suite.judge("clippy", cmd.args(what).args(["--", "-D", "warnings"]), limit, "no warnings");
    }
    last
}

/// The images for whose processors the C library is looked at too.
const CAPI: [&str; 2] = ["x86_64", "arm64"];

/// The seed of property tests here, unless `PROPTEST_RNG_SEED` says otherwise. What decides whether a change is good must say the
/// same twice; `cargo xtask soak` draws new cases each time.
pub(super) fn same_cases() -> (&'static str, String) {
    const NAME: &str = "PROPTEST_RNG_SEED";
    (NAME, std::env::var(NAME).unwrap_or_else(|_| "1".into()))
}

/// The workspace's tests, under nextest where it is installed, else under `cargo test`.
pub(super) fn tests(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    let nextest = tools::has_cargo_command("nextest");
    let args: &[&str] = if nextest {
        &[
            "nextest",
            "run",
            "--workspace",
            "--no-fail-fast",
            "--status-level",
            "fail",
            "--show-progress",
            "none",
        ]
    } else {
        println!("   no cargo-nextest, taking cargo test: cargo install --locked cargo-nextest");
        &["test", "--quiet", "--workspace", "--all-targets", "--no-fail-fast"]
    };
    let (name, seed) = same_cases();
    let out = match suite.run("tests", suite.project.cmd("cargo").args(args).env(name, seed), limit) {
        Ok(out) => out,
        Err(outcome) => return outcome,
    };
    let closing = if nextest { nextest_summary(&out.text) } else { libtest_summary(&out.text) };
    suite.closing.clone_from(&closing);
    match closing {
        Some(line) if out.ok() => Outcome::Passed(line.trim().into()),
        Some(line) => {
            Outcome::Failed(format!("{}\n{}", line.trim(), crate::cmd::tail(since_start(&out.text), 300)))
        }
        None => Outcome::Failed(format!("no test ran\n{}", crate::cmd::tail(&out.text, 120))),
    }
}

/// What a runner said once everything was built.
fn since_start(text: &str) -> &str {
    text.find("    Starting ").map_or(text, |at| &text[at..])
}

/// The line that nextest closes with.
pub(super) fn nextest_summary(text: &str) -> Option<String> {
    text.lines().rev().find(|line| line.trim_start().starts_with("Summary [")).map(str::to_owned)
}

/// One line for the many `test result:` lines of `cargo test`.
pub(super) fn libtest_summary(text: &str) -> Option<String> {
    let (mut passed, mut failed, mut any) = (0_u64, 0_u64, false);
    for line in text.lines().filter(|line| line.starts_with("test result: ")) {
        any = true;
        let count = |word: &str| {
            let before = line.split(word).next()?;
            before.rsplit([' ', '.']).find(|part| !part.is_empty())?.parse::<u64>().ok()
        };
        passed += count(" passed").unwrap_or(0);
        failed += count(" failed").unwrap_or(0);
    }
    any.then(|| format!("{passed} passed, {failed} failed"))
}

/// Doctests: nextest does not run them.
pub(super) fn doctests(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    let cmd = suite.project.cmd("cargo").args(["test", "--quiet", "--workspace", "--doc", "--no-fail-fast"]);
    match suite.run("doctests", cmd, limit) {
        Err(outcome) => outcome,
        Ok(out) if out.ok() => Outcome::Passed(libtest_summary(&out.text).unwrap_or_else(|| "none".into())),
        Ok(out) => Outcome::Failed(format!("a doctest failed\n{}", crate::cmd::tail(&out.text, 120))),
    }
}

/// The models of what takes no lock, each in every interleaving.
pub(super) fn loom(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    let cmd = match crate::loom::models(suite.project) {
        Ok(cmd) => cmd,
        Err(line) => return Outcome::Failed(line),
    };
    match suite.run("loom", cmd, limit) {
        Err(outcome) => outcome,
        Ok(out) if out.ok() => Outcome::Passed(libtest_summary(&out.text).unwrap_or_else(|| "none".into())),
        Ok(out) => Outcome::Failed(format!("a model failed\n{}", crate::cmd::tail(&out.text, 120))),
    }
}

/// The documentation of every library, private links checked.
pub(super) fn rustdoc(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    let cmd = suite.project.cmd("cargo").args(["doc", "--quiet", "--workspace", "--no-deps", "--lib"]);
    suite.judge("rustdoc", cmd.env("RUSTDOCFLAGS", "-D warnings"), limit, "no warnings")
}
