//! The allocator against what it gave out: every copy holds its allocation's number until it is given back.

use super::{Heap, Random, UNIT, adjacent, with_allocator};
use crate::{AllocError, How, PerCpuBytes};
use std::vec::Vec;

/// Writes a number over all copies, or looks whether it is still there.
fn stamp(bytes: &PerCpuBytes, offsets: &[u64], number: u32, write: bool) {
    for (cpu, offset) in offsets.iter().enumerate() {
        for word in 0..bytes.size() as usize / 4 {
            // SAFETY: each copy has `size` bytes at its offset, which are the token's alone.
            let at = unsafe { bytes.at(*offset).cast::<u32>().add(word) };
            let value = number ^ (cpu as u32) << 24;
            if write {
                // SAFETY: as above.
                unsafe { at.write(value) };
            } else {
                // SAFETY: as above; the copies are zeroed when they are given out, so initialised.
                assert_eq!(unsafe { at.read() }, value, "{bytes}, CPU {cpu}");
            }
        }
    }
}

fn run(ops: u32, cpus: u64, seed: u64) {
    let (heap, random) = (Heap::new(5), Random::new(seed));
    let offsets = adjacent(cpus);
    with_allocator(&offsets, [6000, 8192, UNIT - 6000 - 8192 - 2000], 4, &heap, |percpu| {
        let mut held: Vec<(PerCpuBytes, u32)> = Vec::new();
        let mut refused = [0; 3];
        for number in 1..=ops {
            if held.is_empty() || random.below(16) < 9 {
                let large = if cfg!(miri) { 400 } else { 12_000 };
                let size = 1 + random.below(if random.below(8) == 0 { large } else { 200 });
                let align = 1 << random.below(13);
                let how = [How::Grow, How::Grow, How::Atomic, How::Reserved][random.below(4) as usize];
                match percpu.alloc(size, align, how) {
                    Ok(bytes) => {
                        assert!(bytes.size() >= size && bytes.size() < size + 4);
                        assert!((bytes.at(0).addr().get() as u64).is_multiple_of(align));
                        stamp(&bytes, &offsets, 0, false_if_cleared(&bytes, &offsets));
                        stamp(&bytes, &offsets, number, true);
                        held.push((bytes, number));
                    }
                    Err(AllocError::Atomic { .. }) => refused[0] += 1,
                    Err(AllocError::Reserved { .. }) => refused[1] += 1,
                    Err(AllocError::TooManyChunks { chunks: 6, .. }) => refused[2] += 1,
                    Err(other) => panic!("{other}"),
                }
            } else {
                let (bytes, number) = held.swap_remove(random.below(held.len() as u64) as usize);
                stamp(&bytes, &offsets, number, false);
                percpu.free(bytes).unwrap();
            }
            if number % 16 == 0 || cfg!(not(miri)) {
                percpu.validate().unwrap();
            }
            // Now and then nearly all goes, so that chunks go.
            if random.below(400) == 0 {
                for (bytes, number) in held.drain(held.len() / 8..) {
                    stamp(&bytes, &offsets, number, false);
                    percpu.free(bytes).unwrap();
                }
            }
        }
        for (bytes, number) in held.drain(..) {
            stamp(&bytes, &offsets, number, false);
            percpu.free(bytes).unwrap();
        }
        if ops > 10_000 {
            assert!(refused.iter().all(|times| *times > 0), "{refused:?}: the run met all limits");
            assert_eq!(percpu.stats().nr_max_chunks, 6);
        }
        assert!(heap.out.load(std::sync::atomic::Ordering::Relaxed) <= 1, "one spare chunk is kept at most");
        percpu.shrink();
        assert_eq!(heap.out.load(std::sync::atomic::Ordering::Relaxed), 0);
        let stats = percpu.stats();
        assert_eq!((stats.nr_cur_alloc, stats.nr_chunks), (0, 2));
    });
}

/// What is given out is zeroed on every CPU.
fn false_if_cleared(bytes: &PerCpuBytes, offsets: &[u64]) -> bool {
    for offset in offsets {
        for word in 0..bytes.size() as usize / 4 {
            // SAFETY: each copy has `size` bytes at its offset, initialised when given out.
            assert_eq!(unsafe { bytes.at(*offset).cast::<u32>().add(word).read() }, 0, "{bytes}");
        }
    }
    true
}

#[test]
fn copies_keep_what_was_written_until_they_are_given_back() {
    let ops = std::env::var("PAGEWRIGHT_OPS").ok().and_then(|ops| ops.parse().ok());
    let seed = std::env::var("PAGEWRIGHT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for cpus in [1, 3] {
        run(ops.unwrap_or(if cfg!(miri) { 40 } else { 20_000 }), cpus, seed);
    }
}

#[test]
fn threads_get_different_memory() {
    let heap = Heap::new(4);
    let offsets = adjacent(2);
    let rounds = if cfg!(miri) { 4 } else { 4_000 };
    with_allocator(&offsets, [4096, 0, 8192], 4, &heap, |percpu| {
        std::thread::scope(|scope| {
            for thread in 1..=3_u32 {
                let offsets = &offsets;
                scope.spawn(move || {
                    let random = Random::new(thread.into());
                    let mut held = Vec::new();
                    for round in 0..rounds {
                        if let Ok(bytes) =
                            percpu.alloc(1 + random.below(if cfg!(miri) { 100 } else { 3000 }), 8, How::Grow)
                        {
                            stamp(&bytes, offsets, thread << 16 | round, true);
                            held.push((bytes, thread << 16 | round));
                        }
                        if held.len() > 8 {
                            let (bytes, number) = held.swap_remove(random.below(9) as usize);
                            stamp(&bytes, offsets, number, false);
                            percpu.free(bytes).unwrap();
                        }
                    }
                    for (bytes, number) in held {
                        stamp(&bytes, offsets, number, false);
                        percpu.free(bytes).unwrap();
                    }
                });
            }
        });
        percpu.shrink();
        assert_eq!((percpu.stats().nr_cur_alloc, percpu.stats().nr_chunks), (0, 1));
    });
}
