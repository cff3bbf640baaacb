//! A processor's free list, and its slabs' own lists.

use super::bounded;
use crate::frozen::{self, Chain, Freed};
use crate::tid::FreeList;
use crate::word::{Listed, SlabWord};
use loom::cell::UnsafeCell;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use loom::sync::atomic::{AtomicU64, AtomicUsize};
use loom::sync::{Arc, Mutex};
use loom::thread;
use pagewright_addr::NodeId;

/// Objects lie at multiples of this.
const SIZE: usize = 8;

/// Three objects, and a processor's list with all of them. A link is the next object's place and one more, or 0; users write what they like.
struct Processor {
    list: FreeList,
    links: [AtomicUsize; 3],
    held: [UnsafeCell<u32>; 3],
}

impl Processor {
    fn new() -> Self {
        let list = FreeList::new(1);
        list.replace(Some(0));
        let held = [UnsafeCell::new(0), UnsafeCell::new(0), UnsafeCell::new(0)];
        let links = [SIZE + 1, 2 * SIZE + 1, 0].map(AtomicUsize::new);
        Self { list, links, held }
    }

    /// As the fast way does it.
    fn pop(&self) -> Option<usize> {
        loop {
            let seen = self.list.read();
            let first = seen.first()?;
            let next = self.links[first / SIZE].load(Relaxed).checked_sub(1);
            if self.list.swap(seen, next) {
                // A user writes what he likes: here, that nothing follows.
                self.links[first / SIZE].store(0, Relaxed);
                // SAFETY: loom says so if somebody else has the object.
                self.held[first / SIZE].with_mut(|held| unsafe { *held += 1 });
                return Some(first);
            }
            thread::yield_now();
        }
    }

    fn push(&self, object: usize) {
        loop {
            let seen = self.list.read();
            self.links[object / SIZE].store(seen.first().map_or(0, |first| first + 1), Relaxed);
            if self.list.swap(seen, Some(object)) {
                return;
            }
            thread::yield_now();
        }
    }
}

#[test]
fn a_list_that_was_used_in_between_is_looked_at_again() {
    bounded(3, || {
        let shared = Arc::new(Processor::new());
        // A handler, or a task that has come to this processor: the first object is the same again, what follows is not.
        let other = thread::spawn({
            let shared = shared.clone();
            move || {
                let first = shared.pop().expect("one of three");
                let second = shared.pop();
                shared.push(first);
                second
            }
        });
        let mine = shared.pop();
        let second = other.join().unwrap();
        let left = [shared.pop(), shared.pop(), shared.pop()];
        let mut all: Vec<_> = [mine, second].into_iter().chain(left).flatten().collect();
        all.sort_unstable();
        assert_eq!(all, [0, SIZE, 2 * SIZE], "each once, none lost");
    });
}

#[test]
fn an_object_is_of_the_slab_that_the_processor_had() {
    bounded(3, || {
        // The first slab has an object at 8, the second one at 16.
        let shared = Arc::new((FreeList::new(0), AtomicUsize::new(1)));
        shared.0.replace(Some(8));
        let slow = thread::spawn({
            let shared = shared.clone();
            move || {
                let (list, slab) = &*shared;
                let had = list.replace(None);
                slab.store(2, Release);
                list.replace(Some(16));
                had
            }
        });
        let (list, slab) = &*shared;
        let seen = list.read();
        let base = slab.load(Acquire);
        let popped = seen
            .first()
            .filter(|_| list.read() == seen)
            .inspect(|&object| assert_eq!(object, base * 8, "an object of another slab"))
            .filter(|_| list.swap(seen, None));
        let had = slow.join().unwrap();
        assert_eq!(had.is_none(), popped == Some(8), "one of them has it");
        assert_eq!(list.read().first().is_none(), popped == Some(16));
    });
}

/// A slab of three objects; whether it is in its node's list, behind that one's lock.
struct Slab {
    word: AtomicU64,
    links: [UnsafeCell<Option<usize>>; 3],
    listed: Mutex<bool>,
}

impl Slab {
    /// All objects are out.
    fn new(to: Listed) -> Self {
        let word = SlabWord::new(NodeId::ZERO, 3).with_listed(to);
        let links = [UnsafeCell::new(None), UnsafeCell::new(None), UnsafeCell::new(None)];
        Self { word: AtomicU64::new(word.bits()), links, listed: Mutex::new(false) }
    }

    fn link(&self, object: usize, next: Option<usize>) {
        // SAFETY: whoever frees the object has it alone; loom says so if not.
        self.links[object / SIZE].with_mut(|link| unsafe { *link = next });
    }

    fn next(&self, object: usize) -> Option<usize> {
        // SAFETY: in a list of the caller's, so written before; loom says so if not.
        self.links[object / SIZE].with(|link| unsafe { *link })
    }

    fn word(&self) -> SlabWord {
        SlabWord::from_bits(self.word.load(Relaxed))
    }

    /// Objects that hang together.
    fn walk(&self, mut at: Option<usize>) -> Vec<usize> {
        let mut all = vec![];
        while let Some(object) = at {
            all.push(object);
            at = self.next(object);
        }
        all
    }

