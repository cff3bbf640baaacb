//! The machine description: everything the boot path knows before its first decision.
//!
//! A [`Machine`] is a plain value that borrows what it does not own (device tree bytes, e820 entries, strings).
//! Hosted code builds one from files, bare-metal code from what the boot loader handed over; the boot path takes
//! both alike. Sizes that shape Linux's layout but follow from a kernel *build* (the stride of `struct page`, the
//! per-CPU static size, where the image's sections lie) are fields here, so that a hosted boot can reproduce a
//! given Linux kernel and a real embedding can state its own.

use crate::acpi::NumaTables;
use crate::cmdline::CommandLine;
use crate::config::KernelConfig;
use crate::devicetree::DeviceTree;
use crate::e820::E820Entry;
use crate::efi::Efi;
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr};

/// The processor architecture, which selects the boot path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Arch {
    /// 64-bit x86, 4- or 5-level page tables.
    X86_64,
    /// 32-bit x86, 2-level or PAE; hosted only.
    I386,
    /// AArch64.
    Arm64,
    /// 32-bit Arm (ARMv7), short-descriptor or LPAE.
    Arm,
}

/// A machine, ready to boot.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    /// Which boot path to take.
    pub arch: Arch,
    /// The kernel configuration that is modelled.
    pub config: KernelConfig,
    /// Where the kernel image lies in RAM.
    pub image: KernelImage,
    /// Sizes that follow from the kernel build.
    pub build: BuildFacts,
    /// What the firmware says about memory.
    pub firmware: Firmware<'a>,
    /// The initial RAM disk as the boot loader reports it. Device-tree machines usually leave this `None`: the
    /// range stands in /chosen.
    pub initrd: Option<PhysRange>,
    /// The command line in force. `None` takes the one of the device tree (or an empty one).
    pub cmdline: Option<CommandLine<'a>>,
    /// Processors.
    pub cpus: Cpus,
    /// Seed for the randomised parts (KASLR, the linear map's offset). `None`: nothing is randomised.
    pub seed: Option<u64>,
}

/// What the firmware hands over.
#[derive(Clone, Debug)]
pub enum Firmware<'a> {
    /// A flattened device tree, loaded at `at`.
    DeviceTree {
        /// The parsed tree.
        tree: DeviceTree<'a>,
        /// Where the boot loader put it; `None` if the kernel itself carries it (appended).
        at: Option<PhysAddr>,
        /// Memory that replaces the tree's own memory nodes (`--memory`); empty takes the tree's.
        memory: &'a [PhysRange],
        /// What EFI left. Its memory map replaces the tree's memory nodes.
        efi: Efi<'a>,
        /// ACPI's tables on arm64. They count where the tree describes nothing but /chosen, or the command line wants
        /// them; the tree counts otherwise.
        acpi: Option<ArmAcpi<'a>>,
    },
    /// A PC: the e820 map, and ACPI's tables for NUMA.
    Pc(Pc<'a>),
    /// Arm's older hand-over, a list of ATAGs.
    Atags(crate::atags::Atags<'a>),
}

/// What a PC's firmware says.
#[derive(Clone, Debug, Default)]
pub struct Pc<'a> {
    /// The map as the firmware gave it, before any sanitising.
    pub e820: &'a [E820Entry],
    /// Affinities and distances (SRAT, SLIT), empty without NUMA.
    pub numa: NumaTables<'a>,
    /// Ranges that ACPI tables occupy, in the order in which the kernel reserves them.
    pub acpi_tables: &'a [PhysRange],
    /// The legacy MP table's floating pointer and configuration table, if the firmware left one.
    pub mp_table: Option<MpTable>,
    /// What EFI left; empty on a BIOS machine.
    pub efi: Efi<'a>,
    /// Ranges of `struct setup_data` entries from the boot loader.
    pub setup_data: &'a [PhysRange],
    /// The registers of each IO APIC in the MADT.
    pub io_apics: &'a [PhysAddr],
    /// Processors that the MADT lists but that are not there yet, and may come.
    pub hotplug_cpus: u32,
    /// Whether there is an HPET table.
    pub hpet: bool,
    /// The top of conventional memory as the BIOS data area says (EBDA start), used for the low reserve.
    pub ebda: Option<PhysAddr>,
}

impl Pc<'_> {
    /// Where a processor's local APIC has its registers, unless firmware moved them, which nobody does (`APIC_DEFAULT_PHYS_BASE`).
    pub const LOCAL_APIC: PhysAddr = PhysAddr::new(0xfee0_0000);
}

