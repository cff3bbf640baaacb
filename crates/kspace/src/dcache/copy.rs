//! Pages that are copied and zeroed for user code.
//!
//! What is written has to be found by user code at its address. With colours the page is written through a window of the address's colour, and stays in
//! the cache; the kernel's own lines of it are forgotten before, or they would be written back over it some day. With virtual tags it is
//! written through the kernel's address and written back at once; the page that is read is read past the user's and the kernel's old lines, on
//! StrongARM and XScale through the mini data cache so that it does not push the rest out.

use super::flush::{CacheCpu, CachedPage};
use super::high::Lines;
use super::{Behaviour, Dcache, DcacheError, Windows, colour};
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_pagetable::{Format, TableMemory, TlbFlush};
use pagewright_platform::{DataCache, MappedMemory};

impl<F: Format, M: TableMemory> Dcache<'_, F, M> {
    /// Copies a page for user code, which is to find it at `user` (`copy_user_highpage`); what it copies from may be mapped there still.
    ///
    /// # Errors
    /// [`DcacheError`].
    pub fn copy_user_highpage<C: DataCache + MappedMemory, T: TlbFlush + ?Sized>(
        &self,
        cx: &mut CacheCpu<'_, C, T, F>,
        to: PhysAddr,
        from: &CachedPage<'_>,
        user: VirtAddr,
    ) -> Result<(), DcacheError<C::Error>> {
        let page = F::SHAPE.page_bytes();
        let user = user.align_down(page);
        match self.behaviour {
            Behaviour::NonAliasing => self.copy_page(cx, to, from.phys),
            Behaviour::ViptAliasing => {
                self.sync_dcache(cx, from)?;
                let colour = colour::cache_colour(user, page);
                // Old lines of the kernel's would be written back over the copy.
                cx.cache.invalidate(self.low(to)?, page);
                self.through(cx, (1, colour), from.phys, |cx, from| {
                    self.through(cx, (2, colour), to, |cx, to| {
                        cx.cache.copy(to, from, page).map_err(DcacheError::Access)
                    })
                })
            }
            Behaviour::Vivt => {
                // What user code wrote where the page is mapped now, and what the kernel did.
                cx.cache.clean_invalidate(user, page);
                self.flush_kernel(cx, from.phys)?;
                from.clean.store(true, Relaxed);
                if let Some(Windows::Minicache(_)) = &self.windows {
                    self.at_page(cx, to, Lines::Go, |cx, to| {
                        self.through(cx, (0, 0), from.phys, |cx, from| {
                            let copied = cx.cache.copy(to, from, page).map_err(DcacheError::Access);
                            cx.cache.invalidate(from, page);
                            copied
                        })
                    })
                } else {
                    self.copy_page(cx, to, from.phys)
                }
            }
        }
    }

    /// Copies a page through the kernel's addresses of both; what it was copied to is written back where tags are virtual.
    fn copy_page<C: DataCache + MappedMemory, T: TlbFlush + ?Sized>(
        &self,
        cx: &mut CacheCpu<'_, C, T, F>,
        to: PhysAddr,
        from: PhysAddr,
    ) -> Result<(), DcacheError<C::Error>> {
        self.at_page(cx, from, Lines::Stay, |cx, from| {
            self.at_page(cx, to, Lines::Go, |cx, to| {
                cx.cache.copy(to, from, F::SHAPE.page_bytes()).map_err(DcacheError::Access)
            })
        })
    }

    /// Where the linear map has a page, for caches whose colours alias.
    fn low<E>(&self, page: PhysAddr) -> Result<VirtAddr, DcacheError<E>> {
        self.linear.address(page).ok_or(DcacheError::NoAddress(page))
    }

    /// Zeroes a page for user code, which is to find it at `user` (`clear_user_highpage`).
    ///
    /// # Errors
    /// [`DcacheError`].
    pub fn clear_user_highpage<C: DataCache + MappedMemory, T: TlbFlush + ?Sized>(
        &self,
        cx: &mut CacheCpu<'_, C, T, F>,
        to: PhysAddr,
        user: VirtAddr,
    ) -> Result<(), DcacheError<C::Error>> {
        let page = F::SHAPE.page_bytes();
        if self.behaviour == Behaviour::ViptAliasing {
            cx.cache.invalidate(self.low(to)?, page);
            return self.through(cx, (2, colour::cache_colour(user, page)), to, |cx, to| {
                cx.cache.zero(to, page).map_err(DcacheError::Access)
            });
        }
        self.at_page(cx, to, Lines::Go, |cx, to| cx.cache.zero(to, page).map_err(DcacheError::Access))
    }
}
