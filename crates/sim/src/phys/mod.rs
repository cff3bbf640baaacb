//! The hosted machine's RAM by physical address.
//!
//! It is there from the first moment of a boot, before anything has metadata, and needs no token: page tables are built
//! in it ([`TableMemory`]), the software MMU walks them there, and simulated CPUs load and store through it. Every access is
//! atomic, so that CPUs may be threads; nobody is lent a plain slice of it. Blocks of 2 MiB come into being, zeroed, when
//! they are first written or lent; a read of what was never touched is zero and costs no memory.
//!
//! A machine has entries of one width, and all its RAM is kept in words of that width ([`EntryWidth`]): Rust defines no
//! meaning for atomic accesses of two widths that race. Bytes lie in words in little-endian order on every host.
//!
//! [`crate::Ram`] is a store of its own. It lends plain slices to the holder of a frame's token, exclusively; this memory
//! is shared with everyone who can name an address. A frame could be in both only if each loan of words ended before a
//! slice began, which an address alone cannot prove.

mod block;
mod entry;

use block::{BLOCK_BYTES, BLOCK_SHIFT, Block};
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(crate) use entry::EntryBytes;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_pagetable::TableMemory;
use std::sync::OnceLock;

/// The width of a machine's page-table entries, in which all its RAM is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryWidth {
    /// arm's short descriptors, i386 without PAE.
    Bits32,
    /// Everything else.
    Bits64,
}

impl EntryWidth {
    /// Bytes of one word.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Bits32 => 4,
            Self::Bits64 => 8,
        }
    }
}

/// Why bytes cannot be read or written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PhysError {
    /// This address is no RAM.
    NoRam(PhysAddr),
    /// The host gives no memory for the block at this address.
    HostMemory(PhysAddr),
}

impl fmt::Display for PhysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRam(at) => write!(f, "there is no RAM at {at:#x}"),
            Self::HostMemory(at) => write!(f, "the host gives no memory for the RAM at {at:#x}"),
        }
    }
}

impl core::error::Error for PhysError {}

/// Blocks of one chunk of the address space: a chunk is 1 GiB.
const CHUNK_BLOCKS: usize = 512;

/// One gigabyte of addresses, some of it RAM.
struct Chunk {
    /// Its address divided by its size.
    number: u64,
    /// Made with the first of its blocks.
    blocks: OnceLock<Box<[OnceLock<Block>]>>,
}

/// Simulated RAM.
pub struct PhysMemory {
    /// Sorted, without overlap, not adjacent, not empty.
    ram: Vec<PhysRange>,
    width: EntryWidth,
    /// Sorted by number; each has RAM in it.
    chunks: Vec<Chunk>,
    resident_bytes: AtomicU64,
}

impl PhysMemory {
    /// Zeroed RAM at these addresses, in any order; where ranges overlap there is RAM once.
    pub fn new(ram: impl IntoIterator<Item = PhysRange>, width: EntryWidth) -> Self {
        let mut sorted: Vec<PhysRange> = ram.into_iter().filter(|r| !r.is_empty()).collect();
        sorted.sort_by_key(|r| r.start);
        let mut merged: Vec<PhysRange> = Vec::new();
        for range in sorted {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        let shift = BLOCK_SHIFT + CHUNK_BLOCKS.ilog2();
        let mut chunks: Vec<Chunk> = Vec::new();
        for range in &merged {
            for number in (range.start.get() >> shift)..=((range.end.get() - 1) >> shift) {
                if chunks.last().is_none_or(|c| c.number != number) {
                    chunks.push(Chunk { number, blocks: OnceLock::new() });
                }
            }
        }
        Self { ram: merged, width, chunks, resident_bytes: AtomicU64::new(0) }
    }

    /// Where there is RAM: sorted, adjacent ranges joined.
    pub fn ranges(&self) -> &[PhysRange] {
        &self.ram
    }

    /// The width of its words.
    pub fn width(&self) -> EntryWidth {
        self.width
    }

    /// Host memory that the blocks asked for; the host backs only the pages of them that were written.
    pub fn resident_bytes(&self) -> u64 {
        self.resident_bytes.load(Ordering::Relaxed)
    }

    /// Whether all `len` bytes from `at` are RAM. No bytes are RAM wherever they are.
    #[inline]
    pub fn is_ram(&self, at: PhysAddr, len: u64) -> bool {
        if len == 0 {
            return true;
        }
        let Some(end) = at.checked_add(len) else { return false };
        let after = self.ram.partition_point(|r| r.start <= at);
        after > 0 && end <= self.ram[after - 1].end
    }

    /// Copies the bytes at `at` into `into`. Each word is read at once; words of a longer copy are read one by one.
    ///
    /// # Errors
    /// [`PhysError::NoRam`] with the first address that is none; nothing was copied.
    pub fn read(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), PhysError> {
        self.check(at, into.len() as u64)?;
        let size = self.width.bytes();
        let (mut at, mut rest) = (at.get(), into);
        while !rest.is_empty() {
            let skip = at % size;
            let count = (size - skip).min(rest.len() as u64) as usize;
            let word = self.load(at - skip) >> (8 * skip);
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&word.to_le_bytes()[..count]);
            (at, rest) = (at + count as u64, later);
        }
        Ok(())
    }

