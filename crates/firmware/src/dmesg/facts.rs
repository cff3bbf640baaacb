//! Lines that carry several facts.

use super::{Scan, number};
use crate::machine::Arch;

/// `Linux version RELEASE (BUILDER) (TOOLS) #N FLAGS DATE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Banner<'a> {
    /// The release, `6.1.0-50-arm64`.
    pub release: &'a str,
    /// Whether the flags say SMP.
    pub smp: bool,
    /// All that follows the release.
    pub rest: &'a str,
}

impl<'a> Banner<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (release, rest) = text.split_once(' ').unwrap_or((text, ""));
        if !release.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        Some(Self { release, smp: rest.split(' ').any(|word| word == "SMP"), rest })
    }

    /// The version's first two numbers.
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut scan = Scan::new(self.release);
        let major = number(&mut scan)?;
        scan.literal(".")?;
        Some((major, number(&mut scan)?))
    }

    /// The flavour that a distribution appends to the release: all after the ABI number, `686-pae` of
    /// `6.1.0-50-686-pae`.
    pub fn flavour(&self) -> Option<&'a str> {
        let mut parts = self.release.splitn(3, '-');
        parts.next()?;
        parts.next()?;
        parts.next()
    }

    /// The architecture, where the flavour names it in Debian's way.
    pub fn arch(&self) -> Option<Arch> {
        let flavour = self.flavour()?;
        let arches =
            [("amd64", Arch::X86_64), ("arm64", Arch::Arm64), ("armmp", Arch::Arm), ("686", Arch::I386)];
        // Cloud and real-time flavours put a word before it, PAE and LPAE one after it.
        let named = |name: &str| flavour.split('-').any(|word| word == name);
        arches.iter().find(|(name, _)| named(name)).map(|(_, arch)| *arch)
    }

    /// Whether the flavour is the one with large physical addresses (PAE, LPAE).
    pub fn is_pae(&self) -> bool {
        self.flavour().is_some_and(|f| f.split('-').any(|word| word == "pae" || word == "lpae"))
    }
}

/// `Memory: AVAILABLEK/TOTALK available (...)`, in KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryLine {
    /// Free pages.
    pub available_kib: u64,
    /// Present pages.
    pub total_kib: u64,
    /// `reserved`.
    pub reserved_kib: Option<u64>,
    /// `cma-reserved`.
    pub cma_kib: Option<u64>,
    /// `highmem`, of kernels that have it.
    pub highmem_kib: Option<u64>,
}

impl MemoryLine {
    pub(super) fn parse(mut scan: Scan<'_>) -> Option<Self> {
        let available_kib = scan.decimal()?;
        scan.literal("K/")?;
        let total_kib = scan.decimal()?;
        scan.literal("K available")?;
        let named = |name: &str| {
            let list = scan.rest().trim().trim_start_matches('(').trim_end_matches(')');
            let value = list.split(", ").find_map(|item| item.strip_suffix(name)?.strip_suffix("K "))?;
            value.parse().ok()
        };
        Some(Self {
            available_kib,
            total_kib,
            reserved_kib: named("reserved"),
            cma_kib: named("cma-reserved"),
            highmem_kib: named("highmem"),
        })
    }
}

/// `percpu: Embedded N pages/cpu sN rN dN uN`, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PerCpuLine {
    /// Pages of each processor's part.
    pub pages: u32,
    /// The static part.
    pub static_bytes: u32,
    /// The part reserved for modules.
    pub reserved_bytes: u32,
    /// The dynamic part.
    pub dynamic_bytes: u32,
    /// Bytes from one unit to the next.
    pub unit_bytes: u32,
}

impl PerCpuLine {
    pub(super) fn parse(mut scan: Scan<'_>) -> Option<Self> {
        let pages = number(&mut scan)?;
        scan.literal(" pages/cpu ")?;
        // Until 5.0 the address of the first unit stood here.
        if scan.rest().starts_with('@') {
            scan.until(" ")?;
        }
        let mut field = |name| {
            scan.spaces();
            scan.literal(name)?;
            number(&mut scan)
        };
        Some(Self {
            pages,
            static_bytes: field("s")?,
            reserved_bytes: field("r")?,
            dynamic_bytes: field("d")?,
            unit_bytes: field("u")?,
        })
    }
}
