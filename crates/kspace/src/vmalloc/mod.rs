//! vmalloc: memory that is contiguous in the kernel's address space only, and the areas that such mappings lie in.
//!
//! A [`Vmalloc`] is one region of kernel addresses (Linux's `VMALLOC_START` to `VMALLOC_END`, or the modules' area) over a cursor that holds
//! all of it, the tree of its areas, and the page map. What is asked for gets the lowest gap with room; with pools, small areas get the lowest in a part that
//! their CPU alone takes from as long as it has room. Behind each area a page stays unmapped, so that who runs over the end faults.
//!
//! - [`Vmalloc::vmalloc`] and its relatives map pages of their own, [`Vmalloc::vmap`] those of the caller;
//! - [`Vmalloc::map_phys`] maps memory by its physical address with any attributes, and [`Vmalloc::get_vm_area`] takes addresses only: what
//!   ioremap and its like stand on. Either is undone by [`Vmalloc::vunmap`] (or `remove_vm_area`, the same without a look at the kind).
//!
//! # Whose the pages are
//! An area's pages are deposited in the page map under a handle of the area, each linked to the next in the order of their addresses. So the
//! page map is the list of pages, and the page tables say which is where: no array of pages exists beside them.
//!
//! # Unmapping is lazy
//! Entries are cleared at once. The area's addresses and pages then wait in a list of the CPU until a purge flushes TLBs for all of them at
//! once, on all CPUs, and only then pages are freed and addresses used again: by the CPU that freed them, whenever it wants addresses, or by whoever is short of
//! either. A purge comes when [`VmallocConfig::lazy_pages`] wait, and before a
//! request fails for want of addresses or pages. Linux frees the pages at once and keeps the addresses only; whoever still has such a
//! pointer then reads pages of others, here he faults or reads the area's old pages. An area that its CPU wants again just as it was keeps its pages for that
//! (`again`).
//!
//! # Locks
//! Outermost first: the purge (one at a time), then the tree of areas, then a CPU's row, then one area's record. They are
//! spin locks that interrupt handlers do not take: nothing here is for handlers. Pages are allocated, and tables
//! changed, with none of them but the purge's; single entries of known tables are written under a row and a record as well. Pages are freed with the purge's or a row's: while a CPU takes an area back nobody finds its row
//! without both area and pages. Only [`Vmalloc::release_tables`] flushes and frees under the tree's, so that nobody takes addresses
//! meanwhile, and whoever reads an area's pages ([`Vmalloc::vread`]) holds its record. Whoever waits for a purge must be reachable by the flush,
//! so interrupts are on then.

mod again;
mod alloc;
mod area;
mod cached;
mod context;
mod cpu;
mod early;
mod error;
mod fill;
mod flags;
mod free;
mod get;
mod huge;
mod index;
mod look;
mod map;
mod pages;
mod percpu;
mod protect;
mod purge;
mod ram;
mod room;
mod user;

pub use alloc::VmRequest;
pub use area::{MoreAreas, VmArea, VmSection, VmSlot};
pub use cached::OnCached;
pub use context::{OnPages, VmContext};
pub use cpu::VmCpu;
pub use early::{EarlyArea, EarlyAreas, EarlyError};
pub use error::{FullRegion, NoArea, VfreeError, VmallocError};
pub use flags::VmFlags;
pub use look::{Gaps, Seen, VmallocViolation};
pub use map::PhysMapping;
pub use percpu::PcpuPart;
pub use user::{BadAccess, RemapError};

use crate::areas::Areas;
use area::Slots;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use pagewright_addr::{PageShift, PhysAddr, VirtRange};
use pagewright_page::{FrameIdx, PageMap};
use pagewright_pagetable::{Attr, Cursor, Format, PageWords, TableMemory};
use pagewright_platform::Mutex;

/// How a region works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VmallocConfig {
    /// The region's name in messages: "vmalloc", "modules".
    pub name: &'static str,
    /// How pages are mapped (`PAGE_KERNEL`).
    pub attr: Attr,
    /// A purge comes when CPUs have told of more pages than this that are unmapped and wait for their flush. They tell when they have their share of half as many.
    pub lazy_pages: u64,
    /// Whether flushed areas of up to 259 pages are kept for others of their size. Without that, each area lies as low as it can.
    pub pools: bool,
    /// Nodes with memory among which a large area's pages are spread: it is mapped by blocks only from so many of them on.
    pub nodes: u32,
    /// Whether large areas may be mapped by blocks (`HAVE_ARCH_HUGE_VMALLOC`: x86_64 and arm64, unless `nohugevmalloc`).
    pub huge: bool,
    /// Areas for user space begin at multiples of this (`SHMLBA`): four pages on arm, a page elsewhere.
    pub shmlba: u64,
    /// The zone modifier that makes pages lie below 4 GiB (`GFP_VMALLOC32`): DMA32 on 64-bit kernels that have the zone, DMA on
    /// those that have that one only, and DMA32 again on 32-bit kernels, where it means the normal zone: with no modifier high memory would serve.
    pub below_4g: pagewright_zone::Gfp,
}

