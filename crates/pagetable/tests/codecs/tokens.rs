//! Flush tokens, break-before-make and cursors, as facts.

use super::walker::{data, upper, with_tables};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::format::arm::short::ArmShort;
use pagewright_pagetable::format::arm64::Arm64Page4kVa48;
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_pagetable::{
    AttrChange, AttrFlags, FlushScope, Format, Level, Live, LockError, MapOptions, MemoryType, NoTables,
    NotLive, Pool, TableLimits, TableMemory, TableSource, Tables, TlbFlush, UnmapError, Unmapped, Word,
};
use std::cell::RefCell;

const PAGE: u64 = 4096;
const BLOCK: u64 = 2 << 20;

fn range(start: u64, len: u64) -> VirtRange {
    VirtRange::from_len(VirtAddr::new(start), len)
}

/// Writes down flushes and freed tables, in their order.
#[derive(Default)]
struct Log(RefCell<Vec<String>>);

impl TlbFlush for &Log {
    fn flush(&mut self, scope: &FlushScope) {
        let FlushScope { range, stride_bytes, tables_freed, asid, .. } = scope;
        let line = format!(
            "flush {:x}+{:x} by {stride_bytes:x}, tables {tables_freed}, {asid:?}",
            range.start.get(),
            range.len
        );
        self.0.borrow_mut().push(line);
    }
}

impl TableSource for &Log {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        None
    }

    fn free_table(&mut self, _: PhysAddr) {
        self.0.borrow_mut().push("free".into());
    }
}

fn map<F: Format>(tables: &mut Tables<F, &Pool<'_, F::Word>>, range: VirtRange, options: &MapOptions) {
    let (attr, pool) = (data(tables.format()), *tables.memory());
    tables.cursor().map(range, PhysAddr::new(BLOCK), attr, options, &mut &*pool).expect("mapped");
}

#[test]
fn tables_go_back_after_the_flush_and_once() {
    with_tables(X86Level4::default(), 8, |tables| {
        map(tables, range(0x1000, 2 * PAGE), &MapOptions::PAGES);
        let pending = tables.cursor().unmap(range(0x1000, 2 * PAGE), &mut |_| ()).unwrap();
        assert_eq!(pending.tables(), 3);
        let log = Log::default();
        assert_eq!(pending.of_asid(7).finish(*tables.memory(), &mut &log, &mut &log), 3);
        let whole = 1u64 << 39;
        assert_eq!(
            log.0.into_inner(),
            [&*format!("flush 0+{whole:x} by 1000, tables true, Some(7)"), "free", "free", "free"]
        );
    });
}

#[test]
fn a_token_that_is_dropped_leaks_its_tables_and_gives_none_away() {
    with_tables(X86Level4::default(), 16, |tables| {
        let pool = *tables.memory();
        map(tables, range(0x1000, PAGE), &MapOptions::PAGES);
        drop(tables.cursor().unmap(range(0x1000, PAGE), &mut |_| ()).unwrap());
        assert_eq!(pool.in_use(), 3);
        // New tables are other pages.
        map(tables, range(0x1000, PAGE), &MapOptions::PAGES);
        assert_eq!(pool.in_use(), 6);
    });
}

#[test]
fn two_tokens_in_one_are_flushed_once_over_both_ranges() {
    with_tables(X86Level4::default(), 16, |tables| {
        map(tables, range(0x1000, PAGE), &MapOptions::PAGES);
        map(tables, range(0x40_0000_0000, BLOCK), &MapOptions::default());
        // Neither cursor holds what its table covers: the tables stay.
        let small =
            tables.lock(range(0x1000, PAGE)).unwrap().unmap(range(0x1000, PAGE), &mut |_| ()).unwrap();
        let large = range(0x40_0000_0000, BLOCK);
        let large = tables.lock(large).unwrap().unmap(large, &mut |_| ()).unwrap();
        let both = small.merge(*tables.memory(), large);
        assert_eq!(both.scope().unwrap().level, None, "leaves of two sizes");
        let log = Log::default();
        both.finish(*tables.memory(), &mut &log, &mut &log);
        assert_eq!(
            log.0.into_inner(),
            [format!("flush 1000+{:x} by 1000, tables false, None", 0x40_0000_0000 + BLOCK - 0x1000)]
        );
    });
}

#[test]
fn what_was_not_there_needs_no_flush() {
    with_tables(X86Level4::default(), 8, |tables| {
        let pending = tables.cursor().unmap(range(0x1000, 0x10_0000), &mut |_| ()).unwrap();
        assert_eq!(pending.scope(), None);
        let log = Log::default();
        pending.finish(*tables.memory(), &mut &log, &mut &log);
        assert_eq!(log.0.into_inner().len(), 0);
    });
}

/// Sees what an address leads to at the moment of a flush.
struct Spy<'t, F: Format, M: TableMemory> {
    tables: Tables<F, M>,
    at: VirtAddr,
    seen: &'t RefCell<Vec<Result<u64, Unmapped>>>,
}

