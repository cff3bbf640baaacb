//! What has fixed addresses, with each of its allocations failing in turn: no page, no area and no table is left behind, and nothing is half moved.

use super::fixed::{DEVICE, Spare, place};
use super::{Io, desc, on_every_kernel, phys};
use crate::world::PAGE;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_kspace::ioremap::{HandOverError, IoKind, PciIo};
use pagewright_kspace::vmalloc::VmFlags;
use pagewright_kspace::{EarlyIoremap, Kind, Layout};
use pagewright_pagetable::{Format, Level};
use pagewright_sim::mmu::Access;
use pagewright_sim::vmalloc::HostedVmalloc;
use pagewright_zone::figures::ZoneSource;

/// Free pages, and what is free of addresses, when nothing waits and no table is empty.
fn left<'a, F: Format>(m: &HostedVmalloc<'_, '_, '_, '_, '_, 'a, F>) -> (u64, u64) {
    m.on_cpu(0, |on| {
        m.vmalloc.give_all_back(on);
        m.vmalloc.release_tables(on);
    });
    for cpu in 0..m.pages.cpus() {
        m.pages.on_cpu(cpu, |cx| m.pages.allocator.drain_local_pages(cx));
    }
    let zones: &dyn ZoneSource = &m.pages.allocator;
    (zones.zones().map(|zone| zone.free).sum(), m.vmalloc.gaps().bytes)
}

#[test]
fn a_boards_table_is_mapped_as_a_whole_or_not_at_all_whichever_allocation_fails() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        io: &Io<'_, 'v, 'a, F>,
        arch: Arch,
        _: &Layout,
    ) {
        let maps = [(32 << 20, 0), (16 << 20, 1 << 20)]
            .map(|(below, offset)| desc(place(m, below), 64 << 10, DEVICE + offset, IoKind::Device));
        // Tables that reach beyond the region stay once they are made.
        m.on_cpu(0, |on| {
            for map in &maps {
                let area = m.vmalloc.add_vm_area(on, map.virt, map.phys, VmFlags::IOREMAP).unwrap();
                m.vmalloc.map_into(on, area.range(), map.phys, m.vmalloc.config().attr, Level::PTE).unwrap();
                m.vmalloc.remove(on, area.addr, VmFlags::IOREMAP).unwrap();
            }
        });
        let before = left(m);
        let mut failures = 0;
        for nth in 1..100 {
            m.pages.allocator.fail_nth(nth);
            let end = m.on_cpu(0, |on| io.iotable_init(on, &maps));
            m.pages.allocator.fail_nth(0);
            let is_mapped = |at| m.mmu.access(0, at, Access::READ).is_ok();
            if end.is_ok() {
                assert!(maps.iter().all(|map| is_mapped(map.virt.start) && is_mapped(map.virt.last())));
                break;
            }
            failures += 1;
            assert_eq!(left(m), before, "{arch:?} {nth}");
            assert!(!maps.iter().any(|map| is_mapped(map.virt.start) || is_mapped(map.virt.last())));
            // None of it is found as if it were mapped.
            let elsewhere = m.on_cpu(0, |on| io.ioremap(on, phys(DEVICE), 8)).unwrap();
            assert_ne!(elsewhere, maps[0].virt.start);
            m.on_cpu(0, |on| io.iounmap(on, elsewhere)).unwrap();
        }
        assert!(failures >= 2, "{arch:?}: a table for each map, {failures} failures");
    }
    on_every_kernel!(test);
}

#[test]
fn bridges_ports_leave_nothing_behind_whichever_allocation_fails() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        _: &Io<'_, 'v, 'a, F>,
        arch: Arch,
        layout: &Layout,
    ) {
        if arch != Arch::Arm {
            return;
        }
        let window = layout.get(Kind::PciIo).unwrap();
        let pci = m.on_cpu(0, |on| PciIo::new(on, &m.vmalloc, window, arch)).unwrap();
        let before = left(m);
        let mut failures = 0;
        for nth in 1..100 {
            m.pages.allocator.fail_nth(nth);
            let end = m.on_cpu(0, |on| pci.pci_remap_iospace(on, 0, 0x1_0000, phys(DEVICE)));
            m.pages.allocator.fail_nth(0);
            if let Ok(at) = end {
                assert_eq!(m.mmu.access(0, at, Access::WRITE).unwrap().phys, phys(DEVICE));
                break;
            }
            failures += 1;
            assert_eq!(left(m), before, "{nth}");
            let last = pci.port(0xffff).unwrap();
            assert!([window.start, last].into_iter().all(|at| m.mmu.access(0, at, Access::READ).is_err()));
        }
        assert!(failures >= 1);
    }
    on_every_kernel!(test);
}

/// What has moved has moved; what has not is where it was, and moves when it is tried again.
#[test]
fn an_early_mapping_moves_or_stays_whichever_allocation_fails() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        io: &Io<'_, 'v, 'a, F>,
        arch: Arch,
        layout: &Layout,
    ) {
        let flavour = Flavour::ALL.into_iter().find(|f| KernelConfig::debian(*f).arch == arch).unwrap();
        let fixmap = layout.fixmap().range(pagewright_kspace::Slot::Btmap).unwrap();
        let tables = m.vmalloc.cursor().tables();
        let mut fixed = tables.lock(VirtRange { start: fixmap.start, len: fixmap.len }).unwrap();
        let mut spare = Spare(0x1008_0000);
        let mut failures = 0;
        for nth in 1..100 {
            let before = left(m);
            let mut early = EarlyIoremap::new(layout.fixmap(), KernelConfig::debian(flavour));
            let first = early.early_ioremap(&mut fixed, phys(DEVICE), 8, &mut spare);
            // i386 without a no-execute bit has no attributes for early mappings here.
            let Ok(first) = first else { return };
            let second = early.early_ioremap(&mut fixed, phys(DEVICE + PAGE), 8, &mut spare).unwrap();
            let mut moved: Vec<(VirtAddr, VirtAddr)> = Vec::new();
            let mut try_once = |early: &mut EarlyIoremap<'_>| {
                m.on_cpu(0, |on| io.take_over(on, early, &mut fixed, &mut |old, new| moved.push((old, new))))
            };
            m.pages.allocator.fail_nth(nth);
            let end = try_once(&mut early);
            m.pages.allocator.fail_nth(0);
            let done = end.is_ok();
            if let Err(why) = end {
                failures += 1;
                assert!(matches!(why, HandOverError::Area(_)), "{why}");
                assert_eq!(early.areas().iter().flatten().count(), 2);
                for (at, device) in [(first, DEVICE), (second, DEVICE + PAGE)] {
                    assert_eq!(
                        m.mmu.access(0, at, Access::READ).unwrap().phys,
                        phys(device),
                        "{arch:?} {nth}"
                    );
                }
                assert_eq!(left(m), before);
                try_once(&mut early).unwrap();
            }
            assert_eq!(moved.iter().map(|m| m.0).collect::<Vec<_>>(), [first, second]);
            for (_, new) in moved {
                m.on_cpu(0, |on| io.iounmap(on, new)).unwrap();
            }
            assert_eq!(left(m), before);
            if done {
                break;
            }
        }
        assert!(failures >= 1, "{arch:?}");
    }
    on_every_kernel!(test);
}
