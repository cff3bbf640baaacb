//! Local kmaps.

use crate::world::{BASE, Counted, Machine, PAGE, high, on_every_format};
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_kspace::fixmap::Slot;
use pagewright_kspace::highmem::{KmapLocalError, KmapStack, SchedError};
use pagewright_pagetable::{Format, NotLive};
use pagewright_sim::mmu::{Access, AccessError, FaultKind};

#[test]
fn the_last_one_mapped_is_the_first_one_unmapped() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let all = m.local(false);
        let local = all.on_cpu(0).unwrap();
        let stack = KmapStack::new();
        let mut tlb = Counted::only(&m.mmu, 0);
        let a = local.kmap_local_page(&stack, high(1), &mut tlb).unwrap();
        let b = local.kmap_local_page(&stack, high(2), &mut tlb).unwrap();
        // FIX_KMAP_BEGIN, and below it the next one.
        let first = m.layout.fixmap().fix_to_virt(m.layout.fixmap().slot(Slot::Kmap).unwrap()).unwrap();
        assert_eq!((a.address(), b.address().get()), (first, first.get() - PAGE));
        m.store(0, a.address(), 1);
        m.store(0, b.address(), 2);
        assert_eq!((m.ram(high(1)), m.ram(high(2))), (1, 2));
        assert_eq!(local.page_of(&stack, b.address()), Some(high(2)));
        let wrong = local.kunmap_local(&stack, a, &mut tlb).unwrap_err();
        assert_eq!(wrong.held, 2);
        assert_eq!(m.load(0, wrong.map.address()), 1);
        local.kunmap_local(&stack, b, &mut tlb).unwrap();
        local.kunmap_local(&stack, wrong.map, &mut tlb).unwrap();
        assert!(stack.is_empty());
        assert_eq!((tlb.published, tlb.flushes), (2, 2));
        assert!(matches!(m.mmu.access(0, first, Access::READ), Err(AccessError::Fault(_))));
        m.mmu.check().unwrap();
    }
    on_every_format!("", 2, |m, _| test(m));
}

#[test]
fn low_memory_takes_no_slot_unless_that_is_forced() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let low = PhysAddr::new(BASE + 7 * PAGE);
        let stack = KmapStack::new();
        let all = m.local(false);
        let local = all.on_cpu(0).unwrap();
        let mut tlb = Counted::only(&m.mmu, 0);
        let map = local.kmap_local_page(&stack, low, &mut tlb).unwrap();
        assert_eq!(map.address(), VirtAddr::new(m.linear.base.get() + 7 * PAGE));
        assert!(stack.is_empty());
        local.kunmap_local(&stack, map, &mut NotLive).unwrap();
        drop(all);
        let forced = m.local(false).force_map();
        let forced = forced.on_cpu(0).unwrap();
        let map = forced.kmap_local_page(&stack, low, &mut tlb).unwrap();
        assert!(!stack.is_empty());
        m.store(0, map.address(), 9);
        assert_eq!(m.ram(low), 9);
        forced.kunmap_local(&stack, map, &mut tlb).unwrap();
    }
    on_every_format!("", 1, |m, _| test(m));
}

#[test]
fn a_task_holds_so_many_and_no_more() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let all = m.local(false);
        // A CPU in the middle, and the one whose slots reach into two tables on arm.
        for cpu in [1, 15] {
            let local = all.on_cpu(cpu).unwrap();
            let stack = KmapStack::new();
            let mut tlb = Counted::only(&m.mmu, 1);
            let maps: Vec<_> = (0..all.depth())
                .map(|n| local.kmap_local_page(&stack, high(n.into()), &mut tlb).unwrap())
                .collect();
            assert_eq!(maps.len(), 15);
            assert!(maps.windows(2).all(|two| two[0].address().get() == two[1].address().get() + PAGE));
            let more = local.kmap_local_page(&stack, high(99), &mut tlb);
            assert_eq!(more, Err(KmapLocalError::TooDeep { held: 15 }));
            local.sched_out(&stack, &mut tlb).unwrap();
            local.sched_in(&stack, &mut tlb).unwrap();
            for (n, map) in maps.into_iter().enumerate().rev() {
                assert_eq!(local.page_of(&stack, map.address()), Some(high(n as u64)));
                m.store(1, map.address(), n as u32 + cpu);
                local.kunmap_local(&stack, map, &mut tlb).unwrap();
                assert_eq!(m.ram(high(n as u64)), n as u32 + cpu);
            }
            assert!(stack.is_empty());
        }
        let nowhere = all.on_cpu(all.cpus()).err().unwrap();
        assert_eq!(nowhere, KmapLocalError::NoCpu { cpu: all.cpus(), cpus: all.cpus() });
        m.mmu.check().unwrap();
    }
    on_every_format!("CONFIG_NR_CPUS=16", 2, |m, _| test(m));
}

/// Every CPU's slots are its own, also where they reach from one table into the next.
#[test]
fn cpus_have_slots_of_their_own() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let all = m.local(false);
        let stacks: Vec<_> = (0..all.cpus()).map(|_| KmapStack::new()).collect();
        let mut held = Vec::new();
        let mut tlb = Counted::only(&m.mmu, 0);
        for (cpu, stack) in stacks.iter().enumerate() {
            let local = all.on_cpu(cpu as u32).unwrap();
            for n in 0..3 {
                let map = local.kmap_local_page(stack, high(cpu as u64 * 3 + n), &mut tlb).unwrap();
                held.push((cpu as u32, map));
            }
        }
        let mut addresses: Vec<_> = held.iter().map(|(_, map)| map.address()).collect();
        for (n, at) in addresses.iter().enumerate() {
            m.store(0, *at, n as u32);
            assert_eq!(m.ram(high(n as u64)), n as u32);
        }
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), held.len());
        for (cpu, map) in held.into_iter().rev() {
            all.on_cpu(cpu).unwrap().kunmap_local(&stacks[cpu as usize], map, &mut tlb).unwrap();
        }
        m.mmu.check().unwrap();
    }
    on_every_format!("CONFIG_NR_CPUS=24", 1, |m, _| test(m));
}

