//! The page allocator as all of an image's processors share it, and its pages as tables, stacks and plain memory.

use crate::direct_map::DirectMap;
use crate::service::{Gate, Masking, PageService, Processor, Zeroing, start};
use core::fmt;
use core::ptr::NonNull;
use pagewright::{Boot, BootError, Running, Service};
use pagewright_addr::{Order, PageShift, PhysAddr};
use pagewright_page::{Frames, OwnerHandle, PageMap, Use};
use pagewright_pagetable::TableSource;
use pagewright_platform::{Carve, WithoutInterrupts};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{AllocFailure, Context, PageAllocator, TaskFlags};

/// How one asks the image's page allocator, on one of its processors.
pub type Cx<'c> = Context<'c, 'static, 'static>;

/// The page allocator in service.
pub struct Pages {
    service: PageService,
    /// What the boot left beside the free lists: watermarks.
    running: Running<'static, 'static, 'static>,
    /// The allocator's own map, for looking.
    map: PageMap<'static>,
    ram: DirectMap,
    page_shift: PageShift,
    processor: Processor,
    gate: Gate,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Pages {
    /// Puts the page allocator of a machine whose RAM is reached through `ram` in service, for all processors that the boot says will run.
    ///
    /// # Errors
    /// As for [`start`].
    ///
    /// # Safety
    /// What [`Processor`] says holds for `processor`.
    pub unsafe fn serve(
        boot: &Boot<'_>,
        mut running: Running<'static, 'static, 'static>,
        ram: DirectMap,
        processor: Processor,
    ) -> Result<Self, BootError> {
        let (map, page_shift) = (*running.buddy.map(), boot.machine.config.page_shift);
        let zeroing = Zeroing { map, ram: ram.clone(), page_shift };
        let service = start(boot, &mut running, &ram, Masking, zeroing)?;
        Ok(Self { service, running, map, ram, page_shift, processor, gate: Gate::new() })
    }

    /// The direct map.
    pub fn ram(&self) -> &DirectMap {
        &self.ram
    }

    /// The page size.
    pub fn page_shift(&self) -> PageShift {
        self.page_shift
    }

    /// The page map.
    pub fn map(&self) -> &PageMap<'static> {
        &self.map
    }

    /// What the boot left beside the free lists.
    pub fn running(&self) -> &Running<'static, 'static, 'static> {
        &self.running
    }

    /// The allocator with its processors.
    pub fn service(&self) -> &PageService {
        &self.service
    }

    /// The allocator.
    pub fn allocator(&self) -> &PageAllocator<'static, 'static, 'static, 'static, Masking, Zeroing> {
        &self.service.allocator
    }

    /// Does something as the processor that this runs on. `None`, and it is not done, if the processor has no number yet or no lists.
    #[inline]
    pub fn here<R>(&self, work: impl FnOnce(&Cx<'_>) -> R) -> Option<R> {
        self.here_as(|_, cx| work(cx))
    }

    /// The same, with the processor's number.
    #[inline]
    pub fn here_as<R>(&self, work: impl FnOnce(usize, &Cx<'_>) -> R) -> Option<R> {
        let number = (self.processor.current)()? as usize;
        let cpu = self.service.cpus().get(number)?;
        // SAFETY: no other processor has this number (`Processor`), nothing here moves from one processor to another, and a handler
        // returns before what it interrupted goes on.
        let here = unsafe { cpu.here() };
        Some(work(number, &self.service.context(number, here)))
    }

    /// A block.
    ///
    /// # Errors
    /// The allocator's; that there is no memory on a processor without lists.
    pub fn alloc_pages(&self, gfp: Gfp, order: Order) -> Result<Frames<'static>, AllocFailure> {
        let got = self.here(|cx| self.allocator().alloc_pages(cx, gfp, order));
        got.unwrap_or(Err(AllocFailure::NoMemory { order, gfp }))
    }

    /// A block of kernel memory that the direct map reaches.
    ///
    /// # Errors
    /// The allocator's.
    pub fn alloc(&self, order: Order) -> Result<Frames<'static>, AllocFailure> {
        let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN;
        let frames = self.alloc_pages(gfp, order)?;
        if self.pointer(&frames).is_none() {
            self.free(frames);
            return Err(AllocFailure::NoMemory { order, gfp });
        }
        Ok(frames)
    }

    /// Gives a block back. On a processor without lists it is lost.
    pub fn free(&self, frames: Frames<'static>) {
        self.here(|cx| self.allocator().free_pages(cx, frames));
    }

    /// Gives what lies in this processor's lists back to the zones.
    pub fn drain(&self) {
        self.here(|cx| self.allocator().drain_local_pages(cx));
    }

    /// Does something while no interrupt handler uses the allocator, on any processor.
    pub fn without_handlers<R>(&self, work: impl FnOnce() -> R) -> R {
        self.gate.hold(work)
    }

    /// Does something as an interrupt handler, unless handlers are held off ([`Self::without_handlers`]).
    pub fn as_handler<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        self.gate.enter(work)
    }

    /// Does something while no interrupt comes.
    pub fn undisturbed<R>(&self, work: impl FnOnce() -> R) -> R {
        let _quiet = WithoutInterrupts::new(&Masking);
        work()
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

    /// Takes a page and gives it back at once, as an interrupt handler. Returns whether there was one.
    pub fn touch(&self) -> bool {
        let got = self.gate.enter(|| {
            self.here(|cx| {
                let cx = cx.with_task(TaskFlags::INTERRUPT);
                let page = self.allocator().alloc_pages(&cx, Gfp::GFP_ATOMIC | Gfp::NOWARN, Order::ZERO);
                page.map(|page| self.allocator().free_pages(&cx, page)).is_ok()
            })
        });
        got.flatten().unwrap_or(false)
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
        self.pages.map.deposit(frames, Use::PageTable, OwnerHandle::NONE);
        self.taken += 1;
        Some(at)
    }

    fn free_table(&mut self, page: PhysAddr) {
        // A page without metadata was never taken here.
        let Some(idx) = self.pages.map.idx(page.pfn(self.pages.page_shift)) else { return };
        self.pages.free(self.pages.map.withdraw(idx, Use::PageTable, OwnerHandle::NONE));
        self.given_back += 1;
    }
}

// All processors share it.
const _: () = {
    const fn shared<T: Sync>() {}
    shared::<Service<'static, 'static, 'static, Masking, Zeroing>>();
    shared::<Pages>();
};
