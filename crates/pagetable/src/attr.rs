//! What a mapping allows, in words that every format understands.
//!
//! A format encodes an [`Attr`] into its own bits and decodes it again without loss, or refuses it: there is no silent
//! approximation. Formats with one execute bit (x86, arm's short descriptors without PXN) read it as the bit of
//! whoever may use the page: `USER_EXEC` on user pages, `EXEC` on others.

use core::fmt;

bitflags::bitflags! {
    /// What may be done through a mapping, and what happened to it.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct AttrFlags: u16 {
        /// May be written.
        const WRITE = 1 << 0;
        /// User code (EL0, ring 3) may use it.
        const USER = 1 << 1;
        /// The kernel may execute it.
        const EXEC = 1 << 2;
        /// User code may execute it.
        const USER_EXEC = 1 << 3;
        /// The same in every address space (x86 `G`, Arm not `nG`).
        const GLOBAL = 1 << 4;
        /// Was used since this was last cleared (young).
        const ACCESSED = 1 << 5;
        /// Was written since this was last cleared.
        const DIRTY = 1 << 6;
        /// Indirect branches must land on marked instructions (arm64 `GP`).
        const GUARDED = 1 << 7;
        /// Outside the secure world, where the format has the bit (arm64 and LPAE `NS`; x86 with memory encryption: not encrypted).
        const NON_SECURE = 1 << 8;
    }
}

/// How the memory behind a mapping behaves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum MemoryType {
    /// Ordinary RAM, write-back cached.
    #[default]
    Normal,
    /// Ordinary RAM with allocation tags (arm64 MTE).
    NormalTagged,
    /// Cached, written through.
    WriteThrough,
    /// Reads are cached, writes go around the cache (x86 WP).
    WriteProtect,
    /// Not cached, writes may be gathered (Arm Normal non-cacheable, x86 WC).
    WriteCombine,
    /// Not cached unless an MTRR says so (x86 UC-).
    UncachedMinus,
    /// Device memory in strict order (Arm Device-nGnRnE and Strongly-ordered, x86 UC).
    StronglyOrdered,
    /// Device memory whose writes may be acknowledged early (Arm Device-nGnRE).
    Device,
}

/// Which observers hardware keeps coherent (Arm only; everywhere else everyone).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Shareability {
    /// Nobody but this CPU.
    None,
    /// The whole system.
    Outer,
    /// All CPUs that run this kernel.
    #[default]
    Inner,
}

/// Everything that a leaf entry says besides its address and size.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Attr {
    /// Permissions and state.
    pub flags: AttrFlags,
    /// Cache behaviour.
    pub memory: MemoryType,
    /// Coherence domain.
    pub share: Shareability,
    /// x86: the protection key (0 to 15); arm short descriptors: the domain (0 to 15); else 0.
    pub key: u8,
    /// Bits that the format leaves to software, lowest first.
    pub software: u8,
}

impl Attr {
    /// Normal, inner-shareable memory with these flags, key and software bits 0.
    pub const fn normal(flags: AttrFlags) -> Self {
        Self { flags, memory: MemoryType::Normal, share: Shareability::Inner, key: 0, software: 0 }
    }

    /// The same with another memory type.
    #[must_use]
    pub const fn with_memory(mut self, memory: MemoryType) -> Self {
        self.memory = memory;
        self
    }

    /// The same with another shareability.
    #[must_use]
    pub const fn with_share(mut self, share: Shareability) -> Self {
        self.share = share;
        self
    }

    /// The same with `set` added to the flags and `clear` taken away.
    #[must_use]
    pub const fn changed(mut self, set: AttrFlags, clear: AttrFlags) -> Self {
        self.flags = self.flags.difference(clear).union(set);
        self
    }
}

bitflags::bitflags! {
    /// What a table entry takes away from everything below it. Empty: nothing.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct TableLimits: u8 {
        /// Nothing below may be written (x86 R/W clear, Arm APTable\[1\]).
        const NO_WRITE = 1 << 0;
        /// Nothing below is for user code (x86 U/S clear, Arm APTable\[0\]).
        const NO_USER = 1 << 1;
        /// The kernel executes nothing below (x86 NX, Arm PXNTable).
        const NO_EXEC = 1 << 2;
        /// User code executes nothing below (x86 NX, Arm UXNTable / XNTable).
        const NO_USER_EXEC = 1 << 3;
    }
}

impl TableLimits {
    /// What is left of `flags` below such a table.
    pub fn apply(self, flags: AttrFlags) -> AttrFlags {
        let mut left = flags;
        for (limit, flag) in [
            (Self::NO_WRITE, AttrFlags::WRITE),
            (Self::NO_USER, AttrFlags::USER),
            (Self::NO_EXEC, AttrFlags::EXEC),
            (Self::NO_USER_EXEC, AttrFlags::USER_EXEC),
        ] {
            if self.contains(limit) {
                left.remove(flag);
            }
        }
        left
    }
}

/// Why a format cannot express a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttrError {
    /// These flags, alone or together, have no encoding.
    Flags(AttrFlags),
    /// The memory type is not among those that the format (or its MAIR, PAT, PRRR) offers.
    Memory(MemoryType),
    /// The shareability has no encoding.
    Share(Shareability),
    /// The protection key or domain is too large, or the format has none.
    Key(u8),
    /// More software bits than the format leaves.
    Software(u8),
    /// The physical address has bits above the format's output size, or below the leaf's size.
    Address(pagewright_addr::PhysAddr),
    /// The level holds no leaves.
    Level(crate::Level),
}

impl fmt::Display for AttrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flags(flags) => write!(f, "the format has no encoding for {flags:?}"),
            Self::Memory(m) => write!(f, "the format offers no memory type {m:?}"),
            Self::Share(s) => write!(f, "the format has no encoding for {s:?} shareable"),
            Self::Key(k) => write!(f, "key or domain {k} is beyond what the format has"),
            Self::Software(s) => write!(f, "software bits {s:#x} are more than the format leaves"),
            Self::Address(a) => write!(f, "physical address {a:#x} does not fit an entry of this size"),
            Self::Level(l) => write!(f, "no leaf can stand at level {}", l.get()),
        }
    }
}

impl core::error::Error for AttrError {}
