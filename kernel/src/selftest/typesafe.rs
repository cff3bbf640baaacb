//! Objects that keep their type: processors look at them without a lock while others free them and give their pages away; timers' interrupts say
//! when nobody can look any more.

use super::{Note, Subject, note, objects::all_back};
use crate::objects::{Objects, READERS};
use arrayvec::ArrayVec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use pagewright_slab::slabs::{DestroyError, Destroyed};
use pagewright_slab::{CacheFlags, CacheId, CacheSpec};
use pagewright_zone::Gfp;

/// What the constructor writes, and nobody changes.
const MAGIC: u64 = 0x7e57_ab1e_0b1e_c7ed;
/// How often the object that is shown is another one.
const ROUNDS: u32 = 400;
/// How often a reader looks at what it found: long enough for the writer to give it to others, if it could.
const LOOKS: u32 = 3000;
/// Objects that are taken each time: more than a slab has.
const MANY: usize = 80;
/// Bytes of what is taken from the page allocator to be written.
const BLOCK: usize = 16 << 10;
/// How long readers may take to leave.
const PATIENCE_MICROS: u64 = 10_000_000;

/// An object.
#[repr(C)]
struct Seen {
    magic: AtomicU64,
    rest: [u64; 63],
}

unsafe extern "C" fn construct(object: NonNull<u8>) {
    // SAFETY: an object of the cache, as large and aligned as that.
    unsafe { object.cast::<Seen>().write(Seen { magic: AtomicU64::new(MAGIC), rest: [0; 63] }) };
}

/// The test.
pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    let (objects, metal) = (subject.objects, subject.metal);
    let before = super::census::take(subject);
    let spec = CacheSpec::new("seen", size_of::<Seen>() as u64, 8, CacheFlags::TYPESAFE_BY_RCU);
    // SAFETY: it writes one value inside the object.
    let spec = unsafe { spec.with_ctor(construct) };
    let cache = objects.slabs().create(&spec).map_err(|e| note(format_args!("{e}")))?;
    let take = || objects.here(|cx| objects.slabs().alloc(cx, cache, Gfp::GFP_KERNEL).ok()).flatten();
    let Some(first) = take() else { return Err(note(format_args!("no memory for an object"))) };
    let (shown, done) = (AtomicPtr::new(first.as_ptr()), AtomicU32::new(0));
    let (looks, wrong) = (AtomicU32::new(0), AtomicU32::new(0));
    metal.on_each_cpu(&|cpu| {
        if cpu == 0 {
            write(objects, cache, &shown);
            done.store(1, Ordering::Release);
            return;
        }
        // SAFETY: no other processor has this number, and handlers return before this goes on.
        let Some(here) = (unsafe { READERS.here(cpu as usize) }) else { return };
        while done.load(Ordering::Acquire) == 0 {
            let section = here.read_lock();
            if let Some(object) = NonNull::new(shown.load(Ordering::Acquire)) {
                for _ in 0..LOOKS {
                    // SAFETY: it was shown in this section, so its page stays the cache's until the section ends; the word is atomic.
                    let magic = unsafe { &object.cast::<Seen>().as_ref().magic }.load(Ordering::Relaxed);
                    if magic != MAGIC {
                        wrong.fetch_or(1 << (cpu % 32), Ordering::Relaxed);
                    }
                }
            }
            drop(section);
            looks.fetch_add(1, Ordering::Relaxed);
        }
    });
    if let Some(last) = NonNull::new(shown.load(Ordering::Relaxed)) {
        // SAFETY: allocated from there; nobody looks any more.
        objects.here(|cx| unsafe { objects.slabs().free(cx, cache, last) });
    }
    end(subject, cache)?;
    let wrong = wrong.load(Ordering::Relaxed);
    if wrong != 0 {
        return Err(note(format_args!("something else lay where an object was (processors {wrong:#b})")));
    }
    all_back(subject, &before)?;
    let looks = looks.load(Ordering::Relaxed);
    Ok(note(format_args!("{looks} looks while {ROUNDS} objects came and went, every page is back")))
}

/// Shows one object after the other, each from another slab than the last, and frees those that were shown; their slabs are given up at once, and
/// whoever gets the pages writes them.
fn write(objects: &Objects<'_>, cache: CacheId, shown: &AtomicPtr<u8>) {
    let asked = Gfp::GFP_KERNEL | Gfp::NOWARN;
    for _ in 0..ROUNDS {
        objects.here(|cx| {
            let slabs = objects.slabs();
            let mut many: ArrayVec<NonNull<u8>, MANY> = ArrayVec::new();
            many.extend((0..MANY).map_while(|_| slabs.alloc(cx, cache, asked).ok()));
            // Without memory the same one stays for a while.
            let old = many.pop().and_then(|next| NonNull::new(shown.swap(next.as_ptr(), Ordering::AcqRel)));
            for object in many.into_iter().chain(old) {
                // SAFETY: allocated from there; who found it looks at it as at an object of the cache.
                unsafe { slabs.free(cx, cache, object) };
            }
            slabs.shrink(cx, cache);
            let blocks: ArrayVec<NonNull<u8>, 8> =
                (0..8).map_while(|_| slabs.kmalloc(cx, BLOCK, asked).ok()).collect();
            for memory in blocks {
                // SAFETY: so many bytes were just allocated, and are freed once.
                unsafe {
                    memory.write_bytes(0x5a, BLOCK);
                    slabs.kfree(cx, memory);
                }
            }
        });
    }
}

/// Ends the cache when its readers have left.
fn end(subject: &Subject<'_>, cache: CacheId) -> Result<(), Note> {
    let (objects, console) = (subject.objects, subject.metal.console());
    let begin = console.micros();
    loop {
        // SAFETY: nobody uses the cache.
        match objects.here(|cx| unsafe { objects.slabs().destroy(cx, cache) }) {
            Some(Ok(Destroyed::Gone | Destroyed::Shared)) => return Ok(()),
            Some(Err(DestroyError::Retry { .. })) => subject.metal.on_each_cpu(&|_| objects.flush()),
            Some(Err(DestroyError::Readers { .. }))
                if console.micros().wrapping_sub(begin) < PATIENCE_MICROS =>
            {
                core::hint::spin_loop();
            }
            Some(Err(why)) => return Err(note(format_args!("{why}"))),
            None => return Err(note(format_args!("this processor has no slabs"))),
        }
    }
}
