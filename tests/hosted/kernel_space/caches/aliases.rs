//! What caches do by themselves: a store through one address, read through another.

use super::board::{USER, board, page, user};
use crate::world::PAGE;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_kspace::dcache::colour;
use pagewright_pagetable::MemoryType::{Normal, WriteCombine};
use pagewright_platform::DataCache;
use pagewright_sim::cache::in_ram;

#[test]
fn a_store_through_one_colour_is_stale_through_another_until_its_flush() {
    for shape in ["vipt,32K,4,32", "vipt,64K,4,64", "vivt,16K,4,32"] {
        board(shape, None, &[(0, page(0), Normal), (1, page(0), Normal)], |b| {
            assert!(b.reads(user(0), 0) && b.reads(user(1), 0));
            b.write(user(0), 7);
            assert!(b.reads(user(0), 7) && b.reads(user(1), 0), "{shape}");
            assert_eq!(in_ram(&b.m.mmu, page(0)), 0);
            assert!(!b.cpu.aliases().is_empty() && b.cpu.dirty_lines() > 0);
            // Writing back is half of it: the other's old lines have to go as well.
            b.cpu.clean_invalidate(user(0), PAGE);
            assert_eq!(in_ram(&b.m.mmu, page(0)), 7);
            assert!(b.reads(user(1), 0), "{shape}");
            b.cpu.invalidate(user(1), PAGE);
            assert!(b.reads(user(1), 7), "{shape}");
            assert!(b.cpu.aliases().is_empty());
        });
    }
}

#[test]
fn caches_without_aliases_need_no_flush() {
    for shape in ["pipt,32K,4,32", "pipt,64K,2,64"] {
        board(shape, None, &[(0, page(0), Normal), (1, page(0), Normal)], |b| {
            assert!(b.reads(user(1), 0));
            b.write(user(0), 7);
            assert!(b.reads(user(1), 7) && b.reads(b.kernel(page(0)), 7), "{shape}");
            assert!(b.cpu.aliases().is_empty());
        });
    }
}

/// Physical tags: addresses of one colour have their lines in common. Virtual tags do not care.
#[test]
fn placed_by_colour_shared_mappings_share_their_lines() {
    for (shape, same) in [("vipt,32K,4,32", true), ("vipt,64K,4,32", true), ("vivt,16K,4,32", false)] {
        let gap = VirtRange::from_len(VirtAddr::new(USER + 3 * PAGE), 16 * PAGE);
        let n = 6;
        let second = colour::place(gap, PAGE, Some(n), PAGE).unwrap();
        assert!(colour::may_begin_at(user(n % 4), n, PAGE));
        let at = (second.get() - USER) / PAGE;
        board(shape, None, &[(n % 4, page(0), Normal), (at, page(0), Normal)], |b| {
            assert!(b.reads(second, 0));
            b.write(user(n % 4), 9);
            assert_eq!(b.reads(second, 9), same, "{shape}");
            assert_eq!(b.cpu.aliases().is_empty(), same);
        });
    }
}

#[test]
fn memory_that_is_not_cached_is_written_at_once() {
    board("vivt,16K,4,32", None, &[(0, page(0), WriteCombine), (1, page(0), WriteCombine)], |b| {
        b.write(user(0), 3);
        assert_eq!(in_ram(&b.m.mmu, page(0)), 3);
        assert!(b.reads(user(1), 3));
        assert_eq!(b.cpu.dirty_lines(), 0);
    });
}

/// Lines that no longer fit are written back, oldest first.
#[test]
fn a_full_set_pushes_its_oldest_line_out() {
    board("vipt,8K,2,32", None, &[], |b| {
        // One set, three lines: addresses a way apart.
        let line = |n: u64| page(n);
        for n in 0..3 {
            b.cpu.store(b.kernel(line(n)), false, &[n as u8 + 1]).unwrap();
        }
        let ram = [0, 1, 2].map(|n| in_ram(&b.m.mmu, line(n)));
        assert_eq!((ram, b.cpu.dirty_lines()), ([1, 0, 0], 2));
        b.cpu.evict_all();
        assert_eq!([0, 1, 2].map(|n| in_ram(&b.m.mmu, line(n))), [1, 2, 3]);
    });
}
