//! From what a capture says to the machine that was booted: inputs only, never what the kernel made of them.
//!
//! Lines of the log that repeat what firmware and boot loader handed over (the e820 map, where ACPI tables lie, the
//! RAM disk, the command line, the number of processors) are inputs; so are facts of the kernel image (where its
//! sections lie, the size of its static per-CPU data), which a capture holds in `iomem.txt` and
//! `kernel_symbols.txt`.

pub mod distances;
mod efi;
mod image;
pub mod kernel;
pub mod pc;

use super::Capture;
use crate::conform::replay::log::{self, Call, Item, Logged};
use crate::fault::Fault;
use crate::machine::{OwnedFirmware, OwnedMachine, Taken, after_initrd};
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_firmware::dmesg::{Banner, Line, classify};
use pagewright_firmware::{Arch, BuildFacts, Cpus, I386Features};
use pagewright_kspace::Version;

/// By which name an image that embeds the library asks memblock for its page allocator's tables.
const EMBEDDER: &str = "start_allocator";

/// What the log says about the machine as a whole.
#[derive(Default)]
pub(super) struct LogInputs<'a> {
    banner: Option<Banner<'a>>,
    cmdline: Option<&'a str>,
    gbpages: bool,
    intel: bool,
    x2apic: bool,
    meltdown: bool,
    max_arch_pfn: Option<u64>,
    no_nx: bool,
    vipt_aliasing: bool,
    boot_id: Option<u64>,
    percpu_static: Option<u32>,
}

impl<'a> LogInputs<'a> {
    fn read(dmesg: &'a str) -> Self {
        let mut out = Self::default();
        for line in dmesg.lines() {
            match classify(line) {
                Line::Banner(banner) => _ = out.banner.get_or_insert(banner),
                // The command line in full; x86 prints the boot loader's earlier, under a shorter name.
                Line::CommandLine(text) if line.contains("Kernel command line: ") => out.cmdline = Some(text),
                Line::CommandLine(text) => _ = out.cmdline.get_or_insert(text),
                Line::GbPages => out.gbpages = true,
                Line::LastPfn { max_arch_pfn, .. } => out.max_arch_pfn = Some(max_arch_pfn),
                Line::PerCpu(percpu) => out.percpu_static = Some(percpu.static_bytes),
                // `nogbpages` keeps them from the direct map only.
                Line::Other(text) if text.starts_with("HugeTLB: registered 1.00 GiB page size") => {
                    out.gbpages = true;
                }
                Line::Other(text) if text.starts_with("smpboot: CPU0: ") => {
                    out.intel |= text.starts_with("smpboot: CPU0: Intel");
                }
                Line::Other(text)
                    if text.starts_with("x2apic enabled") || text.starts_with("x2apic: enabled by") =>
                {
                    out.x2apic = true;
                }
                Line::Other(text) if text.ends_with("NX (Execute Disable) protection missing in CPU!") => {
                    out.no_nx = true;
                }
                Line::Other(text) if text.starts_with("Booting Linux on physical CPU 0x") => {
                    out.boot_id = text
                        .split_once("0x")
                        .and_then(|(_, rest)| u64::from_str_radix(rest.split(' ').next()?, 16).ok());
                }
                Line::Other(text) if text.starts_with("Kernel/User page tables isolation: enabled") => {
                    out.meltdown = true;
                }
                Line::Other(text) if text.starts_with("CPU: ") => {
                    // `nonaliasing` is another word.
                    out.vipt_aliasing |= text.contains("VIPT aliasing data cache");
                }
                _ => {}
            }
        }
        out
    }
}

/// 5-level paging reaches 52 bits of physical address, 4-level paging 46.
const LA57_ARCH_PFN: u64 = 1 << (52 - 12);

impl Capture {
    /// The machine that this capture was taken on. `asked` is the kernel to take where the log's release names none.
    ///
    /// # Errors
    /// A [`Fault`] that names what is missing: the banner, the memory map or device tree, the kernel image.
    pub fn machine(&self, asked: Option<Flavour>) -> Result<OwnedMachine, Fault> {
        let log = LogInputs::read(&self.dmesg);
        let place = || format!("{}/dmesg.txt", self.dir.display());
        let banner = log.banner.ok_or_else(|| {
            Fault::missing("no `Linux version` line", place(), "a log from the first line on")
        })?;
        let flavour = self.flavour(&banner, asked).ok_or_else(|| {
            let what = format!("nothing tells the architecture of kernel `{}`", banner.release);
            Fault::new(what, place(), "--arch")
        })?;
        let (arch, config) = (flavour.arch(), KernelConfig::debian(flavour));
        let mut build = BuildFacts::for_config(&config);
        if let Some(bytes) = self.percpu_static(&log) {
            build.percpu_static = bytes;
        }
        let cpus = Cpus {
            gbpages: log.gbpages,
            debug_store: log.intel,
            x2apic: log.x2apic,
            meltdown: log.meltdown,
            la57: log.max_arch_pfn == Some(LA57_ARCH_PFN),
            vipt_aliasing: log.vipt_aliasing,
            boot_id: log.boot_id,
            i386: I386Features { nx: !log.no_nx, ..I386Features::default() },
            ..Cpus::default()
        };
        let mut machine = OwnedMachine {
            name: self.name.clone(),
            arch,
            config,
            image: image::image(self, arch, &config)?,
            build,
            firmware: OwnedFirmware::Atags(Vec::new()),
            initrd: None,
            cmdline: log.cmdline.or(self.cmdline.as_deref()).map(str::to_owned),
            cpus,
            seed: None,
            linux: Version::V6_1,
            taken: self.taken()?,
        };
        match arch {
            Arch::X86_64 | Arch::I386 => self.pc_inputs(&mut machine)?,
            Arch::Arm64 | Arch::Arm => self.tree_inputs(&mut machine)?,
        }
        Ok(machine)
    }

