//! The rules for pages of high memory, likewise with each flush left out once: a kmap's lines go with it, or its address shows them to the next page.

use super::board::{Board, Without, board_of, user};
use crate::world::{Counted, PAGE, high};
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_kspace::dcache::{Behaviour, CacheCpu, CachedPage, HighCpu};
use pagewright_kspace::highmem::{Kmap, KmapCpu, KmapStack, PkmapEntry};
use pagewright_pagetable::MemoryType::Normal;
use pagewright_pagetable::format::arm::short::ArmShort;
use pagewright_platform::{DataCache, MappedMemory};
use pagewright_sim::PhysMemory;
use pagewright_sim::cache::in_ram;
use std::cell::Cell;
use std::sync::atomic::AtomicBool;

type Cx<'c, 'a, 'b, 'm> = CacheCpu<'c, Without<'a, 'b, 'm>, Counted<'b, 'm>, ArmShort>;

/// What a scenario has besides the CPU.
struct High<'h, 'a, 'w> {
    b: &'h Board<'a, 'w>,
    kmap: &'h Kmap<'w, ArmShort, &'w PhysMemory>,
    local: &'h KmapCpu<'h, ArmShort>,
    stack: &'h KmapStack,
}

impl High<'_, '_, '_> {
    /// Does something at a page's address in a local kmap, as a task does, and leaves no lines behind where tags are virtual.
    fn through_kmap<R>(&self, page: PhysAddr, work: impl FnOnce(VirtAddr) -> R) -> R {
        let tlb = &mut self.b.m.mmu.only(0);
        let map = self.local.kmap_local_page(self.stack, page, tlb).unwrap();
        let done = work(map.address());
        if self.b.rules.behaviour() == Behaviour::Vivt {
            self.b.cpu.clean_invalidate(map.address(), PAGE);
        }
        self.local.kunmap_local(self.stack, map, tlb).unwrap();
        done
    }
}

/// With every flush all is well; without any single one it is not where tags are virtual. How many flushes there were, for each cache.
fn each_flush_is_needed(
    caches: &[(&str, Option<&str>)],
    scenario: impl Fn(&High<'_, '_, '_>, &mut Cx<'_, '_, '_, '_>) -> bool,
) -> Vec<u32> {
    let mut all = Vec::new();
    for &(shape, mini) in caches {
        let (mut flushes, mut skip) = (0, None);
        loop {
            let users = [(1, high(0), Normal), (5, high(1), Normal)];
            board_of("CONFIG_HIGHMEM=y", shape, mini, &users, |b| {
                let mut entries = vec![PkmapEntry::EMPTY; 16];
                let entries: &mut [PkmapEntry] = &mut entries;
                let without = Without { cpu: b.cpu, skip, seen: Cell::new(0) };
                let slots = b.m.local(false);
                let local = slots.on_cpu(0).unwrap();
                let stack = KmapStack::new();
                let kmap = b.m.kmap(entries);
                let mut tlb = Counted::only(&b.m.mmu, 0);
                let means = HighCpu { local: &local, stack: &stack, window: Some(&kmap) };
                let mut cx = CacheCpu { cache: &without, tlb: &mut tlb, high: Some(means) };
                let h = High { b: &b, kmap: &kmap, local: &local, stack: &stack };
                let right = scenario(&h, &mut cx);
                let aliases = b.rules.behaviour().aliases();
                assert_eq!(right, skip.is_none() || !aliases, "{shape} {mini:?} without flush {skip:?}");
                if skip.is_none() {
                    flushes = without.seen.get();
                }
                assert!(stack.is_empty());
                b.m.mmu.check().unwrap();
            });
            let next = skip.map_or(0, |n| n + 1);
            if next >= flushes {
                break;
            }
            skip = Some(next);
        }
        all.push(flushes);
    }
    all
}

const CACHES: [(&str, Option<&str>); 3] =
    [("vivt,16K,64,32", None), ("vipt,16K,4,32", None), ("pipt,32K,4,32", None)];

fn anonymous(phys: PhysAddr, clean: &AtomicBool) -> CachedPage<'_> {
    CachedPage { phys, clean, mapping: None }
}

#[test]
fn what_is_written_through_the_window_is_in_ram_after_flush_dcache_page() {
    let flushes = each_flush_is_needed(&CACHES, |h, cx| {
        let clean = AtomicBool::new(false);
        let at = h.kmap.kmap(high(0), &mut h.b.m.mmu.all_cpus()).unwrap();
        h.b.write(at, 5);
        h.b.rules.flush_dcache_page::<_, _, ()>(cx, &anonymous(high(0), &clean)).unwrap();
        let right = in_ram(&h.b.m.mmu, high(0)) == 5;
        let _ = h.kmap.kunmap(high(0)).unwrap();
        right || !h.b.rules.behaviour().aliases()
    });
    assert_eq!(flushes, [1, 1, 1]);
}

