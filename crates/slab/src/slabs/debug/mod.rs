//! Caches that are watched (`slub_debug`): patterns around and in objects, records of their users, and checks at every step.
//!
//! What a byte of a slab holds, where [`CacheFlags`] ask for it:
//! ```text
//! | left red zone | object, red zone to a whole word | free pointer | two tracks, size | padding | ... | rest of the slab |
//!   bb free         6b..6b a5 free   bb free           mixed           own sums, size     5a        5a
//!   cc in use       the user's       cc in use
//! ```
//! The patterns are Linux's (include/linux/poison.h): a report reads as its reports do. A watched cache has no rows on processors: each operation
//! takes the node's lock and looks at the slab's word and list, at its padding, and at the object. What is damaged is reported and
//! never handed out again: a slab with a damaged free object is put aside whole, a damaged object in use stays where it is.
//!
//! Without POISON nobody knows what padding held, and without RED_ZONE nothing lies beside objects: what is asked for is what is found.

mod asked;
mod options;
mod track;
mod whole;

pub use options::{BadOption, DebugOptions};
pub(crate) use track::Sites;
pub use track::{Site, Track};

use super::cache::{CacheId, Info};
use super::cpu::SlabContext;
use super::node::NodeSlabs;
use super::report::{Damage, Overwritten, Report, Traced};
use super::shared::Slab;
use super::traces::Trace;
use super::word::{Listed, SlabWord};
use super::{SlabError, Slabs};
use crate::CacheFlags;
use crate::memory::SlabMemory;
use core::ops::Range;
use core::panic::Location;
use pagewright_addr::NodeId;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

/// Red zones of a free object (SLUB_RED_INACTIVE).
const RED_INACTIVE: u8 = 0xbb;
/// Red zones of an object in use (SLUB_RED_ACTIVE).
const RED_ACTIVE: u8 = 0xcc;
/// A free object (POISON_FREE), and its last byte (POISON_END).
const POISON_FREE: u8 = 0x6b;
const POISON_END: u8 = 0xa5;
/// What belongs to nobody (POISON_INUSE).
const POISON_INUSE: u8 = 0x5a;
/// How many new slabs one allocation tries, if what it finds is damaged at once.
const TRIES: u32 = 3;

/// What an object is, by its red zones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Object {
    Free,
    InUse,
}

impl Object {
    const fn red(self) -> u8 {
        match self {
            Self::Free => RED_INACTIVE,
            Self::InUse => RED_ACTIVE,
        }
    }
}

/// Bytes that are not what they should be.
type Found = (Damage, Option<Overwritten>);

impl Info {
    /// Whether operations look at objects one by one.
    pub(crate) const fn is_watched(&self) -> bool {
        self.flags.intersects(CacheFlags::WATCHED)
    }

    /// Whether a free object is filled with a pattern (`__OBJECT_POISON`): what a constructor wrote stays, and what others may read yet.
    fn poisons(&self) -> bool {
        let keeps = self.ctor.is_some() || self.flags.contains(CacheFlags::TYPESAFE_BY_RCU);
        self.flags.contains(CacheFlags::POISON) && !keeps
    }

    /// Where metadata begins, behind the free pointer if that lies outside, as a distance from the object.
    fn metadata(&self) -> usize {
        let g = &self.geometry;
        let word = if g.free_pointer >= g.inuse { size_of::<usize>() as u64 } else { 0 };
        (g.inuse + word) as usize
    }

    /// The padding of an object: from the end of its metadata to the next one's left red zone.
    fn padding(&self) -> Range<usize> {
        let tracks = if self.flags.contains(CacheFlags::STORE_USER) { 2 * Track::BYTES } else { 0 };
        let asked = if self.keeps_asked() { asked::BYTES } else { 0 };
        self.metadata() + tracks + asked..(self.geometry.size - self.geometry.left_red_zone) as usize
    }
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// Fills bytes of a slab, as a distance from its start.
    ///
    /// # Safety
    /// Nobody but the slabs may use them, and whoever calls has the slab's lock or is the only one who knows the slab.
    unsafe fn fill(&self, slab: &Slab, range: Range<usize>, with: u8) {
        let range = range.start.min(slab.bytes)..range.end.min(slab.bytes);
        // SAFETY: inside the slab, which is behind one pointer (the memory's contract); nobody else uses them, as the caller says.
        unsafe { self.memory.pointer(slab.base + range.start).write_bytes(with, range.len()) };
    }

