//! Which machine: the options that `boot` and `show` share.

mod ram;

use super::size::{Place, bytes, number};
use crate::capture::Capture;
use crate::capture::inputs::{kernel::nearest, pc};
use crate::facts::plain;
use crate::fault::Fault;
use crate::machine::description::{self, DEFAULT};
use crate::machine::{OwnedFirmware, OwnedMachine, arch_name, flavour_of as flavour_of_tree, tags};
use pagewright_firmware::config::{ConfigErrorKind, Flavour, KernelConfig, arch_of};
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_firmware::{Arch, BuildFacts};
use pagewright_kspace::Version;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Arguments that describe a machine.
#[derive(clap::Args, Debug, Default)]
pub(super) struct MachineArgs {
    /// A machine that ships with the command (`pagewright machines` lists them).
    #[arg(long, value_name = "NAME", conflicts_with_all = ["dtb", "dmesg", "atags"])]
    machine: Option<String>,
    /// A flattened device tree.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dmesg", "atags"])]
    dtb: Option<PathBuf>,
    /// A list of ATAGs as boot loaders gave it to arm kernels before there were device trees.
    #[arg(long, value_name = "FILE", conflicts_with = "dmesg")]
    atags: Option<PathBuf>,
    /// A PC's kernel log with its BIOS-e820 lines, `-` for standard input.
    #[arg(long, value_name = "FILE")]
    dmesg: Option<PathBuf>,
    /// A captured machine's directory: what `conform` takes.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["machine", "dtb", "dmesg", "atags"])]
    capture: Option<PathBuf>,
    /// A directory with raw ACPI tables named SRAT, SLIT and APIC.
    #[arg(long, value_name = "DIR")]
    acpi: Option<PathBuf>,
    /// RAM, instead of what the firmware says; may be given several times. Sizes and addresses take K, M, G, T, P, E.
    #[arg(long, value_name = "SIZE[@ADDRESS]")]
    memory: Vec<Place>,
    /// How many processors there are.
    #[arg(long, value_name = "N", value_parser = count)]
    cpus: Option<u32>,
    /// The kernel's command line.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    cmdline: Option<String>,
    /// The architecture, where nothing else tells it.
    #[arg(long, value_enum)]
    arch: Option<ArchArg>,
    /// Tightly coupled memory for instructions, of an arm processor whose kernel has CONFIG_HAVE_TCM then: 4K to 32K.
    #[arg(long, value_name = "SIZE", value_parser = tcm)]
    itcm: Option<u32>,
    /// The same for data.
    #[arg(long, value_name = "SIZE", value_parser = tcm)]
    dtcm: Option<u32>,
    /// A Linux .config: which kernel is modelled.
    #[arg(long, value_name = "FILE")]
    kernel_config: Option<PathBuf>,
    /// The version of Linux whose virtual layout and page tables the kernel has; everything else is 6.1's.
    #[arg(long, alias = "linux-version", value_name = "X.Y")]
    pub(super) linux: Option<Version>,
    /// Seed of what the kernel randomises; without one nothing is.
    #[arg(long, value_name = "N", value_parser = seed)]
    seed: Option<u64>,
    /// The initial RAM disk: a file, or its size and perhaps its address.
    #[arg(long, value_name = "FILE|SIZE[@ADDRESS]")]
    initrd: Option<String>,
}

/// The architectures that can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum ArchArg {
    #[value(name = "x86_64", alias = "amd64")]
    X86_64,
    #[value(name = "i386")]
    I386,
    #[value(name = "i386-pae")]
    I386Pae,
    #[value(name = "arm64", alias = "aarch64")]
    Arm64,
    #[value(name = "arm")]
    Arm,
    #[value(name = "arm-lpae")]
    ArmLpae,
}

impl ArchArg {
    /// Debian's kernel for it.
    pub(super) const fn flavour(self) -> Flavour {
        match self {
            Self::X86_64 => Flavour::Amd64,
            Self::I386 => Flavour::I686,
            Self::I386Pae => Flavour::I686Pae,
            Self::Arm64 => Flavour::Arm64,
            Self::Arm => Flavour::Armmp,
            Self::ArmLpae => Flavour::ArmmpLpae,
        }
    }
}

fn count(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("expected a number from 1 to {}", u32::MAX))
}

