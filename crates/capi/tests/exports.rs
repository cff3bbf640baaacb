//! The exported functions as a C program sees them, where `tests/c/first_steps.c` does not look: walks to the
//! very ends of the address space, error numbers, printing, the slab phase.

use core::ffi::{CStr, c_char, c_int, c_void};
use pagewright_capi::*;
use std::ptr::{null, null_mut};
use std::sync::{Mutex, MutexGuard};

#[unsafe(no_mangle)]
static mut movable_node_enabled: bool = false;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static PRINTED: Mutex<String> = Mutex::new(String::new());

unsafe extern "C" fn keep(text: *const c_char) {
    // SAFETY: the library passes NUL-terminated text.
    let text = unsafe { CStr::from_ptr(text) };
    PRINTED.lock().unwrap().push_str(text.to_str().unwrap());
}

/// Empty sets and default options, for as long as the guard lives.
fn fresh() -> MutexGuard<'static, ()> {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    memblock_discard();
    memblock_set_current_limit(u64::MAX);
    // SAFETY: the guard keeps other tests away.
    unsafe {
        memblock.bottom_up = false;
        pagewright_memblock_options.debug = false;
        pagewright_memblock_options.print = Some(keep);
        pagewright_memblock_options.slab_is_available = None;
        movable_node_enabled = false;
    }
    PRINTED.lock().unwrap().clear();
    guard
}

fn memory() -> *mut memblock_type {
    // SAFETY: takes the address only.
    unsafe { &raw mut memblock.memory }
}

fn reserved() -> *mut memblock_type {
    // SAFETY: takes the address only.
    unsafe { &raw mut memblock.reserved }
}

/// Collects a walk in either direction; never more than ten steps.
fn walk(upwards: bool, nid: c_int, of: *mut memblock_type, without: *mut memblock_type) -> Vec<(u64, u64)> {
    let mut found = vec![];
    let (mut start, mut end) = (0, 0);
    let mut idx = if upwards { 0 } else { u64::MAX };
    for _ in 0..10 {
        let next = if upwards { __next_mem_range } else { __next_mem_range_rev };
        // SAFETY: all pointers are valid or null, and both sets are well-formed.
        unsafe { next(&mut idx, nid, 0, of, without, &mut start, &mut end, null_mut()) };
        if idx == u64::MAX {
            return found;
        }
        found.push((start, end));
    }
    panic!("the walk does not end: {found:x?}");
}

#[test]
fn walks_reach_both_ends_of_the_address_space_and_stop() {
    let _guard = fresh();
    let top = u64::MAX - 0xfff;
    assert_eq!(memblock_add(0, 1), 0);
    assert_eq!(memblock_add(0x1000, 0x3000), 0);
    assert_eq!(memblock_add(top, u64::MAX), 0);
    assert_eq!(memblock_reserve(0x2000, 0x1000), 0);
    let all = [(0, 1), (0x1000, 0x4000), (top, u64::MAX)];
    let free = [(0, 1), (0x1000, 0x2000), (0x3000, 0x4000), (top, u64::MAX)];
    assert_eq!(walk(true, -1, memory(), null_mut()), all);
    assert_eq!(walk(true, -1, memory(), reserved()), free);
    let mut back = walk(false, -1, memory(), reserved());
    back.reverse();
    assert_eq!(back, free);
    assert_eq!(walk(true, -1, reserved(), null_mut()), [(0x2000, 0x3000)]);
    assert_eq!(walk(true, 3, memory(), null_mut()), []);
    assert_eq!(walk(true, 3, reserved(), null_mut()), [(0x2000, 0x3000)], "only memory has nodes to choose");
}

#[test]
fn errors_are_linux_s_numbers_and_change_nothing() {
    let _guard = fresh();
    for i in 0..128 {
        assert_eq!(memblock_reserve(0x10_0000 + i * 0x2000, 0x1000), 0);
    }
    assert_eq!(memblock_reserve(0x4000_0000, 0x1000), -12);
    assert_eq!(memblock_phys_free(0x10_0000, 0x1000), -12);
    let mut foreign = memblock_type { cnt: 0, max: 0, total_size: 0, regions: null_mut(), name: null() };
    assert_eq!(memblock_set_node(0, 1, &mut foreign, 0), -22);
    // SAFETY: a type without regions, and null, are allowed.
    unsafe {
        assert!(!memblock_overlaps_region(&foreign, 0, 1));
        assert!(!memblock_overlaps_region(null(), 0, 1));
        assert_eq!((memblock.reserved.cnt, memblock.reserved.total_size), (128, 128 * 0x1000));
    }
    assert_eq!(memblock_phys_alloc_range(64, 64, 0, 0), 0);
}

#[test]
fn lines_come_with_debug_and_warnings_always() {
    let _guard = fresh();
    memblock_add(0x1000, 0x3000);
    memblock_dump_all();
    memblock_phys_alloc_try_nid(64, 64, 16);
    let text = std::mem::take(&mut *PRINTED.lock().unwrap());
    assert_eq!(text, "Usage of MAX_NUMNODES is deprecated. Use NUMA_NO_NODE instead\n");
    // SAFETY: the guard keeps other tests away.
    unsafe { pagewright_memblock_options.debug = true };
    memblock_reserve(0x1000, 0x1000);
    memblock_dump_all();
    let text = PRINTED.lock().unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("memblock_reserve: [0x0000000000001000-0x0000000000001fff] (C)"));
    assert_eq!(lines.next(), Some("MEMBLOCK configuration:"));
    assert_eq!(lines.clone().count(), 6);
    assert!(text.ends_with(" bytes flags: 0x0\n"));
}

#[test]
fn hot_pluggable_memory_is_avoided_when_the_program_says_so() {
    let _guard = fresh();
    memblock_add_node(0x10_0000, 0x1000, 0, 1);
    // SAFETY: the guard keeps other tests away.
    unsafe { movable_node_enabled = true };
    assert_eq!(memblock_phys_alloc_range(64, 64, 0, 0), 0);
    assert_eq!(memblock_clear_hotplug(0, u64::MAX), 0);
    assert_eq!(memblock_phys_alloc_range(64, 64, 0, 0), 0x10_0fc0);
}

unsafe extern "C" fn always() -> bool {
    true
}

unsafe extern "C" fn slab(size: usize, nid: c_int) -> *mut c_void {
    assert_eq!((size, nid), (64, 2));
    core::ptr::dangling_mut()
}

#[test]
fn the_slab_allocator_takes_over_when_it_is_up() {
    let _guard = fresh();
    memblock_add(0x10_0000, 0x1000);
    // SAFETY: the guard keeps other tests away.
    unsafe {
        pagewright_memblock_options.slab_is_available = Some(always);
        assert!(memblock_alloc_try_nid_raw(64, 64, 0, 0, 2).is_null());
        pagewright_memblock_options.slab_alloc = Some(slab);
    }
    assert!(!memblock_alloc_try_nid_raw(64, 64, 0, 0, 2).is_null());
    assert_eq!(memblock_reserved_size(), 0);
}
