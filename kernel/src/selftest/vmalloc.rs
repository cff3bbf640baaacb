//! vmalloc on the metal: what one processor maps is memory to all, behind it nothing is, and what is freed is gone on all of them.

use super::{Note, Numbers, Subject, census, note};
use crate::dynamic::Space;
use crate::metal::Access;
use crate::space::on;
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use pagewright::vmalloc::VmRequest;
use pagewright_addr::VirtAddr;
use pagewright_hot::{KernelSpace, On};
use pagewright_zone::Gfp;

/// Rounds of each processor, at most.
const ROUNDS: u64 = 40;
/// Areas that a processor holds at a time.
const HELD: usize = 4;
/// Pages of an area, at most.
const PAGES: u64 = 9;

pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    settle(subject)?;
    let before = census::take(subject);
    let result = all(subject);
    give_back(subject)?;
    census::all_back(subject, &before)?;
    result
}

/// Makes the tables at the area's borders, which stay once there are any, and leaves nothing else.
pub(super) fn settle(subject: &Subject<'_>) -> Result<(), Note> {
    let Space { area, metal } = subject.space;
    let made = on(subject.pages, metal, |on| {
        let at = area.vmalloc(on, &VmRequest::new(1)).map_err(|e| note(format_args!("{e}")))?;
        area.vfree(on, at).map_err(|e| note(format_args!("{e}")))
    });
    made.unwrap_or_else(|| Err(note(format_args!("this processor has no number"))))?;
    give_back(subject)
}

/// Nothing waits any more, and nothing is in use but the processors' stacks.
pub(super) fn give_back(subject: &Subject<'_>) -> Result<(), Note> {
    let Space { area, metal } = subject.space;
    on(subject.pages, metal, |on| area.give_all_back(on));
    let regions = [Some((area.area(), subject.stack_pages)), area.modules().map(|modules| (modules, 0))];
    regions.into_iter().flatten().try_for_each(|(region, stay)| {
        match (region.nr_pages(), region.validate()) {
            (pages, _) if pages != stay => {
                Err(note(format_args!("areas of {} have {pages} pages, not {stay}", region.name())))
            }
            (_, Err(e)) => Err(note(format_args!("{e}"))),
            _ => Ok(()),
        }
    })
}

/// All processors at once, then the first alone.
fn all(subject: &Subject<'_>) -> Result<Note, Note> {
    let Subject { pages, metal, space: Space { area, .. }, .. } = *subject;
    let page = pages.page_shift().bytes();
    let budget = census::free_pages(pages, metal) / 4 / u64::from(metal.cpus()).max(1);
    let rounds = (budget / PAGES).clamp(1, ROUNDS);
    let (areas, wrong) = (AtomicU64::new(0), AtomicU32::new(0));
    metal.on_each_cpu(&|cpu| {
        let made = on(pages, metal, |on| work(area, on, page, u64::from(cpu), rounds)).unwrap_or(Err(()));
        match made {
            Ok(n) => areas.fetch_add(n, Ordering::Relaxed),
            Err(()) => u64::from(wrong.fetch_or(1 << (cpu % 32), Ordering::Relaxed)),
        };
    });
    let wrong = wrong.load(Ordering::Relaxed);
    if wrong != 0 {
        return Err(note(format_args!("an area has no memory, or another's (processors {wrong:#b})")));
    }
    let seen = on(pages, metal, |on| guarded(subject, on, page));
    seen.unwrap_or(Err(note(format_args!("this processor has no number"))))?;
    let cpus = metal.cpus();
    Ok(note(format_args!("{} areas on {cpus} processors, guarded", areas.load(Ordering::Relaxed))))
}