impl VmallocConfig {
    /// The vmalloc area of a machine with so many CPUs and pages in all, whose kernel data is mapped with `attr`.
    ///
    /// So many pages wait: 32 MiB for each bit of the number of CPUs (`lazy_max_pages`), but no more than a 144th of the machine, since here
    /// it is not addresses alone that wait: a 32nd in all, with half as many that CPUs have not told of, a quarter more while a flush is under way, as many as all that from
    /// the flush before, and as many from those before that.
    pub fn new(attr: Attr, cpus: u32, pages: u64, page_shift: PageShift) -> Self {
        let bits = u64::from(u32::BITS - cpus.leading_zeros());
        Self {
            name: "vmalloc",
            attr,
            lazy_pages: (bits * (32 << 20 >> page_shift.get())).min(pages / 144),
            pools: true,
            nodes: 1,
            huge: true,
            shmlba: 1,
            below_4g: pagewright_zone::Gfp::DMA32,
        }
    }
}

/// Why a region cannot be put in service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmallocSetupError {
    /// The region is empty, not made of whole pages, or not held by the cursor.
    Range(VirtRange),
    /// The first section's parts differ in length, or it is no power of two of at least 2.
    Section,
    /// There is no row for a CPU.
    Cpus,
    /// The memory is smaller than this ([`Vmalloc::bytes`]).
    Memory(u64),
}

impl fmt::Display for VmallocSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(r) => write!(f, "{r:?} is no region of whole pages that the cursor holds"),
            Self::Section => {
                f.write_str("a section has as many nodes as slots, a power of two of at least 2")
            }
            Self::Cpus => f.write_str("at least one CPU has a row"),
            Self::Memory(bytes) => write!(f, "areas and CPUs take {bytes} bytes of memory"),
        }
    }
}

impl core::error::Error for VmallocSetupError {}

/// The tree, and the areas' records by number.
struct Book<'v> {
    tree: Areas<'v, ()>,
    slots: Slots<'v>,
    more: Option<&'v dyn MoreAreas<'v>>,
}

/// What all CPUs change, in cache lines of its own: beside it lies what all of them read.
#[repr(align(128))]
struct Apart<T>(T);

impl<T> core::ops::Deref for Apart<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// What changes with each purge, and all CPUs read.
#[derive(Default)]
struct Purged {
    /// Purges that are over.
    ended: AtomicU64,
    /// Those in which something was flushed.
    flushes: AtomicU64,
    /// Grows when pages or addresses become others': who finds no room and sees that it grew tries once more.
    given: AtomicU64,
}

