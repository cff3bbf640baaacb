//! What is refused or left as it was where an area cannot be taken apart, and what holds while other CPUs free.

use super::*;
use pagewright_addr::PhysAddr;
use pagewright_kspace::vmalloc::{
    EarlyArea, EarlyAreas, PhysMapping, VfreeError, VmFlags, VmRequest, VmallocError,
};

use pagewright_pagetable::format::x86::X86Level4;
use pagewright_pagetable::{Level, MapOptions, TableSource, UnmapError};
use pagewright_sim::vmalloc::{kernel_data, with_vmalloc};
use pagewright_zone::Gfp;

/// Lowest first, and nothing is flushed unless asked for.
fn plain(mib: u64) -> VmallocMachine {
    VmallocMachine { config: lowest_first, ..machine(FormatKind::X86Level4, mib, 2) }
}

#[test]
fn areas_without_pages_of_their_own_are_not_called_vmallocs() {
    with_vmalloc(&plain(16), X86Level4::default(), |m| {
        let attr = kernel_data(&X86Level4::default());
        m.on_cpu(0, |on| {
            let page = on.allocator.get_zeroed_page(on.context, Gfp::GFP_KERNEL).unwrap();
            for wrong in [VmFlags::ALLOC, VmFlags::MAP_PUT_PAGES] {
                let refused = VmallocError::Flags(wrong);
                assert_eq!(m.vmalloc.vmap(on, &[page], wrong, attr), Err(refused));
                assert_eq!(m.vmalloc.get_vm_area(on, PAGE, 1, None, wrong), Err(refused));
                let io =
                    PhysMapping { flags: wrong, ..PhysMapping::io(PhysAddr::new(0xfed0_0000), PAGE, attr) };
                assert_eq!(m.vmalloc.map_phys(on, &io), Err(refused));
            }
            let request = VmRequest::new(PAGE).with_flags(VmFlags::MAP_PUT_PAGES);
            assert_eq!(
                m.vmalloc.vmalloc_request(on, &request),
                Err(VmallocError::Flags(VmFlags::MAP_PUT_PAGES))
            );
            // An early area of vmalloc's kind goes without pages being counted off.
            let range = VirtRange { len: PAGE, ..m.vmalloc.range() };
            m.vmalloc.add_vm_area(on, range, PhysAddr::ZERO, VmFlags::ALLOC).unwrap();
            m.vmalloc.vfree(on, range.start).unwrap();
            assert_eq!(m.vmalloc.nr_pages(), 0);
            on.allocator.free_pages_at(on.context, page, Order::ZERO).unwrap();
        });
    });
}

#[test]
fn an_area_that_cannot_be_unmapped_stays_in_use() {
    with_vmalloc(&plain(16), X86Level4::default(), |m| {
        let attr = kernel_data(&X86Level4::default());
        let start = m.vmalloc.range().start;
        let block = VirtRange { start, len: 2 * MIB };
        m.on_cpu(0, |on| {
            // A neighbour has the upper tables made that the block needs.
            let within = Some(VirtRange { start: va(start.get() + 2 * MIB), len: 2 * MIB });
            m.vmalloc.vmalloc_request(on, &VmRequest { within, ..VmRequest::new(PAGE) }).unwrap();
            // As the boot may have mapped: by a block that reaches beyond what is called an area.
            let options = MapOptions { max_leaf: Level::PMD, ..MapOptions::PAGES };
            let mut tables = NoTables;
            let mut part = m.vmalloc.cursor().apart(block).unwrap();
            part.map(block, PhysAddr::new(2 * MIB), attr, &options, &mut tables).unwrap();
            drop(part);
            let area = VirtRange { start, len: 3 * PAGE };
            m.vmalloc.add_vm_area(on, area, PhysAddr::new(2 * MIB), VmFlags::IOREMAP).unwrap();
            let refused = m.vmalloc.vunmap(on, start);
            assert!(matches!(refused, Err(VfreeError::Tables(UnmapError::SplitsLeaf { .. }))), "{refused:?}");
            assert_eq!(m.vmalloc.find_vm_area(start).unwrap().range(), area);
            assert_eq!((m.vmalloc.validate(), m.vmalloc.lazy_pages()), (Ok(()), 0));
            assert_eq!(m.vmalloc.vunmap(on, start), refused, "and may be tried again");
        });
    });
}

/// Nothing but what is there.
struct NoTables;

impl TableSource for NoTables {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        None
    }

    fn free_table(&mut self, page: PhysAddr) {
        panic!("{page:?} is not to go");
    }
}

#[test]
fn early_areas_that_lie_partly_in_the_region_are_refused() {
    with_vmalloc(&plain(16), X86Level4::default(), |m| {
        let start = m.vmalloc.range().start.get();
        let area = |at, pages| EarlyArea {
            range: VirtRange::from_len(va(at), pages * PAGE),
            phys: PhysAddr::ZERO,
            flags: VmFlags::MAP,
        };
        let mut early = EarlyAreas::new();
        early.add(area(start - PAGE, 2)).unwrap();
        early.add(area(start + 8 * PAGE, 2)).unwrap();
        m.on_cpu(0, |on| {
            let refused = UnmapError::OutsideCursor(area(start - PAGE, 2).range);
            assert_eq!(m.vmalloc.adopt(on, &early), Err(VmallocError::Tables(refused)));
            assert_eq!(m.vmalloc.find_vm_area(va(start + 8 * PAGE)), None, "none was taken");
        });
    });
}
