//! Areas of blocks, below 4 GiB, for users; early ones; accesses that are wrong.

use super::*;
use pagewright_addr::PhysAddr;
use pagewright_kspace::vmalloc::{BadAccess, EarlyArea, EarlyAreas, EarlyError, RemapError, VmFlags};
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_pagetable::{Level, format::arm64::Arm64Page4kVa48};
use pagewright_sim::vmalloc::with_vmalloc;
use pagewright_zone::Gfp;

const HUGE: u64 = 2 * MIB;

#[test]
fn large_areas_are_mapped_by_blocks_where_there_are_some() {
    let machine = VmallocMachine { config: lowest_first, ..machine(FormatKind::Arm64Page4kVa48, 16, 2) };
    with_vmalloc(&machine, Arm64Page4kVa48::default(), |m| {
        let before = buddyinfo_with_borders(m);
        m.on_cpu(0, |on| {
            let at = m.vmalloc.vmalloc_huge(on, HUGE + 5, Gfp::GFP_KERNEL | Gfp::ZERO).unwrap();
            assert!(at.is_aligned(HUGE));
            let area = m.vmalloc.find_vm_area(at).unwrap();
            assert_eq!((area.pages, area.page_order.get(), area.usable), (1024, 9, 2 * HUGE));
            assert_eq!(m.vmalloc.nr_pages(), 1024);
            for n in 0..2 {
                let (leaf, level, _) = m.vmalloc.cursor().tables().leaf(va(at.get() + n * HUGE)).unwrap();
                assert_eq!(level, Level::PMD);
                assert!(leaf.phys.is_aligned(HUGE));
            }
            let border = va(at.get() + HUGE - 4);
            m.mmu.store(0, border, false, b"overlong").unwrap();
            let mut seen = [0; 8];
            m.mmu.load(1, border, false, &mut seen).unwrap();
            assert_eq!(&seen, b"overlong");
            assert!(m.mmu.load(1, va(at.get() + 2 * HUGE), false, &mut seen).is_err(), "the guard page");
            // Less than a block is mapped by pages, and so is what finds no blocks.
            let small = m.vmalloc.vmalloc_huge(on, HUGE - PAGE, Gfp::GFP_KERNEL).unwrap();
            assert_eq!(m.vmalloc.find_vm_area(small).unwrap().page_order, Order::ZERO);
            m.vmalloc.vfree(on, small).unwrap();
            m.vmalloc.purge_vmap_area_lazy(on);
            let mut pages: Vec<_> = std::iter::from_fn(|| {
                on.allocator.get_free_pages(on.context, Gfp::GFP_KERNEL, Order::ZERO).ok()
            })
            .collect();
            // One of two: half is free and nothing of it is more than a page.
            pages.sort();
            let (free, held): (Vec<_>, Vec<_>) = pages.into_iter().partition(|pfn| pfn.get() % 2 == 0);
            for pfn in free {
                on.allocator.free_pages_at(on.context, pfn, Order::ZERO).unwrap();
            }
            let scattered = m.vmalloc.vmalloc_huge(on, HUGE, Gfp::GFP_KERNEL).unwrap();
            assert_eq!(m.vmalloc.find_vm_area(scattered).unwrap().page_order, Order::ZERO);
            for pfn in held {
                on.allocator.free_pages_at(on.context, pfn, Order::ZERO).unwrap();
            }
            m.vmalloc.vfree(on, scattered).unwrap();
            m.vmalloc.vfree(on, at).unwrap();
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn pages_for_short_addresses_lie_below_4_gib() {
    let mut machine = machine(FormatKind::X86Level4, 0, 1);
    machine.plain.ram = vec![(node(0), 0xf_f000, 4096), (node(0), 0x10_0000 + 4096, 8192)];
    machine.plain.dma32_end = 0x10_0000;
    with_vmalloc(&machine, X86Level4::default(), |m| {
        m.on_cpu(0, |on| {
            let pfn = |at: VirtAddr, n: u64| m.vmalloc.vmalloc_to_pfn(va(at.get() + n * PAGE)).unwrap().get();
            let high = m.vmalloc.vmalloc(on, 20 * PAGE).unwrap();
            let low = m.vmalloc.vmalloc_32(on, 20 * PAGE).unwrap();
            let shared = m.vmalloc.vmalloc_32_user(on, 20 * PAGE).unwrap();
            assert!((0..20).all(|n| pfn(high, n) >= 0x10_0000));
            assert!((0..20).all(|n| pfn(low, n) < 0x10_0000 && pfn(shared, n) < 0x10_0000));
        });
    });
}

#[test]
fn only_areas_for_users_are_mapped_to_users() {
    let machine = VmallocMachine { config: |c| c.shmlba = 4 * PAGE, ..machine(FormatKind::X86Level4, 16, 1) };
    with_vmalloc(&machine, X86Level4::default(), |m| {
        m.on_cpu(0, |on| {
            let own = m.vmalloc.vmalloc(on, 3 * PAGE).unwrap();
            let shared = m.vmalloc.vmalloc_user(on, 6 * PAGE).unwrap();
            assert!(shared.is_aligned(4 * PAGE), "where an aliasing cache wants it");
            let mut bytes = [1; 64];
            m.mmu.load(0, va(shared.get() + 5 * PAGE), false, &mut bytes).unwrap();
            assert_eq!(bytes, [0; 64]);
            let mut told = Vec::new();
            m.vmalloc.remap_vmalloc_range(shared, 2, 3 * PAGE, &mut |at, pfn| told.push((at, pfn))).unwrap();
            let expected: Vec<_> = (0..3)
                .map(|n| (n * PAGE, m.vmalloc.vmalloc_to_pfn(va(shared.get() + (n + 2) * PAGE)).unwrap()))
                .collect();
            assert_eq!(told, expected);
            let remap = |at, pgoff, pages: u64| {
                m.vmalloc
                    .remap_vmalloc_range(at, pgoff, pages * PAGE, &mut |_, _| panic!("told"))
                    .unwrap_err()
            };
            assert!(matches!(remap(shared, 4, 3), RemapError::Beyond { .. }));
            assert!(matches!(
                remap(shared, u64::MAX / PAGE, 1),
                RemapError::Beyond { .. } | RemapError::Unaligned(_)
            ));
            assert_eq!(remap(own, 0, 1), RemapError::NotForUsers(VmFlags::ALLOC));
            assert_eq!(remap(va(PAGE), 0, 1), RemapError::NoArea(va(PAGE)));
            assert!(matches!(remap(shared, 0, 0), RemapError::Unaligned(_)));
        });
    });
}

#[test]
fn a_wrong_access_is_explained() {
    let machine = VmallocMachine { config: lowest_first, ..machine(FormatKind::X86Level4, 16, 1) };
    with_vmalloc(&machine, X86Level4::default(), |m| {
        m.on_cpu(0, |on| {
            let at = m.vmalloc.vmalloc(on, 5000).unwrap();
            let check = |offset, len| m.vmalloc.check_access(va(at.get() + offset), len);
            assert_eq!(check(0, 5000), Ok(()));
            let Err(BadAccess::OutOfBounds { at: first, area }) = check(4990, 11) else { panic!() };
            assert_eq!((first.get() - at.get(), area.requested), (5000, 5000));
            assert!(matches!(check(2 * PAGE, 1), Err(BadAccess::OutOfBounds { .. })), "the guard page");
            let told = check(5003, 1).unwrap_err().to_string();
            assert!(told.starts_with("vmalloc-out-of-bounds at 0xffffc9000000138b, 5003 bytes into an area of 5000, allocated by"), "{told}");
            m.vmalloc.vfree(on, at).unwrap();
            let told = check(8, 8).unwrap_err().to_string();
            assert!(told.starts_with("use-after-free at 0xffffc90000000008") && told.contains("huge.rs:"), "{told}");
            m.vmalloc.purge_vmap_area_lazy(on);
            assert_eq!(check(8, 8), Err(BadAccess::Wild { at: va(at.get() + 8) }));
        });
    });
}

#[test]
fn early_areas_are_taken_over() {
    let machine = VmallocMachine { config: lowest_first, ..machine(FormatKind::X86Level4, 16, 1) };
    let start = machine.range.start.get();
    let area = |at: u64, pages: u64| EarlyArea {
        range: VirtRange::from_len(va(start + at * PAGE), pages * PAGE),
        phys: PhysAddr::new(0x1000_0000),
        flags: VmFlags::IOREMAP,
        caller: "",
    };
    let mut early = EarlyAreas::new();
    early.add(area(8, 2)).unwrap();
    early.add(area(2, 3)).unwrap();
    assert_eq!(early.add(area(4, 1)), Err(EarlyError::Overlap(area(2, 3))));
    assert_eq!(early.add(area(7, 2)), Err(EarlyError::Overlap(area(8, 2))));
    // The lowest places that are left: behind 5, at 0, behind all.
    let mut register = |pages: u64, align: u64| {
        let at = early.register(machine.range, pages * PAGE, align * PAGE, VmFlags::ALLOC).unwrap();
        (at.get() - start) / PAGE
    };
    assert_eq!([register(3, 1), register(2, 1), register(4, 4)], [5, 0, 12]);
    let outside = EarlyArea { range: VirtRange::from_len(va(PAGE), PAGE), ..area(0, 1) };
    early.add(outside).unwrap();
    assert!(early.iter().map(|area| area.range.start).is_sorted());
    let small = VirtRange::from_len(va(start), 3 * PAGE);
    let no_room = early.register(small, 2 * PAGE, PAGE, VmFlags::ALLOC);
    assert_eq!(no_room, Err(EarlyError::NoRoom { size: 2 * PAGE, range: small, largest: 0 }));
    // What comes to nothing leaves its place to the next one.
    assert_eq!(early.remove(va(start + PAGE)), None);
    let removed = early.remove(va(start)).unwrap();
    assert_eq!((removed.range.len, early.remove(va(start))), (2 * PAGE, None));
    assert_eq!(early.register(machine.range, 2 * PAGE, PAGE, VmFlags::ALLOC), Ok(va(start)));
    with_vmalloc(&machine, X86Level4::default(), |m| {
        m.on_cpu(0, |on| {
            assert_eq!(m.vmalloc.adopt(on, &early), Ok(5));
            let found = m.vmalloc.find_vm_area(va(start + 9 * PAGE)).unwrap();
            assert_eq!((found.range(), found.phys), (area(8, 2).range, area(8, 2).phys));
            let at = m.vmalloc.vmalloc(on, PAGE).unwrap();
            assert_eq!((at.get() - start) / PAGE, 10);
            assert!(m.vmalloc.adopt(on, &early).is_err(), "they are there");
        });
        assert_eq!(m.vmalloc.vmalloc_to_pfn(va(start)), None);
    });
}
