//! The loops over runs of entries, which mapping and unmapping consist of.
//!
//! Written out for eight entries at a time: not every compiler unrolls them by itself, and counting costs as much as the work.

/// The same for each of eight.
macro_rules! eight_times {
    (|$n:ident| $body:block) => {
        eight_times!(@ $n $body 0 1 2 3 4 5 6 7)
    };
    (@ $n:ident $body:block $($value:literal)*) => {
        $({
            const $n: usize = $value;
            $body
        })*
    };
}

/// Writes to each cell what follows, by `next`, from what was written to the one before. Counted in the cells' own width: twice as
/// wide a sum takes more than twice as long where it takes two registers.
#[inline]
pub(crate) fn store_counted<C, T: Copy>(cells: &[C], first: T, next: impl Fn(T) -> T, store: impl Fn(&C, T)) {
    let mut word = first;
    let (eights, rest) = cells.as_chunks::<8>();
    for eight in eights {
        eight_times!(|N| {
            store(&eight[N], word);
            word = next(word);
        });
    }
    for cell in rest {
        store(cell, word);
        word = next(word);
    }
}

/// How many cells, from the first on, `test` says yes to. It is asked once for each, up to the first no.
#[inline]
pub(crate) fn count_while<C>(cells: &[C], mut test: impl FnMut(&C) -> bool) -> usize {
    let (eights, rest) = cells.as_chunks::<8>();
    let mut count = 0;
    for eight in eights {
        eight_times!(|N| {
            if !test(&eight[N]) {
                return count + N;
            }
        });
        count += 8;
    }
    count + rest.iter().take_while(|cell| test(cell)).count()
}

/// The same of pairs: a cell of each slice, as far as both go.
#[inline]
pub(crate) fn count_pairs_while<C>(ones: &[C], others: &[C], mut test: impl FnMut(&C, &C) -> bool) -> usize {
    let (eights, rest) = ones.as_chunks::<8>();
    let (other_eights, other_rest) = others.as_chunks::<8>();
    let mut count = 0;
    for (eight, other) in eights.iter().zip(other_eights) {
        eight_times!(|N| {
            if !test(&eight[N], &other[N]) {
                return count + N;
            }
        });
        count += 8;
    }
    count + rest.iter().zip(other_rest).take_while(|(one, other)| test(one, other)).count()
}

#[cfg(test)]
mod tests {
    use super::{count_pairs_while, count_while, store_counted};
    use crate::word::Word;
    use core::cell::Cell;
    use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::vec::Vec;

    #[test]
    fn every_length_is_written_and_counted_to_its_end() {
        for len in 0..20 {
            let cells: Vec<Cell<u64>> = (0..len).map(|_| Cell::new(7)).collect();
            store_counted(&cells, 100, |word| word + 3, Cell::set);
            let values: Vec<u64> = cells.iter().map(Cell::get).collect();
            assert_eq!(values, (0..len as u64).map(|n| 100 + 3 * n).collect::<Vec<_>>());
            for first_no in 0..=len {
                let below = |cell: &Cell<u64>| cell.get() < 100 + 3 * first_no as u64;
                assert_eq!(count_while(&cells, below), first_no);
                let mut asked = 0;
                let both = |one: &Cell<u64>, other: &Cell<u64>| {
                    asked += 1;
                    assert_eq!(one.get(), other.get());
                    below(one)
                };
                assert_eq!(count_pairs_while(&cells, &cells, both), first_no);
                assert_eq!(asked, (first_no + 1).min(len), "once for each, up to the first no");
            }
        }
    }

    #[test]
    fn a_run_is_taken_up_to_the_first_that_does_not_follow() {
        for wrong in 0..=17 {
            let cells: Vec<AtomicU32> =
                (0..17).map(|n| AtomicU32::new(if n == wrong { 1 } else { 50 + n as u32 })).collect();
            assert_eq!(u32::take_counted(&cells, 50, 1), wrong);
            assert!(cells[..wrong].iter().all(|cell| cell.load(Relaxed) == 0));
            assert!(cells[wrong..].iter().all(|cell| cell.load(Relaxed) != 0), "the rest is as it was");
        }
    }
}
