use crate::format::x86::{X86Level4, X86Level5};
use crate::*;
use core::sync::atomic::AtomicU64;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use std::vec::Vec;

fn words(pages: usize) -> Vec<AtomicU64> {
    (0..pages * 512).map(|_| AtomicU64::new(0)).collect()
}

const BASE: PhysAddr = PhysAddr::new(0x1_0000_0000);
const LINEAR: u64 = 0xffff_8880_0000_0000;

fn data() -> Attr {
    Attr::normal(AttrFlags::WRITE | AttrFlags::GLOBAL | AttrFlags::ACCESSED | AttrFlags::DIRTY)
}

fn range(start: u64, len: u64) -> VirtRange {
    VirtRange::from_len(VirtAddr::new(start), len)
}

#[test]
fn a_range_takes_pages_up_to_a_block_and_blocks_from_there() {
    let memory = words(16);
    let pool = Pool::<u64>::new(&memory, BASE, 4096).unwrap();
    let root = pool.alloc_root(1, 4096).unwrap();
    let mut t = Tables::new(X86Level4::default(), &pool, root);
    let all = range(LINEAR + 0x1f_f000, 0x40_1000 + 0x1000);
    let done =
        t.cursor().map(all, PhysAddr::new(0x1f_f000), data(), &MapOptions::default(), &mut &pool).unwrap();
    assert_eq!(done.tables, 4);
    let mut seen = Vec::new();
    t.walk_all(u64::MAX, &mut |r| seen.push((r.range.start.get() - LINEAR, r.range.len, r.level.get())))
        .unwrap();
    assert_eq!(seen, [(0x1f_f000, 0x1000, 0), (0x20_0000, 0x40_0000, 1), (0x60_0000, 0x1000, 0)]);
}

#[test]
fn what_is_mapped_twice_is_refused_and_nothing_changes() {
    let memory = words(16);
    let pool = Pool::<u64>::new(&memory, BASE, 4096).unwrap();
    let root = pool.alloc_root(1, 4096).unwrap();
    let mut t = Tables::new(X86Level5::default(), &pool, root);
    t.cursor().map(range(0x5000, 0x1000), BASE, data(), &MapOptions::PAGES, &mut &pool).unwrap();
    let before = pool.in_use();
    let again = t.cursor().map(range(0x1000, 0x10_0000), BASE, data(), &MapOptions::PAGES, &mut &pool);
    assert!(matches!(again, Err(MapError::AlreadyMapped { at, .. }) if at.get() == 0x5000));
    assert_eq!(pool.in_use(), before);
    assert!(t.translate(VirtAddr::new(0x1000)).is_err());
}

