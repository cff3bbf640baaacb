//! The description of a machine, with everything that a [`Machine`] borrows.

use super::efi::EfiSpec;
use super::tree::{N, cpus, memory, root};
use super::{GIB, KIB, MIB};
use pagewright_addr::{PageShift, PhysAddr, PhysRange};
use pagewright_firmware::acpi::{NumaTables, Slit, SratCpu, SratCpuKind, SratMemory};
use pagewright_firmware::atags::Atags;
use pagewright_firmware::cmdline::CommandLine;
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_firmware::e820::{E820Entry, E820Kind};
use pagewright_firmware::efi::Efi;
use pagewright_firmware::{Arch, ArmAcpi, ArmCpu, BuildFacts, Cpus, Firmware, KernelImage, Machine, Pc};

/// Where RAM of the arm machines starts.
pub(crate) const RAM: u64 = 0x4000_0000;

/// A machine.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) config: KernelConfig,
    pub(crate) image: KernelImage,
    pub(crate) build: BuildFacts,
    pub(crate) cpus: Cpus,
    pub(crate) cmdline: String,
    pub(crate) initrd: Option<PhysRange>,
    pub(crate) seed: Option<u64>,
    pub(crate) fw: Fw,
    /// Slots of memblock's first arrays, for memory and for reservations.
    pub(crate) slots: (usize, usize),
    /// Whether memblock's events are kept.
    pub(crate) record: bool,
}

/// Its firmware.
#[derive(Clone, Debug)]
pub(crate) enum Fw {
    /// A tree that is still being written, with its memory reservations.
    Tree {
        root: N,
        reservations: Vec<(u64, u64)>,
        efi: EfiSpec,
        acpi: Option<AcpiSpec>,
    },
    /// A finished blob.
    Blob(Vec<u8>),
    Pc(PcSpec),
    Atags(Vec<u8>),
}

/// A PC's tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct PcSpec {
    pub(crate) e820: Vec<E820Entry>,
    pub(crate) srat: Vec<SratMemory>,
    pub(crate) srat_cpus: Vec<SratCpu>,
    pub(crate) slit: Option<(u32, Vec<u8>)>,
    pub(crate) acpi_tables: Vec<PhysRange>,
    pub(crate) setup_data: Vec<PhysRange>,
    pub(crate) efi: EfiSpec,
    pub(crate) ebda: Option<PhysAddr>,
    pub(crate) hotplug_cpus: u32,
}

/// ACPI's tables of an arm64 machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct AcpiSpec {
    pub(crate) srat: Vec<SratMemory>,
    pub(crate) srat_cpus: Vec<SratCpu>,
    pub(crate) slit: Option<(u32, Vec<u8>)>,
    pub(crate) cpus: Vec<ArmCpu>,
}

impl AcpiSpec {
    fn lend(&self) -> ArmAcpi<'_> {
        ArmAcpi {
            numa: NumaTables {
                memory: &self.srat,
                cpus: &self.srat_cpus,
                distances: self.slit.as_ref().and_then(|(n, matrix)| Slit::from_matrix(*n, matrix)),
            },
            cpus: &self.cpus,
        }
    }
}

pub(crate) fn range(start: u64, len: u64) -> PhysRange {
    PhysRange::from_len(PhysAddr::new(start), len)
}

/// An image whose sections follow each other from `at` on.
pub(crate) fn image(arch: Arch, at: u64, va_bits: u8) -> KernelImage {
    let head = if arch == Arch::Arm64 { 64 * KIB } else { 0 };
    let x86 = matches!(arch, Arch::X86_64 | Arch::I386);
    let p = |offset: u64| PhysAddr::new(at + offset);
    KernelImage {
        text_start: p(head),
        text_end: p(4 * MIB),
        rodata_start: p(4 * MIB),
        rodata_end: p(6 * MIB),
        init_begin: p(6 * MIB),
        inittext_end: p(7 * MIB),
        init_end: p(8 * MIB),
        data_start: p(8 * MIB),
        data_end: p(9 * MIB - 64 * KIB),
        bss_start: p(9 * MIB),
        bss_end: p(10 * MIB),
        end: p(10 * MIB),
        brk_used: if x86 { 64 * KIB } else { 0 },
        virt: if arch == Arch::Arm64 {
            0u64.wrapping_sub(1 << (va_bits - 1)).wrapping_add(128 * MIB + head)
        } else {
            0
        },
        init_pg_dir: range(at + 10 * MIB - 20 * KIB, 20 * KIB),
        idmap_text: range(at + 3 * MIB, KIB),
        smp_locks: if x86 { range(at + 9 * MIB - 64 * KIB, 32 * KIB) } else { PhysRange::default() },
        decrypted_unused: if arch == Arch::X86_64 {
            range(at + 10 * MIB - 512 * KIB, 512 * KIB)
        } else {
            PhysRange::default()
        },
        head_len: head,
        ..KernelImage::default()
    }
}

