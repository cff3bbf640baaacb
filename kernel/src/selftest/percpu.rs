//! Per-CPU memory: every processor allocates and frees, and what it wrote to all copies stays.

use super::{Note, Numbers, Subject, census, note};
use crate::dynamic::{Units, with_percpu};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use pagewright_addr::VirtAddr;
use pagewright_percpu::{AllocError, How, MAX_SIZE, PerCpuBox, PerCpuMemory};

/// Steps of each processor.
const STEPS: u32 = 400;
/// What a processor holds at a time.
const HELD: usize = 12;

/// A value of one of several sizes on each processor, all of its words the same.
enum Held<'p> {
    Small(PerCpuBox<'p, [AtomicU32; 2]>),
    Middle(PerCpuBox<'p, [AtomicU32; 25]>),
    Large(PerCpuBox<'p, [AtomicU32; 1500]>),
}

fn words<const N: usize>(
    memory: &(dyn PerCpuMemory + Sync),
    stamp: u32,
) -> Result<PerCpuBox<'_, [AtomicU32; N]>, AllocError> {
    PerCpuBox::new(memory, How::Grow, |cpu| {
        [const { AtomicU32::new(0) }; N].map(|_| AtomicU32::new(stamp ^ cpu as u32))
    })
}

fn intact<const N: usize>(held: &PerCpuBox<'_, [AtomicU32; N]>, stamp: u32) -> bool {
    let whole = |(cpu, words): (usize, &[AtomicU32; N])| {
        words.iter().all(|word| word.load(Ordering::Relaxed) == stamp ^ cpu as u32)
    };
    held.iter().enumerate().all(whole)
}

impl<'p> Held<'p> {
    fn new(memory: &'p (dyn PerCpuMemory + Sync), which: u64, stamp: u32) -> Result<Self, AllocError> {
        match which {
            0 => words(memory, stamp).map(Self::Large),
            1..4 => words(memory, stamp).map(Self::Middle),
            _ => words(memory, stamp).map(Self::Small),
        }
    }

    fn intact(&self, stamp: u32) -> bool {
        match self {
            Self::Small(held) => intact(held, stamp),
            Self::Middle(held) => intact(held, stamp),
            Self::Large(held) => intact(held, stamp),
        }
    }
}

pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    let Some(units) = subject.units else {
        return Err(note(format_args!("the boot has placed no units")));
    };
    settle(subject, units)?;
    let before = census::take(subject);
    let all = with_percpu(subject.pages, units, Some(subject.space), |percpu| stress(subject, percpu));
    let result = all.ok_or_else(|| note(format_args!("the first chunk cannot be used")))??;
    census::all_back(subject, &before)?;
    Ok(result)
}

/// Makes the tables at the end of vmalloc's area, where chunks lie: they stay once there are any. Whether there surely is memory for a few chunks; then
/// what the first has no room for was had from the area.
pub(super) fn settle(subject: &Subject<'_>, units: &Units) -> Result<bool, Note> {
    let Subject { pages, metal, space, .. } = *subject;
    let enough = census::free_pages(pages, metal) * pages.page_shift().bytes() > 8 * units.bytes();
    let there = with_percpu(pages, units, Some(space), |percpu| {
        let bytes = percpu.alloc(MAX_SIZE, 8, How::Grow).ok()?;
        let copies = (0..metal.cpus()).all(|cpu| {
            let copy = percpu.copy(&bytes, cpu as usize);
            copy.is_some_and(|copy| space.area.range().contains(VirtAddr::new(copy.addr().get() as u64)))
        });
        Some(percpu.free(bytes).is_ok() && copies)
    });
    match there.flatten() {
        Some(false) => Err(note(format_args!("a chunk lies outside vmalloc's area"))),
        None if enough => Err(note(format_args!("no further chunk comes from vmalloc"))),
        _ => Ok(enough),
    }
}

fn stress(subject: &Subject<'_>, percpu: &crate::dynamic::PerCpuPages<'_>) -> Result<Note, Note> {
    let memory: &(dyn PerCpuMemory + Sync) = percpu;
    let counts =
        PerCpuBox::new(memory, How::Atomic, |_| AtomicU64::new(0)).map_err(|e| note(format_args!("{e}")))?;
    let wrong = AtomicU64::new(0);
    subject.metal.on_each_cpu(&|cpu| {
        let mut numbers = Numbers::new(77 + u64::from(cpu));
        let mut held: ArrayVec<(Held<'_>, u32), HELD> = ArrayVec::new();
        for step in 0..STEPS {
            if held.is_full() || (!held.is_empty() && numbers.below(3) == 0) {
                let (gone, stamp) = held.swap_remove(numbers.below(held.len() as u64) as usize);
                if !gone.intact(stamp) {
                    wrong.fetch_or(1 << (cpu % 64), Ordering::Relaxed);
                }
                continue;
            }
            // Its processor's number in the upper half, so that none has another's.
            let stamp = cpu << 24 | step << 8;
            // A small machine may be short of memory; then it goes on with what it has.
            if let Ok(new) = Held::new(memory, numbers.below(16), stamp) {
                held.push((new, stamp));
                counts
                    .get(cpu as usize)
                    .into_iter()
                    .for_each(|count| _ = count.fetch_add(1, Ordering::Relaxed));
            }
        }
        if !held.iter().all(|(held, stamp)| held.intact(*stamp)) {
            wrong.fetch_or(1 << (cpu % 64), Ordering::Relaxed);
        }
    });
    let wrong = wrong.load(Ordering::Relaxed);
    if wrong != 0 {
        return Err(note(format_args!("a copy was written by somebody else (processors {wrong:#b})")));
    }
    let made: u64 = counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    drop(counts);
    if made == 0 {
        return Err(note(format_args!("nothing could be allocated")));
    }
    percpu.validate().map_err(|e| note(format_args!("{e}")))?;
    let stats = percpu.stats();
    // The counts themselves are one more.
    if stats.nr_cur_alloc != 0 || stats.nr_alloc != made + 1 {
        return Err(note(format_args!(
            "{made} were made, {} counted, {} stay",
            stats.nr_alloc, stats.nr_cur_alloc
        )));
    }
    Ok(note(format_args!(
        "{made} allocations on {} processors, {} chunks",
        subject.metal.cpus(),
        stats.nr_max_chunks
    )))
}
