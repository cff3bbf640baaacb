//! The page allocator as all of an image's processors share it, and its pages as tables, stacks and plain memory.

use crate::carve::Carve;
use crate::direct_map::DirectMap;
use core::fmt;
use core::ptr::NonNull;
use pagewright::Running;
use pagewright_addr::{Order, PageShift, PhysAddr};
use pagewright_page::{Frames, OwnerHandle, PageMap, Use};
use pagewright_pagetable::TableSource;
use pagewright_platform::{Interrupts, Mutex, WithoutInterrupts};
use pagewright_zone::buddy::{AllocError, Request, ZoneId};

/// A processor's interrupts, by the functions that mask them.
#[derive(Clone, Copy, Debug)]
struct Masking {
    mask: fn() -> usize,
    restore: fn(usize),
}

// SAFETY: `Pages::masking`'s caller says so of its functions; without it there are no handlers that use the allocator.
unsafe impl Interrupts for Masking {
    type Before = usize;

    fn disable(&self) -> usize {
        (self.mask)()
    }

    fn restore(&self, before: usize) {
        (self.restore)(before);
    }
}

/// The page allocator, behind a lock.
pub struct Pages {
    running: Mutex<Running<'static, 'static, 'static>>,
    /// The allocator's own map, for looking: it needs no lock.
    map: PageMap<'static>,
    ram: DirectMap,
    page_shift: PageShift,
    interrupts: Masking,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("page_shift", &self.page_shift).finish_non_exhaustive()
    }
}

impl Pages {
    /// The allocator of a machine whose RAM is reached through `ram`.
    pub fn new(running: Running<'static, 'static, 'static>, ram: DirectMap, page_shift: PageShift) -> Self {
        let map = *running.buddy.map();
        let interrupts = Masking { mask: || 0, restore: |_| {} };
        Self { running: Mutex::new(running), map, ram, page_shift, interrupts }
    }

    /// The same for a processor with interrupts whose handlers use it too: they are masked while somebody has it. `mask`
    /// tells how it was before, for `restore`.
    ///
    /// # Safety
    /// Between the two no handler runs on the processor that uses the allocator.
    pub unsafe fn masking(self, mask: fn() -> usize, restore: fn(usize)) -> Self {
        Self { interrupts: Masking { mask, restore }, ..self }
    }

    /// The direct map.
    pub fn ram(&self) -> &DirectMap {
        &self.ram
    }

    /// The page size.
    pub fn page_shift(&self) -> PageShift {
        self.page_shift
    }

    /// Does something with the allocator, alone.
    pub fn with<R>(&self, work: impl FnOnce(&mut Running<'static, 'static, 'static>) -> R) -> R {
        let _uninterrupted = WithoutInterrupts::new(&self.interrupts);
        work(&mut self.running.lock())
    }

    /// Does something while no interrupt comes.
    pub fn undisturbed<R>(&self, work: impl FnOnce() -> R) -> R {
        let _uninterrupted = WithoutInterrupts::new(&self.interrupts);
        work()
    }

    /// How many zones there are.
    pub fn zones(&self) -> usize {
        self.with(|running| running.buddy.zones().len())
    }

    /// Free pages in all zones.
    pub fn free_pages(&self) -> u64 {
        self.with(|running| running.buddy.zones().iter().map(|z| z.free_pages()).sum())
    }

    /// A block from the `n`th zone.
    ///
    /// # Errors
    /// The allocator's.
    pub fn alloc_in(&self, n: usize, request: Request) -> Result<Frames<'static>, AllocError> {
        self.with(|running| {
            let zone: Option<ZoneId> = running
                .buddy
                .zones()
                .get(n)
                .map(|z| (z.nid(), z.kind()))
                .and_then(|(nid, kind)| running.buddy.find(nid, kind));
            match zone {
                Some(zone) => running.buddy.alloc(zone, request),
                None => Err(AllocError::NoMemory { order: request.order }),
            }
        })
    }

