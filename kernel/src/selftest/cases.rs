//! The cases of Linux's vmalloc test module on the metal, one after the other: areas are written and read where the processor sees them.

use super::objects::all_back;
use super::vmalloc::{give_back, settle};
use super::{Note, Subject, census, note};
use crate::dynamic::{Space, with_percpu};
use crate::metal::Access;
use crate::objects::READERS;
use crate::service::Masking;
use crate::space::{SpaceFor, on};
use arrayvec::ArrayVec;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicU32, Ordering};
use pagewright::vmalloc::cases::{self, CaseError, Ground, LaterGround, PerCpuGround, RamGround};
use pagewright::vmalloc::{Refused, VfreeError, VmRequest, VmallocError};
use pagewright_addr::{Order, Pfn, VirtAddr, VirtRange};
use pagewright_hot::{On, PerCpuPages};
use pagewright_kspace::areas::AreaError;
use pagewright_page::Frames;
use pagewright_percpu::{How, PerCpuBytes};
use pagewright_platform::carve::bytes_for;
use pagewright_slab::DirectMemory;
use pagewright_slab::kv::{Kv, KvLater};
use pagewright_zone::Gfp;

/// Rounds of a case.
const ROUNDS: u64 = 120;
/// Areas that are held at a time, at most, and allocations of per-CPU memory.
const HELD: usize = 2000;
const PER_CPU: usize = 256;
/// The largest area has so many pages, which is also what is mapped by `vm_map_ram` at most.
const LARGEST: u64 = 100;
/// Pages that the caller maps.
const PAGES: usize = 80;
/// How long readers may take to leave.
const PATIENCE_MICROS: u64 = 10_000_000;

/// The area, as this processor sees it.
struct Metal<'k, 'o, 'c, 'z> {
    subject: &'k Subject<'k>,
    on: &'o mut On<'c, 'z>,
    pfns: &'o [Pfn],
    later: &'o KvLater<'o>,
}

impl Ground for Metal<'_, '_, '_, '_> {
    fn page_bytes(&self) -> u64 {
        self.subject.pages.page_shift().bytes()
    }

    fn range(&self) -> VirtRange {
        self.subject.space.area.range()
    }

    fn vmalloc(&mut self, request: &VmRequest) -> Result<VirtAddr, VmallocError> {
        self.subject.space.area.vmalloc(self.on, request)
    }

    fn vfree(&mut self, at: VirtAddr) -> Result<(), VfreeError> {
        self.subject.space.area.vfree(self.on, at)
    }

    fn purge(&mut self) {
        self.subject.space.area.purge(self.on);
    }

    fn store(&mut self, at: VirtAddr, byte: u8) -> bool {
        let there = self.subject.metal.probe(at, Access::Write);
        if there {
            // SAFETY: it was just written, and cases write inside areas that they have.
            unsafe { with_exposed_provenance_mut::<u8>(at.get() as usize).write_volatile(byte) };
        }
        there
    }

    fn load(&mut self, at: VirtAddr) -> Option<u8> {
        let there = self.subject.metal.probe(at, Access::Read);
        // SAFETY: it was just read; what is there is nobody else's to write.
        there.then(|| unsafe { with_exposed_provenance::<u8>(at.get() as usize).read_volatile() })
    }
}

impl RamGround for Metal<'_, '_, '_, '_> {
    fn pages(&self) -> usize {
        self.pfns.len()
    }

    fn map_ram(&mut self, count: usize) -> Result<VirtAddr, VmallocError> {
        self.subject.space.area.vm_map_ram(self.on, &self.pfns[..count])
    }

    fn unmap_ram(&mut self, at: VirtAddr, count: usize) -> Result<(), VfreeError> {
        self.subject.space.area.vm_unmap_ram(self.on, at, count as u64)
    }
}

impl LaterGround for Metal<'_, '_, '_, '_> {
    fn kvfree_rcu(&mut self, at: VirtAddr, with_link: bool) -> bool {
        with_kv(self.subject, |kv, _| match with_link {
            // SAFETY: an area of a page that the case had, and knows no more; the link lies inside it.
            true => unsafe { kv.kvfree_rcu(self.later, at, 8) },
            // SAFETY: as above.
            false => unsafe { kv.kvfree_rcu_mightsleep(self.later, at).is_ok() },
        })
        .unwrap_or(false)
    }

    fn poll(&mut self) -> u64 {
        with_kv(self.subject, |kv, _| kv.kvfree_rcu_poll(self.later)).unwrap_or(0)
    }
}

