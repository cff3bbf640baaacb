//! Data of a CPU's own.
//!
//! The owner takes no lock and issues no locked instruction: a flag that only the owner reads and writes keeps its
//! interrupt handlers out, and they find another way. Others reach the shared part only, a word that posts
//! requests for instance.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst, compiler_fence};

/// One CPU's part of something: `S` for all CPUs to read, `T` for its owner alone.
pub struct PerCpu<S, T> {
    shared: S,
    /// 1 while the owner uses its part, else 0: a number, so that it can be looked at together with others.
    busy: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is reached through `get_mut`, which has the only reference, and through `Here`, of which the
// caller of `here` promises that all that exist at a time are on one CPU; `T: Send` because that CPU may be another than the
// one that made the value. `shared` is lent to all, so it must be Sync.
unsafe impl<S: Sync, T: Send> Sync for PerCpu<S, T> {}

impl<S, T> PerCpu<S, T> {
    /// A CPU's part.
    pub const fn new(shared: S, value: T) -> Self {
        Self { shared, busy: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// What any CPU may use.
    pub const fn shared(&self) -> &S {
        &self.shared
    }

    /// The owner's part, while there is no other reference.
    pub const fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The right of the CPU that this belongs to.
    ///
    /// # Safety
    /// As long as the handle lives, handles to this value are used on one CPU (one host thread) only. Several may exist
    /// there, one in an interrupt handler for instance, if what was interrupted goes on only after the handler has
    /// returned. A later handle on another CPU happens after (in the memory model's sense) everything that was done with the
    /// earlier ones.
    #[inline]
    pub const unsafe fn here(&self) -> Here<'_, S, T> {
        Here { cpu: self, not_send: PhantomData }
    }
}

impl<S: fmt::Debug, T> fmt::Debug for PerCpu<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerCpu").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// The right to a CPU's own data, on that CPU ([`PerCpu::here`]).
#[derive(Debug)]
pub struct Here<'c, S, T> {
    cpu: &'c PerCpu<S, T>,
    /// It must not leave the CPU, so it is neither Send nor Sync.
    not_send: PhantomData<*mut ()>,
}

impl<S, T> Clone for Here<'_, S, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, T> Copy for Here<'_, S, T> {}

impl<'c, S, T> Here<'c, S, T> {
    /// What any CPU may use.
    #[inline]
    pub const fn shared(self) -> &'c S {
        &self.cpu.shared
    }

    /// The CPU's own data; `None` if this interrupts its use, or is inside it.
    #[inline]
    pub fn enter(self) -> Option<Entered<'c, S, T>> {
        self.enter_unless(0)
    }

    /// The same unless there are reasons not to, bits of whatever meaning: one look for both.
    #[inline]
    pub fn enter_unless(self, reasons: u32) -> Option<Entered<'c, S, T>> {
        if reasons | self.cpu.busy.load(Relaxed) != 0 {
            return None;
        }
        self.cpu.busy.store(1, Relaxed);
        // Nothing of what follows may move before the flag, or a handler would see it unset and the data in between.
        compiler_fence(SeqCst);
        Some(Entered { here: self })
    }
}

/// A CPU's own data in use; dropping it ends the use, forgetting it closes the data for good.
pub struct Entered<'c, S, T> {
    here: Here<'c, S, T>,
}

impl<S, T> Deref for Entered<'_, S, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: see `deref_mut`; the shared borrow of self allows only shared ones of the value.
        unsafe { &*self.here.cpu.value.get() }
    }
}

impl<S, T> DerefMut for Entered<'_, S, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the flag was unset when this was made and is unset again only when it is dropped, so on this CPU there
        // is one `Entered` at a time: a handler that interrupts between the flag's load and its store returns before
        // the store, having unset the flag it set. On other CPUs there is none (`PerCpu::here`), and `get_mut` needs
        // a reference that excludes all handles. The borrow of self makes this the only reference made from it.
        unsafe { &mut *self.here.cpu.value.get() }
    }
}

impl<S, T> Drop for Entered<'_, S, T> {
    #[inline]
    fn drop(&mut self) {
        compiler_fence(SeqCst);
        self.here.cpu.busy.store(0, Relaxed);
    }
}

impl<S, T: fmt::Debug> fmt::Debug for Entered<'_, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
