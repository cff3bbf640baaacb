//! What a fixed mapping allows, by purpose.

use pagewright_firmware::Arch;
use pagewright_pagetable::{Attr, AttrFlags, MemoryType};

/// What a page is mapped for: Linux's FIXMAP_PAGE_* names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PagePurpose {
    /// FIXMAP_PAGE_NORMAL: memory, read and written.
    Normal,
    /// FIXMAP_PAGE_RO: memory, read only.
    ReadOnly,
    /// FIXMAP_PAGE_NOCACHE: devices (interrupt controllers).
    NoCache,
    /// FIXMAP_PAGE_IO: devices; on x86 the cache is left on and the memory-type registers decide.
    Io,
    /// FIXMAP_PAGE_CLEAR: nothing.
    Clear,
}

impl PagePurpose {
    /// The attributes; `None` for [`Self::Clear`].
    pub fn attr(self, arch: Arch) -> Option<Attr> {
        let kernel = AttrFlags::GLOBAL | AttrFlags::ACCESSED | AttrFlags::DIRTY;
        let normal = Attr::normal(kernel | AttrFlags::WRITE);
        let x86 = matches!(arch, Arch::X86_64 | Arch::I386);
        Some(match self {
            Self::Normal => normal,
            Self::ReadOnly => Attr::normal(kernel - AttrFlags::DIRTY),
            Self::Io if x86 => normal,
            Self::NoCache if x86 => normal.with_memory(MemoryType::StronglyOrdered),
            Self::Io | Self::NoCache => normal.with_memory(MemoryType::Device),
            Self::Clear => return None,
        })
    }
}