type ImageKv<'r, 'c> = Kv<'r, 'c, 'static, 'static, Masking, DirectMemory<'static>>;

/// The kvmalloc family over the image's slabs and its vmalloc area, as this processor.
fn with_kv<R>(
    subject: &Subject<'_>,
    work: impl FnOnce(&ImageKv<'_, '_>, &SpaceFor<'_, '_, '_>) -> R,
) -> Option<R> {
    let Space { area, metal } = subject.space;
    subject.objects.here(|cx| {
        on(subject.pages, metal, |on| {
            let space = SpaceFor::new(area, on);
            work(&Kv::new(subject.objects.slabs(), cx, &space), &space)
        })
    })?
}

/// Per-CPU memory whose chunks are vmalloc's.
struct Copies<'p, 'm> {
    percpu: &'p PerCpuPages<'m>,
    page: u64,
}

impl Copies<'_, '_> {
    /// The copies as words that all processors may reach.
    fn words<'b>(&'b self, bytes: &'b PerCpuBytes) -> impl Iterator<Item = (u32, &'b AtomicU32)> {
        let copy = |cpu: u32| Some((cpu, self.percpu.copy(bytes, cpu as usize)?.cast::<AtomicU32>()));
        // SAFETY: a copy of at least four bytes that begins at a multiple of 4 (MIN_ALLOC), the allocation's alone until it is freed.
        (0..).map_while(copy).map(|(cpu, copy)| (cpu, unsafe { copy.as_ref() }))
    }
}

impl PerCpuGround for Copies<'_, '_> {
    type Bytes = PerCpuBytes;

    fn page_bytes(&self) -> u64 {
        self.page
    }

    fn alloc(&mut self, size: u64, align: u64) -> Option<PerCpuBytes> {
        self.percpu.alloc(size, align, How::Grow).ok()
    }

    fn write(&mut self, bytes: &PerCpuBytes, align: u64, number: u32) -> bool {
        self.words(bytes).all(|(cpu, word)| {
            word.store(number << 8 ^ cpu, Ordering::Relaxed);
            (&raw const *word as u64).is_multiple_of(align)
        })
    }

    fn has(&mut self, bytes: &PerCpuBytes, number: u32) -> bool {
        self.words(bytes).all(|(cpu, word)| word.load(Ordering::Relaxed) == number << 8 ^ cpu)
    }

    fn free(&mut self, bytes: PerCpuBytes) -> bool {
        self.percpu.free(bytes).is_ok()
    }
}

fn failed(case: &str, why: &dyn core::fmt::Display) -> Note {
    note(format_args!("{case}: {why}"))
}

/// The test.
pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    settle(subject)?;
    let chunks = match subject.units {
        Some(units) => super::percpu::settle(subject, units)?,
        None => false,
    };
    let before = census::take(subject);
    let free = census::free_pages(subject.pages, subject.metal);
    // What is held, a large area, and what waits for its flush.
    let large = free > 8 * LARGEST;
    let held = (free / 8).min(subject.space.area.section() as u64 / 2).min(HELD as u64) as usize;
    let done = with_room(subject, held, |room, pfns| all(subject, room, pfns, (large, chunks)));
    let told = refused(subject);
    let back = give_back(subject).and_then(|()| all_back(subject, &before));
    // A case that ends early leaves its areas.
    let cases = done?;
    back?;
    told?;
    Ok(note(format_args!("{cases} of 11 cases, {held} areas held")))
}

/// Does something with places for areas, and with pages to be mapped.
fn with_room(
    subject: &Subject<'_>,
    held: usize,
    work: impl FnOnce(&mut [VirtAddr], &[Pfn]) -> Result<u32, Note>,
) -> Result<u32, Note> {
    let pages = subject.pages;
    let none = || note(format_args!("no memory to remember areas by"));
    let bytes = bytes_for::<VirtAddr>(held) + bytes_for::<Pfn>(PAGES);
    let order = (bytes.div_ceil(pages.page_shift().bytes())).next_power_of_two().ilog2() as u8;
    let mut memory = pages.alloc(Order::new(order).ok_or_else(none)?).map_err(|_| none())?;
    let mut own: ArrayVec<Frames<'static>, PAGES> = ArrayVec::new();
    own.extend((0..PAGES).map_while(|_| pages.alloc(Order::ZERO).ok()));
    let pfns: ArrayVec<Pfn, PAGES> =
        own.iter().map(|page| pages.phys(page).pfn(pages.page_shift())).collect();
    let room = pages.carve(&mut memory).and_then(|mut carve| carve.slice(held, || VirtAddr::ZERO));
    let done = match room {
        Some(room) if pfns.is_full() => work(room, &pfns),
        _ => Err(none()),
    };
    own.into_iter().for_each(|page| pages.free(page));
    pages.free(memory);
    done
}

