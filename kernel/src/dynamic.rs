//! Per-CPU memory in an image: the rest of each processor's unit of the first chunk, and further chunks in areas of vmalloc's, or in blocks of the page
//! allocator.

use crate::direct_map::DirectMap;
use crate::metal::Metal;
use crate::pages::Pages;
use crate::percpu::seen;
use crate::service::{MAX_CPUS, Masking};
use crate::space::on;
use arrayvec::ArrayVec;
use core::fmt;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicBool, Ordering};
use pagewright::Boot;
use pagewright::vmalloc::PcpuPart;
use pagewright_addr::{NodeId, Order, VirtAddr};
pub use pagewright_hot::PerCpuPages;
use pagewright_hot::{ChunkMemory, Chunks, KernelSpace};
use pagewright_percpu::{ChunkLayout, ChunkSource, FirstChunk, Geometry, PerCpuAllocator};

/// Chunks besides the first, at most.
const CHUNKS: usize = 16;

/// The vmalloc area of a machine whose processors run.
#[derive(Clone, Copy)]
pub struct Space<'p> {
    /// The area.
    pub area: &'p dyn KernelSpace,
    /// The processors, to be told of what is unmapped.
    pub metal: &'p dyn Metal,
}

impl fmt::Debug for Space<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space").field("range", &self.area.range()).finish_non_exhaustive()
    }
}

/// Parts of a chunk at most: as many as vmalloc takes.
const PARTS: usize = 64;

/// Memory for chunks: areas of vmalloc as far from each other as the first chunk's units are, each from its processors' node; where there is no vmalloc, blocks
/// of the page allocator, which a chunk fits whose units lie together.
#[derive(Clone, Copy, Debug)]
pub struct ImageChunks<'p> {
    pages: &'p Pages,
    space: Option<Space<'p>>,
    units: &'p Units,
}

impl ImageChunks<'_> {
    /// What a chunk is made of: units that follow each other on one node are one part, and the chunk's maps lie behind the last.
    fn parts(&self, bytes: u64) -> Option<ArrayVec<PcpuPart, PARTS>> {
        let size = self.units.unit;
        let mut all: ArrayVec<(u64, Option<NodeId>), MAX_CPUS> =
            self.units.offsets.iter().copied().zip(self.units.nodes.iter().copied()).collect();
        all.sort_unstable_by_key(|(offset, _)| *offset);
        let mut parts: ArrayVec<PcpuPart, PARTS> = ArrayVec::new();
        for (offset, node) in all {
            match parts.last_mut() {
                Some(last) if last.node == node && last.offset + last.size == offset => last.size += size,
                _ => parts.try_push(PcpuPart { offset, size, node }).ok()?,
            }
        }
        let last = parts.last_mut()?;
        last.size += bytes.checked_sub(last.offset + last.size)?;
        Some(parts)
    }
}

// SAFETY: areas of vmalloc's are mapped whole as memory that can be read and written until they are given back, at addresses of theirs alone, from a multiple of a
// page on; each unit and the maps lie in one of the parts. A block's token is the sole right to its memory and is kept until it is given back; `Pages::alloc` returns only
// blocks that the direct map has whole, as memory that can be read and written, with exposed provenance.
unsafe impl ChunkSource for ImageChunks<'_> {
    type Memory = ChunkMemory;

    fn create(&self, layout: &ChunkLayout<'_>) -> Option<(ChunkMemory, NonNull<u8>)> {
        if let Some(Space { area, metal }) = self.space {
            let parts = self.parts(layout.bytes())?;
            let got = on(self.pages, metal, |on| area.pcpu_get_vm_areas(on, &parts, self.units.align));
            let base = got?.ok()?;
            let first = NonNull::new(with_exposed_provenance_mut(usize::try_from(base.get()).ok()?))?;
            return Some((ChunkMemory::Areas { base, bytes: layout.bytes() }, first));
        }
        let frames = layout.bytes() >> self.pages.page_shift().get();
        let order = Order::new(u8::try_from(frames.checked_next_power_of_two()?.ilog2()).ok()?)?;
        let frames = self.pages.alloc(order).ok()?;
        let first = self.pages.pointer(&frames)?;
        Some((ChunkMemory::Block(frames), first))
    }

    fn destroy(&self, memory: ChunkMemory) {
        match (memory, self.space) {
            (ChunkMemory::Block(frames), _) => self.pages.free(frames),
            (ChunkMemory::Areas { base, bytes }, Some(Space { area, metal })) => {
                // It had the same parts when it was made, and they are areas of its own, so nothing is refused.
                let parts = self.parts(bytes).unwrap_or_default();
                let _ = on(self.pages, metal, |on| area.pcpu_free_vm_areas(on, base, &parts));
            }
            // Whoever made it has the space that it is of.
            (ChunkMemory::Areas { .. }, None) => {}
        }
    }
}

