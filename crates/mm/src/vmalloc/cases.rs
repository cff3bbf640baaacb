//! What Linux's vmalloc test module does to an area, from its described behaviour: cases for whoever has put vmalloc in service and wants to
//! see that it holds, on a hosted machine or on the metal.
//!
//! Each case makes areas, writes every page of them through its addresses, reads that back and frees all of them; now and then what was freed must
//! not be reachable any more. They differ in what they ask of the tree of areas. What a case runs on is its [`Ground`]; whether all memory is back
//! afterwards is for the caller to see.

use super::{VfreeError, VmRequest, VmallocError};
use core::fmt;
use pagewright_addr::{VirtAddr, VirtRange};

/// A vmalloc area in service, as one CPU sees it. Nobody else uses it while a case runs.
pub trait Ground {
    /// Bytes of a page.
    fn page_bytes(&self) -> u64;
    /// The area.
    fn range(&self) -> VirtRange;
    /// `Vmalloc::vmalloc_request`.
    ///
    /// # Errors
    /// [`VmallocError`].
    fn vmalloc(&mut self, request: &VmRequest) -> Result<VirtAddr, VmallocError>;
    /// `Vmalloc::vfree`.
    ///
    /// # Errors
    /// [`VfreeError`].
    fn vfree(&mut self, at: VirtAddr) -> Result<(), VfreeError>;
    /// `Vmalloc::purge_vmap_area_lazy`.
    fn purge(&mut self);
    /// Writes a byte; `false` if that faults.
    fn store(&mut self, at: VirtAddr, byte: u8) -> bool;
    /// Reads a byte; `None` if that faults.
    fn load(&mut self, at: VirtAddr) -> Option<u8>;
}

/// A [`Ground`] with pages to map.
pub trait RamGround: Ground {
    /// How many pages there are.
    fn pages(&self) -> usize;
    /// `Vmalloc::vm_map_ram` of the first `count` of them.
    ///
    /// # Errors
    /// [`VmallocError`].
    fn map_ram(&mut self, count: usize) -> Result<VirtAddr, VmallocError>;
    /// `Vmalloc::vm_unmap_ram` of as many.
    ///
    /// # Errors
    /// [`VfreeError`].
    fn unmap_ram(&mut self, at: VirtAddr, count: usize) -> Result<(), VfreeError>;
}

/// A [`Ground`] where memory can be freed later.
pub trait LaterGround: Ground {
    /// `kvfree_rcu` with a link 8 bytes into the memory, or, with one argument, without any; `false` if that cannot be.
    fn kvfree_rcu(&mut self, at: VirtAddr, with_link: bool) -> bool;
    /// Frees what nobody reads any more: how much.
    fn poll(&mut self) -> u64;
}

/// Per-CPU memory, with which further chunks come from vmalloc.
pub trait PerCpuGround {
    /// The right to an allocation.
    type Bytes;
    /// Bytes of a page.
    fn page_bytes(&self) -> u64;
    /// Allocates for each CPU.
    fn alloc(&mut self, size: u64, align: u64) -> Option<Self::Bytes>;
    /// Writes to each CPU's copy what follows from the number and the CPU; `false` if a copy is not aligned so.
    fn write(&mut self, bytes: &Self::Bytes, align: u64, number: u32) -> bool;
    /// Whether each copy has what was written.
    fn has(&mut self, bytes: &Self::Bytes, number: u32) -> bool;
    /// Gives it back; `false` if it was nobody's.
    fn free(&mut self, bytes: Self::Bytes) -> bool;
}

