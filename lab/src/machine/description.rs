//! Machine descriptions: the `.machine` files that ship with the command, and the same format from a user.
//!
//! A head of `key: value` lines, a line `---`, then what the firmware says: device tree source, or the lines in
//! which a PC's kernel log repeats it. Keys: `about`, `kernel` (one of Debian's flavours), `firmware`
//! (`device-tree` or `pc`), `cmdline`, `distances` (a PC's SLIT, rows separated by commas).

use super::dts;
use super::image::image;
use super::{OwnedEfi, OwnedFirmware, OwnedMachine, after_initrd, arch_name, place};
use crate::capture::inputs::{kernel, pc::PcLog};
use crate::fault::Fault;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_firmware::dmesg::{Line, classify};
use pagewright_firmware::{Arch, BuildFacts, Cpus};
use pagewright_kspace::Version;

/// A description, read but not yet turned into a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description<'a> {
    /// The machine's name.
    pub name: &'a str,
    /// What it is, in a line.
    pub about: &'a str,
    /// The kernel it runs.
    pub flavour: Flavour,
    /// Whether a device tree follows.
    pub has_tree: bool,
    /// The command line.
    pub cmdline: &'a str,
    distances: Option<&'a str>,
    body: &'a str,
    body_line: usize,
}

macro_rules! shipped {
    ($($name:literal),+ $(,)?) => {
        /// The machines that ship with the command: name and text.
        pub const SHIPPED: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../../machines/", $name, ".machine")))),+
        ];
    };
}

shipped![
    "arm-lpae-virt",
    "arm-virt",
    "arm64-numa2",
    "arm64-virt",
    "beaglebone-black",
    "i386-pc",
    "raspberrypi-3b",
    "sabrelite",
    "vexpress-a15",
    "x86_64-numa4",
    "x86_64-q35",
];

/// The machine that is taken when none is named.
pub const DEFAULT: &str = "arm64-virt";

/// A shipped machine's description.
///
/// # Errors
/// A [`Fault`] that lists the names if there is none of that name.
pub fn shipped(name: &str) -> Result<Description<'static>, Fault> {
    let found = SHIPPED.iter().find(|(n, _)| *n == name);
    let (name, text) = found.ok_or_else(|| {
        let names: Vec<_> = SHIPPED.iter().map(|(n, _)| *n).collect();
        Fault::new(format!("no machine `{name}`"), "--machine", format!("one of {}", names.join(", ")))
    })?;
    Description::parse(name, text)
}

