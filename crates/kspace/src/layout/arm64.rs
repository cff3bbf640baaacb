//! arm64 (Documentation/arm64/memory): the linear map in one half of the kernel's addresses, everything else in the other.
//!
//! Since 5.4 the linear map is the lower half, before that it was the upper one. What lies at the top of the other half
//! moved in 4.6 (the image left the linear map) and in 5.11; BPF programs had a region of their own between 5.0 and
//! 5.16, modules have 2 GiB since 6.5.

use super::build::Builder;
use super::{Facts, GIB, KIB, Kind, LayoutError, MIB, image};
use crate::fixmap::Fixmap;
use crate::version::Version;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_firmware::config::{KernelConfig, Refusal};

pub(super) const OLDEST: Version = Version::new(4, 0);

/// PCI_IO_SIZE.
pub(super) const PCI_IO_SIZE: u64 = 16 * MIB;
/// BPF_JIT_REGION_SIZE.
const BPF_JIT_SIZE: u64 = 128 * MIB;

/// VA_BITS_MIN: what every processor has; 52-bit kernels run on 48-bit ones too.
pub(super) const fn va_bits_min(c: &KernelConfig) -> u32 {
    if c.va_bits > 48 { 48 } else { c.va_bits as u32 }
}

/// `vabits_actual`.
pub(super) const fn va_bits_actual(f: &Facts) -> u32 {
    if f.wide { f.config.va_bits as u32 } else { va_bits_min(&f.config) }
}

/// The lowest address whose upper `64 - bits` bits are ones.
const fn high(bits: u32) -> u64 {
    (1u64 << bits).wrapping_neg()
}

/// The addresses that the regions hang on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchors {
    /// The linear map: PAGE_OFFSET and PAGE_END as the processor's address size has them.
    linear: (u64, u64),
    bpf: (u64, u64),
    modules: (u64, u64),
    vmalloc: (u64, u64),
    pci_io: u64,
    vmemmap: (u64, u64),
    /// FIXADDR_TOP.
    pub(crate) fixaddr_top: u64,
}

/// What one entry of the table above the PMDs maps (PUD_SIZE); a folded level maps what the root's entries do.
const fn pud_size(c: &KernelConfig) -> u64 {
    let bits = c.page_shift.get() - 3;
    let levels = if c.pgtable_levels < 3 { 2 } else { 3 };
    1 << (c.page_shift.get() + bits * (levels - 1))
}

pub(crate) fn anchors(f: &Facts) -> Anchors {
    let c = &f.config;
    let bits = u32::from(c.va_bits);
    // Half of the addresses, that of the linear map, has one struct page in vmemmap for each of its pages.
    let struct_page_shift = f.struct_page.next_power_of_two().trailing_zeros();
    let vmemmap_shift = c.page_shift.get() - struct_page_shift.min(c.page_shift.get());
    if !f.version.since(5, 4) {
        return upper_half(f, bits, vmemmap_shift);
    }
    let page_end = high(va_bits_min(c) - 1);
    let linear = (high(va_bits_actual(f)), page_end);
    let vmemmap_size = page_end.wrapping_sub(high(bits)) >> vmemmap_shift;
    let bpf = if f.version.since(5, 17) { (page_end, page_end) } else { (page_end, page_end + BPF_JIT_SIZE) };
    let modules = (bpf.1, bpf.1 + if f.version.since(6, 5) { 2 * GIB } else { 128 * MIB });
    if f.version.since(5, 11) {
        let vmemmap = high(bits - vmemmap_shift);
        return Anchors {
            linear,
            bpf,
            modules,
            vmalloc: (modules.1, vmemmap - 256 * MIB),
            pci_io: vmemmap - 8 * MIB - PCI_IO_SIZE,
            vmemmap: (vmemmap, vmemmap.wrapping_add(vmemmap_size)),
            fixaddr_top: vmemmap - 32 * MIB,
        };
    }
    let vmemmap = (vmemmap_size + 2 * MIB).wrapping_neg();
    let pci_io = vmemmap - 2 * MIB - PCI_IO_SIZE;
    Anchors {
        linear,
        bpf,
        modules,
        vmalloc: (modules.1, (pud_size(c) + vmemmap_size + 64 * KIB).wrapping_neg()),
        pci_io,
        vmemmap: (vmemmap, vmemmap + vmemmap_size),
        fixaddr_top: pci_io - 2 * MIB,
    }
}

