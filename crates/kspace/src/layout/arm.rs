//! 32-bit Arm (Documentation/arm/memory): modules and persistent kmaps below PAGE_OFFSET, low memory, the hole, vmalloc
//! space with the boards' static mappings, the fixed mappings, and the vectors at the top (or the bottom).

use super::build::Builder;
use super::{CacheWindows, Facts, Kind, LayoutError, MIB, image};
use crate::version::Version;
use pagewright_addr::PhysAddr;
use pagewright_firmware::config::KernelConfig;

pub(super) const OLDEST: Version = Version::new(4, 0);

const PAGE: u64 = 4096;
/// What one Linux PMD maps with either format of descriptors.
const PMD: u64 = 2 * MIB;
/// The end of addresses.
const TOP: u64 = 1 << 32;
/// VMALLOC_OFFSET: low memory and vmalloc space are this far apart, and vmalloc space starts at a multiple of it.
pub(crate) const VMALLOC_OFFSET: u64 = 8 * MIB;
/// Bytes for vmalloc unless `vmalloc=` says otherwise.
const VMALLOC_DEFAULT: u64 = 240 * MIB;
/// The least that `vmalloc=` can ask for.
const VMALLOC_MIN: u64 = 16 * MIB;
/// Low memory that the largest vmalloc space leaves.
const LEAST_LOWMEM: u64 = 32 * MIB;
/// PCI_IO_VIRT_BASE and the addresses after it that are kept for I/O ports.
const PCI_IO: (u64, u64) = (0xfee0_0000, 2 * MIB);
/// FDT_FIXED_BASE, where the device tree is mapped read-only, and the addresses kept for it: two sections, of 2 MiB with
/// LPAE.
const FDT: (u64, u64) = (0xff80_0000, 4 * MIB);
/// VECTORS_BASE with high vectors.
pub(super) const VECTORS: u64 = 0xffff_0000;
/// Where the kernel's helpers for user code begin in the vectors page (kernel_user_helpers: the 64-bit compare-and-exchange).
const KUSER_HELPERS: u64 = VECTORS + 0xf60;
/// ITCM_OFFSET and DTCM_OFFSET: 32 KiB each.
const ITCM: u64 = 0xfffe_0000;
const DTCM: u64 = 0xfffe_8000;
const TCM_BYTES: u64 = 0x8000;
/// FLUSH_ALIAS_START: a page for each of four colours.
const FLUSH_ALIAS: u64 = 0xffff_4000;
/// COPYPAGE_V6_FROM (and COPYPAGE_MINICACHE) and COPYPAGE_V6_TO.
const COPYPAGE_FROM: u64 = 0xffff_8000;
const COPYPAGE_TO: u64 = 0xffff_c000;
/// Bytes of the four colours.
const COLOURS: u64 = 4 * PAGE;

/// VMALLOC_END.
pub(crate) const fn vmalloc_end(version: Version) -> u64 {
    if version.since(4, 4) { 0xff80_0000 } else { 0xff00_0000 }
}

/// FIXADDR_START and FIXADDR_END.
pub(crate) const fn fixaddr(version: Version) -> (u64, u64) {
    // What a device tree of two LPAE sections takes was cut off in 5.11.
    (if version.since(5, 11) { 0xffc8_0000 } else { 0xffc0_0000 }, 0xfff0_0000)
}

/// TASK_SIZE: 16 MiB below the kernel.
pub(super) const fn task_size(c: &KernelConfig) -> u64 {
    c.page_offset as u64 - 16 * MIB
}

/// Bytes kept for vmalloc when `vmalloc=` asks for `asked`: at least 16 MiB, and leaving 32 MiB of low memory.
pub fn vmalloc_size(c: &KernelConfig, version: Version, asked: Option<u64>) -> u64 {
    let Some(asked) = asked else { return VMALLOC_DEFAULT };
    // The kernel reads the value into a 32-bit word.
    let size = (asked & u64::from(u32::MAX)).max(VMALLOC_MIN);
    let taken = u64::from(c.page_offset) + LEAST_LOWMEM + VMALLOC_OFFSET;
    size.min(vmalloc_end(version).saturating_sub(taken))
}

/// How many bytes of RAM can be mapped permanently when that much is kept for vmalloc.
pub fn lowmem_reach(c: &KernelConfig, version: Version, vmalloc_bytes: u64) -> u64 {
    let above = vmalloc_bytes + VMALLOC_OFFSET + u64::from(c.page_offset);
    vmalloc_end(version).saturating_sub(above)
}

