//! What is mapped where and how, and what is refused.

use super::{BELOW, Io, MORE, RAM, on_every_kernel, phys};
use crate::world::PAGE;
use pagewright_addr::VirtAddr;
use pagewright_firmware::Arch;
use pagewright_kspace::Layout;
use pagewright_kspace::ioremap::{IoKind, IoremapError};
use pagewright_pagetable::Format;
use pagewright_sim::mmu::{Access, AccessError, FaultKind, MemoryKind};
use pagewright_sim::vmalloc::HostedVmalloc;

/// Where a device is.
const DEVICE: u64 = 0xe000_0000;

fn memory(kind: IoKind, arch: Arch) -> Option<MemoryKind> {
    let x86 = matches!(arch, Arch::X86_64 | Arch::I386);
    match kind {
        IoKind::Device if x86 => Some(MemoryKind::UncachedMinus),
        IoKind::WriteThrough if x86 => Some(MemoryKind::WriteThrough),
        IoKind::Device | IoKind::WriteThrough => Some(MemoryKind::Device),
        IoKind::WriteCombine => Some(MemoryKind::WriteCombine),
        IoKind::Cached => Some(MemoryKind::WriteBack),
        IoKind::NonPosted => (arch == Arch::Arm64).then_some(MemoryKind::StronglyOrdered),
        IoKind::Uncached => x86.then_some(MemoryKind::StronglyOrdered),
    }
}

#[test]
fn each_kind_has_its_memory_type_and_every_byte_its_place() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        io: &Io<'_, 'v, 'a, F>,
        arch: Arch,
        _: &Layout,
    ) {
        m.on_cpu(0, |on| {
            for kind in IoKind::ALL {
                let at = io.ioremap_kind(on, phys(DEVICE + 0x10), 2 * PAGE, kind);
                let Some(expected) = memory(kind, arch) else {
                    assert_eq!(at, Err(IoremapError::Kind(kind)));
                    continue;
                };
                let at = at.unwrap();
                assert_eq!(at.get() % PAGE, 0x10);
                for offset in [0, PAGE, 2 * PAGE - 1] {
                    let hit = m.mmu.access(1, VirtAddr::new(at.get() + offset), Access::WRITE).unwrap();
                    assert_eq!(hit.phys, phys(DEVICE + 0x10 + offset));
                    assert_eq!(hit.mapping.unwrap().memory, expected, "{kind:?} {arch:?}");
                    assert!(!hit.mapping.unwrap().perms.user_read);
                }
                // Three pages, and a guard.
                let beyond = VirtAddr::new(at.get() - 0x10 + 3 * PAGE);
                match m.mmu.access(1, beyond, Access::READ) {
                    Err(AccessError::Fault(fault)) => assert_eq!(fault.kind, FaultKind::Translation),
                    other => panic!("{other:?}"),
                }
                io.iounmap(on, at).unwrap();
                assert!(io.iounmap(on, at).is_err());
                m.vmalloc.purge_vmap_area_lazy(on);
                assert!(matches!(m.mmu.access(1, at, Access::READ), Err(AccessError::Fault(_))));
            }
        });
    }
    on_every_kernel!(test);
}

#[test]
fn the_kernels_ram_is_refused_and_cached_it_is_the_linear_map() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        io: &Io<'_, 'v, 'a, F>,
        _: Arch,
        layout: &Layout,
    ) {
        let gaps = m.vmalloc.gaps();
        m.on_cpu(0, |on| {
            for (at, size) in [(RAM.0, 1), (RAM.0 + RAM.1 - 1, 8), (RAM.0 - PAGE, 2 * PAGE), (RAM.0 + 5, 100)]
            {
                let refused = io.ioremap(on, phys(at), size).unwrap_err();
                assert!(matches!(refused, IoremapError::Ram(_)), "{refused}");
            }
            let told = io.ioremap_wc(on, phys(RAM.0 + 0x123), 8).unwrap_err().to_string();
            assert_eq!(told, "ioremap on RAM at 0x40000000 - 0x40000fff");
            let base = layout.get(pagewright_kspace::Kind::LinearMap).unwrap().start.get();
            let at = io.ioremap_cache(on, phys(RAM.0 + 0x1234), 8).unwrap();
            assert_eq!(at.get(), base + 0x1234);
            io.iounmap(on, at).unwrap();
            let last = RAM.0 + RAM.1 - PAGE;
            assert_eq!(io.ioremap_cache(on, phys(last), PAGE).unwrap().get(), base + RAM.1 - PAGE);
            // Behind it is a hole, then RAM again: the first and the last byte have linear addresses, those between not all.
            for (at, size) in [
                (last, 2 * PAGE),
                (RAM.0 + RAM.1 - 8, 16),
                (RAM.0, MORE.0 + MORE.1 - RAM.0),
                (MORE.0 - 1, 2),
                (MORE.0 + MORE.1 - 8, 16),
            ] {
                let part = io.ioremap_cache(on, phys(at), size).unwrap_err();
                assert!(matches!(part, IoremapError::Ram(_)), "{part}");
            }
            let hole = io.ioremap_cache(on, phys(RAM.0 + RAM.1), PAGE).unwrap();
            assert!(m.vmalloc.range().contains(hole));
            io.iounmap(on, hole).unwrap();
            let beside = io.ioremap(on, phys(RAM.0 + RAM.1), PAGE).unwrap();
            io.iounmap(on, beside).unwrap();
            m.vmalloc.give_all_back(on);
        });
        assert_eq!(m.vmalloc.gaps(), gaps);
    }
    on_every_kernel!(test);
}

