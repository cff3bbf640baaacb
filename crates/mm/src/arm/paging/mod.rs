//! `paging_init`: the kernel's mappings, and the page tables that they take.
//!
//! A leaf table covers 2 MiB of virtual space, with both kinds of descriptors: without LPAE Linux pairs two of the
//! hardware's 1 MiB tables, and keeps its own bits of both in the same page. The level above is static. So the census
//! is a set of 2 MiB slots that have a table; next to it stands which 1 MiB entries are in use at all, because half a
//! pair left free must be kept from others. The tables themselves are built by [`crate::pgtable::arm`], if there is memory for
//! them.

mod devices;
mod memory;

use super::board::Board;
use crate::boot::Boot;
use crate::error::BootError;
use crate::pgtable::arm::{FIXADDR_START, MapType, PMD, Piece, clear_mapping, head, section_bytes};
use arrayvec::ArrayVec;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_kspace::vmalloc::{EarlyArea, VmFlags};

const MIB: u64 = 1 << 20;

/// The tables so far.
struct Tables {
    /// What the mappings that are being made belong to.
    step: &'static str,
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

fn unset(bits: &mut [u64], at: u64) {
    if let Some(w) = bits.get_mut((at / 64) as usize) {
        *w &= !(1 << (at % 64));
    }
}

/// Low memory, the image, vectors, static device mappings, the fixed and persistent kmaps and the zero page.
pub(super) fn paging_init(b: &mut Boot<'_>, board: &Board) -> Result<(), BootError> {
    let section = section_bytes(b.machine.config.lpae);
    let mut t = Tables { step: "map_lowmem", section, leaf: [0; 32], used: [0; 64], fixed: ArrayVec::new() };
    head::prepare_page_table(b)?;
    memory::map_lowmem(b, &mut t)?;
    let limit = b.high_memory;
    b.mb.set_current_limit(limit);
    memory::map_kernel(b, &mut t)?;
    memory::dma_contiguous_remap(b, &mut t)?;
    head::early_fixmap_shutdown(b)?;
    devices::devicemaps_init(b, &mut t, board)?;
    kmap_init(b, &mut t)?;
    devices::tcm_init(b, &mut t)?;
    b.zero_page = Some(early_alloc(b, b.page_bytes())?);
    Ok(())
}

/// `kmap_init`: tables for the persistent kmaps and the fixed mappings, still empty.
fn kmap_init(b: &mut Boot<'_>, t: &mut Tables) -> Result<(), BootError> {
    t.step = "kmap_init";
    if b.machine.config.highmem {
        // PKMAP_BASE lies right below the kernel.
        t.need_leaf(b, u64::from(b.machine.config.page_offset).saturating_sub(PMD))?;
    }
    t.need_leaf(b, FIXADDR_START)
}

/// `early_alloc`: aligned to its size.
fn early_alloc(b: &mut Boot<'_>, bytes: u64) -> Result<PhysAddr, BootError> {
    b.mb.set_caller("early_alloc");
    Ok(b.alloc(bytes, bytes)?)
}

/// A page for a table.
fn table(b: &mut Boot<'_>) -> Result<PhysAddr, BootError> {
    early_alloc(b, b.page_bytes())
}

/// `sizeof(struct static_vm)`: a `vm_struct` and two links.
fn static_vm(b: &Boot<'_>) -> (u64, u64) {
    if b.phys_addr_is_64bit() { (48, 8) } else { (40, 4) }
}

/// A mapping (`struct map_desc`).
#[derive(Clone, Copy)]
struct Mapping {
    virt: u64,
    phys: u64,
    len: u64,
    ty: MapType,
}

impl Tables {
    /// Whether the slot of `virt` has no leaf table yet. It has one from now on.
    fn new_leaf(&mut self, virt: u64) -> bool {
        let slot = virt / PMD;
        let new = !test(&self.leaf, slot);
        set(&mut self.leaf, slot);
        set(&mut self.used, 2 * slot);
        set(&mut self.used, 2 * slot + 1);
        new
    }

    /// A leaf table for the slot of `virt`, unless it has one (`early_pte_alloc`).
    fn need_leaf(&mut self, b: &mut Boot<'_>, virt: u64) -> Result<(), BootError> {
        self.check_no_section(b, virt)?;
        if self.new_leaf(virt) { b.arm_put_table(self.step, virt, &mut table) } else { Ok(()) }
    }

