//! What each kind of mapping allows: Linux's memory types (MT_*) as a processor of ARMv7 gets them.
//!
//! A type is the same whether sections or pages serve it, but for short descriptors' domain: of sections it stands in the entry
//! itself, of pages in the entry that leads to their table.

use crate::pgtable::KernelFormat;
use pagewright_pagetable::{Attr, AttrFlags, MemoryType, Shareability};

/// A kind of mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapType {
    /// MT_DEVICE: registers.
    Device,
    /// MT_CACHECLEAN, MT_MINICLEAN: what the data cache is flushed by reading from.
    CacheClean,
    /// MT_LOW_VECTORS: the vectors, for the kernel alone.
    LowVectors,
    /// MT_HIGH_VECTORS: the vectors' page with the helpers that user code calls.
    HighVectors,
    /// MT_MEMORY_RWX: RAM from which the kernel executes.
    MemoryRwx,
    /// MT_MEMORY_RW: RAM.
    MemoryRw,
    /// MT_MEMORY_RO: RAM that is only read.
    MemoryRo,
    /// MT_MEMORY_DMA_READY: RAM in single pages, each of which can become uncached.
    MemoryDmaReady,
    /// MT_MEMORY_RW_DTCM: tightly coupled memory for data.
    MemoryRwDtcm,
    /// MT_MEMORY_RWX_ITCM: tightly coupled memory for instructions.
    MemoryRwxItcm,
    /// What the head maps with, before there are types: anybody may do anything.
    Head,
}

/// DOMAIN_KERNEL.
pub const DOMAIN_KERNEL: u8 = 0;
/// DOMAIN_IO.
pub const DOMAIN_IO: u8 = 2;
/// DOMAIN_VECTORS.
pub const DOMAIN_VECTORS: u8 = 3;

impl MapType {
    /// The domain of its sections and of the tables of its pages, with short descriptors.
    pub const fn domain(self) -> u8 {
        match self {
            Self::Device => DOMAIN_IO,
            Self::LowVectors | Self::HighVectors => DOMAIN_VECTORS,
            _ => DOMAIN_KERNEL,
        }
    }

    /// Whether it may be mapped by sections.
    pub const fn sections(self) -> bool {
        !matches!(self, Self::LowVectors | Self::HighVectors | Self::MemoryDmaReady)
    }

    /// The attributes. Memory that several CPUs cache is shared; registers always are.
    pub fn attr(self, format: &KernelFormat, smp: bool) -> Attr {
        let short = matches!(format, KernelFormat::ArmShort(_));
        let write = AttrFlags::WRITE;
        let exec = AttrFlags::EXEC;
        // Short descriptors' pages have one bit for executing, which is the user's on a user's page.
        let users = AttrFlags::USER | AttrFlags::USER_EXEC | if short { AttrFlags::empty() } else { exec };
        let flags = match self {
            Self::Device | Self::MemoryRw | Self::MemoryDmaReady | Self::MemoryRwDtcm => write,
            Self::CacheClean | Self::MemoryRo => AttrFlags::empty(),
            Self::LowVectors => exec,
            Self::HighVectors => users,
            Self::MemoryRwx | Self::MemoryRwxItcm => write | exec,
            // PMD_SECT_AP_READ: nothing with long descriptors.
            Self::Head if short => write | users,
            Self::Head => write | exec,
        };
        let memory = match self {
            Self::Device => MemoryType::Device,
            Self::MemoryRwDtcm | Self::MemoryRwxItcm => MemoryType::StronglyOrdered,
            _ => MemoryType::Normal,
        };
        let share = match self {
            Self::Device => Shareability::Inner,
            Self::CacheClean | Self::MemoryRwDtcm | Self::MemoryRwxItcm => Shareability::None,
            _ if smp => Shareability::Inner,
            _ => Shareability::None,
        };
        let kept = AttrFlags::GLOBAL | AttrFlags::ACCESSED | AttrFlags::DIRTY;
        let key = if short { self.domain() } else { 0 };
        Attr { key, ..Attr::normal(flags | kept).with_memory(memory).with_share(share) }
    }
}