    /// A block of kernel memory from any zone that the direct map reaches, the highest first.
    ///
    /// # Errors
    /// The last zone's.
    pub fn alloc(&self, order: Order) -> Result<Frames<'static>, AllocError> {
        let mut last = AllocError::NoMemory { order };
        for n in (0..self.zones()).rev() {
            match self.alloc_in(n, Request::unmovable(order)) {
                Ok(frames) if self.pointer(&frames).is_some() => return Ok(frames),
                // High memory is not for the kernel itself.
                Ok(frames) => self.free(frames),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Gives a block back.
    pub fn free(&self, frames: Frames<'static>) {
        self.with(|running| running.buddy.free(frames));
    }

    /// Where a block lies.
    pub fn phys(&self, frames: &Frames<'_>) -> PhysAddr {
        self.map.pfn(frames.start()).phys(self.page_shift)
    }

    /// A block's memory; `None` if the direct map does not reach it.
    pub fn pointer(&self, frames: &Frames<'_>) -> Option<NonNull<u8>> {
        self.ram.pointer(self.phys(frames), frames.len() << self.page_shift.get())
    }

    /// A block's memory, to take slices from; `None` if the direct map does not reach it.
    pub fn carve<'f>(&self, frames: &'f mut Frames<'static>) -> Option<Carve<'f>> {
        let first = self.pointer(frames)?;
        // SAFETY: the token is the sole right to the block's memory and is borrowed exclusively for as long as the slices live; the
        // direct map has all of it as memory that may be read and written.
        Some(unsafe { Carve::new(first, (frames.len() << self.page_shift.get()) as usize) })
    }

    /// Zeroes a block.
    pub fn zero(&self, frames: &mut Frames<'_>) {
        let bytes = (frames.len() << self.page_shift.get()) as usize;
        if let Some(first) = self.pointer(frames) {
            // SAFETY: the token is the sole right to the block's memory, it is borrowed exclusively, and the direct map has all of it
            // as memory that may be written.
            unsafe { first.as_ptr().write_bytes(0, bytes) };
        }
    }

    /// A word of a block's memory, in the `n`th of its frames.
    pub fn word(&self, frames: &Frames<'_>, n: u64) -> Option<u64> {
        let at = self.pointer(frames)?.cast::<u64>();
        (n < frames.len()).then(|| {
            // SAFETY: inside the block, whose token is borrowed; aligned; any bytes are a number.
            unsafe { at.byte_add((n << self.page_shift.get()) as usize).read_volatile() }
        })
    }

    /// Writes that word.
    pub fn set_word(&self, frames: &mut Frames<'_>, n: u64, value: u64) {
        if let Some(at) = self.pointer(frames).filter(|_| n < frames.len()) {
            let at = at.cast::<u64>();
            // SAFETY: as in `word`, and the token is borrowed exclusively.
            unsafe { at.byte_add((n << self.page_shift.get()) as usize).write_volatile(value) };
        }
    }

    /// Takes a page and gives it back at once, as an interrupt handler would. Returns whether there was one.
    pub fn touch(&self, n: usize) -> bool {
        self.with(|running| {
            let zones = running.buddy.zones();
            let Some((nid, kind)) = zones.get(n % zones.len().max(1)).map(|z| (z.nid(), z.kind())) else {
                return false;
            };
            let zone = running.buddy.find(nid, kind);
            let page = zone.and_then(|zone| running.buddy.alloc(zone, Request::unmovable(Order::ZERO)).ok());
            let there = page.is_some();
            if let Some(page) = page {
                running.buddy.free(page);
            }
            there
        })
    }

    /// A source of tables that counts.
    pub fn tables(&self) -> TablePages<'_> {
        TablePages { pages: self, taken: 0, given_back: 0 }
    }
}

/// Pages for tables: their tokens are deposited, so that a page which is given back twice, or was never taken, is found out.
#[derive(Debug)]
pub struct TablePages<'p> {
    pages: &'p Pages,
    /// How many were taken.
    pub taken: u64,
    /// How many came back.
    pub given_back: u64,
}

impl TableSource for TablePages<'_> {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        let frames = self.pages.alloc(Order::ZERO).ok()?;
        let at = self.pages.phys(&frames);
        self.pages.with(|running| running.buddy.map().deposit(frames, Use::PageTable, OwnerHandle::NONE));
        self.taken += 1;
        Some(at)
    }

    fn free_table(&mut self, page: PhysAddr) {
        let pfn = page.pfn(self.pages.page_shift);
        self.pages.with(|running| {
            // A page without metadata was never taken here.
            let Some(idx) = running.buddy.map().idx(pfn) else { return };
            let frames = running.buddy.map().withdraw(idx, Use::PageTable, OwnerHandle::NONE);
            running.buddy.free(frames);
        });
        self.given_back += 1;
    }
}
