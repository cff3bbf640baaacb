//! Linux's own userspace tests of memblock, run against our C library.
//!
//! `tools/testing/memblock` comes from Debian's `linux-source-6.1` and is unpacked, with the headers it includes,
//! below a working directory; nothing of it enters the tree. Its Makefile links a memblock object that it would
//! compile from `mm/memblock.c`. That file is not unpacked: the object is left out of `DEP_OFILES`, and
//! `libpagewright_capi.a` takes its place through `LDLIBS`. Each build runs twice, the second time with
//! `--movable-node`. C programs of ours (`crates/capi/tests/c`) are built and run against our own headers as well.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checks that the suite of 6.1 has, without and with `NUMA=1`.
const CHECKS: [usize; 2] = [150, 202];

/// Debian packages, and a file of each that shows whether it is there.
const PACKAGES: &[(&str, &str)] = &[
    ("linux-source-6.1", SOURCE),
    ("liburcu-dev", "/usr/include/urcu/uatomic.h"),
    ("gcc", "/usr/bin/gcc"),
    ("libc6-dev", "/usr/include/stdio.h"),
    ("make", "/usr/bin/make"),
    ("xz-utils", "/usr/bin/xz"),
];

const SOURCE: &str = "/usr/src/linux-source-6.1.tar.xz";
const TOP: &str = "linux-source-6.1";

/// The suite and what it includes, below [`TOP`]; no part of the kernel proper.
const PARTS: &[&str] = &[
    "tools/testing/memblock/*",
    "tools/testing/selftests/kselftest.h",
    "tools/include/*",
    "tools/arch/*/include/*",
    "tools/lib/slab.c",
    "include/linux/memblock.h",
    "include/linux/gfp_types.h",
];

/// A run in which every check passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    /// Checks passed without NUMA.
    pub(crate) plain: usize,
    /// Checks passed with `NUMA=1`.
    pub(crate) numa: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linux's memblock suite: {} checks plain, {} with NUMA=1", self.plain, self.numa)
    }
}

/// Installs what is missing, builds the library and the suite below `work_dir`, runs all of it.
///
/// # Errors
/// What could not be had, built or run, with the tool's last lines; or which checks failed; or that the suite has
/// another number of checks than 150 and 202.
pub(crate) fn run(work_dir: &Path) -> Result<Outcome, String> {
    std::fs::create_dir_all(work_dir).map_err(|e| format!("{}: {e}", work_dir.display()))?;
    let work_dir = work_dir.canonicalize().map_err(|e| format!("{}: {e}", work_dir.display()))?;
    install()?;
    check_headers()?;
    run_own_program(&work_dir, &build_library(&work_dir, &["std", "slab"])?)?;
    // The suite brings `kmalloc` and the like itself.
    let library = build_library(&work_dir, &["std"])?;
    let suite = unpack(&work_dir)?;
    let mut passed = [0; 2];
    for (i, &expected) in CHECKS.iter().enumerate() {
        build_suite(&suite, &library, i == 1)?;
        for arguments in [&["--verbose"][..], &["--verbose", "--movable-node"]] {
            let found = count(&suite, arguments)?;
            if found != expected {
                return Err(format!("the memblock suite has {found} checks instead of {expected}"));
            }
            passed[i] = found;
        }
    }
    Ok(Outcome { plain: passed[0], numa: passed[1] })
}

/// The library's headers.
const HEADERS: [&str; 3] = ["pagewright/memblock.h", "pagewright/pages.h", "pagewright/slab.h"];

/// The project's root directory.
fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Runs a command and returns what it printed, both streams; its last lines are the error if it fails.
fn output(command: &mut Command) -> Result<String, String> {
    let what = command.get_program().to_string_lossy().into_owned();
    let out = command.output().map_err(|e| format!("{what}: {e}"))?;
    let mut text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&out.stderr));
    if out.status.success() {
        return Ok(text);
    }
    let lines: Vec<_> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(15)..].join("\n");
    Err(format!("{what} failed ({}):\n{last}", out.status))
}

fn install() -> Result<(), String> {
    let missing: Vec<_> =
        PACKAGES.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let apt = |arguments: &[&str]| {
        output(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(arguments))
    };
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(&missing);
    if apt(&arguments).is_ok() {
        return Ok(());
    }
    apt(&["update"])
        .and_then(|_| apt(&arguments))
        .map(|_| ())
        .map_err(|e| format!("the memblock suite needs the Debian packages {}: {e}", missing.join(" ")))
}