    /// Fills a new slab's bytes as those of free objects are (`setup_slab_debug`, `setup_object_debug`). Constructors come after.
    pub(crate) fn dress(&self, info: &Info, slab: &Slab, objects: u32) {
        if info.flags.contains(CacheFlags::POISON) {
            // SAFETY: nobody else knows the slab yet.
            unsafe { self.fill(slab, 0..slab.bytes, POISON_INUSE) };
        }
        for number in 0..objects {
            let offset = info.places.offset_of(number);
            self.mark(info, slab, offset, Object::Free);
            if info.flags.contains(CacheFlags::STORE_USER) {
                for which in 0..2 {
                    self.write_track(info, slab, offset, which, Track::NONE);
                }
            }
        }
    }

    /// Writes the patterns of an object that becomes free or is taken into use (`init_object`).
    fn mark(&self, info: &Info, slab: &Slab, offset: usize, object: Object) {
        let g = &info.geometry;
        let (size, inuse) = (g.object_size as usize, g.inuse as usize);
        // SAFETY: parts of an object of the slab that is free, or is not the user's yet; the caller has the slab.
        let fill = |range, with| unsafe { self.fill(slab, range, with) };
        if info.flags.contains(CacheFlags::RED_ZONE) {
            fill(offset - g.left_red_zone as usize..offset, object.red());
            fill(offset + size..offset + inuse, object.red());
        }
        if info.poisons() {
            fill(offset..offset + size - 1, POISON_FREE);
            fill(offset + size - 1..offset + size, POISON_END);
        }
    }

    /// Looks for the first byte of a part that is not `with`.
    fn look(&self, slab: &Slab, range: Range<usize>, with: u8, damage: Damage) -> Result<(), Found> {
        let range = range.start.min(slab.bytes)..range.end.min(slab.bytes);
        // SAFETY: a part of a slab that no user may touch, under its lock or known to nobody else; initialised, and behind one pointer (the memory's contract).
        let bytes =
            unsafe { core::slice::from_raw_parts(self.memory.pointer(slab.base + range.start), range.len()) };
        let Some(first) = bytes.iter().position(|&byte| byte != with) else { return Ok(()) };
        let last = bytes.iter().rposition(|&byte| byte != with).unwrap_or(first);
        let at = slab.base + range.start;
        let found = bytes.get(first).copied().unwrap_or_default();
        Err((damage, Some(Overwritten { first: at + first, last: at + last, found, expected: with })))
    }

    /// Whether everything that is not the user's in an object's place is as it was left (`check_object`).
    fn check_object(&self, info: &Info, slab: &Slab, offset: usize, object: Object) -> Result<(), Found> {
        let g = &info.geometry;
        let (size, inuse) = (g.object_size as usize, g.inuse as usize);
        let poisoned = info.flags.contains(CacheFlags::POISON);
        if info.flags.contains(CacheFlags::RED_ZONE) {
            let left = offset - g.left_red_zone as usize..offset;
            self.look(slab, left, object.red(), Damage::LeftRedZone)?;
            self.look(slab, offset + size..offset + inuse, object.red(), Damage::RightRedZone)?;
        } else if poisoned {
            self.look(slab, offset + size..offset + inuse, POISON_INUSE, Damage::Padding)?;
        }
        if info.poisons() && object == Object::Free {
            self.look(slab, offset..offset + size - 1, POISON_FREE, Damage::Poison)?;
            self.look(slab, offset + size - 1..offset + size, POISON_END, Damage::Poison)?;
        }
        if object == Object::InUse {
            self.check_asked(info, slab, offset)?;
        }
        if poisoned {
            let padding = info.padding();
            self.look(slab, offset + padding.start..offset + padding.end, POISON_INUSE, Damage::Padding)?;
        }
        if object == Object::InUse && info.metadata() > inuse && !self.ends(info, slab, offset) {
            return Err((Damage::FreePointer, None));
        }
        if info.flags.contains(CacheFlags::STORE_USER)
            && (0..2).any(|which| self.read_track(info, slab, offset, which).is_none())
        {
            return Err((Damage::Track, None));
        }
        Ok(())
    }

