//! Kernel stacks: guards, the caches of CPUs, and nothing left behind.

use crate::world::PAGE;
use pagewright_addr::{PageShift, PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_kspace::stacks::{KernelStack, StackCache, StackError, StackShape, Stacks};
use pagewright_kspace::vmalloc::{BadAccess, Seen, VmFlags};
use pagewright_kspace::{Facts, Kind, Layout};
use pagewright_pagetable::Format;
use pagewright_pagetable::format::FormatKind;
use pagewright_pagetable::format::arm::short::ArmShort;
use pagewright_pagetable::format::arm64::Arm64Page4kVa48;
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_sim::PhysMemory;
use pagewright_sim::mmu::{Access, AccessError, FaultKind, Strictness};
use pagewright_sim::pages::PlainMachine;
use pagewright_sim::vmalloc::{HostedVmalloc, VmallocMachine, with_vmalloc};
use pagewright_zone::figures::ZoneSource;
use std::ops::ControlFlow;

type Made<'s, 'v, 'a, F> = Stacks<'s, 'v, 'a, F, &'v PhysMemory>;

fn kernel<F: Format>(
    kind: FormatKind,
    flavour: Flavour,
    format: F,
    test: impl for<'v, 'a> FnOnce(&HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>, &Made<'_, 'v, 'a, F>, StackShape),
) {
    let config = KernelConfig::debian(flavour);
    let mut facts = Facts::new(config);
    facts.wide = false;
    let machine = VmallocMachine {
        plain: PlainMachine::new(16 << 8, 2),
        kind,
        range: Layout::of(&facts).unwrap().get(Kind::Vmalloc).unwrap(),
        config: |config| config.pools = false,
        areas: 1 << 8,
        strictness: Strictness::STRICT,
    };
    let shape = StackShape::of(config.arch, PAGE);
    with_vmalloc(&machine, format, |m| {
        let caches = [StackCache::new(), StackCache::new()];
        let stacks = Stacks::new(&m.vmalloc, shape, &caches);
        let gaps = m.vmalloc.gaps();
        test(m, &stacks, shape);
        m.on_cpu(0, |on| {
            (0..2).for_each(|cpu| _ = stacks.free_vm_stack_cache(on, cpu));
            m.vmalloc.give_all_back(on);
        });
        assert_eq!((m.vmalloc.gaps(), m.vmalloc.nr_pages()), (gaps, 0));
        assert_eq!(m.vmalloc.validate(), Ok(()));
        m.mmu.check().unwrap();
    });
}

macro_rules! on_three_kernels {
    ($test:expr) => {{
        kernel(FormatKind::X86Level4, Flavour::Amd64, X86Level4::default(), $test);
        kernel(FormatKind::Arm64Page4kVa48, Flavour::Arm64, Arm64Page4kVa48::default(), $test);
        kernel(FormatKind::ArmShort, Flavour::Armmp, ArmShort::default(), $test);
    }};
}

#[test]
fn running_over_either_end_of_a_stack_faults() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        stacks: &Made<'_, 'v, 'a, F>,
        shape: StackShape,
    ) {
        m.on_cpu(0, |on| {
            let memory = m.mmu.memory_of(0);
            let made: Vec<_> = (0..3).map(|_| stacks.alloc(on, &memory).unwrap()).collect();
            for stack in &made {
                assert!(stack.range().start.is_aligned(shape.align) && stack.range().len == shape.bytes);
                m.mmu.store(0, stack.range().start, false, &[1]).unwrap();
                m.mmu.store(0, VirtAddr::new(stack.top().get() - 1), false, &[1]).unwrap();
                let below = VirtAddr::new(stack.range().start.get() - 1);
                assert!(stack.guard().contains(below));
                let hit = BadAccess::StackGuard { at: below, stack: stack.range().start };
                assert_eq!(m.vmalloc.check_access(below, 1), Err(hit));
                for beyond in [below, stack.guard().start, stack.top()] {
                    match m.mmu.access(0, beyond, Access::WRITE) {
                        Err(AccessError::Fault(fault)) => assert_eq!(fault.kind, FaultKind::Translation),
                        other => panic!("{other:?}"),
                    }
                }
            }
            for stack in made {
                stacks.free(on, stack).unwrap();
            }
        });
    }
    on_three_kernels!(test);
}

