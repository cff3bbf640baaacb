//! The state of one memblock, how it is made, and its switches.
//!
//! [`Memblock`] holds all of Linux's memblock state and nothing derived from it. [`Memblock::from_parts`] and
//! [`Memblock::into_parts`] let someone else keep the state between operations: the C library runs each call
//! on a view of C's global variables this way.

use crate::event::{Event, Sink};
use crate::grow::RegionMemory;
use crate::region::UNSET_NODE;
use crate::set::RegionSet;
use crate::{Config, Error, Phase, Region, Set};
use pagewright_addr::{PhysAddr, PhysRange};

/// One region array as someone else keeps it (`struct memblock_type`).
#[derive(Debug)]
pub struct ArrayParts<'a> {
    /// All slots: their number is Linux's `max`.
    pub regions: &'a mut [Region],
    /// Slots in use, where an empty set counts one dummy region of size 0.
    pub cnt: usize,
    /// `total_size`.
    pub total_size: u64,
    /// Where the array lies if memblock allocated it, so that it is freed when the array grows again.
    pub block: Option<PhysRange>,
}

/// The state that lasts between operations, for [`Memblock::from_parts`] and [`Memblock::into_parts`].
#[derive(Debug)]
pub struct Parts<'a> {
    /// `memblock.memory`.
    pub memory: ArrayParts<'a>,
    /// `memblock.reserved`.
    pub reserved: ArrayParts<'a>,
    /// `memblock.current_limit`.
    pub current_limit: PhysAddr,
    /// `memblock.bottom_up`.
    pub bottom_up: bool,
    /// Whether [`Memblock::allow_resize`] was called.
    pub can_resize: bool,
    /// See [`Memblock::set_has_mirror`].
    pub has_mirror: bool,
    /// See [`Memblock::set_movable_node`].
    pub movable_node: bool,
    /// The node number that C stores for "no node": its `MAX_NUMNODES`.
    pub max_numnodes: i32,
}

/// Linux's early allocator: which RAM there is, and what of it is in use.
///
/// The caller brings the region arrays; the value borrows them. Every change goes to the sink as an [`Event`].
/// After an error the state is what it was before the call.
///
/// ```
/// use pagewright_memblock::{Config, Memblock, Quiet, Region};
/// use pagewright_addr::{PhysAddr, PhysRange};
///
/// let (mut memory, mut reserved) = ([Region::default(); 16], [Region::default(); 16]);
/// let mut memblock = Memblock::new(&mut memory, &mut reserved, Config::default(), &Quiet);
/// memblock.add(PhysRange::from_len(PhysAddr::new(0x4000_0000), 1 << 30))?;
/// let page = memblock.phys_alloc_range(4096, 4096, PhysAddr::ZERO, PhysAddr::ZERO)?;
/// assert_eq!(page, PhysAddr::new(0x7fff_f000));
/// # Ok::<(), pagewright_memblock::Error>(())
/// ```
pub struct Memblock<'a> {
    pub(crate) memory: RegionSet<'a>,
    pub(crate) reserved: RegionSet<'a>,
    pub(crate) physmem: Option<RegionSet<'a>>,
    pub(crate) current_limit: u64,
    pub(crate) bottom_up: bool,
    pub(crate) can_resize: bool,
    pub(crate) has_mirror: bool,
    pub(crate) mirrored_kernelcore: bool,
    pub(crate) movable_node: bool,
    pub(crate) max_numnodes: i32,
    pub(crate) config: Config,
    pub(crate) region_bytes: u64,
    pub(crate) sink: &'a dyn Sink,
    pub(crate) caller: &'static str,
    pub(crate) region_memory: Option<&'a mut dyn RegionMemory<'a>>,
    pub(crate) fail_in: Option<u64>,
    pub(crate) phase: Phase,
}