impl<F: Format, M: TableMemory> TlbFlush for Spy<'_, F, M> {
    fn flush(&mut self, _: &FlushScope) {
        self.seen.borrow_mut().push(self.tables.translate(self.at).map(|t| t.phys.get()));
    }
}

/// Does something to a block's tree under a flush that looks; returns what it saw at the block.
fn seen_at_flush<F: Format>(
    format: F,
    options: &MapOptions,
    work: impl FnOnce(&mut Tables<F, &Pool<'_, F::Word>>, VirtRange, Live<'_>),
) -> Vec<Result<u64, Unmapped>> {
    with_tables(format, 16, |tables| {
        let block = F::SHAPE.level(Level::PMD).bytes();
        let range = range(upper(format.window()), block);
        map(tables, range, options);
        let seen = RefCell::new(Vec::new());
        let other = Tables::new(format, *tables.memory(), tables.root());
        let mut spy = Spy { tables: other, at: range.start, seen: &seen };
        work(tables, range, Live::MayBreak(&mut spy));
        assert!(tables.translate(range.start).is_ok(), "the address leads somewhere again");
        seen.into_inner()
    })
}

fn split<F: Format>(tables: &mut Tables<F, &Pool<'_, F::Word>>, block: VirtRange, live: Live<'_>) {
    let (pool, at) = (*tables.memory(), VirtAddr::new(block.start.get() + PAGE));
    let (_, pending) = tables.cursor().split(at, TableLimits::empty(), &mut &*pool, live).expect("split");
    pending.finish(pool, &mut NotLive, &mut &*pool);
}

fn collapse<F: Format>(tables: &mut Tables<F, &Pool<'_, F::Word>>, block: VirtRange, live: Live<'_>) {
    let pool = *tables.memory();
    let (done, pending) = tables.cursor().collapse(block.start, Level::PMD, live).expect("collapsed");
    assert!(done);
    pending.finish(pool, &mut NotLive, &mut &*pool);
}

#[test]
fn at_the_flush_of_a_break_the_address_leads_nowhere() {
    let nowhere = |seen: Vec<Result<u64, Unmapped>>| {
        assert!(!seen.is_empty());
        assert!(seen.iter().all(|s| matches!(s, Err(Unmapped::Absent(..)))), "{seen:?}");
    };
    nowhere(seen_at_flush(Arm64Page4kVa48::default(), &MapOptions::default(), split));
    nowhere(seen_at_flush(ArmShort::default(), &MapOptions::default(), split));
    nowhere(seen_at_flush(Arm64Page4kVa48::default(), &MapOptions::PAGES, collapse));
    nowhere(seen_at_flush(Arm64Page4kVa48::default(), &MapOptions::PAGES, |tables, block, live| {
        let change = AttrChange { memory: Some(MemoryType::WriteCombine), ..AttrChange::default() };
        let (_, pending) = tables.cursor().protect(block, &change, live).expect("changed");
        pending.finish(*tables.memory(), &mut NotLive, &mut NoTables);
    }));
    // x86 goes from a block to pages without.
    assert_eq!(seen_at_flush(X86Level4::default(), &MapOptions::default(), split), []);
}

#[test]
fn a_break_that_the_caller_forbids_is_refused_and_nothing_changes() {
    fn refused<F: Format>(format: F, options: &MapOptions) -> [Option<UnmapError>; 3] {
        with_tables(format, 16, |tables| {
            let pool = *tables.memory();
            let block = range(upper(format.window()), F::SHAPE.level(Level::PMD).bytes());
            map(tables, block, options);
            let before: Vec<_> = words(tables);
            let inside = VirtAddr::new(block.start.get() + PAGE);
            let split = tables.cursor().split(inside, TableLimits::empty(), &mut &*pool, Live::Always).err();
            let change = AttrChange { memory: Some(MemoryType::WriteCombine), ..AttrChange::default() };
            let change = tables.cursor().protect(block, &change, Live::Always).err();
            let join = tables.cursor().collapse(inside, Level::PMD, Live::Always).err();
            if [split, change, join].iter().flatten().count() == 3 {
                assert_eq!(words(tables), before);
            }
            [split, change, join]
        })
    }
    let needs_break = |e: &Option<UnmapError>| matches!(e, Some(UnmapError::NeedsBreak { .. }));
    let [split, change, _] = refused(Arm64Page4kVa48::default(), &MapOptions::default());
    assert!(needs_break(&split) && needs_break(&change), "{split:?} {change:?}");
    let [_, change, join] = refused(Arm64Page4kVa48::default(), &MapOptions::PAGES);
    assert!(needs_break(&change) && needs_break(&join), "{change:?} {join:?}");
    // x86 may split and change; joining needs a flush on every format.
    let [split, change, _] = refused(X86Level4::default(), &MapOptions::default());
    assert_eq!((split, change), (None, None));
    let [.., join] = refused(X86Level4::default(), &MapOptions::PAGES);
    assert!(needs_break(&join), "{join:?}");
}

