//! kvmalloc over vmalloc: the kernel's virtual space as `pagewright-slab` falls back on it.

use core::cell::RefCell;
use core::fmt;
use pagewright_addr::{NodeId, VirtAddr};
use pagewright_kspace::vmalloc::{VmContext, VmFlags, VmRequest, Vmalloc};
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
        Self { vmalloc, on: RefCell::new(on), memory }
    }
}

impl<'a, F: Format, M: TableMemory, C: VmContext<'a>> VirtSpace for VmallocFor<'_, '_, 'a, F, M, C> {
    fn contains(&self, at: VirtAddr) -> bool {
        self.vmalloc.is_vmalloc_addr(at)
    }

    fn alloc(&self, bytes: u64, gfp: Gfp, node: Option<NodeId>) -> Option<VirtAddr> {
        let request = VmRequest { gfp, node, flags: VmFlags::ALLOW_HUGE_VMAP, ..VmRequest::new(bytes) };
        self.vmalloc.vmalloc_request(&mut **self.on.borrow_mut(), &request).ok()
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
