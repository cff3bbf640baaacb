//! Where a kernel looks for the addresses of a module (`module_alloc`): by architecture and version, nothing randomised.
//!
//! Linux has one tree of areas for all regions, so a window may reach from one into another: on arm64 the text of a kernel lies behind the modules'
//! region, and near it is what is near both. Here each region has its own, and a window is looked through region by region, lowest first, which
//! finds the same addresses.
//!
//! | kernel | first | then |
//! |---|---|---|
//! | x86_64 | the modules' region | |
//! | i386 | vmalloc's region, which is the modules', too | |
//! | arm | the modules' region | vmalloc's |
//! | arm64 to 4.5 | the modules' region | |
//! | arm64 from 4.6 on | 128 MiB that end with the kernel's text | vmalloc's region; from 4.17 on 4 GiB from the same start, from 5.2 on 2 GiB |
//! | arm64 from 6.5 on | 128 MiB that end with the kernel | 2 GiB that end there |
//!
//! The second is there with CONFIG_ARM_MODULE_PLTS and CONFIG_ARM64_MODULE_PLTS, which is taken for granted.

use crate::layout::{Kind, Layout};
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_firmware::Arch;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// MODULES_VSIZE before 6.5, and what a branch reaches: SZ_128M.
const NEAR: u64 = 128 * MIB;

/// Where a module's area may lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ModuleWindows {
    /// Where it is looked for first.
    pub first: VirtRange,
    /// Where then.
    pub spill: Option<VirtRange>,
}

impl ModuleWindows {
    /// Nothing but these addresses.
    pub const fn only(first: VirtRange) -> Self {
        Self { first, spill: None }
    }

    /// Those of a kernel with this layout; `None` if that has no region for modules.
    pub fn of(layout: &Layout) -> Option<Self> {
        let facts = layout.facts();
        let vmalloc = layout.get(Kind::Vmalloc);
        let modules = layout.get(Kind::Modules);
        match facts.config.arch {
            Arch::X86_64 => modules.map(Self::only),
            Arch::I386 => vmalloc.map(Self::only),
            Arch::Arm => Some(Self { first: modules?, spill: vmalloc }),
            Arch::Arm64 => arm64(layout, modules?),
        }
    }

    /// The windows in the order in which they are looked through.
    pub fn in_order(&self) -> impl Iterator<Item = VirtRange> {
        core::iter::once(self.first).chain(self.spill)
    }
}

fn arm64(layout: &Layout, modules: VirtRange) -> Option<ModuleWindows> {
    let facts = layout.facts();
    if !facts.version.since(4, 6) {
        return Some(ModuleWindows::only(modules));
    }
    // Without an image: where one would begin (KIMAGE_VADDR).
    let text_end = layout.get(Kind::Text).map_or(modules, |text| text).last().checked_add(1)?.get();
    let behind = facts.image.map_or(0, |image| image.end.get().saturating_sub(image.text_end.get()));
    let window = |start: u64, len: u64| VirtRange::from_len(VirtAddr::new(start), len);
    if facts.version.since(6, 5) {
        let end = text_end.checked_add(behind)?;
        let near = window(end.saturating_sub(NEAR), NEAR);
        return Some(ModuleWindows {
            first: near,
            spill: Some(window(end.saturating_sub(2 * GIB), 2 * GIB)),
        });
    }
    let base = text_end.saturating_sub(NEAR);
    let spill = match facts.version {
        version if version.since(5, 2) => Some(window(base, 2 * GIB)),
        version if version.since(4, 17) => Some(window(base, 4 * GIB)),
        _ => layout.get(Kind::Vmalloc),
    };
    Some(ModuleWindows { first: window(base, NEAR), spill })
}

#[cfg(test)]
mod tests;