/// Builds the library with these features, in place of the one that was built before.
fn build_library(work_dir: &Path, features: &[&str]) -> Result<PathBuf, String> {
    let target = work_dir.join("target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .current_dir(root())
        .args(["build", "--release", "-p", "pagewright-capi", "--no-default-features", "--features"])
        .arg(features.join(","))
        .arg("--target-dir")
        .arg(&target);
    output(&mut build)?;
    let library = target.join("release/libpagewright_capi.a");
    if library.exists() { Ok(library) } else { Err(format!("cargo made no {}", library.display())) }
}

/// Each header by itself, for a kernel: there are no other headers than a freestanding compiler's own.
fn check_headers() -> Result<(), String> {
    let include = root().join("crates/capi/include");
    for (header, numa) in HEADERS.into_iter().flat_map(|h| [(h, &[][..]), (h, &["-DCONFIG_NUMA"])]) {
        let mut gcc = Command::new("gcc");
        gcc.args(["-std=c11", "-ffreestanding", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]).args(numa);
        gcc.args(["-x", "c", "-I"]).arg(&include).arg(include.join(header));
        output(&mut gcc)?;
    }
    Ok(())
}

/// Our own C programs, with and without nodes.
fn run_own_program(work_dir: &Path, library: &Path) -> Result<(), String> {
    let capi = root().join("crates/capi");
    // Each is run once with each of these arguments, or once without.
    let sources: [(&str, &[&str]); 5] = [
        ("tests/c/first_steps.c", &[""]),
        ("tests/c/pages.c", &[""]),
        ("tests/c/slab.c", &[""]),
        ("tests/c/designs.c", &["0", "1", "2"]),
        ("examples/driver.c", &[""]),
    ];
    for ((source, arguments), numa) in
        sources.into_iter().flat_map(|s| [(s, &[][..]), (s, &["-DCONFIG_NUMA"])])
    {
        let program = work_dir.join(source.trim_end_matches(".c").replace('/', "-"));
        let mut gcc = Command::new("gcc");
        gcc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-fsanitize=address,undefined"])
            .args(numa);
        gcc.arg("-I").arg(capi.join("include")).arg(capi.join(source)).arg(library);
        output(gcc.arg("-o").arg(&program))?;
        for argument in arguments {
            let mut run = Command::new(&program);
            output(run.args((!argument.is_empty()).then_some(argument)))
                .map_err(|e| format!("{source} {argument}: {e}"))?;
        }
    }
    Ok(())
}

/// Unpacks the suite unless this very archive was unpacked before; returns its directory.
fn unpack(work_dir: &Path) -> Result<PathBuf, String> {
    let suite = work_dir.join(TOP).join("tools/testing/memblock");
    let done = work_dir.join("unpacked");
    let stamp = std::fs::metadata(SOURCE)
        .and_then(|m| Ok((m.len(), m.modified()?)))
        .map(|s| format!("{s:?} {PARTS:?}"))
        .map_err(|e| format!("{SOURCE}: {e}"))?;
    if std::fs::read_to_string(&done).is_ok_and(|seen| seen == stamp) && suite.join("Makefile").exists() {
        return Ok(suite);
    }
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(work_dir).args(["-xJf", SOURCE, "--wildcards"]);
    output(tar.args(PARTS.iter().map(|part| format!("{TOP}/{part}"))))?;
    std::fs::write(&done, stamp).map_err(|e| format!("{}: {e}", done.display()))?;
    Ok(suite)
}

fn build_suite(suite: &Path, library: &Path, numa: bool) -> Result<(), String> {
    let make = || {
        let mut make = Command::new("make");
        // The suite's own variables decide, not those of a make around us.
        make.current_dir(suite).env_remove("MAKEFLAGS").env_remove("CFLAGS").env_remove("LDFLAGS");
        make
    };
    output(make().arg("clean"))?;
    let mut build = make();
    build.args(["main", "DEP_OFILES=lib/slab.o mmzone.o slab.o"]);
    build.arg(format!("LDLIBS={}", library.display()));
    if numa {
        build.arg("NUMA=1");
    }
    output(&mut build).map(|_| ())
}

/// Runs the suite; the number of checks, if all passed. A failing check ends the program by an assertion.
fn count(suite: &Path, arguments: &[&str]) -> Result<usize, String> {
    let text = output(Command::new(suite.join("main")).args(arguments))?;
    match text.lines().find(|line| line.starts_with("not ok")) {
        Some(line) => Err(format!("the memblock suite says: {line}")),
        None => Ok(text.lines().filter(|line| line.starts_with("ok ")).count()),
    }
}
