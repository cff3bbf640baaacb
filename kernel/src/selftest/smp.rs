//! All processors at once: each has its own data and its timer, the page allocator serves them all while interrupts use it too,
//! and what one processor unmaps no other one sees any more.

use super::{Note, Subject, buddy, census, note};
use crate::pages::Pages;
use crate::service::MAX_CPUS;
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use pagewright_addr::{Order, VirtAddr, VirtRange};
use pagewright_pagetable::{Attr, AttrFlags, MapOptions};

/// Processors that are looked at.
const CPUS: usize = MAX_CPUS;
/// Steps of each processor's stress.
const STEPS: u32 = 1500;
/// Data that the kernel alone reads and writes.
const DATA: Attr = Attr::normal(
    AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::GLOBAL).union(AttrFlags::ACCESSED),
);

/// Every processor stresses the page allocator, and frees what others have allocated.
pub(super) fn stress(subject: &Subject<'_>) -> Result<Note, Note> {
    let (pages, metal) = (subject.pages, subject.metal);
    let before = census::take(subject);
    let (blocks, failed) = (AtomicU32::new(0), AtomicU32::new(0));
    let post = [const { buddy::Mailbox::new(ArrayVec::new_const()) }; 16];
    let post = &post[..(metal.cpus() as usize).min(16)];
    metal.on_each_cpu(&|cpu| {
        match buddy::stress(pages, 100 + u64::from(cpu), STEPS, post, cpu as usize) {
            Ok(n) => blocks.fetch_add(n, Ordering::Relaxed),
            Err(_) => failed.fetch_or(1 << (cpu % 32), Ordering::Relaxed),
        };
    });
    let failed = failed.load(Ordering::Relaxed);
    if failed != 0 {
        return Err(note(format_args!("a block was written by somebody else (processors {failed:#b})")));
    }
    buddy::empty(pages, post)?;
    census::all_back(subject, &before)?;
    let handlers: u64 =
        (0..metal.cpus()).filter_map(|cpu| metal.local(cpu)).map(|l| l.handler_blocks()).sum();
    Ok(note(format_args!(
        "{} blocks on {} processors, {handlers} more in interrupt handlers",
        blocks.load(Ordering::Relaxed),
        metal.cpus()
    )))
}

/// Every processor has data of its own, and its timer interrupts it.
pub(super) fn percpu(subject: &Subject<'_>) -> Result<Note, Note> {
    let metal = subject.metal;
    let cpus = metal.cpus();
    let mut before: ArrayVec<u64, CPUS> = ArrayVec::new();
    for cpu in 0..cpus.min(CPUS as u32) {
        let Some(local) = metal.local(cpu) else {
            return Err(note(format_args!("processor {cpu} has no data of its own")));
        };
        if local.cpu() != Some(cpu) {
            return Err(note(format_args!("processor {cpu}'s data is that of {:?}", local.cpu())));
        }
        before.push(local.ticks());
    }
    if !metal.has_timer() {
        return Ok(note(format_args!("{cpus} processors; no timer that the image drives")));
    }
    // Some ticks on each, however slow the host is.
    let start = metal.console().micros();
    let late = |now: u64| now.wrapping_sub(start) > 20_000_000;
    loop {
        let waiting = before
            .iter()
            .enumerate()
            .find(|(cpu, ticks)| metal.local(*cpu as u32).is_some_and(|l| l.ticks() < **ticks + 3));
        match waiting {
            None => break,
            Some((cpu, _)) if late(metal.console().micros()) => {
                return Err(note(format_args!("processor {cpu}'s timer does not interrupt it")));
            }
            Some(_) => core::hint::spin_loop(),
        }
    }
    // With the first of these the slabs' reaper came.
    if let Some(cpu) = (0..cpus).find(|cpu| metal.local(*cpu).is_some_and(|l| l.reaper.rounds() == 0)) {
        return Err(note(format_args!("nobody reaps slabs on processor {cpu}")));
    }
    Ok(note(format_args!("{cpus} processors, each with its data and its timer")))
}

/// A page of the kernel's half is exchanged for another one: all processors see the new one.
pub(super) fn shootdown(subject: &Subject<'_>) -> Result<Note, Note> {
    let pages = subject.pages;
    let before = census::take(subject);
    let mut source = pages.tables();
    let result = exchange(subject, &mut source);
    let tables = source.taken - source.given_back;
    result?;
    // Tables of the kernel's half stay.
    census::all_back_but(subject, &before, tables)?;
    Ok(note(format_args!("{ROUNDS} exchanges on {} processors", subject.metal.cpus())))
}

const ROUNDS: u64 = 16;

fn exchange(subject: &Subject<'_>, source: &mut crate::pages::TablePages<'_>) -> Result<(), Note> {
    let (pages, metal): (&Pages, _) = (subject.pages, subject.metal);
    let Some(at) = subject.scratch.map(|range| range.start) else {
        return Err(note(format_args!("no room in vmalloc space")));
    };
    let range = VirtRange::from_len(at, pages.page_shift().bytes());
    let alloc = || pages.alloc(Order::ZERO).map_err(|e| note(format_args!("{e}")));
    let mut both = [alloc()?, alloc()?];
    for (n, frames) in both.iter_mut().enumerate() {
        pages.set_word(frames, 0, 1000 + n as u64);
    }
    let mut result = Ok(());
    for round in 0..ROUNDS {
        let phys = pages.phys(&both[(round % 2) as usize]);
        let mapped = subject.tables.with(|tree| tree.map(range, phys, DATA, &MapOptions::PAGES, source));
        if let Err(e) = mapped {
            result = Err(note(format_args!("{e}")));
            break;
        }
        metal.flush_tlb();
        let wrong = AtomicU64::new(0);
        metal.on_each_cpu(&|cpu| {
            if read(at) != 1000 + round % 2 {
                wrong.fetch_or(1 << (cpu % 64), Ordering::Relaxed);
            }
        });
        let unmapped = subject.tables.with(|tree| tree.unmap(range, true, source));
        metal.flush_tlb();
        let wrong = wrong.load(Ordering::Relaxed);
        if wrong != 0 {
            result = Err(note(format_args!("round {round}: processors {wrong:#b} see the old page")));
        }
        if let Err(e) = unmapped {
            result = Err(note(format_args!("{e}")));
        }
        if result.is_err() {
            break;
        }
    }
    for frames in both {
        pages.free(frames);
    }
    result
}

/// The word at an address that is mapped.
fn read(at: VirtAddr) -> u64 {
    let word = core::ptr::with_exposed_provenance::<u64>(at.get() as usize);
    // SAFETY: `exchange` has mapped a page there and unmaps it only when all processors have read.
    unsafe { word.read_volatile() }
}
