//! A slab's free list: indices in memory that is the slabs' own while they mean something.

use super::cache::SlabCache;
use super::layout::Management;
use super::node::NodeCache;
use super::word::{PLACE_UNIT, SlabWord};
use super::{Block, Slab};
use crate::memory::SlabMemory;
use crate::random::below;
use crate::slabs::Damage;
use core::mem::MaybeUninit;
use pagewright_page::FrameIdx;
use pagewright_platform::Interrupts;

/// Why an object does not come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// No object begins there.
    NoObject,
    /// It is free.
    Free,
}

impl<I: Interrupts, M: SlabMemory> Slab<'_, '_, I, M> {
    /// Where a slab's first object lies.
    fn first_object(&self, cache: &SlabCache, block: &Block, word: SlabWord) -> usize {
        let colour = match cache.layout.management {
            Management::OffSlab => word.colour_off_slab(),
            Management::OnSlab | Management::InObject => word.colour(),
        };
        block.base + colour as usize * cache.layout.colour_off as usize
    }

    /// Where the object of a number lies.
    pub(super) fn object_at(&self, cache: &SlabCache, block: &Block, word: SlabWord, number: u32) -> usize {
        self.first_object(cache, block, word) + number as usize * cache.layout.size as usize
    }

    /// The number of the object that begins at an address.
    pub(super) fn number_at(
        &self,
        cache: &SlabCache,
        block: &Block,
        word: SlabWord,
        address: usize,
    ) -> Option<u32> {
        cache.number_of(address.checked_sub(self.first_object(cache, block, word))?)
    }

    /// Where in an object an address lies: its distance from that object's start.
    pub(super) fn within(
        &self,
        cache: &SlabCache,
        block: &Block,
        word: SlabWord,
        address: usize,
    ) -> Option<usize> {
        cache.within(address.checked_sub(self.first_object(cache, block, word))?)
    }

    /// Where a slab's indices lie.
    fn list_at(&self, cache: &SlabCache, block: &Block, word: SlabWord) -> usize {
        let layout = &cache.layout;
        match layout.management {
            Management::OnSlab => {
                let bytes = self.config.page_shift.bytes() << layout.order.get();
                block.base + bytes as usize - layout.freelist() as usize
            }
            Management::InObject => self.object_at(cache, block, word, word.holder()),
            Management::OffSlab => {
                let (frame, unit) = word.place();
                self.memory.address(FrameIdx::new(frame)).unwrap_or(0) + unit * PLACE_UNIT
            }
        }
    }

    /// The index at a position, which is below the number of objects.
    ///
    /// # Safety
    /// The list was written from this position on, and is the slabs' own: the slab's lock is held and not all objects are out, or nobody else knows the slab.
    pub(super) unsafe fn index(&self, cache: &SlabCache, list: usize, at: u32) -> u32 {
        let list = self.memory.pointer(list);
        // SAFETY: the list has as many indices as the slab has objects, at an address that is aligned to more than an index; it is the slabs' own, as
        // the caller says. A list in an object lies in one that is free.
        unsafe {
            match cache.layout.index {
                1 => list.add(at as usize).read().into(),
                _ => list.cast::<u16>().add(at as usize).read().into(),
            }
        }
    }

    /// Sets it.
    ///
    /// # Safety
    /// As for [`Self::index`], but for what was written before.
    pub(super) unsafe fn set_index(&self, cache: &SlabCache, list: usize, at: u32, number: u32) {
        let list = self.memory.pointer(list);
        // SAFETY: as for `index`.
        unsafe {
            match cache.layout.index {
                1 => list.add(at as usize).write(number as u8),
                _ => list.cast::<u16>().add(at as usize).write(number as u16),
            }
        }
    }

