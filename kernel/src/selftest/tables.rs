//! The loaded tables mean to the processor what they mean to the library: every run of every mapping is asked for, at its ends
//! and inside, and so is what lies right beside it.

use super::{Note, Subject, note};
use crate::metal::Access;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::{AttrFlags, Run, RunKind};

/// The test.
pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    let metal = subject.metal;
    let (mut runs, mut asked, mut wrong) = (0_u64, 0_u64, None);
    let mut see = |run: &Run| {
        let RunKind::Leaf(leaf) = run.kind else { return };
        runs += 1;
        for at in points(&run.range) {
            let phys = PhysAddr::new(leaf.phys.get() + (at.get() - run.range.start.get()));
            let writes = run.limits.apply(leaf.attr.flags).contains(AttrFlags::WRITE);
            for (access, expected) in
                [(Access::Read, Some(phys)), (Access::Write, Some(phys).filter(|_| writes))]
            {
                let Some(found) = metal.translate(at, access) else { return };
                asked += 1;
                if found != expected && wrong.is_none() {
                    wrong = Some(note(format_args!(
                        "{access:?} at {at:#x}: the library says {expected:x?}, the processor {found:x?}"
                    )));
                }
            }
        }
    };
    let walked = subject.tables.with(|tree| {
        let parts = tree.window().ranges();
        parts.into_iter().filter(|part| !part.is_empty()).try_for_each(|part| tree.walk(part, &mut see))
    });
    walked.map_err(|e| note(format_args!("{e}")))?;
    match wrong {
        Some(wrong) => Err(wrong),
        None if asked == 0 => Ok(note(format_args!("{runs} runs; this processor cannot be asked"))),
        None => Ok(note(format_args!("{runs} runs, {asked} addresses asked"))),
    }
}

/// The addresses of a run that are asked for.
fn points(range: &VirtRange) -> [VirtAddr; 4] {
    let at = |offset: u64| VirtAddr::new(range.start.get().wrapping_add(offset));
    [at(0), at((range.len / 3) & !7), at(range.len / 2), range.last()]
}