/// There is room for 32 KiB of either kind; processors have powers of two, and no less than 4 KiB can be mapped.
fn tcm(text: &str) -> Result<u32, &'static str> {
    let fits = |n: &u32| n.is_power_of_two() && (4 << 10..=32 << 10).contains(n);
    let bytes = bytes(text).and_then(|n| u32::try_from(n).ok()).filter(fits);
    bytes.ok_or("expected a power of two from 4K to 32K")
}

fn seed(text: &str) -> Result<u64, &'static str> {
    number(text).ok_or("expected a number below 2^64, such as 7 or 0x7")
}

impl MachineArgs {
    /// Whether nothing says which machine it is, or which kernel.
    pub(super) const fn is_unsaid(&self) -> bool {
        let Self { machine, dtb, atags, dmesg, capture, arch, kernel_config, .. } = self;
        machine.is_none()
            && dtb.is_none()
            && atags.is_none()
            && dmesg.is_none()
            && capture.is_none()
            && arch.is_none()
            && kernel_config.is_none()
    }

    /// The machine that the options describe.
    pub(super) fn machine(&self) -> Result<OwnedMachine, Fault> {
        let config_text = self.kernel_config.as_deref().map(read_text).transpose()?;
        let mut machine = self.base(config_text.as_deref())?;
        if let (Some(path), Some(text)) = (&self.kernel_config, &config_text) {
            apply_config(&mut machine, path, text)?;
        }
        if let Some(dir) = &self.acpi {
            read_acpi(&mut machine, dir)?;
        }
        if let Some(cpus) = self.cpus {
            if cpus > machine.config.nr_cpus {
                let expected = format!("at most {} (CONFIG_NR_CPUS)", machine.config.nr_cpus);
                return Err(Fault::new(format!("{cpus} processors"), "--cpus", expected));
            }
            machine.cpus.possible = cpus;
        }
        self.give_tcm(&mut machine)?;
        if let Some(text) = &self.cmdline {
            machine.cmdline = Some(text.clone());
        }
        machine.seed = self.seed.or(machine.seed);
        machine.linux = self.linux.unwrap_or_default();
        self.replace_memory(&mut machine)?;
        if self.capture.is_some() && self.initrd.is_none() {
            // Everything lies where it was captured.
            return Ok(machine);
        }
        let fixed = self.initrd_option(&mut machine)?;
        machine.place();
        if let Some(at) = fixed {
            machine.initrd = Some(at);
        }
        Ok(machine)
    }

    /// Gives the processor the tightly coupled memory that was asked for, and the kernel what it takes to map it.
    fn give_tcm(&self, machine: &mut OwnedMachine) -> Result<(), Fault> {
        let option = match (self.itcm, self.dtcm) {
            (None, None) => return Ok(()),
            (Some(_), _) => "--itcm",
            (None, Some(_)) => "--dtcm",
        };
        if machine.arch != Arch::Arm {
            return Err(Fault::new(
                arch_name(machine.arch),
                option,
                "an arm machine: others have no such memory",
            ));
        }
        machine.config.have_tcm = true;
        let arm = &mut machine.cpus.arm;
        arm.itcm_bytes = self.itcm.unwrap_or(arm.itcm_bytes);
        arm.dtcm_bytes = self.dtcm.unwrap_or(arm.dtcm_bytes);
        Ok(())
    }

    fn base(&self, config: Option<&str>) -> Result<OwnedMachine, Fault> {
        let by_config = || config.and_then(|text| arch_of(text).map(|arch| flavour_of(arch, text)));
        let mut flavour = self.arch.map(ArchArg::flavour);
        if self.machine.is_none() {
            flavour = flavour.or_else(by_config);
        }
        if let Some(dir) = &self.capture {
            return Capture::read(dir)?.machine(flavour);
        }
        if let Some(path) = &self.dtb {
            let shown = path.display().to_string();
            let dtb = fs::read(path).map_err(|e| Fault::caused(e, &shown, "a flattened device tree"))?;
            let flavour = match flavour {
                Some(flavour) => flavour,
                None => DeviceTree::parse(&dtb)
                    .map(|tree| flavour_of_tree(&tree))
                    .map_err(|e| Fault::caused(e, &shown, "a flattened device tree"))?,
            };
            let name = stem(path);
            return description::from_tree(&name, dtb, flavour, Some("")).map_err(|f| f.within(shown));
        }
        if let Some(path) = &self.atags {
            let shown = path.display().to_string();
            let list = fs::read(path).map_err(|e| Fault::caused(e, &shown, "a list of ATAGs"))?;
            let flavour = flavour.unwrap_or(Flavour::Armmp);
            return tags::from_atags(&stem(path), list, flavour).map_err(|f| f.within(shown));
        }
        if let Some(path) = &self.dmesg {
            let (shown, text) = read_log(path)?;
            return description::from_log(&shown, &text, flavour).map_err(|f| f.within(&shown));
        }
        let name = self.machine.as_deref().unwrap_or(match flavour {
            Some(Flavour::Amd64) => "x86_64-q35",
            Some(Flavour::I686 | Flavour::I686Pae) => "i386-pc",
            Some(Flavour::Armmp) => "arm-virt",
            Some(Flavour::ArmmpLpae) => "arm-lpae-virt",
            Some(Flavour::Arm64) | None => DEFAULT,
        });
        let mut described = description::shipped(name)?;
        if let Some(flavour) = flavour {
            if flavour.arch() != described.flavour.arch() {
                let expected = format!("{}, as the machine is", arch_name(described.flavour.arch()));
                return Err(Fault::new(arch_name(flavour.arch()), format!("--arch for {name}"), expected));
            }
            described.flavour = flavour;
        }
        described.machine()
    }
}

