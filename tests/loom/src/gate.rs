//! The gate before a processor's objects: its owner goes in and out, others post requests.

use crate::requests::Requests;
use loom::sync::Arc;
use loom::thread;

/// Rows of the processor.
const ROWS: u32 = 4;

/// The owner opens the gate, others post these requests while it goes through so often; then what became of it is looked at.
fn posted(requests: &'static [u32], rounds: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(move || {
        let gate = Arc::new(Requests::new(ROWS as usize));
        assert!(gate.enter());
        gate.leave(ROWS);
        let posters: Vec<_> = requests
            .iter()
            .map(|&request| {
                let gate = gate.clone();
                thread::spawn(move || gate.post(request))
            })
            .collect();
        let mut answered = 0;
        for _ in 0..rounds {
            match gate.pass_in(1) {
                Some(open) => {
                    assert_eq!(open, ROWS);
                    // As a handler would that comes now: whatever others post, it finds that the owner is inside.
                    assert!(!gate.enter() && gate.pass_in(0).is_none(), "a request let somebody in");
                    gate.pass_out(open);
                }
                // The slower way, which answers.
                None => {
                    assert!(gate.enter(), "nobody is inside");
                    assert!(!gate.enter() && gate.pass_in(0).is_none(), "a request let somebody in");
                    answered += u32::from(gate.take(Requests::FLUSH));
                    gate.leave(ROWS);
                }
            }
        }
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        // A poll, which looks at the word.
        if gate.has(Requests::FLUSH) {
            assert!(gate.enter());
            answered += u32::from(gate.take(Requests::FLUSH));
            gate.leave(ROWS);
        }
        let flushes = requests.iter().filter(|&&request| request == Requests::FLUSH).count() as u32;
        assert!(answered >= flushes.min(1) && answered <= flushes, "answered {answered} times");
        // What is not answered keeps the gate closed once the owner has gone the slower way.
        assert!(gate.enter());
        gate.leave(ROWS);
        let fault = requests.contains(&Requests::FAULT);
        assert_eq!((gate.has(Requests::FAULT), gate.pass_in(1).is_none()), (fault, fault));
        if !fault {
            gate.pass_out(ROWS);
            gate.post(Requests::FLUSH);
            assert!(gate.pass_in(1).is_none(), "a request that finds nobody inside closes the gate");
        }
    });
}

#[test]
fn a_request_is_answered_once_and_lets_nobody_in() {
    posted(&[Requests::FLUSH], 3);
}

#[test]
fn requests_of_two_processors_are_answered_together_or_apart() {
    posted(&[Requests::FLUSH, Requests::FLUSH], 2);
}

#[test]
fn what_is_not_answered_keeps_the_gate_closed() {
    posted(&[Requests::FAULT, Requests::FLUSH], 2);
}
