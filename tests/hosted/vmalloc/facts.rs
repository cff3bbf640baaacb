//! What holds of areas, on x86_64.

use super::*;
use pagewright_addr::PhysAddr;
use pagewright_kspace::areas::AreaError;
use pagewright_kspace::vmalloc::{PhysMapping, VfreeError, VmFlags, VmRequest, VmallocError};
use pagewright_page::State;
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_pagetable::{AttrFlags, MemoryType};
use pagewright_sim::mmu::{Access, AccessError};
use pagewright_sim::vmalloc::{kernel_data, with_vmalloc};
use pagewright_zone::Gfp;

type Machine<'p, 'v, 'x, 'm, 's, 'a> = HostedVmalloc<'p, 'v, 'x, 'm, 's, 'a, X86Level4>;

fn on_x86(machine: &VmallocMachine, test: impl FnOnce(&Machine<'_, '_, '_, '_, '_, '_>)) {
    with_vmalloc(machine, X86Level4::default(), test);
}

/// Lowest first, and nothing is flushed unless asked for.
fn plain() -> VmallocMachine {
    VmallocMachine { config: lowest_first, ..machine(FormatKind::X86Level4, 64, 2) }
}

#[test]
fn the_lowest_gap_with_room_is_taken() {
    on_x86(&plain(), |m| {
        let start = m.vmalloc.range().start.get();
        m.on_cpu(0, |on| {
            let all: Vec<_> = (1..=4).map(|n| m.vmalloc.vmalloc(on, n * PAGE).unwrap()).collect();
            let offsets: Vec<_> = all.iter().map(|at| (at.get() - start) / PAGE).collect();
            assert_eq!(offsets, [0, 2, 5, 9]);
            m.vmalloc.vfree(on, all[1]).unwrap();
            // It waits for its flush.
            let next = m.vmalloc.vmalloc(on, PAGE).unwrap();
            assert_eq!((next.get() - start) / PAGE, 14);
            assert_eq!(m.vmalloc.purge_vmap_area_lazy(on), 1);
            let next = m.vmalloc.vmalloc(on, PAGE).unwrap();
            assert_eq!((next.get() - start) / PAGE, 2);
            // One page is left of the gap, and a page without a guard fits.
            let request = VmRequest::new(PAGE).with_flags(VmFlags::NO_GUARD);
            let small = m.vmalloc.vmalloc_request(on, &request).unwrap();
            assert_eq!((small.get() - start) / PAGE, 4);
        });
        assert_eq!(m.vmalloc.nr_pages(), 1 + 3 + 4 + 3);
    });
}

#[test]
fn alignment_and_range_are_kept() {
    on_x86(&plain(), |m| {
        m.on_cpu(0, |on| {
            m.vmalloc.vmalloc(on, PAGE).unwrap();
            let at = m.vmalloc.vmalloc_request(on, &VmRequest::new(PAGE).aligned(MIB)).unwrap();
            assert_eq!(at.get(), m.vmalloc.range().start.get() + MIB);
            let within = VirtRange::from_len(va(m.vmalloc.range().start.get() + (5 << 30) + 77), 9 * PAGE);
            let request = VmRequest { within: Some(within), ..VmRequest::new(6 * PAGE) };
            let at = m.vmalloc.vmalloc_request(on, &request).unwrap();
            assert_eq!(at.get(), (within.start.get() | (PAGE - 1)) + 1);
            let none = m.vmalloc.vmalloc_request(on, &request);
            let Err(VmallocError::Space { why: AreaError::NoGap { wanted, .. }, .. }) = none else {
                panic!("{none:?}")
            };
            assert_eq!((wanted.size, wanted.within), (7 * PAGE, within));
        });
    });
}

