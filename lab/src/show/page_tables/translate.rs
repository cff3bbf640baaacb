//! The way of one address through the kernel's page tables, entry by entry, and what an access to it meets.

use super::bits::decoded;
use crate::fault::Fault;
use crate::run::Booted;
use pagewright::pgtable::{Path, PathEntry};
use pagewright_addr::VirtAddr;
use pagewright_firmware::Machine;
use pagewright_pagetable::{Entry, Shape};
use pagewright_sim::mmu::{Access, Fault as MmuFault, Mapping};
use std::fmt;

/// One address, explained.
pub struct Translated<'m> {
    machine: &'m Machine<'m>,
    va: VirtAddr,
    format: &'static str,
    shape: &'static Shape,
    /// What the address belongs to, by the kernel's layout.
    region: Option<&'static str>,
    path: Path,
    /// What each access meets.
    accesses: Vec<(Access, Result<Mapping, MmuFault>)>,
}

impl<'m> Translated<'m> {
    /// Follows an address; `accesses` are tried on the software MMU.
    ///
    /// # Errors
    /// A [`Fault`] where tables were only counted.
    pub fn of(booted: &Booted<'_, '_, '_, '_, 'm>, va: VirtAddr, accesses: &[Access]) -> Result<Self, Fault> {
        let tables = booted.tables()?;
        let layout = booted.state().layout(booted.boot.version).ok();
        let tried = accesses.iter().map(|&access| Ok((access, booted.access(va, access)?)));
        Ok(Self {
            machine: booted.boot.machine,
            va,
            format: tables.with(|tree| tree.format_name()),
            shape: tables.with(|tree| tree.shape()),
            region: layout.and_then(|l| l.at(va).map(|r| r.kind.name())),
            path: tables.with(|tree| tree.path(va)),
            accesses: tried.collect::<Result<_, Fault>>()?,
        })
    }
}

impl fmt::Display for Translated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { va, format, .. } = self;
        let region = self.region.map_or(String::new(), |r| format!(": {r}"));
        writeln!(f, "{:#x}{region} ({format})", va.get())?;
        for entry in &self.path {
            self.entry(f, entry)?;
        }
        for (access, met) in &self.accesses {
            match met {
                Ok(mapping) => {
                    let phys = mapping.phys_of(*va);
                    writeln!(
                        f,
                        "{access}: {:#x}, {}, {:?}, {:?}",
                        phys.get(),
                        size(mapping.bytes),
                        mapping.memory,
                        mapping.perms
                    )?;
                }
                Err(fault) => writeln!(f, "{fault}")?,
            }
        }
        Ok(())
    }
}

impl Translated<'_> {
    fn entry(&self, f: &mut fmt::Formatter<'_>, e: &PathEntry) -> fmt::Result {
        let what = match e.entry {
            Entry::Empty => "empty".to_owned(),
            Entry::Table(next, _) => format!("table at {:#x}", next.get()),
            Entry::Leaf(leaf) => {
                let shape = self.shape.level(e.level);
                let group = match leaf.contiguous {
                    true => format!(", one of a group of {}", size(shape.contiguous_bytes())),
                    false => String::new(),
                };
                format!("{} at {:#x}{group}", size(shape.bytes()), leaf.phys.get())
            }
            Entry::Software(_) => "not for the hardware".to_owned(),
            Entry::Reserved(_) => "damaged: reserved bits are set, or their meaning is reserved".to_owned(),
        };
        let name = self.shape.name(e.level);
        let (table, at) = (e.table.get(), e.at.get());
        writeln!(
            f,
            "  {name}[{}] of the table at {table:#x}, at {at:#x}: {:#018x}, {what}",
            e.index, e.word
        )?;
        for line in decoded(self.machine, e) {
            writeln!(f, "      {line}")?;
        }
        Ok(())
    }
}

/// A size in the largest unit that leaves nothing over.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(shift, _)| bytes >> shift << shift == bytes && bytes >> shift > 0);
    unit.map_or(format!("{bytes} bytes"), |(shift, name)| format!("{} {name}", bytes >> shift))
}
