//! kvmalloc over vmalloc: the kernel's virtual space as `pagewright-slab` falls back on it.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::panic::Location;
use pagewright_addr::{NodeId, VirtAddr};
use pagewright_kspace::vmalloc::{VmContext, VmFlags, VmRequest, Vmalloc, VmallocError};
use pagewright_pagetable::{Format, TableMemory};
use pagewright_slab::kv::VirtSpace;
use pagewright_zone::Gfp;

/// What is mapped at the kernel's addresses, as this processor sees it: plain accesses on the metal, the software MMU's on a hosted machine.
pub trait VirtMemory {
    /// Reads bytes; `false` if they are not mapped.
    fn read(&self, at: VirtAddr, into: &mut [u8]) -> bool;

    /// Writes bytes; `false` if they are not mapped.
    fn write(&self, at: VirtAddr, bytes: &[u8]) -> bool;
}

/// vmalloc on behalf of one task on one processor, for [`Kv`](pagewright_slab::kv::Kv).
pub struct VmallocFor<'r, 'v, 'a, F: Format, M: TableMemory, C> {
    vmalloc: &'r Vmalloc<'v, 'a, F, M>,
    on: RefCell<&'r mut C>,
    memory: &'r dyn VirtMemory,
    refused: Cell<Option<Refused>>,
}

/// What had no room, and for whom: kvmalloc says only that there is no memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Who called kvmalloc.
    pub caller: &'static Location<'static>,
    /// How many bytes he wanted.
    pub bytes: u64,
    /// What vmalloc said: which area was too small, with the largest gap, or how many pages were missing.
    pub why: VmallocError,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { caller, bytes, why } = self;
        write!(f, "kvmalloc of {bytes} bytes at {}:{}: {why}", caller.file(), caller.line())
    }
}

impl<F: Format, M: TableMemory, C> fmt::Debug for VmallocFor<'_, '_, '_, F, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmallocFor").field("vmalloc", self.vmalloc).finish_non_exhaustive()
    }
}

impl<'r, 'v, 'a, F: Format, M: TableMemory, C: VmContext<'a>> VmallocFor<'r, 'v, 'a, F, M, C> {
    /// This region in that context.
    ///
    /// It knows of no slabs: what [`VirtSpace`] promises of their addresses is seen to by whoever makes a [`Kv`](pagewright_slab::kv::Kv) of both. No
    /// address of the slabs' memory lies in [`Vmalloc::range`]; with a kernel's own layout none does, since slabs' memory is in the linear map.
    pub const fn new(vmalloc: &'r Vmalloc<'v, 'a, F, M>, on: &'r mut C, memory: &'r dyn VirtMemory) -> Self {
        Self { vmalloc, on: RefCell::new(on), memory, refused: Cell::new(None) }
    }

    /// What was refused last, if anything was since somebody asked.
    pub fn take_refused(&self) -> Option<Refused> {
        self.refused.take()
    }
}

impl<'a, F: Format, M: TableMemory, C: VmContext<'a>> VirtSpace for VmallocFor<'_, '_, 'a, F, M, C> {
    fn contains(&self, at: VirtAddr) -> bool {
        self.vmalloc.is_vmalloc_addr(at)
    }

    fn alloc(
        &self,
        bytes: u64,
        gfp: Gfp,
        node: Option<NodeId>,
        caller: &'static Location<'static>,
    ) -> Option<VirtAddr> {
        let flags = VmFlags::ALLOW_HUGE_VMAP;
        let request = VmRequest { gfp, node, flags, caller, ..VmRequest::new(bytes) };
        let had = self.vmalloc.vmalloc_request(&mut **self.on.borrow_mut(), &request);
        had.inspect_err(|why| self.refused.set(Some(Refused { caller, bytes, why: *why }))).ok()
    }

    fn free(&self, at: VirtAddr) -> bool {
        self.vmalloc.vfree(&mut **self.on.borrow_mut(), at).is_ok()
    }

    fn read(&self, at: VirtAddr, into: &mut [u8]) -> bool {
        self.memory.read(at, into)
    }

    fn write(&self, at: VirtAddr, bytes: &[u8]) -> bool {
        self.memory.write(at, bytes)
    }
}
