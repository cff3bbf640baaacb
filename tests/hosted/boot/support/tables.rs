//! What tests of page tables look at: runs of leaves, and rights as the software MMU grants them.

use pagewright::pgtable::KernelTables;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_pagetable::{AttrFlags, Level, RunKind};
use pagewright_sim::PhysMemory;
use pagewright_sim::mmu::{Access, Registers};

/// A run of leaves: addresses, memory, level, flags.
pub(crate) type Run = (VirtRange, u64, Level, AttrFlags);

/// Every run of leaves below `end`, which is no lower than the format's largest address.
pub(crate) fn runs(tables: &KernelTables<'_>, end: u64) -> Vec<Run> {
    let mut out = Vec::new();
    tables.with(|tree| {
        let all = VirtRange { start: VirtAddr::ZERO, len: end };
        let walked = tree.walk(all, &mut |run| {
            if let RunKind::Leaf(leaf) = run.kind {
                out.push((run.range, leaf.phys.get(), run.level, leaf.attr.flags));
            }
        });
        walked.expect("sound tables");
    });
    out
}

/// What a processor with these registers may do at an address (`rwx`, `r--`), and where that leads: nowhere, or the same
/// place for each kind of access.
#[track_caller]
pub(crate) fn rights(ram: &PhysMemory, registers: &Registers, va: u64) -> (String, Option<u64>) {
    let mut at = None;
    let letter = |(access, letter)| match registers.probe(ram, VirtAddr::new(va), access) {
        Ok(phys) => {
            assert!(at.is_none_or(|at| at == phys.get()), "{va:#x}");
            at = Some(phys.get());
            letter
        }
        Err(_) => '-',
    };
    let rights =
        [(Access::READ, 'r'), (Access::WRITE, 'w'), (Access::EXECUTE, 'x')].map(letter).iter().collect();
    (rights, at)
}

/// The rights at an address, which must lead to `phys` if it is mapped.
#[track_caller]
pub(crate) fn rights_to(ram: &PhysMemory, registers: &Registers, va: u64, phys: u64) -> String {
    let (rights, at) = rights(ram, registers, va);
    assert!(at.is_none_or(|at| at == phys), "{va:#x} leads to {at:x?}, not to {phys:#x}");
    rights
}
