//! `cargo xtask qemu`: builds a bare-metal image, boots it in a virtual machine, and reads how it ended.

mod elf;
mod target;

use crate::cmd::{self, Output};
use crate::project::Project;
use crate::tools;
use clap::Args;
pub(crate) use elf::{Sizes, symbols};
use std::path::{Path, PathBuf};
use std::time::Duration;
pub(crate) use target::{TARGETS, Target, target};

/// How long a build may take.
const BUILD: Duration = Duration::from_secs(900);
/// What an image's last line begins with.
const CLOSING: &str = "pagewright: end: ";
/// The closing line of an image that did everything that was asked for.
const PASSED: &str = "pagewright: end: passed (0)";

/// Options of `cargo xtask qemu`.
#[derive(Args)]
pub(crate) struct Options {
    /// The image's architecture: arm64, x86_64, arm, arm-lpae
    arch: String,
    /// RAM, as QEMU takes it
    #[arg(long, default_value = "1G")]
    memory: String,
    /// Processors
    #[arg(long, default_value_t = 1)]
    smp: u32,
    /// NUMA nodes; RAM and processors are divided among them
    #[arg(long, default_value_t = 1)]
    numa: u32,
    /// The command line: the kernel's words, and show=, test=, bench=, inject=, trigger= of the image's own
    #[arg(long, default_value = "")]
    append: String,
    /// An initial RAM disk
    #[arg(long)]
    initrd: Option<PathBuf>,
    /// Wait for a debugger on port 1234 before the first instruction
    #[arg(long)]
    gdb: bool,
    /// Seconds after which the machine is ended
    #[arg(long, default_value_t = 120)]
    limit: u64,
    /// Further arguments for QEMU
    #[arg(last = true)]
    extra: Vec<String>,
}

/// A virtual machine to boot an image in.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// RAM in MiB.
    pub(crate) memory_mib: u64,
    /// Processors.
    pub(crate) smp: u32,
    /// NUMA nodes; 1 for a machine without.
    pub(crate) numa: u32,
    /// The command line.
    pub(crate) append: String,
    /// The initial RAM disk.
    pub(crate) initrd: Option<PathBuf>,
    /// Where the image's bytes are put and started without a boot protocol: nobody hands a device tree over.
    pub(crate) bare_at: Option<u64>,
    /// Further arguments for QEMU.
    pub(crate) extra: Vec<String>,
}

impl Guest {
    /// A machine with so much RAM and so many processors, and no more.
    pub(crate) fn new(memory_mib: u64, smp: u32) -> Self {
        let (append, extra) = (String::new(), Vec::new());
        Self { memory_mib, smp, numa: 1, append, initrd: None, bare_at: None, extra }
    }

    /// QEMU's arguments that say so.
    fn args(&self, image: &Path) -> Result<Vec<String>, String> {
        let text = |s: &str| s.to_owned();
        let mut args = vec![text("-m"), format!("{}M", self.memory_mib), text("-smp"), self.smp.to_string()];
        if self.numa > 1 {
            let (nodes, cpus) = (u64::from(self.numa), self.smp);
            if !self.memory_mib.is_multiple_of(nodes) || cpus < self.numa {
                return Err(format!(
                    "{} MiB and {cpus} processors cannot be divided among {nodes} nodes",
                    self.memory_mib
                ));
            }
            for node in 0..self.numa {
                let size = self.memory_mib / nodes;
                args.extend([text("-object"), format!("memory-backend-ram,id=m{node},size={size}M")]);
                let (first, last) = (node * cpus / self.numa, (node + 1) * cpus / self.numa - 1);
                args.extend([
                    text("-numa"),
                    format!("node,nodeid={node},memdev=m{node},cpus={first}-{last}"),
                ]);
            }
        }
        let file = image.to_string_lossy();
        match self.bare_at {
            None => args.extend([text("-kernel"), file.into_owned()]),
            // A comma of the name's own is written twice.
            Some(at) => {
                let file = file.replace(',', ",,");
                let loader = format!("loader,file={file},addr={at:#x},cpu-num=0,force-raw=on");
                args.extend([text("-device"), loader]);
            }
        }
        if !self.append.is_empty() {
            args.extend([text("-append"), self.append.clone()]);
        }
        if let Some(initrd) = &self.initrd {
            args.extend([text("-initrd"), initrd.to_string_lossy().into_owned()]);
        }
        args.extend(self.extra.iter().cloned());
        Ok(args)
    }
}

