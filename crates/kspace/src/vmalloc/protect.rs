//! Permissions of mapped areas (`set_memory_ro` and its relatives).

use super::{VmContext, Vmalloc};
use pagewright_addr::VirtRange;
use pagewright_pagetable::{AttrChange, Format, Live, TableMemory, UnmapError};

impl<'a, F: Format, M: TableMemory> Vmalloc<'_, 'a, F, M> {
    /// Changes how pages of an area are mapped, whole pages of it, and flushes them on all CPUs. The area is the caller's, and nobody unmaps it
    /// meanwhile. Other mappings of the same pages, the linear map's among them, stay as they are.
    ///
    /// # Errors
    /// [`UnmapError`]; nothing has changed then.
    pub fn set_memory<C: VmContext<'a>>(
        &self,
        on: &mut C,
        range: VirtRange,
        change: &AttrChange,
    ) -> Result<(), UnmapError> {
        let (_, pending) = self.cursor.apart(range)?.protect(range, change, Live::Always)?;
        self.finish(on, pending);
        Ok(())
    }
}
