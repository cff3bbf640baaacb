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
    let cmd = project.cmd("cargo").args(["deny", "--all-features", "check", "bans", "licenses", "sources"]);
    if !cmd.echo(true).limit(Duration::from_secs(300)).run()?.ok() {
        return Err("cargo deny finds fault".to_owned());
    }
    println!("licences, bans and sources are in order");
    Ok(())
}