impl<'a> Description<'a> {
    /// Reads the head.
    ///
    /// # Errors
    /// A [`Fault`] with the line that is wrong, or the key that is missing.
    pub fn parse(name: &'a str, text: &'a str) -> Result<Self, Fault> {
        let (mut about, mut kernel, mut firmware, mut cmdline, mut distances) = ("", None, None, "", None);
        let mut rest = text;
        let mut number = 0;
        loop {
            number += 1;
            let (line, after) = rest.split_once('\n').ok_or_else(|| {
                Fault::new("the head has no end", name, "a line `---` before the firmware's part")
            })?;
            rest = after;
            let line = line.trim();
            if line == "---" {
                break;
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line
                .split_once(':')
                .ok_or_else(|| Fault::line(number, line, "`key: value` or `---`").within(name))?;
            let value = value.trim();
            match key {
                "about" => about = value,
                "kernel" => kernel = Some(value),
                "firmware" => firmware = Some(value),
                "cmdline" => cmdline = value,
                "distances" => distances = Some(value),
                _ => {
                    let keys = "about, kernel, firmware, cmdline or distances";
                    return Err(Fault::line(number, line, keys).within(name));
                }
            }
        }
        let flavour = kernel.and_then(Flavour::from_name).ok_or_else(|| {
            let names: Vec<_> = Flavour::ALL.iter().map(|f| f.name()).collect();
            Fault::new(format!("kernel: {}", kernel.unwrap_or("(missing)")), name, names.join(", "))
        })?;
        let has_tree = match firmware {
            Some("device-tree") => true,
            Some("pc") => false,
            other => {
                let what = format!("firmware: {}", other.unwrap_or("(missing)"));
                return Err(Fault::new(what, name, "device-tree or pc"));
            }
        };
        Ok(Self { name, about, flavour, has_tree, cmdline, distances, body: rest, body_line: number + 1 })
    }

    /// The machine that is described, its image and device tree where a boot loader would put them.
    ///
    /// # Errors
    /// A [`Fault`] with the line of the firmware's part that is wrong.
    pub fn machine(&self) -> Result<OwnedMachine, Fault> {
        let within = |f: Fault| f.within(self.name);
        if self.has_tree {
            let dtb = dts::compile(self.body, self.body_line).map_err(within)?;
            return from_tree(self.name, dtb, self.flavour, Some(self.cmdline)).map_err(within);
        }
        let mut machine = from_log(self.name, self.body, Some(self.flavour)).map_err(within)?;
        machine.cmdline = Some(self.cmdline.to_owned());
        if let (OwnedFirmware::Pc(pc), Some(text)) = (&mut machine.firmware, self.distances) {
            pc.slit = Some(slit(text).map_err(within)?);
        }
        Ok(machine)
    }
}

/// A square matrix of distances.
fn slit(text: &str) -> Result<(u32, Vec<u8>), Fault> {
    let fault = || Fault::new(format!("distances: {text}"), "", "n rows of n numbers below 256");
    let rows: Vec<Vec<u8>> = text
        .split(',')
        .map(|row| row.split_whitespace().map(|d| d.parse().map_err(|_| fault())).collect())
        .collect::<Result<_, _>>()?;
    if rows.iter().any(|row| row.len() != rows.len()) {
        return Err(fault());
    }
    Ok((rows.len() as u32, rows.concat()))
}

/// A machine from a device tree: the image at the start of its RAM, the tree where a loader would put it.
///
/// # Errors
/// A [`Fault`] if the bytes are no device tree, or the kernel is x86's, which takes its machine from a PC's firmware.
pub fn from_tree(
    name: &str,
    dtb: Vec<u8>,
    flavour: Flavour,
    cmdline: Option<&str>,
) -> Result<OwnedMachine, Fault> {
    if matches!(flavour.arch(), Arch::X86_64 | Arch::I386) {
        let what = format!("a device tree for {}", arch_name(flavour.arch()));
        return Err(Fault::new(what, "", "arm, arm-lpae or arm64 (--arch)"));
    }
    let config = KernelConfig::debian(flavour);
    let tree = DeviceTree::parse(&dtb).map_err(|e| Fault::caused(e, "", "a flattened device tree"))?;
    let cpus = (tree.cpus().count() as u32).clamp(1, config.nr_cpus);
    let cmdline = cmdline.filter(|_| tree.chosen().bootargs.is_none()).map(str::to_owned);
    let mut machine = OwnedMachine {
        name: name.to_owned(),
        arch: flavour.arch(),
        config,
        image: Default::default(),
        build: BuildFacts::for_config(&config),
        firmware: OwnedFirmware::DeviceTree {
            dtb,
            at: None,
            memory: Vec::new(),
            efi: OwnedEfi::default(),
            acpi: None,
        },
        initrd: None,
        cmdline,
        cpus: Cpus { possible: cpus, ..Cpus::default() },
        seed: None,
        linux: Version::V6_1,
        taken: Vec::new(),
    };
    machine.place();
    Ok(machine)
}

/// A machine from a kernel log, as someone pastes it.
///
/// # Errors
/// A [`Fault`] if the log has no PC's memory map.
pub fn from_log(name: &str, log: &str, flavour: Option<Flavour>) -> Result<OwnedMachine, Fault> {
    let read = PcLog::read(log)?;
    if read.pc.e820.is_empty() {
        return Err(match kernel::by_content(log).map(Flavour::arch) {
            Some(arch @ (Arch::Arm | Arch::Arm64)) => {
                let what = format!("a log of {}, which does not tell the machine's memory", arch_name(arch));
                Fault::new(what, "", "its device tree (--dtb)")
            }
            _ => Fault::new("no BIOS-e820 line", "", "the memory map of a PC's kernel log"),
        });
    }
    let mut cpus = Cpus { possible: read.possible_cpus.unwrap_or(1), ..Cpus::default() };
    let (mut banner, mut cmdline) = (None, None);
    for line in log.lines() {
        match classify(line) {
            Line::Banner(b) => banner = Some(b),
            Line::CommandLine(text) => cmdline = Some(text.to_owned()),
            Line::GbPages => cpus.gbpages = true,
            Line::LastPfn { max_arch_pfn, .. } => cpus.la57 = max_arch_pfn == 1 << (52 - 12),
            _ => {}
        }
    }
    let named = || banner.as_ref().and_then(kernel::by_banner);
    let guessed = || kernel::by_content(log);
    let flavour = flavour.or_else(named).or_else(guessed).unwrap_or(Flavour::Amd64);
    if !matches!(flavour.arch(), Arch::X86_64 | Arch::I386) {
        let what = format!("a PC's log for {}", arch_name(flavour.arch()));
        return Err(Fault::new(what, "", "x86_64, i386 or i386-pae (--arch)"));
    }
    let config = KernelConfig::debian(flavour);
    cpus.possible = cpus.possible.clamp(1, config.nr_cpus);
    let mut machine = OwnedMachine {
        name: name.to_owned(),
        arch: flavour.arch(),
        config,
        image: Default::default(),
        build: BuildFacts::for_config(&config),
        firmware: OwnedFirmware::Pc(read.pc),
        initrd: read.initrd,
        cmdline,
        cpus,
        seed: None,
        linux: Version::V6_1,
        taken: Vec::new(),
    };
    machine.place();
    Ok(machine)
}

impl OwnedMachine {
    /// The largest stretch of RAM that begins where RAM begins, as a boot loader looks for room.
    fn first_ram(&self) -> Option<PhysRange> {
        match &self.firmware {
            OwnedFirmware::DeviceTree { dtb, memory, .. } => {
                let tree = DeviceTree::parse(dtb).ok()?;
                let banks: Vec<PhysRange> = tree.memory_banks().map(|b| b.range).collect();
                let banks = if memory.is_empty() { &banks } else { memory };
                banks.iter().min_by_key(|r| r.start).copied()
            }
            OwnedFirmware::Pc(_) => Some(PhysRange::new(PhysAddr::ZERO, PhysAddr::new(1 << 32))),
            OwnedFirmware::Atags(list) => super::tags::first_bank(list),
        }
    }

