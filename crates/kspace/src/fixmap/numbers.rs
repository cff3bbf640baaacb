//! Which slots a kernel has, and their numbers: Linux 6.1's order.

use super::{Btmaps, FixedIndex, Fixmap, FixmapError, Group, MAX_GROUPS, Slot};
use crate::layout::{Facts, KIB, MIB, arm, arm64, x86_64};
use arrayvec::ArrayVec;
use pagewright_addr::VirtAddr;
use pagewright_firmware::Arch;
use pagewright_firmware::config::KernelConfig;

/// KM_MAX_IDX: short kmaps that one CPU may hold; with debugging each has a guard.
const fn km_max_idx(c: &KernelConfig) -> u32 {
    if c.debug_kmap_local { 33 } else { 16 }
}

/// The enumeration as it grows.
struct Count {
    groups: ArrayVec<Group, MAX_GROUPS>,
    next: u32,
    permanent: u32,
}

impl Count {
    const fn new(first: u32) -> Self {
        Self { groups: ArrayVec::new_const(), next: first, permanent: 0 }
    }

    fn slots(&mut self, slot: Slot, count: u32) {
        let permanent = self.permanent == 0;
        // No architecture has more groups than there is room for.
        let _ = self.groups.try_push(Group { slot, first: FixedIndex(self.next), count, permanent });
        self.next = self.next.saturating_add(count);
    }

    fn slot_if(&mut self, there: bool, slot: Slot) {
        if there {
            self.slots(slot, 1);
        }
    }

    fn end_of_permanent(&mut self) {
        self.permanent = self.next;
    }

    /// Early_ioremap's pages from number `end` (FIX_BTMAP_END) on.
    fn btmaps(&mut self, end: u32, areas: u32, pages: u32) -> Btmaps {
        self.next = end;
        self.slots(Slot::Btmap, areas * pages);
        Btmaps { begin: FixedIndex(self.next - 1), areas, pages }
    }
}

pub(super) fn fixmap(f: &Facts) -> Result<Fixmap, FixmapError> {
    match f.config.arch {
        Arch::Arm => arm(f),
        Arch::Arm64 => arm64(f),
        Arch::I386 | Arch::X86_64 => x86(f),
    }
}

/// Makes a fixmap of what was counted, if it fits above `floor`.
fn done(
    f: &Facts,
    count: Count,
    top: u64,
    floor: u64,
    btmaps: Btmaps,
    static_tables: u32,
) -> Result<Fixmap, FixmapError> {
    let page_shift = f.config.page_shift;
    let room = top.checked_sub(floor).map_or(0, |bytes| bytes / page_shift.bytes() + 1);
    if u64::from(count.next) > room {
        return Err(FixmapError::NoRoom { slots: count.next.into(), room });
    }
    Ok(Fixmap {
        top: VirtAddr::new(top),
        page_shift,
        start: None,
        permanent: count.permanent,
        end: count.next,
        groups: count.groups,
        btmaps,
        static_tables,
        pmd_bytes: 1 << f.config.pmd_shift(),
    })
}

/// arm: early_ioremap's pages have the same addresses as the kmaps, which come into use when it has gone.
fn arm(f: &Facts) -> Result<Fixmap, FixmapError> {
    let mut n = Count::new(0);
    n.slots(Slot::EarlyconMemBase, 1);
    n.end_of_permanent();
    let temporary = n.next;
    n.slots(Slot::Kmap, km_max_idx(&f.config).saturating_mul(f.config.nr_cpus));
    n.slots(Slot::TextPoke0, 1);
    n.slots(Slot::TextPoke1, 1);
    let end_of_fixmap = n.next;
    let btmaps = n.btmaps(temporary, 7, 32);
    n.next = n.next.max(end_of_fixmap);
    let (start, end) = arm::fixaddr(f.version);
    let mut fixmap = done(f, n, end - f.config.page_shift.bytes(), start, btmaps, 1)?;
    fixmap.start = Some(VirtAddr::new(start));
    Ok(fixmap)
}