/// Fills in all regions.
pub(super) fn regions(f: &Facts, b: &mut Builder) -> Result<(), LayoutError> {
    let c = &f.config;
    let page_offset = u64::from(c.page_offset);
    low_addresses(f, b);
    // Relative branches reach 32 MiB, in Thumb-2 16 MiB.
    let modules = page_offset - if c.thumb2 { 8 * MIB } else { 16 * MIB };
    let pkmap = page_offset - PMD;
    b.span(Kind::Modules, modules, if c.highmem { pkmap } else { page_offset });
    if c.highmem {
        b.add(Kind::Pkmap, pkmap, PMD);
    }
    let vmalloc_end = vmalloc_end(f.version);
    let reach = lowmem_reach(c, f.version, vmalloc_size(c, f.version, f.vmalloc));
    let low = f.mapped_bytes().unwrap_or(reach);
    let room = vmalloc_end - VMALLOC_OFFSET - page_offset;
    if low > room {
        return Err(LayoutError::LinearMap { bytes: low, room });
    }
    let high_memory = page_offset + low;
    b.add(Kind::LinearMap, page_offset, low);
    if let Some(ram) = &f.ram {
        let virt = |p: PhysAddr| p.get().wrapping_add(page_offset).wrapping_sub(ram.map_start.get());
        if let Some(image) = &f.image {
            image::sections(b, image, virt);
        }
        if let Some(zero_page) = f.zero_page {
            b.inside(Kind::ZeroPage, virt(zero_page), PAGE);
        }
    }
    let vmalloc = (high_memory + VMALLOC_OFFSET) & !(VMALLOC_OFFSET - 1);
    b.span(Kind::VmallocHole, high_memory, vmalloc);
    b.span(Kind::Vmalloc, vmalloc, vmalloc_end);
    if let Some([main, mini]) = f.arm.cache_flush {
        b.inside(Kind::CacheFlush, main.start.get(), main.len);
        b.inside(Kind::CacheFlushMinicache, mini.start.get(), mini.len);
    }
    if c.pci {
        b.inside(Kind::PciIo, PCI_IO.0, PCI_IO.1);
    }
    if f.version.since(5, 11) {
        b.add(Kind::Fdt, FDT.0, FDT.1);
    }
    let (fix_start, fix_end) = fixaddr(f.version);
    b.span(Kind::Fixmap, fix_start, fix_end);
    high_addresses(f, b);
    Ok(())
}

/// From address 0 to the end of user space.
fn low_addresses(f: &Facts, b: &mut Builder) {
    let task_size = task_size(&f.config);
    // FIRST_USER_ADDRESS keeps two pages for low vectors, whether they are there or not.
    let user = u64::from(f.config.mmap_min_addr).next_multiple_of(PAGE).max(2 * PAGE).min(task_size);
    if f.arm.low_vectors {
        b.add(Kind::Vectors, 0, PAGE);
        b.add(Kind::VectorStubs, PAGE, PAGE);
        b.span(Kind::Null, 2 * PAGE, user);
    } else {
        b.span(Kind::Null, 0, user);
    }
    b.span(Kind::User, user, task_size);
}

/// Above the fixed mappings.
fn high_addresses(f: &Facts, b: &mut Builder) {
    if f.config.have_tcm {
        b.add(Kind::Itcm, ITCM, u64::from(f.arm.itcm_bytes).min(TCM_BYTES));
        b.add(Kind::Dtcm, DTCM, u64::from(f.arm.dtcm_bytes).min(TCM_BYTES));
    }
    // The page of the vectors is mapped here also when the processor takes low ones: user code finds its helpers in it.
    if !f.arm.low_vectors || f.config.kuser_helpers {
        b.add(Kind::Vectors, VECTORS, PAGE);
        if f.config.kuser_helpers {
            b.inside(Kind::KuserHelpers, KUSER_HELPERS, VECTORS + PAGE - KUSER_HELPERS);
        }
        b.add(Kind::VectorStubs, VECTORS + PAGE, PAGE);
    } else {
        b.add(Kind::Reserved, VECTORS, 2 * PAGE);
    }
    match f.arm.cache {
        CacheWindows::None => b.span(Kind::Reserved, VECTORS + 2 * PAGE, TOP),
        CacheWindows::Aliasing => {
            b.span(Kind::Reserved, VECTORS + 2 * PAGE, FLUSH_ALIAS);
            b.add(Kind::FlushAlias, FLUSH_ALIAS, COLOURS);
            b.add(Kind::CopyPageFrom, COPYPAGE_FROM, COLOURS);
            b.add(Kind::CopyPageTo, COPYPAGE_TO, COLOURS);
        }
        CacheWindows::Minicache => {
            b.span(Kind::Reserved, VECTORS + 2 * PAGE, COPYPAGE_FROM);
            b.add(Kind::CopyPageMinicache, COPYPAGE_FROM, PAGE);
            b.span(Kind::Reserved, COPYPAGE_FROM + PAGE, TOP);
        }
    }
}
