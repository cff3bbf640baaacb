//! How arm's TTBCR divides 32 bits of addresses between the trees of TTBR0 and TTBR1.
//!
//! ARMv7-AR B3.5.4 (short descriptors, TTBCR.N) and B3.6.4 (long ones, TTBCR.T0SZ and T1SZ).

/// Which register's tree translates an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ttbr {
    /// TTBR0: user space and the identity map; everything when nothing is divided.
    Ttbr0,
    /// TTBR1: the kernel.
    Ttbr1,
}

/// The division with short descriptors: TTBCR.N, 0 to 7.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShortSplit {
    n: u32,
}

impl ShortSplit {
    /// TTBCR.N; only its low 3 bits count. 0: TTBR0 has everything.
    pub const fn new(n: u32) -> Self {
        Self { n: n & 7 }
    }

    /// Which tree translates `va`: TTBR0's if the top N bits are zero. TTBR1's tree always has all 4096 entries.
    pub const fn select(self, va: u32) -> Ttbr {
        if self.n != 0 && va >> (32 - self.n) != 0 { Ttbr::Ttbr1 } else { Ttbr::Ttbr0 }
    }

    /// Significant bits of TTBR0's tree (for [`super::short::ArmShortConfig::window_bits`]).
    pub const fn low_bits(self) -> u32 {
        32 - self.n
    }

    /// Bytes, and alignment, of TTBR0's root: 16 KiB down to 128 bytes.
    pub const fn low_root_bytes(self) -> u64 {
        (16 << 10) >> self.n
    }
}

/// The division with long descriptors.
///
/// With `T1SZ` 0 and `T0SZ` 0 everything is TTBR0's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LongSplit {
    t0sz: u32,
    t1sz: u32,
}

/// Where hardware begins to walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalkStart {
    /// Significant bits of the addresses that the tree translates.
    pub va_bits: u32,
    /// The level of the table that the register points to, counted from the leaves: 2 is the 4-entry PGD, 1 a PMD table
    /// (when 30 bits or fewer are translated).
    pub level: crate::Level,
}

impl LongSplit {
    /// TTBCR.T0SZ and T1SZ; only their low 3 bits count.
    pub const fn new(t0sz: u32, t1sz: u32) -> Self {
        Self { t0sz: t0sz & 7, t1sz: t1sz & 7 }
    }

    /// As Linux sets it for a kernel that begins at `page_offset`: TTBR1 has the upper half from `0x8000_0000` on, the upper
    /// quarter from `0xc000_0000` on, and everything that TTBR0 has not otherwise (then the kernel runs with TTBR0 alone).
    pub const fn for_page_offset(page_offset: u32) -> Self {
        match page_offset {
            0xc000_0000.. => Self::new(0, 2),
            0x8000_0000.. => Self::new(0, 1),
            _ => Self::new(0, 0),
        }
    }

    /// Which tree translates `va`; `None` if the two leave a gap that it lies in (a fault at level 1).
    pub const fn select(self, va: u32) -> Option<Ttbr> {
        let low = self.t0sz == 0 || va >> (32 - self.t0sz) == 0;
        let high = self.t1sz != 0 && va >> (32 - self.t1sz) == u32::MAX >> (32 - self.t1sz);
        // With T1SZ 0, TTBR1 has what T0SZ leaves; with T0SZ 0, TTBR0 has what T1SZ leaves.
        match (self.t0sz, self.t1sz) {
            (0, 0) => Some(Ttbr::Ttbr0),
            (0, _) => Some(if high { Ttbr::Ttbr1 } else { Ttbr::Ttbr0 }),
            (_, 0) => Some(if low { Ttbr::Ttbr0 } else { Ttbr::Ttbr1 }),
            _ if low => Some(Ttbr::Ttbr0),
            _ if high => Some(Ttbr::Ttbr1),
            _ => None,
        }
    }

    /// Where the walk for one of the trees begins.
    pub const fn start(self, of: Ttbr) -> WalkStart {
        let va_bits = 32
            - match of {
                Ttbr::Ttbr0 => self.t0sz,
                Ttbr::Ttbr1 => self.t1sz,
            };
        WalkStart { va_bits, level: if va_bits > 30 { crate::Level::PUD } else { crate::Level::PMD } }
    }
}
