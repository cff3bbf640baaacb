//! Arrays of `struct page`.

use pagewright_addr::{Pfn, VirtAddr};

/// The width of the modelled kernel's pointers; addresses wrap there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddrBits {
    /// A 32-bit kernel.
    Bits32,
    /// A 64-bit kernel.
    Bits64,
}

impl AddrBits {
    /// Cuts a computed address to the pointer's width.
    pub const fn wrap(self, address: u64) -> u64 {
        match self {
            Self::Bits32 => address & 0xffff_ffff,
            Self::Bits64 => address,
        }
    }

    /// Bytes of a pointer, and of an `unsigned long`.
    pub const fn long_bytes(self) -> u64 {
        match self {
            Self::Bits32 => 4,
            Self::Bits64 => 8,
        }
    }
}

/// An array of `struct page`: `base` is the element of frame `first`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageArray {
    /// The frame number whose element is at `base` (ARCH_PFN_OFFSET of `mem_map`; 0 of `vmemmap`).
    pub first: Pfn,
    /// Where that element lies.
    pub base: VirtAddr,
    /// Bytes of one element: sizeof(struct page), 64 on 64-bit kernels, 32 to 44 on 32-bit ones.
    pub stride: u64,
    /// Pointer width. Arrays may begin below the address they are computed from, and wrap.
    pub bits: AddrBits,
}

impl PageArray {
    /// No array: where something is made room for.
    pub(super) const NONE: Self =
        Self { first: Pfn::ZERO, base: VirtAddr::new(0), stride: 0, bits: AddrBits::Bits64 };

    /// Where the frame's element lies. Pure arithmetic: whether the frame exists is another question.
    pub const fn page(&self, pfn: Pfn) -> VirtAddr {
        let offset = pfn.get().wrapping_sub(self.first.get()).wrapping_mul(self.stride);
        VirtAddr::new(self.bits.wrap(self.base.get().wrapping_add(offset)))
    }

    /// The frame whose element starts at `page`, at or above `first`; `None` if no element starts there.
    pub const fn pfn(&self, page: VirtAddr) -> Option<Pfn> {
        let offset = self.bits.wrap(page.get().wrapping_sub(self.base.get()));
        if self.stride == 0 || !offset.is_multiple_of(self.stride) {
            return None;
        }
        self.first.checked_add(offset / self.stride)
    }

    /// The same array, told from another frame on.
    pub(super) const fn from(&self, first: Pfn) -> Self {
        Self { first, base: self.page(first), stride: self.stride, bits: self.bits }
    }
}
