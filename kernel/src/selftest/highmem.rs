//! High memory on the metal: pages without an address of their own are written through one kmap and read through another, on all processors, and what was
//! unmapped is gone where the rules say so.
//!
//! The windows are the boot's, over its own tables. A page is written and zeroed through a local kmap of a processor's, copied between two of them, read by all processors
//! through the pkmap window and through an area of vmalloc's. The window is made so small that its slots are used for one page after
//! another: a processor that had not been told of that would read the page before.

use super::{Note, Subject, census, note, vmalloc};
use crate::dynamic::Space;
use crate::metal::{Access, Metal};
use crate::space::{Everywhere, on};
use arrayvec::ArrayVec;
use core::convert::Infallible;
use core::fmt::Display;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicU32, Ordering};
use pagewright::highmem::{
    Kmap, KmapCpu, KmapError, KmapLocal, KmapStack, KmapWindows, OnCpu, PkmapEntry, Wake,
};
use pagewright_addr::{Order, Pfn, PhysAddr, VirtAddr, VirtRange};
use pagewright_page::Frames;
use pagewright_pagetable::{FlushScope, Format, Tables, TlbFlush};
use pagewright_platform::{DirectMap, MappedMemory};
use pagewright_zone::Gfp;

/// Pages of high memory.
const PAGES: usize = 24;
/// Slots of the small window: each gets a third of the pages.
const SLOTS: usize = 8;
/// Rounds in which all processors use the small window at once.
const ROUNDS: usize = 200;
/// Processors that have local kmaps here.
const CPUS: usize = 16;

/// This processor's translations alone.
struct Here<'m>(&'m dyn Metal);

impl TlbFlush for Here<'_> {
    fn flush(&mut self, scope: &FlushScope) {
        let pages = (0..scope.range.len).step_by(scope.stride_bytes.max(1) as usize);
        pages.for_each(|at| self.0.flush_here(VirtAddr::new(scope.range.start.get() + at)));
    }

    fn publish(&mut self) {
        self.0.publish();
    }
}

/// What a processor has mapped.
struct Plain;

impl MappedMemory for Plain {
    type Error = Infallible;

    fn zero(&self, at: VirtAddr, bytes: u64) -> Result<(), Infallible> {
        // SAFETY: a local kmap of this processor's has that page there, which is the test's own and written by one processor at a time.
        unsafe { with_exposed_provenance_mut::<u8>(at.get() as usize).write_bytes(0, bytes as usize) };
        Ok(())
    }

    fn copy(&self, to: VirtAddr, from: VirtAddr, bytes: u64) -> Result<(), Infallible> {
        let from = with_exposed_provenance::<u8>(from.get() as usize);
        // SAFETY: as above, for both; they are two pages.
        unsafe {
            from.copy_to_nonoverlapping(with_exposed_provenance_mut(to.get() as usize), bytes as usize)
        };
        Ok(())
    }

