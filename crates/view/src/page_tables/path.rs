//! The way of one address through the kernel's page tables, entry by entry: what explains a fault.

use super::bits::decoded;
use core::fmt::{self, Display, Write};
use pagewright::pgtable::{KernelTree, PathEntry};
use pagewright_addr::VirtAddr;
use pagewright_firmware::Machine;
use pagewright_pagetable::{Entry, Shape};

/// Writes an address, what it belongs to (by [`pagewright_kspace::Layout::at`], if that is known), and every entry that it
/// leads through, from the top: where it stands, what it is, and its bits by name.
///
/// # Errors
/// The writer's.
pub fn path(
    w: &mut dyn Write,
    machine: &Machine<'_>,
    tree: &dyn KernelTree,
    va: VirtAddr,
    region: Option<&str>,
) -> fmt::Result {
    write!(w, "{:#x}", va.get())?;
    region.map_or(Ok(()), |region| write!(w, ": {region}"))?;
    writeln!(w, " ({})", tree.format_name())?;
    tree.path(va).iter().try_for_each(|e| entry(w, machine, tree.shape(), e))
}

/// Writes one entry of a path.
///
/// # Errors
/// The writer's.
pub fn entry(w: &mut dyn Write, machine: &Machine<'_>, shape: &Shape, e: &PathEntry) -> fmt::Result {
    let name = shape.name(e.level);
    let (table, at) = (e.table.get(), e.at.get());
    write!(w, "  {name}[{}] of the table at {table:#x}, at {at:#x}: {:#018x}, ", e.index, e.word)?;
    match e.entry {
        Entry::Empty => writeln!(w, "empty")?,
        Entry::Table(next, _) => writeln!(w, "table at {:#x}", next.get())?,
        Entry::Leaf(leaf) => {
            let shape = shape.level(e.level);
            write!(w, "{} at {:#x}", bytes(shape.bytes()), leaf.phys.get())?;
            match leaf.contiguous {
                true => writeln!(w, ", one of a group of {}", bytes(shape.contiguous_bytes()))?,
                false => writeln!(w)?,
            }
        }
        Entry::Software(_) => writeln!(w, "not for the hardware")?,
        Entry::Reserved(_) => writeln!(w, "damaged: reserved bits are set, or their meaning is reserved")?,
    }
    decoded(w, machine, e)
}

/// A size in the largest unit that leaves nothing over, as it is written here.
pub fn bytes(bytes: u64) -> impl Display {
    fmt::from_fn(move |f| {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let unit = units.iter().find(|(shift, _)| bytes >> shift << shift == bytes && bytes >> shift > 0);
        match unit {
            Some((shift, name)) => write!(f, "{} {name}", bytes >> shift),
            None => write!(f, "{bytes} bytes"),
        }
    })
}