    /// Whether a slab's word, its list of free objects and its rest are sound (`check_slab`, `slab_pad_check`), of one that is in such a list of a node.
    fn check_slab(
        &self,
        info: &Info,
        slab: &Slab,
        word: SlabWord,
        (node, listed): (usize, Listed),
    ) -> Result<(), Found> {
        let objects = info.objects(self.map.word(slab.head).order());
        let sound =
            word.is_sound() && word.node() == node && word.listed() == listed && word.out() <= objects;
        let leads = word.first_free().is_none_or(|offset| info.places.is_inside(offset, slab.bytes));
        if !sound || !leads {
            return Err((Damage::SlabWord, None));
        }
        if info.flags.contains(CacheFlags::POISON) {
            let rest = objects as usize * info.geometry.size as usize..slab.bytes;
            self.look(slab, rest, POISON_INUSE, Damage::SlabPadding)?;
        }
        let mut free = 0;
        for offset in self.free_list(info, slab, word) {
            if offset.is_err() {
                return Err((Damage::FreePointer, None));
            }
            free += 1;
        }
        if free + word.out() != objects {
            return Err((Damage::SlabWord, None));
        }
        Ok(())
    }

    /// Tells of damage to an object, with what is known of its users.
    fn tell(&self, info: &Info, slab: &Slab, address: usize, (damage, overwritten): Found) {
        let offset = address.wrapping_sub(slab.base);
        let known = info.flags.contains(CacheFlags::STORE_USER) && info.places.is_inside(offset, slab.bytes);
        let track = |which| self.read_track(info, slab, offset, which).filter(|track| *track != Track::NONE);
        let tracks = if known { [track(0), track(1)] } else { [None, None] };
        self.found.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        self.reports.report(&Report {
            damage,
            cache: Some(info.name),
            address,
            slab: slab.base,
            overwritten,
            tracks,
        });
    }

    /// Tells of an allocation after it, of a free before it, if the cache is traced (`trace`).
    fn tell_trace(
        &self,
        info: &Info,
        slab: &Slab,
        word: SlabWord,
        (what, object): (Trace, usize),
        track: Track,
    ) {
        if info.flags.contains(CacheFlags::TRACE) {
            let first_free = word.first_free().map(|offset| slab.base + offset);
            let (cache, in_use) = (info.name, word.out());
            self.reports.traced(&Traced { cache, what, object, in_use, first_free, site: track.site });
        }
    }

    /// Puts a damaged slab aside: its free objects are given up, and count as out for good.
    fn put_aside(&self, info: &Info, lists: &mut NodeSlabs, slab: &Slab, node: usize) {
        // Its own word may be what is damaged: it came from this list.
        let objects = info.objects(self.map.word(slab.head).order());
        let node = NodeId::new(node as u16).unwrap_or_default();
        let sound = SlabWord::new(node, objects).with_listed(Listed::Partial);
        let word = lists.relist(&self.map, slab.head, sound, Listed::Full);
        self.set_word(slab, word);
    }

