//! A processor's own part: for each cache an array of objects that it has at hand (a *sheaf*).

use super::cache::CacheId;
use crate::memory::PageSource;
use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use pagewright_addr::NodeId;
use pagewright_platform::{Here, PerCpu};

/// Why a processor should not simply use its sheaves.
#[derive(Debug, Default)]
pub struct Requests {
    word: AtomicU32,
}

impl Requests {
    /// Give everything back.
    pub(crate) const FLUSH: u32 = 1;
    /// There are other nodes: objects that lie there do not come into the rows. Allocations need not heed that.
    pub(crate) const NODES: u32 = 4;
    /// An allocation is to fail.
    pub(crate) const FAULT: u32 = 2;

    /// None.
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(0) }
    }

    /// Whether there is none but those in `except`.
    #[inline(always)]
    pub(crate) fn is_quiet(&self, except: u32) -> bool {
        self.word.load(Relaxed) & !except == 0
    }

    pub(crate) fn has(&self, request: u32) -> bool {
        self.word.load(Relaxed) & request != 0
    }

    /// Posts one, from any processor; what it is about is synchronised by other means.
    pub(crate) fn post(&self, request: u32) {
        self.word.fetch_or(request, Relaxed);
    }

    /// Takes one back, or answers it; whether it was there.
    pub(crate) fn take(&self, request: u32) -> bool {
        self.word.fetch_and(!request, Relaxed) & request != 0
    }
}

/// One cache's objects at hand, on one processor.
///
/// # Invariants
/// `top <= limit`, and `room` has `limit` places, of which the first `top` hold addresses of free objects of the cache `id`, which belong to this
/// row alone. As nobody's both are 0. The room is an object of the cache of rooms, owned by the row.
// A cache line: a pair of operations touches one, and the room.
#[repr(C, align(64))]
pub struct Row {
    id: CacheId,
    top: u32,
    limit: u32,
    /// The address of the room as a pointer; null without one.
    room: *mut usize,
    /// Bits that no object's address has: below the largest power of two that divides the size, as far as slabs are aligned.
    misaligned: usize,
    /// How many objects were served from here.
    pub(crate) served: u64,
}

// SAFETY: the room belongs to the row as a box would, and no thread's own state is behind it.
unsafe impl Send for Row {}

impl Row {
    /// Nobody's.
    pub const fn new() -> Self {
        Self { id: CacheId::NONE, top: 0, limit: 0, room: core::ptr::null_mut(), misaligned: 0, served: 0 }
    }

    #[inline(always)]
    pub(crate) const fn id(&self) -> CacheId {
        self.id
    }

    pub(crate) const fn len(&self) -> u32 {
        self.top
    }

    pub(crate) const fn limit(&self) -> u32 {
        self.limit
    }

