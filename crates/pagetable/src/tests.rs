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