/// Mebibytes of a size as QEMU takes it: `512M`, `2G`, or a number of MiB.
fn mebibytes(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix(['G', 'g']) {
        Some(number) => (number, 1024),
        None => (text.strip_suffix(['M', 'm']).unwrap_or(text), 1),
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|n| *n > 0)
}

/// Where what runs on this target's processor is built: images of one processor are made of the same crates, which are built once.
pub(crate) fn build_dir(project: &Project, target: &Target) -> PathBuf {
    project.target().join("images").join(target.triple)
}

/// The test that only images for [`Purpose::Designs`] have.
pub(crate) const DESIGNS: &str = "designs";

/// What an image is built for, besides booting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// To run its tests: as small as it can be.
    Tests,
    /// To measure itself: what is measured is as fast as it can be.
    Benchmarks,
    /// To run tests and to measure itself, however large it is.
    Both,
    /// To run its tests with the other designs of small objects among them, SLAB and SLOB: a little larger than it can be without.
    Designs,
}

impl Purpose {
    /// What a command line asks for.
    fn of(append: &str) -> Self {
        let mut words = append.split_ascii_whitespace();
        let measures = words.clone().any(|word| word.starts_with("bench="));
        let designs = words.clone().filter_map(|word| word.strip_prefix("test="));
        let designs = designs.flat_map(|names| names.split(',')).any(|name| name == DESIGNS);
        let tests = words.any(|word| word.starts_with("test=") && word != "test=none");
        match (measures, tests) {
            (true, true) => Self::Both,
            (true, false) => Self::Benchmarks,
            (false, _) if designs => Self::Designs,
            (false, _) => Self::Tests,
        }
    }

    /// Cargo's profile, and the features of `pagewright-kernel`.
    pub(crate) const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Tests => ("image", "tests"),
            Self::Benchmarks => ("image-bench", "bench"),
            Self::Both => ("image-bench", "tests,bench"),
            Self::Designs => ("image", "tests,designs"),
        }
    }

    /// What an image's file is called after its target's name: those that are booted in the same run of the checks differ.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Designs => "-designs",
            _ => "",
        }
    }
}

/// Builds the image and returns the file that QEMU loads.
///
/// # Errors
/// What is missing, or why it does not build.
pub(crate) fn build(project: &Project, target: &Target, purpose: Purpose) -> Result<PathBuf, String> {
    tools::rust_target(project, target.triple)?;
    let (profile, feature) = purpose.names();
    let features = [target.features, &[feature]].concat().join(",");
    let dir = build_dir(project, target);
    let cargo = project.cmd("cargo").args(["build", "--profile", profile, "--package", "pagewright-kernel"]);
    let cargo = cargo.args(["--bin", "pagewright-image", "--no-default-features", "--features", &features]);
    let cargo = cargo.args(["--target", target.triple]);
    // Flags of this build alone; what the environment has would leak into an image.
    let cargo = cargo.env("RUSTFLAGS", target.rustflags).env("CARGO_TARGET_DIR", &dir);
    let name = format!("{}{}", target.name, purpose.suffix());
    let log = project.scratch("logs")?.join(format!("image-{name}.log"));
    let out = cargo.limit(BUILD).log(&log).run()?;
    if !out.ok() {
        return Err(format!("the {name} image does not build\n{}", cmd::tail(&out.text, 60)));
    }
    let built = dir.join(target.triple).join(profile).join("pagewright-image");
    // The next image of the same processor takes this one's name.
    let elf = project.target().join("images").join(format!("pagewright-{name}"));
    std::fs::copy(&built, &elf).map_err(|e| format!("{}: {e}", elf.display()))?;
    if !target.flat {
        return Ok(elf);
    }
    flat(&elf)
}

/// Writes the bare bytes of an ELF file beside it, as a boot loader wants them. Returns the new file.
///
/// # Errors
/// Why that cannot be.
pub(crate) fn flat(elf: &Path) -> Result<PathBuf, String> {
    let bytes = std::fs::read(elf).map_err(|e| format!("{}: {e}", elf.display()))?;
    let flat = elf.with_extension("bin");
    let image = elf::flatten(&bytes).map_err(|why| format!("{}: {why}", elf.display()))?;
    std::fs::write(&flat, image).map_err(|e| format!("{}: {e}", flat.display()))?;
    Ok(flat)
}

/// How large an image is that was built: `image` is the file that QEMU loads.
///
/// # Errors
/// Why its ELF file cannot be read.
pub(crate) fn sizes(target: &Target, image: &Path) -> Result<Sizes, String> {
    let elf = if target.flat { image.with_extension("") } else { image.to_owned() };
    let bytes = std::fs::read(&elf).map_err(|e| format!("{}: {e}", elf.display()))?;
    elf::sizes(&bytes).ok_or_else(|| format!("{}: no ELF file with sections", elf.display()))
}

