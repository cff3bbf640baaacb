//! What early boot left mapped moves to areas of its own.

use super::{Ioremap, IoremapError};
use crate::early_ioremap::{EarlyIoremap, EarlyIoremapError};
use crate::vmalloc::{PhysMapping, VmContext};
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_pagetable::{Cursor, FlushScope, Format, NoTables, TableMemory, TlbFlush, Unmapped};

/// Why an early mapping did not move. Those before it have; it and those after it are where they were.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandOverError {
    /// It is listed as mapped, and is not.
    #[error("the early mapping at {at:#x} leads nowhere")]
    Unmapped {
        /// Where.
        at: VirtAddr,
        /// What is there.
        why: Unmapped,
    },
    /// There is no area for it.
    #[error("{0}")]
    Area(IoremapError),
    /// It cannot be taken away.
    #[error("{0}")]
    Early(EarlyIoremapError),
}

/// A context as who flushes.
struct Flush<'c, C>(&'c mut C);

impl<'a, C: VmContext<'a>> TlbFlush for Flush<'_, C> {
    fn flush(&mut self, scope: &FlushScope) {
        self.0.flush(scope);
    }
}

impl<'a, F: Format, M: TableMemory> Ioremap<'_, '_, 'a, F, M> {
    /// Ends the time of early mappings: each that is still held is mapped into an area, as it was, and leaves its fixed addresses (which on arm are the
    /// kmaps' from then on). `moved` is told the old and the new address of each; whoever uses one has to know before it is used again. Then
    /// nothing is mapped early any more.
    ///
    /// # Errors
    /// [`HandOverError`].
    #[track_caller]
    pub fn take_over<C: VmContext<'a>, N: TableMemory>(
        &self,
        on: &mut C,
        early: &mut EarlyIoremap<'_>,
        fixed: &mut Cursor<'_, F, N>,
        moved: &mut dyn FnMut(VirtAddr, VirtAddr),
    ) -> Result<(), HandOverError> {
        while let Some(area) = early.areas().iter().flatten().next().copied() {
            let at = area.virt;
            let unmapped = |why| HandOverError::Unmapped { at, why };
            let (leaf, _, start) = fixed.tables().leaf(at).map_err(unmapped)?;
            let phys = PhysAddr::new(leaf.phys.get() + (at.get() - start.get()));
            let offset = phys.get() % Self::PAGE;
            let size = (offset + area.bytes).next_multiple_of(Self::PAGE);
            let mapping = PhysMapping::io(phys.align_down(Self::PAGE), size, leaf.attr);
            let new = self
                .vmalloc
                .map_phys(on, &mapping)
                .map_err(|why| HandOverError::Area(IoremapError::Area(why)))?;
            match early.early_iounmap(fixed, at, area.bytes) {
                Ok(pending) => {
                    // The fixed mappings' tables stay, so there are none to give back.
                    let _ = pending.finish(fixed.tables().memory(), &mut Flush(on), &mut NoTables);
                }
                Err(why) => {
                    // It was made a moment ago.
                    let _ = self.vmalloc.vunmap(on, new);
                    return Err(HandOverError::Early(why));
                }
            }
            moved(at, VirtAddr::new(new.get() + offset));
        }
        early.shut_down();
        Ok(())
    }
}
