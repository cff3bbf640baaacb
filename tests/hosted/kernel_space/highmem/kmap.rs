//! The pkmap window.

use crate::world::{BASE, Counted, Machine, PAGE, high, on_every_format};
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_kspace::Kind;
use pagewright_kspace::highmem::{KmapError, KunmapError, PkmapEntry, Wake};
use pagewright_pagetable::Format;
use pagewright_sim::mmu::{Access, AccessError, Missing};

#[test]
fn a_page_has_one_address_for_all_its_users_on_all_cpus() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let mut entries = [PkmapEntry::EMPTY; 1024];
        let window = m.layout.get(Kind::Pkmap).unwrap();
        let kmap = m.kmap(entries.get_mut(..(window.len / PAGE) as usize).unwrap());
        assert_eq!(u64::from(kmap.slots()), window.len / PAGE);
        let mut tlb = Counted::all(&m.mmu);
        let at = kmap.kmap(high(3), &mut tlb).unwrap();
        assert!(window.contains(at));
        assert_eq!(kmap.kmap(high(3), &mut tlb), Ok(at));
        assert_eq!(kmap.kmap_high_get(high(3)), Some(at));
        m.store(0, at, 77);
        assert_eq!((m.load(1, at), m.ram(high(3))), (77, 77));
        assert_eq!(kmap.page_address(high(3)), Some(at));
        assert_eq!(kmap.kmap_to_page(VirtAddr::new(at.get() + 9)), Some(high(3)));
        for _ in 0..3 {
            assert_eq!(kmap.in_use(), (1, 0));
            assert_eq!(kmap.kunmap(high(3)), Ok(Wake::Nobody));
        }
        assert_eq!(kmap.in_use(), (0, 1));
        assert_eq!(kmap.kunmap(high(3)), Err(KunmapError::NotMapped(high(3))));
        // It stays mapped, and whoever wants it next pays nothing.
        assert_eq!(kmap.kmap(high(3), &mut tlb), Ok(at));
        assert_eq!((tlb.published, tlb.flushes), (1, 0));
        assert_eq!(kmap.kmap_high_get(high(4)), None);
        kmap.validate().unwrap();
    }
    on_every_format!("", 2, |m, _| test(m));
}

#[test]
fn low_memory_has_its_address_already() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let mut entries = [PkmapEntry::EMPTY; 4];
        let kmap = m.kmap(&mut entries);
        let mut tlb = Counted::all(&m.mmu);
        let low = PhysAddr::new(BASE + 5 * PAGE);
        let at = VirtAddr::new(m.linear.base.get() + 5 * PAGE);
        assert_eq!(kmap.kmap(low, &mut tlb), Ok(at));
        assert_eq!((kmap.page_address(low), kmap.kmap_to_page(at)), (Some(at), Some(low)));
        assert_eq!((kmap.kunmap(low), kmap.in_use()), (Ok(Wake::Nobody), (0, 0)));
        m.store(0, at, 5);
        assert_eq!(m.ram(low), 5);
    }
    on_every_format!("", 1, |m, _| test(m));
}

/// The TLBs of all CPUs hold the window's pages; one flush of them all, when the window has been gone through, lets the slots be used again.
#[test]
fn nothing_is_used_again_before_one_flush_on_every_cpu() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let mut entries = [PkmapEntry::EMPTY; 16];
        let kmap = m.kmap(&mut entries);
        let mut tlb = Counted::all(&m.mmu);
        for round in 0..5u64 {
            for n in 0..16 {
                let page = high(round * 16 + n);
                let at = kmap.kmap(page, &mut tlb).unwrap();
                m.store(0, at, page.get() as u32);
                assert_eq!(m.load(1, at), page.get() as u32);
                let _ = kmap.kunmap(page).unwrap();
                kmap.validate().unwrap();
            }
            m.mmu.check().unwrap();
        }
        // Once in 16 pages, when slot 0 is next.
        assert_eq!(tlb.flushes, 5);
        for n in 0..80 {
            assert_eq!(m.ram(high(n)), high(n).get() as u32);
        }
    }
    on_every_format!("", 2, |m, _| test(m));
}

/// What the test above would find: a flush that leaves a CPU out.
#[test]
fn a_flush_that_does_not_reach_a_cpu_is_seen_there() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let mut entries = [PkmapEntry::EMPTY; 4];
        let kmap = m.kmap(&mut entries);
        let mut tlb = Counted::only(&m.mmu, 0);
        for n in 0..3 {
            let at = kmap.kmap(high(n), &mut tlb).unwrap();
            assert_eq!((m.load(0, at), m.load(1, at)), (0, 0));
            let _ = kmap.kunmap(high(n)).unwrap();
        }
        assert_eq!(kmap.kmap_flush_unused(&mut tlb), 3);
        assert_eq!((tlb.flushes, kmap.in_use()), (1, (0, 0)));
        let _ = kmap.kmap(high(9), &mut tlb).unwrap();
        let at = kmap.kmap(high(10), &mut tlb).unwrap();
        assert_eq!(m.load(0, at), 0);
        match m.mmu.access(1, at, Access::READ) {
            Err(AccessError::Violation(v)) => {
                assert!(matches!(v.missing(), Missing::BreakBeforeMake | Missing::ChangeFlush), "{v}");
            }
            other => panic!("{other:?}"),
        }
    }
    on_every_format!("", 2, |m, _| test(m));
}

