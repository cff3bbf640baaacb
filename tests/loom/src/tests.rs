//! The models.

use crate::attention::{Attention, Reasons};
use crate::grace::{GracePeriods, Reader, Readers};
use crate::spin::Spin;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

mod cpu_slab;
mod occupied;
mod requested;
mod tenancy;

/// A model with many steps: threads are preempted so often at most, unless the environment says otherwise.
fn bounded(most: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(most));
    builder.check(model);
}

#[test]
fn one_at_a_time_holds_a_spin_lock_and_sees_what_the_last_one_wrote() {
    bounded(3, || {
        let lock = Arc::new((Spin::new(), UnsafeCell::new(0_u32)));
        let work = |lock: &(Spin, UnsafeCell<u32>)| {
            lock.0.lock();
            // SAFETY: the lock is held, and loom says so if another thread is here too.
            lock.1.with_mut(|value| unsafe { *value += 1 });
            // SAFETY: this thread holds it.
            unsafe { lock.0.unlock() };
        };
        let other = thread::spawn({
            let lock = lock.clone();
            move || work(&lock)
        });
        work(&lock);
        other.join().unwrap();
        assert!(!lock.0.is_locked());
        // SAFETY: the other thread has ended.
        assert_eq!(lock.1.with(|value| unsafe { *value }), 2);
    });
}

#[test]
fn a_lock_that_is_held_is_not_had_by_trying() {
    loom::model(|| {
        let lock = Arc::new((Spin::new(), UnsafeCell::new(0_u32)));
        let work = |lock: &(Spin, UnsafeCell<u32>)| {
            let had = lock.0.try_lock();
            if had {
                // SAFETY: the lock is held.
                lock.1.with_mut(|value| unsafe { *value += 1 });
                // SAFETY: this thread holds it.
                unsafe { lock.0.unlock() };
            }
            u32::from(had)
        };
        let other = thread::spawn({
            let lock = lock.clone();
            move || work(&lock)
        });
        let mine = work(&lock);
        let sum = mine + other.join().unwrap();
        assert!(sum >= 1, "somebody had it");
        // SAFETY: the other thread has ended.
        assert_eq!(lock.1.with(|value| unsafe { *value }), sum);
    });
}

#[test]
fn a_posted_request_is_answered_once_and_others_stay() {
    loom::model(|| {
        let word = Arc::new(Attention::new());
        word.post(Reasons::PRESSURE);
        let posters: Vec<_> = [Reasons::DRAIN, Reasons::FAULT]
            .into_iter()
            .map(|reason| {
                let word = word.clone();
                thread::spawn(move || word.post(reason))
            })
            .collect();
        // The owner, meanwhile, looks as the fast path does and answers as the slow one does.
        let mut answered = 0;
        for _ in 0..2 {
            if !word.is_quiet(Reasons::OF_ALLOCATION) && word.take(Reasons::DRAIN) {
                answered += 1;
            }
        }
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        answered += u32::from(word.take(Reasons::DRAIN));
        assert_eq!(answered, 1, "neither lost nor answered twice");
        assert_eq!(word.reasons(), Reasons::PRESSURE | Reasons::FAULT);
    });
}

#[test]
fn what_is_taken_back_while_others_post_takes_nothing_of_theirs() {
    loom::model(|| {
        let word = Arc::new(Attention::new());
        let other = thread::spawn({
            let word = word.clone();
            move || {
                word.post(Reasons::PRESSURE);
                assert!(word.take(Reasons::PRESSURE), "nobody else takes it");
            }
        });
        word.post(Reasons::EVENTS);
        other.join().unwrap();
        assert_eq!(word.reasons(), Reasons::EVENTS);
    });
}

/// The same of both forms of a page's counts.
macro_rules! references {
    ($form:ident) => {
        mod $form {
            use crate::$form::Counts;
            use loom::sync::Arc;
            use loom::sync::atomic::AtomicU64;
            use loom::sync::atomic::Ordering::{Acquire, Release};
            use loom::thread;

            #[test]
            fn references_add_up_and_the_last_one_is_not_dropped() {
                loom::model(|| {
                    let counts = Arc::new(Counts::default());
                    counts.set(1);
                    let others: Vec<_> = (0..2)
                        .map(|_| {
                            let counts = counts.clone();
                            thread::spawn(move || {
                                assert!(counts.take_reference().is_some(), "there is one all the time");
                                assert!(counts.drop_reference().is_some(), "this thread has one");
                            })
                        })
                        .collect();
                    others.into_iter().for_each(|other| other.join().unwrap());
                    assert_eq!(counts.references(), 1);
                    assert_eq!(counts.drop_reference(), None);
                });
            }

            #[test]
            fn a_page_changes_hands_only_while_nobody_else_refers_to_it() {
                loom::model(|| {
                    let counts = Arc::new(Counts::default());
                    counts.set(1);
                    let contents = Arc::new(AtomicU64::new(7));
                    let finder = thread::spawn({
                        let (counts, contents) = (counts.clone(), contents.clone());
                        move || {
                            // As whoever finds a page in a tree: a reference, or the page is gone.
                            counts.take_reference()?;
                            let seen = contents.load(Acquire);
                            counts.drop_reference();
                            Some(seen)
                        }
                    });
                    let had = counts.freeze();
                    if had {
                        contents.store(0, Release);
                    }
                    let seen = finder.join().unwrap();
                    assert!(
                        matches!(seen, None | Some(7)),
                        "a page with a reference does not change: {seen:?}"
                    );
                    assert!(had || seen.is_some(), "one of them had it");
                    assert_eq!(counts.references(), u32::from(!had), "no reference is lost");
                });
            }
        }
    };
}

references!(counts_wide);
references!(counts_halves);

/// Two things, of which one is shown; a reader, and a writer that shows the other and takes the first back once it may.
fn read_and_take_back(online: bool, sections: usize) {
    bounded(3, move || {
        let readers: &'static [Reader] = Box::leak(Box::new([Reader::new()]));
        let shared = Arc::new((
            Readers::new(readers),
            AtomicU64::new(0),
            [UnsafeCell::new(1_u32), UnsafeCell::new(1)],
        ));
        let reader = thread::spawn({
            let shared = shared.clone();
            move || {
                let (readers, shown, things) = &*shared;
                // SAFETY: only this thread uses the number.
                let here = unsafe { readers.here(0) }.unwrap();
                if online {
                    here.online();
                }
                for _ in 0..sections {
                    let section = here.read_lock();
                    let at = shown.load(Relaxed) as usize;
                    // SAFETY: loom says so if the writer is at it too.
                    assert_eq!(things[at].with(|thing| unsafe { *thing }), 1, "taken back");
                    drop(section);
                }
                here.quiescent();
                if online {
                    here.offline();
                }
            }
        });
        let (all, shown, things) = &*shared;
        shown.store(1, Relaxed);
        let period = all.begin();
        // Whoever finds that it is not over goes on with something else.
        if all.is_over(period) {
            // SAFETY: loom says so if the reader looks at it.
            things[0].with_mut(|thing| unsafe { *thing = 0 });
        }
        reader.join().unwrap();
        assert!(all.is_over(period), "all have left");
    });
}

#[test]
fn nothing_is_taken_back_while_a_section_that_may_have_found_it_is_open() {
    read_and_take_back(false, 1);
}

#[test]
fn who_sees_a_later_section_knows_that_the_one_before_has_ended() {
    read_and_take_back(false, 2);
}

#[test]
fn nothing_is_taken_back_before_a_processor_that_may_have_found_it_was_quiescent() {
    read_and_take_back(true, 1);
}