    /// Puts the image, the RAM disk (of the length it has) and the device tree where a boot loader would.
    pub fn place(&mut self) {
        let Some(ram) = self.first_ram() else { return };
        self.image = image(&self.config, ram.start);
        let places = place(self.arch, ram, self.initrd.map(|r| r.len()));
        let arch = self.arch;
        if matches!(self.firmware, OwnedFirmware::Atags(_)) {
            self.initrd = places.initrd;
        }
        if let OwnedFirmware::DeviceTree { dtb, at, .. } = &mut self.firmware {
            // A tree that a boot loader has been at names the RAM disk itself; the tree then came after it.
            let chosen = DeviceTree::parse(dtb).ok().and_then(|t| t.chosen().initrd);
            match chosen.filter(|_| self.initrd.is_none()) {
                Some(initrd) => *at = Some(after_initrd(arch, initrd.end)),
                None => {
                    *at = Some(places.dtb);
                    self.initrd = places.initrd;
                }
            }
        }
    }

    /// Whether the machine is a PC.
    pub fn is_pc(&self) -> bool {
        matches!(self.arch, Arch::X86_64 | Arch::I386)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_machine_can_be_described() {
        for (name, _) in SHIPPED {
            let machine = shipped(name).unwrap().machine().unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(machine.name, *name);
            assert!(machine.lend().is_ok(), "{name}");
            assert!(!shipped(name).unwrap().about.is_empty(), "{name}");
        }
        assert!(SHIPPED.iter().any(|(name, _)| *name == DEFAULT));
    }

    #[test]
    fn every_file_in_the_folder_is_shipped() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../machines");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|x| x == "machine") {
                let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
                assert!(SHIPPED.iter().any(|(name, _)| *name == stem), "{stem}");
            }
        }
    }

    #[test]
    fn a_mistake_in_the_head_is_told_with_its_line() {
        for (text, expected) in [
            ("kernel: arm64\nfirmware: device-tree\n", "---"),
            ("kernel: arm65\nfirmware: pc\n---\n", "arm65"),
            ("kernel: arm64\nfirmware: uefi\n---\n", "device-tree or pc"),
            ("kernel: arm64\nmemory: 1G\n---\n", "line 2"),
            ("kernel\n---\n", "line 1"),
        ] {
            let fault = Description::parse("m", text).unwrap_err().to_string();
            assert!(fault.contains(expected), "{fault}");
        }
        let tree = "kernel: arm64\nfirmware: device-tree\n---\n/ {\n x = ;\n};\n";
        let fault = Description::parse("m", tree).unwrap().machine().unwrap_err().to_string();
        assert!(fault.starts_with("m: line 5"), "{fault}");
        assert!(slit("10 20, 20").is_err() && slit("10 20, 20 10").is_ok() && slit("10 x, 20 10").is_err());
    }

    #[test]
    fn an_unknown_machine_is_refused_with_the_names() {
        assert!(shipped("pdp-11").unwrap_err().to_string().contains("x86_64-q35"));
    }
}
