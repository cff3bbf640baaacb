//! Areas for chunks of per-CPU memory: several at once, as far from each other as the first chunk's units are.

use super::alloc::{Filled, VmRequest};
use super::get::Taken;
use super::{Book, VfreeError, VmContext, VmFlags, Vmalloc, VmallocError};
use crate::areas::{AreaError, Wanted};
use arrayvec::ArrayVec;
use core::panic::Location;
use pagewright_addr::{NodeId, Order, VirtAddr, VirtRange};
use pagewright_pagetable::{Format, TableMemory};
use pagewright_zone::Gfp;

/// Parts of a chunk at most.
const MOST: usize = 64;

/// A group of units that lie together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PcpuPart {
    /// Where it begins, in bytes from the chunk's base: the same in all chunks. One of them lies at 0.
    pub offset: u64,
    /// Its bytes, whole pages.
    pub size: u64,
    /// Whose memory its pages are, if they are a node's.
    pub node: Option<NodeId>,
}

/// From the base to behind the last part; `None` for parts that make no chunk.
fn span(parts: &[PcpuPart], page: u64) -> Option<u64> {
    let mut end = 0;
    for (at, part) in parts.iter().enumerate() {
        let own = part.offset.checked_add(part.size)?;
        let apart = |other: &PcpuPart| own <= other.offset || other.offset + other.size <= part.offset;
        if part.size == 0 || (part.offset | part.size) % page != 0 || !parts[..at].iter().all(apart) {
            return None;
        }
        end = own.max(end);
    }
    let based = parts.iter().any(|part| part.offset == 0);
    Some(end).filter(|_| based && parts.len() <= MOST)
}

