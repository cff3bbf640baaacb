//! Virtual tags: what one address space maps twice is not cached, and kmaps leave no lines behind.

use super::board::{Board, Without, board, page, user};
use crate::world::{Counted, Machine, PAGE, World, high};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_kspace::dcache::{Behaviour, CacheCpu, CachedPage, DcacheError, FileMapping, FlushKmaps};
use pagewright_kspace::highmem::{KmapCpu, KmapStack, PkmapEntry};
use pagewright_kspace::layout::CacheWindows;
use pagewright_pagetable::MemoryType::{Normal, WriteCombine};
use pagewright_pagetable::format::FormatKind;
use pagewright_pagetable::format::arm::short::ArmShort;
use pagewright_pagetable::{Tables, TlbFlush};
use pagewright_platform::DataCache;
use pagewright_sim::PhysMemory;
use pagewright_sim::cache::{CachedCpu, in_ram};
use std::cell::Cell;
use std::sync::atomic::AtomicBool;

const VIVT: &str = "vivt,16K,4,32";

/// Maps page 0 at `at`, which is mapped at `users` as well: how many mappings were changed.
fn mapped<C: DataCache>(
    b: &Board<'_, '_>,
    cache: &C,
    at: VirtAddr,
    users: &[VirtAddr],
) -> Result<u32, DcacheError<()>> {
    let tables = Tables::new(ArmShort::default(), *b.m.tables.memory(), b.m.tables.root());
    made_coherent(b, (cache, &tables), at, users)
}

fn made_coherent<C: DataCache>(
    b: &Board<'_, '_>,
    (cache, tables): (&C, &Tables<ArmShort, &PhysMemory>),
    at: VirtAddr,
    users: &[VirtAddr],
) -> Result<u32, DcacheError<()>> {
    let clean = AtomicBool::new(true);
    let mapping = Some(FileMapping { index: 1, mapped: true, user: users });
    let page = CachedPage { phys: page(0), clean: &clean, mapping };
    let mut tlb = Counted::all(&b.m.mmu);
    let mut cx = CacheCpu { cache, tlb: &mut tlb, high: None };
    b.rules.make_coherent(&mut cx, tables, &page, at)
}

fn memory(b: &Board<'_, '_>, at: VirtAddr) -> pagewright_pagetable::MemoryType {
    b.m.tables.leaf(at).unwrap().0.attr.memory
}

#[test]
fn a_page_that_one_address_space_maps_twice_is_not_cached_there() {
    let users = [(1, page(0), Normal), (2, page(0), Normal), (5, page(1), Normal)];
    board(VIVT, None, &users, |b| {
        // Both have lines, and one store is not seen by the other.
        assert!(b.reads(user(2), 0));
        b.write(user(1), 7);
        assert!(b.reads(user(2), 0));
        assert_eq!(mapped(&b, b.cpu, user(2), &[user(1), user(2), user(5), user(9)]), Ok(2));
        // What was dirty got to memory, and old lines are gone.
        assert!(b.reads(user(1), 7) && b.reads(user(2), 7));
        for byte in [8, 9] {
            b.write(user(u64::from(byte) % 2 + 1), byte);
            assert!(b.reads(user(1), byte) && b.reads(user(2), byte));
            assert_eq!(in_ram(&b.m.mmu, page(0)), byte);
        }
        assert_eq!((memory(&b, user(1)), memory(&b, user(2))), (WriteCombine, WriteCombine));
        assert_eq!(memory(&b, user(5)), Normal, "another page");
        assert_eq!(mapped(&b, b.cpu, user(1), &[user(1), user(2)]), Ok(0), "they are already");
        b.m.mmu.check().unwrap();
    });
}