    /// `pmd_clear` of each slot from `start` to `end`, where there are no tables.
    fn clear_sections(&mut self, b: &Boot<'_>, start: u64, end: u64) -> Result<(), BootError> {
        for slot in start / PMD..end.div_ceil(PMD).min(2048) {
            if !test(&self.leaf, slot) {
                (2 * slot..2 * slot + 2).for_each(|mib| unset(&mut self.used, mib));
            }
        }
        clear_mapping(b, start, end)
    }

    /// Pages cannot be mapped where a section is: Linux stops there (`pmd_bad`).
    fn check_no_section(&self, b: &Boot<'_>, virt: u64) -> Result<(), BootError> {
        let slot = virt / PMD;
        if test(&self.leaf, slot) || !(test(&self.used, 2 * slot) || test(&self.used, 2 * slot + 1)) {
            return Ok(());
        }
        let low_end = b.linear_map().virt(b.high_memory);
        Err(BootError::Section { step: self.step, at: VirtAddr::new(virt), low_end })
    }

    /// `create_mapping`: within each slot sections if the type has them and everything is aligned, else pages. Slots of
    /// pages are mapped one by one: each takes its table when its turn comes.
    fn map(&mut self, b: &mut Boot<'_>, m: &Mapping) -> Result<(), BootError> {
        let page = b.page_bytes();
        let end = m.virt.saturating_add(m.len).next_multiple_of(page);
        let mut virt = m.virt & !(page - 1);
        let mut phys = m.phys & !(page - 1);
        while virt < end {
            let first = ((virt & !(PMD - 1)) + PMD).min(end);
            let sections = m.ty.sections() && (virt | first | phys) & (self.section - 1) == 0;
            let (next, counted) = if sections {
                // As many slots as follow in the same way.
                let next = (end & !(self.section - 1)).max(first);
                let next = if end & (self.section - 1) == 0 { next } else { (end & !(PMD - 1)).max(first) };
                (virt / MIB..next / MIB).for_each(|mib| set(&mut self.used, mib));
                (next, 0)
            } else {
                self.check_no_section(b, virt)?;
                (first, u64::from(self.new_leaf(virt)))
            };
            let piece = Piece { step: self.step, virt, phys, len: next - virt, ty: m.ty, sections };
            b.arm_put(&piece, counted, &mut table)?;
            phys += next - virt;
            virt = next;
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
            self.map(b, m)?;
            let page = b.page_bytes();
            let start = m.virt & !(page - 1);
            let len = (m.virt - start + m.len).next_multiple_of(page);
            self.add_fixed(b, (start, len), m.phys & !(page - 1), "iotable_init");
        }
        Ok(())
    }

    /// `add_static_vm_early`: an early area, of which nothing is mapped if `phys` is 0.
    ///
    /// One too many loses the look at its gaps and is no early area, and neither is one that overlaps another in some page: what is mapped
    /// serves all the same, only vmalloc does not adopt it. Linux's list has no end and is not looked through for overlaps, so neither ends a boot.
    fn add_fixed(&mut self, b: &mut Boot<'_>, (start, len): (u64, u64), phys: u64, caller: &'static str) {
        let at = self.fixed.partition_point(|f| f.0 <= start);
        let _ = self.fixed.try_insert(at, (start, len));
        let range = VirtRange::from_len(VirtAddr::new(start), len);
        let area = EarlyArea { range, phys: PhysAddr::new(phys), flags: VmFlags::IOREMAP, caller };
        let _ = b.early_areas.add(area);
    }

    /// `vm_reserve_area_early`.
    fn reserve_area(
        &mut self,
        b: &mut Boot<'_>,
        start: u64,
        len: u64,
        caller: &'static str,
    ) -> Result<(), BootError> {
        let (bytes, align) = static_vm(b);
        b.mb.set_caller("vm_reserve_area_early");
        b.alloc(bytes, align)?;
        self.add_fixed(b, (start, len), 0, caller);
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
                    self.reserve_area(b, gap, MIB, "pmd_empty_section_gap")?;
                }
            }
            next = end.next_multiple_of(PMD);
        }
        Ok(())
    }
}
