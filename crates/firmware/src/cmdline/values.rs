//! Typed values of the parameters that have a form of their own.

use crate::e820::E820Kind;

/// One `mem=`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemParam {
    /// How much memory.
    pub size: u64,
    /// arm only: where it starts (`mem=size@start`).
    pub start: Option<u64>,
}

/// One item of a `memmap=` list, or an x86 `mem=`, which edits the same map at its turn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemmapParam {
    /// `exactmap`: forget what the firmware said.
    ExactMap,
    /// `nn@ss` (usable), `nn#ss` (ACPI data), `nn$ss` (reserved), `nn!ss` (protected): the range gets this kind.
    Add {
        /// First byte.
        start: u64,
        /// How many bytes.
        size: u64,
        /// What it becomes.
        kind: E820Kind,
    },
    /// `nn%ss-oldtype+newtype`: what is `old` (of any kind: `None`) in the range becomes `new` (`None`: goes). `new`
    /// without `old` adds the range.
    Retype {
        /// First byte.
        start: u64,
        /// How many bytes.
        size: u64,
        /// The kind to look for.
        old: Option<E820Kind>,
        /// The kind it becomes.
        new: Option<E820Kind>,
    },
    /// A plain size: RAM at and above this address goes.
    Limit(u64),
}

/// `cma=size[@base[-limit]]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CmaParam {
    /// The area's size; 0 switches the default area off.
    pub size: u64,
    /// The lowest address; 0 without `@`.
    pub base: u64,
    /// The end that it must not reach beyond: as written, or `base + size` when only a base is given; 0 without `@`.
    pub limit: u64,
    /// The area must lie exactly at `base`: `base + size` is the limit.
    pub fixed: bool,
}

/// `kernelcore=` and `movablecore=`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// So many per cent of all memory.
    Percent(u64),
    /// `kernelcore=mirror`: what the firmware calls reliable.
    Mirror,
}

/// The words of `numa=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NumaParam<'a> {
    /// `off`: one node.
    pub off: bool,
    /// `fake=`, x86.
    pub fake: Option<NumaFake<'a>>,
    /// `noacpi`: the SRAT is not read.
    pub noacpi: bool,
    /// `nohmat`: the HMAT is not read.
    pub nohmat: bool,
}

/// `numa=fake=...`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NumaFake<'a> {
    /// `N`: so many nodes of equal size over all memory.
    Nodes {
        /// How many.
        count: u64,
        /// Distances after a `:`, comma-separated, row by row; may be empty.
        distances: &'a str,
    },
    /// `NM`, `NG`: nodes of this size.
    Size {
        /// Bytes of each.
        bytes: u64,
        /// Distances after a `:`.
        distances: &'a str,
    },
    /// `NU`: every physical node is split into so many.
    Uniform {
        /// Faked nodes in each physical one.
        count: u64,
        /// Distances after a `:`.
        distances: &'a str,
    },
}

impl<'a> NumaFake<'a> {
    /// The distances that follow the count, as text.
    pub const fn distances(&self) -> &'a str {
        match self {
            Self::Nodes { distances, .. }
            | Self::Size { distances, .. }
            | Self::Uniform { distances, .. } => distances,
        }
    }
}

/// One parameter of the huge page family. Their order matters: `hugepages=` counts pages of the size named before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HugetlbParam<'a> {
    /// `hugepagesz=`: the size that the next `hugepages=` counts.
    HugepageSize(u64),
    /// `default_hugepagesz=`: the size that is meant where none is named.
    DefaultSize(u64),
    /// `hugepages=`.
    Hugepages(HugePagesSpec<'a>),
}

/// The value of `hugepages=`: `N`, or `NODE:N,NODE:N,...`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HugePagesSpec<'a> {
    /// The value as written.
    pub text: &'a str,
}

impl<'a> HugePagesSpec<'a> {
    /// The count for all nodes together, if no node is named.
    pub fn total(&self) -> Option<u64> {
        if self.text.contains(':') {
            return None;
        }
        let digits = self.text.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    }

    /// Pairs of a node and its count, as far as they can be read; empty if no node is named.
    pub fn per_node(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let text = if self.text.contains(':') { self.text } else { "" };
        text.split(',').map_while(|item| {
            let (node, count) = item.split_once(':')?;
            Some((node.parse().ok()?, count.parse().ok()?))
        })
    }
}

/// `elfcorehdr=[size@]address`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ElfCoreHeader {
    /// Where the crashed kernel's ELF header lies.
    pub address: u64,
    /// Its size, if given.
    pub size: Option<u64>,
}

/// `rodata=`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rodata {
    /// Read-only data stays writable.
    Off,
    /// Read-only data is read-only in the image's mapping.
    On,
    /// arm64: and in the linear map, which is then mapped in pages.
    Full,
}

/// `percpu_alloc=`: how the first chunk is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PercpuAlloc {
    /// One allocation for each group of processors.
    Embed,
    /// Page by page.
    Page,
}

/// `pti=`, `nopti` (x86) and `kpti=` (arm64).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Pti {
    /// As the processor needs it.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// `transparent_hugepage=`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ThpParam {
    /// For all mappings.
    Always,
    /// For those that ask.
    Madvise,
    /// For none.
    Never,
}

/// `swiotlb=SLABS[,AREAS][,force|noforce]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swiotlb {
    /// Slabs of 2 KiB, as written.
    pub slabs: Option<u64>,
    /// Areas with a lock of their own.
    pub areas: Option<u64>,
    /// `force` or `noforce`.
    pub force: Option<bool>,
}
