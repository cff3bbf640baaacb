//! Zeroing, copying and reading pages wherever they lie, through local kmaps.

use super::error::KmapLocalError;
use super::local::{KmapCpu, LocalMap};
use super::stack::KmapStack;
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_pagetable::{Format, TlbFlush};
use pagewright_platform::MappedMemory;

/// Why a page was not zeroed, copied or read. No kmap is left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ContentsError<E> {
    /// It got no address.
    #[error("{0}")]
    Local(KmapLocalError),
    /// The access failed.
    #[error("{0}")]
    Access(E),
    /// Bytes beyond the end of the page.
    #[error("{len} bytes from {offset} on are not inside one page")]
    Outside {
        /// The first byte.
        offset: u64,
        /// How many.
        len: u64,
    },
}

/// The task that pages are zeroed and copied by, and its CPU's means.
#[derive(Debug)]
pub struct OnCpu<'c, A, T: ?Sized> {
    /// What the task holds.
    pub stack: &'c KmapStack,
    /// Memory as the CPU reaches it.
    pub memory: &'c A,
    /// The CPU's own TLB.
    pub tlb: &'c mut T,
}

impl<F: Format> KmapCpu<'_, F> {
    /// Maps a page, works on it, unmaps it.
    fn with<A: MappedMemory, T: TlbFlush + ?Sized, R>(
        &self,
        cx: &mut OnCpu<'_, A, T>,
        page: PhysAddr,
        work: impl FnOnce(&mut OnCpu<'_, A, T>, VirtAddr) -> Result<R, ContentsError<A::Error>>,
    ) -> Result<R, ContentsError<A::Error>> {
        let map = self.kmap_local_page(cx.stack, page, cx.tlb).map_err(ContentsError::Local)?;
        let done = work(cx, map.address());
        self.end(cx, map);
        done
    }

    fn end<A, T: TlbFlush + ?Sized>(&self, cx: &mut OnCpu<'_, A, T>, map: LocalMap) {
        if let Err(e) = self.kunmap_local(cx.stack, map, cx.tlb) {
            // Whatever was mapped after it is unmapped: accesses to memory map nothing.
            panic!("{e}");
        }
    }

    fn inside<E>(offset: u64, len: u64) -> Result<(), ContentsError<E>> {
        let end = offset.checked_add(len).filter(|end| *end <= F::SHAPE.page_bytes());
        end.map(|_| ()).ok_or(ContentsError::Outside { offset, len })
    }

    /// Zeroes the page (`clear_highpage`).
    ///
    /// # Errors
    /// [`ContentsError`].
    pub fn clear_highpage<A: MappedMemory, T: TlbFlush + ?Sized>(
        &self,
        cx: &mut OnCpu<'_, A, T>,
        page: PhysAddr,
    ) -> Result<(), ContentsError<A::Error>> {
        self.memzero_page(cx, page, 0, F::SHAPE.page_bytes())
    }

    /// Zeroes a part of it (`memzero_page`, `zero_user`).
    ///
    /// # Errors
    /// [`ContentsError`].
    pub fn memzero_page<A: MappedMemory, T: TlbFlush + ?Sized>(
        &self,
        cx: &mut OnCpu<'_, A, T>,
        page: PhysAddr,
        offset: u64,
        len: u64,
    ) -> Result<(), ContentsError<A::Error>> {
        Self::inside(offset, len)?;
        self.with(cx, page, |cx, at| {
            cx.memory.zero(VirtAddr::new(at.get() + offset), len).map_err(ContentsError::Access)
        })
    }

    /// Copies a page (`copy_highpage`).
    ///
    /// # Errors
    /// [`ContentsError`].
    pub fn copy_highpage<A: MappedMemory, T: TlbFlush + ?Sized>(
        &self,
        cx: &mut OnCpu<'_, A, T>,
        to: PhysAddr,
        from: PhysAddr,
    ) -> Result<(), ContentsError<A::Error>> {
        self.with(cx, from, |cx, from| {
            self.with(cx, to, |cx, to| {
                cx.memory.copy(to, from, F::SHAPE.page_bytes()).map_err(ContentsError::Access)
            })
        })
    }

    /// Reads a part of a page (`memcpy_from_page`).
    ///
    /// # Errors
    /// [`ContentsError`].
    pub fn memcpy_from_page<A: MappedMemory, T: TlbFlush + ?Sized>(
        &self,
        cx: &mut OnCpu<'_, A, T>,
        into: &mut [u8],
        page: PhysAddr,
        offset: u64,
    ) -> Result<(), ContentsError<A::Error>> {
        Self::inside(offset, into.len() as u64)?;
        self.with(cx, page, |cx, at| {
            cx.memory.read(VirtAddr::new(at.get() + offset), into).map_err(ContentsError::Access)
        })
    }

    /// Writes a part of a page (`memcpy_to_page`).
    ///
    /// # Errors
    /// [`ContentsError`].
    pub fn memcpy_to_page<A: MappedMemory, T: TlbFlush + ?Sized>(
        &self,
        cx: &mut OnCpu<'_, A, T>,
        page: PhysAddr,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), ContentsError<A::Error>> {
        Self::inside(offset, bytes.len() as u64)?;
        self.with(cx, page, |cx, at| {
            cx.memory.write(VirtAddr::new(at.get() + offset), bytes).map_err(ContentsError::Access)
        })
    }
}
