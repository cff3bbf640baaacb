//! Small objects on all processors: memory of any size that nobody else has, freed where it may be, and Rust's collections in the image's
//! own allocator. At the end every page is back.

extern crate alloc;

use super::{Note, Numbers, Subject, census, note};
use crate::objects::Objects;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use pagewright_platform::Mutex;
use pagewright_zone::Gfp;

/// Steps of each processor.
const STEPS: u32 = 2000;
/// What a processor holds at a time.
const HELD: usize = 48;
/// Processors that leave things for each other, at most.
const POSTS: usize = 16;

/// Memory of kmalloc, and what is in all of its bytes.
struct Piece {
    memory: NonNull<u8>,
    bytes: usize,
    stamp: u8,
}

// SAFETY: it owns its memory, as a box does.
unsafe impl Send for Piece {}

type Post<T> = Mutex<ArrayVec<T, 8>>;

/// Whose kmalloc is tried, on the processor that asks.
pub(super) trait Heap: Sync {
    /// So many bytes.
    fn kmalloc(&self, bytes: usize, gfp: Gfp) -> Option<NonNull<u8>>;

    /// Gives them back.
    ///
    /// # Safety
    /// They were allocated there, and nobody uses them from now on.
    unsafe fn kfree(&self, memory: NonNull<u8>);
}

impl Heap for Objects<'_> {
    fn kmalloc(&self, bytes: usize, gfp: Gfp) -> Option<NonNull<u8>> {
        self.here(|cx| self.slabs().kmalloc(cx, bytes, gfp))?.ok()
    }

    unsafe fn kfree(&self, memory: NonNull<u8>) {
        // SAFETY: as the caller says.
        self.here(|cx| unsafe { self.slabs().kfree(cx, memory) });
    }
}

impl Piece {
    fn new(heap: &dyn Heap, bytes: usize, stamp: u8) -> Option<Self> {
        let memory = heap.kmalloc(bytes, Gfp::GFP_KERNEL | Gfp::NOWARN)?;
        // SAFETY: so many bytes were just allocated.
        unsafe { memory.write_bytes(stamp, bytes) };
        Some(Self { memory, bytes, stamp })
    }

    /// Gives it back; whether everything was as it was left.
    fn give(self, heap: &dyn Heap) -> bool {
        // SAFETY: all of the bytes were written when it was made, and it is the only owner.
        let bytes = unsafe { core::slice::from_raw_parts(self.memory.as_ptr(), self.bytes) };
        let whole = bytes.iter().all(|byte| *byte == self.stamp);
        // SAFETY: it was allocated here and is not used any more.
        unsafe { heap.kfree(self.memory) };
        whole
    }
}

/// Gives everything back that slabs hold, and says whether every page is there.
pub(super) fn all_back(subject: &Subject<'_>, before: &census::Census) -> Result<(), Note> {
    let objects = subject.objects;
    subject.pages.without_handlers(|| subject.metal.on_each_cpu(&|_| objects.flush()));
    match objects.shrink() {
        0 => census::all_back(subject, before),
        left => Err(note(format_args!("{left} caches have objects yet"))),
    }
}

/// Every processor allocates memory of all sizes and frees what others have allocated.
pub(super) fn kmalloc(subject: &Subject<'_>) -> Result<Note, Note> {
    let before = census::take(subject);
    let made = exchange(subject, subject.objects)?;
    all_back(subject, &before)?;
    let cpus = subject.metal.cpus();
    Ok(note(format_args!("{made} pieces of memory on {cpus} processors, every page is back")))
}