#[test]
fn pages_belong_to_their_area_in_the_page_map() {
    on_x86(&plain(), |m| {
        let map = *m.pages.base.map();
        m.on_cpu(0, |on| {
            let at = m.vmalloc.vmalloc(on, 3 * PAGE).unwrap();
            let idx = |n| map.idx(m.vmalloc.vmalloc_to_pfn(va(at.get() + n * PAGE)).unwrap()).unwrap();
            let owners: Vec<_> = (0..3).map(|n| map.owner(idx(n))).collect();
            assert!(owners.iter().all(|owner| *owner == owners[0] && owner.generation() != 0));
            // The list of pages is in the map, too.
            assert_eq!(
                [map.next(idx(0)), map.next(idx(1)), map.next(idx(2))],
                [Some(idx(1)), Some(idx(2)), None]
            );
            let first = idx(0);
            m.vmalloc.vfree(on, at).unwrap();
            assert_eq!(map.state(first), State::Kernel, "until the flush");
            assert_eq!(m.vmalloc.lazy_pages(), 4);
            m.vmalloc.purge_vmap_area_lazy(on);
            assert_ne!(map.state(first), State::Kernel);
        });
    });
}

#[test]
fn what_is_freed_twice_or_wrongly_is_refused() {
    on_x86(&plain(), |m| {
        m.on_cpu(0, |on| {
            let at = m.vmalloc.vmalloc(on, 3 * PAGE).unwrap();
            assert_eq!(m.vmalloc.vfree(on, va(at.get() + 8)), Err(VfreeError::Unaligned(va(at.get() + 8))));
            let inside = va(at.get() + PAGE);
            assert_eq!(m.vmalloc.vfree(on, inside), Err(VfreeError::Nonexistent(inside)));
            assert_eq!(m.vmalloc.vunmap(on, at), Err(VfreeError::Nonexistent(at)));
            assert_eq!(m.vmalloc.vfree(on, at), Ok(()));
            assert_eq!(m.vmalloc.vfree(on, at), Err(VfreeError::Nonexistent(at)));
            m.vmalloc.purge_vmap_area_lazy(on);
            assert_eq!(m.vmalloc.vfree(on, at), Err(VfreeError::Nonexistent(at)));
            assert_eq!(m.vmalloc.vfree(on, va(0)), Ok(()));
            let told = m.vmalloc.vfree(on, va(0x1000)).unwrap_err().to_string();
            assert_eq!(told, "Trying to vfree() nonexistent vm area (0x1000)");
        });
    });
}

