//! What memblock has to know of the kernel that it serves.

use pagewright_addr::PageShift;

/// The width of `phys_addr_t`: the largest address, and how many digits a log line prints.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AddrWidth {
    /// 32 bits: arm without LPAE, i386 without PAE.
    Bits32,
    /// 64 bits: all others.
    Bits64,
}

impl AddrWidth {
    /// `PHYS_ADDR_MAX`. No region ever contains this address itself.
    pub const fn max_addr(self) -> u64 {
        match self {
            Self::Bits32 => u32::MAX as u64,
            Self::Bits64 => u64::MAX,
        }
    }

    /// Characters of a printed address with its `0x`: `%pa` always prints all digits.
    pub(crate) const fn digits(self) -> usize {
        match self {
            Self::Bits32 => 10,
            Self::Bits64 => 18,
        }
    }
}

/// The properties of the modelled kernel that memblock's decisions and texts depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Width of a physical address.
    pub width: AddrWidth,
    /// Page size: the first page is never handed out, grown region arrays take whole pages.
    pub page_shift: PageShift,
    /// `SMP_CACHE_BYTES`, the alignment used where a caller gives 0.
    pub cache_line: u64,
    /// `CONFIG_NUMA`: regions carry a node and dumps say `on node N`. Without it every region counts as node 0
    /// and [`set_node`](crate::Memblock::set_node) does nothing.
    pub numa: bool,
    /// `CONFIG_HAVE_MEMBLOCK_PHYS_MAP`: there is a third set, `physmem`, and dumps show it.
    pub keep_physmem: bool,
}

impl Config {
    /// Bytes of `struct memblock_region` in the modelled kernel: they decide how much a grown array takes.
    ///
    /// Two addresses, an enum and, with NUMA, an int; with 64-bit addresses padded to 24. (i386 with PAE aligns
    /// 64-bit words to 4 bytes and has 20: see [`Memblock::set_region_bytes`](crate::Memblock::set_region_bytes).)
    pub const fn region_bytes(&self) -> u64 {
        match (self.width, self.numa) {
            (AddrWidth::Bits64, _) => 24,
            (AddrWidth::Bits32, true) => 16,
            (AddrWidth::Bits32, false) => 12,
        }
    }
}

impl Default for Config {
    /// A 64-bit NUMA kernel with 4 KiB pages and cache lines of 64 bytes.
    fn default() -> Self {
        Self {
            width: AddrWidth::Bits64,
            page_shift: PageShift::SHIFT_4K,
            cache_line: 64,
            numa: true,
            keep_physmem: false,
        }
    }
}
