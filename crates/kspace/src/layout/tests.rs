//! Layouts against Linux's documentation, its old boot banner, and facts of captured kernels.

mod arm;
mod arm64;
mod every;
mod x86;

use super::{Facts, Kind, Layout, Ram};
use crate::version::Version;
use pagewright_addr::{PhysAddr, VirtRange};
use pagewright_firmware::config::{Flavour, KernelConfig};

fn with(flavour: Flavour, text: &str) -> Facts {
    let mut config = KernelConfig::debian(flavour);
    config.apply(text).unwrap();
    Facts::new(config)
}

fn layout(facts: &Facts) -> Layout {
    let layout = Layout::of(facts).unwrap();
    layout.validate().unwrap();
    layout
}

/// First and last address.
fn ends(range: VirtRange) -> (u64, u64) {
    (range.start.get(), range.last().get())
}

#[track_caller]
fn at(layout: &Layout, kind: Kind) -> (u64, u64) {
    ends(layout.get(kind).unwrap_or_else(|| panic!("no {kind:?}")))
}

/// RAM from `start`, of which `mapped` bytes are mapped permanently.
fn ram(start: u64, mapped: u64) -> Ram {
    let start = PhysAddr::new(start);
    Ram { map_start: start, start, high_memory: start.saturating_add(mapped) }
}

const V4_14: Version = Version::new(4, 14);
