//! Which region is a device's: its `memory-region`.

use super::{Outcome, Verdict};
use crate::boot::Boot;
use core::fmt;
use pagewright_firmware::devicetree::{DeviceTree, Node};

/// Why a device gets no region of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryRegionError {
    /// It names no region at this index, or one that is not in the tree.
    Missing {
        /// The index.
        index: usize,
    },
    /// What it names is no area and no pool: not below `/reserved-memory`, only kept for a driver that maps it by itself, or not to be had.
    NoPool {
        /// The index.
        index: usize,
        /// What became of it, if it is below `/reserved-memory`.
        outcome: Option<Outcome>,
    },
}

impl MemoryRegionError {
    /// Linux's number for it.
    pub const fn errno(self) -> i32 {
        match self {
            Self::Missing { .. } => -19,
            Self::NoPool { .. } => -22,
        }
    }
}

impl fmt::Display for MemoryRegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { index } => write!(f, "no memory-region number {index}"),
            Self::NoPool { index, .. } => write!(f, "memory-region number {index} is no area and no pool"),
        }
    }
}

impl core::error::Error for MemoryRegionError {}

/// The area or pool that entry number `index` of a device's `memory-region` refers to (`of_reserved_mem_device_init_by_idx`); none if it is
/// disabled, which Linux takes for success. `tree` is the one that the machine booted with.
///
/// If it became an area, [`CmaAreas::of_region`](crate::service::CmaAreas::of_region) has it.
///
/// # Errors
/// [`MemoryRegionError`].
pub fn memory_region<'b>(
    boot: &'b Boot<'_>,
    tree: &DeviceTree<'_>,
    device: &Node<'_>,
    index: usize,
) -> Result<Option<&'b Verdict>, MemoryRegionError> {
    let target = tree.referred(device, "memory-region", index).ok_or(MemoryRegionError::Missing { index })?;
    if !target.is_available() {
        return Ok(None);
    }
    let none = MemoryRegionError::NoPool { index, outcome: None };
    // Verdicts are in tree order, one for each node.
    let (at, node) = tree.reserved_memory().enumerate().find(|(_, n)| n.node() == target).ok_or(none)?;
    let verdict = boot.reserved_mem.get(at).ok_or(none)?;
    match verdict.outcome {
        Outcome::Cma(_) | Outcome::DmaPool => Ok(Some(verdict)),
        // Linux makes a pool also of what it could not set aside.
        Outcome::StaticRefused if node.compatible_shared_dma_pool && !node.reusable => Ok(Some(verdict)),
        outcome => Err(MemoryRegionError::NoPool { index, outcome: Some(outcome) }),
    }
}