/// Without the flush the next page would be reached through the last one's translation.
#[test]
fn an_unmap_without_its_flush_is_seen() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let all = m.local(false);
        let local = all.on_cpu(0).unwrap();
        let stack = KmapStack::new();
        let map = local.kmap_local_page(&stack, high(1), &mut NotLive).unwrap();
        m.store(0, map.address(), 1);
        local.kunmap_local(&stack, map, &mut NotLive).unwrap();
        let map = local.kmap_local_page(&stack, high(2), &mut NotLive).unwrap();
        assert!(matches!(m.mmu.access(0, map.address(), Access::READ), Err(AccessError::Violation(_))));
    }
    on_every_format!("", 1, |m, _| test(m));
}

#[test]
fn a_task_that_is_scheduled_finds_its_pages_where_they_were() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let all = m.local(false);
        let local = all.on_cpu(0).unwrap();
        let (first, second) = (KmapStack::new(), KmapStack::new());
        let mut tlb = Counted::only(&m.mmu, 0);
        let a = local.kmap_local_page(&first, high(1), &mut tlb).unwrap();
        let b = local.kmap_local_page(&first, high(2), &mut tlb).unwrap();
        m.store(0, a.address(), 1);
        m.store(0, b.address(), 2);
        local.sched_out(&first, &mut tlb).unwrap();
        // Another task has the same slots meanwhile.
        let c = local.kmap_local_page(&second, high(3), &mut tlb).unwrap();
        assert_eq!(c.address(), a.address());
        m.store(0, c.address(), 3);
        // It did not leave: the first one cannot come back over it.
        assert!(matches!(local.sched_in(&first, &mut tlb), Err(SchedError::Slot(_))));
        local.sched_out(&second, &mut tlb).unwrap();
        let elsewhere = all.on_cpu(1).unwrap();
        assert_eq!(elsewhere.sched_in(&first, &mut tlb), Err(SchedError::Moved { cpu: 1, held_on: 0 }));
        let published = tlb.published;
        local.sched_in(&first, &mut tlb).unwrap();
        assert_eq!(tlb.published, published + 1);
        assert_eq!((m.load(0, a.address()), m.load(0, b.address())), (1, 2));
        local.kunmap_local(&first, b, &mut tlb).unwrap();
        local.kunmap_local(&first, a, &mut tlb).unwrap();
        local.sched_in(&second, &mut tlb).unwrap();
        assert_eq!(m.load(0, c.address()), 3);
        local.kunmap_local(&second, c, &mut tlb).unwrap();
        m.mmu.check().unwrap();
    }
    on_every_format!("", 2, |m, _| test(m));
}

#[test]
fn whoever_holds_an_atomic_one_is_not_scheduled() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let all = m.local(false);
        let local = all.on_cpu(0).unwrap();
        let stack = KmapStack::new();
        let mut tlb = Counted::only(&m.mmu, 0);
        let outer = local.kmap_local_page(&stack, high(1), &mut tlb).unwrap();
        let inner = local.kmap_atomic(&stack, high(2), &mut tlb).unwrap();
        m.store(0, inner.address(), 8);
        assert_eq!(local.sched_out(&stack, &mut tlb), Err(SchedError::Atomic(1)));
        assert_eq!((m.load(0, inner.address()), m.ram(high(2))), (8, 8));
        local.kunmap_atomic(&stack, inner, &mut tlb).unwrap();
        local.sched_out(&stack, &mut tlb).unwrap();
        local.sched_in(&stack, &mut tlb).unwrap();
        local.kunmap_local(&stack, outer, &mut tlb).unwrap();
    }
    on_every_format!("", 1, |m, _| test(m));
}

#[test]
fn running_off_a_page_meets_a_guard() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let all = m.local(true);
        assert_eq!(all.depth(), 16);
        let local = all.on_cpu(0).unwrap();
        let stack = KmapStack::new();
        let mut tlb = Counted::only(&m.mmu, 0);
        let maps: Vec<_> =
            (0..16).map(|n| local.kmap_local_page(&stack, high(n), &mut tlb).unwrap()).collect();
        for map in &maps {
            let at = map.address();
            m.store(0, at, 1);
            for beyond in [at.get() + PAGE, at.get() - 4] {
                match m.mmu.access(0, VirtAddr::new(beyond), Access::WRITE) {
                    Err(AccessError::Fault(fault)) => assert_eq!(fault.kind, FaultKind::Translation),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(
            local.kmap_local_page(&stack, high(20), &mut tlb),
            Err(KmapLocalError::TooDeep { held: 16 })
        );
        for map in maps.into_iter().rev() {
            local.kunmap_local(&stack, map, &mut tlb).unwrap();
        }
    }
    on_every_format!("CONFIG_DEBUG_KMAP_LOCAL=y\nCONFIG_NR_CPUS=4", 1, |m, _| test(m));
}