/// An arm64 machine with `mib` MiB of RAM at [`RAM`] and one processor.
pub(crate) fn arm64(mib: u64) -> Spec {
    arm64_banks(&[(RAM, mib * MIB)])
}

/// An arm64 machine with these banks; the kernel lies 2 MiB into the first.
pub(crate) fn arm64_banks(banks: &[(u64, u64)]) -> Spec {
    let config = KernelConfig::for_arch(Arch::Arm64);
    let root = root().text("model", "test,board").with(cpus(1));
    let root = banks.iter().fold(root, |root, (base, size)| root.with(memory(*base, *size)));
    Spec::tree(config, root, banks[0].0 + 2 * MIB)
}

/// A 32-bit arm machine with `mib` MiB of RAM at [`RAM`].
pub(crate) fn arm(flavour: Flavour, mib: u64) -> Spec {
    let root = root().text("model", "test,board").with(cpus(1)).with(memory(RAM, mib * MIB));
    Spec::tree(KernelConfig::debian(flavour), root, RAM + 2 * MIB)
}

/// The usual map of a PC with this much RAM, the part above 3 GiB moved above 4 GiB.
pub(crate) fn pc_map(bytes: u64) -> Vec<E820Entry> {
    let low = bytes.min(3 * GIB);
    let mut map = vec![
        E820Entry::new(0, 0x9_fc00, E820Kind::Ram),
        E820Entry::new(0x9_fc00, 0x400, E820Kind::Reserved),
        E820Entry::new(0xf_0000, 0x1_0000, E820Kind::Reserved),
        E820Entry::new(MIB, low - MIB, E820Kind::Ram),
    ];
    if bytes > low {
        map.push(E820Entry::new(4 * GIB, bytes - low, E820Kind::Ram));
    }
    map
}

/// The same with more banks of RAM from `bytes` on: 4 KiB pages left out, then pages that are there.
pub(crate) fn pc_map_with(bytes: u64, banks: &[(u64, u64)]) -> Vec<E820Entry> {
    let mut map = pc_map(bytes);
    let mut at = bytes;
    for (gap, pages) in banks {
        at += gap << 12;
        map.push(E820Entry::new(at, pages << 12, E820Kind::Ram));
        at += pages << 12;
    }
    map
}

/// A PC with `mib` MiB of RAM and one processor.
pub(crate) fn pc(mib: u64) -> Spec {
    pc_of(Flavour::Amd64, mib)
}

/// The same for one of the x86 kernels.
pub(crate) fn pc_of(flavour: Flavour, mib: u64) -> Spec {
    let config = KernelConfig::debian(flavour);
    let e820 = pc_map(mib * MIB);
    Spec::new(config, 16 * MIB, Fw::Pc(PcSpec { e820, ..PcSpec::default() }))
}

/// Memory of a proximity domain.
pub(crate) fn affinity(pxm: u32, start: u64, len: u64) -> SratMemory {
    SratMemory { pxm, range: range(start, len), hotpluggable: false, non_volatile: false, enabled: true }
}

/// A processor of a proximity domain.
pub(crate) fn cpu_affinity(pxm: u32, apic_id: u32) -> SratCpu {
    SratCpu { pxm, apic_id, enabled: true, kind: SratCpuKind::LocalApic }
}

impl Spec {
    pub(crate) fn new(config: KernelConfig, image_at: u64, fw: Fw) -> Self {
        let phys_bits = if config.is_x86() { 46 } else { 40 };
        Self {
            config,
            image: image(config.arch, image_at, config.va_bits),
            build: BuildFacts::for_config(&config),
            cpus: Cpus { phys_bits, ..Cpus::default() },
            cmdline: String::new(),
            initrd: None,
            seed: None,
            fw,
            slots: (128, 128),
            record: true,
        }
    }

    pub(crate) fn tree(config: KernelConfig, root: N, image_at: u64) -> Self {
        Self::new(
            config,
            image_at,
            Fw::Tree { root, reservations: Vec::new(), efi: EfiSpec::default(), acpi: None },
        )
    }

