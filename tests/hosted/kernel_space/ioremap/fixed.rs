//! What has fixed addresses: boards' static maps, the window of PCI's ports, and what early boot left.

use super::{Io, desc, on_every_kernel, phys};
use crate::world::PAGE;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_firmware::config::KernelConfig;
use pagewright_kspace::ioremap::{IoKind, IoremapError, PciIo, PciIoError};
use pagewright_kspace::vmalloc::{EarlyArea, EarlyAreas, VmFlags};
use pagewright_kspace::{EarlyIoremap, Kind, Layout};
use pagewright_pagetable::{Format, TableSource};
use pagewright_sim::mmu::{Access, AccessError};
use pagewright_sim::vmalloc::HostedVmalloc;

pub(super) const DEVICE: u64 = 0xe000_0000;

/// A place in vmalloc space, far up where nothing comes by itself.
pub(super) fn place<'v, 'a, F: Format>(
    m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
    below_end: u64,
) -> VirtAddr {
    let range = m.vmalloc.range();
    VirtAddr::new(((range.last().get() - below_end) >> 22) << 22)
}

#[test]
fn what_a_board_mapped_from_the_start_is_used_again() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        io: &Io<'_, 'v, 'a, F>,
        _: Arch,
        _: &Layout,
    ) {
        let (a, b) = (place(m, 32 << 20), place(m, 16 << 20));
        m.on_cpu(0, |on| {
            let maps =
                [desc(a, 64 << 10, DEVICE, IoKind::Device), desc(b, 255, DEVICE + (1 << 20), IoKind::Device)];
            io.iotable_init(on, &maps).unwrap();
            let hit = m.mmu.access(0, VirtAddr::new(a.get() + 0x5008), Access::WRITE).unwrap();
            assert_eq!(hit.phys, phys(DEVICE + 0x5008));
            let used = io.ioremap(on, phys(DEVICE + 0x5008), 0x100).unwrap();
            assert_eq!(used.get(), a.get() + 0x5008);
            io.iounmap(on, used).unwrap();
            assert!(m.mmu.access(0, used, Access::READ).is_ok());
            // All of the page behind 255 bytes.
            assert_eq!(
                io.ioremap(on, phys(DEVICE + (1 << 20) + 0xf00), 0x100).unwrap().get(),
                b.get() + 0xf00
            );
            // Another kind, or a part beyond it, is a mapping of its own.
            for (at, size, kind) in
                [(DEVICE, PAGE, IoKind::WriteCombine), (DEVICE + 0xf000, 2 * PAGE, IoKind::Device)]
            {
                let own = io.ioremap_kind(on, phys(at), size, kind).unwrap();
                assert!(own < a || own.get() >= a.get() + (64 << 10), "{own:#x}");
                io.iounmap(on, own).unwrap();
            }
        });
    }
    on_every_kernel!(test);
}

#[test]
fn a_boards_table_is_mapped_as_a_whole_or_not_at_all() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        io: &Io<'_, 'v, 'a, F>,
        _: Arch,
        _: &Layout,
    ) {
        let a = place(m, 32 << 20);
        let next = VirtAddr::new(a.get() + PAGE);
        let gaps = m.vmalloc.gaps();
        m.on_cpu(0, |on| {
            let two = [
                desc(a, 2 * PAGE, DEVICE, IoKind::Device),
                desc(next, PAGE, DEVICE + (1 << 20), IoKind::Device),
            ];
            assert!(matches!(io.iotable_init(on, &two), Err(IoremapError::Area(_))));
            let many = [two[0]; 5];
            assert_eq!(io.iotable_init(on, &many), Err(IoremapError::TooManyStatic(4)));
            let none = [desc(a, 0, DEVICE, IoKind::Device)];
            assert!(matches!(io.iotable_init(on, &none), Err(IoremapError::Size { .. })));
            m.vmalloc.give_all_back(on);
            assert_eq!(m.vmalloc.gaps(), gaps);
            assert!(m.mmu.access(0, a, Access::READ).is_err());
            assert_ne!(io.ioremap(on, phys(DEVICE), PAGE).unwrap(), a);
            // What the boot's tables map is adopted as it is.
            io.iotable_init(on, &two[..1]).unwrap();
            assert!(m.mmu.access(0, next, Access::READ).is_ok());
        });
    }
    on_every_kernel!(test);
}

