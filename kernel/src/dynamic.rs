//! Per-CPU memory in an image: the rest of each processor's unit of the first chunk, and further chunks in blocks of the page allocator.

use crate::direct_map::DirectMap;
use crate::pages::Pages;
use crate::percpu::unit;
use crate::service::{MAX_CPUS, Masking};
use arrayvec::ArrayVec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use pagewright::Boot;
use pagewright_addr::{Order, PhysAddr};
use pagewright_hot::Chunks;
pub use pagewright_hot::PerCpuPages;
use pagewright_page::Frames;
use pagewright_percpu::{ChunkLayout, ChunkSource, FirstChunk, Geometry, PerCpuAllocator};

/// Chunks besides the first, at most.
const CHUNKS: usize = 16;

/// Blocks of the page allocator as memory for chunks. Where the units of the first chunk lie in the memory of several nodes, a
/// chunk of the same shape does not fit a block: that takes kernel virtual memory.
#[derive(Clone, Copy, Debug)]
pub struct PageChunks<'p> {
    pages: &'p Pages,
}

// SAFETY: the token is the sole right to the block's memory and is kept until it is given back; `Pages::alloc` returns only
// blocks that the direct map has whole, as memory that can be read and written, with exposed provenance.
unsafe impl ChunkSource for PageChunks<'_> {
    type Memory = Frames<'static>;

    fn create(&self, layout: &ChunkLayout<'_>) -> Option<(Frames<'static>, NonNull<u8>)> {
        let frames = layout.bytes() >> self.pages.page_shift().get();
        let order = Order::new(u8::try_from(frames.checked_next_power_of_two()?.ilog2()).ok()?)?;
        let frames = self.pages.alloc(order).ok()?;
        let first = self.pages.pointer(&frames)?;
        Some((frames, first))
    }

    fn destroy(&self, memory: Frames<'static>) {
        self.pages.free(memory);
    }
}

/// Where the processors' units of the first chunk lie, and what their parts are for.
#[derive(Clone, Debug)]
pub struct Units {
    lowest: PhysAddr,
    /// By processor: bytes behind the lowest.
    offsets: ArrayVec<u64, MAX_CPUS>,
    unit: u64,
    parts: [u64; 3],
}

impl Units {
    /// What the boot has placed; `None` if it placed nothing, or for more processors than an image serves.
    pub fn of(boot: &Boot<'_>) -> Option<Self> {
        let info = boot.percpu.as_ref()?;
        let cpus = info.groups.iter().map(|group| group.count).sum();
        let mut at: ArrayVec<u64, MAX_CPUS> = ArrayVec::new();
        for cpu in 0..cpus {
            at.try_push(unit(boot, cpu)?.get()).ok()?;
        }
        let lowest = at.iter().copied().min()?;
        let offsets = at.iter().map(|at| at - lowest).collect();
        let parts = [info.static_size, info.reserved_size, info.dyn_size];
        Some(Self { lowest: PhysAddr::new(lowest), offsets, unit: info.unit_size, parts })
    }

    /// The lowest unit's first byte, if the direct map has all parts of all units.
    fn reach(&self, ram: &DirectMap) -> Option<NonNull<u8>> {
        let bytes = self.parts.iter().sum();
        for offset in &self.offsets {
            ram.pointer(self.lowest.checked_add(*offset)?, bytes)?;
        }
        ram.pointer(self.lowest, bytes)
    }
}

/// One allocator at a time: two would give the same memory out.
static SERVED: AtomicBool = AtomicBool::new(false);

/// Does something with an allocator of per-CPU memory, which takes its bookkeeping from the page allocator and gives all of it back. `None`, and
/// nothing is done, if there is one already, or no memory for it.
pub fn with_percpu<R>(pages: &Pages, units: &Units, work: impl FnOnce(&PerCpuPages<'_>) -> R) -> Option<R> {
    if SERVED.swap(true, Ordering::Acquire) {
        return None;
    }
    let done = serve(pages, units, work);
    SERVED.store(false, Ordering::Release);
    done
}

fn serve<R>(pages: &Pages, units: &Units, work: impl FnOnce(&PerCpuPages<'_>) -> R) -> Option<R> {
    let geometry = Geometry::new(pages.page_shift().bytes(), units.unit, &units.offsets)?;
    let [static_size, reserved_size, dyn_size] = units.parts;
    let first = FirstChunk { lowest: units.reach(pages.ram())?, static_size, reserved_size, dyn_size };
    let frames = PerCpuPages::bytes_for(&geometry, CHUNKS).div_ceil(pages.page_shift().bytes());
    let order = Order::new(u8::try_from(frames.next_power_of_two().ilog2()).ok()?)?;
    let mut room = pages.alloc(order).ok()?;
    let chunks = PageChunks { pages };
    let done = pages.carve(&mut room).and_then(|mut carve| {
        // SAFETY: the boot has reserved all parts of the units for good and the direct map has them (`reach`); of them the image uses the
        // static one itself and nothing else; there is one allocator at a time (`with_percpu`), and it ends here.
        let percpu = unsafe {
            PerCpuAllocator::new(geometry, &first, CHUNKS, &mut carve, &chunks as &Chunks<'_>, Masking)
        }?;
        let done = work(&percpu);
        percpu.shrink();
        Some(done)
    });
    pages.free(room);
    done
}
