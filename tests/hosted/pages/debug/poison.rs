//! What free pages hold, and who may look at them.

use super::*;

#[test]
fn a_write_to_a_free_page_is_found_when_it_is_used_next() {
    let (memory, watch, arrays) = (Memory::default(), Watch::default(), Arrays::new());
    let debugging =
        Debugging::new(&watch, &arrays.failed).with_contents(Switches::POISON, &memory, &arrays.marks);
    with_debugged_machine(&machine(64, 1), NoHooks, Some(&debugging), |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let all = cx.with_task(TaskFlags::MEMALLOC);
            let alloc = |n| m.allocator.alloc_pages(&all, Gfp::GFP_KERNEL, order(n)).unwrap();
            let page = alloc(0);
            let idx = page.start();
            assert!(watch.troubles().is_empty(), "memory that was never freed holds no pattern");
            m.allocator.free_pages(cx, page);
            assert_eq!(memory.read(idx), [PAGE_POISON; 4096]);
            // A single bit, then more.
            for (writes, single) in [(vec![(9, PAGE_POISON ^ 4)], true), (vec![(100, 1), (111, 2)], false)] {
                for &(offset, byte) in &writes {
                    memory.write(idx, offset, byte);
                }
                let page = alloc(0);
                assert_eq!(page.start(), idx, "the last freed is used next");
                let [Trouble::Poison { pfn, damage }] = watch.troubles()[..] else { panic!("not found") };
                assert_eq!(pfn, m.base.map().pfn(idx));
                let last = writes[writes.len() - 1].0;
                assert_eq!(
                    (damage.offset, damage.len),
                    (writes[0].0 as u64, (last - writes[0].0 + 1) as u64)
                );
                assert_eq!(damage.is_single_bit(PAGE_POISON), single);
                m.allocator.free_pages(cx, page);
            }
            let page = alloc(0);
            assert!(watch.troubles().is_empty(), "each is told once");
            // Of a block only a part of which was in use before, that part is looked at.
            m.allocator.free_pages(cx, page);
            m.allocator.drain_local_pages(cx);
            memory.write(idx, 4095, 0);
            let blocks: Vec<_> = (0..16).map(|_| alloc(10)).collect();
            let found = watch.troubles();
            assert!(
                matches!(found[..], [Trouble::Poison { damage: Damage { offset: 4095, .. }, .. }]),
                "{found:?}"
            );
            blocks.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn frames_of_any_number_are_poisoned_and_come_back() {
    let (memory, watch, arrays) = (Memory::default(), Watch::default(), Arrays::new());
    let debugging =
        Debugging::new(&watch, &arrays.failed).with_contents(Switches::POISON, &memory, &arrays.marks);
    with_debugged_machine(&machine(64, 1), NoHooks, Some(&debugging), |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let block = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(4)).unwrap();
            let first = block.start().get();
            let (odd, rest) = m.base.map().split_at(block, 5);
            m.allocator.free_pages(cx, odd);
            m.allocator.free_pages(cx, rest);
            for n in 0..16 {
                assert_eq!(memory.read(FrameIdx::new(first + n)), [PAGE_POISON; 4096], "{n}");
            }
        });
        expect_all_back(m, &before);
        assert!(watch.troubles().is_empty());
    });
}

#[test]
fn nothing_of_the_last_user_is_left() {
    for (switches, freed, allocated) in [
        (Switches::INIT_ON_FREE, 0, 0),
        (Switches::INIT_ON_ALLOC, 7, 0),
        // Poisoning takes precedence.
        (Switches::INIT_ON_FREE | Switches::POISON, PAGE_POISON, PAGE_POISON),
        (Switches::INIT_ON_ALLOC | Switches::POISON, PAGE_POISON, PAGE_POISON),
    ] {
        let (memory, watch, arrays) = (Memory::default(), Watch::default(), Arrays::new());
        let debugging =
            Debugging::new(&watch, &arrays.failed).with_contents(switches, &memory, &arrays.marks);
        with_debugged_machine(&machine(64, 1), NoHooks, Some(&debugging), |m| {
            m.on_cpu(0, |cx| {
                let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
                let idx = page.start();
                memory.write(idx, 50, 7);
                m.allocator.free_pages(cx, page);
                assert_eq!(memory.read(idx)[50], freed, "{switches:?}");
                let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
                assert_eq!((page.start(), memory.read(idx)[50]), (idx, allocated), "{switches:?}");
                m.allocator.free_pages(cx, page);
            });
        });
    }
}

#[test]
fn free_pages_are_not_mapped_until_debugging_ends() {
    let (memory, watch, arrays) = (Memory::default(), Watch::default(), Arrays::new());
    let debugging =
        Debugging::new(&watch, &arrays.failed).with_contents(Switches::PAGEALLOC, &memory, &arrays.marks);
    with_debugged_machine(&machine(64, 1), NoHooks, Some(&debugging), |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let all = cx.with_task(TaskFlags::MEMALLOC);
            let unmapped = || memory.unmapped.lock().unwrap().len();
            let held: Vec<_> = [0, 3, 0, 9]
                .map(|n| m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(n)).unwrap())
                .into_iter()
                .collect();
            assert_eq!(unmapped(), 0);
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
            assert_eq!(unmapped(), 1 + 8 + 1 + 512);
            // Large blocks have parts that are mapped and parts that are not.
            m.allocator.drain_local_pages(cx);
            let held: Vec<_> =
                (0..16).map(|_| m.allocator.alloc_pages(&all, Gfp::GFP_KERNEL, order(10)).unwrap()).collect();
            assert_eq!(unmapped(), 0);
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
            assert_eq!(unmapped(), 16 << 10);
            m.allocator.set_debugging(false);
            assert_eq!(unmapped(), 0, "all is mapped again");
            assert_eq!(m.attention(0).reasons(), Reasons::empty(), "the fast path has nothing to look at");
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            m.allocator.free_pages(cx, page);
            assert_eq!(unmapped(), 0);
            m.allocator.set_debugging(true);
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            m.allocator.free_pages(cx, page);
            assert_eq!(unmapped(), 1);
        });
        expect_all_back(m, &before);
    });
}
