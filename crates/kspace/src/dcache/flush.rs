//! `flush_dcache_page` and what maps pages into user space afterwards.

use super::high::HighCpu;
use super::{Behaviour, Dcache, DcacheError, Windows, colour};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_pagetable::{Format, TableMemory, TlbFlush};
use pagewright_platform::DataCache;

/// A page, as far as caches are concerned.
#[derive(Clone, Copy, Debug)]
pub struct CachedPage<'p> {
    /// Where it is.
    pub phys: PhysAddr,
    /// PG_dcache_clean: the kernel's lines of it are not dirty. Not set in a new page.
    pub clean: &'p AtomicBool,
    /// Of a page of a file: which one; `None` for anonymous pages and the kernel's own (`page_mapping_file`).
    pub mapping: Option<FileMapping<'p>>,
}

/// Where a page of a file is mapped.
#[derive(Clone, Copy, Debug)]
pub struct FileMapping<'p> {
    /// The page's number in the file.
    pub index: u64,
    /// Whether any address space maps it.
    pub mapped: bool,
    /// Its shared mappings in this address space: what virtual tags leave to be flushed one by one.
    pub user: &'p [VirtAddr],
}

/// The CPU's means.
#[derive(Debug)]
pub struct CacheCpu<'c, C, T: ?Sized, F: Format> {
    /// Its data cache, which is memory as it reaches it as well where pages are copied ([`pagewright_platform::MappedMemory`]).
    pub cache: &'c C,
    /// Its own TLB, alone: lines of kmaps that end here are flushed in any case.
    pub tlb: &'c mut T,
    /// Its way to high memory; without it pages that lie there are refused.
    pub high: Option<HighCpu<'c, F>>,
}

impl<F: Format, M: TableMemory> Dcache<'_, F, M> {
    /// Maps a window's page of a colour to `page` while `work` runs. `window` counts the windows.
    pub(super) fn through<C, T: TlbFlush + ?Sized, R, E>(
        &self,
        cx: &mut CacheCpu<'_, C, T, F>,
        (window, colour): (u64, u64),
        page: PhysAddr,
        work: impl FnOnce(&mut CacheCpu<'_, C, T, F>, VirtAddr) -> Result<R, DcacheError<E>>,
    ) -> Result<R, DcacheError<E>> {
        let (slots, slot) = match &self.windows {
            Some(Windows::Aliasing(slots)) => (slots, (window * colour::COLOURS + colour) as u32),
            Some(Windows::Minicache(slots)) => (slots, 0),
            None => return Err(DcacheError::NoAddress(page)),
        };
        let at = slots.set(slot, page).map_err(DcacheError::Window)?;
        let done = work(cx, at);
        slots.clear(slot).finish(cx.tlb);
        done
    }

    /// Writes back and forgets the lines of `page` that have a colour, whoever fetched them (`flush_pfn_alias`).
    ///
    /// # Errors
    /// [`DcacheError::Window`].
    pub fn flush_pfn_alias<C: DataCache, T: TlbFlush + ?Sized, E>(
        &self,
        cx: &mut CacheCpu<'_, C, T, F>,
        page: PhysAddr,
        colour: u64,
    ) -> Result<(), DcacheError<E>> {
        self.through(cx, (0, colour % colour::COLOURS), page, |cx, at| {
            cx.cache.clean_invalidate(at, F::SHAPE.page_bytes());
            Ok(())
        })
    }

    /// User code's mapping of a page at `user` ends: its lines go (`flush_cache_page`). The mapping is still there.
    ///
    /// # Errors
    /// [`DcacheError::Window`].
    pub fn flush_cache_page<C: DataCache, T: TlbFlush + ?Sized, E>(
        &self,
        cx: &mut CacheCpu<'_, C, T, F>,
        page: PhysAddr,
        user: VirtAddr,
    ) -> Result<(), DcacheError<E>> {
        let bytes = F::SHAPE.page_bytes();
        match self.behaviour {
            Behaviour::NonAliasing => {}
            Behaviour::ViptAliasing => {
                return self.flush_pfn_alias(cx, page, colour::cache_colour(user, bytes));
            }
            Behaviour::Vivt => cx.cache.clean_invalidate(user.align_down(bytes), bytes),
        }
        Ok(())
    }

    /// The kernel has written a page, or is about to read one that user code may have written: afterwards all see the same
    /// (`flush_dcache_page`). A page of a file that nobody maps is only marked; [`Self::sync_dcache`] makes up for it.
    ///
    /// # Errors
    /// [`DcacheError`].
    pub fn flush_dcache_page<C: DataCache, T: TlbFlush + ?Sized, E>(
        &self,
        cx: &mut CacheCpu<'_, C, T, F>,
        page: &CachedPage<'_>,
    ) -> Result<(), DcacheError<E>> {
        if page.mapping.is_some_and(|m| !m.mapped) {
            page.clean.store(false, Relaxed);
            return Ok(());
        }
        self.flush_page(cx, page)?;
        if self.behaviour == Behaviour::Vivt
            && let Some(mapping) = page.mapping
        {
            for user in mapping.user {
                cx.cache.clean_invalidate(*user, F::SHAPE.page_bytes());
            }
        }
        page.clean.store(true, Relaxed);
        Ok(())
    }

    /// A page is mapped into user space: what the kernel has written to it is written back, if that was put off (`__sync_icache_dcache`,
    /// `update_mmu_cache`).
    ///
    /// # Errors
    /// [`DcacheError`]; it stays marked then.
    pub fn sync_dcache<C: DataCache, T: TlbFlush + ?Sized, E>(
        &self,
        cx: &mut CacheCpu<'_, C, T, F>,
        page: &CachedPage<'_>,
    ) -> Result<(), DcacheError<E>> {
        if !page.clean.load(Relaxed) {
            self.flush_page(cx, page)?;
            page.clean.store(true, Relaxed);
        }
        Ok(())
    }

    /// The kernel's lines of a page, and those of the colour that a file's page has in user space (`__flush_dcache_page`).
    pub(super) fn flush_page<C: DataCache, T: TlbFlush + ?Sized, E>(
        &self,
        cx: &mut CacheCpu<'_, C, T, F>,
        page: &CachedPage<'_>,
    ) -> Result<(), DcacheError<E>> {
        self.flush_kernel(cx, page.phys)?;
        match page.mapping {
            Some(mapping) if self.behaviour == Behaviour::ViptAliasing => {
                self.flush_pfn_alias(cx, page.phys, colour::colour_of_index(mapping.index))
            }
            _ => Ok(()),
        }
    }
}
