//! What one task holds of local kmaps.

use core::cell::Cell;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// KM_MAX_IDX with guards between the slots (CONFIG_DEBUG_KMAP_LOCAL).
pub(super) const MOST: usize = 33;

/// The local kmaps of one task, the last one on top (`struct kmap_ctrl`).
///
/// It belongs to the task, and to handlers that interrupt it; atomic only because of those.
#[derive(Debug)]
pub struct KmapStack {
    /// The complement of `kmap_ctrl.idx`: slots lie downwards, so this is what is added to find the next one.
    pub(super) down: AtomicUsize,
    /// The CPU whose slots it held when it was scheduled out.
    pub(super) cpu: AtomicU32,
    /// How many of them are atomic.
    pub(super) atomic: AtomicU32,
    /// The page in each slot while it is scheduled out (`kmap_ctrl.pteval`).
    pub(super) pages: [AtomicU64; MOST],
    /// One task's: not for two threads at once.
    not_sync: PhantomData<Cell<()>>,
}

impl Default for KmapStack {
    fn default() -> Self {
        Self::new()
    }
}

impl KmapStack {
    /// None.
    pub const fn new() -> Self {
        Self {
            down: AtomicUsize::new(!0),
            cpu: AtomicU32::new(0),
            atomic: AtomicU32::new(0),
            pages: [const { AtomicU64::new(0) }; MOST],
            not_sync: PhantomData,
        }
    }

    /// Whether the task holds none.
    pub fn is_empty(&self) -> bool {
        self.index() == 0
    }

    /// `kmap_ctrl.idx`.
    pub(super) fn index(&self) -> u32 {
        !self.down.load(Relaxed) as u32
    }
}
