//! Who lives at a place of the table of caches, and who keeps him from moving out. By itself, so that every order of its steps can be explored (`tests/loom`).
//!
//! # The protocol
//! - A processor that has something of a cache at hand (a row, an array, a slab) is *attached*: it says so by [`Tenancy::attach`] and [`Tenancy::leave`].
//! - Whoever looks at caches that may end meanwhile (a reaper, a shrinker) *holds* one at a time ([`Tenancy::hold`]). That is being attached, too, but nobody is let in who comes after
//!   somebody began to end the cache.
//! - Whoever ends a cache says so first ([`Tenancy::set`]), and then looks who is attached ([`Tenancy::attached`]). If there is nobody, there will be nobody: who comes later sees what was
//!   said. Then the cache moves out, and the place is open again, in this order: who finds it open finds no cache, or the next.
//! - Where nobody waits for the end ([`DYING`]), whoever left looks afterwards ([`Tenancy::take_over`]): one of them is the last.
//!
//! All who count themselves in or out, and who looks whether there is anybody, change one word by steps that see each other: who comes second sees everything that the first did
//! before. A processor that stays attached takes no such step; it is asked, and who takes a request sees everything that was done before it was posted (`Requests::post`,
//! `Requests::take`), so what was said. That is all that this rests on, so no step needs a place in one order of all.

use core::sync::atomic::{
    AtomicU32, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

/// A place's state, as it should be.
pub(crate) const OPEN: u32 = 0;
/// Somebody ends the cache: no processor gets a row for it, nobody holds it, and nobody is merged with it.
pub(crate) const CLOSING: u32 = 1;
/// The same, and whoever finds that it can end is to end it.
pub(crate) const DYING: u32 = 2;
/// Somebody would have ended it, but for processors that are attached. They leave when they answer; until then it is used, if it must be, and who attaches says that nobody goes on.
/// Who attaches just before this is said (while he holds the cache) says nothing: the request that follows has him give up what he has, once, and he says so when he attaches again.
pub(crate) const LEAVING: u32 = 3;

/// A place.
#[derive(Debug)]
pub(crate) struct Tenancy {
    /// The generation of the cache that lives here; 0 for none.
    living: AtomicU32,
    /// How many processors and holders there are.
    attached: AtomicU32,
    state: AtomicU32,
}

impl Tenancy {
    /// Nobody's.
    pub(crate) const fn new() -> Self {
        Self { living: AtomicU32::new(0), attached: AtomicU32::new(0), state: AtomicU32::new(OPEN) }
    }

    /// The generation that lives here; 0 for none.
    #[inline(always)]
    pub(crate) fn living(&self) -> u32 {
        self.living.load(Acquire)
    }

    /// A cache moves in; what is kept of it was written before.
    pub(crate) fn move_in(&self, generation: u32) {
        self.living.store(generation, Release);
    }

    /// The cache moves out, and the place is open for the next.
    pub(crate) fn move_out(&self) {
        self.living.store(0, Release);
        self.state.store(OPEN, Release);
    }

    /// What somebody does with the place.
    #[inline(always)]
    pub(crate) fn state(&self) -> u32 {
        self.state.load(Acquire)
    }

    /// Says what somebody does with it.
    pub(crate) fn set(&self, state: u32) {
        self.state.store(state, Release);
    }

    /// A processor has something of the cache from now on.
    pub(crate) fn attach(&self) {
        self.attached.fetch_add(1, AcqRel);
        // Nobody ends a cache that is used: who wanted to does not go on.
        let _ = self.state.compare_exchange(LEAVING, OPEN, AcqRel, Relaxed);
    }

    /// It has nothing of it any more.
    pub(crate) fn leave(&self) {
        self.attached.fetch_sub(1, AcqRel);
    }

    /// How many there are. Who comes after this look sees what the caller has said before.
    pub(crate) fn attached(&self) -> u32 {
        self.attached.fetch_add(0, AcqRel)
    }

    /// Keeps the cache that lives here from ending, until [`Self::leave`]; the generation, or `None` if nobody lives here or it is about to end.
    pub(crate) fn hold(&self) -> Option<u32> {
        self.attached.fetch_add(1, AcqRel);
        let stays = matches!(self.state(), OPEN | LEAVING);
        let living = if stays { self.living() } else { 0 };
        if living == 0 {
            self.leave();
            return None;
        }
        Some(living)
    }

    /// Whether the caller is who ends a cache that nobody waits for: nobody is attached, and no other does it.
    pub(crate) fn take_over(&self) -> bool {
        self.state() == DYING
            && self.attached() == 0
            && self.state.compare_exchange(DYING, CLOSING, AcqRel, Relaxed).is_ok()
    }
}
