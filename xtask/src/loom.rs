//! `cargo xtask loom`: every interleaving of what its models hold (`tests/loom`).
//!
//! A build of its own, with `cfg(loom)`: flags of the compiler hold for all of a build. Models with many steps bound how often a thread is
//! preempted; `--preemptions` widens that.

use crate::cmd::Cmd;
use crate::project::Project;
use clap::Args;
use std::time::Duration;

/// Options of `cargo xtask loom`.
#[derive(Args)]
pub(crate) struct Options {
    /// Preempt threads so often at most; by default each model says
    #[arg(long)]
    preemptions: Option<u32>,
}

/// The program that builds and runs all models.
pub(crate) fn models(project: &Project) -> Result<Cmd, String> {
    let cmd = project.cmd("cargo").args(["test", "--release", "--package", "pagewright-loom"]);
    Ok(cmd.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", project.scratch("loom")?))
}

/// Runs all models.
///
/// # Errors
/// One line: a model failed (loom has said which).
pub(crate) fn run(project: &Project, options: &Options) -> Result<(), String> {
    let cmd = models(project)?;
    let cmd = match options.preemptions {
        Some(most) => cmd.env("LOOM_MAX_PREEMPTIONS", most.to_string()),
        None => cmd,
    };
    if cmd.limit(Duration::from_secs(900)).echo(true).run()?.ok() {
        Ok(())
    } else {
        Err("a model failed".into())
    }
}