/// All cases, or those without large areas: how many. Where there is memory for chunks, per-CPU memory has to take some.
fn all(
    subject: &Subject<'_>,
    room: &mut [VirtAddr],
    pfns: &[Pfn],
    (large, chunks): (bool, bool),
) -> Result<u32, Note> {
    let later = KvLater::new(&READERS);
    let ran = on(subject.pages, subject.metal, |on| {
        let g = &mut Metal { subject, on, pfns, later: &later };
        let mut ran = 0;
        let mut told = |case: &str, end: Result<(), CaseError>| {
            ran += 1;
            end.map_err(|why| failed(case, &why))
        };
        told("fix_size", cases::fix_size(g, ROUNDS))?;
        told("full_fit", cases::full_fit(g, room, ROUNDS))?;
        told("align_shift", cases::align_shift(g))?;
        told("vm_map_ram", cases::vm_map_ram(g, ROUNDS))?;
        if large {
            told("long_busy_list", cases::long_busy_list(g, room, ROUNDS / 4))?;
            told("random_size", cases::random_size(g, ROUNDS / 2))?;
            told("fix_align", cases::fix_align(g, ROUNDS))?;
            told("random_align", cases::random_align(g, ROUNDS))?;
        }
        for (case, with_link) in [("kvfree_rcu_1_arg", false), ("kvfree_rcu_2_arg", true)] {
            told(case, rcu(g, with_link))?;
        }
        Ok(ran)
    });
    let ran: u32 = ran.unwrap_or_else(|| Err(note(format_args!("this processor has no number"))))?;
    let Some(units) = subject.units else { return Ok(ran) };
    let percpu = with_percpu(subject.pages, units, Some(subject.space), |percpu| {
        let mut held = [const { None }; PER_CPU];
        let done = cases::percpu(&mut Copies { percpu, page: subject.pages.page_shift().bytes() }, &mut held);
        done.map(|_| percpu.stats().nr_max_chunks)
    });
    match percpu {
        Some(Ok(1)) if chunks => Err(failed("percpu", &"all of it fits the first chunk")),
        Some(Ok(_)) => Ok(ran + 1),
        Some(Err(why)) => Err(failed("percpu", &why)),
        None => Err(note(format_args!("the first chunk cannot be used"))),
    }
}

/// As many bytes as the area has, or more than there is memory: kvmalloc has them not, and vmalloc says which area was too small, with its largest gap, or how much
/// memory there is.
fn refused(subject: &Subject<'_>) -> Result<(), Note> {
    let bytes = subject.space.area.range().len.min(i32::MAX as u64);
    let told =
        with_kv(subject, |kv, space| match kv.kvmalloc(bytes as usize, Gfp::GFP_KERNEL | Gfp::NOWARN) {
            // A large machine.
            // SAFETY: just allocated, and nobody knows it.
            Ok(at) => unsafe { kv.kvfree(at) },
            Err(_) => match space.take_refused() {
                Some(Refused { bytes: wanted, why, .. }) if wanted == bytes => match why {
                    VmallocError::Space { range, why: AreaError::NoGap { wanted, largest }, .. } => {
                        range == subject.space.area.range() && largest < wanted.size
                    }
                    VmallocError::Size { most, .. } => most < bytes,
                    why => matches!(why, VmallocError::Pages { needed, got, .. } if got < needed),
                },
                _ => false,
            },
        });
    if told == Some(true) { Ok(()) } else { Err(note(format_args!("nobody says why there is no room"))) }
}

/// Areas that are freed when their readers have left, which timers tell.
fn rcu(g: &mut Metal<'_, '_, '_, '_>, with_link: bool) -> Result<(), CaseError> {
    let mut waiting = cases::kvfree_rcu(g, ROUNDS, with_link)?;
    let console = g.subject.metal.console();
    let begin = console.micros();
    while waiting > 0 {
        let freed = g.poll();
        if freed > waiting || console.micros().wrapping_sub(begin) > PATIENCE_MICROS {
            return Err(CaseError::Freed(waiting, freed));
        }
        waiting -= freed;
    }
    Ok(())
}