#[test]
fn what_the_boot_mapped_is_adopted_where_it_is() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        io: &Io<'_, 'v, 'a, F>,
        _: Arch,
        _: &Layout,
    ) {
        let a = place(m, 32 << 20);
        m.on_cpu(0, |on| {
            let map = desc(a, 2 * PAGE, DEVICE, IoKind::Device);
            io.adopt_static_maps(on, &[map]).unwrap();
            assert_eq!(io.ioremap(on, phys(DEVICE + PAGE), 8).unwrap().get(), a.get() + PAGE);
            assert!(matches!(io.adopt_static_maps(on, &[map]), Err(IoremapError::Area(_))));
            assert_eq!(m.vmalloc.find_vm_area(a).unwrap().size, 2 * PAGE);
        });
    }
    on_every_kernel!(test);
}

#[test]
fn early_areas_that_the_region_adopted_stay() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        io: &Io<'_, 'v, 'a, F>,
        _: Arch,
        _: &Layout,
    ) {
        let range = VirtRange { start: place(m, 32 << 20), len: 2 * PAGE };
        let mut early = EarlyAreas::new();
        early.add(EarlyArea { range, phys: phys(DEVICE), flags: VmFlags::IOREMAP, caller: "" }).unwrap();
        m.on_cpu(0, |on| {
            m.vmalloc.adopt(on, &early).unwrap();
            for at in [range.start, range.last()] {
                io.iounmap(on, at).unwrap();
                assert_eq!(m.vmalloc.find_vm_area(at).unwrap().range(), range);
            }
        });
    }
    on_every_kernel!(test);
}

#[test]
fn bridges_ports_lie_in_the_window() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        io: &Io<'_, 'v, 'a, F>,
        arch: Arch,
        layout: &Layout,
    ) {
        if arch != Arch::Arm {
            return;
        }
        let window = layout.get(Kind::PciIo).unwrap();
        m.on_cpu(0, |on| {
            let pci = PciIo::new(on, &m.vmalloc, window, arch).unwrap();
            let at = pci.pci_remap_iospace(on, 0, 0x1_0000, phys(DEVICE)).unwrap();
            let second = pci.pci_remap_iospace(on, 0x1_0000, 0x1_0000, phys(DEVICE + 0x10_0000)).unwrap();
            assert_eq!((at, second.get()), (window.start, window.start.get() + 0x1_0000));
            let port = pci.port(0x1_03f8).unwrap();
            assert_eq!(m.mmu.access(1, port, Access::WRITE).unwrap().phys, phys(DEVICE + 0x10_03f8));
            assert!(matches!(
                m.mmu.access(1, pci.port(0x2_0000).unwrap(), Access::READ),
                Err(AccessError::Fault(_))
            ));
            // A driver that gives a port's address back takes nothing from the others.
            for done in [pci.port(0).unwrap(), port] {
                io.iounmap(on, done).unwrap();
                m.vmalloc.purge_vmap_area_lazy(on);
                assert_eq!(m.mmu.access(1, window.start, Access::WRITE).unwrap().phys, phys(DEVICE));
                assert!(m.mmu.access(1, port, Access::WRITE).is_ok());
            }
            assert_eq!(pci.port(window.len), None);
            for (first, count) in [(0, 0), (window.len, 1), (window.len - 1, 2), (u64::MAX, 2)] {
                let refused = pci.pci_remap_iospace(on, first, count, phys(DEVICE)).unwrap_err();
                assert_eq!(refused, PciIoError::Ports { first, count, ports: window.len });
            }
            assert!(matches!(
                pci.pci_remap_iospace(on, 0xf000, PAGE, phys(DEVICE)),
                Err(PciIoError::Area(_))
            ));
            assert!(PciIo::new(on, &m.vmalloc, window, arch).is_err());
            // The window is nobody else's.
            assert!(
                io.iotable_init(on, &[desc(pci.port(0x4_0000).unwrap(), PAGE, DEVICE, IoKind::Device)])
                    .is_err()
            );
        });
    }
    on_every_kernel!(test);
}

