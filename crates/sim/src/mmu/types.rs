//! What a CPU asks of its MMU, and what a walk finds.

use crate::phys::EntryBytes;
use arrayvec::ArrayVec;
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};

/// What is done to an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AccessKind {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

/// Who does what.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Access {
    /// What.
    pub kind: AccessKind,
    /// Whether as user code: EL0, PL0, ring 3. Else EL1, PL1, ring 0.
    pub user: bool,
}

impl Access {
    /// The kernel loads.
    pub const READ: Self = Self { kind: AccessKind::Read, user: false };
    /// The kernel stores.
    pub const WRITE: Self = Self { kind: AccessKind::Write, user: false };
    /// The kernel fetches an instruction.
    pub const EXECUTE: Self = Self { kind: AccessKind::Execute, user: false };
    /// User code loads.
    pub const USER_READ: Self = Self { kind: AccessKind::Read, user: true };
    /// User code stores.
    pub const USER_WRITE: Self = Self { kind: AccessKind::Write, user: true };
    /// User code fetches an instruction.
    pub const USER_EXECUTE: Self = Self { kind: AccessKind::Execute, user: true };
    /// All six.
    pub const ALL: [Self; 6] =
        [Self::READ, Self::WRITE, Self::EXECUTE, Self::USER_READ, Self::USER_WRITE, Self::USER_EXECUTE];

    /// Whether it is a store.
    pub const fn writes(self) -> bool {
        matches!(self.kind, AccessKind::Write)
    }

    /// Whether it is an instruction fetch.
    pub const fn executes(self) -> bool {
        matches!(self.kind, AccessKind::Execute)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.user { "user" } else { "kernel" };
        let what = match self.kind {
            AccessKind::Read => "read",
            AccessKind::Write => "write",
            AccessKind::Execute => "execute",
        };
        write!(f, "{who} {what}")
    }
}

/// What the descriptors allow, before the registers that may change at any time have their say (CR0.WP, SMEP, SMAP, PKRU,
/// WXN, PAN, DACR).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Perms {
    /// The kernel may load.
    pub kernel_read: bool,
    /// The kernel may store (x86: R/W set in every entry).
    pub kernel_write: bool,
    /// The kernel is not forbidden to execute (PXN, XN, XD).
    pub kernel_fetch: bool,
    /// User code may load.
    pub user_read: bool,
    /// User code may store.
    pub user_write: bool,
    /// User code is not forbidden to execute (UXN, XN, XD).
    pub user_fetch: bool,
}

impl Perms {
    const fn all(self) -> [bool; 6] {
        [
            self.kernel_read,
            self.kernel_write,
            self.kernel_fetch,
            self.user_read,
            self.user_write,
            self.user_fetch,
        ]
    }

    /// Whether it allows anything that `other` does not.
    pub fn exceeds(self, other: Self) -> bool {
        self.all().into_iter().zip(other.all()).any(|(mine, theirs)| mine && !theirs)
    }
}

impl fmt::Debug for Perms {
    /// As `kernel rwx, user rwx`, with `-` for what is missing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = ["r", "w", "x"];
        for (who, rights) in [("kernel", &self.all()[..3]), (", user", &self.all()[3..])] {
            write!(f, "{who} ")?;
            for (letter, has) in letters.iter().zip(rights) {
                f.write_str(if *has { letter } else { "-" })?;
            }
        }
        Ok(())
    }
}

/// How memory behaves, as PAT, MAIR or PRRR and NMRR say it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemoryKind {
    /// Write-back (x86 WB; Arm Normal, inner and outer write-back).
    WriteBack,
    /// The same with allocation tags (MTE).
    Tagged,
    /// Write-through.
    WriteThrough,
    /// x86 WP.
    WriteProtect,
    /// x86 WC; Arm Normal non-cacheable.
    WriteCombine,
    /// x86 UC-.
    UncachedMinus,
    /// x86 UC; Arm Device-nGnRnE or Strongly-ordered.
    StronglyOrdered,
    /// Arm Device-nGnRE or Device.
    Device,
    /// Some other attribute: the byte of MAIR, the type of PAT, or TEX, C and B.
    Other(u8),
}

/// Who is kept coherent (Arm).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sharing {
    /// Nobody.
    None,
    /// Outer.
    Outer,
    /// Inner (and all of x86).
    Inner,
}

