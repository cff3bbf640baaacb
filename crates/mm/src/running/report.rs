//! The line in which the kernel says what memory it has (`mem_init_print_info`).

use crate::boot::{Boot, info};
use pagewright_addr::PfnRange;
use pagewright_firmware::Arch;
use pagewright_memblock::Flags;

/// `mem_init_print_info`.
pub(super) fn memory_line(boot: &mut Boot<'_>, total: u64, available: u64) {
    let shift = boot.machine.config.page_shift.get();
    let kib = |pages: u64| pages << (shift - 10);
    let bytes = |from: pagewright_addr::PhysAddr, to: pagewright_addr::PhysAddr| {
        to.get().saturating_sub(from.get()) >> 10
    };
    let Some(layout) = &boot.layout else { return };
    let present: u64 = layout.nodes().iter().map(|n| n.present).sum();
    let image = &boot.machine.image;
    let high: u64 = boot.high_pages();
    let available = available.saturating_sub(vmalloc_tables(boot));
    let reserved = present.saturating_sub(total).saturating_sub(boot.total_cma_pages);
    let highmem = Highmem(boot.machine.config.highmem.then_some(kib(high)));
    info!(
        boot,
        "Memory: {}K/{}K available ({}K kernel code, {}K rwdata, {}K rodata, {}K init, {}K bss, {}K reserved, {}K cma-reserved{highmem})",
        kib(available),
        kib(present),
        bytes(image.text_start, image.text_end),
        bytes(image.data_start, image.data_end),
        bytes(image.rodata_start, image.rodata_end),
        bytes(image.init_begin, image.init_end),
        bytes(image.bss_start, image.bss_end),
        kib(reserved),
        kib(boot.total_cma_pages),
    );
}

/// Pages that x86_64 takes from the buddy before it prints the line: the upper page tables of all vmalloc space
/// (`preallocate_vmalloc_pages`), one for each entry of the top table: 32 TiB by 512 GiB, or 12800 TiB by 256 TiB.
fn vmalloc_tables(boot: &Boot<'_>) -> u64 {
    match (boot.machine.arch, boot.machine.cpus.la57) {
        (Arch::X86_64, false) => 64,
        (Arch::X86_64, true) => 50,
        _ => 0,
    }
}

struct Highmem(Option<u64>);

impl core::fmt::Display for Highmem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(kib) => write!(f, ", {kib}K highmem"),
            None => Ok(()),
        }
    }
}

impl Boot<'_> {
    /// Pages of free high memory (`totalhigh_pages` right after `mem_init`).
    fn high_pages(&self) -> u64 {
        let shift = self.machine.config.page_shift;
        let high = self.high_memory.pfn(shift);
        let above = |r: PfnRange| r.end.get().saturating_sub(r.start.max(high).get());
        self.mb.free_ranges(None, Flags::empty()).map(|(r, _)| above(r.frames_inside(shift))).sum()
    }
}
