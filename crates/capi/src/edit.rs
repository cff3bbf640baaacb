//! The functions that change region sets. They return 0, or a negative error number as Linux's do.

use crate::global::{set_of, with};
use crate::layout::{memblock_type, phys_addr_t};
use crate::print::Text;
use core::ffi::{c_int, c_uint};
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_memblock::{Error, Flags, Memblock};

const ENOMEM: c_int = 12;
const EINVAL: c_int = 22;

fn status(result: Result<(), Error>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(Error::TooWide { .. } | Error::BadAlign { .. } | Error::HoldsArray { .. }) => -EINVAL,
        Err(_) => -ENOMEM,
    }
}

fn run(operation: impl FnOnce(&mut Memblock<'_>) -> Result<(), Error>) -> c_int {
    status(with(operation))
}

fn range(base: phys_addr_t, size: phys_addr_t) -> PhysRange {
    PhysRange::from_len(PhysAddr::new(base), size)
}

/// Lets full region arrays grow from now on.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_allow_resize() {
    run(|m| {
        m.allow_resize();
        Ok(())
    });
}

/// Adds RAM with a node and flags.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_add_node(
    base: phys_addr_t,
    size: phys_addr_t,
    nid: c_int,
    flags: c_uint,
) -> c_int {
    run(|m| m.add_node_sized(PhysAddr::new(base), size, nid, Flags::from_bits_retain(flags)))
}

/// Adds RAM.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_add(base: phys_addr_t, size: phys_addr_t) -> c_int {
    run(|m| m.add_sized(PhysAddr::new(base), size))
}

/// Takes RAM away.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_remove(base: phys_addr_t, size: phys_addr_t) -> c_int {
    run(|m| m.remove_sized(PhysAddr::new(base), size))
}

/// Gives a reserved range back.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_phys_free(base: phys_addr_t, size: phys_addr_t) -> c_int {
    run(|m| m.phys_free_sized(PhysAddr::new(base), size))
}

/// Reserves a range.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_reserve(base: phys_addr_t, size: phys_addr_t) -> c_int {
    run(|m| m.reserve_sized(PhysAddr::new(base), size))
}

/// Cuts RAM to multiples of `align`.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_trim_memory(align: phys_addr_t) {
    run(|m| m.trim_memory(align));
}

fn flag(base: phys_addr_t, size: phys_addr_t, flag: Flags, set: bool) -> c_int {
    run(|m| m.set_flag(PhysAddr::new(base), size, flag, set))
}

/// Marks RAM as hot-pluggable.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_mark_hotplug(base: phys_addr_t, size: phys_addr_t) -> c_int {
    flag(base, size, Flags::HOTPLUG, true)
}

/// Clears that mark.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_clear_hotplug(base: phys_addr_t, size: phys_addr_t) -> c_int {
    flag(base, size, Flags::HOTPLUG, false)
}

/// Marks RAM as mirrored, if `mirrored_kernelcore` is set.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_mark_mirror(base: phys_addr_t, size: phys_addr_t) -> c_int {
    run(|m| m.mark_mirror(range(base, size)))
}

/// Takes RAM out of the linear map.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_mark_nomap(base: phys_addr_t, size: phys_addr_t) -> c_int {
    flag(base, size, Flags::NOMAP, true)
}

/// Clears that mark.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_clear_nomap(base: phys_addr_t, size: phys_addr_t) -> c_int {
    flag(base, size, Flags::NOMAP, false)
}

/// Gives the regions of a range to a node. `set` is `&memblock.memory` or `&memblock.reserved`; anything else
/// is `-EINVAL`.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_set_node(
    base: phys_addr_t,
    size: phys_addr_t,
    set: *mut memblock_type,
    nid: c_int,
) -> c_int {
    match set_of(set) {
        Some(which) => run(|m| m.set_node_sized(PhysAddr::new(base), size, which, nid)),
        None => -EINVAL,
    }
}

/// Keeps the lowest `limit` bytes of RAM.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_enforce_memory_limit(limit: phys_addr_t) {
    run(|m| m.enforce_memory_limit(limit));
}

/// Drops RAM outside a range, except what is unmapped.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_cap_memory_range(base: phys_addr_t, size: phys_addr_t) {
    run(|m| m.cap_memory_range(range(base, size)));
}

/// Keeps the lowest `limit` bytes of RAM and what is unmapped.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_mem_limit_remove_map(limit: phys_addr_t) {
    run(|m| m.mem_limit_remove_map(limit));
}

/// Sets what `MEMBLOCK_ALLOC_ACCESSIBLE` stands for.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_set_current_limit(limit: phys_addr_t) {
    run(|m| {
        m.set_current_limit(PhysAddr::new(limit));
        Ok(())
    });
}

/// Prints all regions, if the options ask for debug output.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_dump_all() {
    let options = crate::global::options();
    if options.debug {
        crate::global::peek((), |m| Text::new(&options).line(format_args!("{}", m.dump())));
    }
}
