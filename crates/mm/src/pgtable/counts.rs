//! How many table pages each step of a boot took.

use arrayvec::ArrayVec;

/// The tables of one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// The step, by the Linux function that makes the mappings.
    pub step: &'static str,
    /// How many pages the census says.
    pub counted: u64,
    /// How many tables were built; `None` where they are only counted.
    pub built: Option<u64>,
}

/// The tables of every step, in the order of the boot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TableCounts {
    steps: ArrayVec<Count, 24>,
}

impl TableCounts {
    /// Adds to a step, if there is anything to add; one beyond those that there is room for is left out.
    pub(crate) fn add(&mut self, step: &'static str, counted: u64, built: Option<u64>) {
        if counted == 0 && built.is_none_or(|built| built == 0) {
            return;
        }
        match self.steps.iter_mut().find(|s| s.step == step) {
            Some(s) => {
                s.counted += counted;
                s.built = s.built.zip(built).map(|(a, b)| a + b);
            }
            None => drop(self.steps.try_push(Count { step, counted, built })),
        }
    }

    /// The steps that took tables.
    pub fn steps(&self) -> &[Count] {
        &self.steps
    }

    /// All tables.
    pub fn total(&self) -> u64 {
        self.steps.iter().map(|s| s.counted).sum()
    }

    /// The first step in which another number of tables was built than was counted.
    pub fn mismatch(&self) -> Option<&Count> {
        self.steps.iter().find(|s| s.built.is_some_and(|built| built != s.counted))
    }
}
