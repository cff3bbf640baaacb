//! Which memory type stands behind each index that an Arm descriptor can hold.
//!
//! Arm's descriptors do not say how memory behaves; they hold a 3-bit index into a table in system registers: MAIR with
//! long descriptors, PRRR and NMRR with short ones (TEX remap). The kernel fills these once, so the table is part of a
//! format's configuration. Several indices may mean one type; one of them is written, all of them are understood.

use crate::attr::MemoryType;

/// The types behind the indices 0 to 7; `None` where the registers hold what [`MemoryType`] has no word for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryTypes {
    types: [Option<MemoryType>; 8],
    /// The index that is written for [`MemoryType::Normal`].
    normal: u8,
}

impl MemoryTypes {
    /// arm64, MAIR_EL1 as Linux 6.1 fills it: Normal, Normal Tagged, Normal Non-cacheable, Device-nGnRnE,
    /// Device-nGnRE; the other indices stay zero, which is Device-nGnRnE.
    pub const ARM64: Self = Self::from_mair(0x04_0044_f0ff);
    /// arm64 as kernels before MTE filled it: Device-nGnRnE, Device-nGnRE, Device-GRE, Normal Non-cacheable, Normal,
    /// Normal Write-Through.
    pub const ARM64_DEVICE_FIRST: Self = Self::from_mair(0xbbff_440c_0400);
    /// arm with long descriptors: MAIR1:MAIR0 as Linux fills them. Strongly-ordered, Normal Non-cacheable, Write-Through,
    /// Write-Back, Device; 7 is Write-Back Write-Allocate.
    pub const ARM_LPAE: Self = Self::from_mair(0xff00_0004_eeaa_4400);
    /// arm with short descriptors: PRRR and NMRR as Linux fills them, the same order as with long ones.
    pub const ARM_TEX_REMAP: Self = Self::from_tex_remap(0xff0a_81a8, 0x40e0_40e0);

    /// The table that a MAIR register holds, byte `n` for index `n` (ARMv8-A D13.2.97 "MAIR_EL1"; ARMv7-A B4.1.104
    /// with MAIR1 as the upper half). Normal memory is written with the index that allocates on reads and writes (`0xff`)
    /// if there is one.
    pub const fn from_mair(mair: u64) -> Self {
        let bytes = mair.to_le_bytes();
        let mut types = [None; 8];
        let mut allocates = [false; 8];
        let mut i = 0;
        while i < 8 {
            types[i] = match bytes[i] {
                0x00 => Some(MemoryType::StronglyOrdered),
                0x04 => Some(MemoryType::Device),
                0x44 => Some(MemoryType::WriteCombine),
                0xf0 => Some(MemoryType::NormalTagged),
                byte => match (byte >> 4, byte & 15) {
                    (0x8..=0xb, 0x8..=0xb) => Some(MemoryType::WriteThrough),
                    (0xc..=0xf, 0xc..=0xf) => Some(MemoryType::Normal),
                    _ => None,
                },
            };
            allocates[i] = bytes[i] == 0xff;
            i += 1;
        }
        Self::prefer(types, allocates)
    }

    /// The table that PRRR and NMRR hold with SCTLR.TRE set (ARMv7-AR B3.8.3 "Short-descriptor format memory region
    /// attributes, with TEX remap", B4.1.108, B4.1.127). Index 6 is implementation defined and so has no type.
    pub const fn from_tex_remap(prrr: u32, nmrr: u32) -> Self {
        let mut types = [None; 8];
        let mut allocates = [false; 8];
        let mut i = 0;
        while i < 8 {
            let inner = (nmrr >> (2 * i)) & 3;
            let outer = (nmrr >> (2 * i + 16)) & 3;
            types[i] = match ((prrr >> (2 * i)) & 3, inner) {
                _ if i == 6 => None,
                (0, _) => Some(MemoryType::StronglyOrdered),
                (1, _) => Some(MemoryType::Device),
                (2, _) if inner != outer => None,
                (2, 0) => Some(MemoryType::WriteCombine),
                (2, 2) => Some(MemoryType::WriteThrough),
                (2, _) => Some(MemoryType::Normal),
                _ => None,
            };
            allocates[i] = inner == 1;
            i += 1;
        }
        Self::prefer(types, allocates)
    }

    const fn prefer(types: [Option<MemoryType>; 8], allocates: [bool; 8]) -> Self {
        let mut normal = 8;
        let mut i = 8;
        // The lowest that allocates on writes; failing that, the lowest at all.
        while i > 0 {
            i -= 1;
            if matches!(types[i], Some(MemoryType::Normal))
                && (allocates[i] || normal == 8 || !allocates[normal])
            {
                normal = i;
            }
        }
        Self { types, normal: normal as u8 }
    }

    /// The same with Normal memory written as `index` (Linux on arm without SMP: 3, write-back without
    /// write-allocation). Unchanged if that index means something else.
    #[must_use]
    pub const fn with_normal(mut self, index: u8) -> Self {
        if index < 8 && matches!(self.types[index as usize], Some(MemoryType::Normal)) {
            self.normal = index;
        }
        self
    }

    /// What an index means; only its low 3 bits count.
    #[inline]
    pub const fn get(&self, index: u64) -> Option<MemoryType> {
        self.types[(index & 7) as usize]
    }

    /// The index to write for a type: for Normal the chosen one, else the lowest that has it.
    pub fn index(&self, memory: MemoryType) -> Option<u64> {
        if memory == MemoryType::Normal {
            return (self.normal < 8).then_some(u64::from(self.normal));
        }
        self.types.iter().position(|t| *t == Some(memory)).map(|i| i as u64)
    }
}
