//! Local kmaps.

use crate::world::{BASE, Counted, HIGH, Machine, PAGE, high, on_every_format};
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_kspace::fixmap::Slot;
use pagewright_kspace::highmem::{KmapCpu, KmapLocal, KmapLocalError, KmapStack, Linear, SchedError};
use pagewright_pagetable::{FlushScope, Format, NotLive, SlotError, TlbFlush, Word};
use pagewright_sim::PhysMemory;
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

#[test]
fn pages_that_are_no_ram_get_no_slot() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let all = m.local(false);
        let local = all.on_cpu(0).unwrap();
        let stack = KmapStack::new();
        let mut tlb = Counted::only(&m.mmu, 0);
        // The last page of RAM may have one, the next one and those below RAM may not, nor any whose number only looks like one of RAM's in fewer bits.
        let last = high(HIGH / PAGE - 1);
        let map = local.kmap_local_page(&stack, PhysAddr::new(last.get() + 5), &mut tlb).unwrap();
        assert_eq!(local.page_of(&stack, map.address()), Some(last));
        local.kunmap_local(&stack, map, &mut tlb).unwrap();
        let twins = [1 << 32, 1 << 43, 1 << 44, 1 << 52, 1 << 63].map(|bit| high(1).get() | bit);
        for page in [BASE - PAGE, last.get() + PAGE, !(PAGE - 1)].into_iter().chain(twins) {
            let page = PhysAddr::new(page);
            let refused = local.kmap_local_page(&stack, page, &mut tlb);
            assert_eq!(refused, Err(KmapLocalError::Slot(SlotError::Address(page))));
            assert!(stack.is_empty());
        }
        assert_eq!((tlb.published, tlb.flushes), (1, 1));
        m.mmu.check().unwrap();
    }
    on_every_format!("", 1, |m, _| test(m));
}

#[test]
fn slots_inside_the_linear_map_are_refused() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let range = KmapLocal::<F, &PhysMemory>::range(m.layout.fixmap()).unwrap();
        let base = VirtAddr::new(range.start.get() - PAGE);
        for (pages, refused) in [(1, false), (2, true)] {
            let end = PhysAddr::new(BASE + pages * PAGE);
            let linear = Linear { start: PhysAddr::new(BASE), end, base };
            assert_eq!(KmapLocal::new(linear, m.slots(range), false).is_none(), refused, "{pages}");
        }
    }
    on_every_format!("", 1, |m, _| test(m));
}

/// A handler that maps a page whenever the task that it interrupts asks something of the TLB.
struct Handler<'h, 'w, F: Format> {
    m: &'h Machine<'w, F>,
    local: &'h KmapCpu<'h, F>,
    stack: &'h KmapStack,
    times: Cell<u32>,
}

impl<F: Format> Handler<'_, '_, F> {
    fn run(&self) {
        let mut tlb = self.m.mmu.only(0);
        let map = self.local.kmap_local_page(self.stack, high(9), &mut tlb).unwrap();
        self.m.store(0, map.address(), 9);
        self.local.kunmap_local(self.stack, map, &mut tlb).unwrap();
        self.times.set(self.times.get() + 1);
    }
}

impl<F: Format> TlbFlush for Handler<'_, '_, F> {
    fn flush(&mut self, scope: &FlushScope) {
        self.run();
        self.m.mmu.only(0).flush(scope);
        self.run();
    }

    fn publish(&mut self) {
        self.run();
    }

    fn before_unmap(&mut self, _: VirtRange) {
        self.run();
    }

    fn is_empty64(&self, entry: &AtomicU64) -> bool {
        let empty = entry.load(Ordering::Relaxed) == 0;
        self.run();
        empty
    }

    fn store64(&mut self, entry: &AtomicU64, word: u64) {
        self.run();
        entry.store(word, Ordering::Relaxed);
        self.run();
    }
}

#[test]
fn a_handler_disturbs_nobody_whenever_it_comes() {
    fn test<F: Format>(m: Machine<'_, F>, guards: bool) {
        let all = m.local(guards);
        let local = all.on_cpu(0).unwrap();
        let stack = KmapStack::new();
        let mut tlb = Handler { m: &m, local: &local, stack: &stack, times: Cell::new(0) };
        let a = local.kmap_local_page(&stack, high(1), &mut tlb).unwrap();
        m.store(0, a.address(), 1);
        let b = local.kmap_local_page(&stack, high(2), &mut tlb).unwrap();
        m.store(0, b.address(), 2);
        assert_eq!((m.load(0, a.address()), m.load(0, b.address())), (1, 2));
        local.kunmap_local(&stack, b, &mut tlb).unwrap();
        assert_eq!(m.load(0, a.address()), 1);
        local.kunmap_local(&stack, a, &mut tlb).unwrap();
        assert!(stack.is_empty());
        // Each pair: when it was published, before the unmap, before and after the flush; where entries have 64 bits around both stores and after the look.
        let times = if F::Word::BYTES == 8 { 2 * (4 + 5) } else { 2 * 4 };
        assert_eq!(tlb.times.get(), times);
        assert_eq!([1, 2, 9].map(|n| m.ram(high(n))), [1, 2, 9]);
        m.mmu.check().unwrap();
    }
    on_every_format!("", 1, |m, _| test(m, false));
    on_every_format!("CONFIG_DEBUG_KMAP_LOCAL=y\nCONFIG_NR_CPUS=4", 1, |m, _| test(m, true));
}