/// Pages for tables behind the root, which the page allocator does not have.
pub(super) struct Spare(pub(super) u64);

impl TableSource for Spare {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        self.0 += PAGE;
        Some(phys(self.0))
    }

    fn free_table(&mut self, _: PhysAddr) {}
}

/// What is still mapped early moves to areas, bytes and attributes and all; then nothing is mapped early any more.
#[test]
fn early_mappings_are_handed_over() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        io: &Io<'_, 'v, 'a, F>,
        arch: Arch,
        layout: &Layout,
    ) {
        let flavour = pagewright_firmware::config::Flavour::ALL
            .into_iter()
            .find(|f| KernelConfig::debian(*f).arch == arch)
            .unwrap();
        let mut early = EarlyIoremap::new(layout.fixmap(), KernelConfig::debian(flavour));
        let fixmap = layout.fixmap().range(pagewright_kspace::Slot::Btmap).unwrap();
        let tables = m.vmalloc.cursor().tables();
        let mut fixed = tables.lock(VirtRange { start: fixmap.start, len: fixmap.len }).unwrap();
        let mut spare = Spare(0x1008_0000);
        // Firmware's tables lie beside what the page allocator has.
        let io_at = early.early_ioremap(&mut fixed, phys(DEVICE + 0x44), 8, &mut spare);
        // i386 without a no-execute bit has no attributes for early mappings here.
        let Ok(io_at) = io_at else { return };
        let ram_at = early.early_memremap(&mut fixed, phys(0x100c_0ffc), 8, &mut spare).unwrap();
        let gone = early.early_ioremap(&mut fixed, phys(DEVICE), 8, &mut spare).unwrap();
        let memory = |at| m.mmu.access(0, at, Access::WRITE).unwrap().mapping.unwrap().memory;
        let before = [memory(io_at), memory(ram_at)];
        m.mmu.store(0, ram_at, false, b"ACPI").unwrap();
        m.on_cpu(0, |on| {
            let pending = early.early_iounmap(&mut fixed, gone, 8).unwrap();
            let _ = pending.finish(tables.memory(), &mut m.mmu.all_cpus(), &mut spare);
            let mut moved = Vec::new();
            io.take_over(on, &mut early, &mut fixed, &mut |old, new| moved.push((old, new))).unwrap();
            assert_eq!(moved.iter().map(|m| m.0).collect::<Vec<_>>(), [io_at, ram_at]);
            assert_eq!([memory(moved[0].1), memory(moved[1].1)], before);
            assert_eq!(m.mmu.access(0, moved[0].1, Access::READ).unwrap().phys, phys(DEVICE + 0x44));
            let mut bytes = [0; 4];
            m.mmu.load(0, moved[1].1, false, &mut bytes).unwrap();
            assert_eq!(&bytes, b"ACPI");
            for old in [io_at, ram_at] {
                assert!(matches!(m.mmu.access(0, old, Access::READ), Err(AccessError::Fault(_))));
            }
            assert_eq!(early.check_leak(), Ok(()));
            assert!(early.early_ioremap(&mut fixed, phys(DEVICE), 8, &mut spare).is_err());
            for (_, new) in moved {
                io.iounmap(on, new).unwrap();
            }
        });
    }
    on_every_kernel!(test);
}
