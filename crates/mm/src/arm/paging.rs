//! `paging_init`: which page tables the kernel's mappings take.
//!
//! A leaf table covers 2 MiB of virtual space, with both kinds of descriptors: without LPAE Linux pairs two of the
//! hardware's 1 MiB tables, and keeps its own bits of both in the same page. The level above is static. So the census
//! is a set of 2 MiB slots that have a table; next to it stands which 1 MiB entries are in use at all, because half a
//! pair left free must be kept from others.

use super::board::{Board, StaticMap};
use crate::boot::Boot;
use crate::error::BootError;
use arrayvec::ArrayVec;
use pagewright_addr::{PhysAddr, PhysRange};

const MIB: u64 = 1 << 20;
/// PMD_SIZE: what one leaf table covers.
const PMD: u64 = 2 * MIB;
/// Where the vectors lie on every processor that the kernels modelled run on.
const VECTORS: u64 = 0xffff_0000;
/// FIXADDR_START.
const FIXADDR_START: u64 = 0xffc8_0000;
/// PCI_IO_VIRT_BASE, 2 MiB.
const PCI_IO: u64 = 0xfee0_0000;

/// The tables so far.
struct Tables {
    /// Bytes that one entry maps without a table: SECTION_SIZE.
    section: u64,
    /// 2 MiB slots with a leaf table.
    leaf: [u64; 32],
    /// 1 MiB slots that are mapped, by a table or not.
    used: [u64; 64],
    /// Mappings that ioremap must know (`static_vmlist`), sorted.
    fixed: ArrayVec<(u64, u64), 64>,
}

fn test(bits: &[u64], at: u64) -> bool {
    bits.get((at / 64) as usize).is_some_and(|w| w >> (at % 64) & 1 == 1)
}

fn set(bits: &mut [u64], at: u64) {
    if let Some(w) = bits.get_mut((at / 64) as usize) {
        *w |= 1 << (at % 64);
    }
}

/// Low memory, the image, vectors, static device mappings, the fixed and persistent kmaps and the zero page.
pub(super) fn paging_init(b: &mut Boot<'_>, board: &Board) -> Result<(), BootError> {
    let section = if b.machine.config.lpae { PMD } else { MIB };
    let mut t = Tables { section, leaf: [0; 32], used: [0; 64], fixed: ArrayVec::new() };
    map_lowmem(b, &mut t)?;
    let limit = b.high_memory;
    b.mb.set_current_limit(limit);
    dma_contiguous_remap(b, &mut t)?;
    devicemaps_init(b, &mut t, board)?;
    let page_offset = u64::from(b.machine.config.page_offset);
    if b.machine.config.highmem {
        // PKMAP_BASE lies right below the kernel.
        t.need_leaf(b, page_offset.saturating_sub(PMD))?;
    }
    t.need_leaf(b, FIXADDR_START)?;
    // The zero page.
    early_alloc(b, b.page_bytes())?;
    Ok(())
}

/// `early_alloc`: aligned to its size.
fn early_alloc(b: &mut Boot<'_>, bytes: u64) -> Result<PhysAddr, BootError> {
    b.mb.set_caller("early_alloc");
    Ok(b.alloc(bytes, bytes)?)
}

/// `sizeof(struct static_vm)`: a `vm_struct` and two links.
fn static_vm(b: &Boot<'_>) -> (u64, u64) {
    if b.phys_addr_is_64bit() { (48, 8) } else { (40, 4) }
}

impl Tables {
    /// A leaf table for the slot of `virt`, unless it has one (`early_pte_alloc`).
    fn need_leaf(&mut self, b: &mut Boot<'_>, virt: u64) -> Result<(), BootError> {
        let slot = virt / PMD;
        if !test(&self.leaf, slot) {
            early_alloc(b, b.page_bytes())?;
            set(&mut self.leaf, slot);
            set(&mut self.used, 2 * slot);
            set(&mut self.used, 2 * slot + 1);
        }
        Ok(())
    }

    /// `create_mapping`: within each slot a section if `sections` may be used and everything is aligned, else pages.
    fn map(
        &mut self,
        b: &mut Boot<'_>,
        virt: u64,
        phys: u64,
        len: u64,
        sections: bool,
    ) -> Result<(), BootError> {
        let page = b.page_bytes();
        let end = virt.saturating_add(len).next_multiple_of(page);
        let mut at = virt & !(page - 1);
        let mut phys = phys & !(page - 1);
        while at < end {
            let next = ((at & !(PMD - 1)) + PMD).min(end);
            if sections && (at | next | phys) & (self.section - 1) == 0 {
                (at / MIB..next / MIB).for_each(|mib| set(&mut self.used, mib));
            } else {
                self.need_leaf(b, at)?;
            }
            phys += next - at;
            at = next;
        }
        Ok(())
    }

    /// `iotable_init`: mappings that stay, with their descriptors in one allocation.
    fn iotable(&mut self, b: &mut Boot<'_>, maps: &[Mapping]) -> Result<(), BootError> {
        if maps.is_empty() {
            return Ok(());
        }
        let (bytes, align) = static_vm(b);
        b.mb.set_caller("iotable_init");
        b.alloc(bytes * maps.len() as u64, align)?;
        for m in maps {
            self.map(b, m.virt, m.phys, m.len, m.sections)?;
            let page = b.page_bytes();
            let start = m.virt & !(page - 1);
            self.add_fixed(start, (m.virt - start + m.len).next_multiple_of(page));
        }
        Ok(())
    }