    /// Writes `bytes` at `at`. Each word changes at once and keeps what is not written; words of a longer copy change one
    /// after the other.
    ///
    /// # Errors
    /// [`PhysError::NoRam`], then nothing was written; [`PhysError::HostMemory`], then all before that address was.
    pub fn write(&self, at: PhysAddr, bytes: &[u8]) -> Result<(), PhysError> {
        self.check(at, bytes.len() as u64)?;
        let size = self.width.bytes();
        let (mut at, mut rest) = (at.get(), bytes);
        while !rest.is_empty() {
            let skip = at % size;
            let count = (size - skip).min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at(count);
            let mut value = [0; 8];
            value[skip as usize..skip as usize + count].copy_from_slice(now);
            let mask = (u64::MAX >> (64 - 8 * count)) << (8 * skip);
            self.change(at - skip, mask, u64::from_le_bytes(value))?;
            (at, rest) = (at + count as u64, later);
        }
        Ok(())
    }

    /// Zeroes `len` bytes at `at`; whole blocks that were never touched stay untouched.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub fn zero(&self, at: PhysAddr, len: u64) -> Result<(), PhysError> {
        self.check(at, len)?;
        let (mut now, end) = (at.get(), at.get() + len);
        while now < end {
            let made = self.place(now).and_then(|(chunk, index)| Some((chunk.blocks.get()?, index)));
            let step = if made.is_none() { BLOCK_BYTES * CHUNK_BLOCKS as u64 } else { BLOCK_BYTES };
            let count = (end - now).min(step - now % step);
            if made.is_some_and(|(blocks, index)| blocks[index].get().is_some()) {
                let zeroes = [0; 512];
                let mut left = count;
                while left > 0 {
                    let part = left.min(zeroes.len() as u64);
                    self.write(PhysAddr::new(now + count - left), &zeroes[..part as usize])?;
                    left -= part;
                }
            }
            now += count;
        }
        Ok(())
    }

    fn check(&self, at: PhysAddr, len: u64) -> Result<(), PhysError> {
        if self.is_ram(at, len) {
            return Ok(());
        }
        let after = self.ram.partition_point(|r| r.start <= at);
        let hole = match after.checked_sub(1).map(|i| self.ram[i].end) {
            Some(end) if end > at => end,
            _ => at,
        };
        Err(PhysError::NoRam(hole))
    }

    /// The block around an address, if it was made.
    #[inline]
    fn block(&self, at: u64) -> Option<&Block> {
        let (chunk, index) = self.place(at)?;
        chunk.blocks.get()?[index].get()
    }

    #[inline]
    fn place(&self, at: u64) -> Option<(&Chunk, usize)> {
        let block = at >> BLOCK_SHIFT;
        let number = block / CHUNK_BLOCKS as u64;
        // Chunks of one range follow each other, so the first guess is right on most machines.
        let first = self.chunks.first()?.number;
        let guess = usize::try_from(number.checked_sub(first)?).ok()?;
        let chunk = match self.chunks.get(guess).filter(|c| c.number == number) {
            Some(chunk) => chunk,
            None => &self.chunks[self.chunks.binary_search_by_key(&number, |c| c.number).ok()?],
        };
        Some((chunk, (block % CHUNK_BLOCKS as u64) as usize))
    }

    /// The block around an address, made now if this is its first use; `None` if there is no RAM near or no host memory.
    #[inline]
    fn block_or_new(&self, at: u64) -> Option<&Block> {
        let (chunk, index) = self.place(at)?;
        let blocks = chunk.blocks.get_or_init(|| (0..CHUNK_BLOCKS).map(|_| OnceLock::new()).collect());
        let block = &blocks[index];
        if let Some(block) = block.get() {
            return Some(block);
        }
        let new = Block::new(self.width).ok()?;
        // Another thread may have been first; then its memory counts and ours goes back.
        Some(block.get_or_init(|| {
            self.resident_bytes.fetch_add(BLOCK_BYTES, Ordering::Relaxed);
            new
        }))
    }

    /// The word at `at`, a multiple of the width that is RAM at least in part.
    #[inline]
    fn load(&self, at: u64) -> u64 {
        let inside = (at % BLOCK_BYTES) as usize;
        let word = self.block(at).and_then(|block| {
            Some(match self.width {
                EntryWidth::Bits32 => u64::from(block.words32(inside / 4, 1)?[0].load(Ordering::Acquire)),
                EntryWidth::Bits64 => block.words64(inside / 8, 1)?[0].load(Ordering::Acquire),
            })
        });
        word.unwrap_or(0)
    }

    /// Puts the bits in `mask` of the word at `at` to those of `value`, at once.
    fn change(&self, at: u64, mask: u64, value: u64) -> Result<(), PhysError> {
        let inside = (at % BLOCK_BYTES) as usize;
        let put = |block: &Block| {
            match self.width {
                EntryWidth::Bits32 => {
                    let (mask, value) = (mask as u32, value as u32);
                    let new = |old| (old & !mask) | (value & mask);
                    block.words32(inside / 4, 1)?[0].update(Ordering::AcqRel, Ordering::Acquire, new);
                }
                EntryWidth::Bits64 => {
                    let new = |old| (old & !mask) | (value & mask);
                    block.words64(inside / 8, 1)?[0].update(Ordering::AcqRel, Ordering::Acquire, new);
                }
            }
            Some(())
        };
        self.block_or_new(at).and_then(put).ok_or(PhysError::HostMemory(PhysAddr::new(at)))
    }
}

impl fmt::Debug for PhysMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhysMemory")
            .field("ram", &self.ram)
            .field("width", &self.width)
            .field("resident_bytes", &self.resident_bytes())
            .finish_non_exhaustive()
    }
}

impl TableMemory for PhysMemory {
    /// `None` also when the machine's entries are 64 bits wide, or the words are not in one aligned run of 2 MiB.
    #[inline]
    fn words32(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU32]> {
        let bytes = (count as u64).checked_mul(4)?;
        if self.width != EntryWidth::Bits32 || !at.is_aligned(4) || !self.is_ram(at, bytes) {
            return None;
        }
        self.block_or_new(at.get())?.words32((at.get() % BLOCK_BYTES / 4) as usize, count)
    }

    /// `None` also when the machine's entries are 32 bits wide, or the words are not in one aligned run of 2 MiB.
    #[inline]
    fn words64(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU64]> {
        let bytes = (count as u64).checked_mul(8)?;
        if self.width != EntryWidth::Bits64 || !at.is_aligned(8) || !self.is_ram(at, bytes) {
            return None;
        }
        self.block_or_new(at.get())?.words64((at.get() % BLOCK_BYTES / 8) as usize, count)
    }
}

#[cfg(test)]
mod tests;
