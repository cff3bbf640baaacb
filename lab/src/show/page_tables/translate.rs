//! The way of one address through the kernel's page tables, entry by entry, and what an access to it meets.

use crate::fault::Fault;
use crate::run::Booted;
use pagewright_addr::VirtAddr;
use pagewright_sim::mmu::Access;
use pagewright_view::page_tables::{bytes, path};
use std::fmt::Write;

/// One address, explained; `accesses` are tried on the software MMU.
///
/// # Errors
/// A [`Fault`] where tables were only counted.
pub fn translate(
    booted: &Booted<'_, '_, '_, '_, '_>,
    va: VirtAddr,
    accesses: &[Access],
) -> Result<String, Fault> {
    let tables = booted.tables()?;
    let layout = booted.state().layout(booted.boot.version).ok();
    let region = layout.and_then(|l| l.at(va).map(|r| r.kind.name()));
    let (mut out, unwritten) = (String::new(), |e| Fault::caused(e, "translate", ""));
    tables.with(|tree| path(&mut out, booted.boot.machine, tree, va, region)).map_err(unwritten)?;
    for &access in accesses {
        match booted.access(va, access)? {
            Ok(mapping) => writeln!(
                out,
                "{access}: {:#x}, {}, {:?}, {:?}",
                mapping.phys_of(va).get(),
                bytes(mapping.bytes),
                mapping.memory,
                mapping.perms
            ),
            Err(fault) => writeln!(out, "{fault}"),
        }
        .map_err(unwritten)?;
    }
    Ok(out)
}
