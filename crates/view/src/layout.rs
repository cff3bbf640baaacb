//! The kernel's virtual layout in the form of the banner that kernels printed at boot until they stopped to.
//!
//! The banner named the areas that the kernel uses; this one has all of the address space, in the order and with the
//! labels and units that each architecture's banner had. Sections of the image and other parts of an area are set to the
//! right.

use crate::State;
use core::fmt::{self, Write};
use pagewright_firmware::Arch;
use pagewright_kspace::{Kind, Layout, LayoutError, Region, Version};

impl State<'_, '_, '_, '_, '_> {
    /// The virtual layout of this kernel as it would be in that version of Linux. It is a value of several KiB.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn layout(&self, version: Version) -> Result<Layout, LayoutError> {
        self.boot.virtual_layout(version)
    }
}

/// How sizes are written: the unit's shift, and whether what is left over counts as one more.
#[derive(Clone, Copy)]
struct Unit {
    shift: u32,
    round_up: bool,
}

const KILO: Unit = Unit { shift: 10, round_up: false };
const MEGA: Unit = Unit { shift: 20, round_up: false };
const GIGA: Unit = Unit { shift: 30, round_up: false };

/// Exbibytes down to bytes.
const SHIFTS: [u32; 7] = [60, 50, 40, 30, 20, 10, 0];

impl Unit {
    /// The unit in which the banner of that architecture has this area; for others the largest that fits.
    fn of(arch: Arch, region: &Region) -> Self {
        let len = region.range.len;
        match (region.kind, arch) {
            (kind, _) if kind.is_image() => Self { round_up: true, ..KILO },
            (Kind::Vectors | Kind::Itcm | Kind::Dtcm | Kind::Fixmap | Kind::CpuEntryArea, Arch::Arm) => KILO,
            (Kind::Fixmap | Kind::CpuEntryArea | Kind::Pkmap, Arch::I386) => KILO,
            (Kind::Fixmap, _) => KILO,
            (Kind::Vmalloc | Kind::Vmemmap, Arch::Arm64) => GIGA,
            (Kind::Vmalloc | Kind::LinearMap, Arch::Arm | Arch::I386) => MEGA,
            (Kind::LinearUsed | Kind::VmemmapUsed | Kind::Modules | Kind::Pkmap | Kind::PciIo, _) => MEGA,
            _ => {
                // The largest that leaves nothing over, or a larger one where the number gets long.
                let exact = |shift: &u32| len >= 1 << shift && len.is_multiple_of(1 << shift);
                let short = |shift: &u32| len >> shift < 1 << 20;
                let shift = SHIFTS.into_iter().find(exact).unwrap_or(0);
                let shift = SHIFTS.into_iter().rev().find(|s| *s >= shift && short(s)).unwrap_or(shift);
                Self { shift, round_up: false }
            }
        }
    }

    fn count(self, len: u64) -> u64 {
        if self.round_up { len.div_ceil(1 << self.shift) } else { len >> self.shift }
    }

    fn name(self, arch: Arch) -> &'static str {
        match self.shift {
            0 => "B",
            10 if arch == Arch::Arm64 => "KB",
            10 => "kB",
            20 => "MB",
            30 => "GB",
            40 => "TB",
            50 => "PB",
            _ => "EB",
        }
    }
}

/// The label of an area in that architecture's banner.
fn label(arch: Arch, kind: Kind) -> &'static str {
    match (kind, arch) {
        (Kind::LinearMap, Arch::Arm | Arch::I386) => "lowmem",
        (Kind::Fixmap, Arch::Arm64) => "fixed",
        _ => kind.name(),
    }
}

fn line(w: &mut dyn Write, layout: &Layout, region: &Region) -> fmt::Result {
    let config = &layout.facts().config;
    let arch = config.arch;
    let digits = if config.is_64bit() { 16 } else { 8 };
    let width = if config.is_64bit() { 6 } else { 4 };
    let start = region.range.start.get();
    // The end of all addresses has one digit more.
    let end = u128::from(start) + u128::from(region.range.len);
    let label = label(arch, region.kind);
    w.write_str("    ")?;
    let note = match region.kind {
        Kind::VmemmapUsed => {
            write!(w, "{:10}", "")?;
            " actual"
        }
        Kind::Vmemmap => {
            write!(w, "{label:<7} : ")?;
            " maximum"
        }
        Kind::LinearUsed => {
            write!(w, "{label:<7} : ")?;
            ""
        }
        _ if region.depth > 0 => {
            write!(w, "{label:>7} : ")?;
            ""
        }
        _ => {
            write!(w, "{label:<7} : ")?;
            ""
        }
    };
    let unit = Unit::of(arch, region);
    let (count, name) = (unit.count(region.range.len), unit.name(arch));
    writeln!(w, "0x{start:0digits$x} - 0x{end:0digits$x}   ({count:>width$} {name}{note})")
}

/// Writes the banner.
///
/// # Errors
/// The writer's.
pub fn write(w: &mut dyn Write, layout: &Layout) -> fmt::Result {
    let arch = layout.facts().config.arch;
    let x86 = matches!(arch, Arch::X86_64 | Arch::I386);
    writeln!(w, "{}irtual kernel memory layout:", if x86 { 'v' } else { 'V' })?;
    let regions = layout.regions();
    let mut put = |region: &Region| line(w, layout, region);
    if !matches!(arch, Arch::Arm | Arch::I386) {
        return regions.iter().try_for_each(put);
    }
    // From the top down, the image last: upward on arm, downward on x86.
    let areas = regions.chunk_by(|_, next| next.depth > 0).rev();
    areas.flatten().filter(|r| !r.kind.is_image()).try_for_each(&mut put)?;
    let mut sections = regions.iter().filter(|r| r.kind.is_image());
    if x86 { sections.rev().try_for_each(put) } else { sections.try_for_each(put) }
}

#[cfg(test)]
mod tests;
