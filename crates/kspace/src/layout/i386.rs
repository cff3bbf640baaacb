//! 32-bit x86: everything hangs from the top. Fixed mappings, the CPUs' entry areas, the LDT, persistent kmaps, vmalloc
//! space with the modules in it, and low memory below.

use super::build::Builder;
use super::{Facts, Kind, LayoutError, MIB, image};
use crate::fixmap::Fixmap;
use crate::version::Version;
use pagewright_firmware::config::KernelConfig;

pub(super) const OLDEST: Version = Version::new(5, 11);

const PAGE: u64 = 4096;
/// VMALLOC_OFFSET.
const VMALLOC_OFFSET: u64 = 8 * MIB;
/// `__VMALLOC_RESERVE` unless `vmalloc=` says otherwise.
const VMALLOC_RESERVE: u64 = 128 * MIB;
/// Pages of one CPU's entry area (CPU_ENTRY_AREA_PAGES for each): descriptor table, entry stack and double-fault stack with their
/// two guard pages, five of the task state with its I/O bitmaps, the debug store and its 32 pages of buffers.
const ENTRY_AREA_PAGES: u64 = 3 + 2 + 5 + 1 + 32;

/// Where the regions above vmalloc space begin. They hang from the fixed mappings, each from a border between tables of PTEs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct I386Areas {
    /// VMALLOC_END.
    pub vmalloc_end: u64,
    /// PKMAP_BASE; with HIGHMEM the persistent kmaps take one table from here on.
    pub pkmap: u64,
    /// LDT_BASE_ADDR.
    pub ldt: u64,
    /// CPU_ENTRY_AREA_BASE.
    pub cpu_entry_area: u64,
    /// CPU_ENTRY_AREA_MAP_SIZE: the IDT's page and the areas of all CPUs that the kernel is made for.
    pub entry_bytes: u64,
    /// What one table of PTEs maps.
    pub pmd_bytes: u64,
}

impl I386Areas {
    /// Those of a kernel with these fixed mappings. Too many CPUs for the addresses there are leave 0 for what lies lowest.
    pub fn of(c: &KernelConfig, fixmap: &Fixmap) -> Self {
        let pmd_bytes = 1u64 << c.pmd_shift();
        let entry_bytes = (u64::from(c.nr_cpus) * ENTRY_AREA_PAGES + 1) * PAGE;
        let below = |address: u64, bytes: u64| address.saturating_sub(bytes) & !(pmd_bytes - 1);
        let cpu_entry_area = below(fixmap.tot_start().get(), entry_bytes);
        let ldt = below(cpu_entry_area, PAGE);
        let pkmap = below(ldt, PAGE);
        let vmalloc_end = if c.highmem { pkmap } else { ldt }.saturating_sub(2 * PAGE);
        Self { vmalloc_end, pkmap, ldt, cpu_entry_area, entry_bytes, pmd_bytes }
    }
}

/// MAXMEM: how many bytes of RAM can be mapped permanently.
fn maxmem(f: &Facts, vmalloc_end: u64) -> u64 {
    let reserve = f.vmalloc.map_or(VMALLOC_RESERVE, |v| v.saturating_add(VMALLOC_OFFSET));
    vmalloc_end.saturating_sub(f.config.page_offset.into()).saturating_sub(reserve)
}

/// Fills in all regions.
pub(super) fn regions(f: &Facts, fixmap: &Fixmap, b: &mut Builder) -> Result<(), LayoutError> {
    let c = &f.config;
    let page_offset = u64::from(c.page_offset);
    let t = I386Areas::of(c, fixmap);
    let user = u64::from(c.mmap_min_addr).next_multiple_of(PAGE);
    b.span(Kind::Null, 0, user);
    b.span(Kind::User, user, page_offset);
    let low = f.mapped_bytes().unwrap_or(maxmem(f, t.vmalloc_end));
    let room = t.vmalloc_end.saturating_sub(page_offset).saturating_sub(VMALLOC_OFFSET);
    if low > room {
        return Err(LayoutError::LinearMap { bytes: low, room });
    }
    b.add(Kind::LinearMap, page_offset, low);
    if let Some(image) = &f.image {
        image::sections(b, image, |p| page_offset.wrapping_add(p.get()));
    }
    let high_memory = page_offset + low;
    b.add(Kind::VmallocHole, high_memory, VMALLOC_OFFSET);
    let vmalloc = high_memory + VMALLOC_OFFSET;
    b.span(Kind::Vmalloc, vmalloc, t.vmalloc_end);
    // MODULES_VADDR and MODULES_END are vmalloc's: modules lie among all other areas.
    b.inside(Kind::Modules, vmalloc, t.vmalloc_end.saturating_sub(vmalloc));
    b.add(Kind::Guard, t.vmalloc_end, 2 * PAGE);
    if c.highmem {
        b.span(Kind::Pkmap, t.pkmap, t.ldt);
    }
    b.add(Kind::LdtRemap, t.ldt, t.pmd_bytes);
    b.add(Kind::CpuEntryArea, t.cpu_entry_area, t.entry_bytes);
    b.inside(Kind::EntryIdt, t.cpu_entry_area, PAGE);
    let cpus = u64::from(f.possible_cpus.min(c.nr_cpus));
    b.inside(Kind::EntryCpus, t.cpu_entry_area + PAGE, cpus * ENTRY_AREA_PAGES * PAGE);
    b.span(Kind::FixmapEarly, fixmap.tot_start().get(), fixmap.start().get());
    b.span(Kind::Fixmap, fixmap.start().get(), fixmap.top().get());
    Ok(())
}