#[test]
fn unmapping_everything_gives_every_table_back_after_the_flush() {
    let memory = words(64);
    let pool = Pool::<u64>::new(&memory, BASE, 4096).unwrap();
    let root = pool.alloc_root(1, 4096).unwrap();
    let mut t = Tables::new(X86Level4::default(), &pool, root);
    let all = range(0x7f00_0000_0000, 10 << 20);
    t.cursor().map(all, PhysAddr::new(0x1000), data(), &MapOptions::default(), &mut &pool).unwrap();
    let tables = pool.in_use();
    assert_eq!(tables, 2 + 5);
    let mut gone = 0;
    let pending = t.cursor().unmap(all, &mut |r| gone += r.range.len).unwrap();
    assert_eq!((gone, pending.tables(), pool.in_use()), (all.len, tables, tables));
    assert!(pending.scope().unwrap().tables_freed);
    pending.finish(&&pool, &mut NotLive, &mut &pool);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn the_end_of_a_range_inside_a_block_is_named_before_anything_changes() {
    let memory = words(16);
    let pool = Pool::<u64>::new(&memory, BASE, 4096).unwrap();
    let root = pool.alloc_root(1, 4096).unwrap();
    let mut t = Tables::new(X86Level4::default(), &pool, root);
    t.cursor().map(range(0, 4 << 20), PhysAddr::ZERO, data(), &MapOptions::default(), &mut &pool).unwrap();
    let err = t.cursor().unmap(range(0, (2 << 20) + 0x1000), &mut |_| ()).err().unwrap();
    assert!(matches!(err, UnmapError::SplitsLeaf { start, bytes: 0x20_0000, .. } if start.get() == 2 << 20));
    assert!(t.translate(VirtAddr::ZERO).is_ok());
}

#[test]
fn what_hardware_notes_in_one_entry_of_a_group_holds_for_all_of_it_after_a_split() {
    use crate::format::arm64::Arm64Page4kVa48;
    let memory = words(16);
    let pool = Pool::<u64>::new(&memory, BASE, 4096).unwrap();
    let root = pool.alloc_root(1, 4096).unwrap();
    let mut t = Tables::new(Arm64Page4kVa48::default(), &pool, root);
    let group = range(t.format().window().ranges()[0].start.get(), 0x1_0000);
    let old = Attr::normal(AttrFlags::WRITE | AttrFlags::DIRTY | AttrFlags::GLOBAL);
    let options = MapOptions { max_leaf: Level::PTE, ..MapOptions::default() };
    t.cursor().map(group, BASE, old, &options, &mut &pool).unwrap();
    let (leaf, ..) = t.leaf(group.start).unwrap();
    assert!(leaf.contiguous && !leaf.attr.flags.contains(AttrFlags::ACCESSED));
    // The processor sets the access flag in the sixth entry only.
    let sixth = memory.iter().filter(|w| w.load(core::sync::atomic::Ordering::Relaxed) != 0);
    let sixth = sixth.filter(|w| {
        let word = w.load(core::sync::atomic::Ordering::Relaxed);
        matches!(t.format().entry(Level::PTE, word), Entry::Leaf(l) if l.phys.get() == BASE.get() + 0x5000)
    });
    let accessed = Attr::normal(old.flags | AttrFlags::ACCESSED);
    let leaf = Leaf { phys: PhysAddr::new(BASE.get() + 0x5000), attr: accessed, contiguous: true };
    let word = t.format().leaf_word(Level::PTE, &leaf).unwrap();
    assert_eq!(sixth.map(|w| w.store(word, core::sync::atomic::Ordering::Relaxed)).count(), 1);
    let at = VirtAddr::new(group.start.get() + 0x1000);
    let (_, pending) = t.cursor().split(at, TableLimits::empty(), &mut &pool, Live::No).unwrap();
    pending.finish(&&pool, &mut NotLive, &mut &pool);
    for n in 0..16 {
        let (leaf, ..) = t.leaf(VirtAddr::new(group.start.get() + n * 0x1000)).unwrap();
        assert!(!leaf.contiguous && leaf.attr == accessed, "entry {n}: {leaf:?}");
    }
}

#[test]
fn a_range_that_another_cursor_holds_is_refused_until_it_is_done() {
    let memory = words(16);
    let pool = Pool::<u64>::new(&memory, BASE, 4096).unwrap();
    let root = pool.alloc_root(1, 4096).unwrap();
    let t = Tables::new(X86Level4::default(), &pool, root);
    let mut first = t.lock(range(0x1000, 0x2000)).unwrap();
    assert_eq!(t.lock(range(0x2000, 0x1000)).err(), Some(LockError::Busy(range(0x1000, 0x2000))));
    let mut second = t.lock(range(0x3000, 0x1000)).unwrap();
    let outside = first.map(range(0x3000, 0x1000), BASE, data(), &MapOptions::PAGES, &mut &pool);
    assert_eq!(outside, Err(MapError::OutsideCursor(range(0x3000, 0x1000))));
    first.map(range(0x1000, 0x1000), BASE, data(), &MapOptions::PAGES, &mut &pool).unwrap();
    second.map(range(0x3000, 0x1000), BASE, data(), &MapOptions::PAGES, &mut &pool).unwrap();
    // The table is shared: it stays although this cursor's part of it is empty.
    let pending = first.unmap(range(0x1000, 0x1000), &mut |_| ()).unwrap();
    assert_eq!(pending.tables(), 0);
    pending.finish(&&pool, &mut NotLive, &mut &pool);
    drop((first, second));
    assert!(t.lock(range(0x2000, 0x1000)).is_ok());
}

#[test]
fn another_memory_type_needs_a_break_on_arm_and_none_on_x86() {
    use crate::format::arm64::Arm64Page4kVa48;
    fn change<F: Format<Word = u64>>(format: F) -> Result<u64, UnmapError> {
        let memory = words(16);
        let pool = Pool::<u64>::new(&memory, BASE, 4096).unwrap();
        let root = pool.alloc_root(1, 4096).unwrap();
        let mut t = Tables::new(format, &pool, root);
        let one = range(t.format().window().ranges()[0].start.get(), 0x1000);
        t.cursor().map(one, BASE, data(), &MapOptions::PAGES, &mut &pool).unwrap();
        let change = AttrChange { memory: Some(MemoryType::WriteCombine), ..AttrChange::default() };
        let (changed, pending) = t.cursor().protect(one, &change, Live::Always)?;
        pending.finish(&&pool, &mut NotLive, &mut &pool);
        Ok(changed.leaves)
    }
    assert_eq!(change(X86Level4::default()), Ok(1));
    assert!(matches!(change(Arm64Page4kVa48::default()), Err(UnmapError::NeedsBreak { .. })));
}