/// What ACPI says about an arm64 machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArmAcpi<'a> {
    /// Affinities and distances (SRAT, SLIT), empty without NUMA.
    pub numa: NumaTables<'a>,
    /// The enabled processors of the MADT by the kernel's numbers: the one that boots, then the others in table order.
    pub cpus: &'a [ArmCpu],
}

/// A processor of a MADT (GICC).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArmCpu {
    /// Its ACPI uid, by which the SRAT names it.
    pub uid: u32,
    /// Its affinity register.
    pub mpidr: u64,
}

/// The legacy MP specification's tables, which the kernel reserves when found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MpTable {
    /// The 16-byte floating pointer.
    pub floating_pointer: PhysRange,
    /// The configuration table it points to.
    pub table: Option<PhysRange>,
}

/// Where the kernel image lies in physical memory.
///
/// All ranges are physical; the boot path reserves from `text.start` to `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KernelImage {
    /// First byte of `_text` (x86, arm: `_stext`'s section start; arm64: the image's load address plus its head).
    pub text_start: PhysAddr,
    /// `_etext`.
    pub text_end: PhysAddr,
    /// `__start_rodata` (arm64 and arm: `_etext`, where it begins).
    pub rodata_start: PhysAddr,
    /// Read-only data up to `__init_begin` (arm64: `__end_rodata`).
    pub rodata_end: PhysAddr,
    /// `__init_begin`.
    pub init_begin: PhysAddr,
    /// `__inittext_end`: where init text ends and init data begins.
    pub inittext_end: PhysAddr,
    /// `__init_end`.
    pub init_end: PhysAddr,
    /// `_sdata`.
    pub data_start: PhysAddr,
    /// `_edata`.
    pub data_end: PhysAddr,
    /// `__bss_start`.
    pub bss_start: PhysAddr,
    /// `__bss_stop`.
    pub bss_end: PhysAddr,
    /// `_end`, where the image's reservation ends (x86: `__end_of_kernel_reserve`; the brk area follows).
    pub end: PhysAddr,
    /// x86: bytes of the brk area in use when it is closed (`_brk_end - _brk_start`).
    pub brk_used: u64,
    /// arm64: the virtual address of the image (`KIMAGE_VADDR` + offset); 0 elsewhere.
    pub virt: u64,
    /// The page tables that the head code fills (`init_pg_dir`..`init_pg_end`, arm64), freed by `paging_init`.
    pub init_pg_dir: PhysRange,
    /// Code that runs while the MMU is switched (`__idmap_text_start`..`__idmap_text_end`, arm and arm64).
    pub idmap_text: PhysRange,
    /// x86: where the kernel notes its lock prefixes (`__smp_locks`..`__smp_locks_end`), freed once it is known that they
    /// stay as they are. Empty without SMP.
    pub smp_locks: PhysRange,
    /// x86_64: what aligning the decrypted part of bss to 2 MiB left over (`__start_bss_decrypted_unused` to the end of
    /// that part), freed late. Empty without AMD_MEM_ENCRYPT.
    pub decrypted_unused: PhysRange,
    /// Bytes between the image's load address (`_text`) and `text_start` (`_stext`): arm64's header, 64 KiB.
    pub head_len: u64,
    /// What x86_64's page tables need to know besides; nothing of other images.
    pub x86: X86Image,
    /// The same for arm64.
    pub arm64: Arm64Image,
    /// The same for i386.
    pub i386: I386Image,
}

/// Parts of an x86_64 image that its page tables lie in or treat apart, by physical address. What is zero or empty is not
/// known: tables are then put into the data section, and pages that Linux treats apart are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct X86Image {
    /// `early_top_pgt`: the top table of the head.
    pub early_top_pgt: PhysAddr,
    /// `early_dynamic_pgts`: 64 pages for tables that early faults take.
    pub early_dynamic_pgts: PhysAddr,
    /// `init_top_pgt` (`swapper_pg_dir`): the top table of the running kernel.
    pub init_top_pgt: PhysAddr,
    /// `level3_kernel_pgt`; the page before it is `level4_kernel_pgt`.
    pub level3_kernel_pgt: PhysAddr,
    /// `level2_kernel_pgt`: the blocks that map the image.
    pub level2_kernel_pgt: PhysAddr,
    /// `level2_fixmap_pgt`.
    pub level2_fixmap_pgt: PhysAddr,
    /// `level1_fixmap_pgt`: tables of the fixed mappings, one page after the other.
    pub level1_fixmap_pgt: PhysAddr,
    /// `idt_table` (of i386 too): the page that becomes read-only once interrupts are set up.
    pub idt_table: PhysAddr,
}

