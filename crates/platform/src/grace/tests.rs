use super::{GracePeriods, Reader, Readers};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::thread;
use std::vec::Vec;

fn handles<'r>(readers: &'r Readers<'_>) -> [super::ReaderHere<'r>; 2] {
    // SAFETY: one thread uses both.
    [0, 1].map(|cpu| unsafe { readers.here(cpu) }.unwrap())
}

#[test]
fn a_grace_period_waits_for_the_sections_that_were_open_and_for_no_other() {
    let all = [Reader::new(), Reader::new()];
    let readers = Readers::new(&all);
    let [one, two] = handles(&readers);
    let none = readers.begin();
    assert!(readers.is_over(none), "nobody reads");
    let before = one.read_lock();
    let period = readers.begin();
    let after = two.read_lock();
    assert!(!readers.is_over(period));
    let next = readers.begin();
    drop(before);
    assert!(readers.is_over(period), "who came later is not waited for");
    assert!(!readers.is_over(next) && next > period);
    drop(after);
    assert!(readers.is_over(next));
    // SAFETY: there is none.
    assert!(unsafe { readers.here(2) }.is_none());
}

#[test]
fn sections_inside_others_end_with_the_outermost() {
    let all = [Reader::new(), Reader::new()];
    let readers = Readers::new(&all);
    let [one, _] = handles(&readers);
    let outer = one.read_lock();
    let inner = one.read_lock();
    let period = readers.begin();
    drop(inner);
    assert!(!readers.is_over(period));
    drop(outer);
    assert!(readers.is_over(period));
    // In another order as well: the word is quiet when the last one has ended.
    let (outer, inner) = (one.read_lock(), one.read_lock());
    let period = readers.begin();
    drop(outer);
    assert!(!readers.is_over(period));
    drop(inner);
    assert!(readers.is_over(period));
}

#[test]
fn a_processor_that_is_online_is_waited_for_until_it_holds_nothing() {
    let all = [Reader::new(), Reader::new()];
    let readers = Readers::new(&all);
    let [one, two] = handles(&readers);
    one.online();
    let period = readers.begin();
    assert!(!readers.is_over(period), "it may hold something");
    let section = one.read_lock();
    assert!(!one.quiescent(), "it does");
    assert!(!readers.is_over(period));
    drop(section);
    assert!(!readers.is_over(period), "nobody said that it does not");
    assert!(one.quiescent());
    assert!(readers.is_over(period));
    let next = readers.begin();
    assert!(!readers.is_over(next));
    one.offline();
    assert!(readers.is_over(next));
    assert!(two.quiescent());
}

/// What an interrupt handler does: a section of its own, which grace periods wait for.
fn handler_is_waited_for(readers: &Readers<'_>, here: super::ReaderHere<'_>, when: &str) {
    let section = here.read_lock();
    let period = readers.begin();
    assert!(!readers.is_over(period), "{when}");
    drop(section);
}

#[test]
fn a_handler_that_comes_while_a_section_begins_or_ends_is_waited_for() {
    use Ordering::Relaxed;
    let all = [Reader::new(), Reader::new()];
    let readers = Readers::new(&all);
    let [one, _] = handles(&readers);
    // A section has counted itself and not written its word.
    all[0].depth.store(1, Relaxed);
    handler_is_waited_for(&readers, one, "before the word is written");
    // It has written the word, and the fence is not behind it.
    all[0].word.store(1, Relaxed);
    all[0].announced.store(0, Relaxed);
    handler_is_waited_for(&readers, one, "before the fence");
    assert_eq!(all[0].announced.load(Relaxed), 1, "the handler's own fence");
    // The section goes on, and ends: first the depth.
    let period = readers.begin();
    assert!(!readers.is_over(period), "what was interrupted is in its section");
    all[0].depth.store(0, Relaxed);
    handler_is_waited_for(&readers, one, "between the depth and the word");
    assert!(readers.is_over(period), "nothing is left of either");
    // The announcement was taken back, and the word is not quiet yet.
    all[0].word.store(1, Relaxed);
    handler_is_waited_for(&readers, one, "before the word is quiet");
    assert!(readers.is_over(readers.begin()));
}

#[test]
fn a_handler_that_comes_while_its_processor_goes_online_or_offline_is_waited_for() {
    use Ordering::Relaxed;
    let all = [Reader::new(), Reader::new()];
    let readers = Readers::new(&all);
    let [one, _] = handles(&readers);
    all[0].online.store(1, Relaxed);
    assert!(one.quiescent());
    assert!(readers.is_over(readers.begin()), "it has announced nothing");
    handler_is_waited_for(&readers, one, "before the word is written");
    let period = readers.begin();
    assert!(!readers.is_over(period), "it is online now");
    all[0].online.store(0, Relaxed);
    handler_is_waited_for(&readers, one, "before the word is quiet");
    assert!(readers.is_over(period));
}

/// What is looked at and taken back without any atomics: Miri says so if both happen at once.
struct Value(UnsafeCell<u64>);
// SAFETY: readers look inside of sections, and the writer writes after the grace period that waited for them.
unsafe impl Sync for Value {}

#[test]
fn nobody_reads_what_was_taken_back_after_a_grace_period() {
    let all: Vec<Reader> = (0..3).map(|_| Reader::new()).collect();
    let readers = Readers::new(&all);
    let values: Vec<Value> = (0..8).map(|_| Value(UnsafeCell::new(1))).collect();
    let shown = AtomicPtr::new((&raw const values[0]).cast_mut());
    let rounds = if cfg!(miri) { 10 } else { 200 };
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        for cpu in 0..3 {
            let (readers, shown, done) = (&readers, &shown, &done);
            scope.spawn(move || {
                // SAFETY: only this thread uses this number.
                let here = unsafe { readers.here(cpu) }.unwrap();
                while done.load(Ordering::Relaxed) == 0 {
                    let _section = here.read_lock();
                    // SAFETY: the values outlive the threads.
                    let value = unsafe { &*shown.load(Ordering::Acquire) };
                    // SAFETY: it was found in the section, and nobody writes to it before that has ended.
                    assert_eq!(unsafe { *value.0.get() }, 1, "it was taken back");
                }
            });
        }
        for n in 1..=rounds {
            let old = &values[(n - 1) % 8];
            shown.store((&raw const values[n % 8]).cast_mut(), Ordering::Release);
            let period = readers.begin();
            while !readers.is_over(period) {
                thread::yield_now();
            }
            // Nobody looks at it now, and it is as it was before it is shown again.
            // SAFETY: the sections that may have found it have ended.
            unsafe {
                old.0.get().write_volatile(0);
                old.0.get().write_volatile(1);
            }
        }
        done.store(1, Ordering::Relaxed);
    });
}