    /// Which of Debian's kernels is nearest to the captured one.
    fn flavour(&self, banner: &Banner<'_>, asked: Option<Flavour>) -> Option<Flavour> {
        kernel::by_banner(banner)
            .or(asked)
            .or_else(|| kernel::by_content(&self.dmesg))
            .or_else(|| kernel::by_tree(self.dtb.as_ref()?, &self.dmesg))
            .or_else(|| kernel::by_symbols(self.symbols.as_ref()?, &self.dmesg))
    }

    /// The size of the kernel's static per-CPU data: by its symbols, else as the kernel prints it.
    fn percpu_static(&self, log: &LogInputs<'_>) -> Option<u32> {
        let symbol = |name| self.symbols.as_ref()?.get(name);
        let by_symbols = symbol("__per_cpu_end")
            .zip(symbol("__per_cpu_start"))
            .and_then(|(end, start)| u32::try_from(end.checked_sub(start)?).ok());
        by_symbols.or(log.percpu_static)
    }

    fn tree_inputs(&self, machine: &mut OwnedMachine) -> Result<(), Fault> {
        let file = self.dir.join("machine.dtb");
        let Some(dtb) = &self.dtb else {
            return Err(Fault::missing(
                "no machine.dtb",
                self.dir.display().to_string(),
                "the machine's device tree",
            ));
        };
        let tree = DeviceTree::parse(dtb)
            .map_err(|e| Fault::caused(e, file.display().to_string(), "a flattened device tree"))?;
        let chosen = tree.chosen();
        // The tree that the kernel saw has the command line in it.
        if chosen.bootargs.is_some() {
            machine.cmdline = None;
        }
        let extras = self.tree_extras(&tree, &machine.image)?;
        let cpus = extras.acpi.as_ref().map_or(tree.cpus().count(), |acpi| acpi.cpus.len()) as u32;
        machine.cpus.possible = cpus.clamp(1, machine.config.nr_cpus);
        let at = chosen.initrd.map(|r| after_initrd(machine.arch, r.end));
        machine.initrd = extras.initrd.filter(|_| chosen.initrd.is_none());
        machine.firmware = OwnedFirmware::DeviceTree {
            dtb: dtb.clone(),
            at: at
                .or_else(|| self.reserved_of_len(tree.total_size()))
                .or_else(|| self.logged_reserved_of_len(tree.total_size())),
            memory: Vec::new(),
            efi: extras.efi,
            acpi: extras.acpi,
        };
        Ok(())
    }

    /// What an image that embeds the library took for its page allocator: an input, since its size follows from the image's build.
    fn taken(&self) -> Result<Vec<Taken>, Fault> {
        let logged = log::parse(&self.dmesg).map_err(|f| f.within(self.dir.join("dmesg.txt").display()))?;
        let taken = |logged: Logged| match logged.item {
            Item::Call { call: Call::AllocTryNid { size, align, .. }, caller, .. } if caller == EMBEDDER => {
                Some(Taken { bytes: size, align })
            }
            _ => None,
        };
        Ok(logged.into_iter().filter_map(taken).collect())
    }

    /// Without a RAM disk before it, the device tree is told by its length among what memblock lists as reserved.
    fn reserved_of_len(&self, len: u64) -> Option<PhysAddr> {
        let files = [&self.memblock_reserved, &self.memblock_memory];
        let regions = files.into_iter().flatten().flat_map(|f| &f.regions);
        let of_len = |&&(start, last): &&(u64, u64)| last.wrapping_sub(start).wrapping_add(1) == len;
        regions.clone().find(of_len).map(|&(start, _)| PhysAddr::new(start))
    }
}

/// A half-open range from first and last byte.
pub(super) fn inclusive(start: u64, last: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(last.saturating_add(1)))
}

#[cfg(test)]
mod tests;
