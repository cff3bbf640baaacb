//! Debugging: each mistake is found, named, and costs nobody a page.

mod poison;
mod refused;

pub(super) use refused::in_all_modes;

use super::bulk::Zeroer;
use super::contig::{all_leave, pfns, small};
use super::*;
use crate::whole::{with_debugged_machine, with_plain_machine};
use pagewright_addr::{PageShift, Pfn};
use pagewright_page::{FrameIdx, Frames, PageFlags};
use pagewright_platform::Mutex as SpinMutex;
use pagewright_sim::Ram;
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

/// The panic of `f`.
pub(super) fn panic_of(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it is corrupt");
    payload.downcast::<String>().map(|text| *text).unwrap_or_default()
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
    with_debugged_machine(&machine(64, 1), Zeroer::default(), Some(&debugging), |m| {
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

#[test]
fn mixed_pageblocks_are_those_with_a_page_that_was_asked_for_with_another_type() {
    let (watch, arrays) = (Watch::default(), Arrays::new());
    let debugging = Debugging::new(&watch, &arrays.failed).with_owners(&arrays.owners);
    with_debugged_machine(&machine(16, 1), NoHooks, Some(&debugging), |m| {
        let before = buddyinfo(m);
        let zone = zone_ids(m)[0];
        assert_eq!(m.allocator.mixed_pageblocks(zone), Some([0; MigrateType::COUNT]));
        m.on_cpu(0, |cx| {
            let get = |gfp: Gfp| m.allocator.alloc_pages(cx, gfp | Gfp::NOWARN, Order::ZERO).ok();
            let movable: Vec<_> = core::iter::from_fn(|| get(Gfp::GFP_HIGHUSER_MOVABLE)).collect();
            // Of each movable pageblock some leave, and others' pages come there.
            let leaves = |page: &Frames<'_>| page.start().get() % 512 < 100;
            let (left, movable): (Vec<_>, Vec<_>) = movable.into_iter().partition(leaves);
            left.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
            m.allocator.drain_local_pages(cx);
            let kernel: Vec<_> = core::iter::from_fn(|| get(Gfp::GFP_KERNEL)).take(300).collect();
            let mut mixed = HashSet::new();
            for (page, asked) in movable
                .iter()
                .map(|page| (page, MigrateType::Movable))
                .chain(kernel.iter().map(|page| (page, MigrateType::Unmovable)))
            {
                if m.base.pageblocks().migrate_type(page.start()) != asked {
                    mixed.insert(page.start().get() / 512);
                }
            }
            let mut expected = [0; MigrateType::COUNT];
            for block in mixed {
                let kind = m.base.pageblocks().migrate_type(FrameIdx::new(block * 512));
                expected[kind.index()] += 1;
            }
            assert!(expected.iter().sum::<u64>() > 0, "{expected:?}");
            assert_eq!(m.allocator.mixed_pageblocks(zone), Some(expected));
            movable.into_iter().chain(kernel).for_each(|page| m.allocator.free_pages(cx, page));
        });
        assert_eq!(m.allocator.mixed_pageblocks(zone), Some([0; MigrateType::COUNT]));
        expect_all_back(m, &before);
    });
    with_plain_machine(&machine(4, 1), NoHooks, |m| {
        assert_eq!(m.allocator.mixed_pageblocks(zone_ids(m)[0]), None)
    });
}
