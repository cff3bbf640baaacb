//! The allocator: all chunks behind one lock.
//!
//! Who allocates takes interrupts away and the lock, goes through the lists of chunks from the one where the request just fits, and
//! leaves both before the copies are cleared. Where no chunk has room, the source is asked without the lock; meanwhile
//! others may have made room or further chunks, so the search begins anew. A chunk whose last allocation goes is
//! kept as the one spare chunk; where there is one already, it is given back to its source.

use crate::chunk::Chunk;
use crate::error::{AllocError, FreeError, Violation};
use crate::geometry::{FirstChunk, Geometry, MIN_ALLOC};
use crate::memory::{ChunkLayout, ChunkSource, PerCpuBytes, adopt, carve_map, map_bytes, pointer};
use crate::shelf::Shelves;
use crate::slots::Slots;
use crate::stats::{ChunkStats, Stats};
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use pagewright_platform::{Carve, Interrupts, Mutex, WithoutInterrupts};

/// Whose part of the memory, and what the caller may wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum How {
    /// From any chunk; a further one is made if need be (`alloc_percpu`).
    #[default]
    Grow,
    /// From the chunks that exist (`GFP_NOWAIT`).
    Atomic,
    /// From the part of the first chunk for modules (`__alloc_reserved_percpu`).
    Reserved,
}

/// What the lock guards.
struct State<'m, M> {
    chunks: &'m mut [Option<Chunk<'m, M>>],
    slots: Slots,
    shelves: Shelves,
    stats: Stats,
}

impl<M> State<'_, M> {
    /// From the chunks in lists, fuller ones first.
    fn search(&mut self, want: u32, align: u32) -> Option<PerCpuBytes> {
        loop {
            let mut at = self.slots.first(want);
            while let Some(number) = at {
                at = self.slots.after(self.chunks, number);
                let bytes = self.chunks[number].as_mut()?.alloc(want, align, number as u16);
                // In vain or not, its largest hole may be smaller than was known.
                self.slots.place(self.chunks, number);
                if bytes.is_some() {
                    return bytes;
                }
            }
            if self.shelves.len() == 0 {
                return None;
            }
            self.empty_shelves();
        }
    }

    /// Gives what is on the shelves back to the first chunk's map.
    fn empty_shelves(&mut self) {
        while let Some(addr) = self.shelves.empty_one() {
            let first = self.chunks[FIRST].as_mut();
            let known = first.is_some_and(|chunk| chunk.free(addr));
            debug_assert!(known, "a shelf had {addr:#x}, which is not the first chunk's");
        }
        self.slots.place(self.chunks, FIRST);
    }
}

/// Per-CPU memory of a machine.
pub struct PerCpuAllocator<'m, S: ChunkSource, I> {
    state: Mutex<State<'m, S::Memory>>,
    geometry: Geometry<'m>,
    /// The lowest unit of the first chunk, and its static bytes.
    lowest: usize,
    static_size: u64,
    /// Where its dynamic part begins, and how many bytes that has.
    dynamic: (usize, usize),
    source: S,
    interrupts: I,
}

/// The chunk of the reserved part; the first dynamic chunk comes behind it. Both are there for good.
const RESERVED: usize = 0;
const FIRST: usize = 1;

