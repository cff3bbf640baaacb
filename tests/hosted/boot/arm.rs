//! Whole boots of small 32-bit Arm machines: where low memory ends, what the command line and the firmware say of
//! memory, what is placed where, and which page tables that takes.

mod any;
mod firmware;
mod lowmem;
mod page_tables;
mod placement;
mod tables;

use crate::support::facts::Facts;
use crate::support::spec::{RAM, range};
use crate::support::tree::{N, cpus, memory, node, reserved_memory, root};
use crate::support::{MIB, Spec};
use pagewright_addr::PhysRange;
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_memblock::Event;

/// A machine of Debian's kernel for short descriptors with these banks, in MiB above [`RAM`] (start, length).
fn banks(banks: &[(u64, u64)]) -> Spec {
    banks_of(Flavour::Armmp, banks)
}

fn banks_of(flavour: Flavour, banks: &[(u64, u64)]) -> Spec {
    let root = root().text("model", "test,board").text("compatible", "test,board").with(cpus(1));
    let root = banks.iter().fold(root, |root, (at, len)| root.with(memory(RAM + at * MIB, len * MIB)));
    Spec::tree(KernelConfig::debian(flavour), root, RAM + 3 * MIB)
}

/// The same with one bank from the start of RAM.
fn with_ram(mib: u64) -> Spec {
    banks(&[(0, mib)])
}

/// A range in MiB above [`RAM`].
fn at(start_mib: u64, len_mib: u64) -> PhysRange {
    range(RAM + start_mib * MIB, len_mib * MIB)
}

impl Spec {
    /// Without CONFIG_HIGHMEM.
    fn no_highmem(self) -> Self {
        self.config(|c| (c.highmem, c.highpte) = (false, false))
    }

    /// Adds a /reserved-memory.
    fn reserved(self, children: impl IntoIterator<Item = N>) -> Self {
        self.with(reserved_memory(children))
    }
}

/// A region without a mapping.
fn no_map(r: PhysRange) -> N {
    node(&format!("region@{:x}", r.start)).reg(r.start.get(), r.len()).flag("no-map")
}

/// What was asked for by a caller: sizes in bytes, with their alignment.
fn asked(facts: &Facts, who: &str) -> Vec<(u64, u64)> {
    let of = |e: &Event| match e {
        Event::AllocTryNid { size, align, caller, .. } if *caller == who => Some((*size, *align)),
        _ => None,
    };
    facts.events.iter().filter_map(of).collect()
}

/// What a caller reserved, freed, added or removed.
fn touched(facts: &Facts, who: &str) -> Vec<PhysRange> {
    let of = |e: &Event| match e {
        Event::Reserve { range, caller } | Event::Free { range, caller } if *caller == who => Some(*range),
        Event::Add { range, caller } | Event::Remove { range, caller } if *caller == who => Some(*range),
        _ => None,
    };
    facts.events.iter().filter_map(of).collect()
}
