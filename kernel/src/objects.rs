//! Small objects in an image: slabs above its page allocator, for all of its processors, and Rust's allocator over them.

use crate::direct_map::DirectMap;
use crate::pages::Pages;
use crate::percpu::CpuLocal;
use crate::service::{MAX_CPUS, Masking};
use crate::team::HZ;
use arrayvec::ArrayVec;
use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use pagewright::slab::{SlabService, SlabSetup};
use pagewright::{Boot, CpuRoom};
use pagewright_addr::Order;
use pagewright_hot::ImageSlabs;
use pagewright_platform::{Carve, Reader, Readers};
use pagewright_slab::memory::PagesFor;
use pagewright_slab::shrink::Clock;
use pagewright_slab::{DirectMemory, Global, HeapOn, SlabContext};

/// Caches besides those of kmalloc, at most.
const CACHES: usize = 16;
/// What secrets begin with. An image has no source of randomness.
const SEED: u64 = 0x0005_1ab5_eed0;

static SLOTS: [Reader; MAX_CPUS] = [const { Reader::new() }; MAX_CPUS];
/// The processors as readers of what is shown without a lock. A timer's interrupt outside of read sections is a quiescent state; a processor without a
/// timer announces its sections.
pub static READERS: Readers<'static> = Readers::new(&SLOTS);

/// The slabs that timers' interrupts let the reaper come for, once there are any.
pub static REAPED: ImageHeap = ImageHeap::new();

/// The time of a processor's timer, in milliseconds.
struct Ticks(u64);

impl Clock for Ticks {
    fn now_ms(&self) -> u64 {
        self.0 * (1000 / HZ)
    }
}

/// The slabs with their processors.
pub struct Objects<'p> {
    service: SlabService<'static, 'static, Masking, DirectMemory<'static>>,
    pages: &'p Pages,
}

impl fmt::Debug for Objects<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("service", &self.service).finish_non_exhaustive()
    }
}

impl<'p> Objects<'p> {
    /// Puts slabs in service for all processors that the page allocator serves, in memory of its that is never given back.
    ///
    /// # Errors
    /// Why there are none.
    pub fn serve(boot: &Boot<'_>, pages: &'p Pages) -> Result<Self, &'static str> {
        let cpus = pages.service().cpus().len();
        let bytes = boot.slab_bytes(CACHES, cpus);
        let shared = memory(pages, bytes.shared).ok_or("there is no memory for their tables")?;
        let mut rooms: ArrayVec<CpuRoom<'static>, MAX_CPUS> = ArrayVec::new();
        for cpu in 0..cpus.min(MAX_CPUS) {
            let memory = memory(pages, bytes.each_cpu).ok_or("there is no memory for processors' rows")?;
            rooms.push(CpuRoom { node: pages.service().node(cpu), memory });
        }
        let memory = direct_memory(pages).ok_or("the direct map does not begin at a block")?;
        let setup = SlabSetup { caches: CACHES, ..SlabSetup::new(*pages.map(), memory, Masking, SEED) };
        let service = boot.kmem_cache_init(setup, shared, rooms.into_iter());
        let mut service = service.map_err(|_| "their caches do not fit this machine")?;
        service.slabs.set_grace_periods(&READERS);
        service.init_late();
        Ok(Self { service, pages })
    }

    /// The slabs.
    pub fn slabs(&self) -> &ImageSlabs {
        &self.service.slabs
    }

    /// The page allocator below.
    pub fn pages(&self) -> &'p Pages {
        self.pages
    }

    /// Does something as the processor that this runs on. `None`, and it is not done, if the processor has no number yet, or none that is served.
    #[inline]
    pub fn here<R>(&self, work: impl FnOnce(&SlabContext<'_, 'static, 'static>) -> R) -> Option<R> {
        self.pages.here_as(|number, context| {
            let cpu = self.service.cpus.all().get(number)?;
            let pages = PagesFor { allocator: self.pages.allocator(), context };
            // SAFETY: no other processor has this number, nothing here moves from one processor to another, and a handler returns before
            // what it interrupted goes on: as for the page allocator's own handle.
            let here = unsafe { cpu.here() };
            Some(work(&self.service.cpus.context(number, here, &pages)))
        })?
    }

    /// Gives back what this processor has at hand.
    pub fn flush(&self) {
        self.here(|cx| self.slabs().flush_cpu(cx));
    }

    /// Gives empty slabs of all caches back; how many caches have slabs yet.
    pub fn shrink(&self) -> usize {
        // SAFETY: no cache is destroyed meanwhile: whoever makes one in an image ends it before it is done.
        let caches: ArrayVec<_, 128> = unsafe { self.slabs().ids() }.take(128).collect();
        // The first is the one that the others' rooms come from.
        let left = |cache: &_| self.here(|cx| self.slabs().shrink(cx, *cache)).unwrap_or(true);
        caches.iter().rev().filter(|cache| left(cache)).count()
    }
}