    /// An object of a watched cache (`alloc_debug_processing`).
    pub(crate) fn take_watched(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        info: &Info,
        at: (Option<NodeId>, Gfp, u64),
        who: &'static Location<'static>,
    ) -> Result<usize, SlabError> {
        let track = self.track(cx, who);
        let node = self.serving(cx, at.0, at.1);
        for _ in 0..TRIES {
            if let Some(address) = self.take_from(cache, info, node, track) {
                return Ok(address);
            }
            if self.new_slab(cx, cache, info, at, &mut []).is_none() {
                break;
            }
            // It may lie on another node than was asked for.
            if let Some(address) = self.take_from_any(cx, cache, info, at.1, node, track) {
                return Ok(address);
            }
        }
        self.take_from_any(cx, cache, info, at.1, node, track).ok_or(SlabError::NoMemory)
    }

    fn take_from_any(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        info: &Info,
        gfp: Gfp,
        node: usize,
        track: Track,
    ) -> Option<usize> {
        core::iter::once(node)
            .chain(self.others(cx, node, gfp))
            .find_map(|node| self.take_from(cache, info, node, track))
    }

    /// An object of a node's partial slabs; damaged ones are put aside until a sound one is found.
    fn take_from(&self, cache: CacheId, info: &Info, node: usize, track: Track) -> Option<usize> {
        let _quiet = self.quiet();
        let mut lists = self.lists_of(cache, node).lock();
        while let Some(head) = lists.partial.first() {
            let slab = self.slab(head, self.map.word(head).order())?;
            let mut word = self.word(&slab);
            let first = word.first_free().unwrap_or(0);
            let checked = self.check_slab(info, &slab, word, (node, word.belongs()));
            let checked = checked.and_then(|()| self.check_object(info, &slab, first, Object::Free));
            if let Err(found) = checked {
                self.tell(info, &slab, slab.base + first, found);
                self.put_aside(info, &mut lists, &slab, node);
                continue;
            }
            let Some(address) = self.pop_free(info, &slab, &mut word) else {
                self.put_aside(info, &mut lists, &slab, node);
                continue;
            };
            self.mark(info, &slab, first, Object::InUse);
            if info.metadata() > info.geometry.inuse as usize {
                // SAFETY: the link lies behind the object, which was free and is not the user's yet.
                unsafe { self.set_link(&info.places, &slab, first, 0) };
            }
            if info.flags.contains(CacheFlags::STORE_USER) {
                self.write_track(info, &slab, first, 0, track);
            }
            if word.first_free().is_none() {
                word = lists.relist(&self.map, head, word, Listed::Full);
            }
            self.set_word(&slab, word);
            self.tell_trace(info, &slab, word, (Trace::Alloc, address), track);
            return Some(address);
        }
        None
    }

    /// Takes an object of a watched cache back (`free_debug_processing`): if nothing is wrong, else it is reported and stays out.
    ///
    /// # Safety
    /// As for [`Self::free`].
    pub(crate) unsafe fn put_watched(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        info: &Info,
        (slab, address): (Slab, usize),
        who: &'static Location<'static>,
    ) {
        let track = self.track(cx, who);
        let node = self.list_node(cx.pages.node_of(slab.head).index());
        let offset = address - slab.base;
        let mut empty = None;
        let quiet = self.quiet();
        let mut lists = self.lists_of(cache, node).lock();
        let word = self.word(&slab);
        let mut checked = self.check_slab(info, &slab, word, (node, word.belongs()));
        if checked.is_ok() && self.is_listed_free(info, &slab, word, offset) {
            checked = Err((Damage::DoubleFree, None));
        }
        if let Err(found) = checked.and_then(|()| self.check_object(info, &slab, offset, Object::InUse)) {
            return self.tell(info, &slab, address, found);
        }
        if info.flags.contains(CacheFlags::STORE_USER) {
            self.write_track(info, &slab, offset, 1, track);
        }
        self.tell_trace(info, &slab, word, (Trace::Free, address), track);
        self.mark(info, &slab, offset, Object::Free);
        // SAFETY: an object of the slab that was in use, and is nobody's from now on, as the caller says.
        let (_, word) = unsafe { self.take_in(info, &slab, &[address]) };
        self.settle(info, &mut lists, &slab, word, &mut empty);
        drop(lists);
        drop(quiet);
        self.discard(cx, cache, empty);
    }
}
