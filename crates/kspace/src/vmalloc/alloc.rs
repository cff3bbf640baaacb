//! vmalloc and its relatives: areas with pages of their own.

use super::area::{Life, Record};
use super::context::Shared;
use super::free::Blocks;
use super::get::Taken;
use super::{VmContext, VmFlags, Vmalloc, VmallocError};
use crate::areas::Wanted;
use core::cell::RefCell;
use core::panic::Location;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::{NodeId, Order, PhysAddr, VirtAddr, VirtRange};
use pagewright_page::{DepositedList, Frames, OwnerHandle, Use};
use pagewright_pagetable::{Attr, Format, LeafTable, TableMemory};
use pagewright_zone::Gfp;

/// Pages that are asked for at a time: two batches of a CPU's lists as they usually are, so that none passes through those.
const BATCH: usize = 126;

/// What an area is to be (`__vmalloc_node_range`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VmRequest {
    /// Its size in bytes; whole pages are taken.
    pub size: u64,
    /// Its address is a multiple of this power of two.
    pub align: u64,
    /// It lies in this part of the region, if one is named.
    pub within: Option<VirtRange>,
    /// Its pages come from near this node.
    pub node: Option<NodeId>,
    /// How they are allocated. High memory serves as well, unless the mask names a zone.
    pub gfp: Gfp,
    /// [`VmFlags::USERMAP`], [`VmFlags::NO_GUARD`], [`VmFlags::ALLOW_HUGE_VMAP`], [`VmFlags::FLUSH_RESET_PERMS`].
    pub flags: VmFlags,
    /// How they are mapped; as the region's pages usually are if not said.
    pub attr: Option<Attr>,
}

impl VmRequest {
    /// So many bytes, anywhere, for the kernel's own use.
    pub const fn new(size: u64) -> Self {
        Self {
            size,
            align: 1,
            within: None,
            node: None,
            gfp: Gfp::GFP_KERNEL,
            flags: VmFlags::empty(),
            attr: None,
        }
    }

    /// The same, allocated so.
    #[must_use]
    pub const fn with_gfp(self, gfp: Gfp) -> Self {
        Self { gfp, ..self }
    }

    /// The same, from near a node.
    #[must_use]
    pub const fn on_node(self, node: NodeId) -> Self {
        Self { node: Some(node), ..self }
    }

    /// The same with these flags.
    #[must_use]
    pub const fn with_flags(self, flags: VmFlags) -> Self {
        Self { flags, ..self }
    }

