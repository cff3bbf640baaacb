//! RAM by physical address: where the processor sees it, as the boot sequence needs it for page tables.

use crate::Carve;
use arrayvec::ArrayVec;
use core::marker::PhantomData;
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
    /// The largest of `ranges`: most questions are about it, and it is asked first.
    main: PhysRange,
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
        let ranges: ArrayVec<_, MAX_RANGES> =
            ranges.into_iter().filter(|r| !r.is_empty()).take(MAX_RANGES).collect();
        let nothing = PhysRange { start: PhysAddr::ZERO, end: PhysAddr::ZERO };
        let main = ranges.iter().copied().max_by_key(PhysRange::len).unwrap_or(nothing);
        Self { main, ranges, offset }
    }

    /// The ranges.
    pub fn ranges(&self) -> &[PhysRange] {
        &self.ranges
    }

    /// Where a physical address is seen, whether or not there is RAM.
    #[inline]
    pub fn virt(&self, at: PhysAddr) -> VirtAddr {
        VirtAddr::new(at.get().wrapping_add(self.offset))
    }

    /// The first of `len` bytes at `at`; `None` unless all of them are RAM of one range.
    #[inline]
    pub fn pointer(&self, at: PhysAddr, len: u64) -> Option<NonNull<u8>> {
        let end = at.checked_add(len)?;
        let in_main = self.main.start <= at && end <= self.main.end;
        if !in_main && !self.has_elsewhere(at, end) {
            return None;
        }
        NonNull::new(core::ptr::with_exposed_provenance_mut(self.virt(at).get() as usize))
    }

    /// Whether a range other than the largest has all bytes up to `end`.
    #[cold]
    fn has_elsewhere(&self, at: PhysAddr, end: PhysAddr) -> bool {
        self.ranges.iter().any(|r| r.start <= at && end <= r.end)
    }

    /// `count` 32-bit words at a multiple of 4, such as the entries of a page table; `None` unless all of them are RAM of one range.
    #[inline]
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
    #[inline]
    pub fn words64(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU64]> {
        if !at.is_aligned(8) {
            return None;
        }
        let first = self.pointer(at, (count as u64).checked_mul(8)?)?.cast::<AtomicU64>();
        // SAFETY: as in `words32`.
        Some(unsafe { core::slice::from_raw_parts(first.as_ptr(), count) })
    }

    /// Words of which it is known that they are RAM.
    #[inline]
    pub const fn known(&self) -> KnownWords<'_> {
        KnownWords { offset: self.offset, map: PhantomData }
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

/// The words of a [`DirectMap`], without the question whether they are RAM: for whoever knows. So small that it stays in a register.
///
/// # Invariants
/// `offset` is the map's.
#[derive(Clone, Copy, Debug)]
pub struct KnownWords<'d> {
    offset: u64,
    map: PhantomData<&'d DirectMap>,
}

impl<'d> KnownWords<'d> {
    #[inline]
    const fn pointer<T>(self, at: PhysAddr) -> *const T {
        core::ptr::with_exposed_provenance(at.get().wrapping_add(self.offset) as usize)
    }

    /// One 32-bit word.
    ///
    /// # Safety
    /// [`DirectMap::words32`] would find it: `at` is a multiple of 4, and one of the map's ranges has all 4 bytes.
    #[inline]
    pub unsafe fn word32(self, at: PhysAddr) -> &'d AtomicU32 {
        // SAFETY: the word is in a range and aligned, as the caller says; the rest as in `DirectMap::words32`.
        unsafe { &*self.pointer(at) }
    }

    /// One 64-bit word.
    ///
    /// # Safety
    /// [`DirectMap::words64`] would find it: `at` is a multiple of 8, and one of the map's ranges has all 8 bytes.
    #[inline]
    pub unsafe fn word64(self, at: PhysAddr) -> &'d AtomicU64 {
        // SAFETY: as in `word32`.
        unsafe { &*self.pointer(at) }
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
        let fourth = PhysAddr::new(phys.get() + 24);
        // SAFETY: the fourth of sixteen words, and the first half of it.
        let (known, half) = unsafe { (map.known().word64(fourth), map.known().word32(fourth)) };
        assert_eq!((known.load(Ordering::Relaxed), half.load(Ordering::Relaxed)), (7, 7));
    }

    #[test]
    fn what_lies_in_a_small_range_is_found_beside_a_large_one() {
        let ram = [const { AtomicU64::new(0) }; 16];
        let virt = ram.as_ptr().expose_provenance() as u64;
        let at = PhysAddr::new(0x1000);
        let inside = |offset| PhysAddr::new(at.get() + offset);
        let [small, hole, large] = [(0, 24), (24, 64), (64, 128)]
            .map(|(start, end)| PhysRange { start: inside(start), end: inside(end) });
        // SAFETY: both ranges are parts of `ram`, which outlives the map.
        let map = unsafe { DirectMap::new([small, large], virt.wrapping_sub(at.get())) };
        for (n, cell) in ram.iter().enumerate() {
            let found = map.words64(inside(8 * n as u64), 1).map(|words| core::ptr::from_ref(&words[0]));
            let there = !hole.contains(inside(8 * n as u64));
            assert_eq!(found, there.then_some(core::ptr::from_ref(cell)), "word {n}");
        }
        assert!(map.words64(at, 16).is_none(), "not all of it is there");
    }
}
