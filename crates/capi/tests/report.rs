//! What a program in C is told when memory is used up, with pages of 16 KiB.

use core::ffi::{CStr, c_char};
use pagewright_capi::*;
use pagewright_zone::Gfp;
use std::alloc::{Layout, alloc};
use std::sync::Mutex;

#[unsafe(no_mangle)]
static mut movable_node_enabled: bool = false;

static PRINTED: Mutex<String> = Mutex::new(String::new());

unsafe extern "C" fn keep(text: *const c_char) {
    // SAFETY: the library passes NUL-terminated text.
    let text = unsafe { CStr::from_ptr(text) };
    PRINTED.lock().unwrap().push_str(text.to_str().unwrap());
}

/// Pages of all slabs that slabinfo tells of.
fn slab_pages() -> u64 {
    PRINTED.lock().unwrap().clear();
    pagewright_print_slabinfo();
    let pages = |line: &str| -> Option<u64> {
        let words: Vec<_> = line.split_whitespace().collect();
        Some(words.get(5)?.parse::<u64>().ok()? * words.get(14)?.parse::<u64>().ok()?)
    };
    PRINTED.lock().unwrap().lines().filter_map(pages).sum()
}

#[test]
fn a_failure_is_reported_once_in_the_machines_own_pages() {
    const PAGE: u64 = 16 << 10;
    let layout = Layout::from_size_align(64 << 20, 32 << 20).unwrap();
    // SAFETY: the layout is not empty.
    let base = unsafe { alloc(layout) }.expose_provenance() as u64;
    // SAFETY: nothing else in this process uses the library.
    unsafe {
        pagewright_memblock_options.page_shift = 14;
        pagewright_memblock_options.print = Some(keep);
    }
    assert_eq!(memblock_add_node(base, 64 << 20, 0, 0), 0);
    memblock_set_current_limit(u64::MAX);
    assert_eq!(pagewright_page_alloc_init(), 0);
    let all = nr_free_pages() as u64;
    assert!(all > 3000 && all * PAGE <= 64 << 20, "{all} pages");
    // Objects, which the report counts: pages of slabs as slabinfo has them, and as many as the page allocator misses.
    assert_eq!(pagewright_slab_init(), 0);
    let before = nr_free_pages() as u64;
    let gfp = Gfp::GFP_KERNEL.bits();
    let objects: Vec<_> = [24, 300, 5000].iter().cycle().take(600).map(|&n| kmalloc(n, gfp)).collect();
    assert!(objects.iter().all(|object| !object.is_null()));
    let slabs = slab_pages();
    assert!(slabs > 80 && slabs == before - nr_free_pages() as u64, "{slabs} of {before}");
    PRINTED.lock().unwrap().clear();
    let mut held = vec![];
    loop {
        let page = alloc_pages(Gfp::GFP_KERNEL.bits(), 0);
        if page.is_null() {
            break;
        }
        held.push(page);
    }
    let said = PRINTED.lock().unwrap().clone();
    assert!(said.contains("(C): page allocation failure: order:0, mode:0xcc0(GFP_KERNEL)"), "{said}");
    assert_eq!(said.matches("Mem-Info:").count(), 1, "{said}");
    let free = said.split("Normal free:").nth(1).and_then(|rest| rest.split("kB").next()).unwrap();
    assert_eq!(free.parse(), Ok(nr_free_pages() as u64 * (PAGE >> 10)), "{said}");
    let unreclaimable = format!(" slab_reclaimable:0 slab_unreclaimable:{slabs}\n");
    assert!(said.contains(&unreclaimable), "{slabs}: {said}");
    // SAFETY: allocated above, and nobody uses it.
    objects.into_iter().for_each(|object| unsafe { kfree(object) });
    held.into_iter().for_each(|page| __free_pages(page, 0));
    assert_eq!(nr_free_pages() as u64 + slab_pages(), before);
}

/// What a process of its own does, since it ends by it.
const ALONE: &str = "PAGEWRIGHT_DEADLOCK";

unsafe extern "C" fn tell(text: *const c_char) {
    // SAFETY: the library passes NUL-terminated text.
    eprint!("{}", unsafe { CStr::from_ptr(text) }.to_str().unwrap());
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn what_must_not_fail_and_never_can_be_served_ends_the_program_with_a_word() {
    if std::env::var_os(ALONE).is_some() {
        let layout = Layout::from_size_align(16 << 20, 4 << 20).unwrap();
        // SAFETY: the layout is not empty.
        let base = unsafe { alloc(layout) }.expose_provenance() as u64;
        // SAFETY: nothing else in this process uses the library.
        unsafe { pagewright_memblock_options.print = Some(tell) };
        assert_eq!(memblock_add_node(base, 16 << 20, 0, 0), 0);
        memblock_set_current_limit(u64::MAX);
        assert_eq!(pagewright_page_alloc_init(), 0);
        let all = (Gfp::GFP_KERNEL | Gfp::MEMALLOC | Gfp::NOWARN).bits();
        while !alloc_pages(all, 0).is_null() {}
        alloc_pages((Gfp::GFP_KERNEL | Gfp::NOFAIL).bits(), 0);
        return;
    }
    let name = "what_must_not_fail_and_never_can_be_served_ends_the_program_with_a_word";
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success(), "{said}");
    let expected = "(C): page allocation failure: order:0, mode:0x8cc0(GFP_KERNEL|__GFP_NOFAIL)\n\
                    Kernel panic - not syncing: System is deadlocked on memory\n";
    assert!(said.contains(expected), "{said}");
}
