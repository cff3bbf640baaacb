//! `/proc/buddyinfo`: free blocks of each order, for each populated zone.

use super::node_zone;
use crate::fault::Fault;
use pagewright_view::buddyinfo as view;
use std::fmt;

/// The whole file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BuddyInfo {
    /// One line for each populated zone.
    pub zones: Vec<Zone>,
}

/// One zone's line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Zone {
    /// The node's number.
    pub node: u32,
    /// The zone's name.
    pub name: String,
    /// Free blocks of order 0, 1, ...
    pub free: Vec<u64>,
}

impl BuddyInfo {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let zones = text.lines().enumerate().map(|(i, line)| {
            let (node, name, rest) = node_zone(i + 1, line)?;
            let free = rest.split_whitespace().map(str::parse).collect::<Result<_, _>>();
            let free = free.map_err(|_| Fault::line(i + 1, line, "a number for each order"))?;
            Ok(Zone { node, name: name.to_owned(), free })
        });
        Ok(Self { zones: zones.collect::<Result<_, Fault>>()? })
    }
}

impl fmt::Display for BuddyInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in &self.zones {
            view::zone(f, zone.node, &zone.name, zone.free.iter().copied())?;
        }
        Ok(())
    }
}
