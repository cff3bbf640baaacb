//! Kernel stacks in vmalloc space on the metal: zeroed memory to all processors, and beyond either end of one nobody gets.
//!
//! The first processor's stack and those of exceptions lie elsewhere ([`crate::stack`]). These are those of tasks, as many as the test makes; the other processors
//! run on such stacks, which the test looks for.

use super::{Note, Subject, census, note, vmalloc};
use crate::dynamic::Space;
use crate::metal::Access;
use crate::space::on;
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU32, Ordering};
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_hot::{KernelSpace, On};
use pagewright_kspace::stacks::{KernelStack, StackShape};

/// How many there are at a time.
const STACKS: usize = 3;

pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    vmalloc::settle(subject)?;
    let before = census::take(subject);
    let Space { area, metal } = subject.space;
    let page = subject.pages.page_shift().bytes();
    // Twice the size of one that is aligned so tells an overflow by one bit of the stack pointer, as on arm64.
    let shape = StackShape { bytes: 4 * page, align: 8 * page };
    let strangers = AtomicU32::new(0);
    metal.on_each_cpu(&|cpu| {
        let word = core::hint::black_box(cpu);
        let here = VirtRange::from_len(VirtAddr::new((&raw const word).addr() as u64), 4);
        strangers.fetch_or(u32::from(area.holds(here) == (cpu == 0)) << (cpu % 32), Ordering::Relaxed);
    });
    let result = match strangers.into_inner() {
        0 => on(subject.pages, metal, |on| all(subject, area, on, shape)),
        strange => Some(Err(note(format_args!("processors {strange:#b} run on other stacks")))),
    };
    vmalloc::give_back(subject)?;
    census::all_back(subject, &before)?;
    result.unwrap_or_else(|| Err(note(format_args!("this processor has no number"))))
}

/// On how many processors an access works.
fn works(subject: &Subject<'_>, at: u64, access: Access) -> u32 {
    let yes = AtomicU32::new(0);
    subject.metal.on_each_cpu(&|_| {
        yes.fetch_add(u32::from(subject.metal.probe(VirtAddr::new(at), access)), Ordering::Relaxed);
    });
    yes.load(Ordering::Relaxed)
}

fn all(
    subject: &Subject<'_>,
    area: &dyn KernelSpace,
    on: &mut On<'_, '_>,
    shape: StackShape,
) -> Result<Note, Note> {
    let mut stacks: ArrayVec<KernelStack, STACKS> = ArrayVec::new();
    let mut wrong = None;
    for _ in 0..STACKS {
        match area.alloc_stack(on, shape) {
            Ok(stack) => stacks.push(stack),
            Err(e) => wrong = Some(note(format_args!("{e}"))),
        }
    }
    let cpus = subject.metal.cpus();
    let mut ends: ArrayVec<(u64, u64), STACKS> = ArrayVec::new();
    for stack in &stacks {
        let (start, top, guard) = (stack.range().start.get(), stack.top().get(), stack.guard().start.get());
        ends.push((start, top));
        let inside = [start, top - 8].iter().all(|at| works(subject, *at, Access::Write) == cpus);
        // Below, at the guard's far end, and above.
        let beyond = [start - 8, guard, top].iter().any(|at| works(subject, *at, Access::Read) > 0);
        let executed = subject.metal.probe(stack.range().start, Access::Execute);
        let holds = [
            (stack.range().start.is_aligned(shape.align), "a stack is not aligned"),
            (inside, "a processor cannot write a stack"),
            (!beyond, "a processor reads beyond a stack"),
            (!executed, "a stack can be executed"),
        ];
        let failed = holds.iter().find(|(holds, _)| !holds);
        wrong = wrong.or(failed.map(|(_, what)| note(format_args!("{what}"))));
    }
    for stack in stacks {
        if area.free_stack(on, shape, stack).is_err() {
            wrong = wrong.or(Some(note(format_args!("a stack cannot be freed"))));
        }
    }
    area.purge(on);
    let gone = ends.iter().all(|(start, top)| {
        works(subject, *start, Access::Read) == 0 && works(subject, top - 8, Access::Read) == 0
    });
    match wrong {
        Some(wrong) => Err(wrong),
        None if !gone => Err(note(format_args!("a processor reads a stack that was freed"))),
        None => Ok(note(format_args!("{STACKS} stacks guarded on {cpus} processors, and gone"))),
    }
}
