//! Tables once memblock is gone: their pages come from the page allocator.

use super::{arm, arm64, i386, x86};
use crate::boot::Boot;
use crate::built;
use crate::running::Running;
use arrayvec::ArrayVec;
use core::iter::repeat;
use pagewright_addr::{Order, PageShift, PhysAddr};
use pagewright_firmware::Arch;
use pagewright_page::Frames;
use pagewright_pagetable::TableSource;
use pagewright_zone::ZoneKind;
use pagewright_zone::buddy::{Buddy, BuddyZone, Request};

/// The most tables that one operation on a tree asks for before it gives back those that did not suffice.
const MOST_AT_ONCE: usize = 8;

/// Single pages of the buddy allocator, from the highest zone that the kernel maps permanently.
struct BuddySource<'b, 'z, 's, 'a> {
    buddy: &'b mut Buddy<'z, 's, 'a>,
    page_shift: PageShift,
    /// The pages given last, which may come back. One that leaves this list belongs to its table for good: a token that
    /// is dropped stays allocated.
    given: ArrayVec<Frames<'a>, MOST_AT_ONCE>,
    /// Pages given and not taken back.
    taken: u64,
}

impl TableSource for BuddySource<'_, '_, '_, '_> {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        let nodes = self.buddy.zones();
        let zones: ArrayVec<_, 64> = [ZoneKind::Normal, ZoneKind::Dma32, ZoneKind::Dma]
            .into_iter()
            .flat_map(|kind| {
                nodes.iter().filter(move |z| z.kind() == kind).map(BuddyZone::nid).zip(repeat(kind))
            })
            .filter_map(|(nid, kind)| self.buddy.find(nid, kind))
            .take(64)
            .collect();
        let page = self.buddy.alloc_from(zones, Request::unmovable(Order::ZERO)).ok()?;
        let at = self.buddy.map().pfn(page.start()).phys(self.page_shift);
        if self.given.is_full() {
            drop(self.given.remove(0));
        }
        self.given.push(page);
        self.taken += 1;
        Some(at)
    }

    fn free_table(&mut self, page: PhysAddr) {
        let pfn = |f: &Frames<'_>| self.buddy.map().pfn(f.start()).phys(self.page_shift);
        if let Some(n) = self.given.iter().position(|f| pfn(f) == page) {
            let frames = self.given.remove(n);
            self.buddy.free(frames);
            self.taken -= 1;
        }
    }
}

impl Running<'_, '_, '_> {
    /// Gives the kernel's mappings the permissions that they keep (`free_initmem`, `mark_readonly` and what comes before
    /// them), if the tables were built. What goes wrong is left in [`Boot::table_error`]: the
    /// kernel runs on with the mapping as it was before the call that found no page for a table.
    pub(crate) fn finish_tables(&mut self, boot: &mut Boot<'_>) {
        if boot.pgtable.is_none() {
            return;
        }
        let page_shift = boot.machine.config.page_shift;
        let mut source = BuddySource { buddy: &mut self.buddy, page_shift, given: ArrayVec::new(), taken: 0 };
        if let (true, Arch::X86_64, Some(tables)) = (built::X86_64, boot.machine.arch, boot.pgtable) {
            let done = x86::preallocate_vmalloc(&tables, boot.machine, &mut source);
            boot.table_counts.add("preallocate_vmalloc_pages", source.taken, Some(source.taken));
            boot.table_error = done.err();
        }
        let before = source.taken;
        let done = match boot.machine.arch {
            Arch::X86_64 if built::X86_64 => x86::finish::finish(boot, &mut source),
            Arch::Arm if built::ARM => arm::finish::finish(boot),
            Arch::Arm64 if built::ARM64 => arm64::finish::finish(boot, &mut source),
            Arch::I386 if built::I386 => i386::finish::finish(boot, &mut source),
            // What was not built in has not booted.
            _ => Ok(()),
        };
        // Splitting takes tables on x86; arm64 has the trampoline's own.
        let arm64 = boot.machine.arch == Arch::Arm64;
        let step = if arm64 { "map_entry_trampoline" } else { "mark_readonly" };
        let tables = source.taken - before;
        boot.table_counts.add(step, tables, Some(tables));
        boot.table_error = boot.table_error.or(done.err());
    }
}
