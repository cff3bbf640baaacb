//! Fetching Debian's kernel packages for other architectures without touching the machine's own apt state: lists,
//! status file and cache lie below the target directory. The sources are those that apt is set up with.

use crate::cmd::{Cmd, Output, tail};
use crate::project::Project;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A package: its architecture, the release that the captured machines ran, and the name that follows the newest.
struct Wanted {
    architecture: &'static str,
    pinned: &'static str,
    newest: &'static str,
}

const PACKAGES: [Wanted; 3] = [
    Wanted { architecture: "arm64", pinned: "linux-image-6.1.0-50-arm64", newest: "linux-image-arm64" },
    Wanted { architecture: "armhf", pinned: "linux-image-6.1.0-50-armmp", newest: "linux-image-armmp" },
    Wanted {
        architecture: "armhf",
        pinned: "linux-image-6.1.0-50-armmp-lpae",
        newest: "linux-image-armmp-lpae",
    },
];

/// A package that was unpacked.
pub(super) struct Package {
    pub(super) unpacked: PathBuf,
}

impl Package {
    /// The kernel's own configuration, which the package carries.
    pub(super) fn kernel_config(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.unpacked.join("boot")).ok()?;
        entries
            .flatten()
            .map(|e| e.path())
            .find(|p| p.file_name().is_some_and(|name| name.to_string_lossy().starts_with("config-")))
    }
}

/// Fetches and unpacks what is not there yet.
///
/// # Errors
/// One line: which package cannot be had, and what apt said.
pub(super) fn packages(project: &Project) -> Result<Vec<Package>, String> {
    PACKAGES.iter().map(|wanted| fetch(&project.scratch("boards")?, wanted)).collect()
}

fn fetch(scratch: &Path, wanted: &Wanted) -> Result<Package, String> {
    let unpacked = scratch.join(wanted.pinned);
    let complete = unpacked.join(".complete");
    if complete.is_file() {
        return Ok(Package { unpacked });
    }
    let apt = Apt::new(scratch, wanted.architecture)?;
    // Archives without this architecture answer with an error; what counts is whether the package is found.
    apt.run("apt-get", &["update", "--quiet"])?;
    let name = apt.find(wanted)?;
    println!("fetching {name} for {}", wanted.architecture);
    let fetched = apt.run("apt-get", &["download", "--quiet", &name])?;
    if !fetched.ok() {
        return Err(format!("cannot fetch {name}: {}", tail(&fetched.text, 1)));
    }
    let prefix = format!("{name}_");
    let package = std::fs::read_dir(&apt.dir)
        .map_err(|e| format!("{}: {e}", apt.dir.display()))?
        .flatten()
        .map(|e| e.path())
        .find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
        .ok_or_else(|| format!("apt-get download {name} left no file"))?;
    let out = Cmd::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked).run()?;
    if !out.ok() {
        return Err(format!("cannot unpack {}: {}", package.display(), tail(&out.text, 1)));
    }
    // The modules are most of it, and of no use here.
    let modules = unpacked.join("lib/modules");
    std::fs::remove_dir_all(&modules).map_err(|e| format!("{}: {e}", modules.display()))?;
    std::fs::write(&complete, "").map_err(|e| format!("{}: {e}", complete.display()))?;
    // The archive is as large as what was unpacked, and no longer of use.
    std::fs::remove_file(&package).map_err(|e| format!("{}: {e}", package.display()))?;
    Ok(Package { unpacked })
}

/// apt with a state of its own.
struct Apt {
    dir: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(scratch: &Path, architecture: &str) -> Result<Self, String> {
        let dir = scratch.join(format!("apt-{architecture}"));
        for folder in ["lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(dir.join(folder)).map_err(|e| format!("{}: {e}", dir.display()))?;
        }
        std::fs::write(dir.join("status"), "").map_err(|e| format!("{}: {e}", dir.display()))?;
        let at = |name: &str| dir.join(name).display().to_string();
        let options = vec![
            format!("-oAPT::Architecture={architecture}"),
            format!("-oAPT::Architectures::={architecture}"),
            format!("-oDir::State::Lists={}", at("lists")),
            format!("-oDir::State::status={}", at("status")),
            format!("-oDir::Cache={}", at("cache")),
            "-oAcquire::Languages=none".to_owned(),
            "-oAPT::Sandbox::User=".to_owned(),
        ];
        Ok(Self { dir, options })
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<Output, String> {
        let cmd = Cmd::new(program).args(&self.options).args(args).dir(&self.dir);
        cmd.limit(Duration::from_secs(600)).run()
    }

    /// The pinned package, or else the one that the newest depends on.
    fn find(&self, wanted: &Wanted) -> Result<String, String> {
        if self.run("apt-cache", &["show", wanted.pinned])?.ok() {
            return Ok(wanted.pinned.to_owned());
        }
        let depends = self.run("apt-cache", &["depends", "--important", wanted.newest])?;
        let image = depends.stdout.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        image.map(str::trim).find(|name| name.starts_with("linux-image-")).map(str::to_owned).ok_or_else(
            || {
                format!(
                    "neither {} nor {} is in apt's sources for {}",
                    wanted.pinned, wanted.newest, wanted.architecture
                )
            },
        )
    }
}