/// Where the processors' units of the first chunk lie, and what their parts are for.
#[derive(Clone, Debug)]
pub struct Units {
    /// The lowest unit's first byte. All that is used of all of them is mapped.
    lowest: VirtAddr,
    /// By processor: bytes behind the lowest.
    offsets: ArrayVec<u64, MAX_CPUS>,
    /// By processor: whose memory the unit is.
    nodes: ArrayVec<Option<NodeId>, MAX_CPUS>,
    /// Bytes from one unit to the next.
    unit: u64,
    /// What groups of units are aligned to.
    align: u64,
    /// Static, reserved and dynamic bytes.
    parts: [u64; 3],
}

impl Units {
    /// Bytes of the processors' units of a chunk.
    pub fn bytes(&self) -> u64 {
        self.unit * self.offsets.len() as u64
    }

    /// What the boot has placed; `None` if it placed nothing that is mapped, or for more processors than an image serves.
    pub fn of(boot: &Boot<'_>, ram: &DirectMap) -> Option<Self> {
        let info = boot.percpu.as_ref()?;
        let cpus = info.count_cpus();
        let mut offsets: ArrayVec<u64, MAX_CPUS> = (0..cpus.min(MAX_CPUS)).map(|_| 0).collect();
        // `first_chunk` refuses room for fewer processors than there are.
        let exposed = |unit| seen(boot, ram, unit).inspect(|first| _ = first.expose_provenance());
        let (_, first) = boot.first_chunk(&mut offsets, exposed).ok()?;
        let nodes = (0..cpus as u32).map(|cpu| Some(boot.node_of_cpu(cpu))).collect();
        let parts = [first.static_size, first.reserved_size, first.dyn_size];
        Some(Self {
            lowest: VirtAddr::new(first.lowest.addr().get() as u64),
            offsets,
            nodes,
            unit: info.unit_size,
            align: info.atom_size,
            parts,
        })
    }
}

/// One allocator at a time: two would give the same memory out.
static SERVED: AtomicBool = AtomicBool::new(false);

/// Does something with an allocator of per-CPU memory, which takes its bookkeeping from the page allocator and gives all of it back. `None`, and
/// nothing is done, if there is one already, or no memory for it. Chunks come from `space` where there is one; when it is over, all of them are the page
/// allocator's again.
pub fn with_percpu<R>(
    pages: &Pages,
    units: &Units,
    space: Option<Space<'_>>,
    work: impl FnOnce(&PerCpuPages<'_>) -> R,
) -> Option<R> {
    if SERVED.swap(true, Ordering::Acquire) {
        return None;
    }
    let done = serve(pages, units, space, work);
    if let Some(Space { area, metal }) = space {
        on(pages, metal, |on| area.give_all_back(on));
    }
    SERVED.store(false, Ordering::Release);
    done
}

fn serve<R>(
    pages: &Pages,
    units: &Units,
    space: Option<Space<'_>>,
    work: impl FnOnce(&PerCpuPages<'_>) -> R,
) -> Option<R> {
    let geometry = Geometry::new(pages.page_shift().bytes(), units.unit, &units.offsets)?;
    let [static_size, reserved_size, dyn_size] = units.parts;
    let lowest = NonNull::new(with_exposed_provenance_mut(usize::try_from(units.lowest.get()).ok()?))?;
    let first = FirstChunk { lowest, static_size, reserved_size, dyn_size };
    let frames = PerCpuPages::bytes_for(&geometry, CHUNKS).div_ceil(pages.page_shift().bytes());
    let order = Order::new(u8::try_from(frames.next_power_of_two().ilog2()).ok()?)?;
    let mut room = pages.alloc(order).ok()?;
    let chunks = ImageChunks { pages, space, units };
    let done = pages.carve(&mut room).and_then(|mut carve| {
        // SAFETY: the boot has reserved all parts of the units for good, and they are mapped (`Units`); of them the image uses the
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