/// Tables of an i386 image, by physical address. What is zero is not known: they are then taken to be the first pages of bss, in
/// this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct I386Image {
    /// `initial_page_table`: the top table of the head and of processors that start. With PAE four entries.
    pub initial_page_table: PhysAddr,
    /// `initial_pg_pmd`: with PAE one table for each gigabyte of the kernel's addresses.
    pub initial_pg_pmd: PhysAddr,
    /// `initial_pg_fixmap`: the last addresses' table of pages.
    pub initial_pg_fixmap: PhysAddr,
    /// `swapper_pg_dir`: the top table of the running kernel.
    pub swapper_pg_dir: PhysAddr,
    /// `bm_pte`: the table of pages that early_ioremap uses.
    pub bm_pte: PhysAddr,
}

/// Parts of an arm64 image that its page tables lie in or map apart, by physical address. What is zero or empty is not
/// known: tables then have the last pages before the init sections and the first of bss, the others are not mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Arm64Image {
    /// `idmap_pg_dir`: the identity map for switching the MMU.
    pub idmap_pg_dir: PhysAddr,
    /// `tramp_pg_dir`: the kernel's tables while user code runs, with page-table isolation.
    pub tramp_pg_dir: PhysAddr,
    /// `swapper_pg_dir`: the top table of the running kernel.
    pub swapper_pg_dir: PhysAddr,
    /// `init_idmap_pg_dir`..`init_idmap_pg_end`: the head's identity map.
    pub init_idmap_pg_dir: PhysRange,
    /// `bm_pte`: the fixed mappings' table of pages.
    pub bm_pte: PhysAddr,
    /// `bm_pmd`.
    pub bm_pmd: PhysAddr,
    /// `bm_pud`.
    pub bm_pud: PhysAddr,
    /// `__entry_tramp_text_start`..`__entry_tramp_text_end`: whole pages of code that is mapped while user code runs.
    pub entry_tramp_text: PhysRange,
    /// `vectors`: where exceptions enter the kernel.
    pub vectors: PhysAddr,
}

impl KernelImage {
    /// An image of two parts: text with read-only data, and data with bss. It has no init sections and no page tables of its
    /// own: the least that a kernel tells which fills no tables by the boot.
    pub fn plain(text: PhysRange, data: PhysRange) -> Self {
        Self {
            text_start: text.start,
            text_end: text.end,
            rodata_start: text.end,
            rodata_end: text.end,
            init_begin: data.start,
            inittext_end: data.start,
            init_end: data.start,
            data_start: data.start,
            data_end: data.end,
            bss_start: data.end,
            bss_end: data.end,
            end: data.end,
            ..Self::default()
        }
    }

    /// The image's load address, `_text`.
    pub fn load_start(&self) -> PhysAddr {
        self.text_start.saturating_sub(self.head_len)
    }
}

impl<'a> Firmware<'a> {
    /// A device tree that the boot loader put at `at`, on a machine that EFI did not boot.
    pub fn device_tree(tree: DeviceTree<'a>, at: PhysAddr) -> Self {
        Self::DeviceTree { tree, at: Some(at), memory: &[], efi: Efi::default(), acpi: None }
    }
}

impl<'a> Machine<'a> {
    /// A machine as its firmware describes it: the command line and the processors are a device tree's (one where it lists none, and
    /// on a PC), sizes are those of the configuration's kernel, nothing is randomised.
    pub fn new(config: KernelConfig, image: KernelImage, firmware: Firmware<'a>) -> Self {
        let listed = match &firmware {
            Firmware::DeviceTree { tree, .. } => tree.cpus().count(),
            _ => 1,
        };
        let possible = u32::try_from(listed).unwrap_or(u32::MAX).clamp(1, config.nr_cpus.max(1));
        Self {
            arch: config.arch,
            config,
            image,
            build: BuildFacts::for_config(&config),
            firmware,
            initrd: None,
            cmdline: None,
            cpus: Cpus { possible, ..Cpus::default() },
            seed: None,
        }
    }

    /// The command line in force: the machine's own, else the one of the device tree or the tag list, else empty.
    pub fn command_line(&self) -> CommandLine<'a> {
        let firmware = || match &self.firmware {
            Firmware::DeviceTree { tree, .. } => tree.chosen().bootargs,
            Firmware::Atags(tags) => tags.cmdline,
            Firmware::Pc(_) => None,
        };
        self.cmdline.unwrap_or_else(|| CommandLine::new(firmware().unwrap_or("")))
    }
}

