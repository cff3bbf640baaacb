//! Handing out memory.
//!
//! Three layers, as in Linux: [`Memblock::find_in_range`] looks only; [`Memblock::alloc_range_nid`] looks and
//! reserves, with the fallbacks to other nodes and to unmirrored memory; the named entry points add a line to
//! the log, and those of the `alloc` family (not the `phys` family) cap the range at the current limit and
//! try once more without the lower bound.

use crate::event::{AllocVariant, Event};
use crate::iter::FreeRanges;
use crate::{Error, Flags, MEMBLOCK_ALLOC_ACCESSIBLE, MEMBLOCK_ALLOC_NOLEAKTRACE, Memblock};
use pagewright_addr::{NodeId, PhysAddr};

const ALLOC: &str = "memblock_alloc_range_nid";

/// The upper bound of [`Memblock::alloc_low`] (`ARCH_LOW_ADDRESS_LIMIT`).
pub const ARCH_LOW_ADDRESS_LIMIT: PhysAddr = PhysAddr::new(0xffff_ffff);

/// The operands of an allocation of the `alloc` family.
#[derive(Clone, Copy)]
struct Request {
    variant: AllocVariant,
    size: u64,
    align: u64,
    min: PhysAddr,
    max: PhysAddr,
    nid: Option<NodeId>,
}