/// One entry that a walk read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Its level: 0 for the last.
    pub level: u8,
    /// Where it is.
    pub at: PhysAddr,
    /// What was in it.
    pub word: u64,
    /// The addresses that it is for.
    pub span: VirtRange,
    /// Whether it came out of a walk cache.
    pub cached: bool,
    /// Bits that hardware sets in it when it is used.
    pub(crate) set: u64,
    pub(crate) bytes: EntryBytes,
}

/// The entries that a walk read, the root's first.
pub type Trail = ArrayVec<Step, 5>;

/// What a walk found: a page or block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Its first address.
    pub start: VirtAddr,
    /// The memory there.
    pub phys: PhysAddr,
    /// Its size, a power of two.
    pub bytes: u64,
    /// The leaf's level: 0 for the last.
    pub level: u8,
    /// The leaf's entry.
    pub entry: u64,
    /// Where the entry is.
    pub entry_at: PhysAddr,
    /// What the entries allow together.
    pub perms: Perms,
    /// x86: the protection key. arm short descriptors: the domain. Else 0.
    pub key: u8,
    /// Cache behaviour.
    pub memory: MemoryKind,
    /// Coherence.
    pub sharing: Sharing,
    /// The same in every address space.
    pub global: bool,
    /// Bytes of the contiguous group that it is marked to be in, or 0.
    pub group_bytes: u64,
    /// Guarded page (arm64 GP), or encrypted (x86 with a memory encryption bit).
    pub special: bool,
    /// Bits that the first write sets in the leaf and those it clears; both 0 once that has happened.
    pub(crate) dirty: (u64, u64),
}

impl Mapping {
    /// Where `va`, an address inside, leads.
    pub const fn phys_of(&self, va: VirtAddr) -> PhysAddr {
        PhysAddr::new(self.phys.get().wrapping_add(va.get().wrapping_sub(self.start.get())))
    }

    /// Whether a store is yet to be noted in the entry.
    pub const fn is_clean(&self) -> bool {
        self.dirty.0 | self.dirty.1 != 0
    }

    /// Whether `va` leads to the same byte, of the same kind, through both.
    pub(crate) fn same_place(&self, other: &Self, va: VirtAddr) -> bool {
        self.phys_of(va) == other.phys_of(va)
            && (self.memory, self.sharing, self.global, self.special)
                == (other.memory, other.sharing, other.global, other.special)
    }

    /// Whether both are leaves of one kind.
    pub(crate) const fn same_size(&self, other: &Self) -> bool {
        self.level == other.level && self.group_bytes == other.group_bytes
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, phys, bytes, entry, entry_at, perms, memory, .. } = self;
        write!(
            f,
            "{start:#x}+{bytes:#x} to {phys:#x}, {perms:?}, {memory:?} (entry {entry:#x} at {entry_at:#x})"
        )
    }
}

/// Where the entries of a walk come from.
pub(crate) trait Fetch {
    /// The entry at `at`, for the addresses in `span`, and whether a walk cache had it; `None` if there is no memory.
    fn fetch(&mut self, level: u8, at: PhysAddr, span: VirtRange, bytes: EntryBytes) -> Option<(u64, bool)>;
}

/// A walk under way.
pub(crate) struct Walker<'f> {
    pub(crate) va: VirtAddr,
    pub(crate) access: Access,
    pub(crate) trail: Trail,
    fetch: &'f mut dyn Fetch,
}

impl<'f> Walker<'f> {
    pub(crate) fn new(va: VirtAddr, access: Access, fetch: &'f mut dyn Fetch) -> Self {
        Self { va, access, trail: Trail::new(), fetch }
    }

    /// Reads the entry of `level` at `at`, which is for `span`; `None` if there is no memory.
    pub(crate) fn read(
        &mut self,
        level: u8,
        at: PhysAddr,
        span: VirtRange,
        bytes: EntryBytes,
    ) -> Option<u64> {
        let (word, cached) = self.fetch.fetch(level, at, span, bytes)?;
        self.note(Step { level, at, word, span, cached, set: 0, bytes });
        Some(word)
    }

    /// Adds a step.
    pub(crate) fn note(&mut self, step: Step) {
        // No format has more levels than the trail has room for.
        let _ = self.trail.try_push(step);
    }

    /// Says that hardware sets these bits in the entry that was read last.
    pub(crate) fn sets(&mut self, bits: u64) {
        if let Some(step) = self.trail.last_mut() {
            step.set = bits & !step.word;
        }
    }

    /// The aligned run of `2^shift` bytes around the address.
    pub(crate) fn span(&self, shift: u32) -> VirtRange {
        VirtRange { start: self.va.align_down(1 << shift), len: 1 << shift }
    }
}