    /// The same at a multiple of `align`.
    #[must_use]
    pub const fn aligned(self, align: u64) -> Self {
        Self { align, ..self }
    }
}

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    /// So many bytes for the kernel's own use (`vmalloc`): where they begin.
    ///
    /// # Errors
    /// [`VmallocError`]; nothing has changed then but what a purge gave back.
    #[track_caller]
    pub fn vmalloc<C: VmContext<'a>>(&self, on: &mut C, size: u64) -> Result<VirtAddr, VmallocError> {
        self.vmalloc_request(on, &VmRequest::new(size))
    }

    /// The same, zeroed (`vzalloc`).
    ///
    /// # Errors
    /// As for [`Self::vmalloc`].
    #[track_caller]
    pub fn vzalloc<C: VmContext<'a>>(&self, on: &mut C, size: u64) -> Result<VirtAddr, VmallocError> {
        self.vmalloc_request(on, &VmRequest::new(size).with_gfp(Gfp::GFP_KERNEL | Gfp::ZERO))
    }

    /// So many bytes from near a node (`vmalloc_node`).
    ///
    /// # Errors
    /// As for [`Self::vmalloc`].
    #[track_caller]
    pub fn vmalloc_node<C: VmContext<'a>>(
        &self,
        on: &mut C,
        size: u64,
        node: NodeId,
    ) -> Result<VirtAddr, VmallocError> {
        self.vmalloc_request(on, &VmRequest::new(size).on_node(node))
    }

    /// The same, zeroed (`vzalloc_node`).
    ///
    /// # Errors
    /// As for [`Self::vmalloc`].
    #[track_caller]
    pub fn vzalloc_node<C: VmContext<'a>>(
        &self,
        on: &mut C,
        size: u64,
        node: NodeId,
    ) -> Result<VirtAddr, VmallocError> {
        let gfp = Gfp::GFP_KERNEL | Gfp::ZERO;
        self.vmalloc_request(on, &VmRequest::new(size).on_node(node).with_gfp(gfp))
    }

    /// An area with pages of its own, as described (`__vmalloc_node_range`).
    ///
    /// # Errors
    /// As for [`Self::vmalloc`].
    #[track_caller]
    pub fn vmalloc_request<C: VmContext<'a>>(
        &self,
        on: &mut C,
        request: &VmRequest,
    ) -> Result<VirtAddr, VmallocError> {
        let caller = Location::caller();
        let most = self.map.len().saturating_mul(Self::PAGE);
        if request.size == 0 || request.size > most {
            return Err(VmallocError::Size { size: request.size, most });
        }
        if request.flags.contains(VmFlags::MAP_PUT_PAGES) {
            return Err(VmallocError::Flags(VmFlags::MAP_PUT_PAGES));
        }
        if !request.align.is_power_of_two() {
            return Err(VmallocError::Unaligned(request.align));
        }
        let order = self.huge_order(request);
        if order > Order::ZERO {
            let quiet = VmRequest { gfp: request.gfp | Gfp::NOWARN | Gfp::NORETRY, ..*request };
            if let Ok(at) = self.make_huge(on, &quiet, order, caller) {
                return Ok(at);
            }
        }
        let given = self.given();
        match self.make(on, request, caller) {
            // Pages that wait for their flush may be enough.
            Err(VmallocError::Pages { .. } | VmallocError::Map(_)) if self.purged_since(on, given) => {
                self.make(on, request, caller)
            }
            other => other,
        }
    }

    fn make<C: VmContext<'a>>(
        &self,
        on: &mut C,
        request: &VmRequest,
        caller: &'static Location<'static>,
    ) -> Result<VirtAddr, VmallocError> {
        let pages = request.size.div_ceil(Self::PAGE);
        let guard = if request.flags.contains(VmFlags::NO_GUARD) { 0 } else { Self::PAGE };
        let wanted = Wanted {
            size: pages * Self::PAGE + guard,
            align: request.align.max(Self::PAGE),
            within: request.within.unwrap_or(self.range),
        };
        let taken = self.take(on, &wanted)?;
        let got = match self.fill(on, &taken, request, pages, Order::ZERO) {
            Ok(got) => got,
            Err(why) => {
                self.give_back(&taken);
                return Err(why);
            }
        };
        let usable = VirtRange { start: taken.range.start, len: pages * Self::PAGE };
        let attr = request.attr.unwrap_or(self.config.attr);
        match self.map_chain(on, usable, attr, &taken, &got, request.gfp) {
            Ok(table) => {
                self.open(&Taken { table, ..taken }, request, caller, &got, Order::ZERO);
                Ok(usable.start)
            }
            Err(why) => {
                self.free_got(on, &taken, &got);
                self.give_back(&taken);
                Err(why)
            }
        }
    }

    /// The area is its caller's from here on.
    pub(super) fn open(
        &self,
        taken: &Taken<'v>,
        request: &VmRequest,
        caller: &'static Location<'static>,
        got: &DepositedList,
        order: Order,
    ) {
        self.pages.fetch_add(got.pages, Relaxed);
        *taken.slot.record.lock() = Record {
            life: Life::Live,
            flags: request.flags | VmFlags::ALLOC,
            range: taken.range,
            pages: got.pages as u32,
            first: got.first,
            order: order.get(),
            generation: taken.generation,
            table: taken.table,
            slack: (got.pages * Self::PAGE).saturating_sub(request.size).min(Self::PAGE - 1) as u16,
            caller: Some(caller),
            ..Record::default()
        };
    }

    fn owner(taken: &Taken<'v>) -> OwnerHandle {
        OwnerHandle::new(taken.area.number(), taken.generation.into()).unwrap_or_default()
    }

    /// Blocks for all pages, deposited and linked in order; none if there are too few.
    pub(super) fn fill<C: VmContext<'a>>(
        &self,
        on: &mut C,
        taken: &Taken<'v>,
        request: &VmRequest,
        pages: u64,
        order: Order,
    ) -> Result<DepositedList, VmallocError> {
        if pages == 1 {
            return self.fill_one(on, taken, request);
        }
        match pages {
            ..=16 => self.fill_through(on, taken, request, pages, order, &mut [const { None }; 16]),
            _ => self.fill_through(on, taken, request, pages, order, &mut [const { None }; BATCH]),
        }
    }

    /// A single page.
    #[inline]
    fn fill_one<C: VmContext<'a>>(
        &self,
        on: &mut C,
        taken: &Taken<'v>,
        request: &VmRequest,
    ) -> Result<DepositedList, VmallocError> {
        let page = on
            .alloc(request.node, gfp_of(request), Order::ZERO)
            .map_err(|why| VmallocError::Pages { needed: 1, got: 0, why })?;
        let idx = self.map.deposit(page, Use::Kernel, Self::owner(taken));
        self.map.set_next(idx, None);
        Ok(DepositedList { first: Some(idx), last: Some(idx), pages: 1, top: idx.get() })
    }

    /// The same by way of some slots.
    #[inline]
    fn fill_through<C: VmContext<'a>>(
        &self,
        on: &mut C,
        taken: &Taken<'v>,
        request: &VmRequest,
        pages: u64,
        order: Order,
        slots: &mut [Option<Frames<'a>>],
    ) -> Result<DepositedList, VmallocError> {
        let gfp = gfp_of(request);
        let owner = Self::owner(taken);
        let mut got = DepositedList::default();
        while got.pages < pages {
            let left = (pages - got.pages).min(slots.len() as u64) as usize;
            let mut found = 0;
            if order == Order::ZERO && left > 1 {
                found = on.alloc_bulk(request.node, gfp, &mut slots[..left]);
            }
            if found == 0 {
                match on.alloc(request.node, gfp, order) {
                    Ok(frames) => slots[0] = Some(frames),
                    Err(why) => {
                        self.map.end_list(&got);
                        self.free_got(on, taken, &got);
                        return Err(VmallocError::Pages { needed: pages, got: got.pages, why });
                    }
                }
                found = 1;
            }
            self.map.deposit_list(&mut slots[..found], Use::Kernel, owner, &mut got);
        }
        self.map.end_list(&got);
        Ok(got)
    }

    pub(super) fn free_got<C: VmContext<'a>>(&self, on: &mut C, taken: &Taken<'v>, got: &DepositedList) {
        on.free(Blocks { map: self.map, at: got.first, owner: Self::owner(taken) });
    }

    /// Maps single pages in their order.
    pub(super) fn map_chain<C: VmContext<'a>>(
        &self,
        on: &mut C,
        range: VirtRange,
        attr: Attr,
        taken: &Taken<'v>,
        got: &DepositedList,
        gfp: Gfp,
    ) -> Result<Option<LeafTable>, VmallocError> {
        let mut at = got.first;
        // What was plugged in later may lie above all that there was.
        let highest = match &self.words {
            Some(words) if u64::from(got.top) < self.frames => words.highest(),
            _ => core::iter::successors(at, |idx| self.map.next(*idx))
                .map(|idx| self.phys_of(idx))
                .max()
                .unwrap_or(PhysAddr::ZERO),
        };
        let mut next = || {
            let Some(idx) = at else { return PhysAddr::ZERO };
            at = self.map.next(idx);
            self.phys_of(idx)
        };
        if let (Some(table), Some(words)) = (taken.table, &self.words)
            && words.attr() == attr
            && u64::from(got.top) < self.frames
        {
            let mut part = self.cursor.apart(range).map_err(VmallocError::Tables)?;
            part.map_pages_in(table, range, words, next).map_err(VmallocError::Map)?;
            on.publish();
            return Ok(taken.table);
        }
        self.map_each(on, range, attr, highest, gfp, &mut next)?;
        Ok(taken.table.or_else(|| self.cursor.leaf_table(taken.range)))
    }

    /// Maps pages that `next` names, none above `highest`, with tables that are allocated as `gfp` says.
    pub(super) fn map_each<C: VmContext<'a>>(
        &self,
        on: &mut C,
        range: VirtRange,
        attr: Attr,
        highest: PhysAddr,
        gfp: Gfp,
        next: &mut dyn FnMut() -> PhysAddr,
    ) -> Result<(), VmallocError> {
        let mut part = self.cursor.apart(range).map_err(VmallocError::Tables)?;
        let shared = RefCell::new(on);
        let mut source = Shared { on: &shared, map: self.map, shift: self.shift(), gfp };
        part.map_pages(range, attr, highest, &mut source, next).map_err(VmallocError::Map)?;
        shared.into_inner().publish();
        Ok(())
    }
}

/// How pages are allocated: high memory will do, unless a zone is named.
#[inline]
fn gfp_of(request: &VmRequest) -> Gfp {
    match request.gfp.intersects(Gfp::DMA | Gfp::DMA32) {
        true => request.gfp,
        false => request.gfp | Gfp::HIGHMEM,
    }
}
