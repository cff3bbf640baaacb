//! What an area is for.

use bitflags::bitflags;

bitflags! {
    /// An area's kind and ways (`VM_*` of `struct vm_struct`), with 6.1's numbers.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct VmFlags: u32 {
        /// Registers of a device, or other memory that is mapped by its physical address.
        const IOREMAP = 0x1;
        /// Pages of its own (vmalloc).
        const ALLOC = 0x2;
        /// Pages of its caller's (vmap).
        const MAP = 0x4;
        /// May be mapped to user space; its pages were zeroed.
        const USERMAP = 0x8;
        /// Memory that devices see as processors do.
        const DMA_COHERENT = 0x10;
        /// No page behind it is left unmapped to trap who runs over the end.
        const NO_GUARD = 0x40;
        /// Its permissions are to be reset before its pages are freed.
        const FLUSH_RESET_PERMS = 0x100;
        /// Its pages came from its caller and are freed with it. Nothing does that, so it is refused.
        const MAP_PUT_PAGES = 0x200;
        /// May be mapped by blocks.
        const ALLOW_HUGE_VMAP = 0x400;
        /// A part of a chunk of per-CPU memory. No flag of Linux's, which knows these by who asked for them.
        const PERCPU = 0x8000_0000;
        /// The page below a stack. No flag of Linux's, where that page is another area's guard, or nobody's.
        const STACK_GUARD = 0x4000_0000;
    }
}
