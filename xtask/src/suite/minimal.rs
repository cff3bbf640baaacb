//! The minimal example: short enough to be read, and a kernel that runs.

use super::Suite;
use crate::cmd;
use crate::qemu::{self, TARGETS};
use crate::stage::Limit;
use crate::tools;

/// The files that are the example, besides its manifest.
const FILES: [&str; 3] = ["src/main.rs", "image.ld", "build.rs"];
/// Fewer lines than this in all of them.
const LINES: usize = 150;
/// Where it lies.
const FOLDER: &str = "examples/minimal";
/// What its last line begins with, once a page was given out, written, read and taken back.
const CLOSING: &str = "minimal: a page at 0x";

/// Counts the lines, builds the example and boots it to its closing line.
///
/// # Errors
/// What is missing, or wrong.
pub(super) fn check(suite: &Suite<'_>, limit: Limit) -> Result<(), String> {
    let read = |name: &&str| {
        let path = suite.project.path(FOLDER).join(name);
        std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
    };
    let lines: usize =
        FILES.iter().map(|name| read(name).map(|text| text.lines().count())).sum::<Result<_, _>>()?;
    if lines >= LINES {
        return Err(format!("{FOLDER} has {lines} lines: fewer than {LINES} are wanted"));
    }
    let target = TARGETS.iter().find(|t| t.name == "arm64").ok_or("there is no image for arm64")?;
    tools::rust_target(suite.project, target.triple)?;
    tools::qemu(target.package, target.qemu)?;
    // The image's folder and flags: what both are made of is built once.
    let dir = qemu::build_dir(suite.project, target);
    let cargo =
        suite.project.cmd("cargo").args(["build", "--profile", "image", "--package", "pagewright-minimal"]);
    let cargo = cargo.args(["--features", "metal", "--target", target.triple]).env("CARGO_TARGET_DIR", &dir);
    // What the environment has would leak into the kernel.
    let out = cargo.env("RUSTFLAGS", target.rustflags).limit(limit.left()).run()?;
    if !out.ok() {
        return Err(format!("{FOLDER} does not build\n{}", cmd::tail(&out.text, 60)));
    }
    let elf = dir.join(target.triple).join("image").join("minimal");
    let image = qemu::flat(&elf)?;
    let machine = target.machine.iter().copied().chain(["-m", "64M", "-kernel"]);
    let out = suite
        .project
        .cmd(target.qemu)
        .args(machine)
        .arg(&image)
        .limit(limit.left())
        .echo(suite.verbose)
        .run()?;
    match out.text.lines().last().map(str::trim_end) {
        Some(line) if line.starts_with(CLOSING) && line.ends_with(" held 3584") && out.ok() => Ok(()),
        _ => Err(format!("{FOLDER} ends otherwise than it should\n{}", cmd::tail(&out.text, 20))),
    }
}

#[cfg(test)]
mod tests {
    use super::{FILES, FOLDER, LINES};
    use crate::project::Project;

    /// What the guide's blocks of Rust quote, line by line.
    fn quoted(guide: &str) -> Vec<&str> {
        let blocks = guide.split("\n```rust\n").skip(1);
        blocks.filter_map(|block| block.split("\n```").next()).flat_map(str::lines).collect()
    }

    #[test]
    fn the_guide_quotes_the_example_in_its_order() {
        let project = Project::locate();
        let read = |name: &str| std::fs::read_to_string(project.path(name)).unwrap();
        let (guide, source) = (read("docs/embedding.md"), read(&format!("{FOLDER}/{}", FILES[0])));
        let lines = quoted(&guide);
        assert!(lines.len() > 10, "{lines:?}");
        let mut left = source.lines();
        for line in lines {
            assert!(left.any(|there| there == line), "not in the example, or not at this place: {line}");
        }
    }

    #[test]
    fn the_guide_knows_how_long_the_example_is() {
        let project = Project::locate();
        let read = |name: &str| std::fs::read_to_string(project.path(name)).unwrap();
        let lines: usize = FILES.iter().map(|name| read(&format!("{FOLDER}/{name}")).lines().count()).sum();
        assert!(lines < LINES);
        assert!(
            read("docs/embedding.md").contains(&format!("which is {lines} lines in three files")),
            "{lines}"
        );
    }
}