/// What a case found wrong. Areas that it had are left as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaseError {
    /// There is no area where there should be one.
    None(VmallocError),
    /// An area cannot be freed.
    NotFreed(VfreeError),
    /// An area begins at no multiple of what was asked for.
    Unaligned(VirtAddr),
    /// A byte is not what was written, or cannot be reached.
    Lost(VirtAddr),
    /// What was freed and flushed is reachable.
    Reachable(VirtAddr),
    /// An area lies above holes that it fits.
    NotInHole(VirtAddr),
    /// An alignment that has room in the region is refused, or one that has none is served.
    Alignment(u32),
    /// Memory cannot be freed later.
    NotLater(VirtAddr),
    /// So many should have been freed, and so many were.
    Freed(u64, u64),
    /// Per-CPU memory cannot be had at all, or is not as it was written, or not aligned, or cannot be freed: the number of the allocation.
    PerCpu(u32),
}

impl fmt::Display for CaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None(e) => e.fmt(f),
            Self::NotFreed(e) => e.fmt(f),
            Self::Unaligned(at) => write!(f, "{at:#x} is not aligned as was asked for"),
            Self::Lost(at) => write!(f, "the byte at {at:#x} is not what was written"),
            Self::Reachable(at) => write!(f, "{at:#x} was freed and can be reached"),
            Self::NotInHole(at) => write!(f, "{at:#x} lies above holes of its size"),
            Self::Alignment(shift) => write!(f, "alignment to 2^{shift} is served or refused wrongly"),
            Self::NotLater(at) => write!(f, "{at:#x} cannot be freed later"),
            Self::Freed(should, were) => write!(f, "{should} areas should be freed, {were} are"),
            Self::PerCpu(n) => write!(f, "per-CPU allocation {n} is wrong"),
        }
    }
}

impl core::error::Error for CaseError {}

impl From<VmallocError> for CaseError {
    fn from(e: VmallocError) -> Self {
        Self::None(e)
    }
}

impl From<VfreeError> for CaseError {
    fn from(e: VfreeError) -> Self {
        Self::NotFreed(e)
    }
}

/// After so many areas one is looked for when it is gone.
const LOOK: u64 = 32;

/// Numbers that look random and are the same every time (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What is written at an address, the `round`th time.
fn stamp(at: u64, round: u64) -> u8 {
    ((at >> 12) ^ at ^ (round * 7) ^ 0xa5) as u8
}

/// The first byte of each page, and the last of all.
fn places(at: VirtAddr, bytes: u64, page: u64) -> impl Iterator<Item = u64> {
    let last = at.get() + bytes - 1;
    (at.get()..=last).step_by(page as usize).chain([last])
}

fn fill<G: Ground + ?Sized>(g: &mut G, at: VirtAddr, bytes: u64, round: u64) -> Result<(), CaseError> {
    let page = g.page_bytes();
    places(at, bytes, page).try_for_each(|byte| match g.store(VirtAddr::new(byte), stamp(byte, round)) {
        true => Ok(()),
        false => Err(CaseError::Lost(VirtAddr::new(byte))),
    })
}

fn expect<G: Ground + ?Sized>(g: &mut G, at: VirtAddr, bytes: u64, round: u64) -> Result<(), CaseError> {
    let page = g.page_bytes();
    places(at, bytes, page).try_for_each(|byte| match g.load(VirtAddr::new(byte)) {
        Some(found) if found == stamp(byte, round) => Ok(()),
        _ => Err(CaseError::Lost(VirtAddr::new(byte))),
    })
}

/// Makes an area, writes and reads it, and frees it.
fn once<G: Ground + ?Sized>(g: &mut G, request: &VmRequest, round: u64) -> Result<VirtAddr, CaseError> {
    let at = g.vmalloc(request)?;
    if !at.is_aligned(request.align) {
        return Err(CaseError::Unaligned(at));
    }
    fill(g, at, request.size, round)?;
    expect(g, at, request.size, round)?;
    g.vfree(at)?;
    if round.is_multiple_of(LOOK) {
        g.purge();
        if g.load(at).is_some() {
            return Err(CaseError::Reachable(at));
        }
    }
    Ok(at)
}

