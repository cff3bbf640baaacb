//! A processor that has something of a cache, and is asked for it: who takes a request sees what it is about, so that a cache that nobody waits for ends, and one that would have
//! ended is used again.

use super::bounded;
use crate::requests::Requests;
use crate::tenancy::{CLOSING, DYING, LEAVING, OPEN, Tenancy};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::thread;

const ROWS: u32 = 4;

/// A place with a cache, what the cache's rows shall hold, and a processor's requests.
struct Machine {
    tenancy: Tenancy,
    limit: AtomicU32,
    requests: Requests,
}

/// What the processor has of the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Row {
    Nothing,
    /// A row that holds so many.
    Holds(u32),
}

impl Machine {
    /// With a cache of which the processor has a row.
    fn new() -> (Arc<Self>, Row) {
        let machine = Self {
            tenancy: Tenancy::new(),
            limit: AtomicU32::new(1),
            requests: Requests::new(ROWS as usize),
        };
        machine.tenancy.move_in(1);
        machine.tenancy.attach();
        (Arc::new(machine), Row::Holds(1))
    }

    /// As the processor does it when it comes by; whether it gave up a row, and whether it ended the cache.
    fn answer(&self, row: &mut Row) -> (bool, bool) {
        if !self.requests.has(Requests::FLUSH) {
            return (false, false);
        }
        assert!(self.requests.enter(), "nobody is inside");
        self.requests.take(Requests::FLUSH);
        let fits = *row == Row::Holds(self.limit.load(Relaxed));
        let gives_up = *row != Row::Nothing && (!fits || self.tenancy.state() != OPEN);
        if gives_up {
            *row = Row::Nothing;
            self.tenancy.leave();
        }
        self.requests.leave(ROWS);
        (gives_up, self.bury())
    }

    fn bury(&self) -> bool {
        let last = self.tenancy.take_over();
        if last {
            self.tenancy.move_out();
        }
        last
    }

    /// As who ends a cache does it and waits for nobody; whether it ended.
    fn abandon(&self) -> bool {
        self.tenancy.set(DYING);
        if self.tenancy.attached() > 0 {
            self.requests.post(Requests::FLUSH);
            return false;
        }
        self.bury()
    }

    /// As who destroys one of SLAB's does it; whether it ended.
    fn destroy(&self) -> bool {
        self.tenancy.set(CLOSING);
        if self.tenancy.attached() > 0 {
            self.tenancy.set(LEAVING);
            self.requests.post(Requests::FLUSH);
            return false;
        }
        self.tenancy.move_out();
        true
    }
}

/// A cache that nobody waits for, while the processor comes by so often and others ask it for something else.
fn dies(others: usize, polls: usize) {
    bounded(3, move || {
        let (machine, mut row) = Machine::new();
        let others: Vec<_> = (0..others)
            .map(|_| {
                let machine = machine.clone();
                thread::spawn(move || machine.requests.post(Requests::FLUSH))
            })
            .collect();
        let processor = thread::spawn({
            let machine = machine.clone();
            move || {
                let ended = (0..polls).filter(|_| machine.answer(&mut row).1).count();
                (row, ended)
            }
        });
        let first = usize::from(machine.abandon());
        others.into_iter().for_each(|other| other.join().unwrap());
        let (mut row, ended) = processor.join().unwrap();
        let last = usize::from(machine.answer(&mut row).1);
        assert_eq!((first + ended + last, row), (1, Row::Nothing), "it ends, once");
        assert_eq!((machine.tenancy.living(), machine.tenancy.attached()), (0, 0));
    });
}

#[test]
fn a_cache_that_nobody_waits_for_ends_when_the_processor_that_has_a_row_is_asked() {
    dies(0, 1);
}

#[test]
fn so_it_does_when_others_ask_for_something_else_meanwhile() {
    dies(1, 2);
}

#[test]
fn a_row_of_another_size_than_was_asked_for_is_given_up() {
    bounded(3, || {
        let (machine, mut row) = Machine::new();
        let processor = thread::spawn({
            let machine = machine.clone();
            move || {
                machine.answer(&mut row);
                row
            }
        });
        machine.limit.store(2, Relaxed);
        machine.requests.post(Requests::FLUSH);
        let mut row = processor.join().unwrap();
        machine.answer(&mut row);
        assert_eq!(row, Row::Nothing, "nobody asks again");
    });
}

#[test]
fn who_uses_a_cache_that_would_have_ended_gives_up_what_it_has_once_at_most() {
    bounded(4, || {
        let (machine, _) = Machine::new();
        let processor = thread::spawn({
            let machine = machine.clone();
            move || {
                let mut row = Row::Nothing;
                machine.tenancy.leave();
                // As who tunes a cache does it: the row is made while the cache is held, at whatever moment of its end.
                if machine.tenancy.hold().is_some() {
                    row = Row::Holds(1);
                    machine.tenancy.attach();
                    machine.tenancy.leave();
                }
                let (gave_up, _) = machine.answer(&mut row);
                (row, u32::from(gave_up))
            }
        });
        let ended = machine.destroy();
        let (mut row, mut given_up) = processor.join().unwrap();
        if ended {
            assert_eq!((row, given_up), (Row::Nothing, 0), "nobody has what ended");
            return;
        }
        given_up += u32::from(machine.answer(&mut row).0);
        assert!(given_up <= 1);
        assert!(machine.tenancy.state() == OPEN || row == Row::Nothing, "used, and open");
        // Used from here on, it is asked for nothing more.
        if row == Row::Nothing {
            row = Row::Holds(1);
            machine.tenancy.attach();
        }
        machine.requests.post(Requests::FLUSH);
        assert_eq!(machine.answer(&mut row), (false, false));
        assert_eq!((machine.tenancy.state(), machine.tenancy.attached()), (OPEN, 1));
    });
}