/// How a virtual machine ended.
pub(crate) struct Ended {
    /// Everything on its serial port.
    pub(crate) text: String,
    /// The image's own exit code; `None` if it gave none.
    pub(crate) code: Option<i32>,
    /// The time limit ended it.
    pub(crate) timed_out: bool,
}

impl Ended {
    fn of(target: &Target, out: Output) -> Self {
        Self { text: out.text, code: out.code.and_then(target.exit_code), timed_out: out.timed_out }
    }

    /// The image's closing line.
    pub(crate) fn closing(&self) -> Option<&str> {
        self.text.lines().rev().map(str::trim_end).find(|line| line.starts_with(CLOSING))
    }

    /// Whether the image did everything that was asked for: it says so, and its exit code does.
    ///
    /// # Errors
    /// One line that says how it ended instead.
    pub(crate) fn passed(&self) -> Result<(), String> {
        match (self.timed_out, self.closing(), self.code) {
            (true, ..) => Err("ended by the time limit".into()),
            (_, Some(PASSED), Some(0)) => Ok(()),
            (_, Some(line), code) => Err(format!("{line}, exit code {code:?}")),
            (_, None, code) => Err(format!("no closing line, exit code {code:?}")),
        }
    }
}

/// Whether RAM up to `memory` holds an image's code, which ends at `end`.
fn code_fits(target: &Target, memory: u64, end: u64) -> Result<(), String> {
    match end.checked_sub(memory) {
        None | Some(0) => Ok(()),
        Some(short) => {
            Err(format!("too little memory: the code of the {} image is {short} bytes short", target.name))
        }
    }
}

/// The program and its arguments.
///
/// # Errors
/// What is missing or cannot be.
fn command(target: &Target, guest: &Guest, image: &Path) -> Result<(String, Vec<String>), String> {
    tools::qemu(target.package, target.qemu)?;
    // Of an ELF file QEMU loads what RAM holds, and says nothing: without its first bytes the image cannot either.
    if !target.flat {
        let file = std::fs::read(image).map_err(|e| format!("{}: {e}", image.display()))?;
        let end = elf::first_end(&file).ok_or_else(|| format!("{}: no ELF file", image.display()))?;
        code_fits(target, guest.memory_mib << 20, end)?;
    }
    let mut args: Vec<String> = target.machine.iter().map(|s| (*s).to_owned()).collect();
    args.extend(guest.args(image)?);
    Ok((target.qemu.to_owned(), args))
}

/// Boots an image to its end.
///
/// # Errors
/// What is missing; how the machine ended is no error here.
pub(crate) fn boot(
    project: &Project,
    target: &Target,
    guest: &Guest,
    image: &Path,
    limit: Duration,
    echo: bool,
) -> Result<Ended, String> {
    let (program, args) = command(target, guest, image)?;
    let out = project.cmd(&program).args(args).limit(limit).echo(echo).run()?;
    Ok(Ended::of(target, out))
}

/// One shell word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./:+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The command.
///
/// # Errors
/// One line that says what is missing, or how the image ended.
pub(crate) fn run(project: &Project, options: &Options) -> Result<(), String> {
    let target = target(&options.arch)?;
    let memory_mib = mebibytes(&options.memory)
        .ok_or_else(|| format!("--memory {}: expected a size such as 512M or 2G", options.memory))?;
    let mut guest = Guest {
        numa: options.numa,
        append: options.append.clone(),
        initrd: options.initrd.clone(),
        extra: options.extra.clone(),
        ..Guest::new(memory_mib, options.smp)
    };
    let mut limit = Duration::from_secs(options.limit);
    if options.gdb {
        guest.extra.extend(["-s".into(), "-S".into()]);
        limit = Duration::from_secs(24 * 3600);
    }
    let image = build(project, target, Purpose::of(&guest.append))?;
    let (program, args) = command(target, &guest, &image)?;
    let words: Vec<String> = args.iter().map(|a| quoted(a)).collect();
    eprintln!("{program} {}", words.join(" "));
    if options.gdb {
        let elf = image.with_extension("");
        eprintln!("waiting for: gdb-multiarch {} -ex 'target remote :1234'", elf.display());
    }
    boot(project, target, &guest, &image, limit, true)?.passed()
}

#[cfg(test)]
mod tests;