impl core::fmt::Debug for Memblock<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Memblock")
            .field("memory", &self.memory.live())
            .field("reserved", &self.reserved.live())
            .field("current_limit", &PhysAddr::new(self.current_limit))
            .field("bottom_up", &self.bottom_up)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl<'a> Memblock<'a> {
    /// An empty memblock over two region arrays.
    ///
    /// The arrays' lengths are Linux's `INIT_MEMBLOCK_*_REGIONS` (see [`crate::INIT_MEMBLOCK_REGIONS`]); what
    /// they contain is overwritten. A full array refuses further regions until [`Self::allow_resize`].
    pub fn new(
        memory: &'a mut [Region],
        reserved: &'a mut [Region],
        config: Config,
        sink: &'a dyn Sink,
    ) -> Self {
        Self {
            memory: RegionSet::new(memory, config.numa, UNSET_NODE),
            reserved: RegionSet::new(reserved, config.numa, UNSET_NODE),
            physmem: None,
            current_limit: config.width.max_addr(),
            bottom_up: false,
            can_resize: false,
            has_mirror: false,
            mirrored_kernelcore: false,
            movable_node: false,
            max_numnodes: UNSET_NODE,
            config,
            region_bytes: config.region_bytes(),
            sink,
            caller: "start_kernel",
            region_memory: None,
            fail_in: None,
            phase: Phase::Memblock,
        }
    }

    /// The same with a third region array, for `physmem` (4 regions in Linux). Only kept when the
    /// configuration says so.
    #[must_use]
    pub fn with_physmem(mut self, physmem: &'a mut [Region]) -> Self {
        if self.config.keep_physmem {
            self.physmem = Some(RegionSet::new(physmem, self.config.numa, self.max_numnodes));
        }
        self
    }

    /// A memblock in the middle of its life, over state that someone else keeps.
    ///
    /// # Errors
    /// [`Error::BadCount`] if an array claims more regions than it has slots.
    pub fn from_parts(parts: Parts<'a>, config: Config, sink: &'a dyn Sink) -> Result<Self, Error> {
        let unset = parts.max_numnodes;
        let adopt = |set, a: ArrayParts<'a>| {
            let max = a.regions.len();
            if a.cnt > max {
                return Err(Error::BadCount { set, cnt: a.cnt, max });
            }
            Ok(RegionSet::adopt(a.regions, a.cnt, a.total_size, a.block, config.numa, unset))
        };
        Ok(Self {
            memory: adopt(Set::Memory, parts.memory)?,
            reserved: adopt(Set::Reserved, parts.reserved)?,
            current_limit: parts.current_limit.get(),
            bottom_up: parts.bottom_up,
            can_resize: parts.can_resize,
            has_mirror: parts.has_mirror,
            movable_node: parts.movable_node,
            max_numnodes: unset,
            ..Self::new(&mut [], &mut [], config, sink)
        })
    }

    /// Gives the state back; the opposite of [`Self::from_parts`].
    pub fn into_parts(self) -> Parts<'a> {
        let split = |s: RegionSet<'a>| ArrayParts {
            cnt: s.cnt,
            total_size: s.total,
            block: s.block,
            regions: s.slots,
        };
        Parts {
            memory: split(self.memory),
            reserved: split(self.reserved),
            current_limit: PhysAddr::new(self.current_limit),
            bottom_up: self.bottom_up,
            can_resize: self.can_resize,
            has_mirror: self.has_mirror,
            movable_node: self.movable_node,
            max_numnodes: self.max_numnodes,
        }
    }

    /// Where grown region arrays get their slots. Without it an array cannot grow.
    pub fn set_region_memory(&mut self, memory: &'a mut dyn RegionMemory<'a>) {
        self.region_memory = Some(memory);
    }

    /// Sets the name of the calling function for the events that follow; returns the one before.
    pub fn set_caller(&mut self, who: &'static str) -> &'static str {
        core::mem::replace(&mut self.caller, who)
    }

    /// Overrides the size of the modelled kernel's `struct memblock_region`
    /// ([`Config::region_bytes`] otherwise). 0 is taken as 1.
    pub fn set_region_bytes(&mut self, bytes: u64) {
        self.region_bytes = bytes.max(1);
    }

    /// The kernel's properties as given to [`Self::new`].
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Who owns free memory now.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// From now on a full region array is replaced by one of twice the size (`memblock_allow_resize`).
    pub fn allow_resize(&mut self) {
        self.can_resize = true;
        self.emit(Event::AllowResize { caller: self.caller });
    }

    /// Whether full region arrays are replaced by larger ones (`memblock_can_resize`).
    pub fn can_resize(&self) -> bool {
        self.can_resize
    }

    /// Sets the address that [`MEMBLOCK_ALLOC_ACCESSIBLE`](crate::MEMBLOCK_ALLOC_ACCESSIBLE) stands for
    /// (`memblock_set_current_limit`).
    pub fn set_current_limit(&mut self, limit: PhysAddr) {
        self.current_limit = limit.get().min(self.config.width.max_addr());
        self.emit(Event::CurrentLimit { limit: PhysAddr::new(self.current_limit), caller: self.caller });
    }

    /// The current limit; `PHYS_ADDR_MAX` at first (`memblock_get_current_limit`).
    pub fn current_limit(&self) -> PhysAddr {
        PhysAddr::new(self.current_limit)
    }

    /// Whether allocations take the lowest fitting address instead of the highest.
    pub fn set_bottom_up(&mut self, enable: bool) {
        self.bottom_up = enable;
        self.emit(Event::BottomUp { enable, caller: self.caller });
    }

    /// The direction of allocations (`memblock_bottom_up`).
    pub fn bottom_up(&self) -> bool {
        self.bottom_up
    }

    /// Says that the machine has mirrored memory: allocations prefer it. [`Self::mark_mirror`] does this too.
    pub fn set_has_mirror(&mut self, yes: bool) {
        self.has_mirror = yes;
    }

    /// Whether allocations prefer mirrored memory (`memblock_has_mirror`).
    pub fn has_mirror(&self) -> bool {
        self.has_mirror
    }

    /// `kernelcore=mirror` was given: without it [`Self::mark_mirror`] does nothing.
    pub fn set_mirrored_kernelcore(&mut self, yes: bool) {
        self.mirrored_kernelcore = yes;
    }

    /// Whether `kernelcore=mirror` was given (`mirrored_kernelcore`).
    pub fn mirrored_kernelcore(&self) -> bool {
        self.mirrored_kernelcore
    }

    /// `movable_node` was given: allocations then avoid hot-pluggable memory.
    pub fn set_movable_node(&mut self, yes: bool) {
        self.movable_node = yes;
    }

    /// Whether allocations avoid hot-pluggable memory (`movable_node_is_enabled`).
    pub fn movable_node(&self) -> bool {
        self.movable_node
    }

    /// Makes the `n`-th allocation from now fail with [`Error::Injected`]; 1 is the next one, `None` disarms.
    ///
    /// An allocation is one call of an allocating function, or one growth of a region array.
    pub fn fail_nth(&mut self, n: Option<u64>) {
        self.fail_in = n;
    }

    pub(crate) fn emit(&self, event: Event) {
        self.sink.event(&event);
    }

    /// Counts one allocation for [`Self::fail_nth`].
    pub(crate) fn count_allocation(&mut self) -> Result<(), Error> {
        match self.fail_in {
            Some(n) if n <= 1 => {
                self.fail_in = None;
                Err(Error::Injected)
            }
            Some(n) => {
                self.fail_in = Some(n - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Refuses an operation that only memblock's own phase allows.
    pub(crate) fn require_memblock(&self, operation: &'static str) -> Result<(), Error> {
        match self.phase {
            Phase::Memblock => Ok(()),
            phase => Err(Error::WrongPhase { operation, phase }),
        }
    }

    pub(crate) fn set(&self, which: Set) -> Option<&RegionSet<'a>> {
        match which {
            Set::Memory => Some(&self.memory),
            Set::Reserved => Some(&self.reserved),
            Set::Physmem => self.physmem.as_ref(),
        }
    }

    pub(crate) fn set_mut(&mut self, which: Set) -> Result<&mut RegionSet<'a>, Error> {
        match which {
            Set::Memory => Ok(&mut self.memory),
            Set::Reserved => Ok(&mut self.reserved),
            Set::Physmem => self.physmem.as_mut().ok_or(Error::NoPhysmem),
        }
    }

    /// `base` and the end of `size` bytes from it, cut at `PHYS_ADDR_MAX` (`memblock_cap_size`).
    pub(crate) fn cap(&self, base: PhysAddr, size: u64) -> Result<(u64, u64), Error> {
        let max = self.config.width.max_addr();
        match base.get() {
            b if b > max => Err(Error::TooWide { addr: base }),
            b => Ok((b, b.saturating_add(size).min(max))),
        }
    }

    /// The range as the log shows it: the end wraps like the kernel's arithmetic.
    pub(crate) fn shown(&self, base: PhysAddr, size: u64) -> PhysRange {
        let end = base.get().wrapping_add(size) & self.config.width.max_addr();
        PhysRange::new(base, PhysAddr::new(end))
    }
}
