//! Work that is done two pieces at a time: as many as the machine has processors that the budgets are for.

use std::sync::Mutex;
use std::thread;

/// How many at a time.
const WORKERS: usize = 2;

/// Does `work` on each of `items`, two at a time, begun in their order. The answers are in that order too.
pub(super) fn two_at_a_time<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = Mutex::new(items.iter().enumerate());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let Some((n, item)) = next.lock().expect("taking an item does not panic").next() else {
                        break;
                    };
                    let answer = work(item);
                    done.lock().expect("keeping an answer does not panic").push((n, answer));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("keeping an answer does not panic");
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::two_at_a_time;
    use std::sync::Barrier;

    #[test]
    fn two_are_at_work_and_answers_keep_the_order_of_their_questions() {
        // Both workers have to be there for either to go on.
        let both = Barrier::new(2);
        let doubled = two_at_a_time(&[1, 2, 3, 4], |n| {
            both.wait();
            n * 2
        });
        assert_eq!(doubled, [2, 4, 6, 8]);
        assert!(two_at_a_time(&[], |n: &u32| *n).is_empty());
    }
}
