//! arm's short descriptors, as Linux lays them out.
//!
//! ARMv7-AR B3.5 "Short-descriptor translation table format" (figures B3-4, B3-5), B3.7 (permissions, with SCTLR.AFE
//! clear), B3.8.3 (TEX remap).
//!
//! # Two words for a page
//! Hardware's PTEs have no room for accessed and dirty bits, so Linux keeps a word of its own beside each. A table has 256
//! entries (1 MiB); two tables share a page, and with Linux's words that fills it: 512 of Linux's, then 512 of the
//! hardware's. A slot of the lowest level is such a pair, with hardware's word in the lower half of the `u64` and Linux's
//! in the upper. Linux's says all; the hardware's follows from it:
//!
//! - a page that is old (not accessed) has 0 for the hardware, so that its next use faults;
//! - a page that is clean is read-only for the hardware, so that its first write faults.
//!
//! A hardware word without Linux's beside it (tables that no Linux made) is understood as young, and dirty if
//! it may be written. `nG` is in the hardware's word only: an old page is global exactly if it is no user page.
//!
//! # Sections
//! The root's 4096 entries are 1 MiB each (Linux sees them in pairs, as 2048 of 2 MiB); an entry may be a section. Sections
//! have nowhere to note anything, so all of them count as accessed and dirty. Sixteen equal entries make a supersection
//! of 16 MiB and all hold its address ([`Format::GROUP_ADDRESS`]).
//!
//! # What has no encoding
//! There is one XN bit: it is the bit of whoever may use the page, [`AttrFlags::USER_EXEC`](crate::AttrFlags) on user
//! pages and `EXEC` on others, and sections are read the same way so that they can be split. (Sections and tables have PXN as well:
//! user sections that are executable get it.) NS is left clear and ignored. A page's domain is its table's,
//! [`ArmShortConfig::table_domain`]; a section of another domain cannot be split. Of [`TableLimits`] a table can say
//! `NO_EXEC` (PXN) and nothing else.

use super::{page, section};
use crate::attr::{AttrError, TableLimits};
use crate::format::{Entry, Format, Leaf, MemoryTypes, Step};
use crate::run::{count_pairs_while, count_while, store_counted};
use crate::shape::{Level, LevelShape, Shape, Window};
use crate::word::Word;
use core::sync::atomic::{AtomicU32, Ordering, fence};
use pagewright_addr::PhysAddr;

pub use super::page::{bits as page_bits, linux_bits};
pub use super::section::bits as section_bits;

/// What the processor and the kernel chose at run time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArmShortConfig {
    /// What PRRR and NMRR hold; the index is TEX\[0\], C, B.
    pub memory: MemoryTypes,
    /// The domain of new tables, and so of the pages below them (Linux: 0 for the kernel, 1 for user space, 3 for the
    /// vectors).
    pub table_domain: u8,
    /// Sections and tables have a PXN bit (ID_MMFR0.VMSA at least 4).
    pub pxn: bool,
    /// Supersections exist (ID_MMFR3\[31:28\]).
    pub supersections: bool,
    /// The addresses that the tree translates are those below `2^window_bits`: 32, or 32 less TTBCR.N for TTBR0's tree,
    /// whose root is that much smaller.
    pub window_bits: u32,
}

impl Default for ArmShortConfig {
    /// Linux's registers, domain 0, PXN, no supersections, all 32 bits.
    fn default() -> Self {
        Self {
            memory: MemoryTypes::ARM_TEX_REMAP,
            table_domain: 0,
            pxn: true,
            supersections: false,
            window_bits: 32,
        }
    }
}

/// The format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ArmShort {
    /// What was chosen at run time.
    pub config: ArmShortConfig,
}

/// A page of PTEs: so many words of Linux's, then as many of the hardware's.
const WORDS: usize = 512;
/// Where the hardware's begin.
const HARDWARE_OFFSET: u64 = 2048;
/// Bytes of one hardware table.
const TABLE_BYTES: u64 = 1024;

impl ArmShort {
    /// The domain in a root entry that leads to a table, or is a section.
    pub const fn domain(word: u64) -> u8 {
        section::domain(word as u32)
    }