/// The same with any heap, from which all is given back; how many pieces of memory there were.
pub(super) fn exchange(subject: &Subject<'_>, heap: &dyn Heap) -> Result<u32, Note> {
    let metal = subject.metal;
    let (made, wrong, none) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let posts = [const { Post::<Piece>::new(ArrayVec::new_const()) }; POSTS];
    let posts = &posts[..(metal.cpus() as usize).min(POSTS)];
    metal.on_each_cpu(&|cpu| {
        let mut numbers = Numbers::new(31 + u64::from(cpu));
        let mut held: ArrayVec<Piece, HELD> = ArrayVec::new();
        let mut count = 0;
        let give = |piece: Piece| {
            if !piece.give(heap) {
                wrong.fetch_or(1 << (cpu % 32), Ordering::Relaxed);
            }
        };
        for _ in 0..STEPS {
            if let Some(piece) = posts.get(cpu as usize).and_then(|mine| mine.lock().pop()) {
                give(piece);
            }
            if held.is_full() || (!held.is_empty() && numbers.below(5) < 2) {
                let piece = held.swap_remove(numbers.below(held.len() as u64) as usize);
                // To another processor now and then, if it takes more.
                let mine = match posts.get(numbers.below(2 * posts.len() as u64) as usize) {
                    Some(other) => other.lock().try_push(piece).err().map(|e| e.element()),
                    None => Some(piece),
                };
                mine.into_iter().for_each(give);
                continue;
            }
            // Small ones are the most frequent; some are larger than any class.
            let most = [64, 64, 512, 4096, 20_000][numbers.below(5) as usize];
            let bytes = 1 + numbers.below(most) as usize;
            if let Some(piece) = Piece::new(heap, bytes, numbers.below(256) as u8) {
                count += 1;
                held.push(piece);
            }
        }
        held.into_iter().for_each(give);
        // On the smallest machines others may have had everything meanwhile; a little there is for each.
        for _ in 0..STEPS {
            if count == 0
                && let Some(piece) = Piece::new(heap, 1 + numbers.below(32) as usize, 0x5a)
            {
                count += 1;
                give(piece);
            }
        }
        if count == 0 {
            none.fetch_or(1 << (cpu % 32), Ordering::Relaxed);
        }
        made.fetch_add(count, Ordering::Relaxed);
    });
    let mut intact = true;
    for piece in posts.iter().flat_map(|post| post.lock().take()) {
        intact &= piece.give(heap);
    }
    let wrong = wrong.load(Ordering::Relaxed);
    if wrong != 0 || !intact {
        return Err(note(format_args!("memory was written by somebody else (processors {wrong:#b})")));
    }
    let none = none.load(Ordering::Relaxed);
    if none != 0 {
        return Err(note(format_args!("there was no memory at all (processors {none:#b})")));
    }
    Ok(made.load(Ordering::Relaxed))
}

/// Every processor uses boxes, vectors and trees, and drops what others have made.
pub(super) fn heap(subject: &Subject<'_>) -> Result<Note, Note> {
    let metal = subject.metal;
    let before = census::take(subject);
    let (made, wrong) = (AtomicU32::new(0), AtomicU32::new(0));
    let posts = [const { Post::<Box<[u64; 9]>>::new(ArrayVec::new_const()) }; POSTS];
    let posts = &posts[..(metal.cpus() as usize).min(POSTS)];
    metal.on_each_cpu(&|cpu| {
        let mut numbers = Numbers::new(7 + u64::from(cpu));
        let mut tree: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut fine = true;
        for step in 0..STEPS {
            let key = numbers.below(HELD as u64);
            match tree.remove(&key) {
                Some(vector) => fine &= vector.iter().all(|n| *n == key),
                None => {
                    let mut vector = Vec::new();
                    (0..1 + numbers.below(100)).for_each(|_| vector.push(key));
                    tree.insert(key, vector);
                }
            }
            fine &= tree.keys().is_sorted();
            if let Some(other) = posts.get(numbers.below(posts.len() as u64) as usize) {
                // What is refused is dropped here, what others left is dropped by them.
                let _ = other.lock().try_push(Box::new([u64::from(step); 9]));
            }
            if let Some(left) = posts.get(cpu as usize).and_then(|mine| mine.lock().pop()) {
                fine &= left.iter().all(|n| *n == left[0]);
                made.fetch_add(1, Ordering::Relaxed);
            }
        }
        if !fine {
            wrong.fetch_or(1 << (cpu % 32), Ordering::Relaxed);
        }
    });
    posts.iter().for_each(|post| post.lock().clear());
    let wrong = wrong.load(Ordering::Relaxed);
    if wrong != 0 {
        return Err(note(format_args!("a collection was written by somebody else (processors {wrong:#b})")));
    }
    all_back(subject, &before)?;
    let (made, cpus) = (made.load(Ordering::Relaxed), metal.cpus());
    Ok(note(format_args!("{made} boxes between {cpus} processors, trees of vectors, every page is back")))
}
