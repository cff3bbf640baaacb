//! vmalloc on the metal: what one processor maps is memory to all, behind it nothing is, and what is freed is gone on all of them.

use super::{Note, Numbers, Subject, census, note};
use crate::metal::{Access, Metal};
use crate::pages::Pages;
use crate::service::MAX_CPUS;
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use pagewright_addr::{Order, VirtAddr};
use pagewright_kspace::vmalloc::{OnPages, VmContext, Vmalloc, VmallocConfig};
use pagewright_pagetable::format::WithFormat;
use pagewright_pagetable::{Attr, AttrFlags, FlushScope, Format, TableMemory, Tables, TlbFlush};

/// Areas that there is room for.
const AREAS: usize = 256;
/// Rounds of each processor, at most.
const ROUNDS: u64 = 40;
/// Areas that a processor holds at a time.
const HELD: usize = 4;
/// Pages of an area, at most.
const PAGES: u64 = 9;
/// Data that the kernel alone reads and writes.
pub(super) const DATA: Attr = Attr::normal(
    AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::GLOBAL).union(AttrFlags::ACCESSED),
);

/// All processors' translations.
struct Everywhere<'m>(&'m dyn Metal);

impl TlbFlush for Everywhere<'_> {
    fn flush(&mut self, _: &FlushScope) {
        self.0.flush_tlb();
    }

    fn publish(&mut self) {
        self.0.publish();
    }
}

pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    let before = census::take(subject);
    let result = subject.metal.try_vmalloc(subject);
    census::all_back(subject, &before)?;
    result
}

struct Work<'s, 'k>(&'s Subject<'k>);

impl WithFormat for Work<'_, '_> {
    type Out = Result<Note, Note>;

    fn run<F: Format>(self, format: F) -> Self::Out {
        over(self.0, format)
    }
}

/// The test over tables of whichever format the image has.
pub fn over_any(subject: &Subject<'_>) -> Result<Note, Note> {
    subject.tables.format.with(Work(subject))
}

/// A region that all processors use.
struct Shared<'r, 'v, F: Format>(&'r Region<'v, F>);
/// One over the image's tables.
pub(super) type Region<'v, F> = Vmalloc<'v, 'static, F, &'v dyn TableMemory>;

// SAFETY: what of a region could not be shared is the memory of its tables behind the `dyn`, and that is the image's direct map, which all processors
// share for their tables in any case.
unsafe impl<F: Format> Sync for Shared<'_, '_, F> {}

impl<'r, 'v, F: Format> Shared<'r, 'v, F> {
    fn region(&self) -> &'r Region<'v, F> {
        self.0
    }
}

/// The same over tables of one format.
///
/// # Errors
/// What is wrong.
// A frame of its own for each format: one with both is too much of a stack.
#[inline(never)]
pub fn over<F: Format>(subject: &Subject<'_>, format: F) -> Result<Note, Note> {
    let Subject { pages, metal, tables, vmalloc, .. } = *subject;
    let range = vmalloc.ok_or_else(|| note(format_args!("no room in vmalloc space")))?;
    let failed = |what: &str| note(format_args!("{what}"));
    let mut block = pages.alloc(Order::new(5).unwrap_or_default()).map_err(|e| note(format_args!("{e}")))?;
    let done = (|| {
        let mut room = pages.carve(&mut block).ok_or_else(|| failed("no memory for areas"))?;
        let cpus = (metal.cpus() as usize).min(MAX_CPUS);
        // As everything else in the image reaches its tables: code for another kind of memory would be as much again.
        let tree = Tables::new(format, tables.memory, tables.root);
        let cursor = tree.lock(range).map_err(|e| note(format_args!("{e}")))?;
        // The processors do not flush while all of them work.
        let config =
            VmallocConfig { lazy_pages: u64::MAX, ..VmallocConfig::new(DATA, metal.cpus(), 1 << 20) };
        let region = Vmalloc::carve(config, range, cursor, *pages.map(), &mut room, (AREAS, cpus))
            .map_err(|e| note(format_args!("{e}")))?;
        let result = all(subject, &region);
        // Whatever happened, nothing of it stays.
        on(pages, metal, |on| {
            region.purge_vmap_area_lazy(on);
            region.release_tables(on);
        });
        result
    })();
    pages.free(block);
    done
}

