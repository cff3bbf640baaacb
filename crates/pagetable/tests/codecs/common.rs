//! What every codec is held to.

use pagewright_addr::PhysAddr;
use pagewright_pagetable::{Attr, AttrFlags, Entry, Format, Leaf, Level, MemoryType, Shareability, Step};
use proptest::prelude::*;

pub(crate) const MEMORY: [MemoryType; 8] = [
    MemoryType::Normal,
    MemoryType::NormalTagged,
    MemoryType::WriteThrough,
    MemoryType::WriteProtect,
    MemoryType::WriteCombine,
    MemoryType::UncachedMinus,
    MemoryType::StronglyOrdered,
    MemoryType::Device,
];

/// Few cases under Miri; failures are not written to files.
pub(crate) fn cases() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 })
    }
}

/// Any attribute at all, with the common values often enough that encodable ones turn up.
pub(crate) fn any_attr() -> impl Strategy<Value = Attr> {
    let share = prop_oneof![
        3 => Just(Shareability::Inner),
        1 => Just(Shareability::Outer),
        1 => Just(Shareability::None)
    ];
    let small = || prop_oneof![3 => Just(0u8), 1 => any::<u8>(), 2 => 0u8..16];
    (0u16..512, prop::sample::select(&MEMORY[..]), share, small(), small()).prop_map(
        |(flags, memory, share, key, software)| Attr {
            flags: AttrFlags::from_bits_truncate(flags),
            memory,
            share,
            key,
            software,
        },
    )
}

/// Any leaf: mostly at a multiple of a power of two that leaves have.
pub(crate) fn any_leaf() -> impl Strategy<Value = Leaf> {
    let shift = prop::sample::select(vec![4u32, 12, 14, 16, 20, 21, 22, 25, 29, 30, 39]);
    (any::<u64>(), 0u32..40, shift, any_attr(), any::<bool>()).prop_map(
        |(phys, smaller, shift, attr, contiguous)| Leaf {
            phys: PhysAddr::new(((phys & ((1 << 52) - 1)) >> smaller) & (u64::MAX << shift)),
            attr,
            contiguous,
        },
    )
}

/// Leaves at `phys` with every combination of flags, memory type, shareability and contiguous mark; and with each of some keys and
/// software bits.
pub(crate) fn every_leaf(phys: u64, mut see: impl FnMut(&Leaf)) {
    let leaf = |attr, contiguous| Leaf { phys: PhysAddr::new(phys), attr, contiguous };
    let share = [Shareability::None, Shareability::Outer, Shareability::Inner];
    // Miri is slow, and has nothing to find in arithmetic.
    let step = if cfg!(miri) { 37 } else { 1 };
    for flags in (0..=AttrFlags::all().bits()).step_by(step).map(AttrFlags::from_bits_truncate) {
        for memory in MEMORY {
            for share in share {
                for contiguous in [false, true] {
                    see(&leaf(Attr { flags, memory, share, key: 0, software: 0 }, contiguous));
                }
            }
        }
        for key in [0, 1, 3, 15, 16, 255] {
            for software in [0, 1, 2, 4, 7, 8, 128] {
                see(&leaf(Attr { key, software, ..Attr::normal(flags) }, false));
            }
        }
    }
}

/// What is written is read again, or is refused; and `expected` says which of the two.
pub(crate) fn goes_round<F: Format>(format: &F, leaf: &Leaf, expected: &dyn Fn(Level, &Leaf) -> bool) {
    for n in 0..F::SHAPE.count() {
        let level = Level::new(n);
        let word = format.leaf_word(level, leaf);
        assert_eq!(word.is_ok(), expected(level, leaf), "{} {level:?} {leaf:?}: {word:?}", F::NAME);
        if let Ok(word) = word {
            assert_eq!(format.entry(level, word), Entry::Leaf(*leaf), "{} {level:?} {word:#x}", F::NAME);
            agree(format, level, word);
        }
    }
}

/// The fast decoder says what the full one says, of every word that is not reserved.
pub(crate) fn agree<F: Format>(format: &F, level: Level, word: u64) {
    let step = format.step(level, word);
    let full = match format.entry(level, word) {
        Entry::Empty | Entry::Software(_) => Step::Absent,
        Entry::Table(next, _) => Step::Table(next),
        Entry::Leaf(leaf) => Step::Leaf(leaf.phys),
        Entry::Reserved(w) => {
            assert_eq!(w, word);
            return;
        }
    };
    assert_eq!(step, full, "{} {level:?} {word:#x}", F::NAME);
}
