//! C's types, with the layout of a 64-bit kernel's.

use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use pagewright_memblock::Region;

/// `phys_addr_t`.
pub type phys_addr_t = u64;

/// `struct memblock_type`: a region array.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct memblock_type {
    /// Regions in use; an empty set counts one of size 0.
    pub cnt: c_ulong,
    /// Room in `regions`.
    pub max: c_ulong,
    /// Bytes in all regions.
    pub total_size: phys_addr_t,
    /// The array.
    pub regions: *mut Region,
    /// The set's name.
    pub name: *const c_char,
}

/// `struct memblock`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct memblock_t {
    /// Allocate from below.
    pub bottom_up: bool,
    /// What `MEMBLOCK_ALLOC_ACCESSIBLE` stands for.
    pub current_limit: phys_addr_t,
    /// RAM.
    pub memory: memblock_type,
    /// Ranges in use.
    pub reserved: memblock_type,
}

const _: () = assert!(size_of::<memblock_type>() == 40 && size_of::<memblock_t>() == 96);

/// `struct pagewright_memblock_options`: the kernel configuration, and hooks. Set it before the first call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `CONFIG_NUMA`; true at first.
    pub numa: bool,
    /// `memblock=debug`: print the log lines; false at first.
    pub debug: bool,
    /// `MAX_NUMNODES`, the node number of regions without node; 16 at first.
    pub max_numnodes: c_int,
    /// `PAGE_SHIFT`: 12 (at first), 14 or 16.
    pub page_shift: c_uint,
    /// `SMP_CACHE_BYTES`; 64 at first.
    pub cache_line: c_uint,
    /// `MAX_ORDER` as in 6.1, one more than the largest order; 11 at first.
    pub max_order: c_uint,
    /// What is added to a physical address to get its pointer (`__va`); 0 at first.
    pub virt_offset: c_ulong,
    /// Prints text that ends in a newline and a NUL.
    pub print: Option<unsafe extern "C" fn(*const c_char)>,
    /// Takes a block of `1 << order` pages from memblock (`memblock_free_pages`).
    pub free_pages: Option<unsafe extern "C" fn(c_ulong, c_uint)>,
    /// Hears of every reserved or unmapped range before pages are given away (`reserve_bootmem_region`).
    pub reserve_region: Option<unsafe extern "C" fn(phys_addr_t, phys_addr_t)>,
    /// `slab_is_available`. While it says true, memory comes from `slab_alloc`.
    pub slab_is_available: Option<unsafe extern "C" fn() -> bool>,
    /// Zeroed memory from the slab allocator, or null (`kzalloc_node`).
    pub slab_alloc: Option<unsafe extern "C" fn(usize, c_int) -> *mut c_void>,
}