    fn read(&self, at: VirtAddr, into: &mut [u8]) -> Result<(), Infallible> {
        let from = with_exposed_provenance::<u8>(at.get() as usize);
        // SAFETY: as above.
        unsafe { from.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    fn write(&self, at: VirtAddr, bytes: &[u8]) -> Result<(), Infallible> {
        let to = with_exposed_provenance_mut::<u8>(at.get() as usize);
        // SAFETY: as above.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }
}

/// What page `n` begins and ends with.
const fn stamp(n: usize) -> u32 {
    0x5a00_0000 | n as u32
}

/// The page's first and last word.
fn words(at: VirtAddr, page: u64) -> [*mut u32; 2] {
    [0, page - 4].map(|offset| with_exposed_provenance_mut((at.get() + offset) as usize))
}

fn write(at: VirtAddr, page: u64, value: u32) {
    for word in words(at, page) {
        // SAFETY: a kmap has a page of the test's there; aligned, and its writer is the only one.
        unsafe { word.write_volatile(value) };
    }
}

fn has(at: VirtAddr, page: u64, value: u32) -> bool {
    // SAFETY: a kmap has a page of the test's there; aligned.
    words(at, page).iter().all(|word| unsafe { word.read_volatile() } == value)
}

fn failed(what: &dyn Display) -> Note {
    note(format_args!("{what}"))
}

/// The test.
pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    vmalloc::settle(subject)?;
    let before = census::take(subject);
    let result = subject.metal.try_highmem(subject);
    vmalloc::give_back(subject)?;
    census::all_back(subject, &before)?;
    result
}

/// The test over tables of this format.
///
/// # Errors
/// What is wrong.
pub fn over_one<F: Format>(subject: &Subject<'_>, format: F) -> Result<Note, Note> {
    let pages = subject.pages;
    let windows = subject.highmem.ok_or_else(|| failed(&"the kernel has no windows for high memory"))?;
    let mut own: ArrayVec<Frames<'static>, PAGES> = ArrayVec::new();
    let gfp = Gfp::GFP_KERNEL | Gfp::HIGHMEM | Gfp::NOWARN;
    own.extend((0..PAGES).map_while(|_| pages.alloc_pages(gfp, Order::ZERO).ok()));
    let high = own.iter().all(|page| pages.pointer(page).is_none());
    let done = if own.is_full() && high {
        let phys: ArrayVec<PhysAddr, PAGES> = own.iter().map(|page| pages.phys(page)).collect();
        with_kmaps(subject, format, &windows, &phys)
    } else {
        Ok(note(format_args!("all memory has an address")))
    };
    own.into_iter().for_each(|page| pages.free(page));
    done
}

/// Opens the windows twice, as the kernel has them and with few slots, and leaves nothing mapped.
fn with_kmaps<F: Format>(
    subject: &Subject<'_>,
    format: F,
    windows: &KmapWindows,
    phys: &[PhysAddr],
) -> Result<Note, Note> {
    let pages = subject.pages;
    let page = pages.page_shift().bytes();
    let count = windows.entries(page);
    let order = (size_of::<PkmapEntry>() * count).div_ceil(page as usize).next_power_of_two().ilog2();
    let order = Order::new(order as u8).ok_or_else(|| failed(&"no such window"))?;
    let mut block = pages.alloc(order).map_err(|e| failed(&e))?;
    let small =
        KmapWindows { pkmap: VirtRange::from_len(windows.pkmap.start, SLOTS as u64 * page), ..*windows };
    let done = (|| {
        let mut carve = pages.carve(&mut block).ok_or_else(|| failed(&"no memory for slots"))?;
        let entries =
            carve.slice(count, || PkmapEntry::EMPTY).ok_or_else(|| failed(&"no memory for slots"))?;
        for (windows, which) in [(windows, all as Test<F>), (&small, crowded)] {
            let tables = Tables::new(format, pages.ram(), subject.tables.root);
            let (kmap, local) = windows.open(&tables, entries, false).map_err(|e| failed(&e))?;
            let done = which(subject, &kmap, &local, phys);
            kmap.kmap_flush_unused(&mut Everywhere(subject.metal));
            kmap.validate().map_err(|slot| note(format_args!("slot {slot} is not as it is counted")))?;
            match kmap.in_use() {
                (0, 0) => done?,
                (used, _) => return done.and(Err(note(format_args!("{used} slots are in use yet")))),
            }
        }
        Ok(note(format_args!("{PAGES} pages through {count} slots and through {SLOTS}, local and copied")))
    })();
    pages.free(block);
    done
}

type Test<F> = fn(
    &Subject<'_>,
    &Kmap<'_, F, &DirectMap>,
    &KmapLocal<'_, F, &DirectMap>,
    &[PhysAddr],
) -> Result<(), Note>;

/// Every page has an address that all processors use.
fn all<F: Format>(
    subject: &Subject<'_>,
    kmap: &Kmap<'_, F, &DirectMap>,
    local: &KmapLocal<'_, F, &DirectMap>,
    phys: &[PhysAddr],
) -> Result<(), Note> {
    let (metal, page) = (subject.metal, subject.pages.page_shift().bytes());
    let everywhere = &mut Everywhere(metal);
    write_locally(metal, local, phys, page)?;
    let mut at: ArrayVec<VirtAddr, PAGES> = ArrayVec::new();
    for phys in phys {
        at.push(kmap.kmap(*phys, everywhere).map_err(|e| failed(&e))?);
    }
    let wrong = AtomicU32::new(0);
    metal.on_each_cpu(&|cpu| {
        let read = at.iter().enumerate().all(|(n, at)| has(*at, page, stamp(n)));
        wrong.fetch_or(u32::from(!read) << (cpu % 32), Ordering::Relaxed);
    });
    let wrong = wrong.into_inner();
    if wrong != 0 {
        return Err(note(format_args!("what was written locally is not in the window ({wrong:#b})")));
    }
    // The other way, and by a third mapping.
    for (n, at) in at.iter().enumerate() {
        write(*at, page, !stamp(n));
    }
    let third = in_vmalloc(subject, phys, page)?;
    let cx = &mut OnCpu { stack: &KmapStack::new(), memory: &Plain, tlb: &mut Here(metal) };
    let here = local.on_cpu(0).map_err(|e| failed(&e))?;
    let copied = here.clear_highpage(cx, phys[0]).and_then(|()| here.copy_highpage(cx, phys[1], phys[2]));
    copied.map_err(|e| failed(&e))?;
    let holds = has(at[0], page, 0) && has(at[1], page, !stamp(2));
    for phys in phys {
        if kmap.kunmap(*phys) != Ok(Wake::Nobody) {
            return Err(failed(&"a kmap cannot be given back"));
        }
    }
    // What nobody uses stays mapped until its flush.
    kmap.kmap_flush_unused(everywhere);
    let gone = gone_everywhere(metal, &at);
    match (third, holds, gone) {
        (true, true, true) => Ok(()),
        (false, ..) => Err(failed(&"what was written in the window is not in vmalloc's area")),
        (_, false, _) => Err(failed(&"a page is not as it was zeroed or copied")),
        (.., false) => Err(failed(&"a processor reaches a kmap after its flush")),
    }
}

fn gone_everywhere(metal: &dyn Metal, at: &[VirtAddr]) -> bool {
    let reached = AtomicU32::new(0);
    metal.on_each_cpu(&|_| {
        let any = at.iter().any(|at| metal.probe(*at, Access::Read));
        reached.fetch_or(any.into(), Ordering::Relaxed);
    });
    reached.into_inner() == 0
}

/// Each processor writes its part of the pages, through slots of its own; what it unmaps is gone there.
fn write_locally<F: Format>(
    metal: &dyn Metal,
    local: &KmapLocal<'_, F, &DirectMap>,
    phys: &[PhysAddr],
    page: u64,
) -> Result<(), Note> {
    let cpus = metal.cpus().min(local.cpus()) as usize;
    let parts: ArrayVec<KmapCpu<'_, F>, CPUS> =
        (0..cpus.min(CPUS)).map_while(|cpu| local.on_cpu(cpu as u32).ok()).collect();
    let wrong = AtomicU32::new(0);
    metal.on_each_cpu(&|cpu| {
        let Some(here) = parts.get(cpu as usize) else { return };
        let (stack, tlb) = (KmapStack::new(), &mut Here(metal));
        let mut sound = true;
        for (n, phys) in phys.iter().enumerate().filter(|(n, _)| n % parts.len() == cpu as usize) {
            let Ok(map) = here.kmap_local_page(&stack, *phys, tlb) else {
                sound = false;
                continue;
            };
            let at = map.address();
            write(at, page, stamp(n));
            sound &= here.kunmap_local(&stack, map, tlb).is_ok() && !metal.probe(at, Access::Read);
        }
        wrong.fetch_or(u32::from(!sound) << (cpu % 32), Ordering::Relaxed);
    });
    match (wrong.into_inner(), parts.is_empty()) {
        (0, false) => Ok(()),
        (wrong, _) => Err(note(format_args!("local kmaps are refused or stay (processors {wrong:#b})"))),
    }
}

/// Whether an area of vmalloc's has what was written to the pages.
fn in_vmalloc(subject: &Subject<'_>, phys: &[PhysAddr], page: u64) -> Result<bool, Note> {
    let Space { area, metal } = subject.space;
    let shift = subject.pages.page_shift();
    let pfns: ArrayVec<Pfn, PAGES> = phys.iter().map(|phys| phys.pfn(shift)).collect();
    let done = on(subject.pages, metal, |on| {
        let at = area.vm_map_ram(on, &pfns).map_err(|e| failed(&e))?;
        let there = (0..pfns.len()).all(|n| has(VirtAddr::new(at.get() + n as u64 * page), page, !stamp(n)));
        area.vm_unmap_ram(on, at, pfns.len() as u64).map_err(|e| failed(&e))?;
        Ok(there)
    });
    done.unwrap_or_else(|| Err(failed(&"this processor has no number")))
}

/// Few slots for many pages: they are waited for, and lead to the new page on every processor.
fn crowded<F: Format>(
    subject: &Subject<'_>,
    kmap: &Kmap<'_, F, &DirectMap>,
    local: &KmapLocal<'_, F, &DirectMap>,
    phys: &[PhysAddr],
) -> Result<(), Note> {
    let (metal, page) = (subject.metal, subject.pages.page_shift().bytes());
    write_locally(metal, local, phys, page)?;
    let everywhere = &mut Everywhere(metal);
    let stale = AtomicU32::new(0);
    let check = |n: usize, at: VirtAddr| {
        metal.on_each_cpu(&|cpu| {
            stale.fetch_or(u32::from(!has(at, page, stamp(n))) << (cpu % 32), Ordering::Relaxed);
        });
    };
    // One after the other, so that each slot is used again.
    for (n, phys) in phys.iter().enumerate() {
        check(n, kmap.kmap(*phys, everywhere).map_err(|e| failed(&e))?);
        kmap.kunmap(*phys).map_err(|e| failed(&e)).map(|_| ())?;
    }
    // All slots in use: one more has to wait.
    for phys in &phys[..SLOTS] {
        kmap.kmap(*phys, everywhere).map_err(|e| failed(&e))?;
    }
    let full = kmap.kmap(phys[SLOTS], everywhere);
    let woken = kmap.kunmap(phys[0]) == Ok(Wake::Waiters);
    let then = kmap.kmap(phys[SLOTS], everywhere).map_err(|e| failed(&e))?;
    check(SLOTS, then);
    for phys in &phys[1..=SLOTS] {
        kmap.kunmap(*phys).map_err(|e| failed(&e)).map(|_| ())?;
    }
    // All processors at once, each through whatever slot it gets.
    let lost = AtomicU32::new(0);
    metal.on_each_cpu(&|cpu| {
        let everywhere = &mut Everywhere(metal);
        for round in 0..ROUNDS {
            let n = (round * 7 + cpu as usize * 5) % phys.len();
            let at = loop {
                match kmap.kmap(phys[n], everywhere) {
                    Err(KmapError::Wait { .. }) => core::hint::spin_loop(),
                    at => break at,
                }
            };
            let sound = at.is_ok_and(|at| has(at, page, stamp(n))) && kmap.kunmap(phys[n]).is_ok();
            lost.fetch_or(u32::from(!sound) << (cpu % 32), Ordering::Relaxed);
        }
    });
    match (stale.into_inner(), lost.into_inner(), full, woken) {
        (0, 0, Err(KmapError::Wait { .. }), true) => Ok(()),
        (0, 0, ..) => Err(failed(&"a full window is not waited for")),
        (stale, lost, ..) => {
            Err(note(format_args!("a slot leads to another page (processors {stale:#b} and {lost:#b})")))
        }
    }
}
