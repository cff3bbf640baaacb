//! Small parts of the model's test: random numbers, a source that runs dry, a flush that counts, attributes to choose from.

use pagewright_addr::PhysAddr;
use pagewright_pagetable::{
    Attr, AttrFlags, FlushScope, Format, Leaf, Level, MemoryType, Pool, Shareability, TableSource, TlbFlush,
    Word,
};

/// A small generator: the sequence of a seed is the same everywhere.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n.max(1)
    }
}

/// A source that gives `left` pages and then none.
pub(crate) struct Limited<'p, W: Word> {
    pub(crate) pool: &'p Pool<'p, W>,
    pub(crate) left: u64,
}

impl<W: Word> TableSource for Limited<'_, W> {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        self.left = self.left.checked_sub(1)?;
        self.pool.alloc()
    }

    fn free_table(&mut self, page: PhysAddr) {
        self.left += 1;
        self.pool.free(page);
    }
}

/// Counts flushes.
#[derive(Default)]
pub(crate) struct Counted(pub(crate) u64);

impl TlbFlush for Counted {
    fn flush(&mut self, _: &FlushScope) {
        self.0 += 1;
    }
}

/// Attributes that the format can say of pages and blocks alike, at most `most`.
pub(crate) fn attrs<F: Format>(format: &F, most: usize) -> Vec<Attr> {
    let mut all = Vec::new();
    let kinds = [MemoryType::Normal, MemoryType::StronglyOrdered]
        .into_iter()
        .flat_map(|m| [Shareability::Inner, Shareability::None].map(|s| (m, s)));
    // An odd stride meets every combination of flags once, and soon some of each kind.
    for n in 0..1u16 << 9 {
        let flags = AttrFlags::from_bits_truncate(n.wrapping_mul(151) & 0x1ff);
        for (memory, share) in kinds.clone() {
            let attr = Attr::normal(flags).with_memory(memory).with_share(share);
            let leaf = Leaf { phys: PhysAddr::ZERO, attr, contiguous: false };
            let says = |level| format.leaf_word(level, &leaf).is_ok();
            if says(Level::PTE) && says(Level::PMD) {
                all.push(attr);
            }
            if all.len() == most {
                return all;
            }
        }
    }
    assert!(!all.is_empty(), "the format can say nothing at all");
    all
}