/// Does something as this processor.
pub(super) fn on<R>(
    pages: &Pages,
    metal: &dyn Metal,
    work: impl FnOnce(&mut dyn_context::On<'_, '_>) -> R,
) -> Option<R> {
    pages.here_as(|cpu, context| {
        let tlb = &mut Everywhere(metal);
        work(&mut OnPages { allocator: pages.allocator(), context, cpu, tlb })
    })
}

/// The name of a long type.
pub(super) mod dyn_context {
    use crate::service::{Masking, Zeroing};
    use pagewright_kspace::vmalloc::OnPages;

    /// vmalloc's context on a processor of an image.
    pub(in crate::selftest) type On<'c, 'z> = OnPages<'c, 'z, 'static, 'static, 'static, Masking, Zeroing>;
}

/// All processors at once, then the first alone.
fn all<F: Format>(subject: &Subject<'_>, region: &Region<'_, F>) -> Result<Note, Note> {
    let shared = &Shared(region);
    let Subject { pages, metal, .. } = *subject;
    let budget = census::free_pages(pages, metal) / 4 / u64::from(metal.cpus()).max(1);
    let rounds = (budget / PAGES).clamp(1, ROUNDS);
    let (areas, wrong) = (AtomicU64::new(0), AtomicU32::new(0));
    metal.on_each_cpu(&|cpu| {
        let made =
            on(pages, metal, |on| work(shared.region(), on, u64::from(cpu), rounds)).unwrap_or(Err(()));
        match made {
            Ok(n) => areas.fetch_add(n, Ordering::Relaxed),
            Err(()) => u64::from(wrong.fetch_or(1 << (cpu % 32), Ordering::Relaxed)),
        };
    });
    let wrong = wrong.load(Ordering::Relaxed);
    if wrong != 0 {
        return Err(note(format_args!("an area has no memory, or another's (processors {wrong:#b})")));
    }
    let seen = on(pages, metal, |on| guarded(subject, region, on));
    seen.unwrap_or(Err(note(format_args!("this processor has no number"))))?;
    if let Err(e) = region.validate() {
        return Err(note(format_args!("{e}")));
    }
    let cpus = metal.cpus();
    Ok(note(format_args!("{} areas on {cpus} processors, guarded", areas.load(Ordering::Relaxed))))
}

/// One processor's work: how many areas it has had.
fn work<'a, F: Format, M: TableMemory>(
    region: &Vmalloc<'_, 'a, F, M>,
    on: &mut impl VmContext<'a>,
    cpu: u64,
    rounds: u64,
) -> Result<u64, ()> {
    let mut numbers = Numbers::new(77 + cpu);
    let mut held: ArrayVec<(VirtAddr, u64, u64), HELD> = ArrayVec::new();
    let mut sound = true;
    let mut areas = 0;
    for round in 0..rounds {
        if held.is_full() {
            let (at, pages, stamp) = held.swap_remove(numbers.below(HELD as u64) as usize);
            sound &= has(at, pages, stamp, F::SHAPE.page_bytes());
            sound &= region.vfree(on, at).is_ok();
        }
        let pages = 1 + numbers.below(PAGES);
        let Ok(at) = region.vmalloc(on, pages * F::SHAPE.page_bytes()) else { continue };
        let stamp = cpu << 32 | round;
        write(at, pages, stamp, F::SHAPE.page_bytes());
        areas += 1;
        held.push((at, pages, stamp));
    }
    for (at, pages, stamp) in held {
        sound &= has(at, pages, stamp, F::SHAPE.page_bytes());
        sound &= region.vfree(on, at).is_ok();
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
fn guarded<'a, F: Format, M: TableMemory>(
    subject: &Subject<'_>,
    region: &Vmalloc<'_, 'a, F, M>,
    on: &mut impl VmContext<'a>,
) -> Result<(), Note> {
    let Subject { metal, .. } = *subject;
    let page = F::SHAPE.page_bytes();
    let at = region.vzalloc(on, 3 * page).map_err(|e| note(format_args!("{e}")))?;
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
    let freed = region.vfree(on, at).is_ok();
    region.purge_vmap_area_lazy(on);
    let (gone, _) = everywhere(at, Access::Read);
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