#[test]
fn one_mapping_and_caches_with_physical_tags_are_left_alone() {
    let users = [(1, page(0), Normal), (2, page(0), Normal)];
    for (shape, others) in
        [(VIVT, &[user(1)][..]), ("vipt,32K,4,32", &[user(1), user(2)]), ("pipt,32K,4,32", &[user(2)])]
    {
        board(shape, None, &users, |b| {
            assert_eq!(mapped(&b, b.cpu, user(1), others), Ok(0), "{shape}");
            assert_eq!((memory(&b, user(1)), memory(&b, user(2))), (Normal, Normal));
        });
    }
}

#[test]
fn a_mapping_that_somebody_changes_is_an_error() {
    let users = [(1, page(0), Normal), (2, page(0), Normal)];
    board(VIVT, None, &users, |b| {
        let tables = Tables::new(ArmShort::default(), *b.m.tables.memory(), b.m.tables.root());
        let held = tables.lock(VirtRange::from_len(user(2), PAGE)).unwrap();
        let refused = made_coherent(&b, (b.cpu, &tables), user(2), &[user(1)]);
        assert!(matches!(refused, Err(DcacheError::Locked(_))), "{refused:?}");
        drop(held);
        assert_eq!((memory(&b, user(1)), memory(&b, user(2))), (WriteCombine, Normal));
        assert_eq!(made_coherent(&b, (b.cpu, &tables), user(2), &[user(1)]), Ok(1), "the rest");
    });
}

/// Each of two mappings has a line with what was written through it alone: it is in memory afterwards, or lost.
#[test]
fn what_is_dirty_at_each_address_is_written_back_before() {
    let users = [(1, page(0), Normal), (2, page(0), Normal)];
    for skip in [None, Some(0), Some(1)] {
        board(VIVT, None, &users, |b| {
            let without = Without { cpu: b.cpu, skip, seen: Cell::new(0) };
            let last = VirtAddr::new(user(2).get() + PAGE / 2);
            b.cpu.store(user(1), false, &[7]).unwrap();
            b.cpu.store(last, false, &[8]).unwrap();
            assert_eq!(mapped(&b, &without, user(2), &[user(1), user(2)]), Ok(2));
            assert_eq!(without.seen.get(), 2);
            let memory = [page(0), PhysAddr::new(page(0).get() + PAGE / 2)].map(|at| in_ram(&b.m.mmu, at));
            assert_eq!(memory == [7, 8], skip.is_none(), "without {skip:?}");
        });
    }
}

/// A CPU with virtual tags, and high memory.
struct Kernel<'k, 'w> {
    m: &'k Machine<'w, ArmShort>,
    without: &'k Without<'k, 'k, 'w>,
    here: &'k KmapCpu<'k, ArmShort>,
}

impl Kernel<'_, '_> {
    /// Does something with TLBs that flush the cache as well.
    fn flushing<R>(&self, work: impl FnOnce(&mut dyn TlbFlush) -> R) -> R {
        let mut tlb = Counted::all(&self.m.mmu);
        work(&mut FlushKmaps { behaviour: Behaviour::Vivt, cache: self.without, tlb: &mut tlb })
    }

    /// What is at an address, and writes something else there.
    fn swap(&self, at: VirtAddr, value: u8) -> u8 {
        let before = self.byte(at);
        self.without.cpu.store(at, false, &[value]).unwrap();
        before
    }

    fn byte(&self, at: VirtAddr) -> u8 {
        let mut byte = [0];
        self.without.cpu.load(at, false, &mut byte).unwrap();
        byte[0]
    }

    fn in_ram(&self, page: u64) -> u8 {
        in_ram(&self.m.mmu, high(page))
    }
}

/// With every flush all is well; without any single one it is not. How many flushes there were.
fn each_flush_is_needed(scenario: impl Fn(&Kernel<'_, '_>) -> bool) -> u32 {
    let (mut flushes, mut skip) = (0, None);
    loop {
        let world = World::with_cache(
            FormatKind::ArmShort,
            ArmShort::default(),
            "CONFIG_NR_CPUS=16",
            CacheWindows::None,
        );
        world.run(1, |m, _| {
            let cpu = CachedCpu::new(&m.mmu, 0, VIVT.parse().unwrap());
            let without = Without { cpu: &cpu, skip, seen: Cell::new(0) };
            let local = m.local(false);
            // The one whose slots reach into two tables.
            let here = local.on_cpu(15).unwrap();
            let right = scenario(&Kernel { m: &m, without: &without, here: &here });
            assert_eq!(right, skip.is_none(), "without flush {skip:?}");
            if skip.is_none() {
                flushes = without.seen.get();
            }
        });
        let next = skip.map_or(0, |n| n + 1);
        if next >= flushes {
            return flushes;
        }
        skip = Some(next);
    }
}

