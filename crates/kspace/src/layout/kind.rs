//! What a region is.

/// What a range of virtual addresses is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// The first addresses, where nothing may be mapped so that null pointers trap (`mmap_min_addr`).
    Null,
    /// User space.
    User,
    /// A page at the top of user space that is never mapped (x86_64).
    UserGuard,
    /// Addresses that are no addresses: their upper bits disagree.
    NonCanonical,
    /// Belongs to nothing.
    Hole,
    /// Kept empty, so that running off an area traps.
    Guard,
    /// Kept for hypervisors (x86_64).
    Hypervisor,
    /// All memory that the kernel maps permanently.
    LinearMap,
    /// The part of the linear map that this machine's RAM fills.
    LinearUsed,
    /// The hole between low memory and vmalloc space (VMALLOC_OFFSET).
    VmallocHole,
    /// vmalloc and ioremap.
    Vmalloc,
    /// Modules.
    Modules,
    /// Compiled BPF programs (arm64 between 5.0 and 5.16).
    BpfJit,
    /// The fixed mappings that stay.
    Fixmap,
    /// Fixed mappings of early boot below the ones that stay.
    FixmapEarly,
    /// The legacy vsyscall page (x86_64).
    Vsyscall,
    /// PCI I/O ports.
    PciIo,
    /// The array of page metadata.
    Vmemmap,
    /// The part of it that this machine's RAM fills.
    VmemmapUsed,
    /// Persistent kmaps.
    Pkmap,
    /// The device tree's read-only mapping (arm).
    Fdt,
    /// The exception vectors (arm).
    Vectors,
    /// The page after the vectors with the code that they branch to (arm).
    VectorStubs,
    /// Kernel-provided helpers for user code, in the high vectors page (arm).
    KuserHelpers,
    /// Tightly coupled memory for instructions (arm).
    Itcm,
    /// Tightly coupled memory for data (arm).
    Dtcm,
    /// Windows through which an aliasing cache is flushed (arm).
    FlushAlias,
    /// Window for the source of a page copy with an aliasing cache (arm).
    CopyPageFrom,
    /// Window for its destination.
    CopyPageTo,
    /// Window for page copies through the mini data cache (arm).
    CopyPageMinicache,
    /// What a cache is flushed by reading from (arm).
    CacheFlush,
    /// What the mini data cache is flushed by reading from.
    CacheFlushMinicache,
    /// Addresses that platforms must leave alone (arm).
    Reserved,
    /// Local descriptor tables, seen from user mode too (x86 with page-table isolation).
    LdtRemap,
    /// Stacks that repair the upper half of %esp (x86_64).
    EspFix,
    /// Each CPU's entry area (x86).
    CpuEntryArea,
    /// The read-only interrupt table at its start.
    EntryIdt,
    /// The entry areas of the CPUs that are possible.
    EntryCpus,
    /// EFI runtime services (x86_64).
    Efi,
    /// The kernel image's own mapping (x86_64).
    KernelText,
    /// The image's text.
    Text,
    /// The image's read-only data.
    Rodata,
    /// The image's sections that are freed after boot.
    Init,
    /// The image's data.
    Data,
    /// The image's zeroed data.
    Bss,
    /// The page of zeroes that user space reads where it never wrote (`empty_zero_page`), where the boot allocates it (arm); elsewhere it lies
    /// in the image's zeroed data.
    ZeroPage,
}