/// Nobody has it in the window: where tags are virtual there is nothing to flush then.
#[test]
fn a_page_that_nobody_maps_has_no_lines_with_virtual_tags() {
    let flushes = each_flush_is_needed(&CACHES, |h, cx| {
        let clean = AtomicBool::new(false);
        h.through_kmap(high(0), |at| h.b.write(at, 5));
        h.b.rules.flush_dcache_page::<_, _, ()>(cx, &anonymous(high(0), &clean)).unwrap();
        in_ram(&h.b.m.mmu, high(0)) == 5 || !h.b.rules.behaviour().aliases()
    });
    assert_eq!(flushes, [0, 1, 1]);
}

#[test]
fn a_page_that_is_zeroed_for_user_code_stays_zero() {
    let flushes = each_flush_is_needed(&CACHES, |h, cx| {
        h.through_kmap(high(1), |at| h.b.write(at, 0xee));
        h.b.rules.clear_user_highpage(cx, high(1), user(5)).unwrap();
        h.b.reads(user(5), 0)
    });
    assert_eq!(flushes, [1, 0, 0]);
}

/// User code wrote the second half, somebody who has it in the window the first. Then other pages go through the same slots.
#[test]
fn a_copy_for_user_code_has_what_both_wrote() {
    let half = (PAGE / 2) as usize;
    for (caches, expected) in
        [(&CACHES[..], vec![4, 0, 0]), (&[("vivt,16K,64,32", Some("vivt,4K,2,32"))][..], vec![4])]
    {
        let flushes = each_flush_is_needed(caches, |h, cx| {
            let clean = AtomicBool::new(false);
            h.through_kmap(high(3), |at| h.b.write(at, 9));
            let at = h.kmap.kmap(high(0), &mut h.b.m.mmu.all_cpus()).unwrap();
            assert!(h.b.reads(user(1), 0) && h.b.reads(at, 0));
            h.b.cpu.store(at, false, &vec![1; half]).unwrap();
            h.b.cpu.store(VirtAddr::new(user(1).get() + PAGE / 2), false, &vec![2; half]).unwrap();
            h.b.rules.copy_user_highpage(cx, high(1), &anonymous(high(0), &clean), user(1)).unwrap();
            let _ = h.kmap.kunmap(high(0)).unwrap();
            let mut bytes = vec![0; PAGE as usize];
            h.b.cpu.load(user(5), false, &mut bytes).unwrap();
            // Another copy through the same addresses has nothing of this one.
            let tlb = &mut Counted::only(&h.b.m.mmu, 0);
            let mut other = CacheCpu { cache: h.b.cpu, tlb, high: cx.high };
            h.b.rules.copy_user_highpage(&mut other, high(3), &anonymous(high(2), &clean), user(1)).unwrap();
            let next = h.through_kmap(high(3), |at| h.b.reads(at, 0));
            next && bytes[..half].iter().all(|x| *x == 1) && bytes[half..].iter().all(|x| *x == 2)
        });
        assert_eq!(flushes, expected);
    }
}

#[test]
fn an_access_that_fails_leaves_no_kmap() {
    /// A CPU whose accesses fail.
    struct Broken<'a, 'b, 'm>(&'a Without<'a, 'b, 'm>);

    impl DataCache for Broken<'_, '_, '_> {
        fn clean_invalidate(&self, at: VirtAddr, bytes: u64) {
            self.0.clean_invalidate(at, bytes);
        }

        fn clean(&self, at: VirtAddr, bytes: u64) {
            self.0.clean(at, bytes);
        }

        fn invalidate(&self, at: VirtAddr, bytes: u64) {
            self.0.invalidate(at, bytes);
        }

        fn clean_invalidate_all(&self) {
            self.0.clean_invalidate_all();
        }
    }

    impl MappedMemory for Broken<'_, '_, '_> {
        type Error = ();

        fn zero(&self, _: VirtAddr, _: u64) -> Result<(), ()> {
            Err(())
        }

        fn copy(&self, _: VirtAddr, _: VirtAddr, _: u64) -> Result<(), ()> {
            Err(())
        }

        fn read(&self, _: VirtAddr, _: &mut [u8]) -> Result<(), ()> {
            Err(())
        }

        fn write(&self, _: VirtAddr, _: &[u8]) -> Result<(), ()> {
            Err(())
        }
    }

    for (shape, mini) in CACHES {
        let users = [(1, high(0), Normal), (5, high(1), Normal)];
        board_of("CONFIG_HIGHMEM=y", shape, mini, &users, |b| {
            let without = Without { cpu: b.cpu, skip: None, seen: Cell::new(0) };
            let slots = b.m.local(false);
            let local = slots.on_cpu(0).unwrap();
            let stack = KmapStack::new();
            let mut tlb = Counted::only(&b.m.mmu, 0);
            let means = HighCpu { local: &local, stack: &stack, window: None };
            let mut cx = CacheCpu { cache: &Broken(&without), tlb: &mut tlb, high: Some(means) };
            let clean = AtomicBool::new(false);
            let from = anonymous(high(0), &clean);
            assert!(b.rules.copy_user_highpage(&mut cx, high(1), &from, user(1)).is_err());
            assert!(b.rules.clear_user_highpage(&mut cx, high(1), user(5)).is_err());
            assert!(stack.is_empty());
        });
    }
}