/// A region of kernel addresses in which areas come and go, on all CPUs at once.
pub struct Vmalloc<'v, 'a, F: Format, M: TableMemory> {
    config: VmallocConfig,
    range: VirtRange,
    cursor: Cursor<'v, F, M>,
    map: PageMap<'a>,
    book: Apart<Mutex<Book<'v>>>,
    cpus: &'v [VmCpu<'v, F::Word>],
    purging: Apart<Mutex<()>>,
    /// Pages that are unmapped and not flushed, but for those that rows have not told yet.
    lazy: Apart<AtomicU64>,
    purged: Apart<Purged>,
    /// A row tells of its pages when there are so many, and has no more than twice that of those that were flushed longer ago: with less, what a CPU that was
    /// held up for a moment has would be released by the next one's purge, which is held up by that itself, and so on from one to the other.
    step: u64,
    /// Most pages of flushed addresses that a row keeps.
    most_ready: u64,
    /// How the region's pages are usually mapped.
    words: Option<PageWords>,
    /// How memory was mapped last that was mapped in another way.
    others: Apart<Mutex<Option<PageWords>>>,
    /// The first section's slots, and the bits of a hash that are none of their numbers'.
    first: &'v [VmSlot],
    /// Frames that there were then: none of them lies above what the words reach.
    frames: u64,
    index_shift: u32,
    /// The largest run of frames with consecutive numbers: first index, how many, where the first is.
    run: (u64, u64, PhysAddr),
}

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    /// Puts a region in service. `cursor` holds it all; `map` is that of the pages that areas get; `cpus` has a row for each CPU.
    ///
    /// # Errors
    /// [`VmallocSetupError`].
    pub fn new(
        config: VmallocConfig,
        range: VirtRange,
        cursor: Cursor<'v, F, M>,
        map: PageMap<'a>,
        section: VmSection<'v>,
        cpus: &'v [VmCpu<'v, F::Word>],
    ) -> Result<Self, VmallocSetupError> {
        let page = F::SHAPE.page_bytes();
        let whole = range.start.is_aligned(page) && range.len.is_multiple_of(page) && !range.is_empty();
        if !whole || cursor.apart(range).is_err() {
            return Err(VmallocSetupError::Range(range));
        }
        if section.nodes.len() != section.slots.len()
            || section.slots.len() >> pagewright_page::OwnerHandle::INDEX_BITS != 0
        {
            return Err(VmallocSetupError::Section);
        }
        if cpus.is_empty() {
            return Err(VmallocSetupError::Cpus);
        }
        let slots = Slots::new(section.slots);
        let tree = Areas::new(range, section.nodes).ok_or(VmallocSetupError::Section)?;
        for cpu in cpus {
            cpu.own.lock().slots = Some(slots);
        }
        let run = largest_run(&map, F::SHAPE.page_shift());
        // Pages above what is known now are mapped by the longer way.
        let words =
            cursor.tables().page_words(config.attr, highest(&map, F::SHAPE.page_shift())).unwrap_or(None);
        Ok(Self {
            config,
            range,
            cursor,
            map,
            book: Apart(Mutex::new(Book { tree, slots, more: None })),
            cpus,
            purging: Apart(Mutex::new(())),
            lazy: Apart(AtomicU64::new(0)),
            step: (config.lazy_pages / 2 / cpus.len() as u64).max(1),
            // Most of a small region is not kept in pieces of some size.
            most_ready: range.len / page / 16 / cpus.len() as u64,
            purged: Apart(Purged::default()),
            words,
            others: Apart(Mutex::new(None)),
            first: section.slots,
            frames: map.sections().frames(),
            index_shift: 32 - section.slots.len().trailing_zeros(),
            run,
        })
    }

    /// Appends memory for more areas. `false` if its parts have not the first section's length, or there are too many of them.
    #[must_use = "the section may not have been taken"]
    pub fn add_section(&self, section: VmSection<'v>) -> bool {
        let mut book = self.book.lock();
        if section.nodes.len() != section.slots.len() || !book.slots.has_room(section.slots) {
            return false;
        }
        // Everyone knows the slots before an area has one of their numbers.
        for cpu in self.cpus {
            if let Some(slots) = &mut cpu.own.lock().slots {
                slots.add(section.slots);
            }
        }
        book.slots.add(section.slots);
        book.tree.add_section(section.nodes)
    }

    /// Has memory for more areas appended by itself when all are in use.
    pub fn grow_from(&self, more: &'v dyn MoreAreas<'v>) {
        self.book.lock().more = Some(more);
    }

    /// How it works.
    pub const fn config(&self) -> &VmallocConfig {
        &self.config
    }

    /// The region.
    pub const fn range(&self) -> VirtRange {
        self.range
    }

    /// Pages that areas have of their own (`vmalloc_nr_pages`: VmallocUsed of meminfo).
    pub fn nr_pages(&self) -> u64 {
        let sum = self.cpus.iter().fold(0_usize, |sum, cpu| sum.wrapping_add(cpu.pages.load(Relaxed)));
        // Of pages that go on one CPU while they come on another it may see the end and not the beginning.
        sum.cast_signed().max(0).cast_unsigned() as u64
    }

    /// Pages that are unmapped and wait for their flush.
    pub fn lazy_pages(&self) -> u64 {
        let told = self.lazy.load(Relaxed);
        self.cpus.iter().fold(told, |sum, cpu| sum + cpu.own.lock().untold())
    }

    /// How often TLBs were flushed for areas that were waiting.
    pub fn purges(&self) -> u64 {
        self.purged.flushes.load(Relaxed)
    }

    const PAGE: u64 = F::SHAPE.page_bytes();

    /// Its logarithm.
    #[inline]
    fn shift(&self) -> PageShift {
        match F::SHAPE.page_shift() {
            14 => PageShift::SHIFT_16K,
            16 => PageShift::SHIFT_64K,
            _ => PageShift::SHIFT_4K,
        }
    }

    /// Where a frame is.
    #[inline]
    fn phys_of(&self, idx: FrameIdx) -> PhysAddr {
        let (first, len, start) = self.run;
        let offset = u64::from(idx.get()).wrapping_sub(first);
        if offset < len {
            return PhysAddr::new(start.get() + (offset << F::SHAPE.page_shift()));
        }
        self.map.pfn(idx).phys(self.shift())
    }

    /// This CPU's row.
    #[inline]
    fn row(&self, cpu: usize) -> &'v VmCpu<'v, F::Word> {
        // Nearly always there is one for each; not every machine divides.
        match self.cpus.get(cpu) {
            Some(row) => row,
            None => &self.cpus[cpu % self.cpus.len()],
        }
    }
}

/// The largest section of a map.
fn largest_run(map: &PageMap<'_>, shift: u32) -> (u64, u64, PhysAddr) {
    let largest = map.sections().sections().iter().max_by_key(|section| section.pfns().len());
    largest.map_or((0, 0, PhysAddr::ZERO), |section| {
        (
            section.base().get().into(),
            section.pfns().len(),
            PhysAddr::new(section.pfns().start.get() << shift),
        )
    })
}

/// The highest page of a map.
fn highest(map: &PageMap<'_>, shift: u32) -> PhysAddr {
    let last = map.sections().sections().last();
    last.map_or(PhysAddr::ZERO, |section| PhysAddr::new(section.pfns().end.get().saturating_sub(1) << shift))
}

impl<F: Format, M: TableMemory> fmt::Debug for Vmalloc<'_, '_, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vmalloc")
            .field("name", &self.config.name)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}