/// Every word of the pool that the tree lies in.
fn words<F: Format>(tables: &Tables<F, &Pool<'_, F::Word>>) -> Vec<u64> {
    let pages = 16 * F::SHAPE.page_bytes() / F::Word::BYTES;
    let root = tables.root();
    F::Word::words(tables.memory(), root, pages as usize)
        .expect("the pool")
        .iter()
        .map(F::Word::load)
        .collect()
}

#[test]
fn rights_change_without_a_break_wherever_the_code_runs() {
    with_tables(Arm64Page4kVa48::default(), 16, |tables| {
        let block = range(upper(tables.format().window()), BLOCK);
        map(tables, block, &MapOptions::default());
        let change = AttrChange::flags(AttrFlags::empty(), AttrFlags::WRITE | AttrFlags::DIRTY);
        let (changed, pending) = tables.cursor().protect(block, &change, Live::Always).unwrap();
        assert_eq!(changed.leaves, 1);
        assert_eq!(pending.scope().map(|s| s.range), Some(block), "the old rights are in TLBs until then");
        drop(pending);
    });
}

#[test]
fn a_cursor_changes_nothing_outside_its_range() {
    with_tables(X86Level4::default(), 16, |tables| {
        map(tables, range(0, 2 * BLOCK), &MapOptions::PAGES);
        let pool = *tables.memory();
        let mut cursor = tables.lock(range(0, BLOCK)).unwrap();
        let wide = range(0, BLOCK + PAGE);
        let outside = Some(UnmapError::OutsideCursor(wide));
        assert_eq!(cursor.unmap(wide, &mut |_| ()).err(), outside);
        let read_only = AttrChange::flags(AttrFlags::empty(), AttrFlags::WRITE);
        assert_eq!(cursor.protect(wide, &read_only, Live::No).err(), outside);
        assert_eq!(cursor.part(wide).err(), outside);
        let mut part = cursor.part(range(0, PAGE)).unwrap();
        let joined = part.collapse(VirtAddr::ZERO, Level::PMD, Live::No).err();
        assert_eq!(joined, Some(UnmapError::OutsideCursor(range(0, BLOCK))));
        drop(part);
        // What is its own from end to end goes with its table.
        let pending = cursor.unmap(range(0, BLOCK), &mut |_| ()).unwrap();
        assert_eq!(pending.finish(pool, &mut NotLive, &mut &*pool), 1);
        assert!(tables.translate(VirtAddr::new(BLOCK)).is_ok());
    });
}

#[test]
fn ranges_are_free_again_when_their_cursors_are_gone_and_there_are_so_many_of_them() {
    with_tables(X86Level4::default(), 8, |tables| {
        assert_eq!(tables.lock(range(0x1000, 0)).err(), Some(LockError::Empty));
        let mut held: Vec<_> = (0..16).map(|n| tables.lock(range(n * PAGE, PAGE)).unwrap()).collect();
        assert_eq!(tables.lock(range(99 * PAGE, PAGE)).err(), Some(LockError::TooMany));
        assert_eq!(tables.lock(range(3 * PAGE, 1)).err(), Some(LockError::Busy(range(3 * PAGE, PAGE))));
        drop(held.remove(3));
        assert!(tables.lock(range(3 * PAGE, PAGE)).is_ok());
        // The last address there is can be held too.
        assert!(tables.lock(VirtRange { start: VirtAddr::new(u64::MAX - 4095), len: 4096 }).is_ok());
    });
}

#[test]
fn cursors_in_threads_never_hold_one_address_twice() {
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    /// Memory with nothing in it: locks need none.
    struct Nothing;
    impl TableMemory for Nothing {
        fn words32(&self, _: PhysAddr, _: usize) -> Option<&[AtomicU32]> {
            None
        }
        fn words64(&self, _: PhysAddr, _: usize) -> Option<&[AtomicU64]> {
            None
        }
    }
    let tables = Tables::new(X86Level4::default(), Nothing, PhysAddr::ZERO);
    let holders: Vec<AtomicU32> = (0..8).map(|_| AtomicU32::new(0)).collect();
    let (tables, holders) = (&tables, &holders);
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            scope.spawn(move || {
                for n in 0..if cfg!(miri) { 20 } else { 20_000u64 } {
                    let (first, count) = ((n * 7 + thread * 3) % 8, 1 + (n + thread) % 3);
                    let count = count.min(8 - first);
                    let Ok(cursor) = tables.lock(range(first * PAGE, count * PAGE)) else { continue };
                    let mine = &holders[first as usize..(first + count) as usize];
                    mine.iter().for_each(|h| assert_eq!(h.fetch_add(1, Ordering::Relaxed), 0));
                    mine.iter().for_each(|h| assert_eq!(h.fetch_sub(1, Ordering::Relaxed), 1));
                    drop(cursor);
                }
            });
        }
    });
}
