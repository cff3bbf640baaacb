//! Linux 6.1's memblock, page allocator and small objects as a C library: `libpagewright_capi.a`, `include/pagewright/memblock.h`,
//! `include/pagewright/pages.h` and `include/pagewright/slab.h`.
//!
//! C code gets the functions `memblock_*` and the global variable `memblock` with the kernel's layout, and may
//! read and write the variable directly (`memblock.memory.cnt`, `.regions[]`, `.current_limit`, `.bottom_up`).
//! Behind them is the one implementation in `pagewright-memblock`: each call runs a
//! [`Memblock`](pagewright_memblock::Memblock) on a view of C's variable and writes back what changed, so nothing
//! is cached between calls.
//!
//! # What the program provides
//! - One symbol, as for Linux's own memblock: `bool movable_node_enabled`.
//! - [`pagewright_memblock_options`], a variable with sensible contents: the kernel configuration (NUMA,
//!   `MAX_NUMNODES`, page size), whether to log, and hooks for what lies outside memblock (printing, giving
//!   pages to an allocator, the slab phase). All hooks may stay null.
//! - One thread at a time, as at boot. Hooks must not call back into memblock.
//!
//! # Differences from Linux
//! - Addresses are 64 bits and so are pointers. A region always has room for its node; without `CONFIG_NUMA`
//!   that room is C's padding. Such a program should say so in the options, since the library cannot know.
//! - Log lines name no caller.
//! - Once the slab allocator is up (see [`Options::slab_alloc`]), region arrays do not grow any more.
//! - `reset_all_zones_managed_pages`, `physmem` and the walks over zones belong to code that this library does
//!   not have.
//!
//! # The page allocator
//! [`pagewright_page_alloc_init`] ends memblock's time: its free memory, and from then on `alloc_pages`, `__get_free_pages`,
//! `alloc_pages_exact`, `alloc_pages_bulk_array` and their relatives serve, for one CPU and one thread at a time. `struct page` is the
//! library's own metadata, opaque and 32 bytes long. There is no reclaim: an allocation that finds no memory fails, and says so as
//! Linux does unless its mask forbids it. What must not be freed is printed, counted and left alone.
//!
//! # Small objects
//! `pagewright_slab_init` starts caches and `kmalloc` over that page allocator: `include/pagewright/slab.h`. What is wrong with an object is printed as
//! SLUB prints it, counted by `pagewright_slab_findings`, and contained. A program with a `kmalloc` of its own builds the library without the feature `slab`.
//!
//! # Linux's own tests
//! `cargo xtask test` links Linux's `tools/testing/memblock` with this library instead of its memblock object.
//!
//! ```
//! use pagewright_capi::*;
//!
//! // A C program does the same through the header.
//! #[unsafe(no_mangle)]
//! static mut movable_node_enabled: bool = false;
//!
//! assert_eq!(memblock_add(0x4000_0000, 0x1000_0000), 0);
//! assert_eq!(memblock_phys_alloc_range(4096, 4096, 0, 0), 0x4fff_f000);
//! ```
#![cfg_attr(not(feature = "std"), no_std)]
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, reason = "the names are C's")]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("struct memblock has the layout of 64-bit kernels here");

mod alloc;
mod edit;
mod free;
mod global;
mod layout;
mod pages;
mod print;
mod query;
#[cfg(feature = "slab")]
mod slabs;
mod walk;

pub use alloc::*;
pub use edit::*;
pub use free::*;
pub use global::{
    max_low_pfn, max_pfn, max_possible_pfn, memblock, min_low_pfn, mirrored_kernelcore,
    pagewright_memblock_options,
};
pub use layout::{Options, memblock_t, memblock_type, phys_addr_t};
pub use pages::*;
pub use query::*;
#[cfg(feature = "slab")]
pub use slabs::*;
pub use walk::*;

#[cfg(not(feature = "std"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
