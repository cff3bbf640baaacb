//! The owned description and how it lends itself to the boot path.

use super::{OwnedArmAcpi, OwnedEfi};
use crate::fault::Fault;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::acpi::{NumaTables, Slit, SratCpu, SratMemory};
use pagewright_firmware::atags::Atags;
use pagewright_firmware::cmdline::CommandLine;
use pagewright_firmware::config::KernelConfig;
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_firmware::e820::E820Entry;
use pagewright_firmware::{Arch, BuildFacts, Cpus, Firmware, KernelImage, Machine, MpTable, Pc};
use pagewright_kspace::Version;

/// A machine that owns its tables.
#[derive(Clone, Debug)]
pub struct OwnedMachine {
    /// The name by which tables call it.
    pub name: String,
    /// Which boot path to take.
    pub arch: Arch,
    /// The kernel configuration.
    pub config: KernelConfig,
    /// Where the kernel image lies.
    pub image: KernelImage,
    /// Sizes that follow from the kernel build.
    pub build: BuildFacts,
    /// What the firmware says.
    pub firmware: OwnedFirmware,
    /// The initial RAM disk, where the firmware does not tell.
    pub initrd: Option<PhysRange>,
    /// The command line; `None` takes the device tree's.
    pub cmdline: Option<String>,
    /// Processors.
    pub cpus: Cpus,
    /// Seed of the randomised parts.
    pub seed: Option<u64>,
    /// The version of Linux whose mappings the kernel makes.
    pub linux: Version,
    /// What takes memory from memblock right before it hands over, for itself: a kernel that embeds the library has its page
    /// allocator's tables there. A hosted machine has them elsewhere.
    pub taken: Vec<Taken>,
}

/// Memory that an embedder takes from memblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Bytes.
    pub bytes: u64,
    /// Bytes that it is aligned to.
    pub align: u64,
}

/// What the firmware hands over, owned.
#[derive(Clone, Debug)]
pub enum OwnedFirmware {
    /// A flattened device tree.
    DeviceTree {
        /// Its bytes.
        dtb: Vec<u8>,
        /// Where the boot loader put it.
        at: Option<PhysAddr>,
        /// Memory that replaces the tree's own; empty takes the tree's.
        memory: Vec<PhysRange>,
        /// What EFI left; its memory map replaces the tree's memory.
        efi: OwnedEfi,
        /// ACPI's tables on arm64.
        acpi: Option<OwnedArmAcpi>,
    },
    /// A PC.
    Pc(OwnedPc),
    /// A list of ATAGs.
    Atags(Vec<u8>),
}

/// A PC's tables, owned.
#[derive(Clone, Debug, Default)]
pub struct OwnedPc {
    /// The e820 map.
    pub e820: Vec<E820Entry>,
    /// SRAT's memory entries.
    pub srat_memory: Vec<SratMemory>,
    /// SRAT's processor entries.
    pub srat_cpus: Vec<SratCpu>,
    /// SLIT: how many domains, and the matrix.
    pub slit: Option<(u32, Vec<u8>)>,
    /// Ranges of ACPI tables in the order in which the kernel reserves them.
    pub acpi_tables: Vec<PhysRange>,
    /// The legacy MP table.
    pub mp_table: Option<MpTable>,
    /// What EFI left.
    pub efi: OwnedEfi,
    /// What the boot loader hands over in memory (`struct setup_data`).
    pub setup_data: Vec<PhysRange>,
    /// The end of conventional memory.
    pub ebda: Option<PhysAddr>,
    /// The registers of each IO APIC in the MADT.
    pub io_apics: Vec<PhysAddr>,
    /// Processors that may be plugged later.
    pub hotplug_cpus: u32,
    /// Whether there is an HPET table.
    pub hpet: bool,
}

impl OwnedMachine {
    /// The description as the boot path takes it.
    ///
    /// # Errors
    /// A [`Fault`] if the device tree or the ATAGs cannot be read.
    pub fn lend(&self) -> Result<Machine<'_>, Fault> {
        let firmware = match &self.firmware {
            OwnedFirmware::DeviceTree { dtb, at, memory, efi, acpi } => Firmware::DeviceTree {
                tree: DeviceTree::parse(dtb)
                    .map_err(|e| Fault::caused(e, "device tree", "a flattened device tree"))?,
                at: *at,
                memory,
                efi: efi.lend(),
                acpi: acpi.as_ref().map(OwnedArmAcpi::lend),
            },
            OwnedFirmware::Pc(pc) => Firmware::Pc(Pc {
                e820: &pc.e820,
                numa: NumaTables {
                    memory: &pc.srat_memory,
                    cpus: &pc.srat_cpus,
                    distances: pc.slit.as_ref().and_then(|(n, matrix)| Slit::from_matrix(*n, matrix)),
                },
                acpi_tables: &pc.acpi_tables,
                mp_table: pc.mp_table,
                efi: pc.efi.lend(),
                setup_data: &pc.setup_data,
                io_apics: &pc.io_apics,
                hotplug_cpus: pc.hotplug_cpus,
                hpet: pc.hpet,
                ebda: pc.ebda,
            }),
            OwnedFirmware::Atags(bytes) => Firmware::Atags(
                Atags::parse(bytes).map_err(|e| Fault::caused(e, "ATAGs", "a list of ATAGs"))?,
            ),
        };
        Ok(Machine {
            arch: self.arch,
            config: self.config,
            image: self.image,
            build: self.build,
            firmware,
            initrd: self.initrd,
            cmdline: self.cmdline.as_deref().map(CommandLine::new),
            cpus: self.cpus,
            seed: self.seed,
        })
    }
}
