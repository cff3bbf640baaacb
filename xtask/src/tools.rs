//! Tools that the stages need: each function makes one available or says in one line what is missing.

use crate::cmd::{self, Cmd};
use crate::project::Project;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long an installation may take.
const INSTALL: Duration = Duration::from_secs(300);

/// One installation at a time: stages boot several machines at once, each of which asks for its QEMU, and a second apt or rustup fails while one is at work.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Waits until nobody else installs anything.
fn alone() -> MutexGuard<'static, ()> {
    INSTALLING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `cargo NAME` exists.
pub(crate) fn has_cargo_command(name: &str) -> bool {
    Cmd::new("cargo").args([name, "--version"]).run().is_ok_and(|out| out.ok())
}

/// Makes `cargo NAME` available by installing `package` from crates.io.
///
/// # Errors
/// One line naming the package.
pub(crate) fn cargo_command(project: &Project, name: &str, package: &str) -> Result<(), String> {
    let _alone = alone();
    if has_cargo_command(name) {
        return Ok(());
    }
    println!("installing {package}, which takes some minutes");
    let install = project.cmd("cargo").args(["install", "--locked", package]);
    let out = install.limit(Duration::from_secs(1800)).run()?;
    if out.ok() && has_cargo_command(name) {
        return Ok(());
    }
    Err(format!("no {package}: cargo install --locked {package} ({})", last_line(&out.text)))
}

/// Makes a component of the project's toolchain available.
///
/// # Errors
/// One line naming the component and the command that would install it.
pub(crate) fn rustup_component(project: &Project, component: &str, probe: &[&str]) -> Result<(), String> {
    let _alone = alone();
    if project.cmd("cargo").args(probe).run().is_ok_and(|out| out.ok()) {
        return Ok(());
    }
    println!("   installing the rustup component {component}");
    let add = project.cmd("rustup").args(["component", "add", component]).limit(INSTALL).run()?;
    if add.ok() { Ok(()) } else { Err(format!("no {component}: rustup component add {component}")) }
}

/// Makes a target of the project's toolchain available.
///
/// # Errors
/// One line naming the target and the command that would install it.
pub(crate) fn rust_target(project: &Project, triple: &str) -> Result<(), String> {
    let installed = || {
        let list = project.cmd("rustup").args(["target", "list", "--installed"]).run();
        list.is_ok_and(|out| out.stdout.lines().any(|line| line.trim() == triple))
    };
    let _alone = alone();
    if installed() {
        return Ok(());
    }
    println!("   installing the Rust target {triple}");
    project.cmd("rustup").args(["target", "add", triple]).limit(INSTALL).run()?;
    if installed() { Ok(()) } else { Err(format!("no Rust target {triple}: rustup target add {triple}")) }
}

/// Makes QEMU's `program` available from its Debian package.
///
/// # Errors
/// One line with the command that would install it, also where a newer qemu-utils of another suite is in the way.
pub(crate) fn qemu(package: &str, program: &str) -> Result<(), String> {
    let alone = alone();
    let Err(missing) = install_package(&alone, package, Some(program)) else { return Ok(()) };
    let simulated = Cmd::new("apt-get").args(["install", "--simulate", package]).run();
    if simulated.is_ok_and(|out| out.text.contains("qemu-utils")) {
        // Replacing what somebody has installed is theirs to decide; a machine that runs CI is thrown away.
        if std::env::var("CI").is_ok_and(|ci| ci == "true")
            && replace_qemu_utils(package)
            && cmd::exists(program)
        {
            return Ok(());
        }
        return Err(format!(
            "no {program}: a qemu-utils of another suite is in the way of {package}: apt-get install -y --allow-downgrades \
             {package} 'qemu-utils=1:7.2*' (or first apt-get remove qemu-utils)"
        ));
    }
    Err(missing)
}

/// Installs a package of QEMU's together with the qemu-utils of the same suite.
fn replace_qemu_utils(package: &str) -> bool {
    println!("   replacing a newer qemu-utils by that of {package}'s suite");
    let with = |utils: &str| {
        let install = ["install", "-y", "--no-install-recommends", "--allow-downgrades", package, utils];
        let cmd = Cmd::new("apt-get").args(install).env("DEBIAN_FRONTEND", "noninteractive").limit(INSTALL);
        cmd.run().is_ok_and(|out| out.ok())
    };
    // Where that version is not to be had, without it.
    with("qemu-utils=1:7.2*") || with("qemu-utils-")
}

