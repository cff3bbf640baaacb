//! What can stop a boot.

use core::fmt;
use pagewright_addr::VirtAddr;
use pagewright_firmware::Arch;
use pagewright_kspace::Version;
use pagewright_kspace::vmalloc::EarlyError;

/// A boot that cannot go on. Where Linux would panic or hang, this says why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BootError {
    /// The firmware describes no memory at all. `unit_address` says that a device tree has a memory node which the
    /// boot loader is expected to fill.
    NoMemory {
        /// Whether a memory node exists, but is empty.
        empty_node: bool,
    },
    /// memblock refused something that the boot cannot do without.
    Memblock(pagewright_memblock::Error),
    /// More of something than the library's tables hold.
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many fit.
        limit: u64,
    },
    /// The kernel image does not lie in memory.
    ImageOutsideMemory {
        /// How many bytes of it do not.
        missing: u64,
    },
    /// A combination of kernel configuration choices that cannot exist or is not modelled.
    Config(pagewright_firmware::config::Refusal),
    /// A number in the machine's description that no machine has.
    Machine {
        /// Which.
        what: &'static str,
        /// What it is.
        value: u64,
    },
    /// Mappings of a version of Linux that are not known.
    Version {
        /// The architecture.
        arch: Arch,
        /// What was asked for.
        version: Version,
        /// The oldest that is known.
        oldest: Version,
        /// The newest.
        newest: Version,
    },
    /// The machine and the boot path do not fit together.
    Unsupported {
        /// What is not modelled.
        what: &'static str,
    },
    /// An architecture that is not among the package's features ([`crate::built`]).
    NotBuilt(Arch),
    /// More RAM than 32-bit frame indices can name (16 TiB with 4 KiB pages).
    TooMuchMemory {
        /// Frames of RAM.
        frames: u64,
    },
    /// The workspace has no room for the zonelists.
    ZoneLists(pagewright_zone::zonelist::ZoneListError),
    /// The caller's space for the page allocator is too small.
    Space {
        /// For what.
        what: &'static str,
    },
    /// The tables of memory sections are too small.
    Sections(pagewright_page::model::SectionsError),
    /// The page flags of this configuration do not fit a word.
    PageFlags(pagewright_page::flags_layout::LayoutError),
    /// What has to be mapped by pages lies where a section is mapped already.
    Section {
        /// The step that maps it: `devicemaps_init` for a board's registers.
        step: &'static str,
        /// Its address.
        at: VirtAddr,
        /// The end of low memory, which is mapped by sections.
        low_end: VirtAddr,
    },
    /// An early area cannot be had.
    EarlyArea {
        /// Whose.
        what: &'static str,
        /// Why.
        why: EarlyError,
    },
    /// The kernel's page tables could not be built.
    PageTables(crate::pgtable::TableError),
    /// The zone set-up refused the memory ranges.
    Zones(pagewright_zone::layout::LayoutError),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory { empty_node: true } => f.write_str(
                "the device tree's memory node is empty (the boot loader fills it): give the memory with --memory SIZE[@ADDRESS]",
            ),
            Self::NoMemory { empty_node: false } => f.write_str("the firmware describes no memory"),
            Self::Memblock(e) => write!(f, "memblock: {e}"),
            Self::TooMany { what, limit } => write!(f, "too many {what}: at most {limit} fit"),
            Self::ImageOutsideMemory { missing } => {
                write!(f, "the kernel image does not lie in memory: {missing} bytes short")
            }
            Self::Config(e) => write!(f, "kernel configuration: {e}"),
            Self::Machine { what, value } => write!(f, "the {what} cannot be {value:#x}"),
            Self::Version { arch, version, oldest, newest } if oldest == newest => {
                write!(f, "page tables of {arch:?} are known as in Linux {newest}, not {version}")
            }
            Self::Version { arch, version, oldest, newest } => {
                write!(f, "page tables of {arch:?} are known as in Linux {oldest} to {newest}, not {version}")
            }
            Self::Unsupported { what } => write!(f, "not modelled: {what}"),
            Self::NotBuilt(arch) => write!(f, "{arch:?}, or its page size, is not built in"),
            Self::TooMuchMemory { frames } => {
                write!(f, "{frames} page frames of RAM: 32-bit frame indices reach 4294967295")
            }
            Self::ZoneLists(e) => write!(f, "zonelists: {e}"),
            Self::Space { what } => write!(f, "the space lent to the page allocator is too small for {what}"),
            Self::Sections(e) => write!(f, "memory sections: {e}"),
            Self::PageFlags(e) => write!(f, "page flags: {e}"),
            Self::Section { step, at, low_end } if at < low_end => write!(
                f,
                "{step}: {at:#x} is low memory, which reaches to {low_end:#x} (a larger vmalloc= would end it lower)"
            ),
            Self::Section { step, at, .. } => write!(f, "{step}: at {at:#x} a section is mapped already"),
            Self::EarlyArea { what, why } => write!(f, "{what}: {why}"),
            Self::PageTables(e) => write!(f, "page tables: {e}"),
            Self::Zones(e) => write!(f, "zones: {e}"),
        }
    }
}

impl core::error::Error for BootError {}

impl From<pagewright_memblock::Error> for BootError {
    fn from(e: pagewright_memblock::Error) -> Self {
        Self::Memblock(e)
    }
}

impl From<crate::census::CensusFull> for BootError {
    fn from(_: crate::census::CensusFull) -> Self {
        Self::TooMany { what: "separately mapped regions", limit: 512 }
    }
}
