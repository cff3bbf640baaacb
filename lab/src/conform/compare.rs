//! Comparing two sets of facts.

use crate::facts::{Facts, Group};

/// A fact on which the two sides do not agree.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Difference {
    /// The fact's group.
    pub group: Group,
    /// What is decided.
    pub key: String,
    /// What the captured machine says; `None` if it says nothing.
    pub captured: Option<String>,
    /// What our boot says; `None` if it says nothing.
    pub ours: Option<String>,
    /// Why the difference is accepted, if it is.
    pub allowed: Option<String>,
}

/// What came of comparing one group on one machine.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Tally {
    /// How many facts were compared.
    pub facts: usize,
    /// The unequal ones.
    pub differences: Vec<Difference>,
}

impl Tally {
    /// Compares one fact.
    pub fn check(&mut self, group: Group, key: &str, captured: Option<String>, ours: Option<String>) {
        self.facts += 1;
        if captured != ours {
            self.differences.push(Difference { group, key: key.to_owned(), captured, ours, allowed: None });
        }
    }

    /// Adds another tally of the same group.
    pub fn add(&mut self, other: Self) {
        self.facts += other.facts;
        self.differences.extend(other.differences);
    }

    /// Differences that nobody has accepted.
    pub fn open(&self) -> usize {
        self.differences.iter().filter(|d| d.allowed.is_none()).count()
    }
}

/// Compares the facts of one group.
///
/// Whatever the capture says must be said by us in the same words. What only we say is a difference too, except
/// below the command line of a capture that has lost lines there.
pub fn compare(group: Group, captured: &Facts, ours: &Facts) -> Tally {
    let mut tally = Tally::default();
    for fact in captured.list.iter().filter(|f| f.group == group) {
        tally.check(group, &fact.key, Some(fact.value.clone()), ours.get(&fact.key).map(str::to_owned));
    }
    for fact in ours.list.iter().filter(|f| f.group == group) {
        if captured.get(&fact.key).is_none() && (captured.complete || !fact.late) {
            tally.check(group, &fact.key, None, Some(fact.value.clone()));
        }
    }
    tally
}