impl<'m, S: ChunkSource, I: Interrupts> PerCpuAllocator<'m, S, I> {
    /// Bytes of bookkeeping for at most `chunks` chunks besides the first.
    pub const fn bytes_for(geometry: &Geometry<'_>, chunks: usize) -> u64 {
        let table = ((chunks + 2) * size_of::<Option<Chunk<'m, S::Memory>>>()) as u64 + 16;
        table + 2 * map_bytes(geometry)
    }

    /// An allocator over the first chunk. `room` has [`Self::bytes_for`] bytes; `chunks` is at most 65,000. `None` if the room is
    /// too small, or the first chunk does not begin at a page, or its parts do not fit a unit or are no multiples of [`MIN_ALLOC`].
    ///
    /// # Safety
    /// The first chunk's units, each at its CPU's offset behind `first.lowest`, can be read and written as far as the three parts go, for as
    /// long as `'m`; their provenance is exposed or the pointer's own; nobody else uses the reserved and dynamic parts.
    pub unsafe fn new(
        geometry: Geometry<'m>,
        first: &FirstChunk,
        chunks: usize,
        room: &mut Carve<'m>,
        source: S,
        interrupts: I,
    ) -> Option<Self> {
        let lowest = first.lowest.expose_provenance().get();
        let reserved_at = first.static_size;
        let dyn_at = reserved_at.checked_add(first.reserved_size)?;
        let end = dyn_at.checked_add(first.dyn_size)?;
        let whole = [reserved_at, dyn_at, end].iter().all(|at| at.is_multiple_of(MIN_ALLOC));
        if !whole
            || end > geometry.unit()
            || chunks > 65_000
            || !(lowest as u64).is_multiple_of(geometry.page())
        {
            return None;
        }
        let chunks = table(room.uninit(chunks + 2)?);
        let (block, bits) = (geometry.block_bits(), |bytes: u64| (bytes / MIN_ALLOC) as u32);
        for (number, from, to) in [(RESERVED, reserved_at, dyn_at), (FIRST, dyn_at, end)] {
            // Blocks are pages of the unit: what of the first and last page is another's is hidden.
            let start = from - from % geometry.page();
            let pages = (to - start).next_multiple_of(geometry.page());
            let mut map = carve_map(room, bits(pages), block)?;
            map.hide(bits(from - start), bits(pages - (to - start)));
            chunks[number] = Some(Chunk::new(map, lowest + start as usize, None));
        }
        let mut slots = Slots::new();
        // The reserved part is in no list: only who asks for it gets it.
        slots.place(chunks, FIRST);
        let mut stats = Stats::default();
        stats.chunk_came();
        if first.reserved_size > 0 {
            stats.chunk_came();
        }
        let dynamic = (lowest + dyn_at as usize, first.dyn_size as usize);
        let state = Mutex::new(State { chunks, slots, shelves: Shelves::new(), stats });
        Some(Self { state, geometry, lowest, static_size: first.static_size, dynamic, source, interrupts })
    }

    /// The shape of chunks.
    pub const fn geometry(&self) -> &Geometry<'m> {
        &self.geometry
    }

    /// `size` bytes for each CPU, zeroed, at a multiple of `align`.
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed then.
    #[inline]
    pub fn alloc(&self, size: u64, align: u64, how: How) -> Result<PerCpuBytes, AllocError> {
        let (want, pieces) = self.geometry.pieces(size, align)?;
        let bytes = match self.take_kept(want, pieces, how) {
            Some(bytes) => bytes,
            None => self.alloc_search(size, align, (want, pieces), how)?,
        };
        bytes.zero(self.geometry.offsets());
        Ok(bytes)
    }

    /// One of the small pieces that were given back lately.
    #[inline]
    fn take_kept(&self, want: u32, align: u32, how: How) -> Option<PerCpuBytes> {
        if how == How::Reserved {
            return None;
        }
        let _quiet = WithoutInterrupts::new(&self.interrupts);
        let mut state = self.state.lock();
        let addr = state.shelves.take(want, align)?;
        // Its size has been counted among the smallest and largest when it was new.
        state.stats.in_use_again();
        Some(PerCpuBytes { addr, size: want * MIN_ALLOC as u32, chunk: FIRST as u16 })
    }

    /// From the maps of the chunks that exist.
    fn try_alloc(&self, want: u32, align: u32, how: How) -> Option<PerCpuBytes> {
        let _quiet = WithoutInterrupts::new(&self.interrupts);
        let mut state = self.state.lock();
        let bytes = match how {
            How::Reserved => state.chunks[RESERVED].as_mut()?.alloc(want, align, RESERVED as u16)?,
            How::Grow | How::Atomic => state.search(want, align)?,
        };
        state.stats.allocated(bytes.size);
        Some(bytes)
    }

    /// From the maps, or from a further chunk.
    #[inline(never)]
    fn alloc_search(
        &self,
        size: u64,
        align: u64,
        wanted: (u32, u32),
        how: How,
    ) -> Result<PerCpuBytes, AllocError> {
        match self.try_alloc(wanted.0, wanted.1, how) {
            Some(bytes) => Ok(bytes),
            None => self.alloc_slow(size, align, wanted, how),
        }
    }