/// Areas of three pages, one after the other.
///
/// # Errors
/// [`CaseError`].
pub fn fix_size<G: Ground + ?Sized>(g: &mut G, rounds: u64) -> Result<(), CaseError> {
    let request = VmRequest::new(3 * g.page_bytes());
    (0..rounds).try_for_each(|n| once(g, &request, n).map(drop))
}

/// As many areas of a page as `room` has places; every second goes, and what comes then fits just where they were.
///
/// # Errors
/// [`CaseError`].
pub fn full_fit<G: Ground + ?Sized>(g: &mut G, room: &mut [VirtAddr], rounds: u64) -> Result<(), CaseError> {
    let page = g.page_bytes();
    hold(g, room)?;
    let highest = room.iter().copied().max().unwrap_or_default();
    for at in room.iter().step_by(2) {
        expect(g, *at, page, 0)?;
        g.vfree(*at)?;
    }
    g.purge();
    for n in 0..rounds {
        let at = once(g, &VmRequest::new(page), n)?;
        // Of an odd number the highest has become a hole as well.
        if at > highest {
            return Err(CaseError::NotInHole(at));
        }
    }
    for at in room.iter().skip(1).step_by(2) {
        expect(g, *at, page, 0)?;
        g.vfree(*at)?;
    }
    Ok(())
}

/// Areas of a hundred pages and of one, beside as many of a page as `room` has places.
///
/// # Errors
/// [`CaseError`].
pub fn long_busy_list<G: Ground + ?Sized>(
    g: &mut G,
    room: &mut [VirtAddr],
    rounds: u64,
) -> Result<(), CaseError> {
    let page = g.page_bytes();
    hold(g, room)?;
    for n in 0..rounds {
        let large = g.vmalloc(&VmRequest::new(100 * page))?;
        fill(g, large, 100 * page, n)?;
        once(g, &VmRequest::new(page), n)?;
        expect(g, large, 100 * page, n)?;
        g.vfree(large)?;
    }
    for at in room {
        expect(g, *at, page, 0)?;
        g.vfree(*at)?;
    }
    Ok(())
}

/// An area of a page for each place.
fn hold<G: Ground + ?Sized>(g: &mut G, room: &mut [VirtAddr]) -> Result<(), CaseError> {
    let page = g.page_bytes();
    for place in room {
        *place = g.vmalloc(&VmRequest::new(page))?;
        fill(g, *place, page, 0)?;
    }
    Ok(())
}

/// Areas of one to a hundred pages.
///
/// # Errors
/// [`CaseError`].
pub fn random_size<G: Ground + ?Sized>(g: &mut G, rounds: u64) -> Result<(), CaseError> {
    let (mut random, page) = (Random(5), g.page_bytes());
    (0..rounds).try_for_each(|n| once(g, &VmRequest::new((1 + random.below(100)) * page), n).map(drop))
}

/// Areas of five times a kernel stack's usual size, at multiples of twice that.
///
/// # Errors
/// [`CaseError`].
pub fn fix_align<G: Ground + ?Sized>(g: &mut G, rounds: u64) -> Result<(), CaseError> {
    const STACK: u64 = 16 << 10;
    let request = VmRequest::new(5 * STACK).aligned(2 * STACK);
    (0..rounds).try_for_each(|n| once(g, &request, n).map(drop))
}

/// Areas of a few pages, the more the larger their alignment: any up to 4 MiB.
///
/// # Errors
/// [`CaseError`].
pub fn random_align<G: Ground + ?Sized>(g: &mut G, rounds: u64) -> Result<(), CaseError> {
    let (mut random, page) = (Random(9), g.page_bytes());
    (0..rounds).try_for_each(|n| {
        let align = 1 << random.below(23);
        let size = (page * (1 + random.below(9))).max(align / 16);
        once(g, &VmRequest::new(size).aligned(align), n).map(drop)
    })
}

