//! Allocators of small objects, behind one trait: ours, the host's, and some from the crate registry.
//!
//! Each is called in the way that its documentation shows first. Those that keep their memory in pages of somebody else get pages of the host.

use crate::loops::{next, threads};
use crate::others::Pool;
use pagewright_platform::Spin;
use pagewright_slab::memory::SlabMemory;
use pagewright_slab::slab::Slab;
use pagewright_slab::slabs::{SlabContext, Slabs};
use pagewright_slab::slob::Slob;
use pagewright_zone::Gfp;
use slabmalloc::{AllocationError, Allocator, ObjectPage, ZoneAllocator};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::Mutex;

/// An allocator of small objects, as one thread sees it.
pub trait Heap {
    /// Memory of so many bytes.
    fn get(&mut self, bytes: usize) -> Option<NonNull<u8>>;
    /// Gives it back.
    fn put(&mut self, object: NonNull<u8>, bytes: usize);
}

/// One of our designs, as one processor's kmalloc.
pub struct Ours<'c, 'k, 'a, S> {
    /// The design.
    pub slabs: &'c S,
    /// The processor.
    pub cx: &'c SlabContext<'c, 'k, 'a>,
}

impl<'k, 'a, I: pagewright_platform::Interrupts, M: SlabMemory> Heap
    for Ours<'_, 'k, 'a, Slabs<'k, 'a, I, M>>
{
    #[inline]
    fn get(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        self.slabs.kmalloc(self.cx, bytes, Gfp::GFP_KERNEL).ok()
    }

    #[inline]
    fn put(&mut self, object: NonNull<u8>, _: usize) {
        // SAFETY: the loops give back what they got, once.
        unsafe { self.slabs.kfree(self.cx, object) }
    }
}

impl<'k, 'a, I: pagewright_platform::Interrupts, M: SlabMemory> Heap
    for Ours<'_, 'k, 'a, Slab<'k, 'a, I, M>>
{
    #[inline]
    fn get(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        self.slabs.kmalloc(self.cx, bytes, Gfp::GFP_KERNEL, None).ok()
    }

    #[inline]
    fn put(&mut self, object: NonNull<u8>, _: usize) {
        // SAFETY: as above.
        unsafe { self.slabs.kfree(self.cx, object) }
    }
}

impl<'k, 'a, I: pagewright_platform::Interrupts, M: SlabMemory> Heap
    for Ours<'_, 'k, 'a, Slob<'k, 'a, I, M>>
{
    #[inline]
    fn get(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        self.slabs.kmalloc(self.cx, bytes, Gfp::GFP_KERNEL, None).ok()
    }

    #[inline]
    fn put(&mut self, object: NonNull<u8>, _: usize) {
        // SAFETY: as above.
        unsafe { self.slabs.kfree(self.cx, object) }
    }
}

#[inline]
fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).unwrap_or(Layout::new::<u64>())
}

/// What implements Rust's interface of a global allocator.
pub struct Global<'g, G>(pub &'g G);

impl<G: GlobalAlloc> Heap for Global<'_, G> {
    #[inline]
    fn get(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        // SAFETY: no layout of the loops is empty.
        NonNull::new(unsafe { self.0.alloc(layout(bytes)) })
    }

    #[inline]
    fn put(&mut self, object: NonNull<u8>, bytes: usize) {
        // SAFETY: the loops give back what they got, once, with its size.
        unsafe { self.0.dealloc(object.as_ptr(), layout(bytes)) }
    }
}

/// talc behind our lock, with memory of the host.
pub type Talc = talc::TalcLock<Spin, talc::source::GlobalAllocSource<System>>;

/// A new one.
pub const fn talc() -> Talc {
    talc::TalcLock::new(talc::source::GlobalAllocSource::new(System))
}