/// A part of a chunk at a base.
const fn place(base: u64, part: &PcpuPart) -> VirtRange {
    VirtRange { start: VirtAddr::new(base + part.offset), len: part.size }
}

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    /// Takes areas for a chunk, at the highest multiple of `align` where all of them have room, without guard pages, and maps pages of their
    /// own there, each part's near its node (`pcpu_get_vm_areas`). The base that offsets are counted from.
    ///
    /// # Errors
    /// [`VmallocError`]; nobody has anything of the chunk then. Parts that were mapped before another failed wait for the next flush with their addresses and their pages, as
    /// after [`Self::pcpu_free_vm_areas`]: until then [`Self::lazy_pages`] counts them. [`VmallocError::Unaligned`] for parts that are no chunk: none at 0, more than 64, not of
    /// whole pages, or one over another.
    #[track_caller]
    pub fn pcpu_get_vm_areas<C: VmContext<'a>>(
        &self,
        on: &mut C,
        parts: &[PcpuPart],
        align: u64,
    ) -> Result<VirtAddr, VmallocError> {
        let caller = Location::caller();
        let align = align.max(Self::PAGE);
        let span = span(parts, Self::PAGE).filter(|_| align.is_power_of_two());
        let span = span.ok_or(VmallocError::Unaligned(align))?;
        let most = self.map.len().saturating_mul(Self::PAGE);
        // None is over another, so that the sum is at most the span.
        let size = parts.iter().map(|part| part.size).sum();
        if size > most {
            return Err(VmallocError::Size { size, most });
        }
        let given = self.given();
        match self.make_parts(on, parts, span, align, caller) {
            // Pages that wait for their flush may be enough.
            Err(VmallocError::Pages { .. } | VmallocError::Map(_)) if self.purged_since(on, given) => {
                self.make_parts(on, parts, span, align, caller)
            }
            other => other,
        }
    }

    /// Takes the areas and fills them; if one cannot be, those before it are unmapped again, and wait for their flush.
    fn make_parts<C: VmContext<'a>>(
        &self,
        on: &mut C,
        parts: &[PcpuPart],
        span: u64,
        align: u64,
        caller: &'static Location<'static>,
    ) -> Result<VirtAddr, VmallocError> {
        let given = self.given();
        // One place for the areas: it takes kilobytes of the stack.
        let mut taken = ArrayVec::new();
        let mut take = || self.growing(parts.len(), &mut || self.take_parts(parts, span, align, &mut taken));
        let base = match take() {
            Err(AreaError::NoGap { .. } | AreaError::NoNode { .. }) if self.all_back_since(on, given) => {
                take()
            }
            other => other,
        }
        .map_err(|why| VmallocError::Space {
            region: self.config().name,
            range: self.range(),
            why,
        })?;
        for (done, (taken_one, part)) in taken.iter().zip(parts).enumerate() {
            if let Err(why) = self.populate(on, taken_one, part, caller) {
                for taken in &taken[done..] {
                    self.give_back(taken);
                }
                for part in &parts[..done] {
                    // It was mapped a moment ago.
                    let _ = self.remove(on, place(base, part).start, VmFlags::ALLOC);
                }
                return Err(why);
            }
        }
        Ok(VirtAddr::new(base))
    }

    /// Gives a chunk's areas back (`pcpu_free_vm_areas`).
    ///
    /// # Errors
    /// [`VfreeError`] for the first part that is none of such a chunk; those before it are gone.
    pub fn pcpu_free_vm_areas<C: VmContext<'a>>(
        &self,
        on: &mut C,
        base: VirtAddr,
        parts: &[PcpuPart],
    ) -> Result<(), VfreeError> {
        parts
            .iter()
            .try_for_each(|part| self.remove(on, place(base.get(), part).start, VmFlags::PERCPU).map(drop))
    }

    /// Takes the areas, the first of them at the base that comes back; or none.
    fn take_parts(
        &self,
        parts: &[PcpuPart],
        span: u64,
        align: u64,
        taken: &mut ArrayVec<Taken<'v>, MOST>,
    ) -> Result<u64, AreaError> {
        let mut book = self.book.lock();
        let wanted = Wanted { size: span, align, within: self.range() };
        let none = AreaError::NoGap { wanted, largest: book.tree.largest_gap() };
        let base = self.highest(&book, parts, span, align).ok_or(none)?;
        for part in parts {
            match book.tree.insert(place(base, part), ()) {
                Ok(area) => taken.push(self.enter(&mut book, area)),
                Err(why) => {
                    for Taken { area, slot, .. } in taken.drain(..) {
                        self.forget(&mut book, area, slot);
                    }
                    return Err(why);
                }
            }
        }
        Ok(base)
    }

    /// The highest base at which nothing is in the way of any part. Each area that is in the way pushes the base below itself, so that no base is looked at twice.
    fn highest(&self, book: &Book<'_>, parts: &[PcpuPart], span: u64, align: u64) -> Option<u64> {
        let floor = self.range().start.get();
        let end = self.range().last().get().checked_sub(span - 1)?;
        let mut base = end & !(align - 1);
        'again: while base >= floor {
            for part in parts {
                let wanted = place(base, part);
                let found = book.tree.from(wanted.start).and_then(|area| book.tree.area(area));
                if let Some(other) = found.filter(|other| other.overlaps(&wanted)) {
                    let below = other.start.get().checked_sub(part.offset + part.size)?;
                    base = below & !(align - 1);
                    continue 'again;
                }
            }
            return Some(base);
        }
        None
    }

    fn populate<C: VmContext<'a>>(
        &self,
        on: &mut C,
        taken: &Taken<'v>,
        part: &PcpuPart,
        caller: &'static Location<'static>,
    ) -> Result<(), VmallocError> {
        let request = VmRequest {
            node: part.node,
            gfp: Gfp::GFP_KERNEL,
            flags: VmFlags::NO_GUARD | VmFlags::PERCPU,
            ..VmRequest::new(part.size)
        };
        let got = self.fill(on, taken, &request, part.size / Self::PAGE, Order::ZERO)?;
        match self.map_chain(on, taken.range, &request, taken, &got) {
            Ok(tables) => {
                self.open(on, taken, Filled { got: &got, order: Order::ZERO, tables }, &request, caller);
                Ok(())
            }
            Err(why) => {
                self.free_got(on, taken, &got);
                Err(why)
            }
        }
    }
}
