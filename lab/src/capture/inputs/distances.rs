//! A PC's SLIT as its log implies it.
//!
//! The kernel logs no distances. It says that it made a table for them, which takes memory of its own, so everything
//! allocated afterwards lies elsewhere on a machine without a SLIT: a log with that line stands for a machine with one.

use crate::capture::Capture;
use pagewright_firmware::acpi::SratLine;
use pagewright_firmware::dmesg::{Line, classify};
use std::collections::BTreeMap;

/// A node's distance to itself, and to another one where nobody tells (LOCAL_DISTANCE, REMOTE_DISTANCE).
const LOCAL: u8 = 10;
const REMOTE: u8 = 20;
/// Domains from here on are beyond what Linux keeps (MAX_PXM_DOMAINS of a kernel for 1024 nodes).
const MAX_DOMAINS: u32 = 1024;

/// What a log says about distances.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DistanceLog {
    /// Whether the kernel made a table of what the firmware said.
    table: bool,
    /// Whether nodes were made up (`numa=fake=`, or no NUMA at all).
    faked: bool,
    /// The domain of each node.
    domains: BTreeMap<u32, u32>,
}

impl DistanceLog {
    /// Reads a whole log.
    pub fn read(dmesg: &str) -> Self {
        let mut out = Self::default();
        for line in dmesg.lines() {
            match classify(line) {
                Line::Srat(entry) => out.srat(&entry),
                Line::Other(text) => out.line(text),
                _ => {}
            }
        }
        out
    }

    /// Takes an SRAT line: which domain became which node.
    pub(super) fn srat(&mut self, line: &SratLine) {
        let (node, pxm) = match line {
            SratLine::Memory { memory, node } => (*node, memory.pxm),
            SratLine::Cpu { cpu, node } => (*node, cpu.pxm),
        };
        if pxm < MAX_DOMAINS {
            self.domains.entry(node).or_insert(pxm);
        }
    }

    /// Takes a line of the log that has no meaning of its own.
    pub(super) fn line(&mut self, text: &str) {
        // Made-up nodes get a table too, after they were announced.
        self.faked |= text.starts_with("Faking ");
        self.table |= !self.faked && text.starts_with("NUMA: Initialized distance table");
    }

    /// Whether the order of nodes by distance can be told: two nodes have only one order.
    pub fn is_enough(&self, known: impl Fn(u32, u32) -> Option<u64>) -> bool {
        let nodes = || self.domains.keys();
        let told = |from| nodes().all(|to| known(from, *to).is_some());
        !self.table || nodes().len() <= 2 || (!self.faked && nodes().all(|from| told(*from)))
    }

    /// The SLIT: how many domains, and the matrix. `known` gives the distance between two nodes as the running kernel
    /// told it; distances nobody knows are 10 on a node and 20 between nodes. `None` if the kernel made no table.
    pub fn slit(&self, known: impl Fn(u32, u32) -> Option<u64>) -> Option<(u32, Vec<u8>)> {
        let n = self.domains.values().max().filter(|_| self.table)? + 1;
        let default = |from, to| if from == to { LOCAL } else { REMOTE };
        let mut matrix: Vec<u8> = (0..n).flat_map(|i| (0..n).map(move |j| default(i, j))).collect();
        for (&from, &row) in &self.domains {
            for (&to, &column) in &self.domains {
                // The files of a kernel with made-up nodes tell of those.
                let told = known(from, to).filter(|_| !self.faked).and_then(|d| u8::try_from(d).ok());
                // Linux refuses a whole table with an entry that makes no sense.
                let sensible = told.filter(|d| if row == column { *d == LOCAL } else { *d > LOCAL });
                if let (Some(distance), Some(slot)) = (sensible, matrix.get_mut((row * n + column) as usize))
                {
                    *slot = distance;
                }
            }
        }
        Some((n, matrix))
    }
}

impl Capture {
    /// The distance between two nodes as the running kernel told it.
    pub(super) fn distance(&self, from: u32, to: u32) -> Option<u64> {
        self.nodes.get(&from)?.distances.as_ref()?.get(to as usize).copied()
    }

    /// Whether the machine had a SLIT that is not in the capture, and whose distances no other file tells.
    pub fn lacks_distances(&self) -> bool {
        let known = |from, to| self.distance(from, to);
        !self.acpi.contains_key("SLIT") && !DistanceLog::read(&self.dmesg).is_enough(known)
    }
}

#[cfg(test)]
mod tests;