/// Before 5.4: the linear map on top.
fn upper_half(f: &Facts, bits: u32, vmemmap_shift: u32) -> Anchors {
    let c = &f.config;
    let va_start = high(bits);
    let page_offset = high(bits - 1);
    let linear = (page_offset, 0);
    if !f.version.since(4, 6) {
        // Modules follow vmemmap, and the image is part of the linear map.
        let pages = 1u64 << (bits - c.page_shift.get());
        let vmemmap_size = (pages * u64::from(f.struct_page)).next_multiple_of(pud_size(c));
        let vmalloc_end = page_offset - pud_size(c) - vmemmap_size - 64 * KIB;
        let modules = page_offset - 64 * MIB;
        let pci_io = modules - 2 * MIB - PCI_IO_SIZE;
        return Anchors {
            linear,
            bpf: (va_start, va_start),
            modules: (modules, page_offset),
            vmalloc: (va_start, vmalloc_end),
            pci_io,
            vmemmap: (vmalloc_end + 64 * KIB, vmalloc_end + 64 * KIB + vmemmap_size),
            fixaddr_top: pci_io - 2 * MIB,
        };
    }
    let bpf_end = if f.version.since(5, 0) { va_start + BPF_JIT_SIZE } else { va_start };
    let modules = (bpf_end, bpf_end + 128 * MIB);
    let vmemmap_size = (1u64 << (bits - 1)) >> vmemmap_shift;
    let vmemmap = page_offset - vmemmap_size;
    let pci_io = vmemmap - 2 * MIB - PCI_IO_SIZE;
    Anchors {
        linear,
        bpf: (va_start, bpf_end),
        modules,
        vmalloc: (modules.1, page_offset - pud_size(c) - vmemmap_size - 64 * KIB),
        pci_io,
        vmemmap: (vmemmap, page_offset),
        fixaddr_top: pci_io - 2 * MIB,
    }
}

/// Fills in all regions.
pub(super) fn regions(f: &Facts, fixmap: &Fixmap, b: &mut Builder) -> Result<(), LayoutError> {
    let c = &f.config;
    if c.va_bits > 48 && !f.version.since(5, 4) {
        let (symbol, needs) = ("ARM64_VA_BITS_52", "Linux 5.4");
        return Err(LayoutError::Refused(Refusal::Needs { symbol, needs }));
    }
    let a = anchors(f);
    let page = c.page_shift.bytes();
    let user = u64::from(c.mmap_min_addr).next_multiple_of(page);
    let user_end = 1u64 << va_bits_actual(f);
    b.span(Kind::Null, 0, user);
    b.span(Kind::User, user, user_end);
    // Bits above the translated ones have to be all zeroes or all ones.
    let kernel = high(va_bits_actual(f));
    b.span(Kind::NonCanonical, user_end, kernel);
    b.span(Kind::LinearMap, a.linear.0, a.linear.1);
    b.span(Kind::BpfJit, a.bpf.0, a.bpf.1);
    b.span(Kind::Modules, a.modules.0, a.modules.1);
    b.span(Kind::Vmalloc, a.vmalloc.0, a.vmalloc.1);
    b.span(Kind::FixmapEarly, fixmap.tot_start().get(), fixmap.start().get());
    b.span(Kind::Fixmap, fixmap.start().get(), a.fixaddr_top);
    b.add(Kind::PciIo, a.pci_io, PCI_IO_SIZE);
    b.span(Kind::Guard, a.fixaddr_top, a.pci_io);
    b.span(
        Kind::Guard,
        a.pci_io + PCI_IO_SIZE,
        if f.version.since(4, 6) { a.vmemmap.0 } else { a.modules.0 },
    );
    if f.version.since(5, 4) && a.vmemmap.1 != 0 {
        b.span(Kind::Guard, a.vmemmap.1, 0);
    }
    b.span(Kind::Vmemmap, a.vmemmap.0, a.vmemmap.1);
    used(f, &a, b)?;
    let Some(image) = &f.image else { return Ok(()) };
    if f.version.since(4, 6) {
        // KIMAGE_VADDR is the end of the modules. A description knows where 6.1 put its image, which counts if it fits.
        let linked = a.modules.1.wrapping_add(image.head_len);
        let vmalloc = VirtRange::new(VirtAddr::new(a.vmalloc.0), VirtAddr::new(a.vmalloc.1));
        let virt = if vmalloc.contains(VirtAddr::new(image.virt)) { image.virt } else { linked };
        let offset = virt.wrapping_sub(image.text_start.get());
        image::sections(b, image, |p| p.get().wrapping_add(offset));
    } else if let Some(ram) = &f.ram {
        let offset = a.linear.0.wrapping_sub(ram.map_start.get());
        image::sections(b, image, |p| p.get().wrapping_add(offset));
    }
    Ok(())
}

/// The parts of the linear map and of vmemmap that RAM fills.
fn used(f: &Facts, a: &Anchors, b: &mut Builder) -> Result<(), LayoutError> {
    let Some(ram) = &f.ram else { return Ok(()) };
    let room = a.linear.1.wrapping_sub(a.linear.0);
    let from = ram.start.get().wrapping_sub(ram.map_start.get());
    let bytes = ram.high_memory.get().saturating_sub(ram.start.get());
    if from.checked_add(bytes).is_none_or(|end| end > room) {
        return Err(LayoutError::LinearMap { bytes: from.saturating_add(bytes), room });
    }
    b.inside(Kind::LinearUsed, a.linear.0.wrapping_add(from), bytes);
    // Pages of the 52-bit linear map's start come first also where the processor has only 48 bits.
    let shift = f.config.page_shift.get();
    let size = u64::from(f.struct_page);
    let start = if f.version.since(5, 4) { high(f.config.va_bits.into()) } else { a.linear.0 };
    let first = (a.linear.0.wrapping_add(from).wrapping_sub(start)) >> shift;
    b.inside(Kind::VmemmapUsed, a.vmemmap.0.wrapping_add(first * size), (bytes >> shift) * size);
    Ok(())
}