    fn add_fixed(&mut self, start: u64, len: u64) {
        let at = self.fixed.partition_point(|f| f.0 <= start);
        // One too many only loses the look at its gaps.
        let _ = self.fixed.try_insert(at, (start, len));
    }

    /// `vm_reserve_area_early`.
    fn reserve_area(&mut self, b: &mut Boot<'_>, start: u64, len: u64) -> Result<(), BootError> {
        let (bytes, align) = static_vm(b);
        b.mb.set_caller("vm_reserve_area_early");
        b.alloc(bytes, align)?;
        self.add_fixed(start, len);
        Ok(())
    }

    /// `fill_pmd_gaps`: a section that stands alone in its pair keeps the other half from later mappings.
    fn fill_pmd_gaps(&mut self, b: &mut Boot<'_>) -> Result<(), BootError> {
        if b.machine.config.lpae {
            return Ok(());
        }
        let mut next = 0;
        for (start, len) in self.fixed.clone() {
            if start < next {
                continue;
            }
            let end = start + len;
            for (edge, gap) in [(start, start.saturating_sub(MIB)), (end, end)] {
                if edge % PMD == MIB && !test(&self.used, gap / MIB) {
                    self.reserve_area(b, gap, MIB)?;
                }
            }
            next = end.next_multiple_of(PMD);
        }
        Ok(())
    }
}

/// One mapping of an `iotable_init`.
#[derive(Clone, Copy)]
struct Mapping {
    virt: u64,
    phys: u64,
    len: u64,
    sections: bool,
}

impl From<&StaticMap> for Mapping {
    fn from(m: &StaticMap) -> Self {
        let virt = u64::from(m.virt);
        Self { virt, phys: virt, len: m.len.into(), sections: true }
    }
}

/// Where the linear map shows low memory; what lies below its start is shown at its start.
fn virt(b: &Boot<'_>, phys: PhysAddr) -> u64 {
    b.linear_map().virt(phys.max(b.memstart)).get()
}

/// `map_lowmem`: every bank up to where low memory ends, without the sections that hold the image.
///
/// The image's own sections (`map_kernel`: executable up to the end of the init text, then not) run from PHYS_OFFSET
/// to the section that holds its last byte and never need a table.
fn map_lowmem(b: &mut Boot<'_>, t: &mut Tables) -> Result<(), BootError> {
    let kernel = PhysRange::new(b.memstart, b.machine.image.end.align_up(t.section));
    let limit = b.high_memory;
    let mut i = 0;
    loop {
        let next = b.mb.mem_ranges().nth(i);
        let Some(bank) = next else { break };
        i += 1;
        let bank = PhysRange::new(bank.start, bank.end.min(limit));
        if bank.is_empty() || bank.start > kernel.start && bank.end < kernel.end {
            break;
        }
        let below = PhysRange::new(bank.start, bank.end.min(kernel.start));
        let above = PhysRange::new(bank.start.max(kernel.end), bank.end);
        for part in [below, above] {
            if part.start < part.end {
                let at = virt(b, part.start);
                t.map(b, at, part.start.get(), part.len(), true)?;
            }
        }
        if !below.is_empty() && !above.is_empty() {
            break;
        }
    }
    let (at, len) = (virt(b, kernel.start), kernel.len());
    t.map(b, at, kernel.start.get(), len, true)
}

/// `dma_contiguous_remap`: CMA areas in low memory are mapped by pages, so that their attributes can change.
fn dma_contiguous_remap(b: &mut Boot<'_>, t: &mut Tables) -> Result<(), BootError> {
    for i in 0..b.cma.len() {
        let area = b.cma[i].range;
        let low = PhysRange::new(area.start, area.end.min(b.high_memory));
        if low.start < low.end {
            let at = virt(b, low.start);
            t.iotable(b, &[Mapping { virt: at, phys: low.start.get(), len: low.len(), sections: false }])?;
        }
    }
    Ok(())
}

/// `devicemaps_init`: vectors, the device tree (in sections), the board's registers, the window for PCI I/O.
fn devicemaps_init(b: &mut Boot<'_>, t: &mut Tables, board: &Board) -> Result<(), BootError> {
    let page = b.page_bytes();
    let vectors = early_alloc(b, 2 * page)?.get();
    t.map(b, VECTORS, vectors, page, false)?;
    t.map(b, VECTORS + page, vectors + page, page, false)?;
    for call in board.static_maps {
        let maps: ArrayVec<Mapping, 16> = call.iter().take(16).map(Mapping::from).collect();
        t.iotable(b, &maps)?;
    }
    t.fill_pmd_gaps(b)?;
    if t.fixed.iter().any(|f| (f.0..f.0 + f.1).contains(&PCI_IO)) {
        return Ok(());
    }
    t.reserve_area(b, PCI_IO, PMD)
}
