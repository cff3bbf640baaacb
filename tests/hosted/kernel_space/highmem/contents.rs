//! Pages zeroed, copied, read and written wherever they lie.

use crate::world::{BASE, Counted, HIGH, LOW, Machine, PAGE, high, on_every_format};
use pagewright_addr::PhysAddr;
use pagewright_kspace::highmem::{ContentsError, KmapLocalError, KmapStack, OnCpu};
use pagewright_pagetable::Format;

fn fill<F: Format>(m: &Machine<'_, F>, page: PhysAddr, byte: u8) {
    m.mmu.memory().write(page, &[byte; PAGE as usize]).unwrap();
}

fn bytes<F: Format>(m: &Machine<'_, F>, page: PhysAddr) -> Vec<u8> {
    let mut bytes = vec![0; PAGE as usize];
    m.mmu.memory().read(page, &mut bytes).unwrap();
    bytes
}

#[test]
fn pages_of_high_and_low_memory_are_zeroed_and_copied_alike() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let all = m.local(false);
        let local = all.on_cpu(1).unwrap();
        let stack = KmapStack::new();
        let memory = m.mmu.memory_of(1);
        let mut tlb = Counted::only(&m.mmu, 1);
        let cx = &mut OnCpu { stack: &stack, memory: &memory, tlb: &mut tlb };
        let low = PhysAddr::new(BASE + (8 << 20));
        for page in [high(0), high(1), low] {
            fill(&m, page, 0xaa);
        }
        local.clear_highpage(cx, high(0)).unwrap();
        assert!(bytes(&m, high(0)).iter().all(|b| *b == 0));
        assert!(bytes(&m, high(1)).iter().all(|b| *b == 0xaa));
        local.memcpy_to_page(cx, high(0), 4090, b"abcdef").unwrap();
        for (to, from) in [(high(1), high(0)), (low, high(1)), (high(2), low)] {
            local.copy_highpage(cx, to, from).unwrap();
            assert_eq!(bytes(&m, to), bytes(&m, high(0)));
        }
        let mut read = [0; 3];
        local.memcpy_from_page(cx, &mut read, high(2), 4092).unwrap();
        assert_eq!(&read, b"cde");
        local.memzero_page(cx, high(2), 4091, 2).unwrap();
        assert_eq!(bytes(&m, high(2))[4090..], *b"a\0\0def");
        assert!(stack.is_empty());
        m.mmu.check().unwrap();
    }
    on_every_format!("", 2, |m, _| test(m));
}

#[test]
fn what_fails_leaves_no_kmap_behind() {
    fn test<F: Format>(m: Machine<'_, F>) {
        let all = m.local(false);
        let local = all.on_cpu(0).unwrap();
        let stack = KmapStack::new();
        let memory = m.mmu.memory_of(0);
        let mut tlb = Counted::only(&m.mmu, 0);
        let outside = ContentsError::Outside { offset: 4095, len: 2 };
        let cx = &mut OnCpu { stack: &stack, memory: &memory, tlb: &mut tlb };
        assert_eq!(local.memcpy_to_page(cx, high(0), 4095, &[1, 2]), Err(outside));
        // A page that is no RAM gets no address.
        let none = PhysAddr::new(BASE + LOW + HIGH);
        assert!(matches!(local.copy_highpage(cx, none, high(0)), Err(ContentsError::Local(_))));
        assert!(stack.is_empty());
        // All but one slot taken: the second of two pages finds none, the first goes.
        let held: Vec<_> =
            (0..14).map(|n| local.kmap_local_page(&stack, high(n), &mut *cx.tlb).unwrap()).collect();
        let full = ContentsError::Local(KmapLocalError::TooDeep { held: 15 });
        assert_eq!(local.copy_highpage(cx, high(20), high(21)), Err(full));
        for map in held.into_iter().rev() {
            local.kunmap_local(&stack, map, &mut *cx.tlb).unwrap();
        }
        assert!(stack.is_empty());
        m.mmu.check().unwrap();
    }
    on_every_format!("", 1, |m, _| test(m));
}