    pub(crate) fn cmdline(mut self, text: &str) -> Self {
        text.clone_into(&mut self.cmdline);
        self
    }

    /// Adds a node below the tree's root.
    pub(crate) fn with(mut self, child: N) -> Self {
        if let Fw::Tree { root, .. } = &mut self.fw {
            *root = root.clone().with(child);
        }
        self
    }

    /// Adds a /memreserve/.
    pub(crate) fn reserving(mut self, base: u64, size: u64) -> Self {
        if let Fw::Tree { reservations, .. } = &mut self.fw {
            reservations.push((base, size));
        }
        self
    }

    /// Changes the configuration, and the sizes that follow from it.
    pub(crate) fn config(mut self, change: impl FnOnce(&mut KernelConfig)) -> Self {
        change(&mut self.config);
        self.build = BuildFacts::for_config(&self.config);
        self
    }

    pub(crate) fn cpus(mut self, count: u32) -> Self {
        self.cpus.possible = count;
        self
    }

    pub(crate) fn pc_mut(&mut self) -> &mut PcSpec {
        match &mut self.fw {
            Fw::Pc(pc) => pc,
            _ => panic!("not a PC"),
        }
    }

    /// Changes a PC's tables.
    pub(crate) fn tables(mut self, change: impl FnOnce(&mut PcSpec)) -> Self {
        change(self.pc_mut());
        self
    }

    /// The finished tree.
    pub(crate) fn blob(&self) -> Vec<u8> {
        match &self.fw {
            Fw::Tree { root, reservations, .. } => root.clone().blob(reservations),
            Fw::Blob(blob) => blob.clone(),
            Fw::Pc(_) | Fw::Atags(_) => Vec::new(),
        }
    }

    /// Lends the machine to `then`; `None` if the device tree or the tags cannot be read.
    pub(crate) fn lend<R>(&self, then: impl FnOnce(&Machine<'_>) -> R) -> Option<R> {
        let blob = self.blob();
        let firmware = match &self.fw {
            Fw::Tree { .. } | Fw::Blob(_) => Firmware::DeviceTree {
                tree: DeviceTree::parse(&blob).ok()?,
                at: Some(self.tree_at()),
                memory: &[],
                efi: if let Fw::Tree { efi, .. } = &self.fw { efi.lend() } else { Efi::default() },
                acpi: if let Fw::Tree { acpi, .. } = &self.fw {
                    acpi.as_ref().map(AcpiSpec::lend)
                } else {
                    None
                },
            },
            Fw::Pc(pc) => Firmware::Pc(Pc {
                e820: &pc.e820,
                numa: NumaTables {
                    memory: &pc.srat,
                    cpus: &pc.srat_cpus,
                    distances: pc.slit.as_ref().and_then(|(n, matrix)| Slit::from_matrix(*n, matrix)),
                },
                acpi_tables: &pc.acpi_tables,
                setup_data: &pc.setup_data,
                efi: pc.efi.lend(),
                ebda: pc.ebda,
                hotplug_cpus: pc.hotplug_cpus,
                ..Pc::default()
            }),
            Fw::Atags(bytes) => Firmware::Atags(Atags::parse(bytes).ok()?),
        };
        let machine = Machine {
            arch: self.config.arch,
            config: self.config,
            image: self.image,
            build: self.build,
            firmware,
            initrd: self.initrd,
            cmdline: Some(CommandLine::new(&self.cmdline)),
            cpus: self.cpus,
            seed: self.seed,
        };
        Some(then(&machine))
    }

    /// Where the boot loader puts the tree: behind the image.
    pub(crate) fn tree_at(&self) -> PhysAddr {
        self.image.end.saturating_add(22 * MIB).align_down(2 * MIB)
    }
}

/// Larger pages, with the levels and orders that go with them.
pub(crate) fn larger_pages(c: &mut KernelConfig, shift: PageShift, va_bits: u8) {
    (c.page_shift, c.va_bits) = (shift, va_bits);
    (c.pgtable_levels, c.max_order, c.pa_bits) = match (shift.get(), va_bits) {
        (12, _) => (3, 11, 48),
        (14, 36) => (2, 12, 48),
        (14, _) => (3, 12, 48),
        (_, 42) => (2, 14, 48),
        (_, 52) => (3, 14, 52),
        _ => (3, 14, 48),
    };
}