    /// Frees an object as a processor does that has another slab: whether the slab, full before, is its own now.
    fn free(&self, object: usize, freezes: bool) -> bool {
        let link = |next| self.link(object, next);
        match frozen::free(&self.word, object, freezes, link).expect("freed once") {
            Freed::Done => false,
            Freed::Frozen => true,
            Freed::Locked => {
                let mut listed = self.listed.lock().unwrap();
                let (seen, _) = frozen::free_locked(&self.word, object, link).expect("freed once");
                if seen.listed() == Listed::Nowhere {
                    assert!(!*listed, "in the list twice");
                    *listed = true;
                }
                false
            }
        }
    }

    /// The processor that has the slab gives it up, with these objects.
    fn unfreeze(&self, back: Option<Chain>) {
        if back.is_none() && frozen::unfreeze_full(&self.word) {
            return;
        }
        let mut listed = self.listed.lock().unwrap();
        let (_, new) = frozen::unfreeze(&self.word, back, |last, next| self.link(last, next));
        if new.listed() == Listed::Partial {
            assert!(!*listed, "in the list twice");
            *listed = true;
        }
    }

    /// Whether the slab is where its word says, with these objects free.
    fn check(&self, mut free: Vec<usize>) {
        let word = self.word();
        let mut found = self.walk(word.first_free());
        found.sort_unstable();
        free.sort_unstable();
        assert_eq!(found, free);
        assert_eq!(word.out() as usize, 3 - found.len());
        assert_eq!(*self.listed.lock().unwrap(), word.listed() == Listed::Partial);
        assert!(word.listed() != Listed::Nowhere || found.is_empty(), "free objects that nobody finds");
    }
}

/// Frees these objects in threads of their own, while `owner` does something.
fn freed_elsewhere(
    to: Listed,
    objects: &'static [usize],
    freezes: bool,
    owner: impl Fn(&Slab) -> Vec<usize> + Sync + Send + 'static,
) {
    bounded(3, move || {
        let slab = Arc::new(Slab::new(to));
        let frees = objects.iter().map(|&object| {
            let slab = slab.clone();
            thread::spawn(move || slab.free(object, freezes))
        });
        let frees: Vec<_> = frees.collect();
        let taken = owner(&slab);
        let frozen = frees.into_iter().map(|free| usize::from(free.join().unwrap())).sum::<usize>();
        let left: Vec<_> = objects.iter().copied().filter(|object| !taken.contains(object)).collect();
        if to == Listed::Nowhere && freezes {
            assert_eq!(frozen, 1, "one of them has it");
        }
        slab.check(left);
    });
}

#[test]
fn what_is_freed_elsewhere_is_taken_once_and_none_of_it_is_lost() {
    freed_elsewhere(Listed::Frozen, &[0, SIZE], false, |slab| {
        // Twice, as long as there is something: else the slab is given up.
        let first = frozen::take_all(&slab.word, 3);
        let mut taken = slab.walk(first);
        if first.is_some() {
            taken.extend(slab.walk(frozen::take_all(&slab.word, 3)));
        }
        taken
    });
}

#[test]
fn a_full_slab_becomes_one_processors_with_the_first_object_that_is_freed() {
    freed_elsewhere(Listed::Nowhere, &[0, SIZE], true, |_| vec![]);
}

#[test]
fn or_goes_into_the_list_once() {
    freed_elsewhere(Listed::Nowhere, &[0, SIZE], false, |_| vec![]);
}

#[test]
fn a_slab_that_is_given_up_while_others_free_is_found_by_one_of_them() {
    freed_elsewhere(Listed::Frozen, &[0, SIZE], false, |slab| {
        slab.unfreeze(None);
        vec![]
    });
    bounded(3, || {
        let slab = Arc::new(Slab::new(Listed::Frozen));
        let other = thread::spawn({
            let slab = slab.clone();
            move || slab.free(0, false)
        });
        // The other two are in the processor's own list.
        slab.link(SIZE, Some(2 * SIZE));
        slab.unfreeze(Some(Chain { first: SIZE, last: 2 * SIZE, count: 2 }));
        assert!(!other.join().unwrap());
        slab.check(vec![0, SIZE, 2 * SIZE]);
    });
}

#[test]
fn the_holder_of_the_lock_takes_from_a_list_to_which_others_put() {
    for freezes in [false, true] {
        bounded(3, move || {
            let slab = Arc::new(Slab::new(Listed::Nowhere));
            assert!(!slab.free(0, false), "it is in the list");
            let other = thread::spawn({
                let slab = slab.clone();
                move || slab.free(SIZE, freezes)
            });
            let mut listed = slab.listed.lock().unwrap();
            let unlist = || *listed = false;
            let (object, word) =
                frozen::take_one(&slab.word, |at| slab.next(at), unlist).expect("it is there");
            if word.listed() == Listed::Partial {
                *listed = true;
            }
            drop(listed);
            other.join().unwrap();
            slab.check(vec![if object == 0 { SIZE } else { 0 }]);
        });
    }
}

#[test]
fn a_slab_of_the_list_is_frozen_while_others_free() {
    for takes in [false, true] {
        bounded(3, move || {
            let slab = Arc::new(Slab::new(Listed::Nowhere));
            slab.free(0, false);
            let other = thread::spawn({
                let slab = slab.clone();
                move || slab.free(SIZE, true)
            });
            let taken = {
                let mut listed = slab.listed.lock().unwrap();
                *listed = false;
                slab.walk(frozen::freeze(&slab.word, 3, takes).filter(|_| takes))
            };
            assert!(!other.join().unwrap(), "it is another processor's");
            slab.check([0, SIZE].into_iter().filter(|object| !taken.contains(object)).collect());
        });
    }
}
