//! RAM by physical address: where the processor sees it, as the boot sequence needs it for page tables.

use crate::Carve;
use arrayvec::ArrayVec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr};

/// How many ranges of RAM a map holds.
pub const MAX_RANGES: usize = 64;

/// Ranges of RAM that the processor sees at their physical address plus a constant.
///
/// # Invariants
/// All bytes of `ranges` can be read and written at `offset` from their physical address, for as long as the value lives.
/// Established by [`Self::new`]'s caller.
#[derive(Clone, Debug)]
pub struct DirectMap {
    ranges: ArrayVec<PhysRange, MAX_RANGES>,
    offset: u64,
}

impl DirectMap {
    /// A map of `ranges` (further ones than [`MAX_RANGES`] are left out) at `offset`, the virtual address of physical address 0
    /// as wrapping arithmetic has it.
    ///
    /// # Safety
    /// For as long as the value or a copy of it lives, all bytes of the ranges are mapped at their address plus `offset` as normal
    /// memory that may be read and written. Page tables in them are reached through the map and by the hardware
    /// only; other memory in them is reached by those who own it.
    pub unsafe fn new(ranges: impl IntoIterator<Item = PhysRange>, offset: u64) -> Self {
        let ranges = ranges.into_iter().filter(|r| !r.is_empty()).take(MAX_RANGES).collect();
        Self { ranges, offset }
    }

    /// The ranges.
    pub fn ranges(&self) -> &[PhysRange] {
        &self.ranges
    }

    /// Where a physical address is seen, whether or not there is RAM.
    pub fn virt(&self, at: PhysAddr) -> VirtAddr {
        VirtAddr::new(at.get().wrapping_add(self.offset))
    }

    /// The first of `len` bytes at `at`; `None` unless all of them are RAM of one range.
    pub fn pointer(&self, at: PhysAddr, len: u64) -> Option<NonNull<u8>> {
        let end = at.checked_add(len)?;
        if !self.ranges.iter().any(|r| r.start <= at && end <= r.end) {
            return None;
        }
        let virt = usize::try_from(self.virt(at).get() & (usize::MAX as u64)).ok()?;
        NonNull::new(core::ptr::with_exposed_provenance_mut(virt))
    }

    /// `count` 32-bit words at a multiple of 4, such as the entries of a page table; `None` unless all of them are RAM of one range.
    pub fn words32(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU32]> {
        if !at.is_aligned(4) {
            return None;
        }
        let first = self.pointer(at, (count as u64).checked_mul(4)?)?.cast::<AtomicU32>();
        // SAFETY: the bytes are mapped, readable and writable (the invariant), aligned (checked; the offset is a multiple of a page),
        // any bytes are integers, and whoever else reaches a table does so by atomics or is the hardware.
        Some(unsafe { core::slice::from_raw_parts(first.as_ptr(), count) })
    }

    /// The same of 64-bit words at a multiple of 8.
    pub fn words64(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU64]> {
        if !at.is_aligned(8) {
            return None;
        }
        let first = self.pointer(at, (count as u64).checked_mul(8)?)?.cast::<AtomicU64>();
        // SAFETY: as in `words32`.
        Some(unsafe { core::slice::from_raw_parts(first.as_ptr(), count) })
    }

    /// Memory that nobody uses, to take slices from; `None` unless all of it is RAM of one range.
    ///
    /// # Safety
    /// Nobody else uses these bytes for `'m`: memblock or the page allocator has given them to the caller, who keeps them so long.
    pub unsafe fn carve<'m>(&self, range: PhysRange) -> Option<Carve<'m>> {
        let first = self.pointer(range.start, range.len())?;
        let len = usize::try_from(range.len()).ok()?;
        // SAFETY: mapped, readable and writable (the invariant); nobody else's, as the caller says.
        Some(unsafe { Carve::new(first, len) })
    }

    /// Bytes that a boot loader or the firmware left; `None` unless all of them are RAM of one range.
    ///
    /// # Safety
    /// Nobody writes these bytes for `'m`.
    pub unsafe fn bytes<'m>(&self, at: PhysAddr, len: u64) -> Option<&'m [u8]> {
        let first = self.pointer(at, len)?;
        let len = usize::try_from(len).ok()?;
        // SAFETY: mapped (the invariant), and nobody writes them, as the caller says.
        Some(unsafe { core::slice::from_raw_parts(first.as_ptr(), len) })
    }
}

#[cfg(test)]
mod tests {
    use super::DirectMap;
    use core::sync::atomic::{AtomicU64, Ordering};
    use pagewright_addr::{PhysAddr, PhysRange};

    #[test]
    fn words_are_those_behind_the_offset_and_end_with_the_range() {
        let ram = [const { AtomicU64::new(0) }; 16];
        let phys = PhysAddr::new(0x4000_0000);
        let virt = ram.as_ptr().expose_provenance() as u64;
        let range = PhysRange::from_len(phys, 128);
        // SAFETY: `ram` is 128 bytes of atomics at that address and outlives the map.
        let map = unsafe { DirectMap::new([range], virt.wrapping_sub(phys.get())) };
        map.words64(phys, 16).unwrap()[3].store(7, Ordering::Relaxed);
        assert_eq!(ram[3].load(Ordering::Relaxed), 7);
        assert_eq!(map.words32(phys, 32).unwrap()[6].load(Ordering::Relaxed), 7);
        assert!(map.words64(phys, 17).is_none(), "one word beyond the range");
        assert!(map.words64(PhysAddr::new(0x4000_0004), 1).is_none(), "not aligned");
        assert!(map.words64(PhysAddr::new(0x3fff_fff8), 1).is_none(), "before the range");
    }
}
