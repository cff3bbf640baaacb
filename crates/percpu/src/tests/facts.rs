//! Single facts.

use super::{Heap, PAGE, Piece, UNIT, adjacent, with_allocator};
use crate::slots::slot_of;
use crate::{AllocError, FirstChunk, FreeError, Geometry, How, MAX_SIZE, NoChunks, PerCpuAllocator};
use pagewright_platform::{Carve, NoInterrupts};
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

#[test]
fn illegal_sizes_and_alignments_are_refused() {
    let heap = Heap::new(1);
    with_allocator(&adjacent(1), [0, 0, UNIT], 1, &heap, |percpu| {
        for (size, align) in [(0, 4), (MAX_SIZE + 1, 4), (8, 3), (8, 0), (8, 2 * PAGE), (u64::MAX, 1)] {
            let error = percpu.alloc(size, align, How::Grow).unwrap_err();
            assert_eq!(error, AllocError::Illegal { size, align });
        }
        let all = percpu.alloc(MAX_SIZE, PAGE, How::Atomic).unwrap();
        assert_eq!(
            percpu.alloc(1, 1, How::Atomic).unwrap_err().to_string(),
            "allocation failed, size=1 align=1: atomic alloc failed, no space left"
        );
        percpu.free(all).unwrap();
    });
}

#[test]
fn a_chunk_that_cannot_be_had_is_an_error_and_changes_nothing() {
    let heap = Heap::new(2);
    with_allocator(&adjacent(1), [0, 0, UNIT], 9, &heap, |percpu| {
        let held: Vec<_> = (0..3).map(|_| percpu.alloc(MAX_SIZE, 4, How::Grow).unwrap()).collect();
        let before = percpu.stats();
        // The table has room, but the heap is used up.
        assert!(matches!(percpu.alloc(4, 4, How::Grow), Err(AllocError::NoChunk { size: 4, align: 4, .. })));
        assert_eq!(percpu.stats(), before);
        held.into_iter().for_each(|bytes| percpu.free(bytes).unwrap());
        percpu.shrink();
    });
    assert_eq!(heap.left.into_inner(), 2);
}

#[test]
fn modules_have_their_part_and_nobody_else_gets_it() {
    with_allocator(&adjacent(2), [5000, 1000, 2000], 0, &Heap::new(0), |percpu| {
        let (first, len) = percpu.static_data(1).unwrap();
        let lowest = first.addr().get() as u64 - UNIT;
        assert_eq!(len, 5000);
        let module = percpu.alloc(1000, 4, How::Reserved).unwrap();
        assert_eq!(module.at(0).addr().get() as u64 - lowest, 5000);
        assert_eq!(percpu.alloc(4, 4, How::Reserved), Err(AllocError::Reserved { size: 4, align: 4 }));
        let other = percpu.alloc(2000, 4, How::Grow).unwrap();
        assert_eq!(other.at(0).addr().get() as u64 - lowest, 6000);
        assert!(matches!(percpu.alloc(4, 4, How::Grow), Err(AllocError::NoChunk { .. })));
        percpu.free(module).unwrap();
        percpu.free(other).unwrap();
    });
}

#[test]
fn another_allocators_token_comes_back() {
    let heap = Heap::new(0);
    let offsets = adjacent(1);
    with_allocator(&offsets, [0, 0, 4096], 0, &heap, |one| {
        with_allocator(&offsets, [0, 0, 4096], 0, &heap, |other| {
            let bytes = one.alloc(16, 4, How::Grow).unwrap();
            let Err(FreeError::Foreign(bytes)) = other.free(bytes) else { panic!("taken by the wrong one") };
            one.free(bytes).unwrap();
        });
    });
}

#[test]
fn numbers_that_came_from_c_lead_back_to_allocations_only() {
    with_allocator(&adjacent(1), [64, 64, 4096], 0, &Heap::new(0), |percpu| {
        let at = percpu.alloc(24, 8, How::Grow).unwrap().into_raw();
        for wrong in [at + 4, at - 4, at + 1, 0, usize::MAX] {
            // SAFETY: nothing is made of these numbers.
            let error = unsafe { percpu.from_raw(wrong) }.unwrap_err();
            assert_eq!(error, FreeError::NotAllocated { addr: wrong });
        }
        // SAFETY: the number came from a token, and none is made of it twice.
        let bytes = unsafe { percpu.from_raw(at) }.unwrap();
        assert_eq!(bytes.size(), 24);
        percpu.free(bytes).unwrap();
        // SAFETY: as above; it is refused.
        assert!(unsafe { percpu.from_raw(at) }.is_err(), "given back twice");
    });
}