#[test]
fn two_stacks_of_tasks_that_ended_are_kept_and_come_back_zeroed() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        stacks: &Made<'_, 'v, 'a, F>,
        shape: StackShape,
    ) {
        m.on_cpu(1, |on| {
            let memory = m.mmu.memory_of(1);
            let made: Vec<_> = (0..3).map(|_| stacks.alloc(on, &memory).unwrap()).collect();
            let at: Vec<_> = made.iter().map(|s| s.range().start).collect();
            let pages = m.vmalloc.nr_pages();
            assert_eq!(pages, 3 * shape.bytes / PAGE);
            for stack in made {
                m.mmu.store(1, stack.range().start, false, &[7; 64]).unwrap();
                stacks.free(on, stack).unwrap();
            }
            assert_eq!(m.vmalloc.nr_pages(), 2 * shape.bytes / PAGE);
            let again: Vec<_> = (0..2).map(|_| stacks.alloc(on, &memory).unwrap()).collect();
            for (stack, at) in again.iter().zip(&at) {
                assert_eq!(stack.range().start, *at);
                let mut bytes = vec![1; shape.bytes as usize];
                m.mmu.load(1, *at, false, &mut bytes).unwrap();
                assert!(bytes.iter().all(|b| *b == 0));
            }
            for stack in again {
                stacks.free(on, stack).unwrap();
            }
            // The other CPU has none of them.
            assert_eq!(stacks.free_vm_stack_cache(on, 0), 0);
            assert_eq!(stacks.free_vm_stack_cache(on, 1), 2);
            assert_eq!(m.vmalloc.nr_pages(), 0);
        });
    }
    on_three_kernels!(test);
}

#[test]
fn a_stack_leaves_nothing_behind_whichever_allocation_fails() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        stacks: &Made<'_, 'v, 'a, F>,
        shape: StackShape,
    ) {
        let left = || {
            m.on_cpu(0, |on| {
                m.vmalloc.give_all_back(on);
                m.vmalloc.release_tables(on);
            });
            (0..2).for_each(|cpu| m.pages.on_cpu(cpu, |cx| m.pages.allocator.drain_local_pages(cx)));
            let zones: &dyn ZoneSource = &m.pages.allocator;
            (zones.zones().map(|zone| zone.free).sum::<u64>(), m.vmalloc.gaps())
        };
        let memory = m.mmu.memory_of(0);
        let give_back = |stack| {
            m.on_cpu(0, |on| {
                stacks.free(on, stack).unwrap();
                assert_eq!(stacks.free_vm_stack_cache(on, 0), 1);
            });
        };
        // Tables that reach beyond the region stay once they are made.
        give_back(m.on_cpu(0, |on| stacks.alloc(on, &memory)).unwrap());
        let before = left();
        let mut failures = 0;
        for nth in 1..=24 {
            m.pages.allocator.fail_nth(nth);
            let made = m.on_cpu(0, |on| stacks.alloc(on, &memory));
            m.pages.allocator.fail_nth(0);
            match made {
                Ok(stack) => give_back(stack),
                Err(StackError::Area(_)) => failures += 1,
                Err(other) => panic!("{other}"),
            }
            assert_eq!(left(), before, "{nth}");
        }
        // Pages are asked for once more one by one; a table is not.
        assert!((1..24).contains(&failures), "{shape:?}: {failures} failures");
    }
    on_three_kernels!(test);
}

/// The page below a stack is an area of one page, and nothing is there.
fn has_own_guard<'v, 'a, F: Format>(
    m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
    stack: &KernelStack,
) -> Result<(), String> {
    let mut found = Vec::new();
    m.vmalloc.areas_in(stack.guard(), &mut |seen| {
        found.push(seen);
        ControlFlow::Continue(())
    });
    let own = matches!(found[..], [Seen::Area(area)] if area.range() == stack.guard());
    let mapped = m.vmalloc.translate(stack.guard().start).is_ok();
    if own && !mapped { Ok(()) } else { Err(format!("{found:x?} {mapped}")) }
}

/// A static map has no guard page, nor have the blocks of vm_map_ram: a stack right above would grow into it.
#[test]
fn no_stack_lies_right_above_what_others_map() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        stacks: &Made<'_, 'v, 'a, F>,
        shape: StackShape,
    ) {
        m.on_cpu(0, |on| {
            let start = m.vmalloc.range().start;
            let len = shape.align - start.get() % shape.align;
            let below = VirtRange { start, len };
            let area = m.vmalloc.add_vm_area(on, below, PhysAddr::ZERO, VmFlags::IOREMAP).unwrap();
            let stack = stacks.alloc(on, &m.mmu.memory_of(0)).unwrap();
            assert!(stack.guard().start.get() > below.last().get());
            has_own_guard(m, &stack).unwrap();
            stacks.free(on, stack).unwrap();
            m.vmalloc.remove(on, area.addr, VmFlags::empty()).unwrap();
            stacks.free_vm_stack_cache(on, 0);
            m.vmalloc.give_all_back(on);
            // A block, the lowest place again.
            let page = PhysAddr::new(0x4000_0000).pfn(PageShift::SHIFT_4K);
            let ram = m.vmalloc.vm_map_ram(on, &[page]).unwrap();
            let stack = stacks.alloc(on, &m.mmu.memory_of(0)).unwrap();
            has_own_guard(m, &stack).unwrap();
            stacks.free(on, stack).unwrap();
            m.vmalloc.vm_unmap_ram(on, ram, 1).unwrap();
        });
    }
    on_three_kernels!(test);
}