/// slabmalloc's zone over pages of the host, which it keeps.
pub struct Zone(ZoneAllocator<'static>);

/// A page where it belongs.
#[derive(Default)]
#[repr(align(4096))]
struct Aligned(ObjectPage<'static>);

impl Zone {
    /// Without pages.
    pub fn new() -> Self {
        Self(ZoneAllocator::new())
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::new()
    }
}

impl Heap for Zone {
    #[inline]
    fn get(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        loop {
            match self.0.allocate(layout(bytes)) {
                Ok(object) => return Some(object),
                Err(AllocationError::OutOfMemory) => {
                    // The program ends soon: nobody takes pages back.
                    let page = Box::leak(Box::<Aligned>::default());
                    // SAFETY: the page is new, empty and nobody else's.
                    unsafe { self.0.refill(layout(bytes), &mut page.0) }.ok()?;
                }
                Err(AllocationError::InvalidLayout) => return None,
            }
        }
    }

    #[inline]
    fn put(&mut self, object: NonNull<u8>, bytes: usize) {
        self.0.deallocate(object, layout(bytes)).expect("it was allocated");
    }
}

/// buddy-slab-allocator's slabs for one CPU, over its buddy.
pub struct BuddySlabs<'p> {
    slabs: buddy_slab_allocator::SlabAllocator<4096>,
    buddy: buddy_slab_allocator::BuddyAllocator<4096>,
    _pool: &'p mut Pool,
}

impl<'p> BuddySlabs<'p> {
    /// Gives it a pool.
    ///
    /// # Panics
    /// If it does not take it.
    pub fn new(pool: &'p mut Pool) -> Self {
        let mut buddy = buddy_slab_allocator::BuddyAllocator::new();
        // SAFETY: the pool is borrowed exclusively for as long as the allocator lives.
        unsafe { buddy.init(pool.bytes()).expect("a pool that is large enough") };
        Self { slabs: buddy_slab_allocator::SlabAllocator::new(), buddy, _pool: pool }
    }
}

impl Heap for BuddySlabs<'_> {
    #[inline]
    fn get(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        use buddy_slab_allocator::SlabAllocResult::{Allocated, NeedsSlab};
        loop {
            match self.slabs.alloc(layout(bytes)).ok()? {
                Allocated(object) => return Some(object),
                NeedsSlab { size_class, pages } => {
                    let base = self.buddy.alloc_pages(pages, pages * 4096).ok()?;
                    self.slabs.add_slab(size_class, base, pages * 4096, 0);
                }
            }
        }
    }

    #[inline]
    fn put(&mut self, object: NonNull<u8>, bytes: usize) {
        use buddy_slab_allocator::SlabDeallocResult::{Done, FreeSlab};
        match self.slabs.dealloc(object, layout(bytes)) {
            Done => {}
            FreeSlab { base, pages } => self.buddy.dealloc_pages(base, pages),
        }
    }
}

/// Allocates and frees an object, again and again.
///
/// # Panics
/// If there is no memory.
#[inline(never)]
pub fn pairs<H: Heap>(heap: &mut H, bytes: usize, count: u64) {
    for _ in 0..count {
        let object = heap.get(black_box(bytes)).expect("memory for one object");
        heap.put(black_box(object), black_box(bytes));
    }
}

/// Allocates so many, then frees them in that order.
///
/// # Panics
/// If there is no memory.
#[inline(never)]
pub fn batch<H: Heap>(heap: &mut H, bytes: usize, held: &mut Vec<NonNull<u8>>, count: usize) {
    for _ in 0..count {
        held.push(heap.get(black_box(bytes)).expect("memory for a batch"));
    }
    for object in held.drain(..) {
        heap.put(object, black_box(bytes));
    }
}

/// An object on its way to another thread.
struct Sent(NonNull<u8>, usize);

// SAFETY: whoever has it has the object alone.
unsafe impl Send for Sent {}

/// Objects of random sizes, replaced one by one (as larson's benchmark of a server does), in turn by each of two threads.
pub struct Table {
    slots: Vec<Option<Sent>>,
    random: u64,
}

