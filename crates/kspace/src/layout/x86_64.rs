//! x86_64 (Documentation/x86/x86_64/mm): 4 and 5 levels share everything above -4 TiB.

use super::build::Builder;
use super::{Facts, GIB, Kind, LayoutError, MIB, image};
use crate::fixmap::Fixmap;
use crate::version::Version;

pub(super) const OLDEST: Version = Version::new(4, 15);

const PAGE: u64 = 4096;
const TIB: u64 = 1 << 40;
const PIB: u64 = 1 << 50;

/// VSYSCALL_ADDR.
pub(crate) const VSYSCALL: u64 = 0xffff_ffff_ff60_0000;
/// `__START_KERNEL_map`.
pub(super) const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// MODULES_END.
const MODULES_END: u64 = 0xffff_ffff_ff00_0000;
/// CPU_ENTRY_AREA_BASE, which takes what one entry of the level above the PUDs maps.
const CPU_ENTRY_AREA: u64 = 0xffff_fe00_0000_0000;
/// ESPFIX_BASE_ADDR.
const ESPFIX: u64 = 0xffff_ff00_0000_0000;
/// What one entry of a P4D maps.
const P4D: u64 = 512 * GIB;
/// EFI_VA_END and EFI_VA_START: services are placed from the top down.
const EFI: (u64, u64) = (0xffff_ffef_0000_0000, 0xffff_ffff_0000_0000);
/// Pages of one CPU's entry area: the descriptor table and the entry stack, five of the task state with its I/O bitmaps,
/// six exception stacks of two pages between seven guard pages, the debug store and its 32 pages of buffers.
const ENTRY_AREA_PAGES: u64 = 2 + 5 + 6 * 2 + 7 + 1 + 32;

/// What differs between 4 and 5 levels.
struct Levels {
    half: u64,
    ldt: (u64, u64),
    page_offset: (u64, u64),
    vmalloc: (u64, u64),
    vmemmap: (u64, u64),
}

const FOUR: Levels = Levels {
    half: 1 << 47,
    ldt: (0xffff_8800_0000_0000, P4D),
    page_offset: (0xffff_8880_0000_0000, 64 * TIB),
    vmalloc: (0xffff_c900_0000_0000, 32 * TIB),
    vmemmap: (0xffff_ea00_0000_0000, TIB),
};

const FIVE: Levels = Levels {
    half: 1 << 56,
    ldt: (0xff10_0000_0000_0000, 256 * TIB),
    page_offset: (0xff11_0000_0000_0000, 32 * PIB),
    vmalloc: (0xffa0_0000_0000_0000, 12 * PIB + PIB / 2),
    vmemmap: (0xffd4_0000_0000_0000, PIB / 2),
};

const fn levels(f: &Facts) -> Levels {
    let mut l = if f.wide { FIVE } else { FOUR };
    if !f.version.since(4, 20) {
        // The LDT lay elsewhere, and the direct map where it is now.
        if f.wide {
            l.page_offset.0 = 0xff10_0000_0000_0000;
            l.ldt = (0xff90_0000_0000_0000, 4 * PIB);
        } else {
            l.page_offset.0 = 0xffff_8800_0000_0000;
            l.ldt = (0xffff_fe80_0000_0000, P4D);
        }
    }
    l
}

/// TASK_SIZE_MAX: all of the lower half but its last page.
pub(super) const fn task_size_max(f: &Facts) -> u64 {
    levels(f).half - PAGE
}

/// KERNEL_IMAGE_SIZE: what the image's mapping takes before the modules.
const fn kernel_image_size(f: &Facts) -> u64 {
    if f.config.randomize_base { GIB } else { 512 * MIB }
}

/// Fills in all regions.
pub(super) fn regions(f: &Facts, fixmap: &Fixmap, b: &mut Builder) -> Result<(), LayoutError> {
    let c = &f.config;
    let mut l = levels(f);
    if let Some(bases) = &f.bases {
        l.page_offset.0 = bases.page_offset.get();
        l.vmalloc.0 = bases.vmalloc.get();
        l.vmemmap.0 = bases.vmemmap.get();
    }
    let task_size = task_size_max(f);
    let user = u64::from(c.mmap_min_addr).next_multiple_of(PAGE);
    b.span(Kind::Null, 0, user);
    b.span(Kind::User, user, task_size);
    b.add(Kind::UserGuard, task_size, PAGE);
    let upper = l.half.wrapping_neg();
    b.span(Kind::NonCanonical, l.half, upper);
    // Sixteen entries of the root table.
    b.add(Kind::Hypervisor, upper, l.half / 16);
    if c.page_table_isolation && c.modify_ldt {
        b.add(Kind::LdtRemap, l.ldt.0, l.ldt.1);
    }
    // With bases that were moved the map takes what the machine's RAM can grow to; the next region bounds it.
    let room = l.page_offset.1.min(l.vmalloc.0.wrapping_sub(l.page_offset.0));
    b.add(Kind::LinearMap, l.page_offset.0, room);
    b.add(Kind::Vmalloc, l.vmalloc.0, l.vmalloc.1.min(l.vmemmap.0.wrapping_sub(l.vmalloc.0)));
    b.add(Kind::Vmemmap, l.vmemmap.0, l.vmemmap.1);
    if let Some(ram) = &f.ram {
        let (start, end) = (ram.start.get(), ram.high_memory.get());
        if start.max(end) > room {
            return Err(LayoutError::LinearMap { bytes: start.max(end), room });
        }
        let bytes = end.saturating_sub(start);
        b.inside(Kind::LinearUsed, l.page_offset.0.wrapping_add(start), bytes);
        let size = u64::from(f.struct_page);
        let first = l.vmemmap.0.wrapping_add(start / PAGE * size);
        b.inside(Kind::VmemmapUsed, first, bytes.div_ceil(PAGE) * size);
    }
    b.add(Kind::CpuEntryArea, CPU_ENTRY_AREA, P4D);
    b.inside(Kind::EntryIdt, CPU_ENTRY_AREA, PAGE);
    if f.version.since(5, 10) {
        let cpus = u64::from(f.possible_cpus);
        b.inside(Kind::EntryCpus, CPU_ENTRY_AREA + PAGE, cpus * ENTRY_AREA_PAGES * PAGE);
    }
    if c.espfix64 {
        b.add(Kind::EspFix, ESPFIX, P4D);
    }
    if c.efi {
        b.span(Kind::Efi, EFI.0, EFI.1);
    }
    b.add(Kind::KernelText, START_KERNEL_MAP, kernel_image_size(f));
    if let Some(image) = &f.image {
        image::sections(b, image, |p| START_KERNEL_MAP.wrapping_add(p.get()));
    }
    b.span(Kind::Modules, START_KERNEL_MAP + kernel_image_size(f), MODULES_END);
    b.span(Kind::FixmapEarly, fixmap.tot_start().get(), fixmap.start().get());
    if c.vsyscall_emulation {
        b.span(Kind::Fixmap, fixmap.start().get(), VSYSCALL);
        b.add(Kind::Vsyscall, VSYSCALL, PAGE);
    } else {
        b.span(Kind::Fixmap, fixmap.start().get(), fixmap.top().get() + PAGE);
    }
    Ok(())
}