/// Also when what lay below a stack with a guard of its own is gone, and others want its addresses.
#[test]
fn nobody_gets_the_page_below_a_stack() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        stacks: &Made<'_, 'v, 'a, F>,
        shape: StackShape,
    ) {
        m.on_cpu(0, |on| {
            // Its guard page ends where a stack could begin.
            let start = m.vmalloc.range().start.get();
            let size = shape.align - start % shape.align + shape.align - PAGE;
            let at = m.vmalloc.vmalloc(on, size).unwrap();
            assert_eq!(at.get(), start);
            let memory = m.mmu.memory_of(0);
            let stack = stacks.alloc(on, &memory).unwrap();
            assert!(stack.range().start.get() > start + size + PAGE);
            has_own_guard(m, &stack).unwrap();
            m.vmalloc.vfree(on, at).unwrap();
            let guard = stack.guard();
            for pages in 1..3 {
                let len = pages * PAGE;
                let wanted = VirtRange { start: VirtAddr::new(stack.range().start.get() - len), len };
                assert!(m.vmalloc.add_vm_area(on, wanted, PhysAddr::ZERO, VmFlags::IOREMAP).is_err());
            }
            // Kept in the cache it keeps its guard; freed for good, neither is anybody's.
            stacks.free(on, stack).unwrap();
            assert!(m.vmalloc.find_vm_area(guard.start).is_some());
            assert_eq!(stacks.free_vm_stack_cache(on, 0), 1);
            let area = m.vmalloc.add_vm_area(on, guard, PhysAddr::ZERO, VmFlags::IOREMAP).unwrap();
            m.vmalloc.remove(on, area.addr, VmFlags::empty()).unwrap();
        });
    }
    on_three_kernels!(test);
}

#[test]
fn a_gap_without_room_for_the_guard_is_no_place() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        stacks: &Made<'_, 'v, 'a, F>,
        shape: StackShape,
    ) {
        m.on_cpu(0, |on| {
            let region = m.vmalloc.range();
            let first = (region.start.get() + PAGE).next_multiple_of(shape.align);
            let behind = first + shape.bytes + PAGE;
            let fill = |on: &mut _, start: u64, len: u64| {
                let range = VirtRange { start: VirtAddr::new(start), len };
                m.vmalloc.add_vm_area(on, range, PhysAddr::ZERO, VmFlags::IOREMAP).unwrap().addr
            };
            let rest = fill(on, behind, region.len - (behind - region.start.get()));
            let low = fill(on, region.start.get(), first - region.start.get());
            let memory = m.mmu.memory_of(0);
            let why = stacks.alloc(on, &memory).unwrap_err();
            assert_eq!(why, StackError::NoGuard(VirtAddr::new(first)));
            assert_eq!(m.vmalloc.nr_pages(), 0);
            m.vmalloc.remove(on, low, VmFlags::empty()).unwrap();
            let stack = stacks.alloc(on, &memory).unwrap();
            assert_eq!(stack.range().start.get(), first);
            has_own_guard(m, &stack).unwrap();
            stacks.free(on, stack).unwrap();
            m.vmalloc.remove(on, rest, VmFlags::empty()).unwrap();
        });
    }
    on_three_kernels!(test);
}

#[test]
fn when_pages_run_out_there_is_no_stack_and_nothing_is_lost() {
    fn test<'v, 'a, F: Format>(
        m: &HostedVmalloc<'_, 'v, '_, '_, '_, 'a, F>,
        stacks: &Made<'_, 'v, 'a, F>,
        shape: StackShape,
    ) {
        m.on_cpu(0, |on| {
            let memory = m.mmu.memory_of(0);
            // More areas than there is memory for, so either pages or addresses end.
            let mut made = Vec::new();
            let why = loop {
                match stacks.alloc(on, &memory) {
                    Ok(stack) => made.push(stack),
                    Err(why) => break why,
                }
            };
            assert!(matches!(why, StackError::Area(_)), "{why}");
            assert!(!made.is_empty());
            assert_eq!(m.vmalloc.nr_pages(), made.len() as u64 * shape.bytes / PAGE);
            for stack in made {
                stacks.free(on, stack).unwrap();
            }
        });
    }
    on_three_kernels!(test);
}