/// Debian's kernel of an architecture that is nearest to a configuration.
fn flavour_of(arch: Arch, config: &str) -> Flavour {
    let large = |line: &str| matches!(line.trim(), "CONFIG_X86_PAE=y" | "CONFIG_ARM_LPAE=y");
    nearest(arch, config.lines().any(large))
}

/// A file's name without folder and ending, by which the machine is called.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn read_text(path: &Path) -> Result<String, Fault> {
    fs::read_to_string(path).map_err(|e| Fault::caused(e, path.display().to_string(), "a text file"))
}

fn read_log(path: &Path) -> Result<(String, String), Fault> {
    let (shown, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        ("standard input".to_owned(), std::io::stdin().read_to_end(&mut bytes).map(|_| bytes))
    } else {
        (path.display().to_string(), fs::read(path))
    };
    let bytes = bytes.map_err(|e| Fault::caused(e, &shown, "a kernel log"))?;
    Ok((shown, plain(&String::from_utf8_lossy(&bytes))))
}

fn apply_config(machine: &mut OwnedMachine, path: &Path, text: &str) -> Result<(), Fault> {
    let place = path.display().to_string();
    if let Some(arch) = arch_of(text).filter(|a| *a != machine.arch) {
        return Err(Fault::new(
            format!("a kernel for {}", arch_name(arch)),
            place,
            format!("one for the machine's architecture, {}", arch_name(machine.arch)),
        ));
    }
    let mut config: KernelConfig = machine.config;
    config.apply(text).map_err(|e| {
        match (e.kind, e.line.checked_sub(1).and_then(|n| text.lines().nth(n))) {
            (ConfigErrorKind::Syntax, Some(line)) => {
                let expected = "CONFIG_NAME=value, # CONFIG_NAME is not set, or a comment";
                Fault::line(e.line, line, expected).within(place)
            }
            _ => Fault::caused(e, place, ""),
        }
    })?;
    machine.build = BuildFacts::for_config(&config);
    machine.config = config;
    Ok(())
}

fn read_acpi(machine: &mut OwnedMachine, dir: &Path) -> Result<(), Fault> {
    let place = dir.display().to_string();
    let OwnedFirmware::Pc(tables) = &mut machine.firmware else {
        return Err(Fault::new("ACPI tables for a machine that has none", place, "a PC"));
    };
    let mut found = false;
    let mut read = |name: &str| -> Option<(PathBuf, Vec<u8>)> {
        let path = dir.join(name);
        let bytes = fs::read(&path).ok()?;
        found = true;
        Some((path, bytes))
    };
    if let Some((path, bytes)) = read("SRAT") {
        pc::read_srat(tables, &bytes).map_err(|f| f.within(path.display()))?;
    }
    if let Some((path, bytes)) = read("SLIT") {
        tables.slit = Some(pc::read_slit(&bytes).map_err(|f| f.within(path.display()))?);
    }
    if let Some((path, bytes)) = read("APIC") {
        let madt = pc::read_madt(&bytes).map_err(|f| f.within(path.display()))?;
        tables.io_apics = madt.io_apics;
        tables.hotplug_cpus = madt.hotplug;
        machine.cpus.possible = madt.possible.clamp(1, machine.config.nr_cpus);
    }
    if found { Ok(()) } else { Err(Fault::new("no table in it", place, "files named SRAT, SLIT or APIC")) }
}

#[cfg(test)]
mod tests;