/// Sizes in bytes that follow from the kernel build and shape where early allocations land.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuildFacts {
    /// `sizeof(struct page)`: 64 on 64-bit kernels, 32 to 44 on 32-bit ones.
    pub struct_page: u32,
    /// `sizeof(pg_data_t)`.
    pub pglist_data: u32,
    /// Static per-CPU data: `__per_cpu_end - __per_cpu_start`.
    pub percpu_static: u32,
    /// Reserved per-CPU space for modules: `PERCPU_MODULE_RESERVE`, 0 without modules or where not used (i386).
    pub percpu_reserved: u32,
    /// `PERCPU_DYNAMIC_RESERVE`.
    pub percpu_dynamic: u32,
    /// Bytes of the real-mode trampoline blob (x86).
    pub real_mode_blob: u32,
    /// How many of them, from the start, become read-only (`real_mode_header->ro_end`).
    pub real_mode_ro: u32,
    /// Where among those the text begins, which stays executable (`real_mode_header->text_start`).
    pub real_mode_text: u32,
}

/// Processors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cpus {
    /// How many processors there are or may come, before the command line limits them. If a device tree lists as many,
    /// its own entries tell which of them are possible; any other number stands for itself.
    pub possible: u32,
    /// arm, arm64: the boot processor's hardware id, the affinity fields of its MPIDR. `None` takes the first processor
    /// that the device tree lists.
    pub boot_id: Option<u64>,
    /// Bytes of an L1 data cache line (SMP_CACHE_BYTES).
    pub cache_line: u32,
    /// x86: the processor maps 1 GiB pages (pdpe1gb).
    pub gbpages: bool,
    /// x86: an Intel processor, whose debug store has buffers in each CPU's entry area.
    pub debug_store: bool,
    /// x86: 5-level paging is in use. arm64: 52-bit virtual addresses are.
    pub la57: bool,
    /// x86_64: the bit of a page-table entry that says that the page is encrypted (`sme_me_mask`); 0 without encryption.
    pub encryption_mask: u64,
    /// x86: user code could read kernel memory through a flaw of the processor (Meltdown), so that page tables are isolated
    /// unless the command line says otherwise.
    pub meltdown: bool,
    /// x86: the local APIC is reached through processor registers (x2APIC), so that nothing of it is mapped.
    pub x2apic: bool,
    /// Physical address bits that the processor implements.
    pub phys_bits: u8,
    /// arm: a data cache that is VIPT and aliases, on which HIGHMEM is dropped.
    pub vipt_aliasing: bool,
    /// arm: what only some processors have.
    pub arm: ArmFeatures,
    /// i386: what older processors lack.
    pub i386: I386Features,
    /// arm64: the processor needs kernel page-table isolation or has mixed page-size limits, which forces
    /// page-granular mappings of the linear map.
    pub force_pte_mapping: bool,
}

impl Default for Cpus {
    fn default() -> Self {
        Self {
            possible: 1,
            boot_id: None,
            cache_line: 64,
            gbpages: false,
            debug_store: false,
            la57: false,
            encryption_mask: 0,
            meltdown: false,
            x2apic: false,
            phys_bits: 40,
            vipt_aliasing: false,
            arm: ArmFeatures::default(),
            i386: I386Features::default(),
            force_pte_mapping: false,
        }
    }
}

/// What only some arm processors have, and what the kernel maps because of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ArmFeatures {
    /// Exceptions go through address 0 (SCTLR.V is clear).
    pub low_vectors: bool,
    /// Bytes of tightly coupled memory for instructions; there is room for 32 KiB.
    pub itcm_bytes: u32,
    /// The same for data.
    pub dtcm_bytes: u32,
    /// Memory that the data cache is flushed by reading from.
    pub cache_flush: Option<CacheFlush>,
}

/// What processors of 32-bit PCs offer for paging, by CPUID's names; all of it unless something else is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct I386Features {
    /// Large pages: 4 MiB, with PAE 2 MiB (they come with PAE, but kernels look at the flag).
    pub pse: bool,
    /// Global pages, which stay in the TLB when the address space changes.
    pub pge: bool,
    /// Pages that are not executed; of use to kernels with PAE only.
    pub nx: bool,
}

impl Default for I386Features {
    fn default() -> Self {
        Self { pse: true, pge: true, nx: true }
    }
}

/// Where a board with a StrongARM shows memory that nobody writes, for the data cache to be filled from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheFlush {
    /// FLUSH_BASE_PHYS: 1 MiB, and as much behind it where there is a mini data cache.
    pub phys: PhysAddr,
    /// FLUSH_BASE.
    pub main: VirtAddr,
    /// FLUSH_BASE_MINICACHE.
    pub mini: Option<VirtAddr>,
}
