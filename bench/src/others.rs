//! Page allocators from the crate registry, behind the trait that the loops use.
//!
//! Each manages the same number of pages, in blocks of up to 4 MiB where that can be chosen, and is called in the way that its documentation
//! shows first. What keeps its lists in the memory that it manages gets memory of the host; the others get numbers.

use crate::loops::Source;
use bitmap_allocator::{BitAlloc, BitAlloc1M};
use buddy_system_allocator::{FrameAllocator, LockedFrameAllocator};
use frame_alloc::{
    CpuId, DepotAllocator, PageSize, PhysRange, PhysicalAllocator, Provenance, RegionInit,
    SummaryBuddyAllocator,
};
use free_list::{FreeList, PageLayout, PageRange};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

const PAGE: usize = 4096;
/// Orders 0 to 10.
const ORDERS: usize = 11;

/// Memory of the host, aligned to the largest blocks; pages that nobody touches cost nothing.
pub struct Pool {
    start: NonNull<u8>,
    layout: Layout,
}

impl Pool {
    /// So many pages.
    ///
    /// # Panics
    /// If there are none, or more than a host can address.
    pub fn new(pages: usize) -> Self {
        let layout = Layout::from_size_align(pages * PAGE, PAGE << (ORDERS - 1)).expect("a size that exists");
        assert!(layout.size() > 0, "a pool has pages");
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        Self { start: NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout)), layout }
    }

    fn address(&self) -> usize {
        self.start.as_ptr().expose_provenance()
    }

    /// All of it.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: so many bytes, zeroed when they were allocated, borrowed as the pool is.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: made with this layout, and nobody has it any more: those who use it borrow the pool.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// Physical addresses are the host's.
pub struct Identity;

// SAFETY: the addresses are those of a pool whose provenance was exposed, and which lives longer than the allocator that
// is told of it.
unsafe impl Provenance for Identity {
    unsafe fn create(phys: usize) -> NonNull<u8> {
        NonNull::new(std::ptr::with_exposed_provenance_mut(phys)).expect("no pool is at zero")
    }

    unsafe fn destroy<T>(ptr: NonNull<T>) -> usize {
        ptr.addr().get()
    }
}

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// The CPU that a thread said it is.
pub struct Thread;

impl Thread {
    /// This thread is a CPU from now on.
    pub fn is(cpu: usize) {
        CPU.set(cpu);
    }
}

impl CpuId for Thread {
    fn current_cpu() -> usize {
        CPU.get()
    }
}

const BASE: PageSize = PageSize::from_log2(12);

/// frame-alloc's buddy with summaries.
pub type Summary = SummaryBuddyAllocator<ORDERS, Identity>;
/// The same behind its per-CPU magazines.
pub type Depot = DepotAllocator<Summary, Thread, 2>;

/// One of them over a pool.
pub struct FrameAlloc<'p, A> {
    inner: A,
    pool: PhantomData<&'p [u8]>,
}

impl<'p, A: RegionInit> FrameAlloc<'p, A> {
    /// Gives it the pool.
    ///
    /// # Panics
    /// If it does not take it.
    pub fn new(inner: A, pool: &'p Pool) -> Self {
        let (base, len) = (pool.address(), pool.layout.size());
        // SAFETY: nobody else uses the pool as long as this is borrowed from it, and nobody knows the allocator yet.
        let done = unsafe { inner.try_init(base, len, &[PhysRange { base, len }]) };
        done.expect("an aligned pool");
        Self { inner, pool: PhantomData }
    }
}

/// frame-alloc without magazines.
pub fn summary(pool: &Pool) -> FrameAlloc<'_, Summary> {
    FrameAlloc::new(Summary::new(BASE), pool)
}

/// frame-alloc with its magazines for two CPUs.
pub fn depot(pool: &Pool) -> FrameAlloc<'_, Depot> {
    FrameAlloc::new(Depot::new(BASE, Summary::new(BASE)), pool)
}

#[inline]
fn count(order: u8) -> NonZeroUsize {
    NonZeroUsize::new(1 << order).unwrap_or(NonZeroUsize::MIN)
}

impl<A: PhysicalAllocator> Source for &FrameAlloc<'_, A> {
    type Block = usize;

    #[inline]
    fn get(&mut self, order: u8) -> Option<usize> {
        self.inner.allocate_physical(BASE, count(order)).ok()
    }

    #[inline]
    fn put(&mut self, block: usize, order: u8) {
        // SAFETY: the loops give back what they got, once, with its order.
        unsafe { self.inner.deallocate_physical(BASE, count(order), block) }
    }
}

