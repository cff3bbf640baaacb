//! Random policies against a naive model: every frame is in exactly one place.

use super::with_map;
use crate::{FrameIdx, Frames, OwnerHandle, PageMap, Pristine, State, Use};
use pagewright_addr::Order;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

const BLOCKS: u64 = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Pristine,
    Token,
    Free,
    Slab,
}

/// One step: which kind, and which of the candidates.
fn steps() -> impl Strategy<Value = Vec<(u8, usize, u64)>> {
    let most = if cfg!(miri) { 20 } else { 200 };
    prop::collection::vec((0u8..7, any::<usize>(), 1u64..16), 1..most)
}

struct World<'a> {
    map: PageMap<'a>,
    pristine: Vec<Pristine<'a>>,
    tokens: Vec<Frames<'a>>,
    /// Start and order of every free and every deposited block.
    free: BTreeMap<u32, Order>,
    slabs: Vec<u32>,
    places: Vec<Place>,
}

impl<'a> World<'a> {
    fn mark(&mut self, start: u64, len: u64, from: Place, to: Place) {
        for place in &mut self.places[start as usize..(start + len) as usize] {
            assert_eq!(*place, from, "a frame changed hands from a place it was not in");
            *place = to;
        }
    }

    /// Applies a step if it is possible; what is impossible is left out, as a right policy would.
    fn step(&mut self, kind: u8, pick: usize, n: u64) {
        let owner = OwnerHandle::new(1, 1).unwrap();
        match kind {
            0 if !self.pristine.is_empty() => {
                let whole = self.pristine.swap_remove(pick % self.pristine.len());
                let (taken, rest) = whole.split_at(n);
                if !rest.is_empty() {
                    self.pristine.push(rest);
                }
                self.mark(taken.start(), taken.len(), Place::Pristine, Place::Token);
                self.tokens.push(if n.is_multiple_of(2) {
                    taken.into_frames()
                } else {
                    taken.into_reserved().release()
                });
            }
            1 | 2 if !self.tokens.is_empty() => {
                let frames = self.tokens.swap_remove(pick % self.tokens.len());
                let Some(order) = frames.order().filter(|order| order.get() <= 4) else {
                    self.tokens.push(frames);
                    return;
                };
                let (start, len) = (u64::from(frames.start().get()), frames.len());
                if kind == 1 {
                    self.mark(start, len, Place::Token, Place::Free);
                    let idx = self.map.put_block(frames);
                    self.free.insert(idx.get(), order);
                } else {
                    self.mark(start, len, Place::Token, Place::Slab);
                    self.slabs.push(self.map.deposit(frames, Use::Slab, owner).get());
                }
            }
            3 if !self.free.is_empty() => {
                let (&start, &order) = self.free.iter().nth(pick % self.free.len()).unwrap();
                self.free.remove(&start);
                self.mark(u64::from(start), order.pages(), Place::Free, Place::Token);
                self.tokens.push(self.map.take_block(FrameIdx::new(start), order));
            }
            4 if !self.slabs.is_empty() => {
                let idx = FrameIdx::new(self.slabs.swap_remove(pick % self.slabs.len()));
                let frames = self.map.withdraw(idx, Use::Slab, owner);
                self.mark(u64::from(idx.get()), frames.len(), Place::Slab, Place::Token);
                self.tokens.push(frames);
            }
            5 if !self.tokens.is_empty() => {
                let frames = self.tokens.swap_remove(pick % self.tokens.len());
                if n >= frames.len() {
                    self.tokens.push(frames);
                    return;
                }
                let (low, high) = self.map.split_at(frames, n);
                self.tokens.extend([low, high]);
            }
            6 if !self.tokens.is_empty() => {
                let frames = self.tokens.swap_remove(pick % self.tokens.len());
                let buddy = frames.order().filter(|o| o.get() < 4).map(|o| (frames.start().buddy(o), o));
                match buddy {
                    Some((buddy, order)) if self.map.free_order(buddy) == Some(order) => {
                        assert_eq!(self.free.remove(&buddy.get()), Some(order));
                        self.mark(u64::from(buddy.get()), order.pages(), Place::Free, Place::Token);
                        let mut joining = self.map.join(frames, order);
                        joining.absorb();
                        let order = joining.order();
                        self.tokens.push(self.map.take_block(joining.finish(), order));
                    }
                    _ => self.tokens.push(frames),
                }
            }
            _ => {}
        }
    }

    /// Every place says the same about every frame.
    fn check(&self) {
        self.map.validate().unwrap_or_else(|v| panic!("{v}"));
        let mut expected = std::vec![State::Inner; self.places.len()];
        let mut covered = 0;
        let mut cover = |start: u64, len: u64, head: State, inner: State, place: Place| {
            for i in start..start + len {
                assert_eq!(self.places[i as usize], place, "frame {i:#x} is in two places");
                expected[i as usize] = if i == start { head } else { inner };
            }
            covered += len;
        };
        for p in &self.pristine {
            cover(p.start(), p.len(), State::Pristine, State::Pristine, Place::Pristine);
        }
        for t in &self.tokens {
            cover(u64::from(t.start().get()), t.len(), State::Owned, State::Inner, Place::Token);
        }
        for (&start, order) in &self.free {
            assert_eq!(self.map.free_order(FrameIdx::new(start)), Some(*order));
            cover(u64::from(start), order.pages(), State::Free, State::Inner, Place::Free);
        }
        for &start in &self.slabs {
            let pages = self.map.word(FrameIdx::new(start)).order().pages();
            cover(u64::from(start), pages, State::Slab, State::Inner, Place::Slab);
        }
        assert_eq!(covered, self.places.len() as u64);
        for (i, state) in expected.iter().enumerate() {
            assert_eq!(self.map.state(FrameIdx::new(i as u32)), *state, "frame {i:#x}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }) })]

    #[test]
    fn every_frame_is_in_exactly_one_place_after_any_steps(steps in steps()) {
        with_map(BLOCKS, |map, all| {
            let places = std::vec![Place::Pristine; all.len() as usize];
            let (free, slabs) = (BTreeMap::new(), Vec::new());
            let mut world = World { map, pristine: std::vec![all], tokens: Vec::new(), free, slabs, places };
            for (kind, pick, n) in steps {
                world.step(kind, pick, n);
                world.check();
            }
        });
    }
}
