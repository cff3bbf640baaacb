//! What a benchmark is measured by: the image's finest counter, held against a loop of known length.

use crate::metal::Metal;
use core::fmt;
use core::hint::black_box;
use pagewright_hot::known;

/// Instructions of the shorter of the two loops that the counter is tried with.
const KNOWN: u64 = 100_000;

/// A number with two decimal places.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Value(u64);

impl Value {
    /// A whole number.
    pub const fn whole(n: u64) -> Self {
        Self(n.saturating_mul(100))
    }

    /// `ticks` divided by `by`.
    pub const fn quotient(ticks: u64, by: u64) -> Self {
        Self(ticks.saturating_mul(100) / if by == 0 { 1 } else { by })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 100 {
            0 => write!(f, "{}", self.0 / 100),
            rest => write!(f, "{}.{rest:02}", self.0 / 100),
        }
    }
}

/// The counter.
#[derive(Clone, Copy)]
pub struct Clock<'k> {
    metal: &'k dyn Metal,
    known: u64,
}

impl fmt::Debug for Clock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("known", &self.known).finish_non_exhaustive()
    }
}

impl<'k> Clock<'k> {
    /// The counter, tried with two loops of known length: what their ends cost cancels.
    pub fn new(metal: &'k dyn Metal) -> Self {
        let mut clock = Self { metal, known: 0 };
        // The first time warms what is cached.
        let [_, short, long] = [KNOWN, KNOWN, 2 * KNOWN].map(|n| clock.ticks(|| known::instructions(n)));
        clock.known = long.saturating_sub(short);
        clock
    }

    /// Ticks of a thousand instructions.
    pub fn thousand(&self) -> Value {
        Value::quotient(self.known, KNOWN / 1000)
    }

    /// Whether a tick is an instruction (to one in a thousand).
    pub fn counts_instructions(&self) -> bool {
        self.known.abs_diff(KNOWN) <= KNOWN / 1000
    }

    /// Ticks that `work` takes, reading the counter included.
    pub fn ticks(&self, work: impl FnOnce()) -> u64 {
        let start = self.metal.ticks();
        work();
        self.metal.ticks().wrapping_sub(start)
    }

    /// Ticks of one of `rounds` rounds, without those of the loop itself.
    // The counter fits a register of 32 bits: what is spilled for it around `work` the empty loop does not spill.
    pub fn each(&self, rounds: u32, mut work: impl FnMut(u32)) -> Value {
        let all = self.ticks(|| (0..rounds).for_each(|n| work(black_box(n))));
        let empty = self.ticks(|| (0..rounds).for_each(|n| _ = black_box(n)));
        Value::quotient(all.saturating_sub(empty), rounds.into())
    }
}

#[cfg(test)]
mod tests {
    use super::Value;
    use std::string::ToString;

    #[test]
    fn values_have_two_places_unless_they_are_whole() {
        assert_eq!(Value::quotient(705, 1).to_string(), "705");
        assert_eq!(Value::quotient(1411, 2).to_string(), "705.50");
        assert_eq!(Value::quotient(10_001, 10_000).to_string(), "1", "cut, not rounded");
        assert_eq!(Value::quotient(107, 100).to_string(), "1.07");
        assert_eq!(Value::quotient(7, 0).to_string(), "7");
    }
}
