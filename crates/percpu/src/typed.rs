//! A value for each CPU.

use crate::allocator::{How, PerCpuAllocator};
use crate::error::AllocError;
use crate::memory::{ChunkSource, PerCpuBytes};
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use pagewright_platform::Interrupts;

/// An allocator of per-CPU memory, whatever its source.
///
/// # Safety
/// What [`Self::alloc`] returns has, at each of [`Self::offsets`], a copy of the size and alignment that were asked for, which can be
/// read and written and belongs to nobody else until [`Self::free`] gets it.
pub unsafe trait PerCpuMemory {
    /// `size` bytes for each CPU, at a multiple of `align`.
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed then.
    fn alloc(&self, size: u64, align: u64, how: How) -> Result<PerCpuBytes, AllocError>;

    /// Takes an allocation back. Another allocator's stays in use.
    fn free(&self, bytes: PerCpuBytes);

    /// How far behind the lowest each CPU's copy lies.
    fn offsets(&self) -> &[u64];
}

// SAFETY: the maps give each piece out once; units are there at the geometry's offsets, in the first chunk as its maker promised and in
// others as the source does; alignment up to a page holds in all units, since chunks begin at a page (checked for the first, a
// source's promise for others) and the geometry's offsets are multiples of one.
unsafe impl<S: ChunkSource, I: Interrupts> PerCpuMemory for PerCpuAllocator<'_, S, I> {
    fn alloc(&self, size: u64, align: u64, how: How) -> Result<PerCpuBytes, AllocError> {
        Self::alloc(self, size, align, how)
    }

    fn free(&self, bytes: PerCpuBytes) {
        // Another allocator's stays in use, as a token that is dropped does.
        let _other = Self::free(self, bytes);
    }

    fn offsets(&self) -> &[u64] {
        self.geometry().offsets()
    }
}

/// A `T` for each CPU, dropped with the box. Any CPU may read all of them; what one CPU alone changes goes into a
/// [`pagewright_platform::PerCpu`], and counters into atomics.
///
/// # Invariants
/// The copies at all offsets of the allocator hold a valid `T`. Established by [`Self::new`].
pub struct PerCpuBox<'p, T> {
    memory: &'p (dyn PerCpuMemory + Sync),
    bytes: ManuallyDrop<PerCpuBytes>,
    offsets: &'p [u64],
    values: PhantomData<T>,
}

impl<'p, T> PerCpuBox<'p, T> {
    /// One value for each CPU, made by `make` with its number.
    ///
    /// # Errors
    /// [`AllocError`]; `make` has not been called then.
    pub fn new(
        memory: &'p (dyn PerCpuMemory + Sync),
        how: How,
        make: impl FnMut(usize) -> T,
    ) -> Result<Self, AllocError> {
        let size = (size_of::<T>() as u64).max(1);
        let bytes = memory.alloc(size, align_of::<T>() as u64, how)?;
        // Values that exist already are dropped and the memory goes back should `make` panic.
        let mut filling = Filling { memory, bytes: ManuallyDrop::new(bytes), done: 0, values: PhantomData };
        filling.fill(make);
        let mut filled = ManuallyDrop::new(filling);
        // SAFETY: `filled` is neither dropped nor used again.
        let bytes = unsafe { ManuallyDrop::take(&mut filled.bytes) };
        Ok(Self { memory, bytes: ManuallyDrop::new(bytes), offsets: memory.offsets(), values: PhantomData })
    }

    /// Number of CPUs.
    pub const fn cpus(&self) -> usize {
        self.offsets.len()
    }

    /// A CPU's value; `None` if there is no such CPU.
    #[inline]
    pub fn get(&self, cpu: usize) -> Option<&T> {
        let at = self.bytes.at(*self.offsets.get(cpu)?).cast::<T>();
        // SAFETY: the type's invariant; the value is shared only while the box is.
        Some(unsafe { at.as_ref() })
    }

    /// The values of all CPUs.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.cpus()).filter_map(|cpu| self.get(cpu))
    }

    /// A CPU's value, exclusively.
    pub fn get_mut(&mut self, cpu: usize) -> Option<&mut T> {
        let mut at = self.bytes.at(*self.offsets.get(cpu)?).cast::<T>();
        // SAFETY: the type's invariant; the box is borrowed exclusively.
        Some(unsafe { at.as_mut() })
    }
}

impl<T> Drop for PerCpuBox<'_, T> {
    fn drop(&mut self) {
        let all = self.offsets.len();
        // SAFETY: all copies hold values (the invariant), and neither they nor the token are used after this.
        unsafe { release::<T>(self.memory, &mut self.bytes, all) };
    }
}

impl<T: fmt::Debug> fmt::Debug for PerCpuBox<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A box whose first `done` copies hold a value.
struct Filling<'p, T> {
    memory: &'p (dyn PerCpuMemory + Sync),
    bytes: ManuallyDrop<PerCpuBytes>,
    done: usize,
    values: PhantomData<T>,
}

impl<T> Filling<'_, T> {
    fn fill(&mut self, mut make: impl FnMut(usize) -> T) {
        for (cpu, offset) in self.memory.offsets().iter().enumerate() {
            let at: NonNull<T> = self.bytes.at(*offset).cast();
            let value = make(cpu);
            // SAFETY: the copy has T's size and alignment, which were asked for, and is this allocation's alone.
            unsafe { at.write(value) };
            self.done = cpu + 1;
        }
    }
}

impl<T> Drop for Filling<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the first `done` copies were written; nothing is used after this.
        unsafe { release::<T>(self.memory, &mut self.bytes, self.done) };
    }
}

/// Drops the values of the first `count` CPUs and gives the memory back.
///
/// # Safety
/// They hold values, and neither these nor the token are used afterwards.
unsafe fn release<T>(memory: &dyn PerCpuMemory, bytes: &mut ManuallyDrop<PerCpuBytes>, count: usize) {
    for offset in memory.offsets().iter().take(count) {
        // SAFETY: it holds a value, as the caller says.
        unsafe { bytes.at(*offset).cast::<T>().drop_in_place() };
    }
    // SAFETY: the caller does not use it again.
    memory.free(unsafe { ManuallyDrop::take(bytes) });
}