/// A page at a multiple of each power of two: served wherever the region has room at one, else refused, and then nothing changes.
///
/// # Errors
/// [`CaseError`].
pub fn align_shift<G: Ground + ?Sized>(g: &mut G) -> Result<(), CaseError> {
    let (page, range) = (g.page_bytes(), g.range());
    for shift in 0..u64::BITS {
        let align = 1_u64 << shift;
        let first = range.start.get().checked_next_multiple_of(align.max(page));
        // A page, and one behind it that stays unmapped.
        let fits =
            first.and_then(|at| at.checked_add(2 * page - 1)).is_some_and(|last| last <= range.last().get());
        match once(g, &VmRequest::new(page).aligned(align), shift.into()) {
            Ok(_) if fits => {}
            Err(CaseError::None(VmallocError::Space { .. })) if !fits => {}
            Ok(_) | Err(CaseError::None(VmallocError::Space { .. })) => {
                return Err(CaseError::Alignment(shift));
            }
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

/// Pages of the ground's own, few and many at a time.
///
/// # Errors
/// [`CaseError`].
pub fn vm_map_ram<G: RamGround + ?Sized>(g: &mut G, rounds: u64) -> Result<(), CaseError> {
    let page = g.page_bytes();
    let counts = [1, 3, g.pages().min(64), g.pages()];
    for n in 0..rounds {
        let count = counts[n as usize % counts.len()].min(g.pages());
        let at = g.map_ram(count)?;
        fill(g, at, count as u64 * page, n)?;
        expect(g, at, count as u64 * page, n)?;
        g.unmap_ram(at, count)?;
        if n.is_multiple_of(LOOK) {
            g.purge();
            if g.load(at).is_some() {
                return Err(CaseError::Reachable(at));
            }
        }
    }
    Ok(())
}

/// Areas of a page that are freed when nobody reads them any more: with a link in them, or with one argument. How many are still to be polled for.
///
/// # Errors
/// [`CaseError`].
pub fn kvfree_rcu<G: LaterGround + ?Sized>(
    g: &mut G,
    rounds: u64,
    with_link: bool,
) -> Result<u64, CaseError> {
    let page = g.page_bytes();
    let mut waiting = 0;
    for n in 0..rounds {
        let at = g.vmalloc(&VmRequest::new(page))?;
        fill(g, at, page, n)?;
        expect(g, at, page, n)?;
        if !g.kvfree_rcu(at, with_link) {
            return Err(CaseError::NotLater(at));
        }
        waiting += 1;
        if n.is_multiple_of(16) {
            let freed = g.poll();
            if freed > waiting {
                return Err(CaseError::Freed(waiting, freed));
            }
            waiting -= freed;
        }
    }
    Ok(waiting)
}

/// As many allocations as `room` has places, or as there is memory for, of up to a quarter of a page and with every alignment up to half of one; then all
/// of them back. How many they were: one at least.
///
/// # Errors
/// [`CaseError`].
pub fn percpu<G: PerCpuGround + ?Sized>(g: &mut G, room: &mut [Option<G::Bytes>]) -> Result<u32, CaseError> {
    let (mut random, page, mut held) = (Random(3), g.page_bytes(), 0_u32);
    for place in room.iter_mut() {
        let (size, align) = (1 + random.below(page / 4), 1 << random.below(12));
        // A small machine may be short of memory.
        let Some(bytes) = g.alloc(size, align) else { break };
        let aligned = g.write(&bytes, align, held);
        *place = Some(bytes);
        if !aligned {
            return Err(CaseError::PerCpu(held));
        }
        held += 1;
    }
    for (n, place) in room.iter_mut().enumerate() {
        let Some(bytes) = place.take() else { continue };
        if !g.has(&bytes, n as u32) || !g.free(bytes) {
            return Err(CaseError::PerCpu(n as u32));
        }
    }
    if held > 0 { Ok(held) } else { Err(CaseError::PerCpu(0)) }
}