    /// No chunk has room: makes chunks until one has.
    #[cold]
    fn alloc_slow(
        &self,
        size: u64,
        align: u64,
        wanted: (u32, u32),
        how: How,
    ) -> Result<PerCpuBytes, AllocError> {
        match how {
            How::Grow => {}
            How::Atomic => return Err(AllocError::Atomic { size, align }),
            How::Reserved => return Err(AllocError::Reserved { size, align }),
        }
        let layout = ChunkLayout::new(self.geometry);
        let no_chunk = AllocError::NoChunk { size, align, bytes: layout.bytes() };
        loop {
            let (memory, first) = self.source.create(&layout).ok_or(no_chunk)?;
            // SAFETY: the source made it for this layout. Whoever gives memory back takes it out of the chunk, which is dropped thereby.
            let chunk = unsafe { adopt(&layout, memory, first) }.ok_or(no_chunk)?;
            if let Err((memory, chunks)) = self.add(chunk) {
                memory.into_iter().for_each(|memory| self.source.destroy(memory));
                // Others may have freed something in the meantime.
                return self.try_alloc(wanted.0, wanted.1, how).ok_or(AllocError::TooManyChunks {
                    size,
                    align,
                    chunks,
                });
            }
            if let Some(bytes) = self.try_alloc(wanted.0, wanted.1, how) {
                return Ok(bytes);
            }
        }
    }

    /// Puts a chunk into the table; its memory and how many the table has if that is full.
    fn add(&self, chunk: Chunk<'m, S::Memory>) -> Result<(), (Option<S::Memory>, usize)> {
        let _quiet = WithoutInterrupts::new(&self.interrupts);
        let mut state = self.state.lock();
        let State { chunks, slots, stats, .. } = &mut *state;
        if let Some(number) = chunks.iter().position(Option::is_none) {
            chunks[number] = Some(chunk);
            slots.place(chunks, number);
            stats.chunk_came();
            return Ok(());
        }
        Err((chunk.memory, chunks.len()))
    }

    /// Takes an allocation back.
    ///
    /// # Errors
    /// [`FreeError::Foreign`] with the token if it is another allocator's.
    #[inline]
    pub fn free(&self, bytes: PerCpuBytes) -> Result<(), FreeError> {
        // Another allocator's memory lies elsewhere.
        if bytes.chunk as usize == FIRST && bytes.addr.wrapping_sub(self.dynamic.0) < self.dynamic.1 {
            let _quiet = WithoutInterrupts::new(&self.interrupts);
            let mut state = self.state.lock();
            if state.shelves.keep(bytes.addr, bytes.size / MIN_ALLOC as u32) {
                state.stats.freed();
                return Ok(());
            }
        }
        if self.free_slow(bytes.addr, bytes.chunk.into()) { Ok(()) } else { Err(FreeError::Foreign(bytes)) }
    }

    /// Into the map of its chunk; whether it is of one. Kept out of the path of shelves, whose token therefore needs no place in memory.
    #[inline(never)]
    fn free_slow(&self, addr: usize, number: usize) -> bool {
        let quiet = WithoutInterrupts::new(&self.interrupts);
        let mut state = self.state.lock();
        let State { chunks, slots, stats, .. } = &mut *state;
        let known = chunks.get_mut(number).and_then(Option::as_mut);
        if !known.is_some_and(|chunk| chunk.free(addr)) {
            return false;
        }
        stats.freed();
        if number == RESERVED {
            return true;
        }
        let spare = chunks[number].as_ref().is_some_and(Chunk::is_spare) && slots.has_spare();
        if !spare {
            slots.place(chunks, number);
            return true;
        }
        slots.take_out(chunks, number);
        let memory = chunks[number].take().and_then(|chunk| chunk.memory);
        stats.nr_chunks -= 1;
        drop(state);
        drop(quiet);
        memory.into_iter().for_each(|memory| self.source.destroy(memory));
        true
    }

    /// Gives back what is kept for the next caller: small pieces to the maps, and the spare chunk to its source (under memory
    /// pressure, or at the end).
    pub fn shrink(&self) {
        let spare = || {
            let _quiet = WithoutInterrupts::new(&self.interrupts);
            let mut state = self.state.lock();
            state.empty_shelves();
            let State { chunks, slots, stats, .. } = &mut *state;
            let number = slots.spare()?;
            slots.take_out(chunks, number);
            stats.nr_chunks -= 1;
            chunks[number].take().and_then(|chunk| chunk.memory)
        };
        while let Some(memory) = spare() {
            self.source.destroy(memory);
        }
    }

