//! The allocating functions. Physical ones return 0 for "none", the others a null pointer.

use crate::global::{options, with};
use crate::layout::phys_addr_t;
use crate::print::Text;
use core::ffi::{c_int, c_void};
use pagewright_addr::{NodeId, PhysAddr};
use pagewright_memblock::{AllocVariant, Error, Memblock};

/// C's node number. `MAX_NUMNODES` is an old way to say "any", as Linux warns.
fn node(nid: c_int) -> Option<NodeId> {
    let options = options();
    if nid == options.max_numnodes {
        Text::new(&options)
            .line(format_args!("Usage of MAX_NUMNODES is deprecated. Use NUMA_NO_NODE instead"));
        return None;
    }
    u16::try_from(nid).ok().and_then(NodeId::new)
}

fn address(result: Result<PhysAddr, Error>) -> phys_addr_t {
    result.map_or(0, PhysAddr::get)
}

/// Allocates between `start` and `end`.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_phys_alloc_range(
    size: phys_addr_t,
    align: phys_addr_t,
    start: phys_addr_t,
    end: phys_addr_t,
) -> phys_addr_t {
    address(with(|m| m.phys_alloc_range(size, align, PhysAddr::new(start), PhysAddr::new(end))))
}

/// Allocates between `start` and `end`, best or exactly on a node.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_alloc_range_nid(
    size: phys_addr_t,
    align: phys_addr_t,
    start: phys_addr_t,
    end: phys_addr_t,
    nid: c_int,
    exact_nid: bool,
) -> phys_addr_t {
    let nid = node(nid);
    let (start, end) = (PhysAddr::new(start), PhysAddr::new(end));
    address(with(|m| m.alloc_range_nid(size, align, start, end, nid, exact_nid)))
}

/// Allocates below the current limit, best on a node.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_phys_alloc_try_nid(
    size: phys_addr_t,
    align: phys_addr_t,
    nid: c_int,
) -> phys_addr_t {
    let nid = node(nid);
    address(with(|m| m.phys_alloc_try_nid(size, align, nid)))
}

/// A window and a node, as C gives them.
struct Wish {
    size: phys_addr_t,
    align: phys_addr_t,
    min: phys_addr_t,
    max: phys_addr_t,
    nid: c_int,
}

/// Allocates and returns the pointer, or takes the memory from the slab allocator once that is up.
fn pointer(variant: AllocVariant, wish: &Wish) -> *mut c_void {
    let options = options();
    // SAFETY: a hook without arguments; its contract is the header's.
    let slab = options.slab_is_available.is_some_and(|ask| unsafe { ask() });
    if slab {
        let Ok(size) = usize::try_from(wish.size) else { return core::ptr::null_mut() };
        // SAFETY: the hook takes any size and node, and returns memory or null.
        return options.slab_alloc.map_or(core::ptr::null_mut(), |alloc| unsafe { alloc(size, wish.nid) });
    }
    let (nid, min, max) = (node(wish.nid), PhysAddr::new(wish.min), PhysAddr::new(wish.max));
    let Wish { size, align, .. } = *wish;
    let found = with(|m: &mut Memblock<'_>| match variant {
        AllocVariant::Plain => m.alloc_try_nid(size, align, min, max, nid),
        AllocVariant::Raw => m.alloc_try_nid_raw(size, align, min, max, nid),
        AllocVariant::ExactRaw => m.alloc_exact_nid_raw(size, align, min, max, nid),
    });
    match found {
        Ok(at) => {
            let at = (at.get() as usize).wrapping_add(options.virt_offset as usize);
            core::ptr::with_exposed_provenance_mut(at)
        }
        Err(_) => core::ptr::null_mut(),
    }
}

/// Allocates on exactly this node; not zeroed.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_alloc_exact_nid_raw(
    size: phys_addr_t,
    align: phys_addr_t,
    min: phys_addr_t,
    max: phys_addr_t,
    nid: c_int,
) -> *mut c_void {
    pointer(AllocVariant::ExactRaw, &Wish { size, align, min, max, nid })
}

/// Allocates, best on this node and above `min`; not zeroed.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_alloc_try_nid_raw(
    size: phys_addr_t,
    align: phys_addr_t,
    min: phys_addr_t,
    max: phys_addr_t,
    nid: c_int,
) -> *mut c_void {
    pointer(AllocVariant::Raw, &Wish { size, align, min, max, nid })
}

/// Allocates zeroed memory, best on this node and above `min`.
///
/// # Safety
/// The memory in `memblock.memory` below `max` and the current limit must be accessible at its kernel address
/// (see [`Options::virt_offset`](crate::Options::virt_offset)): it is cleared.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memblock_alloc_try_nid(
    size: phys_addr_t,
    align: phys_addr_t,
    min: phys_addr_t,
    max: phys_addr_t,
    nid: c_int,
) -> *mut c_void {
    let memory = pointer(AllocVariant::Plain, &Wish { size, align, min, max, nid });
    if !memory.is_null() {
        // SAFETY: `size` bytes of C's memory that were free until now, accessible by this function's contract.
        unsafe { memory.cast::<u8>().write_bytes(0, size as usize) };
    }
    memory
}
