//! vmalloc and its relatives: areas with pages of their own.

use super::area::{Life, Record};
use super::get::Taken;
use super::{VmContext, VmFlags, Vmalloc, VmallocError};
use crate::areas::Wanted;
use core::panic::Location;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::{NodeId, Order, PhysAddr, VirtAddr, VirtRange};
use pagewright_page::{DepositedList, Use};
use pagewright_pagetable::{Attr, Format, LeafTables, TableMemory};
use pagewright_zone::Gfp;

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
    /// Who asks, as views name him.
    pub caller: &'static Location<'static>,
}

impl VmRequest {
    /// So many bytes, anywhere, for the kernel's own use: for whoever calls this.
    #[track_caller]
    pub const fn new(size: u64) -> Self {
        Self {
            size,
            align: 1,
            within: None,
            node: None,
            gfp: Gfp::GFP_KERNEL,
            flags: VmFlags::empty(),
            attr: None,
            caller: Location::caller(),
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

/// What an area has behind it.
pub(super) struct Filled<'g> {
    /// Its pages.
    pub(super) got: &'g DepositedList,
    /// The size of the blocks that they are.
    pub(super) order: Order,
    /// Its tables, where they are known.
    pub(super) tables: Option<LeafTables>,
}

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    /// So many bytes for the kernel's own use (`vmalloc`): where they begin.
    ///
    /// # Errors
    /// [`VmallocError`]; nothing has changed then but what a purge gave back.
    #[track_caller]
    pub fn vmalloc<C: VmContext<'a>>(&self, on: &mut C, size: u64) -> Result<VirtAddr, VmallocError> {
        // In a closure this would be the closure's line.
        let caller = Location::caller();
        if size.wrapping_sub(1) < Self::PAGE
            && let Some(at) =
                self.vmalloc_again(on, size, 1, caller).or_else(|| self.make_page(on, size, caller))
        {
            return Ok(at);
        }
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
    pub fn vmalloc_request<C: VmContext<'a>>(
        &self,
        on: &mut C,
        request: &VmRequest,
    ) -> Result<VirtAddr, VmallocError> {
        let caller = request.caller;
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

    /// An area of a single page, where addresses that were mapped before wait for their next use: what [`Self::make`] would do, for what
    /// is asked for most. `None` if anything is in the way; nothing has changed then.
    #[inline]
    fn make_page<C: VmContext<'a>>(
        &self,
        on: &mut C,
        size: u64,
        caller: &'static Location<'static>,
    ) -> Option<VirtAddr> {
        let words = self.words.as_ref()?;
        let pages = 1 + 1;
        let taken = self.take_kept(on, pages << const { F::SHAPE.page_shift() })?;
        let made = taken.tables.and_then(|tables| {
            let page = on.alloc(None, Gfp::GFP_KERNEL | Gfp::HIGHMEM | Gfp::NOWARN, Order::ZERO).ok()?;
            let idx = self.map.deposit_single(page, Use::Kernel, Self::owner(&taken));
            let pfn = self.phys_of(idx).pfn(self.shift());
            // What was plugged in later may lie above all that there was.
            if u64::from(idx.get()) < self.frames
                && self.cursor.map_one(tables, taken.range.start, words, pfn).is_ok()
            {
                return Some((tables, idx));
            }
            on.free(core::iter::once(self.map.withdraw(idx, Use::Kernel, Self::owner(&taken))));
            None
        });
        let row = self.row(on.cpu());
        let Some((tables, idx)) = made else {
            let mut own = row.own.lock();
            taken.slot.record.lock().life = Life::Ready;
            own.keep_ready(taken.area.number(), taken.slot, pages);
            return None;
        };
        on.publish();
        row.pages.fetch_add(1, Relaxed);
        let mut record = taken.slot.record.lock();
        record.life = Life::Live;
        record.flags = VmFlags::ALLOC;
        record.pages = 1;
        record.mapped = 1;
        record.first = Some(idx);
        record.order = 0;
        record.tables = Some(tables);
        record.slack = (Self::PAGE - size) as u16;
        record.plain = true;
        record.phys = PhysAddr::ZERO;
        record.caller = Some(caller);
        Some(taken.range.start)
    }

    fn make<C: VmContext<'a>>(
        &self,
        on: &mut C,
        request: &VmRequest,
        caller: &'static Location<'static>,
    ) -> Result<VirtAddr, VmallocError> {
        let pages = request.size.div_ceil(Self::PAGE);
        let guard = if request.flags.contains(VmFlags::NO_GUARD) { 0 } else { Self::PAGE };
        let size = pages * Self::PAGE + guard;
        if request.is_plain()
            && request.is_usual(Self::PAGE)
            && let Some(at) = self.vmalloc_again(on, request.size, pages, caller)
        {
            return Ok(at);
        }
        let anywhere = request.within.is_none() && request.align <= Self::PAGE;
        let kept = if anywhere { self.take_kept(on, size) } else { None };
        let taken = match kept {
            Some(kept) => kept,
            None => {
                let within = request.within.unwrap_or(self.range);
                self.take_from_tree(on, &Wanted { size, align: request.align.max(Self::PAGE), within })?
            }
        };
        let got = match self.fill(on, &taken, request, pages, Order::ZERO) {
            Ok(got) => got,
            Err(why) => {
                self.give_back(&taken);
                return Err(why);
            }
        };
        let usable = VirtRange { start: taken.range.start, len: pages * Self::PAGE };
        match self.map_chain(on, usable, request, &taken, &got) {
            Ok(tables) => {
                self.open(on, &taken, Filled { got: &got, order: Order::ZERO, tables }, request, caller);
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
    #[inline]
    pub(super) fn open<C: VmContext<'a>>(
        &self,
        on: &C,
        taken: &Taken<'v>,
        Filled { got, order, tables }: Filled<'_>,
        request: &VmRequest,
        caller: &'static Location<'static>,
    ) {
        if !request.flags.contains(VmFlags::PERCPU) {
            self.row(on.cpu()).pages.fetch_add(got.pages as usize, Relaxed);
        }
        *taken.slot.record.lock() = Record {
            life: Life::Live,
            flags: request.flags | VmFlags::ALLOC,
            range: taken.range,
            pages: got.pages as u32,
            mapped: if tables.is_some() { got.pages as u32 } else { 0 },
            first: got.first,
            order: order.get(),
            generation: taken.generation,
            tables,
            plain: order.is_zero() && request.is_plain(),
            slack: (got.pages * Self::PAGE).saturating_sub(request.size).min(Self::PAGE - 1) as u16,
            caller: Some(caller),
            ..Record::default()
        };
    }
}
