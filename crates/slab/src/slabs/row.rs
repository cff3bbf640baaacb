//! For each cache an array of objects that a processor has at hand (a *sheaf*).

use super::cache::CacheId;
use core::fmt;
use core::mem::MaybeUninit;

/// One cache's objects at hand, on one processor.
///
/// # Invariants
/// `first <= next <= end`, all in one room of words that the row alone has, in which there is one word more before `first`. The words from `first` to `next`
/// hold addresses of free objects of the cache `id`, which belong to this row alone. As nobody's, and without a room, all three are the same. The
/// room is an object of the cache of rooms.
// A cache line: a pair of operations touches one, and the room.
#[repr(C, align(64))]
pub struct Row {
    id: CacheId,
    /// How frames of the cache's slabs on this processor's node are marked; 0 as nobody's.
    home: u32,
    /// Whether it was used since SLAB's reaper came by.
    pub(crate) touched: bool,
    /// Where the next object goes.
    next: *mut usize,
    first: *mut usize,
    end: *mut usize,
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
        let none = core::ptr::null_mut();
        Self {
            id: CacheId::NONE,
            home: 0,
            touched: false,
            next: none,
            first: none,
            end: none,
            misaligned: 0,
            served: 0,
        }
    }

    #[inline(always)]
    pub(crate) const fn id(&self) -> CacheId {
        self.id
    }

    /// Whose frames' objects come here.
    #[inline(always)]
    pub(crate) const fn home(&self) -> u32 {
        self.home
    }

    pub(crate) fn len(&self) -> usize {
        (self.next.addr() - self.first.addr()) / size_of::<usize>()
    }

    pub(crate) fn limit(&self) -> usize {
        (self.end.addr() - self.first.addr()) / size_of::<usize>()
    }

    /// How many come at a time where there are none, and go where there is no place: three quarters of what has a place, so that as many operations
    /// follow as can before the next time (with halves the way past the row takes 20 instructions more of each object of 1 KiB), and a quarter either way
    /// where they alternate.
    pub(crate) fn step(&self) -> usize {
        (self.limit() * 3).div_ceil(4)
    }

    /// Whether no other has a place here.
    pub(crate) fn is_full(&self) -> bool {
        self.next == self.end
    }

    /// The object put here last.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<usize> {
        if self.next == self.first {
            return None;
        }
        // SAFETY: something lies between the two, so the word before is inside the room and holds an address.
        let (last, object) = unsafe {
            let last = self.next.sub(1);
            (last, *last)
        };
        self.next = last;
        Some(object)
    }

    /// Puts an object here.
    ///
    /// # Errors
    /// `None` if there is no room, no object can begin at that alignment, or it is the one that was put here last.
    #[inline(always)]
    pub(crate) fn push(&mut self, address: usize) -> Option<()> {
        if address & self.misaligned != 0 {
            return None;
        }
        let place = self.next;
        if place == self.end {
            return None;
        }
        // Freed twice in a row?
        // SAFETY: the word below, or the one before the first, which is 0 (`adopt`).
        if unsafe { *place.sub(1) } == address {
            return None;
        }
        // SAFETY: below the end, so inside the room, as is the end.
        unsafe {
            *place = address;
            self.next = place.add(1);
        }
        Some(())
    }

    /// Moves into a row that is nobody's, for objects in frames with that mark and at that alignment, with a room of `places` places or none.
    ///
    /// # Safety
    /// `block` is null or points to `places + 1` words that are the row's alone, until [`Self::leave`] gives them back.
    pub(crate) unsafe fn adopt(
        &mut self,
        (id, home): (CacheId, u32),
        misaligned: usize,
        block: *mut usize,
        places: u32,
    ) {
        debug_assert!(self.id == CacheId::NONE && self.len() == 0);
        let (mut first, mut end) = (block, block);
        if !block.is_null() {
            // SAFETY: the first of the words, and where they end.
            unsafe {
                *block = 0;
                first = block.add(1);
                end = first.add(places as usize);
            }
        }
        *self = Self { id, home, touched: false, next: first, first, end, misaligned, served: self.served };
    }

    /// Moves out of a row that is empty; the block that was its room, if it had one.
    pub(crate) fn leave(&mut self) -> *mut usize {
        debug_assert!(self.len() == 0, "objects would be lost");
        let block = if self.first.is_null() { self.first } else { self.first.wrapping_sub(1) };
        *self = Self { served: self.served, ..Self::new() };
        block
    }

    /// The places that are free yet.
    pub(crate) fn spare(&mut self) -> &mut [MaybeUninit<usize>] {
        if self.next == self.end {
            return &mut [];
        }
        let left = self.limit() - self.len();
        // SAFETY: the places up to the end are inside the room; they need not hold anything; borrowed as the row is.
        unsafe { core::slice::from_raw_parts_mut(self.next.cast(), left) }
    }

    /// Takes over what was written to the first `n` places of [`Self::spare`].
    ///
    /// # Safety
    /// They hold addresses of free objects of the row's cache, which are nobody else's.
    pub(crate) unsafe fn grow(&mut self, n: usize) {
        debug_assert!(n <= self.limit() - self.len());
        // SAFETY: so many places are free.
        self.next = unsafe { self.next.add(n) };
    }

    /// The objects, oldest first.
    pub(crate) fn objects(&mut self) -> &mut [usize] {
        if self.next == self.first {
            return &mut [];
        }
        // SAFETY: these places of the room were written; borrowed as the row is.
        unsafe { core::slice::from_raw_parts_mut(self.first, self.len()) }
    }

    /// Forgets the oldest `n` objects, which are somebody else's by now.
    pub(crate) fn drop_oldest(&mut self, n: usize) {
        let objects = self.objects();
        let n = n.min(objects.len());
        objects.copy_within(n.., 0);
        // SAFETY: so many objects are there.
        self.next = unsafe { self.next.sub(n) };
    }
}

impl Default for Row {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({:?}: {} of {})", self.id, self.len(), self.limit())
    }
}
