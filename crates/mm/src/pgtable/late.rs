//! Tables once memblock is gone: their pages come from the page allocator.

use super::{arm, arm64, i386, x86};
use crate::boot::Boot;
use crate::running::Running;
use pagewright_addr::{Order, PageShift, PhysAddr};
use pagewright_firmware::Arch;
use pagewright_pagetable::TableSource;
use pagewright_zone::ZoneKind;
use pagewright_zone::buddy::{Buddy, Request};

/// Single pages of the buddy allocator, from the highest zone that the kernel maps permanently.
struct BuddySource<'b, 'z, 's, 'a> {
    buddy: &'b mut Buddy<'z, 's, 'a>,
    page_shift: PageShift,
}

impl TableSource for BuddySource<'_, '_, '_, '_> {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        let request = Request::unmovable(Order::ZERO);
        for kind in [ZoneKind::Normal, ZoneKind::Dma32, ZoneKind::Dma] {
            for at in 0..self.buddy.zones().len() {
                let zone = &self.buddy.zones()[at];
                if zone.kind() != kind {
                    continue;
                }
                let Some(id) = self.buddy.find(zone.nid(), kind) else { continue };
                if let Ok(page) = self.buddy.alloc(id, request) {
                    // The table owns the frame from here on: a token that is dropped stays allocated.
                    return Some(self.buddy.map().pfn(page.start()).phys(self.page_shift));
                }
            }
        }
        None
    }

    // Splits keep what they took: no table is given back.
    fn free_table(&mut self, _: PhysAddr) {}
}

impl Running<'_, '_, '_> {
    /// Gives the kernel's mappings the permissions that they keep (`free_initmem`, `mark_readonly` and what comes before
    /// them), if the tables were built. What goes wrong is left in [`Boot::table_error`]: the kernel runs on.
    pub(crate) fn finish_tables(&mut self, boot: &mut Boot<'_>) {
        if boot.pgtable.is_none() {
            return;
        }
        let page_shift = boot.machine.config.page_shift;
        let mut source = BuddySource { buddy: &mut self.buddy, page_shift };
        if let (Arch::X86_64, Some(tables)) = (boot.machine.arch, boot.pgtable) {
            match x86::preallocate_vmalloc(&tables, boot.machine, &mut source) {
                Ok(n) => boot.table_counts.add("preallocate_vmalloc_pages", n, Some(n)),
                Err(e) => boot.table_error = Some(e),
            }
        }
        let done = match boot.machine.arch {
            Arch::X86_64 => x86::finish::finish(boot, &mut source),
            Arch::Arm => arm::finish::finish(boot).map(|()| 0),
            Arch::Arm64 => arm64::finish::finish(boot, &mut source),
            Arch::I386 => i386::finish::finish(boot, &mut source),
        };
        match done {
            Ok(tables) => {
                // Splitting takes tables on x86; arm64 has the trampoline's own.
                let arm64 = boot.machine.arch == Arch::Arm64;
                let step = if arm64 { "map_entry_trampoline" } else { "mark_readonly" };
                boot.table_counts.add(step, tables, Some(tables));
            }
            Err(e) => boot.table_error = Some(e),
        }
    }
}
