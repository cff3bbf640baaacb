//! Pages of high memory, which have no address of their own.
//!
//! Where nothing aliases they are reached through a local kmap, like any. With virtual tags a kmap's lines go when it ends, so that a page has lines only
//! while somebody has it mapped: in the window, where its lines are looked for, or in a local kmap, which is its task's own business. Caches whose colours alias have no high memory:
//! the boot leaves it out.

use super::flush::CacheCpu;
use super::{Behaviour, Dcache, DcacheError, FlushKmaps};
use crate::highmem::{Kmap, KmapCpu, KmapStack};
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_pagetable::{Format, TableMemory, TlbFlush};
use pagewright_platform::DataCache;

/// Where a page of high memory may have lines besides local kmaps: the pkmap window.
pub trait HighWindow {
    /// Does something at the page's address in the window, if it has one, which it keeps meanwhile.
    fn at_high(&self, page: PhysAddr, work: &mut dyn FnMut(VirtAddr));
}

impl<F: Format, M: TableMemory> HighWindow for Kmap<'_, F, M> {
    fn at_high(&self, page: PhysAddr, work: &mut dyn FnMut(VirtAddr)) {
        self.with_high(page, work);
    }
}

/// How a task reaches pages of high memory.
#[derive(Clone, Copy)]
pub struct HighCpu<'c, F: Format> {
    /// Its CPU's local kmaps.
    pub local: &'c KmapCpu<'c, F>,
    /// What it holds of them.
    pub stack: &'c KmapStack,
    /// The kernel's window, if it has one.
    pub window: Option<&'c dyn HighWindow>,
}

impl<F: Format> fmt::Debug for HighCpu<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HighCpu").field("cpu", &self.local.cpu()).finish_non_exhaustive()
    }
}

/// What becomes of the lines of a page that was worked on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// They stay, as long as the address does.
    Stay,
    /// With virtual tags they are written back and forgotten.
    Go,
}

impl<F: Format, M: TableMemory> Dcache<'_, F, M> {
    /// The local kmaps for a page that has no address.
    const fn high<'c, C, T: ?Sized, E>(
        &self,
        cx: &CacheCpu<'c, C, T, F>,
        page: PhysAddr,
    ) -> Result<HighCpu<'c, F>, DcacheError<E>> {
        match (self.behaviour, cx.high) {
            (Behaviour::NonAliasing | Behaviour::Vivt, Some(high)) => Ok(high),
            _ => Err(DcacheError::NoAddress(page)),
        }
    }

    /// Works on a page where the kernel has it, or maps it for as long as that takes.
    pub(super) fn at_page<C: DataCache, T: TlbFlush + ?Sized, R, E>(
        &self,
        cx: &mut CacheCpu<'_, C, T, F>,
        page: PhysAddr,
        lines: Lines,
        work: impl FnOnce(&mut CacheCpu<'_, C, T, F>, VirtAddr) -> Result<R, DcacheError<E>>,
    ) -> Result<R, DcacheError<E>> {
        if let Some(at) = self.linear.address(page) {
            let done = work(cx, at);
            if self.behaviour == Behaviour::Vivt && lines == Lines::Go {
                cx.cache.clean_invalidate(at, F::SHAPE.page_bytes());
            }
            return done;
        }
        let high = self.high(cx, page)?;
        let map = high.local.kmap_local_page(high.stack, page, cx.tlb).map_err(DcacheError::Kmap)?;
        let at = map.address();
        let done = work(cx, at);
        let mut tlb = FlushKmaps { behaviour: self.behaviour, cache: cx.cache, tlb: &mut *cx.tlb };
        if let Err(e) = high.local.kunmap_local(high.stack, map, &mut tlb) {
            // Whatever was mapped after it is unmapped: accesses to memory map nothing.
            panic!("{e}");
        }
        done
    }

    /// Writes back and forgets the kernel's lines of a page.
    pub(super) fn flush_kernel<C: DataCache, T: TlbFlush + ?Sized, E>(
        &self,
        cx: &mut CacheCpu<'_, C, T, F>,
        page: PhysAddr,
    ) -> Result<(), DcacheError<E>> {
        let bytes = F::SHAPE.page_bytes();
        if self.behaviour == Behaviour::Vivt && self.linear.address(page).is_none() {
            if let Some(window) = self.high(cx, page)?.window {
                window.at_high(page, &mut |at| cx.cache.clean_invalidate(at, bytes));
            }
            return Ok(());
        }
        self.at_page(cx, page, Lines::Stay, |cx, at| {
            cx.cache.clean_invalidate(at, bytes);
            Ok(())
        })
    }
}
