//! Slabs themselves: made and taken from, under the lock of a node's lists.

use super::cache::{CacheId, Info};
use super::cpu::SlabContext;
use super::node::NodeSlabs;
use super::places::Places;
use super::report::Damage;
use super::word::{Listed, SlabWord};
use super::{SlabError, Slabs};
use crate::memory::SlabMemory;
use crate::random::{below, next_random};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use pagewright_addr::{NodeId, Order};
use pagewright_page::FrameIdx;
use pagewright_platform::Interrupts;
use pagewright_platform::Mutex;
use pagewright_zone::Gfp;

/// A slab as it is looked at under its node's lock.
#[derive(Clone, Copy)]
pub(crate) struct Slab {
    pub(crate) head: FrameIdx,
    /// The address of its first byte.
    pub(crate) base: usize,
    pub(crate) bytes: usize,
}

/// A slab that nobody knows yet.
pub(super) struct Linked {
    pub(super) slab: Slab,
    pub(super) objects: u32,
    pub(super) node: usize,
    /// How many objects were given out.
    given: usize,
    /// The first of the others, as a distance from the slab's start.
    pub(super) first: Option<usize>,
}

impl<'a, I: Interrupts, M: SlabMemory> Slabs<'_, 'a, I, M> {
    pub(crate) fn info(&self, cache: CacheId) -> Option<&Info> {
        self.slots.get(cache.index())?.get(cache)
    }

    /// A cache's lists on a node.
    pub(crate) fn lists_of(&self, cache: CacheId, node: usize) -> &Mutex<NodeSlabs> {
        &self.lists[cache.index() * self.nodes + self.list_node(node)]
    }

    /// The node in whose lists slabs of a node are: its own, or the last that has any.
    pub(crate) fn list_node(&self, node: usize) -> usize {
        node.min(self.nodes.saturating_sub(1))
    }

    pub(crate) fn slab(&self, head: FrameIdx, order: Order) -> Option<Slab> {
        let base = self.memory.address(head)?;
        Some(Slab { head, base, bytes: self.slub.bytes(order) as usize })
    }

    /// The slab that an address lies in.
    pub(crate) fn slab_at(&self, address: usize) -> Option<Slab> {
        let idx = FrameIdx::from_usize(self.memory.frame_of(address))?;
        let (head, order) = self.map.slab_head(idx)?;
        self.slab(head, order)
    }

    /// Whether a slab is a cache's.
    pub(crate) fn is_of(&self, cache: CacheId, head: FrameIdx) -> bool {
        CacheId::of_home(self.map.owner(head)) == cache
    }

    pub(crate) fn word(&self, slab: &Slab) -> SlabWord {
        SlabWord::from_bits(self.map.data(slab.head))
    }

    pub(crate) fn set_word(&self, slab: &Slab, word: SlabWord) {
        self.map.set_data(slab.head, word.bits());
    }

    /// Where a free object's link lies.
    #[inline(always)]
    fn link(&self, places: &Places, slab: &Slab, offset: usize) -> *mut usize {
        self.memory.pointer(places.link(slab.base + offset)).cast()
    }

    /// Writes a free object's link: the next one's distance from the slab's start and one more, or 0.
    ///
    /// # Safety
    /// An object of the slab begins at the offset, and is free; whoever calls has the slab's lock, or the slab is new.
    #[inline(always)]
    pub(super) unsafe fn set_link(&self, places: &Places, slab: &Slab, offset: usize, next: usize) {
        let at = self.link(places, slab, offset);
        // SAFETY: inside a free object, which is the slabs' own while it is free; aligned as words are, since objects and the
        // link's place in them are; the memory's contract makes the pointer good.
        unsafe { at.write(places.encode(at.addr(), next)) };
    }

    /// Whether the link that lies behind an object in use is what it was made then: none.
    pub(super) fn ends(&self, info: &Info, slab: &Slab, offset: usize) -> bool {
        let at = self.link(&info.places, slab, offset);
        // SAFETY: metadata of an object of the slab, written when it was taken into use; under the slab's lock.
        let stored = unsafe { at.read() };
        info.places.decode(at.addr(), stored, slab.bytes) == Ok(None)
    }

    /// Takes the first free object out of a slab, under its lock. A link that leads nowhere ends the list.
    #[inline(always)]
    pub(super) fn pop_free(&self, info: &Info, slab: &Slab, word: &mut SlabWord) -> Option<usize> {
        let (offset, places) = (word.first_free()?, info.places);
        let at = self.link(&places, slab, offset);
        // SAFETY: the object is free and of this slab (the word says so), and the link was written when it was freed.
        let stored = unsafe { at.read() };
        let next = match places.decode(at.addr(), stored, slab.bytes) {
            Ok(next) => next,
            Err(()) => {
                // What followed is lost: its objects count as out for good.
                self.report(Damage::FreePointer, Some(info), slab.base + offset);
                None
            }
        };
        *word = word.lend(1).with_first_free(next);
        Some(slab.base + offset)
    }

    /// Takes objects out of a node's barn, else out of its partial slabs: as many as there are, at most as `out` has places.
    fn take_partial(
        &self,
        cache: CacheId,
        info: &Info,
        node: usize,
        out: &mut [MaybeUninit<usize>],
    ) -> usize {
        let _quiet = self.quiet();
        let mut lists = self.lists_of(cache, node).lock();
        let mut n = lists.barn.pop(out, self.slub.rooms() as usize);
        if n > 0 {
            self.unkept(info, n);
            return n;
        }
        while n < out.len()
            && let Some(head) = lists.partial.first()
            && let Some(slab) = self.slab(head, self.map.word(head).order())
        {
            let mut word = self.word(&slab);
            while n < out.len()
                && let Some(address) = self.pop_free(info, &slab, &mut word)
            {
                out[n].write(address);
                n += 1;
            }
            if word.first_free().is_none() {
                word = lists.relist(&self.map, head, word, Listed::Full);
            }
            self.set_word(&slab, word);
        }
        n
    }

    /// Objects for `out`, of which it writes at least one: the node's free ones, of a new slab, of other nodes. `spare` is how many of the places may be
    /// filled from a new slab, `wanted` from old ones.
    pub(crate) fn collect(
        &self,
        cx: &SlabContext<'_, '_, 'a>,
        cache: CacheId,
        (asked, gfp): (Option<NodeId>, Gfp),
        random: &mut u64,
        wanted: usize,
        out: &mut [MaybeUninit<usize>],
    ) -> Result<usize, SlabError> {
        let info = self.info(cache).ok_or(SlabError::Stale)?;
        let node = self.serving(cx, asked, gfp);
        let wanted = wanted.min(out.len());
        let n = self.take_partial(cache, info, node, &mut out[..wanted]);
        if n > 0 {
            return Ok(n);
        }
        if self.nodes > 1 {
            let mut richer =
                self.with_slabs_to_spare(cx, (cache, info), (node, gfp), asked, next_random(random));
            let found =
                richer.find_map(|other| nonzero(self.take_partial(cache, info, other, &mut out[..wanted])));
            if let Some(n) = found {
                return Ok(n);
            }
        }
        if let Some(n) = self.new_slab(cx, cache, info, (asked, gfp, next_random(random)), out) {
            return Ok(n);
        }
        let mut others = self.others(cx, node, gfp);
        let found = others.find_map(|other| nonzero(self.take_partial(cache, info, other, &mut out[..1])));
        found.ok_or(SlabError::NoMemory)
    }

    /// Makes a slab and gives its objects to `out`, those that do not fit to the slab's own list; how many went out.
    #[inline(never)]
    pub(super) fn new_slab(
        &self,
        cx: &SlabContext<'_, '_, 'a>,
        cache: CacheId,
        info: &Info,
        at: (Option<NodeId>, Gfp, u64),
        out: &mut [MaybeUninit<usize>],
    ) -> Option<usize> {
        let Linked { slab, objects, node, given, first } = self.link_slab(cx, cache, info, at, out)?;
        let kept = objects - given as u32;
        let word = SlabWord::new(NodeId::new(node as u16).unwrap_or_default(), objects)
            .take_back(kept)
            .with_first_free(first);
        let _quiet = self.quiet();
        let mut lists = self.lists_of(cache, node).lock();
        lists.objects += u64::from(objects);
        let list = if first.is_some() { Listed::Partial } else { Listed::Full };
        let word = lists.relist(&self.map, slab.head, word, list);
        self.set_word(&slab, word);
        Some(given)
    }

    /// A new slab's objects, some to `out`, the others one behind the other.
    #[inline(always)]
    pub(super) fn link_slab(
        &self,
        cx: &SlabContext<'_, '_, 'a>,
        cache: CacheId,
        info: &Info,
        (node, gfp, random): (Option<NodeId>, Gfp, u64),
        out: &mut [MaybeUninit<usize>],
    ) -> Option<Linked> {
        let (slab, order) = self.slab_pages(cx, cache, info, node, gfp)?;
        let objects = info.objects(order);
        let node = self.list_node(cx.pages.node_of(slab.head).index());
        if info.is_watched() {
            self.dress(info, &slab, objects);
        }
        if let Some(ctor) = info.ctor {
            for n in 0..objects {
                if let Some(object) = NonNull::new(self.memory.pointer(slab.base + info.places.offset_of(n)))
                {
                    // SAFETY: an object of the cache, in a slab that nobody else knows; the constructor keeps `Ctor`'s contract.
                    unsafe { ctor(object) };
                }
            }
        }
        let (places, mut random) = (info.places, random);
        // SAFETY: nobody else knows the slab; nothing but links is written there, which no constructor wrote.
        let mut number = unsafe { self.shuffle(&places, &slab, objects, &mut random) };
        let mut step = || {
            let offset = places.offset_of(number);
            // SAFETY: written by `shuffle`, and nobody's since.
            number = unsafe { self.link(&places, &slab, offset).read() } as u32;
            offset
        };
        let given = out.len().min(objects as usize);
        for place in &mut out[..given] {
            place.write(slab.base + step());
        }
        let mut first = 0;
        for _ in given..objects as usize {
            let offset = step();
            // SAFETY: an object of a slab that nobody else knows.
            unsafe { self.set_link(&places, &slab, offset, first) };
            first = offset + 1;
        }
        Some(Linked { slab, objects, node, given, first: first.checked_sub(1) })
    }

    /// Puts the objects of a new slab in a random order, each one as likely as any other (CONFIG_SLAB_FREELIST_RANDOM): in the place of each one's link lies the number of
    /// the one behind it, in a circle. Where to begin.
    ///
    /// # Safety
    /// Nobody else knows the slab, which has so many objects, at least one.
    unsafe fn shuffle(&self, places: &Places, slab: &Slab, objects: u32, random: &mut u64) -> u32 {
        let link = |number| self.link(places, slab, places.offset_of(number));
        *random |= 1;
        for number in 0..objects {
            // Behind any of those that are in the circle; the first is its own neighbour.
            let before = below(random, number);
            // SAFETY: links of objects of the slab, aligned as words are; what is read was written before, but for that of the first, which is written alone.
            unsafe {
                if number > 0 {
                    link(number).write(link(before).read());
                }
                link(before).write(number as usize);
            }
        }
        below(random, objects)
    }

    /// A block for a slab: of the order that suits it, else the least that holds an object.
    fn slab_pages(
        &self,
        cx: &SlabContext<'_, '_, 'a>,
        cache: CacheId,
        info: &Info,
        node: Option<NodeId>,
        gfp: Gfp,
    ) -> Option<(Slab, Order)> {
        let base = (gfp & (Gfp::RECLAIM_MASK | Gfp::CONSTRAINT_MASK)) | info.gfp;
        let (order, least) = (info.geometry.order, info.geometry.least.0);
        let frames = if order > least {
            // Nobody shall work hard for a block that is only better.
            let light = (base | Gfp::NOWARN | Gfp::NORETRY | Gfp::NOMEMALLOC) - (Gfp::RECLAIM | Gfp::NOFAIL);
            cx.pages.alloc(node, light, order).or_else(|| cx.pages.alloc(node, base, least))
        } else {
            cx.pages.alloc(node, base, order)
        }?;
        let got = frames.order()?;
        let Some(slab) = self.slab(frames.start(), got) else {
            cx.pages.free(frames);
            return None;
        };
        let node = cx.pages.node_of(slab.head);
        self.account.add(node, info.gfp.contains(Gfp::RECLAIMABLE), frames.len());
        self.map.deposit_slab(frames, cache.home(self.list_node(node.index())));
        Some((slab, got))
    }
}

/// A count, unless it is none.
fn nonzero(n: usize) -> Option<usize> {
    (n > 0).then_some(n)
}