    /// The allocation that begins at an address, as C code gives it back.
    ///
    /// # Errors
    /// [`FreeError::NotAllocated`]: none does.
    ///
    /// # Safety
    /// The address came from [`PerCpuBytes::into_raw`], and nobody else makes a token of it.
    pub unsafe fn from_raw(&self, addr: usize) -> Result<PerCpuBytes, FreeError> {
        let _quiet = WithoutInterrupts::new(&self.interrupts);
        let state = self.state.lock();
        let found = state.chunks.iter().enumerate().find_map(|(number, chunk)| {
            let chunk = chunk.as_ref()?;
            let pieces = chunk.map.size_at(chunk.bit_at(addr)?)?;
            let kept = number == FIRST && state.shelves.has(addr, pieces);
            (!kept).then_some(PerCpuBytes { addr, size: pieces * MIN_ALLOC as u32, chunk: number as u16 })
        });
        found.ok_or(FreeError::NotAllocated { addr })
    }

    /// The copy of a CPU; `None` if there is no such CPU. Valid until the allocation is given back.
    #[inline]
    pub fn copy(&self, bytes: &PerCpuBytes, cpu: usize) -> Option<NonNull<u8>> {
        Some(bytes.at(self.geometry.offset(cpu)?))
    }

    /// A CPU's static data and how many bytes it has.
    pub fn static_data(&self, cpu: usize) -> Option<(NonNull<u8>, u64)> {
        Some((pointer(self.lowest, self.geometry.offset(cpu)?), self.static_size))
    }

    /// The counts as they are now.
    pub fn stats(&self) -> Stats {
        let _quiet = WithoutInterrupts::new(&self.interrupts);
        let state = self.state.lock();
        let pages = |chunk: &Option<Chunk<'_, _>>| chunk.as_ref().map_or(0, |chunk| chunk.map.empty_blocks());
        Stats { empty_pop_pages: state.chunks[FIRST..].iter().map(pages).sum(), ..state.stats }
    }

    /// Calls `see` with each chunk's number and counts: 0 is the reserved part, 1 the first chunk's dynamic part. The lock is held
    /// meanwhile. What is kept for the next caller goes back to the maps first.
    pub fn each_chunk(&self, mut see: impl FnMut(usize, &ChunkStats)) {
        let _quiet = WithoutInterrupts::new(&self.interrupts);
        let mut state = self.state.lock();
        state.empty_shelves();
        for (number, chunk) in state.chunks.iter().enumerate() {
            if let Some(chunk) = chunk {
                see(number, &ChunkStats::of(&chunk.map, chunk.allocations, chunk.max_alloc));
            }
        }
    }

    /// Compares maps, hints, lists and counts.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn validate(&self) -> Result<(), Violation> {
        let _quiet = WithoutInterrupts::new(&self.interrupts);
        let state = self.state.lock();
        let State { chunks, slots, stats, .. } = &*state;
        let mut in_use = 0;
        for (number, chunk) in chunks.iter().enumerate() {
            let Some(chunk) = chunk else { continue };
            chunk.map.validate(number)?;
            in_use += u64::from(chunk.allocations);
        }
        let wrong = |chunk, what, found, expected| Violation { chunk, what, at: 0, found, expected };
        let known = stats.nr_cur_alloc as u64 + state.shelves.len();
        if in_use != known {
            return Err(wrong(0, "allocations in use", known, in_use));
        }
        let mut listed = 0;
        for (slot, number) in slots.iter(chunks, chunks.len() + 1) {
            listed += 1;
            let belongs = chunks[number].as_ref().map_or(u8::MAX, Slots::belongs);
            if slot != belongs {
                return Err(wrong(number, "slot", slot.into(), belongs.into()));
            }
        }
        let there = chunks[FIRST..].iter().flatten().count();
        if listed != there {
            return Err(wrong(0, "chunks in lists", listed as u64, there as u64));
        }
        Ok(())
    }
}

/// An empty table in room for one.
fn table<T>(room: &mut [MaybeUninit<Option<T>>]) -> &mut [Option<T>] {
    for slot in room.iter_mut() {
        slot.write(None);
    }
    // SAFETY: every slot was just written; MaybeUninit<T> has T's layout.
    unsafe { &mut *(core::ptr::from_mut(room) as *mut [Option<T>]) }
}

impl<S: ChunkSource, I> fmt::Debug for PerCpuAllocator<'_, S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerCpuAllocator").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}
