//! A node's *barn*: free objects of a cache that processors' rows have given up, and take again, without a look at their slabs.
//!
//! A row that is full gives its oldest objects here, one that is empty takes as many back: a copy of addresses under the lock of the node's lists, where
//! every object would otherwise go into its slab's list and out of it again. So what one processor frees another allocates, too.
//!
//! Addresses lie in blocks, one behind the other, which are objects of the cache of rooms: the last is filled and emptied, those before it are
//! full, and emptied ones stay until somebody asks for them. All barns of a machine together keep a part of its memory at most ([`Slabs::set_barn_limit`]); what
//! was not needed between two calls of [`Slabs::reap_barns`] goes back to the slabs, and everything does where a cache is shrunk or ends. That is the
//! working set of the depot in Bonwick's and Adams' "Magazines and Vmem" (2001).
//!
//! [`Slabs::set_barn_limit`]: super::Slabs::set_barn_limit
//! [`Slabs::reap_barns`]: super::Slabs::reap_barns

use core::fmt;
use core::mem::MaybeUninit;

/// A cache's barn on a node, behind the lock of its lists.
///
/// # Invariants
/// `top` and `spare` are null or point to blocks of `places + 1` words each, `places` being the same for all calls, that this barn alone has; a block's first
/// word is the address of the next block of its chain, or null. Of `top`'s words behind that the first `held` were written, of the blocks
/// below it all. `held` is 0 only where there is no `top`.
pub(crate) struct Barn {
    top: *mut usize,
    held: usize,
    /// Objects in all blocks.
    len: usize,
    /// The fewest there were since the last time somebody asked.
    least: usize,
    spare: *mut usize,
}

// SAFETY: blocks belong to the barn as boxes would.
unsafe impl Send for Barn {}

impl Barn {
    /// Nothing.
    pub(crate) const fn new() -> Self {
        let none = core::ptr::null_mut();
        Self { top: none, held: 0, len: 0, least: 0, spare: none }
    }

    /// How many objects are here.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// How many of them nobody needed since this was called last.
    pub(crate) fn idle(&mut self) -> usize {
        core::mem::replace(&mut self.least, self.len)
    }

    /// Takes as many of the objects in as there is room for; how many. More fit once there is another block ([`Self::add`]).
    pub(crate) fn push(&mut self, mut objects: &[usize], places: usize) -> usize {
        let before = self.len;
        while !objects.is_empty() {
            if (self.top.is_null() || self.held == places) && !self.open() {
                break;
            }
            let n = objects.len().min(places - self.held);
            // SAFETY: `held + n` is at most `places`, so all of it is inside the block, which is the barn's alone.
            unsafe { self.top.add(1 + self.held).copy_from_nonoverlapping(objects.as_ptr(), n) };
            self.held += n;
            self.len += n;
            objects = &objects[n..];
        }
        self.len - before
    }

    /// Takes objects out, those last that came first; how many.
    pub(crate) fn pop(&mut self, mut out: &mut [MaybeUninit<usize>], places: usize) -> usize {
        let before = self.len;
        while !out.is_empty() && !self.top.is_null() {
            let n = out.len().min(self.held);
            self.held -= n;
            self.len -= n;
            // SAFETY: so many words from there on were written, in the block, which is the barn's alone.
            unsafe {
                out.as_mut_ptr().cast::<usize>().copy_from_nonoverlapping(self.top.add(1 + self.held), n)
            };
            out = &mut out[n..];
            if self.held == 0 {
                self.close(places);
            }
        }
        self.least = self.least.min(self.len);
        before - self.len
    }

    /// Brings an empty block.
    ///
    /// # Safety
    /// It points to `places + 1` words, aligned, that are the barn's from now on.
    pub(crate) unsafe fn add(&mut self, block: *mut usize) {
        // SAFETY: the block's first word.
        unsafe { block.cast::<*mut usize>().write(self.spare) };
        self.spare = block;
    }

    /// Takes an empty block away.
    pub(crate) fn take_block(&mut self) -> Option<*mut usize> {
        let block = self.spare;
        if block.is_null() {
            return None;
        }
        // SAFETY: a block's first word, which `add` or `close` wrote.
        self.spare = unsafe { block.cast::<*mut usize>().read() };
        Some(block)
    }

    /// Puts an empty block on top, if there is one.
    fn open(&mut self) -> bool {
        let Some(block) = self.take_block() else { return false };
        // SAFETY: the block's first word.
        unsafe { block.cast::<*mut usize>().write(self.top) };
        (self.top, self.held) = (block, 0);
        true
    }

    /// Takes the top away, of which nothing is left.
    fn close(&mut self, places: usize) {
        let block = self.top;
        // SAFETY: a block's first word, which `open` wrote.
        self.top = unsafe { block.cast::<*mut usize>().read() };
        self.held = if self.top.is_null() { 0 } else { places };
        // SAFETY: it was the barn's, and is in no chain.
        unsafe { self.add(block) };
    }
}

impl Default for Barn {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Barn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Barn({} objects)", self.len)
    }
}

#[cfg(test)]
mod tests;