/// arm64: the device tree's window first, so that it ends at a multiple of 2 MiB.
fn arm64(f: &Facts) -> Result<Fixmap, FixmapError> {
    let c = &f.config;
    let page = c.page_shift.bytes();
    let mut n = Count::new(0);
    n.slots(Slot::Hole, 1);
    // MAX_FDT_SIZE and as much again, since a tree may begin anywhere in a block.
    n.slots(Slot::Fdt, (4 * MIB / page) as u32);
    n.slots(Slot::EarlyconMemBase, 1);
    n.slots(Slot::TextPoke0, 1);
    if c.acpi_apei_ghes {
        n.slots(Slot::ApeiGhesIrq, 1);
        n.slots(Slot::ApeiGhesSea, 1);
        n.slot_if(c.arm_sde_interface, Slot::ApeiGhesSdeiNormal);
        n.slot_if(c.arm_sde_interface, Slot::ApeiGhesSdeiCritical);
    }
    if c.page_table_isolation {
        n.slot_if(c.relocatable, Slot::EntryTrampText4);
        n.slots(Slot::EntryTrampText3, 1);
        n.slots(Slot::EntryTrampText2, 1);
        n.slots(Slot::EntryTrampText1, 1);
    }
    n.end_of_permanent();
    let btmaps = n.btmaps(n.next, 7, (256 * KIB / page) as u32);
    n.slots(Slot::Pte, 1);
    n.slots(Slot::Pmd, 1);
    n.slots(Slot::Pud, 1);
    n.slots(Slot::Pgd, 1);
    // vmalloc space ends far below.
    done(f, n, arm64::anchors(f).fixaddr_top, arm64::anchors(f).fixaddr_top - 16 * MIB, btmaps, 1)
}

/// x86: early_ioremap's pages are moved into one table of PTEs.
fn x86(f: &Facts) -> Result<Fixmap, FixmapError> {
    const PAGE: u64 = 4096;
    let c = &f.config;
    let wide = c.arch == Arch::X86_64;
    // 64-bit: the last page of the 2 MiB with the vsyscall page. 32-bit: the page before the last one, lower with `reservetop=`.
    let top = if wide {
        x86_64::VSYSCALL + 2 * MIB - PAGE
    } else {
        let pmd = 1u64 << c.pmd_shift();
        ((1u64 << 32) - f.reservetop.min(1 << 30)) / pmd * pmd - PAGE
    };
    let mut n = Count::new(0);
    if !wide {
        n.slots(Slot::Hole, 1);
    } else if c.vsyscall_emulation {
        n.next = ((top - x86_64::VSYSCALL) / PAGE) as u32;
        n.slots(Slot::VsyscallPage, 1);
    }
    n.slots(Slot::DbgpBase, 1);
    n.slots(Slot::EarlyconMemBase, 1);
    n.slot_if(c.ohci1394_dma_init, Slot::Ohci1394Base);
    n.slots(Slot::ApicBase, 1);
    // MAX_IO_APICS.
    n.slots(Slot::IoApicBase, if wide { 128 } else { 64 });
    if c.highmem {
        n.slots(Slot::Kmap, km_max_idx(c).saturating_mul(c.nr_cpus));
        n.slot_if(c.pci_mmconfig, Slot::PcieMcfg);
    }
    n.slot_if(wide && c.paravirt_xxl, Slot::ParavirtBootmap);
    n.slot_if(c.acpi_apei_ghes, Slot::ApeiGhesIrq);
    n.slot_if(c.acpi_apei_ghes, Slot::ApeiGhesNmi);
    n.end_of_permanent();
    let (areas, pages) = (8, 64);
    let total = areas * pages;
    let entries = 1u32 << (c.pmd_shift() - 12);
    let end = n.next;
    // From one table into the next: then they begin at the next multiple of their number.
    let crosses = (end ^ (end + total - 1)) & entries.wrapping_neg() != 0;
    let btmaps = n.btmaps(if crosses { end + total - (end & (total - 1)) } else { end }, areas, pages);
    n.slot_if(!wide, Slot::WpTest);
    n.slot_if(wide && c.intel_txt, Slot::TbootBase);
    let static_tables = if !wide || !f.version.since(4, 19) { 1 } else { 2 };
    // Modules end 16 MiB below the last address; i386 keeps room for the entry areas and some low memory.
    let floor = if wide { 0xffff_ffff_ff00_0000 } else { u64::from(c.page_offset) + 64 * MIB };
    done(f, n, top, floor, btmaps, static_tables)
}