impl Memblock<'_> {
    /// The flags that allocations ask for: mirrored memory where there is some (`choose_memblock_flags`).
    pub(crate) fn preferred_flags(&self) -> Flags {
        if self.has_mirror { Flags::MIRROR } else { Flags::NONE }
    }

    /// A free place for `size` bytes, not reserved by this call (`memblock_find_in_range_node`).
    ///
    /// `end` may be [`MEMBLOCK_ALLOC_ACCESSIBLE`]: the current limit. The first page is never found. Top-down
    /// finds the highest place that fits, bottom-up the lowest. An `align` of 0 or of no power of two finds
    /// nothing.
    pub fn find_in_range(
        &self,
        size: u64,
        align: u64,
        start: PhysAddr,
        end: PhysAddr,
        nid: Option<NodeId>,
        flags: Flags,
    ) -> Option<PhysAddr> {
        self.find_node(size, align, start.get(), end.get(), nid, flags).map(PhysAddr::new)
    }

    pub(crate) fn find_node(
        &self,
        size: u64,
        align: u64,
        start: u64,
        end: u64,
        nid: Option<NodeId>,
        flags: Flags,
    ) -> Option<u64> {
        if !align.is_power_of_two() {
            return None;
        }
        let pumped = end == MEMBLOCK_ALLOC_ACCESSIBLE.get() || end == MEMBLOCK_ALLOC_NOLEAKTRACE.get();
        let end = if pumped { self.current_limit } else { end.min(self.config.width.max_addr()) };
        let start = start.max(self.config.page_shift.bytes());
        let end = end.max(start);
        let (memory, reserved) = (self.memory.live(), self.reserved.live());
        let mut free = FreeRanges::new(memory, reserved, Some(self.filter(nid, flags)), start, end);
        if self.bottom_up {
            while let Some((lo, hi, _)) = free.next_raw() {
                let at = lo.checked_next_multiple_of(align);
                if let Some(at) = at.filter(|&at| at < hi && hi - at >= size) {
                    return Some(at);
                }
            }
        } else {
            while let Some((lo, hi, _)) = free.next_back_raw() {
                let at = hi.checked_sub(size).map(|at| at & !(align - 1));
                if let Some(at) = at.filter(|&at| at >= lo) {
                    return Some(at);
                }
            }
        }
        None
    }

    /// Finds and reserves (`memblock_alloc_range_nid`); logs the reservation only. The sink learns the arguments by a
    /// silent [`Event::AllocRangeNid`].
    ///
    /// Tries the node first and then, unless `exact_nid`, any node; first mirrored memory, if the machine has
    /// some, and then any. `end` may be [`MEMBLOCK_ALLOC_ACCESSIBLE`] or
    /// [`MEMBLOCK_ALLOC_NOLEAKTRACE`], which both stand for the current limit. An `align` of 0 stands for a
    /// cache line.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::Injected`], [`Error::BadAlign`], [`Error::WrongPhase`]; and, if the
    /// reservation needs a slot that cannot be had, [`Error::Full`] or [`Error::CannotGrow`].
    pub fn alloc_range_nid(
        &mut self,
        size: u64,
        align: u64,
        start: PhysAddr,
        end: PhysAddr,
        nid: Option<NodeId>,
        exact_nid: bool,
    ) -> Result<PhysAddr, Error> {
        self.require_memblock(ALLOC)?;
        self.emit(Event::AllocRangeNid { size, align, start, end, nid, exact_nid, caller: self.caller });
        self.allocate(size, align, &[(start, end)], nid, exact_nid)
    }

    /// One allocation: each window in turn, and in each the fallbacks. Counted once for fault injection.
    fn allocate(
        &mut self,
        size: u64,
        align: u64,
        windows: &[(PhysAddr, PhysAddr)],
        nid: Option<NodeId>,
        exact_nid: bool,
    ) -> Result<PhysAddr, Error> {
        let align = if align == 0 { self.config.cache_line } else { align };
        if !align.is_power_of_two() {
            return Err(Error::BadAlign { align });
        }
        let mut result = self.count_allocation();
        if result.is_ok() {
            for &(start, end) in windows {
                match self.alloc_in_window(size, align, start, end, nid, exact_nid) {
                    Ok(at) => return Ok(at),
                    Err(Error::Injected) => return Err(Error::Injected),
                    Err(e) => result = result.and(Err(e)),
                }
            }
        }
        self.emit(Event::Exhausted { size, align, caller: self.caller });
        let (min, max) = windows.first().copied().unwrap_or_default();
        result.and(Err(Error::NoMemory { size, align, min, max, nid }))
    }

    fn alloc_in_window(
        &mut self,
        size: u64,
        align: u64,
        start: PhysAddr,
        end: PhysAddr,
        nid: Option<NodeId>,
        exact_nid: bool,
    ) -> Result<PhysAddr, Error> {
        let mut error = Error::NoMemory { size, align, min: start, max: end, nid };
        let mut flags = self.preferred_flags();
        let any_node = (nid.is_some() && !exact_nid).then_some(None);
        loop {
            for node in [Some(nid), any_node].into_iter().flatten() {
                if let Some(at) = self.find_in_range(size, align, start, end, node, flags) {
                    match self.reserve_for(ALLOC, at, size) {
                        Ok(()) => return Ok(at),
                        Err(Error::Injected) => return Err(Error::Injected),
                        Err(e) => error = e,
                    }
                }
            }
            if !flags.contains(Flags::MIRROR) {
                return Err(error);
            }
            self.emit(Event::MirrorFallback { size });
            flags = Flags::NONE;
        }
    }

    /// Allocates between `start` and `end` on any node (`memblock_phys_alloc_range`). No second try.
    ///
    /// # Errors
    /// As [`Self::alloc_range_nid`].
    pub fn phys_alloc_range(
        &mut self,
        size: u64,
        align: u64,
        start: PhysAddr,
        end: PhysAddr,
    ) -> Result<PhysAddr, Error> {
        self.require_memblock("memblock_phys_alloc_range")?;
        self.emit(Event::PhysAllocRange { size, align, min: start, max: end, caller: self.caller });
        self.allocate(size, align, &[(start, end)], None, false)
    }

    /// Allocates below the current limit on any node (`memblock_phys_alloc`).
    ///
    /// # Errors
    /// As [`Self::alloc_range_nid`].
    pub fn phys_alloc(&mut self, size: u64, align: u64) -> Result<PhysAddr, Error> {
        self.phys_alloc_range(size, align, PhysAddr::ZERO, MEMBLOCK_ALLOC_ACCESSIBLE)
    }

    /// Allocates below the current limit, best on this node (`memblock_phys_alloc_try_nid`); logs the
    /// reservation only.
    ///
    /// # Errors
    /// As [`Self::alloc_range_nid`].
    pub fn phys_alloc_try_nid(
        &mut self,
        size: u64,
        align: u64,
        nid: Option<NodeId>,
    ) -> Result<PhysAddr, Error> {
        self.alloc_range_nid(size, align, PhysAddr::ZERO, MEMBLOCK_ALLOC_ACCESSIBLE, nid, false)
    }

    /// Logs, caps the range at the current limit, allocates, and tries once more without the lower bound
    /// (`memblock_alloc_internal`).
    fn alloc_internal(&mut self, r: Request) -> Result<PhysAddr, Error> {
        let Request { variant, size, align, min, max, nid } = r;
        self.require_memblock(variant.name())?;
        let caller = self.caller;
        self.emit(Event::AllocTryNid { variant, size, align, nid, min, max, caller });
        let max = max.min(PhysAddr::new(self.current_limit));
        let windows = [(min, max), (PhysAddr::ZERO, max)];
        let tries = if min == PhysAddr::ZERO { 1 } else { 2 };
        self.allocate(size, align, &windows[..tries], nid, variant == AllocVariant::ExactRaw)
    }

    /// Allocates, best between `min` and `max` and on this node (`memblock_alloc_try_nid`).
    ///
    /// Linux returns zeroed memory; here whoever can reach the memory has to clear it.
    ///
    /// # Errors
    /// As [`Self::alloc_range_nid`].
    pub fn alloc_try_nid(
        &mut self,
        size: u64,
        align: u64,
        min: PhysAddr,
        max: PhysAddr,
        nid: Option<NodeId>,
    ) -> Result<PhysAddr, Error> {
        self.alloc_internal(Request { variant: AllocVariant::Plain, size, align, min, max, nid })
    }

    /// [`Self::alloc_try_nid`] for memory that need not be cleared (`memblock_alloc_try_nid_raw`).
    ///
    /// # Errors
    /// As [`Self::alloc_range_nid`].
    pub fn alloc_try_nid_raw(
        &mut self,
        size: u64,
        align: u64,
        min: PhysAddr,
        max: PhysAddr,
        nid: Option<NodeId>,
    ) -> Result<PhysAddr, Error> {
        self.alloc_internal(Request { variant: AllocVariant::Raw, size, align, min, max, nid })
    }

    /// Allocates on exactly this node, not cleared (`memblock_alloc_exact_nid_raw`).
    ///
    /// # Errors
    /// As [`Self::alloc_range_nid`].
    pub fn alloc_exact_nid_raw(
        &mut self,
        size: u64,
        align: u64,
        min: PhysAddr,
        max: PhysAddr,
        nid: Option<NodeId>,
    ) -> Result<PhysAddr, Error> {
        self.alloc_internal(Request { variant: AllocVariant::ExactRaw, size, align, min, max, nid })
    }

    /// Allocates anywhere below the current limit (`memblock_alloc`).
    ///
    /// # Errors
    /// As [`Self::alloc_range_nid`].
    pub fn alloc(&mut self, size: u64, align: u64) -> Result<PhysAddr, Error> {
        self.alloc_try_nid(size, align, PhysAddr::ZERO, MEMBLOCK_ALLOC_ACCESSIBLE, None)
    }

    /// [`Self::alloc`] for memory that need not be cleared (`memblock_alloc_raw`).
    ///
    /// # Errors
    /// As [`Self::alloc_range_nid`].
    pub fn alloc_raw(&mut self, size: u64, align: u64) -> Result<PhysAddr, Error> {
        self.alloc_try_nid_raw(size, align, PhysAddr::ZERO, MEMBLOCK_ALLOC_ACCESSIBLE, None)
    }

    /// Allocates below 4 GiB (`memblock_alloc_low`).
    ///
    /// # Errors
    /// As [`Self::alloc_range_nid`].
    pub fn alloc_low(&mut self, size: u64, align: u64) -> Result<PhysAddr, Error> {
        self.alloc_try_nid(size, align, PhysAddr::ZERO, ARCH_LOW_ADDRESS_LIMIT, None)
    }

    /// Allocates, best above `min` (`memblock_alloc_from`).
    ///
    /// # Errors
    /// As [`Self::alloc_range_nid`].
    pub fn alloc_from(&mut self, size: u64, align: u64, min: PhysAddr) -> Result<PhysAddr, Error> {
        self.alloc_try_nid(size, align, min, MEMBLOCK_ALLOC_ACCESSIBLE, None)
    }

    /// Allocates, best on this node (`memblock_alloc_node`).
    ///
    /// # Errors
    /// As [`Self::alloc_range_nid`].
    pub fn alloc_node(&mut self, size: u64, align: u64, nid: Option<NodeId>) -> Result<PhysAddr, Error> {
        self.alloc_try_nid(size, align, PhysAddr::ZERO, MEMBLOCK_ALLOC_ACCESSIBLE, nid)
    }
}
