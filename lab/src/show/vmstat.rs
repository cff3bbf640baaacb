//! `/proc/vmstat`: one counter a line.

use super::{Counter, counter};
use crate::fault::Fault;
use pagewright_view::vmstat as view;
use std::fmt;

/// The whole file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VmStat {
    /// The counters, in Linux's order.
    pub counters: Vec<Counter>,
}

impl VmStat {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let counters = text.lines().enumerate().map(|(i, line)| counter(i + 1, line));
        Ok(Self { counters: counters.collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for VmStat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counters.iter().try_for_each(|(name, value)| view::counter(f, name, *value))
    }
}