#[test]
fn vmap_shows_pages_of_the_callers_in_their_order() {
    on_x86(&plain(), |m| {
        let before = buddyinfo(m.pages);
        let attr = kernel_data(&X86Level4::default());
        m.on_cpu(0, |on| {
            let pfns: Vec<_> = (0..5)
                .map(|_| on.allocator.get_zeroed_page(on.context, Gfp::GFP_KERNEL).unwrap())
                .rev()
                .collect();
            let at = m.vmalloc.vmap(on, &pfns, VmFlags::MAP, attr).unwrap();
            for (n, pfn) in (0..).zip(&pfns) {
                assert_eq!(m.vmalloc.vmalloc_to_pfn(va(at.get() + n * PAGE)), Some(*pfn));
            }
            m.mmu.store(1, va(at.get() + PAGE - 2), false, b"over").unwrap();
            let area = m.vmalloc.find_vm_area(va(at.get() + 2 * PAGE)).unwrap();
            assert_eq!((area.addr, area.size, area.pages, area.flags), (at, 6 * PAGE, 0, VmFlags::MAP));
            assert!(area.caller.unwrap().file().ends_with("facts.rs"));
            assert_eq!(m.vmalloc.nr_pages(), 0, "they are not vmalloc's");
            m.vmalloc.vunmap(on, at).unwrap();
            m.vmalloc.vm_unmap_aliases(on);
            for pfn in pfns {
                on.allocator.free_pages_at(on.context, pfn, Order::ZERO).unwrap();
            }
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn memory_is_mapped_by_its_physical_address() {
    on_x86(&plain(), |m| {
        let before = buddyinfo(m.pages);
        let attr = kernel_data(&X86Level4::default()).with_memory(MemoryType::StronglyOrdered);
        m.on_cpu(0, |on| {
            let uart = PhysMapping {
                align: 4 * PAGE,
                ..PhysMapping::io(PhysAddr::new(0xfe00_1000), 3 * PAGE, attr)
            };
            m.vmalloc.vmalloc(on, PAGE).unwrap();
            let at = m.vmalloc.map_phys(on, &uart).unwrap();
            assert_eq!(at.get() - m.vmalloc.range().start.get(), 4 * PAGE);
            let last = va(at.get() + 3 * PAGE - 1);
            assert_eq!(m.vmalloc.translate(last), Ok(PhysAddr::new(0xfe00_3fff)));
            let (leaf, ..) = m.vmalloc.cursor().tables().leaf(last).unwrap();
            assert_eq!(leaf.attr.memory, MemoryType::StronglyOrdered);
            assert!(!leaf.attr.flags.contains(AttrFlags::USER));
            let area = m.vmalloc.find_vm_area(at).unwrap();
            assert_eq!((area.phys, area.usable, area.flags), (uart.phys, 3 * PAGE, VmFlags::IOREMAP));
            // Whoever dumps memory reads no registers.
            let mut bytes = [9; 8];
            assert_eq!(m.vmalloc.vread(at, &mut bytes, &mut |_, _| panic!("registers are read")), 8);
            assert_eq!(bytes, [0; 8]);
            // Addresses first, mappings later, by pieces.
            let area = m.vmalloc.get_vm_area(on, 4 * PAGE, 1, None, VmFlags::IOREMAP).unwrap();
            let half = VirtRange::from_len(va(area.addr.get() + 2 * PAGE), 2 * PAGE);
            let pte = pagewright_pagetable::Level::PTE;
            m.vmalloc.map_into(on, half, PhysAddr::new(0x8000_0000), attr, pte).unwrap();
            assert!(m.vmalloc.translate(area.addr).is_err());
            assert_eq!(m.vmalloc.translate(half.last()), Ok(PhysAddr::new(0x8000_1fff)));
            let over = VirtRange::from_len(half.start, 3 * PAGE);
            assert!(m.vmalloc.map_into(on, over, PhysAddr::new(0), attr, pte).is_err());
            let was = m.vmalloc.remove(on, area.addr, VmFlags::empty()).unwrap();
            assert_eq!(was.range(), area.range());
            assert!(m.vmalloc.translate(half.last()).is_err());
            m.vmalloc.vunmap(on, at).unwrap();
            m.vmalloc.vfree(on, m.vmalloc.range().start).unwrap();
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn addresses_that_are_mapped_already_are_registered_where_they_are() {
    on_x86(&plain(), |m| {
        let start = m.vmalloc.range().start.get();
        let image = VirtRange::from_len(va(start + 2 * PAGE), 8 * PAGE);
        m.on_cpu(0, |on| {
            m.vmalloc.add_vm_area(on, image, PhysAddr::new(0x4000_0000), VmFlags::MAP).unwrap();
            let twice = m.vmalloc.add_vm_area(on, image, PhysAddr::ZERO, VmFlags::MAP);
            assert!(matches!(twice, Err(VmallocError::Space { why: AreaError::Taken(r), .. }) if r == image));
            let ats: Vec<_> = (0..2).map(|_| m.vmalloc.vmalloc(on, PAGE).unwrap().get() - start).collect();
            assert_eq!(ats, [0, 10 * PAGE]);
        });
    });
}

#[test]
fn a_flush_that_misses_a_cpu_is_found_out() {
    let machine = VmallocMachine { config: |c| c.lazy_pages = 0, ..machine(FormatKind::X86Level4, 16, 2) };
    on_x86(&machine, |m| {
        let mut only_one = m.mmu.only(0);
        m.on_cpu_flushing(0, &mut only_one, |on| {
            let at = m.vmalloc.vmalloc(on, PAGE).unwrap();
            for cpu in 0..2 {
                m.mmu.store(cpu, at, false, b"here").unwrap();
            }
            m.vmalloc.vfree(on, at).unwrap();
            assert_eq!(m.vmalloc.lazy_pages(), 0, "purged at once");
            assert_eq!(m.vmalloc.purge_vmap_area_lazy(on), 1, "and taken back");
            let held = on.allocator.alloc_pages(on.context, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            assert_eq!(m.vmalloc.vmalloc(on, PAGE).unwrap(), at, "the same addresses, another page");
            assert!(m.mmu.store(0, at, false, b"mine").is_ok());
            assert!(matches!(m.mmu.store(1, at, false, b"mine"), Err(AccessError::Violation(_))));
            on.allocator.free_pages(on.context, held);
        });
    });
}

#[test]
fn entries_go_at_once_and_pages_after_the_flush() {
    on_x86(&plain(), |m| {
        m.on_cpu(0, |on| {
            let at = m.vmalloc.vmalloc(on, PAGE).unwrap();
            m.vmalloc.vfree(on, at).unwrap();
            // No TLB had it: the entry is gone.
            assert!(matches!(m.mmu.access(0, at, Access::READ), Err(AccessError::Fault(_))));
            assert_eq!(m.vmalloc.purges(), 0);
        });
    });
}

#[test]
fn a_purge_comes_when_many_pages_wait() {
    let machine = VmallocMachine { config: |c| c.lazy_pages = 20, ..plain() };
    on_x86(&machine, |m| {
        m.on_cpu(0, |on| {
            let purges: Vec<_> = (0..8)
                .map(|_| {
                    let at = m.vmalloc.vmalloc(on, 4 * PAGE).unwrap();
                    m.vmalloc.vfree(on, at).unwrap();
                    m.vmalloc.purges()
                })
                .collect();
            // Five pages each, the guard page included: the fifth makes it more than 20.
            assert_eq!(purges, [0, 0, 0, 0, 1, 1, 1, 1]);
        });
    });
}

#[test]
fn a_region_that_is_full_says_so_after_a_purge() {
    let mut machine = plain();
    machine.range.len = 16 * PAGE;
    on_x86(&machine, |m| {
        m.on_cpu(0, |on| {
            let all: Vec<_> = (0..4).map(|_| m.vmalloc.vmalloc(on, 3 * PAGE).unwrap()).collect();
            let told = m.vmalloc.vmalloc(on, PAGE).unwrap_err().to_string();
            let range = m.vmalloc.range();
            assert_eq!(
                told,
                format!(
                    "the vmalloc area {:#x}-{:#x} (64 KiB) has no room for 8192 bytes: the largest gap has 0 bytes; \
                     use vmalloc=<size> to increase the area where the architecture allows it",
                    range.start,
                    range.last()
                )
            );
            m.vmalloc.vfree(on, all[1]).unwrap();
            m.vmalloc.vfree(on, all[2]).unwrap();
            // Both wait; whoever needs their addresses gets them.
            assert_eq!(m.vmalloc.vmalloc(on, 7 * PAGE), Ok(all[1]));
            assert_eq!(m.vmalloc.purges(), 1);
        });
    });
}

#[test]
fn memory_that_waits_for_its_flush_is_no_reason_to_fail() {
    on_x86(
        &VmallocMachine { config: |c| c.lazy_pages = u64::MAX, ..machine(FormatKind::X86Level4, 16, 1) },
        |m| {
            m.on_cpu(0, |on| {
                let most = 3000 * PAGE;
                for _ in 0..3 {
                    let at = m.vmalloc.vmalloc(on, most).unwrap();
                    m.vmalloc.vfree(on, at).unwrap();
                }
                assert_eq!(m.vmalloc.purges(), 2);
                let all = m.vmalloc.vmalloc(on, 4096 * PAGE);
                assert!(matches!(all, Err(VmallocError::Pages { needed: 4096, got: 3500.., .. })), "{all:?}");
                let more = m.vmalloc.vmalloc(on, 4097 * PAGE);
                assert_eq!(more, Err(VmallocError::Size { size: 4097 * PAGE, most: 4096 * PAGE }));
                assert!(m.vmalloc.vmalloc(on, 0).is_err());
                assert!(m.vmalloc.vmalloc(on, most).is_ok(), "all that had been got was freed");
            });
        },
    );
}

#[test]
fn pages_come_from_the_node_that_is_named() {
    let mut machine = plain();
    machine.plain.ram = vec![(node(0), 0x4_0000, 8192), (node(1), 0x5_0000, 8192)];
    machine.plain.cpus = vec![node(0), node(1)];
    on_x86(&machine, |m| {
        m.on_cpu(0, |on| {
            for (nid, pages) in [(1, 70), (0, 3)] {
                let at = m.vmalloc.vmalloc_node(on, pages * PAGE, node(nid)).unwrap();
                let mut nodes = Vec::new();
                m.vmalloc.pages_by_node(on, at, &mut |nid, pages| nodes.push((nid, pages)));
                assert_eq!(nodes, [(node(nid), pages)]);
            }
        });
    });
}
