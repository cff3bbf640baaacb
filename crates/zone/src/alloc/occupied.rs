//! Which orders have free blocks, by migrate type: what everybody reads without the zone's lock.
//!
//! Written under the lock. The last word says whether pages wait to be merged ([`crate::buddy`]): it is written last and read first, so who reads
//! there that none do finds the blocks that they became in the others (explored by loom: `tests/loom`).

use crate::buddy::MigrateType;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Of how many migrate types a word tells which orders have blocks, and how many words there are.
const TYPES: usize = usize::BITS as usize / 16;
const WORDS: usize = MigrateType::COUNT.div_ceil(TYPES);
/// Nobody asks for isolated blocks: in their place it says whether pages wait.
const WAITING: usize = MigrateType::Isolate.index();

const _: () = assert!(WAITING / TYPES == WORDS - 1);

/// The words of a zone.
#[derive(Debug)]
pub(super) struct OccupiedWords {
    words: [AtomicUsize; WORDS],
}

impl OccupiedWords {
    /// Nothing is free.
    pub(super) const fn new() -> Self {
        Self { words: [const { AtomicUsize::new(0) }; WORDS] }
    }

    /// Tells what is free: for each type a bit for each order, and in the place of isolated blocks whether pages wait. Under the lock.
    #[inline]
    pub(super) fn tell(&self, occupied: &[u16; MigrateType::COUNT]) {
        // As many at once as a register holds.
        let word = |at: usize| {
            let types = &occupied[at * TYPES..MigrateType::COUNT.min(at * TYPES + TYPES)];
            types.iter().rev().fold(0, |word, &orders| word << 16 | usize::from(orders))
        };
        for at in 0..WORDS - 1 {
            self.words[at].store(word(at), Relaxed);
        }
        self.words[WORDS - 1].store(word(WORDS - 1), Release);
    }

    /// Of which orders a type has blocks.
    #[inline]
    pub(super) fn of(&self, migrate: MigrateType) -> u16 {
        let at = migrate.index();
        (self.words[at / TYPES].load(Relaxed) >> (16 * (at % TYPES))) as u16
    }

    /// Whether pages wait, so that there may be blocks that are not told of. Who asks before he looks for blocks sees all that waited no more.
    #[inline]
    pub(super) fn has_waiting(&self) -> bool {
        self.words[WAITING / TYPES].load(Acquire) >> (16 * (WAITING % TYPES)) & 0xffff != 0
    }

    /// Whether there is what `look` looks for, if need be once what waits was merged.
    #[inline]
    pub(super) fn find(&self, look: impl Fn() -> bool, merge: impl FnOnce()) -> bool {
        let waiting = self.has_waiting();
        look()
            || (waiting && {
                merge();
                look()
            })
    }
}
