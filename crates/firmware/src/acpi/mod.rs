//! ACPI's tables for NUMA and processors: SRAT, SLIT and MADT, raw or as the kernel logs them.
//!
//! Layouts follow the ACPI 6.4 specification, sections 5.2.6 (header), 5.2.12 (MADT), 5.2.16 (SRAT) and 5.2.17
//! (SLIT). Parsers hand out one entry at a time, borrow the bytes and allocate nothing. Fields that are truncated,
//! sizes that do not add up and unknown signatures are errors; entry types that the kernel does not use are skipped.
//!
//! A wrong checksum is only reported ([`Table::checksum_ok`]): the kernel does not verify it this early either
//! ("Early table checksum verification disabled").

mod madt;
mod pxm;
mod slit;
mod srat;
mod table;
mod text;

pub use madt::{Madt, MadtCpu, MadtEntry, parse_madt};
pub use pxm::PxmMap;
pub use slit::{LOCAL_DISTANCE, REMOTE_DISTANCE, Slit};
pub use srat::{SratCpu, SratCpuKind, SratEntry, SratMemory, parse_srat};
pub use table::{AcpiError, Table};
pub use text::{SratLine, SratLineError, parse_srat_line};

/// What the firmware says about NUMA; empty without it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NumaTables<'a> {
    /// SRAT's memory affinities, in table order.
    pub memory: &'a [SratMemory],
    /// SRAT's processor affinities, in table order.
    pub cpus: &'a [SratCpu],
    /// Distances between proximity domains.
    pub distances: Option<Slit<'a>>,
}

impl NumaTables<'_> {
    /// Whether there is an SRAT at all.
    pub const fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.cpus.is_empty()
    }
}

#[cfg(test)]
mod tests;