impl Kind {
    /// The name for people, as the kernel's banner has it where it has one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::User => "user",
            Self::UserGuard | Self::Guard => "guard",
            Self::NonCanonical => "no address",
            Self::Hole | Self::VmallocHole => "hole",
            Self::Hypervisor => "hypervisor",
            Self::LinearMap => "linear",
            Self::LinearUsed => "memory",
            Self::Vmalloc => "vmalloc",
            Self::Modules => "modules",
            Self::BpfJit => "bpf jit",
            Self::Fixmap => "fixmap",
            Self::FixmapEarly => "early",
            Self::Vsyscall => "vsyscall",
            Self::PciIo => "PCI I/O",
            Self::Vmemmap => "vmemmap",
            Self::VmemmapUsed => "struct page",
            Self::Pkmap => "pkmap",
            Self::Fdt => "fdt",
            Self::Vectors => "vector",
            Self::VectorStubs => "stubs",
            Self::KuserHelpers => "helpers",
            Self::Itcm => "ITCM",
            Self::Dtcm => "DTCM",
            Self::FlushAlias => "flush alias",
            Self::CopyPageFrom => "copy from",
            Self::CopyPageTo => "copy to",
            Self::CopyPageMinicache => "copy page",
            Self::CacheFlush => "cache flush",
            Self::CacheFlushMinicache => "minicache flush",
            Self::Reserved => "reserved",
            Self::LdtRemap => "LDT",
            Self::EspFix => "espfix",
            Self::CpuEntryArea => "cpu_entry",
            Self::EntryIdt => "IDT",
            Self::EntryCpus => "CPUs",
            Self::Efi => "EFI",
            Self::KernelText => "kernel",
            Self::Text => ".text",
            Self::Rodata => ".rodata",
            Self::Init => ".init",
            Self::Data => ".data",
            Self::Bss => ".bss",
            Self::ZeroPage => "zero",
        }
    }

    /// The name for programs: lower case, words joined by underscores, one for each kind.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::User => "user",
            Self::UserGuard => "user_guard",
            Self::NonCanonical => "non_canonical",
            Self::Hole => "hole",
            Self::Guard => "guard",
            Self::Hypervisor => "hypervisor",
            Self::LinearMap => "linear_map",
            Self::LinearUsed => "linear_map_used",
            Self::VmallocHole => "vmalloc_hole",
            Self::Vmalloc => "vmalloc",
            Self::Modules => "modules",
            Self::BpfJit => "bpf_jit",
            Self::Fixmap => "fixmap",
            Self::FixmapEarly => "fixmap_early",
            Self::Vsyscall => "vsyscall",
            Self::PciIo => "pci_io",
            Self::Vmemmap => "vmemmap",
            Self::VmemmapUsed => "vmemmap_used",
            Self::Pkmap => "pkmap",
            Self::Fdt => "fdt",
            Self::Vectors => "vectors",
            Self::VectorStubs => "vector_stubs",
            Self::KuserHelpers => "kuser_helpers",
            Self::Itcm => "itcm",
            Self::Dtcm => "dtcm",
            Self::FlushAlias => "flush_alias",
            Self::CopyPageFrom => "copy_page_from",
            Self::CopyPageTo => "copy_page_to",
            Self::CopyPageMinicache => "copy_page_minicache",
            Self::CacheFlush => "cache_flush",
            Self::CacheFlushMinicache => "cache_flush_minicache",
            Self::Reserved => "reserved",
            Self::LdtRemap => "ldt_remap",
            Self::EspFix => "espfix",
            Self::CpuEntryArea => "cpu_entry_area",
            Self::EntryIdt => "entry_idt",
            Self::EntryCpus => "entry_cpus",
            Self::Efi => "efi",
            Self::KernelText => "kernel_text",
            Self::Text => "text",
            Self::Rodata => "rodata",
            Self::Init => "init",
            Self::Data => "data",
            Self::Bss => "bss",
            Self::ZeroPage => "zero_page",
        }
    }

    /// Whether it is a section of the kernel image.
    pub const fn is_image(self) -> bool {
        matches!(self, Self::Text | Self::Rodata | Self::Init | Self::Data | Self::Bss)
    }

    /// Whether nothing is ever mapped there.
    pub const fn is_empty_space(self) -> bool {
        matches!(
            self,
            Self::NonCanonical
                | Self::Hole
                | Self::Guard
                | Self::VmallocHole
                | Self::UserGuard
                | Self::Null
                | Self::Hypervisor
                | Self::Reserved
        )
    }
}