impl Table {
    /// Without objects.
    pub fn new(seed: u64) -> Self {
        Self { slots: (0..1000).map(|_| None).collect(), random: seed | 1 }
    }

    /// Replaces so many objects: of 1 to 512 bytes, the smaller the more often.
    ///
    /// # Panics
    /// If there is no memory.
    #[inline(never)]
    pub fn replace<H: Heap>(&mut self, heap: &mut H, count: u64) {
        // In a register for every allocator, whatever the compiler knows of it.
        let mut state = self.random;
        for _ in 0..count {
            let random = next(&mut state) >> 16;
            let bytes = 1 + (random % (8 << ((random >> 20) % 7))) as usize;
            let at = (random >> 30) as usize % self.slots.len();
            if let Some(Sent(object, bytes)) = self.slots[at].take() {
                heap.put(object, bytes);
            }
            self.slots[at] = Some(Sent(heap.get(bytes).expect("memory for an object"), bytes));
        }
        self.random = state;
    }

    /// Frees what there is.
    pub fn clear<H: Heap>(&mut self, heap: &mut H) {
        self.slots
            .iter_mut()
            .filter_map(Option::take)
            .for_each(|Sent(object, bytes)| heap.put(object, bytes));
    }
}

/// Objects that each of two threads frees for the other (as xmalloc-test does).
#[derive(Default)]
pub struct Mailboxes([Mutex<Vec<Sent>>; 2]);

impl Mailboxes {
    /// Allocates `count` objects of 64 bytes for the other thread, 120 at a time, and frees what came from there meanwhile.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn exchange<H: Heap>(&self, heap: &mut H, cpu: usize, count: u64) {
        let mut fresh = Vec::with_capacity(120);
        let mut come = Vec::new();
        for _ in 0..count.div_ceil(120) {
            for _ in 0..120 {
                fresh.push(Sent(heap.get(64).expect("memory for an object"), 64));
            }
            {
                let mut other = lock(&self.0[1 - cpu]);
                if other.len() < 12_000 {
                    other.append(&mut fresh);
                }
            }
            // The other is not at work.
            fresh.drain(..).for_each(|Sent(object, bytes)| heap.put(object, bytes));
            std::mem::swap(&mut come, &mut lock(&self.0[cpu]));
            come.drain(..).for_each(|Sent(object, bytes)| heap.put(object, bytes));
        }
    }

    /// Frees what nobody took out.
    pub fn clear<H: Heap>(&self, heap: &mut H) {
        for mailbox in &self.0 {
            lock(mailbox).drain(..).for_each(|Sent(object, bytes)| heap.put(object, bytes));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Something in cache lines of its own, and in pairs of lines, as some processors fetch them.
#[repr(align(128))]
struct Lines<T>(T);

/// Has two threads replace objects of two tables, each in turn; nanoseconds for one. The tables have no cache line in common: what threads do to each other is the
/// allocator's doing.
///
/// # Panics
/// If there is no memory.
pub fn larson(
    slices: usize,
    count: u64,
    run: &(dyn Fn(usize, &mut Table, u64) + Sync),
) -> crate::loops::Nanos {
    let tables = [1, 2].map(|seed| Lines(Mutex::new(Table::new(seed))));
    let turn = [const { std::sync::atomic::AtomicUsize::new(0) }; 2];
    let nanos = threads(2, slices, count, &|cpu, count| {
        let wanted = cpu + turn[cpu].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Each thread has one table at most, so one of the two is to be had.
        loop {
            let free = [wanted, wanted + 1].into_iter().find_map(|at| tables[at % 2].0.try_lock().ok());
            if let Some(mut table) = free {
                return run(cpu, &mut table, count);
            }
        }
    });
    for Lines(table) in &tables {
        run(0, &mut lock(table), 0);
    }
    nanos
}