impl Source for FrameAllocator<ORDERS> {
    type Block = usize;

    #[inline]
    fn get(&mut self, order: u8) -> Option<usize> {
        self.alloc(1 << order)
    }

    #[inline]
    fn put(&mut self, block: usize, order: u8) {
        self.dealloc(block, 1 << order);
    }
}

/// buddy_system_allocator's frames.
pub fn buddy_system(pages: usize) -> FrameAllocator<ORDERS> {
    let mut frames = FrameAllocator::new();
    frames.add_frame(0, pages);
    frames
}

/// The same behind its lock.
pub struct Locked(LockedFrameAllocator<ORDERS>);

impl Locked {
    /// With so many pages.
    pub fn new(pages: usize) -> Self {
        let locked = LockedFrameAllocator::new();
        locked.lock().add_frame(0, pages);
        Self(locked)
    }
}

impl Source for &Locked {
    type Block = usize;

    #[inline]
    fn get(&mut self, order: u8) -> Option<usize> {
        self.0.lock().alloc(1 << order)
    }

    #[inline]
    fn put(&mut self, block: usize, order: u8) {
        self.0.lock().dealloc(block, 1 << order);
    }
}

/// buddy-slab-allocator's buddy over a pool.
pub struct BuddySlab<'p> {
    inner: buddy_slab_allocator::BuddyAllocator<PAGE>,
    _pool: &'p mut Pool,
}

impl<'p> BuddySlab<'p> {
    /// Gives it the pool.
    ///
    /// # Panics
    /// If it does not take it.
    pub fn new(pool: &'p mut Pool) -> Self {
        let mut inner = buddy_slab_allocator::BuddyAllocator::new();
        // SAFETY: the pool is borrowed exclusively for as long as the allocator lives.
        unsafe { inner.init(pool.bytes()).expect("a pool that is large enough") };
        Self { inner, _pool: pool }
    }
}

impl Source for BuddySlab<'_> {
    type Block = usize;

    #[inline]
    fn get(&mut self, order: u8) -> Option<usize> {
        // Its blocks are aligned within the pool, not by address.
        self.inner.alloc_pages(1 << order, PAGE).ok()
    }

    #[inline]
    fn put(&mut self, block: usize, order: u8) {
        self.inner.dealloc_pages(block, 1 << order);
    }
}

/// bitmap-allocator, a bit for each page.
pub struct Bitmap(Box<BitAlloc1M>);

impl Bitmap {
    /// With so many pages.
    pub fn new(pages: usize) -> Self {
        let mut bits = Box::new(BitAlloc1M::DEFAULT);
        bits.insert(0..pages);
        Self(bits)
    }
}

impl Source for Bitmap {
    type Block = usize;

    #[inline]
    fn get(&mut self, order: u8) -> Option<usize> {
        if order == 0 { self.0.alloc() } else { self.0.alloc_contiguous(None, 1 << order, order.into()) }
    }

    #[inline]
    fn put(&mut self, block: usize, order: u8) {
        let freed =
            if order == 0 { self.0.dealloc(block) } else { self.0.dealloc_contiguous(block, 1 << order) };
        assert!(freed, "it was allocated");
    }
}

/// free-list: a sorted list of ranges.
pub struct Ranges(FreeList<16>);

impl Ranges {
    /// With so many pages.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(pages: usize) -> Self {
        let mut list = FreeList::new();
        let all = PageRange::from_start_len(PAGE, pages * PAGE).expect("whole pages");
        // SAFETY: they are numbers, of no memory.
        unsafe { list.deallocate(all) }.expect("room for one range");
        Self(list)
    }
}

impl Source for Ranges {
    type Block = PageRange;
    // Each page freed between two others moves what is behind it: it takes time with the square of the pool.
    const LARGE_POOL: bool = false;

    #[inline]
    fn get(&mut self, order: u8) -> Option<PageRange> {
        self.0.allocate(PageLayout::from_size_align(PAGE << order, PAGE << order).ok()?).ok()
    }

    #[inline]
    fn put(&mut self, block: PageRange, _order: u8) {
        // SAFETY: they are numbers, of no memory.
        unsafe { self.0.deallocate(block) }.expect("nobody else freed it");
    }
}
