//! The kernel's rules, each with every one of its flushes left out once: then somebody reads what was there before.

use super::board::{Board, Without, board, page, user};
use crate::world::{Counted, PAGE};
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_kspace::dcache::{Behaviour, CacheCpu, CachedPage, FileMapping};
use pagewright_pagetable::MemoryType::Normal;
use pagewright_pagetable::format::arm::short::ArmShort;
use pagewright_platform::DataCache;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

type Cx<'c, 'a, 'b, 'm> = CacheCpu<'c, Without<'a, 'b, 'm>, Counted<'b, 'm>, ArmShort>;

/// With every flush all is well; without any single one it is not. A cache without aliases needs none. Returns how many flushes there were, for each cache.
fn each_flush_is_needed(
    caches: &[(&str, Option<&str>)],
    scenario: impl Fn(&Board<'_, '_>, &mut Cx<'_, '_, '_, '_>, &Cell<u32>) -> bool,
) -> Vec<u32> {
    let mut all = Vec::new();
    for &(shape, mini) in caches {
        let mut flushes = None;
        let mut skip = None;
        loop {
            // User pages 1 and 5 have one colour, which is not the kernel's.
            let users = [(1, page(0), Normal), (5, page(1), Normal), (9, page(2), Normal)];
            board(shape, mini, &users, |b| {
                let without = Without { cpu: b.cpu, skip, seen: Cell::new(0) };
                let mut tlb = Counted::all(&b.m.mmu);
                let counted = Cell::new(u32::MAX);
                let mut cx = CacheCpu { cache: &without, tlb: &mut tlb, high: None };
                let right = scenario(&b, &mut cx, &counted);
                if skip.is_none() {
                    flushes = Some(counted.get().min(without.seen.get()));
                }
                let aliases = b.rules.behaviour() != Behaviour::NonAliasing;
                assert_eq!(right, skip.is_none() || !aliases, "{shape} {mini:?} without flush {skip:?}");
                b.m.mmu.check().unwrap();
            });
            let next = skip.map_or(0, |n| n + 1);
            if next >= flushes.unwrap_or(0) {
                break;
            }
            skip = Some(next);
        }
        all.push(flushes.unwrap_or(0));
    }
    all
}

const CACHES: [(&str, Option<&str>); 4] =
    [("vipt,32K,4,32", None), ("vipt,64K,4,32", None), ("vivt,16K,64,32", None), ("pipt,32K,4,32", None)];

/// Page 1 of a file, which user code has at its page 1.
fn file<'p>(clean: &'p AtomicBool, mapped: bool, users: &'p [VirtAddr]) -> CachedPage<'p> {
    CachedPage { phys: page(0), clean, mapping: Some(FileMapping { index: 1, mapped, user: users }) }
}

fn anonymous(phys: PhysAddr, clean: &AtomicBool) -> CachedPage<'_> {
    CachedPage { phys, clean, mapping: None }
}

#[test]
fn what_the_kernel_writes_user_code_reads_after_flush_dcache_page() {
    let flushes = each_flush_is_needed(&CACHES, |b, cx, _| {
        let clean = AtomicBool::new(true);
        assert!(b.reads(user(1), 0));
        b.write(b.kernel(page(0)), 5);
        b.rules.flush_dcache_page::<_, _, ()>(cx, &file(&clean, true, &[user(1)])).unwrap();
        b.reads(user(1), 5)
    });
    assert_eq!(flushes, [2, 2, 2, 1]);
}

#[test]
fn what_user_code_writes_the_kernel_reads_after_flush_dcache_page() {
    each_flush_is_needed(&CACHES, |b, cx, _| {
        let clean = AtomicBool::new(true);
        assert!(b.reads(b.kernel(page(0)), 0));
        b.write(user(1), 5);
        b.rules.flush_dcache_page::<_, _, ()>(cx, &file(&clean, true, &[user(1)])).unwrap();
        b.reads(b.kernel(page(0)), 5)
    });
}

/// Nobody maps the page: it is marked, and flushed when somebody does.
#[test]
fn a_page_that_nobody_maps_is_flushed_when_it_is_mapped() {
    let flushes = each_flush_is_needed(&CACHES, |b, cx, _| {
        let clean = AtomicBool::new(true);
        // It was mapped before; with virtual tags its lines went with the mapping.
        assert!(b.reads(user(1), 0));
        if b.rules.behaviour() == Behaviour::Vivt {
            b.rules.flush_cache_page::<_, _, ()>(cx, page(0), user(1)).unwrap();
        }
        let before = cx.cache.seen.get();
        b.write(b.kernel(page(0)), 5);
        b.rules.flush_dcache_page::<_, _, ()>(cx, &file(&clean, false, &[])).unwrap();
        assert!(!clean.load(Ordering::Relaxed));
        assert_eq!(cx.cache.seen.get(), before);
        b.rules.sync_dcache::<_, _, ()>(cx, &file(&clean, true, &[user(1)])).unwrap();
        let synced = cx.cache.seen.get();
        // Once is enough.
        b.rules.sync_dcache::<_, _, ()>(cx, &file(&clean, true, &[user(1)])).unwrap();
        assert_eq!(cx.cache.seen.get(), synced);
        b.reads(user(1), 5)
    });
    assert_eq!(flushes, [2, 2, 2, 1]);
}