/// One processor's work: how many areas it has had.
fn work(area: &dyn KernelSpace, on: &mut On<'_, '_>, page: u64, cpu: u64, rounds: u64) -> Result<u64, ()> {
    let mut numbers = Numbers::new(77 + cpu);
    let mut held: ArrayVec<(VirtAddr, u64, u64), HELD> = ArrayVec::new();
    let mut sound = true;
    let mut areas = 0;
    for round in 0..rounds {
        if round % 16 == 15 {
            // The others work on meanwhile, and are told.
            area.purge(on);
        }
        if held.is_full() {
            let (at, pages, stamp) = held.swap_remove(numbers.below(HELD as u64) as usize);
            sound &= has(at, pages, stamp, page);
            sound &= area.vfree(on, at).is_ok();
        }
        let pages = 1 + numbers.below(PAGES);
        let Ok(at) = area.vmalloc(on, &VmRequest::new(pages * page)) else { continue };
        let stamp = cpu << 32 | round;
        write(at, pages, stamp, page);
        areas += 1;
        held.push((at, pages, stamp));
    }
    for (at, pages, stamp) in held {
        sound &= has(at, pages, stamp, page);
        sound &= area.vfree(on, at).is_ok();
    }
    if sound && areas > 0 { Ok(areas) } else { Err(()) }
}

/// The first and the last word of each page.
fn words(at: VirtAddr, pages: u64, page: u64) -> impl Iterator<Item = *mut u64> {
    (0..pages)
        .flat_map(move |n| [n * page, (n + 1) * page - 8])
        .map(move |offset| core::ptr::with_exposed_provenance_mut((at.get() + offset) as usize))
}

fn write(at: VirtAddr, pages: u64, stamp: u64, page: u64) {
    for (n, word) in words(at, pages, page).enumerate() {
        // SAFETY: inside an area of so many pages, which was mapped for the caller and nobody else; aligned.
        unsafe { word.write_volatile(stamp ^ (n as u64) << 48) };
    }
}

fn has(at: VirtAddr, pages: u64, stamp: u64, page: u64) -> bool {
    words(at, pages, page).enumerate().all(|(n, word)| {
        // SAFETY: as in `write`.
        let found = unsafe { word.read_volatile() };
        found == stamp ^ (n as u64) << 48
    })
}

/// An area's end and what was freed fault, on all processors; zeroed memory is zero, and its addresses are those of its pages.
fn guarded(subject: &Subject<'_>, on: &mut On<'_, '_>, page: u64) -> Result<(), Note> {
    let Space { area, metal } = subject.space;
    let request = VmRequest::new(3 * page).with_gfp(Gfp::GFP_KERNEL | Gfp::ZERO);
    let at = area.vmalloc(on, &request).map_err(|e| note(format_args!("{e}")))?;
    let end = VirtAddr::new(at.get() + 3 * page);
    let last = VirtAddr::new(end.get() - 1);
    let zero = words(at, 3, page).all(|word| {
        // SAFETY: inside the area, which is nobody else's; aligned.
        unsafe { word.read_volatile() == 0 }
    });
    let everywhere = |at: VirtAddr, access: Access| {
        let (yes, all) = (AtomicU32::new(0), metal.cpus());
        metal.on_each_cpu(&|_| {
            yes.fetch_add(u32::from(metal.probe(at, access)), Ordering::Relaxed);
        });
        (yes.load(Ordering::Relaxed), all)
    };
    let (inside, all) = everywhere(last, Access::Write);
    let (behind, _) = everywhere(end, Access::Read);
    let executed = metal.probe(at, Access::Execute);
    let freed = area.vfree(on, at).is_ok();
    area.purge(on);
    // All processors have just written there, so each has a translation to forget.
    let (gone, _) = everywhere(last, Access::Read);
    let holds = [
        (zero, "vzalloc's memory is not zero"),
        (inside == all, "a processor cannot write an area"),
        (behind == 0, "a processor can read behind an area"),
        (!executed, "an area can be executed"),
        (freed, "an area cannot be freed"),
        (gone == 0, "a processor reads what was freed"),
    ];
    match holds.iter().find(|(holds, _)| !holds) {
        Some((_, what)) => Err(note(format_args!("{what}"))),
        None => Ok(()),
    }
}
