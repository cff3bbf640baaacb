//! Whether the software MMU reads the tables as the library's walker does.

use crate::fault::Fault;
use crate::run::Booted;
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_pagetable::{AttrFlags, Leaf, RunKind};
use pagewright_sim::mmu::{Access, Mapping, Perms};

/// What the walker's flags mean to a processor.
fn perms(flags: AttrFlags) -> Perms {
    let user = flags.contains(AttrFlags::USER);
    let (write, exec) = (flags.contains(AttrFlags::WRITE), flags.contains(AttrFlags::EXEC));
    let user_exec = user && flags.intersects(AttrFlags::EXEC | AttrFlags::USER_EXEC);
    Perms {
        kernel_read: true,
        kernel_write: write,
        kernel_fetch: exec || user_exec,
        user_read: user,
        user_write: user && write,
        user_fetch: user_exec,
    }
}

/// A run of leaves: where it begins and ends, its first leaf, bytes of one, what the tables above leave of its rights.
struct Found {
    first: VirtAddr,
    last: VirtAddr,
    leaf: Leaf,
    bytes: u64,
    flags: AttrFlags,
}

/// Asks the software MMU at both ends and in the middle of every run of leaves.
///
/// # Errors
/// A [`Fault`] with the first address that it does not find where the walker does, in a mapping of the same size and with the same
/// rights; and where tables were only counted or are damaged.
pub fn agrees(booted: &Booted<'_, '_, '_, '_, '_>) -> Result<(), Fault> {
    let tables = booted.tables()?;
    let mut found = Vec::new();
    let walked = tables.with(|tree| {
        let shape = tree.shape();
        let mut see = |run: &pagewright_pagetable::Run| {
            let RunKind::Leaf(leaf) = run.kind else { return };
            let (first, last) = (run.range.start, run.range.last());
            let flags = run.limits.apply(leaf.attr.flags);
            found.push(Found { first, last, leaf, bytes: shape.level(run.level).bytes(), flags });
        };
        let parts = tree.window().ranges();
        parts.into_iter().filter(|part| !part.is_empty()).try_for_each(|part| tree.walk(part, &mut see))
    });
    walked.map_err(|e| Fault::caused(e, "page tables", ""))?;
    for run in &found {
        let len = run.last.get() - run.first.get();
        for offset in [0, len / 2, len] {
            let va = VirtAddr::new(run.first.get() + offset);
            let read = booted.access(va, Access::READ)?;
            let same = |m: &Mapping| {
                let phys = PhysAddr::new(run.leaf.phys.get() + offset);
                let (ours, mmu) = (perms(run.flags), m.perms);
                m.phys_of(va) == phys
                    && m.bytes == run.bytes
                    && (ours.kernel_write, ours.user_read, ours.kernel_fetch)
                        == (mmu.kernel_write, mmu.user_read, mmu.kernel_fetch)
            };
            if !read.as_ref().is_ok_and(same) {
                let what = format!("the software MMU reads {read:?} at {:#x}", va.get());
                return Err(Fault::new(what, "page tables", format!("{:?}", run.leaf)));
            }
        }
    }
    Ok(())
}
