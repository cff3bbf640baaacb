//! Workloads: what `pagewright run` has a booted machine's page allocator do.
//!
//! A [`Workload`] is a plain value that [`Workload::parse`] reads from a small text (`docs/workloads.md` has the words) or that ships with the
//! command ([`BUILTIN`]). [`drive`] puts the allocator of a booted machine in service, lets the machine's processors take turns at
//! the workload, and tells what happened as an [`Account`]: views before and after, what was served, what compaction moved, a picture of the
//! pageblocks, and whether every page came back.

mod account;
mod areas;
mod blocks;
mod daemons;
mod drive;
mod json;
mod numbers;
mod objects;
mod picture;
mod report;
mod text;
mod turns;
mod watch;

#[cfg(test)]
mod tests;

pub use account::{Account, Asked, CacheAccount, Sample, VmallocAccount, ZoneAccount};
pub use drive::drive;
pub use json::document;
pub use objects::ObjectKind;
pub use picture::BlockPicture;
pub use report::Report;
pub use text::{MAX_CPUS, MAX_OPERATIONS, WorkloadError};
pub use watch::Watch;

use pagewright_addr::Order;
use pagewright_zone::Gfp;

/// The workloads that ship with the command: name and text.
pub const BUILTIN: [(&str, &str); 5] = [
    ("steady", include_str!("builtin/steady.txt")),
    ("bursty", include_str!("builtin/bursty.txt")),
    ("fragmenting", include_str!("builtin/fragmenting.txt")),
    ("huge-page", include_str!("builtin/huge-page.txt")),
    ("vmalloc", include_str!("builtin/vmalloc.txt")),
];

/// Values with weights.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Weighted<T>(pub Vec<(T, u64)>);

impl<T: Copy> Weighted<T> {
    /// The value at a point of all weights; `at` is taken modulo their sum.
    pub fn at(&self, at: u64) -> Option<T> {
        let all: u64 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut left = at.checked_rem(all)?;
        for (value, weight) in &self.0 {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return Some(*value),
            }
        }
        None
    }
}

/// Which block is freed next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifetime {
    /// Any.
    Random,
    /// The one that is held longest.
    Oldest,
    /// The one that came last.
    Newest,
}

impl Lifetime {
    /// All, with the words for them.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Random, "random"), (Self::Oldest, "oldest"), (Self::Newest, "newest")];
}

/// A part of a workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// How many allocations and frees.
    pub operations: u64,
    /// How much of the memory that was free at the start is held, in percent.
    pub fill: u64,
    /// By how much that goes up and down, in percent.
    pub swing: u64,
    /// How many operations one way up and down takes.
    pub period: u64,
    /// Orders of the blocks.
    pub orders: Weighted<Order>,
    /// What they are asked for with.
    pub masks: Weighted<Gfp>,
    /// Which block is freed next.
    pub lifetime: Lifetime,
    /// How many of a hundred blocks stay until the end.
    pub stay: u64,
    /// How many of a hundred movable blocks cannot be moved.
    pub pinned: u64,
    /// Which objects are asked for beside blocks, by their numbers in [`Workload::objects`]; none where it is empty.
    pub objects: Weighted<usize>,
    /// How many of a hundred operations are about objects.
    pub object_share: u64,
    /// How much of the memory that was free at the start objects are to hold, in percent of their own bytes.
    pub object_fill: u64,
    /// Which areas of vmalloc's are asked for, by their bytes; none where it is empty.
    pub areas: Weighted<u64>,
    /// How many of a hundred operations are about areas.
    pub area_share: u64,
    /// How much of the memory that was free at the start areas are to hold, in percent of the bytes that were asked for.
    pub area_fill: u64,
}

/// What is done to a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Where its random numbers begin.
    pub seed: u64,
    /// How many processors do it; all that run, if nothing is said.
    pub cpus: Option<usize>,
    /// Each processor is a thread of the host, all at once; else they take turns, which always ends the same.
    pub threads: bool,
    /// Its parts, one after the other.
    pub phases: Vec<Phase>,
    /// The kinds of objects that any of them asks for.
    pub objects: Vec<ObjectKind>,
}

impl Default for Phase {
    fn default() -> Self {
        let order = |n: u8| Order::new(n).unwrap_or_default();
        Self {
            name: "work".to_owned(),
            operations: 200_000,
            fill: 60,
            swing: 0,
            period: 20_000,
            orders: Weighted(vec![
                (order(0), 80),
                (order(1), 8),
                (order(2), 6),
                (order(3), 5),
                (order(5), 1),
            ]),
            masks: Weighted(vec![
                (Gfp::GFP_HIGHUSER_MOVABLE, 60),
                (Gfp::GFP_KERNEL, 25),
                (Gfp::GFP_KERNEL | Gfp::RECLAIMABLE, 15),
            ]),
            lifetime: Lifetime::Random,
            stay: 0,
            pinned: 0,
            objects: Weighted(vec![]),
            object_share: 50,
            object_fill: 10,
            areas: Weighted(vec![]),
            area_share: 30,
            area_fill: 10,
        }
    }
}

/// The text of a workload that ships with the command.
pub fn builtin(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}
