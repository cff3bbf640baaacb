//! `cargo xtask audit`: licences, bans and sources of all dependencies, by cargo-deny and `deny.toml`.
//!
//! Apart from `test`, because installing cargo-deny takes minutes. Advisories are left out: their database is a
//! download that not every machine reaches.

use crate::project::Project;
use crate::tools;
use std::time::Duration;

/// Runs cargo-deny, installing it first where it is missing.
///
/// # Errors
/// One line: what is missing, or that a check failed (cargo-deny has said which).
pub(crate) fn run(project: &Project) -> Result<(), String> {
    tools::cargo_command(project, "deny", "cargo-deny")?;
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let manifest = project.path(manifest);
        if !manifest.is_file() {
            continue;
        }
        let cmd = project.cmd("cargo").args(["deny", "--all-features", "--manifest-path"]).arg(&manifest);
        let cmd = cmd.arg("--config").arg(project.path("deny.toml")).arg("check");
        let cmd = cmd.args(["bans", "licenses", "sources"]).echo(true).limit(Duration::from_secs(300));
        if !cmd.run()?.ok() {
            return Err(format!("cargo deny finds fault with {}", manifest.display()));
        }
    }
    println!("licences, bans and sources are in order");
    Ok(())
}
