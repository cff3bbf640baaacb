//! How chunks are shaped: the same for all chunks of an allocator.

use crate::error::AllocError;
use core::ptr::NonNull;

/// The finest grain of an allocation in bytes, one bit of a map (`PCPU_MIN_ALLOC_SIZE`).
pub const MIN_ALLOC: u64 = 4;
/// The largest allocation in bytes (`PCPU_MIN_UNIT_SIZE`: no unit is smaller).
pub const MAX_SIZE: u64 = 32 << 10;
/// The largest unit: so many bits have numbers of 32 bits with room to spare.
const MAX_UNIT: u64 = 1 << 30;

/// The shape of chunks.
///
/// # Invariants
/// The page size is a power of two from 4 KiB to 64 KiB, the unit size a multiple of it, at least [`MAX_SIZE`] and at most 1 GiB;
/// units do not overlap, begin at multiples of a page, and the lowest lies at 0. Established by [`Self::new`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry<'m> {
    page: u32,
    unit: u64,
    span: u64,
    offsets: &'m [u64],
}

impl<'m> Geometry<'m> {
    /// Units of `unit` bytes, CPU `c`'s at `offsets[c]` bytes from the lowest. `None` for what the type's invariant excludes.
    pub fn new(page: u64, unit: u64, offsets: &'m [u64]) -> Option<Self> {
        let pages = page.is_power_of_two() && (4 << 10..=64 << 10).contains(&page);
        let fits = pages && unit.is_multiple_of(page) && (MAX_SIZE..=MAX_UNIT).contains(&unit);
        let lowest = offsets.iter().copied().min()?;
        if !fits || lowest != 0 {
            return None;
        }
        for (at, first) in offsets.iter().enumerate() {
            let apart = |other: &u64| first.abs_diff(*other) >= unit;
            if !first.is_multiple_of(page) || !offsets[..at].iter().all(apart) {
                return None;
            }
        }
        let span = offsets.iter().copied().max()?.checked_add(unit)?;
        // Later chunks take the span and their maps: it must stay a number that has room for both.
        isize::try_from(span.checked_mul(2)?).ok()?;
        Some(Self { page: page as u32, unit, span, offsets })
    }

    /// The page size in bytes.
    pub const fn page(&self) -> u64 {
        self.page as u64
    }

    /// Bytes of a unit.
    pub const fn unit(&self) -> u64 {
        self.unit
    }

    /// Bytes from the lowest unit's first to the highest unit's end.
    pub const fn span(&self) -> u64 {
        self.span
    }

    /// Number of CPUs.
    pub const fn cpus(&self) -> usize {
        self.offsets.len()
    }

    /// How many bytes a CPU's unit lies behind the lowest one.
    pub fn offset(&self, cpu: usize) -> Option<u64> {
        self.offsets.get(cpu).copied()
    }

    /// The offsets of all CPUs.
    pub const fn offsets(&self) -> &'m [u64] {
        self.offsets
    }

    /// A request in pieces of [`MIN_ALLOC`] bytes: how many, and the alignment.
    pub(crate) const fn pieces(&self, size: u64, align: u64) -> Result<(u32, u32), AllocError> {
        if size == 0 || size > MAX_SIZE || !align.is_power_of_two() || align > self.page() {
            return Err(AllocError::Illegal { size, align });
        }
        let align = if align < MIN_ALLOC { MIN_ALLOC } else { align };
        // As both are small, words do: two instructions of 32-bit processors where there were five.
        Ok(((size as u32).div_ceil(MIN_ALLOC as u32), align as u32 / MIN_ALLOC as u32))
    }

    /// Pieces in a page, the reach of one block of hints.
    pub(crate) const fn block_bits(&self) -> u32 {
        self.page / MIN_ALLOC as u32
    }
}

/// The chunk that exists from the boot on: where its units lie and what their parts are for, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FirstChunk {
    /// The lowest unit's first byte.
    pub lowest: NonNull<u8>,
    /// Each unit's beginning: the static per-CPU data, which is not given out.
    pub static_size: u64,
    /// Behind it, for modules ([`How::Reserved`](crate::How)).
    pub reserved_size: u64,
    /// Behind that, for everyone. The unit's rest is not this chunk's.
    pub dyn_size: u64,
}