#[test]
fn small_allocations_fill_the_fuller_chunk_first() {
    let heap = Heap::new(3);
    with_allocator(&adjacent(1), [0, 0, UNIT], 3, &heap, |percpu| {
        let a = percpu.alloc(UNIT - 64, 4, How::Grow).unwrap();
        let b = percpu.alloc(UNIT - 4096, 4, How::Grow).unwrap();
        assert_eq!(percpu.stats().nr_chunks, 2);
        let c = percpu.alloc(64, 4, How::Grow).unwrap();
        assert_eq!(c.at(0).addr().get() - a.at(0).addr().get(), UNIT as usize - 64, "beside the first");
        for bytes in [a, b, c] {
            percpu.free(bytes).unwrap();
        }
        percpu.shrink();
    });
}

#[test]
fn chunks_are_listed_by_powers_of_two() {
    let bytes = [0_u32, 4, 12, 16, 28, 32, 60, 64, 4096, 1 << 30];
    let slots: Vec<u8> = bytes.iter().map(|bytes| slot_of(bytes / 4)).collect();
    assert_eq!(slots, [0, 1, 1, 2, 2, 3, 3, 4, 10, 28]);
}

#[test]
fn shapes_that_cannot_be_are_refused() {
    assert!(Geometry::new(PAGE, UNIT, &[0, UNIT]).is_some());
    assert!(Geometry::new(PAGE, UNIT, &[UNIT, 0, 1 << 30]).is_some());
    for (page, unit, offsets) in [
        (PAGE, UNIT, &[][..]),
        (PAGE, UNIT, &[UNIT]),
        (PAGE, UNIT, &[0, UNIT - PAGE]),
        (PAGE, UNIT, &[0, UNIT + 1]),
        (PAGE, UNIT - PAGE, &[0]),
        (PAGE, UNIT + 4, &[0]),
        (2048, UNIT, &[0]),
        (PAGE, 2 << 30, &[0]),
        (PAGE, UNIT, &[0, u64::MAX - UNIT + 1]),
    ] {
        assert_eq!(Geometry::new(page, unit, offsets), None, "{page} {unit} {offsets:?}");
    }
    let geometry = Geometry::new(PAGE, UNIT, &[0]).unwrap();
    let piece = Piece::new(UNIT);
    for (parts, room) in
        [([2, 0, 4], 9999), ([0, 0, UNIT + 4], 9999), ([u64::MAX, 4, 4], 9999), ([0, 0, 4], 30)]
    {
        let first = FirstChunk {
            lowest: piece.0,
            static_size: parts[0],
            reserved_size: parts[1],
            dyn_size: parts[2],
        };
        let mut words = vec![0; room];
        let mut carve = Carve::of(&mut words);
        // SAFETY: what is refused uses no memory.
        let made = unsafe { PerCpuAllocator::new(geometry, &first, 0, &mut carve, NoChunks, NoInterrupts) };
        assert!(made.is_none(), "{parts:?} {room}");
    }
}

#[test]
fn counts_read_as_debugfs_shows_them() {
    with_allocator(&adjacent(1), [0, 0, 8192], 0, &Heap::new(0), |percpu| {
        let sizes = [8, 100, 8, 4096, 60];
        let mut held: Vec<_> =
            sizes.map(|size| percpu.alloc(size, 4, How::Grow).unwrap()).into_iter().collect();
        percpu.free(held.remove(1)).unwrap();
        let stats = percpu.stats().to_string();
        for line in ["  nr_alloc            :            5\n", "  nr_cur_alloc        :            4\n"] {
            assert!(stats.contains(line), "{stats}");
        }
        assert!(
            stats.contains("  min_alloc_size      :            8\n  max_alloc_size      :         4096\n"),
            "{stats}"
        );
        let mut chunks = String::new();
        percpu.each_chunk(|number, chunk| chunks += &format!("{number}\n{chunk}"));
        let expected = [
            ("nr_alloc", 4),
            ("max_alloc_size", 4096),
            ("empty_pop_pages", 0),
            ("first_bit", 2),
            ("free_bytes", 8192 - 8 - 8 - 4096 - 60),
            ("contig_bytes", 8192 - 8 - 100 - 8 - 4096 - 60),
            ("sum_frag", 100),
            ("max_frag", 100),
            ("cur_min_alloc", 8),
            ("cur_med_alloc", 60),
            ("cur_max_alloc", 4096),
        ];
        let text: String = expected.map(|(name, value)| format!("  {name:<20}: {value:12}\n")).concat();
        assert!(chunks.ends_with(&format!("1\n{text}")), "{chunks}");
        held.into_iter().for_each(|bytes| percpu.free(bytes).unwrap());
    });
}
