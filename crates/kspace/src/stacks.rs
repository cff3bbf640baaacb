//! Kernel stacks in vmalloc space, where running over the end faults.
//!
//! A stack is an area of its own (`alloc_thread_stack_node` with CONFIG_VMAP_STACK): the page above it is its area's guard. The page below it is an area
//! too, of one page in which nothing is mapped: nobody else gets those addresses as long as there is the stack, whatever lies below them.
//! Each CPU keeps two stacks of tasks that ended, which cost neither pages nor a flush when the next task gets one; they are zeroed, since
//! what an old task left on its stack is nobody's business.

use crate::areas::AreaError;
use crate::vmalloc::{Seen, VfreeError, VmContext, VmFlags, VmRequest, Vmalloc, VmallocError};
use core::fmt;
use core::ops::ControlFlow;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_pagetable::{Format, TableMemory};
use pagewright_platform::{MappedMemory, Mutex};
use pagewright_zone::Gfp;

/// NR_CACHED_STACKS: stacks that a CPU keeps.
pub const NR_CACHED_STACKS: usize = 2;
/// Places that somebody else is quicker to take, before giving up.
const TRIES: usize = 4;

/// How large stacks are, and where they may lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StackShape {
    /// THREAD_SIZE.
    pub bytes: u64,
    /// THREAD_ALIGN: where it is twice the size, one bit of the stack pointer tells an overflow (arm, arm64).
    pub align: u64,
}

impl StackShape {
    /// Those of an architecture with pages of this size.
    pub const fn of(arch: Arch, page_bytes: u64) -> Self {
        let bytes: u64 = match arch {
            Arch::Arm | Arch::I386 => 8 << 10,
            Arch::Arm64 | Arch::X86_64 => 16 << 10,
        };
        let bytes = if bytes < page_bytes { page_bytes } else { bytes };
        let align = match arch {
            Arch::Arm | Arch::Arm64 => 2 * bytes,
            Arch::I386 | Arch::X86_64 => bytes,
        };
        Self { bytes, align }
    }
}

/// A CPU's stacks of tasks that ended (`cached_stacks`).
#[derive(Default)]
pub struct StackCache(Mutex<[Option<VirtAddr>; NR_CACHED_STACKS]>);

impl StackCache {
    /// None.
    pub const fn new() -> Self {
        Self(Mutex::new([None; NR_CACHED_STACKS]))
    }

    fn take(&self) -> Option<VirtAddr> {
        self.0.lock().iter_mut().find_map(Option::take)
    }

    /// Whether there was room.
    fn put(&self, stack: VirtAddr) -> bool {
        let mut places = self.0.lock();
        let Some(place) = places.iter_mut().find(|place| place.is_none()) else { return false };
        *place = Some(stack);
        true
    }
}

impl fmt::Debug for StackCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StackCache")
    }
}

/// A task's stack.
#[must_use = "the stack stays mapped until it is given to Stacks::free"]
#[derive(PartialEq, Eq, Debug)]
pub struct KernelStack {
    range: VirtRange,
    page_bytes: u64,
}

impl KernelStack {
    /// Its addresses.
    pub const fn range(&self) -> VirtRange {
        self.range
    }

    /// Where the stack pointer begins: the first byte behind it.
    pub const fn top(&self) -> VirtAddr {
        VirtAddr::new(self.range.start.get() + self.range.len)
    }

    /// The page that a stack that grows too far runs into.
    pub const fn guard(&self) -> VirtRange {
        VirtRange { start: VirtAddr::new(self.range.start.get() - self.page_bytes), len: self.page_bytes }
    }
}

/// Why there is no stack. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StackError<E> {
    /// There is no area, or there are no pages.
    #[error("{0}")]
    Area(VmallocError),
    /// Every place for a stack lies right above what others have.
    #[error("no place for a stack has a page of nobody's below it, {0:#x} was the last")]
    NoGuard(VirtAddr),
    /// An old stack could not be zeroed.
    #[error("{0}")]
    Access(E),
}

/// The stacks of one kernel.
pub struct Stacks<'s, 'v, 'a, F: Format, M: TableMemory> {
    vmalloc: &'s Vmalloc<'v, 'a, F, M>,
    shape: StackShape,
    caches: &'s [StackCache],
}

