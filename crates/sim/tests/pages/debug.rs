//! Debugging: each mistake is found, named, and costs nobody a page.

use super::contig::{all_leave, pfns, small};
use super::*;
use pagewright_addr::{PageShift, Pfn};
use pagewright_page::{FrameIdx, Frames, PageFlags};
use pagewright_platform::Mutex as SpinMutex;
use pagewright_sim::Ram;
use pagewright_sim::pages::{with_debugged_machine, with_plain_machine};
use pagewright_sim::tenants::Tenants;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{AllocFailure, NoHooks, Reasons, TaskFlags};
use pagewright_zone::debug::{
    BadFree, Damage, DebugMemory, Debugging, FaultAttr, MappedAs, Observer, PAGE_POISON, Record, Switches,
    TableCheck, TableCheckError, TaskName, Trouble,
};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

const FRAMES: usize = 64 << 8;

/// Memory that anybody can write to, and a linear map.
#[derive(Default)]
pub(super) struct Memory {
    bytes: Mutex<HashMap<u32, Vec<u8>>>,
    unmapped: Mutex<HashSet<u64>>,
}

impl Memory {
    pub(super) fn write(&self, idx: FrameIdx, offset: usize, byte: u8) {
        let mut bytes = self.bytes.lock().unwrap();
        bytes.entry(idx.get()).or_insert_with(|| vec![0; 4096])[offset] = byte;
    }

    pub(super) fn read(&self, idx: FrameIdx) -> Vec<u8> {
        self.bytes.lock().unwrap().get(&idx.get()).cloned().unwrap_or_else(|| vec![0; 4096])
    }
}

impl DebugMemory for Memory {
    fn fill(&self, frames: &mut Frames<'_>, byte: u8) {
        let mut bytes = self.bytes.lock().unwrap();
        for at in 0..frames.len() as u32 {
            bytes.insert(frames.start().get() + at, vec![byte; 4096]);
        }
    }
    fn differs(&self, frames: &Frames<'_>, first: u64, len: u64, byte: u8) -> Option<Damage> {
        let start = frames.start().get() + first as u32;
        let all: Vec<u8> = (0..len as u32).flat_map(|n| self.read(FrameIdx::new(start + n))).collect();
        Damage::of(&all, byte)
    }
    fn map(&self, start: Pfn, pages: u64, mapped: bool) {
        let mut unmapped = self.unmapped.lock().unwrap();
        for pfn in start.get()..start.get() + pages {
            let changed = if mapped { unmapped.remove(&pfn) } else { unmapped.insert(pfn) };
            assert!(changed, "pfn {pfn:#x} is mapped or unmapped twice");
        }
    }
}

/// Time goes on with each look at it; troubles are noted.
#[derive(Default)]
pub(super) struct Watch {
    now: AtomicU64,
    found: Mutex<Vec<Trouble>>,
}

impl Observer for Watch {
    fn now_ns(&self) -> u64 {
        self.now.fetch_add(100, Relaxed) + 100
    }
    fn task(&self) -> TaskName {
        TaskName::new(77, 70, "stress worker")
    }
    fn stack(&self) -> u32 {
        5
    }
    fn write_stack(&self, handle: u32, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, " do_anonymous_page+0x{handle}/0x80\n handle_mm_fault+0x10/0x20")
    }
    fn found(&self, trouble: &Trouble) {
        self.found.lock().unwrap().push(*trouble);
    }
}

impl Watch {
    pub(super) fn troubles(&self) -> Vec<Trouble> {
        std::mem::take(&mut self.found.lock().unwrap())
    }
}

/// All side arrays of a machine of 64 MiB.
pub(super) struct Arrays {
    pub(super) marks: Vec<AtomicU8>,
    pub(super) owners: Vec<SpinMutex<Record>>,
    tables: Vec<AtomicU64>,
    pub(super) failed: AtomicU32,
}

impl Arrays {
    pub(super) fn new() -> Self {
        Self {
            marks: (0..FRAMES).map(|_| AtomicU8::new(0)).collect(),
            owners: (0..FRAMES).map(|_| SpinMutex::new(Record::EMPTY)).collect(),
            tables: (0..FRAMES).map(|_| AtomicU64::new(0)).collect(),
            failed: AtomicU32::new(0),
        }
    }
}

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