#[test]
fn lines_of_a_mapping_that_ends_go_with_it() {
    let aliasing = &CACHES[..3];
    each_flush_is_needed(aliasing, |b, cx, _| {
        b.write(user(1), 5);
        b.rules.flush_cache_page::<_, _, ()>(cx, page(0), user(1)).unwrap();
        b.reads(b.kernel(page(0)), 5)
    });
}

/// The kernel wrote the first half, user code the second; the copy's page has old lines of the kernel's that nobody wrote back yet. After the copy
/// the cache writes back in the order that hurts most.
#[test]
fn a_copy_for_user_code_has_what_both_wrote() {
    let mini = [("vivt,16K,64,32", Some("vivt,4K,2,32")), ("vivt,16K,64,32", Some("vivt,8K,4,32"))];
    for caches in [&CACHES[..2], &CACHES[2..3], &mini[..]] {
        let half = (PAGE / 2) as usize;
        let flushes = each_flush_is_needed(caches, |b, cx, counted| {
            let clean = AtomicBool::new(false);
            assert!(b.reads(b.kernel(page(0)), 0));
            b.cpu.store(b.kernel(page(0)), false, &vec![1; half]).unwrap();
            b.cpu.store(VirtAddr::new(user(1).get() + PAGE / 2), false, &vec![2; half]).unwrap();
            b.write(b.kernel(page(1)), 0xee);
            let from = anonymous(page(0), &clean);
            b.rules.copy_user_highpage(cx, page(1), &from, user(1)).unwrap();
            counted.set(cx.cache.seen.get());
            let right = |at: VirtAddr| {
                let mut bytes = vec![0; PAGE as usize];
                b.cpu.load(at, false, &mut bytes).unwrap();
                bytes[..half].iter().all(|x| *x == 1) && bytes[half..].iter().all(|x| *x == 2)
            };
            // Another page through the same windows.
            b.write(b.kernel(page(0)), 3);
            let other = anonymous(page(0), &clean);
            b.cpu.clean_invalidate(b.kernel(page(0)), PAGE);
            b.cpu.invalidate(user(1), PAGE);
            b.rules.copy_user_highpage(cx, page(2), &other, user(1)).unwrap();
            let now = right(user(5)) && b.reads(user(9), 3);
            b.cpu.clean_invalidate(user(5), PAGE);
            b.cpu.evict_all();
            now && right(user(5))
        });
        assert!(flushes.iter().all(|n| *n >= 2), "{flushes:?}");
    }
}

#[test]
fn a_page_that_is_zeroed_for_user_code_stays_zero() {
    let flushes = each_flush_is_needed(&CACHES[..3], |b, cx, _| {
        // Something in RAM, and something else that is not written back yet.
        b.write(b.kernel(page(1)), 0xdd);
        b.cpu.evict_all();
        b.write(b.kernel(page(1)), 0xee);
        b.rules.clear_user_highpage(cx, page(1), user(5)).unwrap();
        let now = b.reads(user(5), 0);
        b.cpu.clean_invalidate(user(5), PAGE);
        b.cpu.evict_all();
        now && b.reads(user(5), 0)
    });
    assert_eq!(flushes, [1, 1, 1]);
}

/// What is no low memory is refused where nobody says how to reach it, and no window stays mapped.
#[test]
fn pages_without_an_address_are_refused_without_kmaps() {
    for (shape, _) in CACHES {
        board(shape, None, &[(1, page(0), Normal)], |b| {
            let mut tlb = Counted::all(&b.m.mmu);
            let mut cx = CacheCpu { cache: b.cpu, tlb: &mut tlb, high: None };
            let high = PhysAddr::new(0x7000_0000);
            let clean = AtomicBool::new(true);
            assert!(b.rules.flush_dcache_page::<_, _, ()>(&mut cx, &anonymous(high, &clean)).is_err());
            assert!(b.rules.clear_user_highpage(&mut cx, high, user(1)).is_err());
            assert!(b.rules.copy_user_highpage(&mut cx, high, &anonymous(page(0), &clean), user(1)).is_err());
            b.rules.clear_user_highpage(&mut cx, page(1), user(1)).unwrap();
        });
    }
}