    /// What follows an expected slot in a run: a word that is not there (the hardware's of an old page) does not count up.
    #[inline]
    const fn next(level: Level, word: u64, step: u64) -> u64 {
        let (hardware, linux) = (word as u32 as u64, word >> 32);
        match level {
            Level::PTE if hardware == 0 => word.wrapping_add(step & !0xffff_ffff),
            Level::PTE if linux == 0 => word.wrapping_add(step & 0xffff_ffff),
            _ => word.wrapping_add(step),
        }
    }
}

impl Format for ArmShort {
    type Word = u32;
    const SHAPE: Shape = Shape::new(
        12,
        &[
            LevelShape { tables_per_page: 2, ..LevelShape::new(12, 8, true) },
            LevelShape::new(20, 12, true).with_contiguous(16),
        ],
    );
    const NAME: &'static str = "arm, short descriptors";
    // ARMv7-AR B3.10.1 "Using break-before-make when updating translation tables".
    const BREAK_BEFORE_MAKE: bool = true;
    const GROUP_ADDRESS: bool = true;
    const SOFTWARE_WORDS: bool = true;
    const HARDWARE_AT: usize = WORDS;

    #[inline]
    fn window(&self) -> Window {
        Window::Low { bits: self.config.window_bits }
    }

    fn table_word(&self, _: Level, index: usize, page: PhysAddr, limits: TableLimits) -> u64 {
        let table = page.get() + HARDWARE_OFFSET + (index as u64 & 1) * TABLE_BYTES;
        section::encode_table(&self.config, table, limits)
    }

    fn leaf_word(&self, level: Level, leaf: &Leaf) -> Result<u64, AttrError> {
        match level {
            Level::PTE => page::encode(&self.config, leaf),
            Level::PMD => section::encode(&self.config, leaf),
            _ => Err(AttrError::Level(level)),
        }
    }

    fn entry(&self, level: Level, word: u64) -> Entry {
        match level {
            Level::PTE => page::decode(&self.config, word),
            _ => section::decode(&self.config, word),
        }
    }

    #[inline]
    fn step(&self, level: Level, word: u64) -> Step {
        match level {
            Level::PTE => page::step(word),
            _ => section::step(word),
        }
    }

    #[inline]
    fn leaf_step(&self, level: Level, contiguous: bool) -> u64 {
        match (level, contiguous) {
            (Level::PTE, _) => (1 << 12) | (1 << (12 + 32)),
            (_, false) => 1 << 20,
            (_, true) => 0,
        }
    }

    #[inline]
    fn locate(&self, level: Level, first_entry: PhysAddr) -> (PhysAddr, usize) {
        if level != Level::PTE {
            return (first_entry, 0);
        }
        let page = first_entry.align_down(4096);
        // A table that does not lie in the hardware's half is refused where its entry is decoded.
        let second = first_entry.get() & TABLE_BYTES != 0;
        (page, if second { WORDS / 2 } else { 0 })
    }

    #[inline]
    fn page_words(&self, level: Level) -> usize {
        match level {
            Level::PTE => 2 * WORDS,
            _ => 1 << self.config.window_bits.saturating_sub(20),
        }
    }

    #[inline]
    fn load(&self, level: Level, words: &[AtomicU32], at: usize) -> u64 {
        let word = u32::load(&words[at]);
        if level == Level::PTE { (word << 32) | u32::load(&words[at + WORDS]) } else { word }
    }

    #[inline]
    fn store(&self, level: Level, words: &[AtomicU32], at: usize, word: u64) {
        if level == Level::PTE {
            u32::store(&words[at], word >> 32);
            u32::publish(&words[at + WORDS], word);
        } else {
            u32::store(&words[at], word);
        }
    }

    #[inline]
    fn store_run(&self, level: Level, words: &[AtomicU32], at: usize, count: usize, first: u64, step: u64) {
        if level != Level::PTE {
            return u32::store_counted(&words[at..at + count], first, step);
        }
        let (linux, hardware) = words.split_at(WORDS);
        let (linux, hardware) = (&linux[at..at + count], &hardware[at..at + count]);
        let store = |cells, first: u32| {
            let step = if first == 0 { 0 } else { step as u32 };
            let next = |word: u32| word.wrapping_add(step);
            store_counted(cells, first, next, |cell: &AtomicU32, word| cell.store(word, Ordering::Relaxed));
        };
        store(linux, (first >> 32) as u32);
        // An entry that the hardware can use has Linux's beside it at any time.
        fence(Ordering::Release);
        store(hardware, first as u32);
    }