#[test]
fn a_full_window_says_what_to_wait_for_and_loses_no_wake_up() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let mut entries = [PkmapEntry::EMPTY; 8];
        let kmap = m.kmap(&mut entries);
        let mut tlb = Counted::all(&m.mmu);
        for n in 0..8 {
            let at = kmap.kmap(high(n), &mut tlb).unwrap();
            assert_eq!(m.load(1, at), 0);
        }
        let KmapError::Wait { key, slots: 8 } = kmap.kmap(high(8), &mut tlb).unwrap_err() else { panic!() };
        assert_eq!((kmap.page_address(high(8)), kmap.in_use()), (None, (8, 0)));
        // One that is mapped needs no slot.
        assert!(kmap.kmap(high(0), &mut tlb).is_ok());
        assert_eq!(kmap.kunmap(high(0)), Ok(Wake::Nobody));
        assert!(!kmap.may_go_on(key));
        assert_eq!(kmap.kunmap(high(5)), Ok(Wake::Waiters));
        // Also for somebody who was told to wait and is not asleep yet.
        assert!(kmap.may_go_on(key));
        assert_eq!(kmap.kunmap(high(6)), Ok(Wake::Nobody));
        let at = kmap.kmap(high(8), &mut tlb).unwrap();
        assert_eq!((m.load(0, at), m.load(1, at), tlb.flushes), (0, 0, 1));
        assert_eq!(kmap.page_address(high(6)), None);
        kmap.validate().unwrap();
        m.mmu.check().unwrap();
    }
    on_every_format!("", 2, |m, _| test(m));
}

/// Pages above what the slots were made for change nothing.
#[test]
fn a_page_that_no_entry_can_hold_is_refused() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let mut entries = [PkmapEntry::EMPTY; 8];
        let kmap = m.kmap(&mut entries);
        let mut tlb = Counted::all(&m.mmu);
        let beyond = PhysAddr::new(0x7fff_f000);
        assert!(matches!(kmap.kmap(beyond, &mut tlb), Err(KmapError::Slot(_))));
        assert_eq!((kmap.in_use(), kmap.page_address(beyond)), ((0, 0), None));
        kmap.validate().unwrap();
    }
    on_every_format!("", 1, |m, _| test(m));
}

#[test]
fn cpus_map_and_unmap_the_same_pages_at_once() {
    fn test<F: Format + Sync>(m: Machine<'_, F>) {
        let rounds = if cfg!(miri) { 20 } else { 2000 };
        let mut entries = [PkmapEntry::EMPTY; 12];
        let kmap = m.kmap(&mut entries);
        std::thread::scope(|threads| {
            for cpu in 0..4usize {
                let (m, kmap) = (&m, &kmap);
                threads.spawn(move || {
                    let mut tlb = Counted::all(&m.mmu);
                    for i in 0..rounds {
                        // Three at a time each, at most 12 in all: there is always room.
                        let pages = [0, 1, 2].map(|k| (i * 7 + k * 5 + cpu as u64 * 3) % 40);
                        let at = pages.map(|n| kmap.kmap(high(n), &mut tlb).unwrap());
                        for (n, at) in pages.into_iter().zip(at) {
                            // Each CPU has a word of its own in each page.
                            let word = VirtAddr::new(at.get() + 4 * cpu as u64);
                            let old = m.load(cpu, word);
                            m.store(cpu, word, old + 1);
                            assert_eq!(m.ram(PhysAddr::new(high(n).get() + 4 * cpu as u64)), old + 1);
                        }
                        for n in pages {
                            let _ = kmap.kunmap(high(n)).unwrap();
                        }
                    }
                });
            }
        });
        assert_eq!(kmap.in_use().0, 0);
        kmap.validate().unwrap();
        m.mmu.check().unwrap();
        let words = (0..40).flat_map(|n| (0..4).map(move |cpu| (n, cpu)));
        let sum: u64 = words.map(|(n, cpu)| u64::from(m.ram(PhysAddr::new(high(n).get() + 4 * cpu)))).sum();
        assert_eq!(sum, 4 * 3 * rounds);
    }
    on_every_format!("", 4, |m, _| test(m));
}
