//! Arrays of another size, while the cache is used (`do_tune_cpucache`).
//!
//! What arrays shall hold is one word of the cache. Nobody reaches into another processor's array: whoever tunes asks the others to flush, and an array that then has another size than
//! it should is given up, as is one that is filled or emptied; the next of it has the new size. Nodes' arrays are given up at once, and made anew when they are needed. Arrays that collect for
//! other nodes stay as they are, as in Linux.

use super::Slab;
use crate::memory::SlabMemory;
use crate::objects::{CacheTable, Tunables, TuneError};
use crate::slabs::cpu::Requests;
use crate::slabs::{CacheId, SlabContext, SlabError, SlabState};
use pagewright_platform::Interrupts;

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slab<'k, 'a, I, M> {
    /// Changes how much of a cache's objects is kept near processors and nodes. This processor has its array of the new size when this returns, unless an interrupt handler
    /// asks; others when they next poll, or have no object at hand or no place for one.
    ///
    /// # Errors
    /// [`TuneError`]; nothing has changed then.
    pub fn tune(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        id: CacheId,
        tunables: Tunables,
    ) -> Result<(), TuneError> {
        tunables.check()?;
        let mut done = Err(TuneError::Stale);
        self.holding(cx, id.index(), &mut |living, _| {
            if living == id {
                done = self.tune_held(cx, id, tunables);
            }
        });
        done
    }

    fn tune_held(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        id: CacheId,
        tunables: Tunables,
    ) -> Result<(), TuneError> {
        self.injected(cx).map_err(TuneError::Memory)?;
        let cache = self.cache(id).ok_or(TuneError::Stale)?;
        let (old, places) = (cache.tunables(), tunables.limit);
        // The one array that can be had before anything is changed; if there is no memory for it, neither is there for others.
        let mut room = None;
        if self.kmalloc.state == SlabState::Full && self.may_attach(id) && old.limit != places {
            room = Some(self.room(cx, places, None).ok_or(TuneError::Memory(SlabError::NoMemory))?);
        }
        cache.set_tunables(tunables);
        if let Some(room) = room {
            match cx.cpu.enter().filter(|own| id.index() < own.rows.len()) {
                Some(mut own) => {
                    self.give_up_row(cx, &mut own, id.index());
                    // SAFETY: it was just allocated, for so many places.
                    unsafe { self.attach_room(cx, &mut own, id, cache, (room, places)) };
                }
                None => self.free_room(cx, room),
            }
        }
        // This processor is asked too: where a handler interrupts the use of its arrays, it has the old one.
        self.space.cpus.iter().for_each(|cpu| cpu.requests().post(Requests::FLUSH));
        if old.shared * old.batch != tunables.shared * tunables.batch {
            (0..self.nodes).for_each(|node| self.drop_shared(cx, id, node));
        }
        Ok(())
    }
}
