//! Which machine: the options that `boot` and `show` share.

use super::size::{Place, SIZE, number};
use crate::capture::inputs::pc;
use crate::fault::Fault;
use crate::machine::description::{self, DEFAULT};
use crate::machine::{OwnedFirmware, OwnedMachine, OwnedPc};
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::config::{Flavour, KernelConfig, arch_of};
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_firmware::e820::{E820Entry, E820Kind};
use pagewright_firmware::{Arch, BuildFacts};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Arguments that describe a machine.
#[derive(clap::Args, Debug, Default)]
pub(super) struct MachineArgs {
    /// A machine that ships with the command (`pagewright machines` lists them).
    #[arg(long, value_name = "NAME", conflicts_with_all = ["dtb", "dmesg"])]
    machine: Option<String>,
    /// A flattened device tree.
    #[arg(long, value_name = "FILE", conflicts_with = "dmesg")]
    dtb: Option<PathBuf>,
    /// A PC's kernel log with its BIOS-e820 lines, `-` for standard input.
    #[arg(long, value_name = "FILE")]
    dmesg: Option<PathBuf>,
    /// A directory with raw ACPI tables named SRAT, SLIT and APIC.
    #[arg(long, value_name = "DIR")]
    acpi: Option<PathBuf>,
    /// RAM, instead of what the firmware says; may be given several times.
    #[arg(long, value_name = "SIZE[@ADDRESS]")]
    memory: Vec<Place>,
    /// How many processors there are.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cpus: Option<u32>,
    /// The kernel's command line.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    cmdline: Option<String>,
    /// The architecture, where nothing else tells it.
    #[arg(long, value_enum)]
    arch: Option<ArchArg>,
    /// A Linux .config: which kernel is modelled.
    #[arg(long, value_name = "FILE")]
    kernel_config: Option<PathBuf>,
    /// Seed of what the kernel randomises; without one nothing is.
    #[arg(long, value_name = "N", value_parser = |s: &str| number(s).ok_or("expected a number"))]
    seed: Option<u64>,
    /// The initial RAM disk: a file, or its size and perhaps its address.
    #[arg(long, value_name = "FILE|SIZE[@ADDRESS]")]
    initrd: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum ArchArg {
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
    const fn flavour(self) -> Flavour {
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

impl MachineArgs {
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
        if let Some(text) = &self.cmdline {
            machine.cmdline = Some(text.clone());
        }
        machine.seed = self.seed.or(machine.seed);
        self.replace_memory(&mut machine)?;
        let fixed = self.initrd_option(&mut machine)?;
        machine.place();
        if let Some(at) = fixed {
            machine.initrd = Some(at);
        }
        Ok(machine)
    }

    fn base(&self, config: Option<&str>) -> Result<OwnedMachine, Fault> {
        let by_config = || config.and_then(|text| arch_of(text).map(|arch| flavour_of(arch, text)));
        let mut flavour = self.arch.map(ArchArg::flavour);
        if self.machine.is_none() {
            flavour = flavour.or_else(by_config);
        }
        if let Some(path) = &self.dtb {
            let shown = path.display().to_string();
            let dtb =
                fs::read(path).map_err(|e| Fault::new(e.to_string(), &shown, "a flattened device tree"))?;
            let flavour = match flavour {
                Some(flavour) => flavour,
                None => guess(&dtb).map_err(|f| f.within(&shown))?,
            };
            let name = path.file_stem().map_or(shown.clone(), |s| s.to_string_lossy().into_owned());
            return description::from_tree(&name, dtb, flavour, Some("")).map_err(|f| f.within(shown));
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
                let expected = format!("the architecture of {}", described.flavour.name());
                return Err(Fault::new("another architecture than the machine's", "--arch", expected));
            }
            described.flavour = flavour;
        }
        described.machine()
    }

    fn replace_memory(&self, machine: &mut OwnedMachine) -> Result<(), Fault> {
        if self.memory.is_empty() {
            return Ok(());
        }
        let too_high = || Fault::new("ends above 2^64", "--memory", SIZE);
        match &mut machine.firmware {
            OwnedFirmware::DeviceTree { dtb, memory, .. } => {
                let tree =
                    DeviceTree::parse(dtb).map_err(|e| Fault::new(e.to_string(), "device tree", ""))?;
                for place in &self.memory {
                    let default = match (place.at, tree.memory_node_unit_address()) {
                        (Some(at), _) | (None, Some(at)) => at,
                        (None, None) => {
                            return Err(Fault::new(
                                "the device tree's memory node has no unit address",
                                "--memory",
                                "SIZE@ADDRESS",
                            ));
                        }
                    };
                    memory.push(place.range(default).ok_or_else(too_high)?);
                }
            }
            OwnedFirmware::Pc(pc) => replace_e820(pc, &self.memory).ok_or_else(too_high)?,
            OwnedFirmware::Atags(_) => {
                return Err(Fault::new("a machine with ATAGs", "--memory", "a device tree or a memory map"));
            }
        }
        Ok(())
    }

    /// Gives the machine a RAM disk; returns its place if the option names it.
    fn initrd_option(&self, machine: &mut OwnedMachine) -> Result<Option<PhysRange>, Fault> {
        let Some(text) = &self.initrd else { return Ok(machine.initrd.filter(|_| machine.is_pc())) };
        let place = match text.parse::<Place>() {
            Ok(place) => place,
            Err(expected) => {
                let meta = fs::metadata(text).map_err(|e| {
                    Fault::new(e.to_string(), format!("--initrd {text}"), format!("a file; or {expected}"))
                })?;
                Place { len: meta.len().max(1), at: None }
            }
        };
        if let Some(at) = place.at {
            let range = place.range(at).ok_or_else(|| Fault::new("ends above 2^64", "--initrd", SIZE))?;
            machine.initrd = Some(range);
            return Ok(Some(range));
        }
        machine.initrd = Some(PhysRange::from_len(PhysAddr::ZERO, place.len));
        let OwnedFirmware::Pc(pc) = &machine.firmware else { return Ok(None) };
        // A PC's loader puts it at the top of RAM below 4 GiB, a little below the firmware's own tables.
        let low = pc
            .e820
            .iter()
            .filter(|e| e.kind == E820Kind::Ram && e.end().get() <= 1 << 32)
            .map(E820Entry::end);
        let end = low.max().unwrap_or(PhysAddr::ZERO).saturating_sub(64 << 10).align_down(64 << 10);
        let start = end.saturating_sub(place.len).align_down(4096);
        Ok(Some(PhysRange::from_len(start, place.len)))
    }
}

/// Debian's kernel of an architecture that is nearest to a configuration.
fn flavour_of(arch: Arch, config: &str) -> Flavour {
    let large = |symbol: &str| config.lines().any(|line| line.trim() == symbol);
    match arch {
        Arch::X86_64 => Flavour::Amd64,
        Arch::I386 if large("CONFIG_X86_PAE=y") => Flavour::I686Pae,
        Arch::I386 => Flavour::I686,
        Arch::Arm64 => Flavour::Arm64,
        Arch::Arm if large("CONFIG_ARM_LPAE=y") => Flavour::ArmmpLpae,
        Arch::Arm => Flavour::Armmp,
    }
}

fn read_text(path: &Path) -> Result<String, Fault> {
    fs::read_to_string(path).map_err(|e| Fault::new(e.to_string(), path.display().to_string(), "a text file"))
}

fn read_log(path: &Path) -> Result<(String, String), Fault> {
    let (shown, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        ("standard input".to_owned(), std::io::stdin().read_to_end(&mut bytes).map(|_| bytes))
    } else {
        (path.display().to_string(), fs::read(path))
    };
    let bytes = bytes.map_err(|e| Fault::new(e.to_string(), &shown, "a kernel log"))?;
    Ok((shown, String::from_utf8_lossy(&bytes).into_owned()))
}

fn apply_config(machine: &mut OwnedMachine, path: &Path, text: &str) -> Result<(), Fault> {
    let place = path.display().to_string();
    if let Some(arch) = arch_of(text).filter(|a| *a != machine.arch) {
        return Err(Fault::new(
            format!("a kernel for {arch:?}"),
            place,
            format!("one for the machine's architecture, {:?}", machine.arch),
        ));
    }
    let mut config: KernelConfig = machine.config;
    config.apply(text).map_err(|e| Fault::new(e.to_string(), place, ""))?;
    machine.build = BuildFacts::for_config(&config);
    machine.config = config;
    Ok(())
}

fn read_acpi(machine: &mut OwnedMachine, dir: &Path) -> Result<(), Fault> {
    let place = dir.display().to_string();
    let OwnedFirmware::Pc(tables) = &mut machine.firmware else {
        return Err(Fault::new("ACPI tables for a machine with a device tree", place, "a PC"));
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

/// RAM as a PC has it: 640 KiB, then from 1 MiB up to the hole below 4 GiB, the rest above it. `None` if it does not
/// fit 64 bits.
fn replace_e820(pc: &mut OwnedPc, memory: &[Place]) -> Option<()> {
    const MIB: u64 = 1 << 20;
    /// Where QEMU's q35 starts its hole for devices, and how far RAM goes below it when it does not all fit.
    const HOLE: u64 = 0xb000_0000;
    const BELOW_HOLE: u64 = 0x8000_0000;
    const ABOVE_HOLE: u64 = 1 << 32;
    /// The processor's own hole below 1 TiB; RAM that does not fit below it starts above.
    const TIB_HOLE: u64 = 0xfd_0000_0000;
    const ABOVE_TIB_HOLE: u64 = 1 << 40;
    pc.e820.retain(|e| e.kind != E820Kind::Ram);
    let mut ram = |start: u64, end: u64| {
        if start < end {
            pc.e820.push(E820Entry::new(start, end - start, E820Kind::Ram));
        }
    };
    for place in memory {
        if let Some(at) = place.at {
            let range = place.range(at)?;
            ram(range.start.get(), range.end.get());
            continue;
        }
        let low = if place.len > HOLE { BELOW_HOLE } else { place.len };
        ram(0, low.min(0x9_fc00));
        ram(MIB, low);
        let rest = place.len - low;
        let above = if rest > TIB_HOLE - ABOVE_HOLE { ABOVE_TIB_HOLE } else { ABOVE_HOLE };
        ram(above, above.checked_add(rest)?);
    }
    // What the firmware keeps at the top of low memory moves with it; what it says above is checked by the kernel.
    pc.e820.sort_by_key(|e| e.start);
    Some(())
}

/// 32-bit cores, by the beginning of their `compatible`.
const CORES_32: [&str; 17] = [
    "arm,cortex-a5",
    "arm,cortex-a7",
    "arm,cortex-a8",
    "arm,cortex-a9",
    "arm,cortex-a12",
    "arm,cortex-a15",
    "arm,cortex-a17",
    "arm,arm11",
    "arm,arm9",
    "arm,armv7",
    "qcom,krait",
    "qcom,scorpion",
    "marvell,pj4",
    "marvell,sheeva",
    "marvell,mmp",
    "brcm,brahma-b15",
    "faraday,",
];

/// Whether the tree's processors are 64-bit ones: their `compatible` says so.
fn guess(dtb: &[u8]) -> Result<Flavour, Fault> {
    let tree =
        DeviceTree::parse(dtb).map_err(|e| Fault::new(e.to_string(), "", "a flattened device tree"))?;
    let cpus = tree.root().child_exact("cpus");
    let mut cores = cpus.into_iter().flat_map(|c| c.children()).filter_map(|c| c.property("compatible"));
    // Cortex-A53 begins like Cortex-A5 and is another core: the name must end there.
    let narrow = |core: &[u8]| {
        CORES_32.iter().any(|c| {
            let rest = core.strip_prefix(c.as_bytes());
            rest.is_some_and(|r| {
                !c.ends_with(|d: char| d.is_ascii_digit()) || !r.first().is_some_and(u8::is_ascii_digit)
            })
        }) || core.starts_with(b"arm,arm1")
            || core.starts_with(b"arm,arm9")
    };
    let any_narrow = cores.any(|p| p.strings().any(narrow));
    Ok(if any_narrow { Flavour::Armmp } else { Flavour::Arm64 })
}

#[cfg(test)]
mod tests;