impl<F: Format, M: TableMemory> fmt::Debug for Stacks<'_, '_, '_, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stacks").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl<'s, 'v, 'a, F: Format, M: TableMemory> Stacks<'s, 'v, 'a, F, M> {
    /// In this region; `caches` has one for each CPU, or none for a kernel that keeps none.
    pub const fn new(
        vmalloc: &'s Vmalloc<'v, 'a, F, M>,
        shape: StackShape,
        caches: &'s [StackCache],
    ) -> Self {
        Self { vmalloc, shape, caches }
    }

    fn cache<C: VmContext<'a>>(&self, on: &C) -> Option<&'s StackCache> {
        self.caches.get(on.cpu().checked_rem(self.caches.len())?)
    }

    const PAGE: u64 = F::SHAPE.page_bytes();

    const fn stack(&self, start: VirtAddr) -> KernelStack {
        let range = VirtRange { start, len: self.shape.bytes };
        KernelStack { range, page_bytes: Self::PAGE }
    }

    /// A stack of zeroes for a new task. `memory` is the kernel's addresses as this CPU reaches them.
    ///
    /// # Errors
    /// [`StackError`].
    #[track_caller]
    pub fn alloc<C: VmContext<'a>, A: MappedMemory>(
        &self,
        on: &mut C,
        memory: &A,
    ) -> Result<KernelStack, StackError<A::Error>> {
        if let Some(start) = self.cache(on).and_then(StackCache::take) {
            if let Err(e) = memory.zero(start, self.shape.bytes) {
                // It was in the cache, so it is an area; who cannot write it cannot use it.
                let _ = self.release(on, start);
                return Err(StackError::Access(e));
            }
            return Ok(self.stack(start));
        }
        self.place(on).map(|start| self.stack(start))
    }

    /// Makes the areas of a stack: as low as it fits, or where it fits with its guard if others have the page below that place.
    #[track_caller]
    fn place<C: VmContext<'a>, E>(&self, on: &mut C) -> Result<VirtAddr, StackError<E>> {
        let StackShape { bytes, align } = self.shape;
        let region = self.vmalloc.range();
        // Below the region's first page there is no guard to be had.
        let within = VirtRange {
            start: VirtAddr::new(region.start.get().saturating_add(Self::PAGE)),
            len: region.len.saturating_sub(Self::PAGE),
        };
        let request = VmRequest::new(bytes).aligned(align).with_gfp(Gfp::GFP_KERNEL | Gfp::ZERO);
        let mut request = VmRequest { within: Some(within), ..request };
        let mut last = VirtAddr::ZERO;
        for _ in 0..TRIES {
            match self.vmalloc.vmalloc_request(on, &request) {
                Ok(start) => {
                    let guarded = self.take_guard(on, start);
                    if let Ok(true) = guarded {
                        return Ok(start);
                    }
                    // Taken a moment ago.
                    let _ = self.vmalloc.vfree(on, start);
                    guarded.map_err(StackError::Area)?;
                    last = start;
                }
                // A place that was free with its guard is somebody's by now.
                Err(VmallocError::Space { why: AreaError::NoGap { .. }, .. }) if last != VirtAddr::ZERO => {}
                Err(why) => return Err(StackError::Area(why)),
            }
            let mut roomy = self.roomy_gap();
            if roomy.is_none() && self.vmalloc.give_all_back(on) {
                roomy = self.roomy_gap();
            }
            let Some(start) = roomy else { break };
            request.within = Some(VirtRange { start, len: bytes + Self::PAGE });
        }
        Err(StackError::NoGuard(last))
    }

    /// Where a stack with the pages on either side fits into the lowest gap with room for them.
    fn roomy_gap(&self) -> Option<VirtAddr> {
        let StackShape { bytes, align } = self.shape;
        let mut found = None;
        self.vmalloc.each_gap(&mut |gap| {
            let first = gap.start.get();
            let start = first.checked_add(Self::PAGE).and_then(|start| start.checked_next_multiple_of(align));
            let fits = start.filter(|start| {
                (start - first).checked_add(bytes + Self::PAGE).is_some_and(|len| len <= gap.len)
            });
            found = found.or(fits.map(VirtAddr::new));
        });
        found
    }

    /// Makes the page below a stack an area of its own; `false` if others have it.
    #[track_caller]
    fn take_guard<C: VmContext<'a>>(&self, on: &mut C, start: VirtAddr) -> Result<bool, VmallocError> {
        let guard = self.stack(start).guard();
        let mut taken = false;
        self.vmalloc.areas_in(guard, &mut |seen| {
            // What was unmapped gives way.
            taken |= matches!(seen, Seen::Area(_) | Seen::Ram(_));
            ControlFlow::Continue(())
        });
        if taken {
            return Ok(false);
        }
        match self.vmalloc.add_vm_area(on, guard, PhysAddr::ZERO, VmFlags::STACK_GUARD) {
            Ok(_) => Ok(true),
            Err(VmallocError::Space { why: AreaError::Taken(_), .. }) => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// Frees a stack with its guard.
    fn release<C: VmContext<'a>>(&self, on: &mut C, start: VirtAddr) -> Result<(), VfreeError> {
        self.vmalloc.vfree(on, start)?;
        self.vmalloc.remove(on, self.stack(start).guard().start, VmFlags::empty()).map(|_| ())
    }

    /// A task has ended: its stack is kept for the next one on this CPU, or freed (`free_thread_stack`). Nobody may be on it any more.
    ///
    /// # Errors
    /// [`VfreeError`] for a stack that is not one of this region's.
    pub fn free<C: VmContext<'a>>(&self, on: &mut C, stack: KernelStack) -> Result<(), VfreeError> {
        let start = stack.range.start;
        for part in [stack.range, stack.guard()] {
            if self.vmalloc.find_vm_area(part.start).is_none_or(|area| area.range() != part) {
                return Err(VfreeError::Nonexistent(part.start));
            }
        }
        if self.cache(on).is_some_and(|cache| cache.put(start)) {
            return Ok(());
        }
        self.release(on, start)
    }

    /// Frees what a CPU that goes away has kept, and says how many stacks that were (`free_vm_stack_cache`).
    pub fn free_vm_stack_cache<C: VmContext<'a>>(&self, on: &mut C, cpu: usize) -> usize {
        let Some(cache) = self.caches.get(cpu) else { return 0 };
        let mut freed = 0;
        while let Some(start) = cache.take() {
            freed += usize::from(self.release(on, start).is_ok());
        }
        freed
    }
}