    #[inline]
    fn count_empty(&self, level: Level, words: &[AtomicU32], at: usize, most: usize) -> usize {
        let empty = |cells: &[AtomicU32]| count_while(cells, |cell| u32::peek(cell) == 0);
        let count = empty(&words[at..at + most]);
        if level == Level::PTE { empty(&words[at + WORDS..at + WORDS + count]) } else { count }
    }

    fn take(&self, level: Level, words: &[AtomicU32], at: usize) -> u64 {
        if level == Level::PTE {
            // The hardware's first: an entry that it can use has Linux's beside it at any time.
            let hardware = u32::swap(&words[at + WORDS], 0);
            hardware | (u32::swap(&words[at], 0) << 32)
        } else {
            u32::swap(&words[at], 0)
        }
    }

    #[inline]
    fn erase(&self, level: Level, words: &[AtomicU32], at: usize) {
        if level != Level::PTE {
            return u32::publish(&words[at], 0);
        }
        // The hardware's first: an entry that it can use has Linux's beside it at any time.
        u32::publish(&words[at + WORDS], 0);
        u32::publish(&words[at], 0);
    }

    fn count_run(
        &self,
        level: Level,
        words: &[AtomicU32],
        at: usize,
        most: usize,
        first: u64,
        step: u64,
    ) -> usize {
        let mut expected = first;
        for n in 0..most {
            if self.load(level, words, at + n) != expected {
                return n;
            }
            expected = Self::next(level, expected, step);
        }
        most
    }

    fn change_run(
        &self,
        level: Level,
        words: &[AtomicU32],
        at: usize,
        most: usize,
        first: u64,
        step: u64,
        delta: u64,
    ) -> usize {
        let mut expected = first;
        for n in 0..most {
            let mut new = expected ^ delta;
            if level == Level::PTE {
                // The hardware's word may come or go as a whole, so its difference is another for each page.
                new = page::with_hardware(new);
            }
            if self.replace(level, words, at + n, expected, new).is_err() {
                return n;
            }
            if level == Level::PTE && expected >> 32 == 0 {
                // Linux's word was made for this page; the difference would give the next one the same address.
                return n + 1;
            }
            expected = Self::next(level, expected, step);
        }
        most
    }

    #[inline]
    fn take_run(
        &self,
        level: Level,
        words: &[AtomicU32],
        at: usize,
        most: usize,
        first: u64,
        step: u64,
    ) -> usize {
        // Hardware changes nothing in this format, and only the caller may be changing these entries.
        if level != Level::PTE {
            return u32::take_counted(&words[at..at + most], first, step);
        }
        let (linux, hardware) = words.split_at(WORDS);
        let (linux, hardware) = (&linux[at..at + most], &hardware[at..at + most]);
        let (mut soft, mut hard) = ((first >> 32) as u32, first as u32);
        let counts = |word| if word == 0 { 0 } else { step as u32 };
        let (soft_step, hard_step) = (counts(soft), counts(hard));
        // The hardware's first: an entry that it can use has Linux's beside it at any time.
        let count = count_pairs_while(linux, hardware, |linux, hardware| {
            let found = (linux.load(Ordering::Relaxed), hardware.load(Ordering::Relaxed));
            if found != (soft, hard) {
                return false;
            }
            hardware.store(0, Ordering::Relaxed);
            soft = soft.wrapping_add(soft_step);
            hard = hard.wrapping_add(hard_step);
            true
        });
        fence(Ordering::Release);
        u32::store_counted(&linux[..count], 0, 0);
        count
    }

    fn replace(&self, level: Level, words: &[AtomicU32], at: usize, old: u64, new: u64) -> Result<(), u64> {
        if level != Level::PTE {
            return u32::replace(&words[at], old, new);
        }
        let found = self.load(level, words, at);
        if found != old {
            return Err(found);
        }
        u32::replace(&words[at], old >> 32, new >> 32).map_err(|_| self.load(level, words, at))?;
        u32::publish(&words[at + WORDS], new);
        Ok(())
    }
}