    /// The object put here last.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<usize> {
        let top = self.top.checked_sub(1)?;
        self.top = top;
        // SAFETY: the top was at least 1 and at most the limit, so this place is inside the room and holds an address.
        Some(unsafe { *self.room.add(top as usize) })
    }

    /// Puts an object here.
    ///
    /// # Errors
    /// `Err` if there is no room, no object can begin at that alignment, or it is the one that was put here last.
    #[inline(always)]
    pub(crate) fn push(&mut self, address: usize) -> Result<(), ()> {
        if address & self.misaligned != 0 {
            return Err(());
        }
        let top = self.top;
        if top >= self.limit {
            return Err(());
        }
        // SAFETY: below the limit, so inside the room.
        let place = unsafe { self.room.add(top as usize) };
        // Freed twice in a row?
        // SAFETY: the place below, or the word before the first place, which is 0 (`adopt`).
        if unsafe { *place.sub(1) } == address {
            return Err(());
        }
        // SAFETY: inside the room.
        unsafe { *place = address };
        self.top = top + 1;
        Ok(())
    }

    /// Moves into a row that is nobody's, with a room of `places` places or none.
    ///
    /// # Safety
    /// `block` is null or points to `places + 1` words that are the row's alone, until [`Self::leave`] gives them back.
    pub(crate) unsafe fn adopt(&mut self, id: CacheId, misaligned: usize, block: *mut usize, places: u32) {
        debug_assert!(self.id == CacheId::NONE && self.top == 0);
        let room = if block.is_null() { block } else { block.wrapping_add(1) };
        if !block.is_null() {
            // SAFETY: the first of the words.
            unsafe { *block = 0 };
        }
        let limit = if block.is_null() { 0 } else { places };
        *self = Self { id, top: 0, limit, room, misaligned, served: self.served };
    }

    /// Moves out of a row that is empty; the block that was its room, if it had one.
    pub(crate) fn leave(&mut self) -> *mut usize {
        debug_assert!(self.top == 0, "objects would be lost");
        let block = if self.room.is_null() { self.room } else { self.room.wrapping_sub(1) };
        *self = Self { served: self.served, ..Self::new() };
        block
    }

    /// The places that are free yet.
    pub(crate) fn spare(&mut self) -> &mut [MaybeUninit<usize>] {
        if self.top >= self.limit {
            return &mut [];
        }
        // SAFETY: the places from the top to the limit are inside the room; they need not hold anything; borrowed as the row is.
        unsafe {
            core::slice::from_raw_parts_mut(
                self.room.add(self.top as usize).cast(),
                (self.limit - self.top) as usize,
            )
        }
    }

    /// Takes over what was written to the first `n` places of [`Self::spare`].
    ///
    /// # Safety
    /// They hold addresses of free objects of the row's cache, which are nobody else's.
    pub(crate) unsafe fn grow(&mut self, n: usize) {
        debug_assert!(n <= (self.limit - self.top) as usize);
        self.top += n as u32;
    }

    /// The objects, oldest first.
    pub(crate) fn objects(&mut self) -> &mut [usize] {
        if self.top == 0 {
            return &mut [];
        }
        // SAFETY: the first `top` places of the room, all of them written; borrowed as the row is.
        unsafe { core::slice::from_raw_parts_mut(self.room, self.top as usize) }
    }

    /// Forgets the oldest `n` objects, which are somebody else's by now.
    pub(crate) fn drop_oldest(&mut self, n: usize) {
        let objects = self.objects();
        let n = n.min(objects.len());
        objects.copy_within(n.., 0);
        self.top -= n as u32;
    }
}

impl Default for Row {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({:?}: {} of {})", self.id, self.top, self.limit)
    }
}

/// One processor's rows, one for each place in the table of caches.
#[derive(Debug)]
pub struct CpuSlabs<'k> {
    pub(crate) rows: &'k mut [Row],
    pub(crate) random: u64,
}

impl<'k> CpuSlabs<'k> {
    /// Rows, all of them nobody's, and what the order of objects in new slabs begins with.
    pub fn new(rows: &'k mut [Row], seed: u64) -> Self {
        rows.fill_with(Row::new);
        Self { rows, random: seed | 1 }
    }

    /// The next random number (xorshift64*): no secret, only no order that users rely on.
    pub(crate) fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

/// A processor as slabs see it.
pub type SlabCpu<'k> = PerCpu<Requests, CpuSlabs<'k>>;

/// On whose behalf objects are allocated and freed: a processor, and its way to the page allocator.
#[derive(Clone, Copy)]
pub struct SlabContext<'c, 'k, 'a> {
    pub(crate) cpu: Here<'c, Requests, CpuSlabs<'k>>,
    pub(crate) node: NodeId,
    pub(crate) pages: &'c dyn PageSource<'a>,
    pub(crate) task: u32,
}

impl<'c, 'k, 'a> SlabContext<'c, 'k, 'a> {
    /// A processor of a node, which whoever holds this stays on.
    pub const fn new(
        cpu: Here<'c, Requests, CpuSlabs<'k>>,
        node: NodeId,
        pages: &'c dyn PageSource<'a>,
    ) -> Self {
        Self { cpu, node, pages, task: 0 }
    }

    /// The same for a task, whose number records of watched caches keep.
    #[must_use]
    pub const fn for_task(self, task: u32) -> Self {
        Self { task, ..self }
    }

    /// Does something as an interrupt handler does that comes while this processor's rows are in use.
    pub fn interrupted<R>(&self, f: impl FnOnce(&Self) -> R) -> R {
        let _in_use = self.cpu.enter();
        f(self)
    }
}

impl fmt::Debug for SlabContext<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabContext").field("node", &self.node).finish_non_exhaustive()
    }
}
