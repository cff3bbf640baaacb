//! Virtual tags: what one address space maps at several addresses is not cached at any of them.
//!
//! Flushing would not do: user code stores through one address and loads through another without the kernel's being asked. So when a page of a file is mapped
//! that the same address space shares elsewhere, all its mappings there become bufferable, as arm's Linux has them (`make_coherent`, `adjust_pte`,
//! L_PTE_MT_BUFFERABLE): a store reaches memory, and a load comes from there. It stays so until a mapping is made anew.

use super::flush::{CacheCpu, CachedPage};
use super::{Behaviour, Dcache, DcacheError};
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_pagetable::{AttrChange, Format, Live, MemoryType, NoTables, TableMemory, Tables, TlbFlush};
use pagewright_platform::DataCache;

impl<F: Format, M: TableMemory> Dcache<'_, F, M> {
    /// A page of a file was mapped at `user` in an address space, whose tables these are: where the same page is at other addresses of the space (those in
    /// [`super::FileMapping::user`] that lead to it), none of its mappings is cached from now on (`make_coherent`). How many were changed: none where
    /// tags are not virtual, or there is only one mapping.
    ///
    /// # Errors
    /// [`DcacheError`]; mappings before the one that is refused have changed, and trying again does the rest.
    pub fn make_coherent<U: TableMemory, C: DataCache, T: TlbFlush, E>(
        &self,
        cx: &mut CacheCpu<'_, C, T, F>,
        tables: &Tables<F, U>,
        page: &CachedPage<'_>,
        user: VirtAddr,
    ) -> Result<u32, DcacheError<E>> {
        let Some(mapping) = page.mapping.filter(|_| self.behaviour == Behaviour::Vivt) else {
            return Ok(0);
        };
        let bytes = F::SHAPE.page_bytes();
        let user = user.align_down(bytes);
        let here = |at: VirtAddr| {
            let at = at.align_down(bytes);
            let leads = tables.translate(at).is_ok_and(|found| found.phys == page.phys.align_down(bytes));
            (leads && at != user).then_some(at)
        };
        let (mut others, mut changed) = (0, 0);
        for at in mapping.user.iter().copied().filter_map(here) {
            others += 1;
            changed += u32::from(self.uncache(cx, tables, page, at)?);
        }
        if others > 0 {
            changed += u32::from(self.uncache(cx, tables, page, user)?);
        }
        Ok(changed)
    }

    /// Makes one mapping bufferable, unless it is: its lines go first, while it still leads to the page.
    fn uncache<U: TableMemory, C: DataCache, T: TlbFlush, E>(
        &self,
        cx: &mut CacheCpu<'_, C, T, F>,
        tables: &Tables<F, U>,
        page: &CachedPage<'_>,
        at: VirtAddr,
    ) -> Result<bool, DcacheError<E>> {
        const BUFFERABLE: MemoryType = MemoryType::WriteCombine;
        match tables.leaf(at) {
            Ok((leaf, ..)) if leaf.attr.memory != BUFFERABLE => {}
            _ => return Ok(false),
        }
        self.flush_cache_page(cx, page.phys, at)?;
        let range = VirtRange::from_len(at, F::SHAPE.page_bytes());
        let mut cursor = tables.lock(range).map_err(DcacheError::Locked)?;
        let change = AttrChange { memory: Some(BUFFERABLE), ..AttrChange::default() };
        let done = cursor.protect(range, &change, Live::MayBreak(cx.tlb)).map_err(DcacheError::Tables)?;
        // Nothing was emptied: there are no tables to give back.
        done.1.finish(tables.memory(), cx.tlb, &mut NoTables);
        Ok(true)
    }
}