#[test]
fn a_local_kmap_leaves_no_lines_behind() {
    let flushes = each_flush_is_needed(|k| {
        let stack = KmapStack::new();
        // One slot for one page after the other.
        let found = [(1, 5), (2, 6)].map(|(page, value)| {
            k.flushing(|tlb| {
                let map = k.here.kmap_local_page(&stack, high(page), tlb).unwrap();
                let before = k.swap(map.address(), value);
                k.here.kunmap_local(&stack, map, tlb).unwrap();
                before
            })
        });
        found == [0, 0] && [k.in_ram(1), k.in_ram(2)] == [5, 6]
    });
    assert_eq!(flushes, 2);
}

/// Each page in a line of another set, so that none pushes another out.
#[test]
fn as_many_local_kmaps_as_there_are_slots_leave_no_lines_behind() {
    let flushes = each_flush_is_needed(|k| {
        let stack = KmapStack::new();
        k.flushing(|tlb| {
            let maps: Vec<_> = (0..15)
                .map(|n| {
                    let map = k.here.kmap_atomic(&stack, high(n), tlb).unwrap();
                    k.swap(VirtAddr::new(map.address().get() + 32 * n), n as u8 + 1);
                    map
                })
                .collect();
            for map in maps.into_iter().rev() {
                k.here.kunmap_atomic(&stack, map, tlb).unwrap();
            }
        });
        (0..15).all(|n| in_ram(&k.m.mmu, PhysAddr::new(high(n).get() + 32 * n)) == n as u8 + 1)
    });
    assert_eq!(flushes, 15);
}

#[test]
fn a_task_that_is_scheduled_out_leaves_no_lines_in_its_slots() {
    let flushes = each_flush_is_needed(|k| {
        let (stack, other) = (KmapStack::new(), KmapStack::new());
        let found = k.flushing(|tlb| {
            let map = k.here.kmap_local_page(&stack, high(1), tlb).unwrap();
            k.swap(map.address(), 5);
            k.here.sched_out(&stack, tlb).unwrap();
            let others = k.here.kmap_local_page(&other, high(2), tlb).unwrap();
            let found = k.swap(others.address(), 6);
            k.here.kunmap_local(&other, others, tlb).unwrap();
            k.here.sched_in(&stack, tlb).unwrap();
            let back = k.swap(map.address(), 7);
            k.here.kunmap_local(&stack, map, tlb).unwrap();
            (found, back)
        });
        found == (0, 5) && [k.in_ram(1), k.in_ram(2)] == [7, 6]
    });
    assert_eq!(flushes, 3);
}

#[test]
fn a_slot_of_the_pkmap_window_is_used_again_without_the_old_pages_lines() {
    let flushes = each_flush_is_needed(|k| {
        let mut entries = [PkmapEntry::EMPTY; 2];
        let kmap = k.m.kmap(&mut entries);
        let found = [0, 1, 2, 3].map(|n| {
            k.flushing(|tlb| {
                let at = kmap.kmap(high(n), tlb).unwrap();
                let before = k.swap(at, n as u8 + 1);
                let _ = kmap.kunmap(high(n)).unwrap();
                before
            })
        });
        assert!(k.flushing(|tlb| kmap.kmap_flush_unused(tlb)) > 0);
        found == [0; 4] && [0, 1, 2, 3].map(|n| k.in_ram(n)) == [1, 2, 3, 4]
    });
    assert_eq!(flushes, 4);
}