/// Makes Miri available on the nightly toolchain, with its library built.
///
/// # Errors
/// One line naming the commands that would install it.
pub(crate) fn miri(project: &Project) -> Result<(), String> {
    let how = "no Miri: rustup toolchain install nightly --component miri,rust-src";
    let installed =
        || project.cmd("cargo").args(["+nightly", "miri", "--version"]).run().is_ok_and(|out| out.ok());
    let _alone = alone();
    if !installed() {
        println!("   installing Miri");
        let with_it =
            project.cmd("rustup").args(["component", "add", "--toolchain", "nightly", "miri", "rust-src"]);
        let added = with_it.limit(INSTALL).run()?;
        if !added.ok() {
            // No nightly toolchain yet, or one of a day without Miri.
            let whole =
                ["toolchain", "install", "nightly", "--profile", "minimal", "--component", "miri,rust-src"];
            project.cmd("rustup").args(whole).limit(INSTALL).run()?;
        }
        if !installed() {
            return Err(how.into());
        }
    }
    let setup = project.cmd("cargo").args(["+nightly", "miri", "setup"]).limit(INSTALL).run()?;
    if setup.ok() { Ok(()) } else { Err(format!("{how} (cargo miri setup: {})", last_line(&setup.text))) }
}

/// Makes a Debian package available; `program` is a program of it, or `None` where only apt can tell.
///
/// # Errors
/// One line naming the package.
pub(crate) fn apt(package: &str, program: Option<&str>) -> Result<(), String> {
    install_package(&alone(), package, program)
}

/// The same for whoever is alone.
fn install_package(_alone: &MutexGuard<'_, ()>, package: &str, program: Option<&str>) -> Result<(), String> {
    let there = || match program {
        Some(program) => cmd::exists(program),
        None => Cmd::new("dpkg-query").args(["-W", package]).run().is_ok_and(|out| out.ok()),
    };
    if there() {
        return Ok(());
    }
    println!("   installing the Debian package {package}");
    let install = || {
        // Somebody else's apt may be at work too.
        let install = ["-oDPkg::Lock::Timeout=120", "install", "-y", "--no-install-recommends", package];
        Cmd::new("apt-get").args(install).env("DEBIAN_FRONTEND", "noninteractive").limit(INSTALL).run()
    };
    let missing = |_| format!("no {package}: apt-get install {package}");
    if !install().map_err(missing)?.ok() {
        // The lists may be older than the archive.
        Cmd::new("apt-get").arg("update").limit(INSTALL).run().map_err(missing)?;
        install().map_err(missing)?;
    }
    if there() { Ok(()) } else { Err(missing(String::new())) }
}

/// A Python program from PyPI, in an environment of its own below the target directory.
///
/// # Errors
/// One line naming the package and what pip said.
pub(crate) fn pypi(
    project: &Project,
    package: &str,
    version: &str,
    program: &str,
) -> Result<PathBuf, String> {
    let place = project.scratch("python")?.join(format!("{package}-{version}"));
    let binary = place.join("bin").join(program);
    if binary.is_file() {
        return Ok(binary);
    }
    println!("   installing {package} {version} from PyPI into {}", place.display());
    let venv = || Cmd::new("python3").args(["-m", "venv", "--clear"]).arg(&place).limit(INSTALL).run();
    if !venv().is_ok_and(|out| out.ok()) {
        apt("python3-venv", None)?;
        let out = venv()?;
        if !out.ok() {
            return Err(format!(
                "no Python environment: apt-get install python3-venv ({})",
                last_line(&out.text)
            ));
        }
    }
    let wanted = format!("{package}=={version}");
    let pip = Cmd::new(place.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check"]);
    let out = pip.arg(&wanted).limit(INSTALL).run()?;
    if out.ok() && binary.is_file() {
        return Ok(binary);
    }
    // Half an environment would look complete the next time.
    drop(std::fs::remove_dir_all(&place));
    Err(format!("no {package}: pip install {wanted} ({})", last_line(&out.text)))
}

fn last_line(text: &str) -> &str {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no output")
}