/// Where RAM ends inside a page, what follows it there is a PC's to map; elsewhere the whole page is RAM's.
#[test]
fn only_x86_maps_a_page_that_is_ram_in_part() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        io: &Io<'_, 'v, 'a, F>,
        arch: Arch,
        _: &Layout,
    ) {
        let end = BELOW.0 + BELOW.1;
        m.on_cpu(0, |on| {
            for (at, size) in [(end, 0x400), (end - 8, 16), (end - 8, 8)] {
                let mapped = io.ioremap(on, phys(at), size);
                if matches!(arch, Arch::X86_64 | Arch::I386) {
                    let at = mapped.unwrap();
                    assert_eq!(m.vmalloc.translate(at).unwrap().get() % PAGE, at.get() % PAGE);
                    io.iounmap(on, at).unwrap();
                } else {
                    assert!(matches!(mapped, Err(IoremapError::Ram(_))), "{arch:?} {mapped:?}");
                }
                // Part of a page is not in the linear map, whatever the memory's kind.
                let cached = io.ioremap_cache(on, phys(at), size);
                assert_eq!(cached.is_ok(), matches!(arch, Arch::X86_64 | Arch::I386));
                if let Ok(at) = cached {
                    assert!(m.vmalloc.range().contains(at));
                    io.iounmap(on, at).unwrap();
                }
            }
            // One page of RAM before it is enough, also behind one that is RAM in part.
            for (at, size) in [(end.next_multiple_of(PAGE) - PAGE - 1, 0x800), (0, 0x1001)] {
                assert!(
                    matches!(io.ioremap(on, phys(at), size), Err(IoremapError::Ram(_))),
                    "{arch:?} {at:#x}"
                );
            }
            m.vmalloc.give_all_back(on);
        });
    }
    on_every_kernel!(test);
}

#[test]
fn what_is_nowhere_is_refused_and_leaves_nothing() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        io: &Io<'_, 'v, 'a, F>,
        arch: Arch,
        _: &Layout,
    ) {
        let gaps = m.vmalloc.gaps();
        m.on_cpu(0, |on| {
            for (at, size) in [(DEVICE, 0), (u64::MAX, 2), (1 << 40, PAGE), (DEVICE, 1 << 40)] {
                let refused = io.ioremap(on, phys(at), size).unwrap_err();
                assert_eq!(refused, IoremapError::Size { phys: phys(at), size });
            }
            if matches!(arch, Arch::Arm | Arch::I386) {
                // Larger than all addresses there are for it.
                let refused = io.ioremap(on, phys(0x5000_0000), 0x7000_0000).unwrap_err();
                assert!(matches!(refused, IoremapError::Area(_)), "{refused}");
            }
        });
        assert_eq!(m.vmalloc.gaps(), gaps);
    }
    on_every_kernel!(test);
}

/// Areas are aligned to their size, and blocks are used where kernels do.
#[test]
fn large_devices_are_mapped_by_blocks_but_on_arm() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        io: &Io<'_, 'v, 'a, F>,
        arch: Arch,
        _: &Layout,
    ) {
        m.on_cpu(0, |on| {
            let at = io.ioremap(on, phys(DEVICE), 4 << 20).unwrap();
            let block = m.mmu.access(0, at, Access::READ).unwrap().mapping.unwrap().bytes;
            assert_eq!(block > PAGE, arch != Arch::Arm, "{arch:?} {block:#x}");
            assert_eq!(at.get() % (if arch == Arch::I386 { block } else { 4 << 20 }), 0);
            io.iounmap(on, at).unwrap();
        });
    }
    on_every_kernel!(test);
}