    /// Makes a new slab's list, with the objects in a random order, each one as likely as any other (CONFIG_SLAB_FREELIST_RANDOM); the word with what has to be noted of it.
    ///
    /// # Safety
    /// Nobody else knows the slab.
    pub(super) unsafe fn fill_list(
        &self,
        cache: &SlabCache,
        block: &Block,
        mut word: SlabWord,
        random: u64,
    ) -> SlabWord {
        let (objects, mut random) = (cache.layout.objects, random | 1);
        let last = below(&mut random, objects);
        if cache.layout.management == Management::InObject {
            // What is taken last has the list.
            word = word.with_holder(last);
        }
        let list = self.list_at(cache, block, word);
        // What is last stays so.
        let others = objects - 1;
        for at in 0..others {
            let number = if at == last { others } else { at };
            let other = below(&mut random, at + 1);
            // SAFETY: as the caller says; what is read was written before.
            unsafe {
                if other < at {
                    self.set_index(cache, list, at, self.index(cache, list, other));
                }
                self.set_index(cache, list, other, number);
            }
        }
        // SAFETY: as the caller says.
        unsafe { self.set_index(cache, list, others, last) };
        word
    }

    /// Takes objects out of a slab, under its lock: as many as it has, at most as `out` has places. How many, and the word by then.
    pub(super) fn take_from(
        &self,
        cache: &SlabCache,
        block: &Block,
        mut word: SlabWord,
        lists: &mut NodeCache,
        out: &mut [MaybeUninit<usize>],
    ) -> (usize, SlabWord) {
        let objects = cache.layout.objects;
        let free = objects.saturating_sub(word.out());
        let wanted = free.min(out.len() as u32);
        if wanted == 0 {
            return (0, word);
        }
        let list = self.list_at(cache, block, word);
        let (mut taken, mut lost) = (0, 0);
        for (at, place) in (word.out()..).zip(&mut out[..wanted as usize]) {
            // SAFETY: objects of the slab are free, so its list is the slabs', under its lock, and was written from here on.
            let number = unsafe { self.index(cache, list, at) };
            if number >= objects {
                // What follows is lost: it counts as out for good.
                self.report(Damage::FreePointer, Some(cache), list);
                lost = objects - at;
                break;
            }
            place.write(self.object_at(cache, block, word, number));
            taken += 1;
        }
        word = word.with_out(word.out() + taken + lost);
        lists.free_objects = lists.free_objects.saturating_sub(u64::from(taken + lost));
        (taken as usize, word)
    }

    /// Puts an object back into its slab's list, under its lock; the word by then.
    ///
    /// # Errors
    /// [`Refused`].
    ///
    /// # Safety
    /// Nobody uses the object from now on.
    pub(super) unsafe fn put_back(
        &self,
        cache: &SlabCache,
        block: &Block,
        mut word: SlabWord,
        address: usize,
    ) -> Result<SlabWord, Refused> {
        let number = self.number_at(cache, block, word, address).ok_or(Refused::NoObject)?;
        let (out, objects) = (word.out(), cache.layout.objects);
        if out == 0 {
            return Err(Refused::Free);
        }
        if out >= objects && cache.layout.management == Management::InObject {
            word = word.with_holder(number);
        }
        let list = self.list_at(cache, block, word);
        // SAFETY: objects of the slab are free, so the list is the slabs', under its lock.
        if out < objects && unsafe { self.index(cache, list, out) } == number {
            return Err(Refused::Free);
        }
        // SAFETY: as before, or the object has the list from now on, which is free, as the caller says.
        unsafe { self.set_index(cache, list, out - 1, number) };
        Ok(word.with_out(out - 1))
    }

    /// The numbers of a slab's free objects, under its lock.
    pub(super) fn free_numbers<'s>(
        &'s self,
        cache: &'s SlabCache,
        block: &Block,
        word: SlabWord,
    ) -> impl Iterator<Item = u32> + 's {
        let list = self.list_at(cache, block, word);
        // SAFETY: there are none if all objects are out; else the list is the slabs', under its lock.
        (word.out()..cache.layout.objects).map(move |at| unsafe { self.index(cache, list, at) })
    }
}