/// Pages' memory, as slabs need it; `None` if the direct map does not begin at a block.
pub(crate) fn direct_memory(pages: &Pages) -> Option<DirectMemory<'static>> {
    let (map, ram): (_, DirectMap) = (*pages.map(), pages.ram().clone());
    // SAFETY: the map's frames are the machine's RAM, which the direct map has; whoever has no right to a frame (its token, or the state
    // in which it was deposited) does not touch its memory.
    unsafe { DirectMemory::new(map, ram, pages.page_shift()) }
}

/// So many bytes for good.
pub(crate) fn memory(pages: &Pages, bytes: u64) -> Option<Carve<'static>> {
    let page = pages.page_shift().bytes();
    let frames = bytes.div_ceil(page).max(1);
    let order = Order::new(frames.next_power_of_two().trailing_zeros() as u8)?;
    let block = pages.alloc(order).ok()?;
    let (block, rest) = pages.map().split_front(block, frames);
    if let Some(rest) = rest {
        pages.free(rest);
    }
    let first = pages.pointer(&block)?;
    // The token is never given back: its frames are the slabs' from here on.
    drop(block);
    // SAFETY: the token was the sole right to the block, which the direct map has as memory that may be read and written.
    Some(unsafe { Carve::new(first, (frames * page) as usize) })
}

/// Rust's allocator of an image: its slabs, once there are any. Until then, and on a processor without a number, there is no memory.
///
/// # Invariants
/// The pointer is null, or leads to slabs that stay for good. Established by [`Self::set`]'s caller.
pub struct ImageHeap {
    objects: AtomicPtr<Objects<'static>>,
}

impl fmt::Debug for ImageHeap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageHeap").field("objects", &self.get()).finish()
    }
}

impl ImageHeap {
    /// No memory yet.
    pub const fn new() -> Self {
        Self { objects: AtomicPtr::new(null_mut()) }
    }

    /// From here on these slabs.
    ///
    /// # Safety
    /// They, and the page allocator below, stay where they are for good.
    pub unsafe fn set(&self, objects: &Objects<'_>) {
        self.objects.store((&raw const *objects).cast_mut().cast(), Ordering::Release);
    }

    fn get(&self) -> Option<&'static Objects<'static>> {
        // SAFETY: the invariant.
        unsafe { self.objects.load(Ordering::Acquire).as_ref() }
    }

    /// What the timer's interrupt does for slabs on the processor with this data: the reaper comes if it is time, and handlers are not held off. It gives back what is not used, and
    /// takes nothing.
    pub fn reap(&self, local: &CpuLocal) {
        if let Some(objects) = self.get() {
            let tick = |cx: &SlabContext<'_, 'static, 'static>| {
                local.reaper.tick(&Ticks(local.ticks()), objects.slabs(), cx)
            };
            objects.pages().as_handler(|| objects.here(tick));
        }
    }

    fn with<R>(
        &self,
        work: impl FnOnce(&Global<HeapOn<'_, 'static, 'static, Masking, DirectMemory<'static>>>) -> R,
    ) -> Option<R> {
        let objects = self.get()?;
        objects.here(|cx| work(&Global::new(HeapOn::new(objects.slabs(), cx))))
    }
}

impl Default for ImageHeap {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: `Global` over the slabs, of which there is one set for good; what one processor allocates another may free.
unsafe impl GlobalAlloc for ImageHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller says.
        self.with(|heap| unsafe { heap.alloc(layout) }).unwrap_or(null_mut())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller says.
        self.with(|heap| unsafe { heap.alloc_zeroed(layout) }).unwrap_or(null_mut())
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller says; memory was had, so there are slabs.
        self.with(|heap| unsafe { heap.dealloc(memory, layout) });
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as the caller says.
        self.with(|heap| unsafe { heap.realloc(memory, layout, bytes) }).unwrap_or(null_mut())
    }
}