/// A block of page_owner as page_owner_sort takes it apart: by the words before and after each value.
fn value<'t>(block: &'t str, before: &str, after: &str) -> &'t str {
    let start = block.find(before).unwrap_or_else(|| panic!("no {before:?} in {block}")) + before.len();
    let len = block[start..].find(after).unwrap();
    &block[start..start + len]
}

#[test]
fn owners_are_remembered_as_page_owner_sort_reads_them() {
    let (watch, arrays) = (Watch::default(), Arrays::new());
    let debugging = Debugging::new(&watch, &arrays.failed).with_owners(&arrays.owners);
    with_debugged_machine(&machine(64, 1), NoHooks, Some(&debugging), |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let once = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            m.allocator.free_pages(cx, once);
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL | Gfp::ZERO, Order::ZERO).unwrap();
            let line = line!() - 1;
            let block = m.allocator.alloc_pages(cx, Gfp::GFP_HIGHUSER_MOVABLE, order(3)).unwrap();
            m.base.map().set_flags(block.start(), PageFlags::UPTODATE | PageFlags::LRU);
            let mut text = String::new();
            m.allocator.write_page_owners(&mut text).unwrap();
            let mut blocks: Vec<_> = text.split_terminator("\n\n").collect();
            blocks.sort_by_key(|block| value(block, "order ", ",").parse::<u8>().unwrap());
            assert_eq!(blocks.len(), 2, "one for each block, and none for what is free: {text}");
            let pfn = m.base.map().pfn(page.start()).get();
            assert_eq!(
                blocks[0],
                format!(
                    "Page allocated via order 0, mask 0xdc0(GFP_KERNEL|__GFP_ZERO), pid 77, tgid 70 (stress worker), \
                     ts 300 ns, free_ts 200 ns\n\
                     PFN {pfn} type Unmovable Block {} type Unmovable Flags 0x0()\n \
                     {}:{line}\n do_anonymous_page+0x5/0x80\n handle_mm_fault+0x10/0x20",
                    pfn >> 9,
                    file!()
                )
            );
            assert_eq!(value(blocks[1], "mask ", ","), "0x100cca(GFP_HIGHUSER_MOVABLE)");
            assert_eq!(value(blocks[1], "pid ", ","), "77");
            assert_eq!(value(blocks[1], "tgid ", " "), "70");
            assert_eq!(value(blocks[1], "(stress", "), ts"), " worker");
            assert_eq!(value(blocks[1], ", ts ", " ns"), "400");
            assert_eq!(value(blocks[1], "free_ts ", " ns"), "0");
            assert!(blocks[1].contains("type Movable Block") && blocks[1].contains("(uptodate|lru)\n"));
            m.base.map().clear_flags(block.start(), PageFlags::all());
            for n in 0..8 {
                let record = m.allocator.page_owner(FrameIdx::new(block.start().get() + n)).unwrap();
                assert!(record.allocated && record.order == order(3), "every page knows its block");
            }
            for frames in [page, block] {
                m.allocator.free_pages(cx, frames);
            }
            text.clear();
            m.allocator.write_page_owners(&mut text).unwrap();
            assert_eq!(text, "");
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn memory_that_two_should_not_share_is_found_when_the_second_maps_it() {
    let (watch, arrays) = (Watch::default(), Arrays::new());
    let tables = TableCheck::new(&arrays.tables);
    let debugging = Debugging::new(&watch, &arrays.failed).with_tables(tables);
    with_debugged_machine(&machine(64, 1), NoHooks, Some(&debugging), |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let map = m.base.map();
            let block = m.allocator.alloc_pages(cx, Gfp::GFP_HIGHUSER_MOVABLE, order(2)).unwrap();
            let (idx, pfn) = (block.start(), map.pfn(block.start()));
            let at = |n| Pfn::new(pfn.get() + n);
            let (read, write) = (MappedAs::Anon { writable: false }, MappedAs::Anon { writable: true });
            let set = |n, pages, how| tables.set(map, at(n), pages, how);
            // Forks share what is anonymous as long as nobody writes.
            assert_eq!((set(0, 1, read), set(0, 1, read)), (Ok(()), Ok(())));
            assert_eq!(set(0, 1, write), Err(TableCheckError::WritableShared(pfn)));
            assert_eq!(set(0, 1, MappedAs::File), Err(TableCheckError::Mixed(pfn)));
            // A file's pages may be shared by any number.
            assert_eq!((set(2, 2, MappedAs::File), set(2, 2, MappedAs::File)), (Ok(()), Ok(())));
            // What fails half way changes nothing.
            assert_eq!(set(1, 2, write), Err(TableCheckError::Mixed(at(2))));
            assert_eq!(tables.mappings(FrameIdx::new(idx.get() + 1)), (0, 0));
            assert_eq!(tables.clear(map, at(1), 1, read), Err(TableCheckError::Underflow(at(1))));
            assert_eq!(tables.set(map, Pfn::new(1), 1, read), Err(TableCheckError::NoFrame(Pfn::new(1))));
            tables.clear(map, pfn, 1, read).unwrap();
            tables.clear(map, at(2), 2, MappedAs::File).unwrap();
            tables.clear(map, at(2), 2, MappedAs::File).unwrap();
            assert!(watch.troubles().is_empty());
            m.allocator.free_pages(cx, block);
            let still = TableCheckError::StillMapped { pfn, anon: 1, file: 0 };
            assert_eq!(watch.troubles(), [Trouble::Mapped(still)], "freed while mapped");
            tables.clear(map, pfn, 1, read).unwrap();
            let block = m.allocator.alloc_pages(cx, Gfp::GFP_HIGHUSER_MOVABLE, order(2)).unwrap();
            m.allocator.free_pages(cx, block);
            assert!(watch.troubles().is_empty());
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn allocations_fail_by_fail_page_allocs_attributes_and_leave_nothing_behind() {
    let (watch, arrays, fault) = (Watch::default(), Arrays::new(), FaultAttr::new(1));
    fault.setup("2,100,0,3").unwrap();
    let debugging = Debugging::new(&watch, &arrays.failed).with_faults(&fault);
    with_debugged_machine(&machine(64, 1), NoHooks, Some(&debugging), |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let mut failed = vec![];
            for n in 0..10 {
                match m.allocator.alloc_pages(cx, Gfp::GFP_NOWAIT, order(1)) {
                    Ok(frames) => m.allocator.free_pages(cx, frames),
                    Err(e) => {
                        failed.push(n);
                        assert_eq!(e, AllocFailure::Injected { nth: failed.len() as u32 });
                    }
                }
                for spared in [Gfp::GFP_KERNEL, Gfp::GFP_NOWAIT | Gfp::NOFAIL] {
                    let frames = m.allocator.alloc_pages(cx, spared, order(1)).unwrap();
                    m.allocator.free_pages(cx, frames);
                }
            }
            assert_eq!(failed, [1, 3, 5], "each second, three times");
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn what_must_not_be_freed_is_named_and_stays() {
    let (watch, arrays) = (Watch::default(), Arrays::new());
    let debugging = Debugging::new(&watch, &arrays.failed).with_owners(&arrays.owners);
    for debug in [None, Some(&debugging)] {
        let machine = PlainMachine { cma: vec![(0x4_0400, 512)], ..machine(64, 1) };
        with_debugged_machine(&machine, NoHooks, debug, |m| {
            m.allocator.set_hardened(true);
            let before = buddyinfo(m);
            m.on_cpu(0, |cx| {
                let map = m.base.map();
                let refused = |pfn, n, expected: BadFree, text: &str| {
                    assert_eq!(m.allocator.free_pages_at(cx, pfn, order(n)), Err(expected));
                    assert!(expected.to_string().contains(text), "{expected}");
                    assert!(expected.to_string().starts_with("BUG: Bad page state pfn:"), "{expected}");
                    let told = if debug.is_some() { vec![Trouble::BadFree(expected)] } else { vec![] };
                    assert_eq!(watch.troubles(), told);
                };
                let get = |n| m.allocator.get_free_pages(cx, Gfp::GFP_KERNEL, order(n)).unwrap();
                let (pfn, far) = (get(3), Pfn::new(1));
                let (idx, tail) = (map.idx(pfn).unwrap(), Pfn::new(pfn.get() + 3));
                refused(far, 0, BadFree::NoFrame(far), "no such frame");
                let (three, two) = (order(3), order(2));
                refused(pfn, 2, BadFree::Order { pfn, allocated: three, freed: two }, "wrong order");
                refused(tail, 0, BadFree::Tail { pfn: tail, head: pfn }, "tail page");
                assert_eq!(map.take_reference(idx), 2);
                let referenced = BadFree::Referenced { pfn, references: 2, mappings: 0 };
                refused(pfn, 3, referenced, "2 references");
                assert_eq!(map.drop_reference(idx), 1);
                map.set_flags(idx, PageFlags::LOCKED);
                refused(pfn, 3, BadFree::Flags(pfn, PageFlags::LOCKED), "LOCKED");
                map.clear_flags(idx, PageFlags::LOCKED);
                assert_eq!(m.allocator.free_pages_at(cx, pfn, three), Ok(()));
                // In a CPU's list, and then in the zone's.
                refused(pfn, 3, BadFree::NotByNumber(pfn), "double free");
                m.allocator.drain_local_pages(cx);
                refused(pfn, 3, BadFree::DoubleFree(pfn), "double free");
                refused(tail, 0, BadFree::DoubleFree(tail), "double free");
                // A token's frames are nobody's by number.
                let owned = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(4)).unwrap();
                let (first, inside) = (map.pfn(owned.start()), Pfn::new(map.pfn(owned.start()).get() + 2));
                refused(first, 4, BadFree::NotByNumber(first), "not allocated by number");
                refused(inside, 0, BadFree::NotByNumber(inside), "not allocated by number");
                m.allocator.free_pages(cx, owned);
            });
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn the_last_reference_is_not_dropped_and_a_free_page_gets_none() {
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        m.on_cpu(0, |cx| {
            let pfn = m.allocator.get_free_pages(cx, Gfp::GFP_KERNEL, order(6)).unwrap();
            let idx = m.base.map().idx(pfn).unwrap();
            let panics = |f: &dyn Fn() -> u32| catch_unwind(AssertUnwindSafe(f)).is_err();
            assert!(panics(&|| m.base.map().drop_reference(idx)));
            m.allocator.free_pages_at(cx, pfn, order(6)).unwrap();
            assert!(panics(&|| m.base.map().take_reference(idx)));
            assert_eq!(m.allocator.validate(), Ok(()));
        });
    });
}

/// The panic of `f`.
pub(super) fn panic_of(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it is corrupt");
    payload.downcast::<String>().map(|text| *text).unwrap_or_default()
}

#[test]
fn an_overwritten_link_is_named_before_it_spreads() {
    // Two free blocks of order 5, neighbours in their list: the first one's link to the second is overwritten.
    for what in ["next", "prev", "far"] {
        with_plain_machine(&machine(16, 1), NoHooks, |m| {
            m.on_cpu(0, |cx| {
                let map = m.base.map();
                let alloc = || m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(5)).unwrap();
                let blocks: Vec<_> = (0..4).map(|_| alloc()).collect();
                let at: Vec<_> = blocks.iter().map(Frames::start).collect();
                let mut kept = vec![];
                for (n, block) in blocks.into_iter().enumerate() {
                    if n % 2 == 0 { m.allocator.free_pages(cx, block) } else { kept.push(block) }
                }
                m.allocator.set_hardened(true);
                // The second came before the first, unless that came last.
                let (head, other) =
                    if map.next(at[0]) == Some(at[2]) { (at[0], at[2]) } else { (at[2], at[0]) };
                assert_eq!((map.next(head), map.prev(other)), (Some(other), Some(head)));
                let wrong = map.idx(map.pfn(kept[0].start())).unwrap();
                match what {
                    "next" => map.set_next(head, Some(wrong)),
                    "prev" => map.set_prev(other, Some(wrong)),
                    _ => map.set_next(head, Some(FrameIdx::new(u32::MAX - 1))),
                }
                let text = panic_of(|| drop(alloc()));
                assert!(text.starts_with("list_del corruption"), "{what}: {text}");
                let named = match what {
                    "next" => format!("frame index {head}->next is frame index {wrong}"),
                    "prev" => format!("next->prev should be frame index {head}, but was frame index {wrong}"),
                    _ => format!("frame index {head}->next is"),
                };
                assert!(text.contains(&named), "{what}: {text}\n{named}");
            });
        });
    }
}

#[test]
fn hardened_lists_serve_as_others_do() {
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        m.allocator.set_hardened(true);
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            for n in [5, 9, 0, 10, 3, 7, 1] {
                let held: Vec<_> =
                    std::iter::from_fn(|| m.allocator.alloc_pages(cx, Gfp::GFP_NOWAIT, order(n)).ok())
                        .collect();
                assert!(!held.is_empty());
                held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
            }
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn pages_that_compaction_and_contiguous_ranges_take_are_watched_too() {
    let (memory, watch, arrays) = (Memory::default(), Watch::default(), Arrays::new());
    let switches = Switches::PAGEALLOC | Switches::POISON;
    let debugging = Debugging::new(&watch, &arrays.failed)
        .with_contents(switches, &memory, &arrays.marks)
        .with_owners(&arrays.owners);
    with_debugged_machine(&small(4096, 1), NoHooks, Some(&debugging), |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let map = m.base.map();
            let tenants = Tenants::new(*map);
            let all = cx.with_task(TaskFlags::MEMALLOC);
            let mut names = vec![];
            while let Ok(page) =
                m.allocator.alloc_pages(&all, Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN, Order::ZERO)
            {
                names.push(tenants.settle(page));
            }
            for name in names.iter().enumerate().filter(|(n, _)| n % 4 != 0).map(|(_, &name)| name) {
                m.allocator.free_pages(cx, tenants.leave(name).unwrap());
            }
            m.allocator.drain_local_pages(cx);
            let is_mapped = |idx: FrameIdx| !memory.unmapped.lock().unwrap().contains(&map.pfn(idx).get());
            m.allocator.compact_node(cx, &tenants, NodeId::ZERO);
            assert!(m.allocator.migrate_events().success() > 500, "many moved");
            for name in tenants.names() {
                let place = tenants.place(name).unwrap();
                assert!(is_mapped(place) && m.allocator.page_owner(place).unwrap().allocated, "{place}");
            }
            let range = pfns(16, 1600);
            let movable = MigrateType::Movable;
            let taken =
                m.allocator.alloc_contig_range(cx, &tenants, range, movable, Gfp::GFP_KERNEL).unwrap();
            assert_eq!((taken.start().get(), taken.len()), (16, 1600));
            assert!((16..16 + 1600).all(|at| is_mapped(FrameIdx::new(at))));
            m.allocator.free_pages(cx, taken);
            assert!((16..16 + 1600).all(|at| !is_mapped(FrameIdx::new(at))));
            tenants.check();
            all_leave(m, cx, &tenants);
            assert_eq!(memory.unmapped.lock().unwrap().len(), 4096, "all is free, and none of it mapped");
            assert!(watch.troubles().is_empty());
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn simulated_ram_is_filled_and_compared() {
    with_plain_machine(&small(1024, 1), NoHooks, |m| {
        m.on_cpu(0, |cx| {
            let ram = Ram::new(*m.base.map(), PageShift::SHIFT_4K);
            let mut block = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(2)).unwrap();
            ram.fill(&mut block, PAGE_POISON);
            assert_eq!(ram.differs(&block, 0, 4, PAGE_POISON), None);
            ram.bytes_mut(&mut block).unwrap()[4096 * 2 + 5] = 1;
            assert_eq!(ram.differs(&block, 0, 2, PAGE_POISON), None);
            let damage = ram.differs(&block, 1, 3, PAGE_POISON).unwrap();
            assert_eq!((damage.offset, damage.len, damage.found[0]), (4096 + 5, 1, 1));
            m.allocator.free_pages(cx, block);
        });
    });
}
