//! C's global variables, and the view of them that each call works on.
//!
//! This is the only place that touches the variables. [`with`] turns them into a [`Memblock`], runs one
//! operation and writes the result back; [`peek`] reads them.

use crate::layout::{Options, memblock_t, memblock_type};
use crate::print::Printer;
use core::ffi::{c_uint, c_ulong, c_ulonglong};
use pagewright_addr::{PageShift, PhysAddr, PhysRange};
use pagewright_memblock::{
    AddrWidth, ArrayParts, Config, Error, Flags, INIT_MEMBLOCK_REGIONS, Memblock, Parts, Region,
    RegionMemory, Set,
};

const EMPTY: Region = Region::from_raw(PhysAddr::ZERO, 0, Flags::NONE, 0);

static mut MEMORY_REGIONS: [Region; INIT_MEMBLOCK_REGIONS] = [EMPTY; INIT_MEMBLOCK_REGIONS];
static mut RESERVED_REGIONS: [Region; INIT_MEMBLOCK_REGIONS] = [EMPTY; INIT_MEMBLOCK_REGIONS];

/// `struct memblock memblock`.
#[unsafe(no_mangle)]
pub static mut memblock: memblock_t = memblock_t {
    bottom_up: false,
    current_limit: u64::MAX,
    memory: memblock_type {
        cnt: 1,
        max: INIT_MEMBLOCK_REGIONS as c_ulong,
        total_size: 0,
        regions: (&raw mut MEMORY_REGIONS).cast(),
        name: c"memory".as_ptr(),
    },
    reserved: memblock_type {
        cnt: 1,
        max: INIT_MEMBLOCK_REGIONS as c_ulong,
        total_size: 0,
        regions: (&raw mut RESERVED_REGIONS).cast(),
        name: c"reserved".as_ptr(),
    },
};

/// See [`Options`].
#[unsafe(no_mangle)]
pub static mut pagewright_memblock_options: Options = Options {
    numa: true,
    debug: false,
    max_numnodes: 16,
    page_shift: 12,
    cache_line: 64,
    max_order: 11,
    virt_offset: 0,
    print: None,
    free_pages: None,
    reserve_region: None,
    slab_is_available: None,
    slab_alloc: None,
};

/// The end of low memory in pages: `memblock_free_all` gives away what is below. All memory at first.
#[unsafe(no_mangle)]
pub static mut max_low_pfn: c_ulong = c_ulong::MAX;
/// The first page of low memory; memblock only keeps it.
#[unsafe(no_mangle)]
pub static mut min_low_pfn: c_ulong = 0;
/// The end of memory in pages; memblock only keeps it.
#[unsafe(no_mangle)]
pub static mut max_pfn: c_ulong = 0;
/// The end of all memory that may ever be there, in pages; memblock only keeps it.
#[unsafe(no_mangle)]
pub static mut max_possible_pfn: c_ulonglong = 0;
/// `kernelcore=mirror` was given.
#[unsafe(no_mangle)]
pub static mut mirrored_kernelcore: bool = false;

/// What Linux keeps in file-local variables.
static mut CAN_RESIZE: bool = false;
static mut HAS_MIRROR: bool = false;

unsafe extern "C" {
    /// The program's: allocations avoid hot-pluggable memory.
    static movable_node_enabled: bool;
}

/// The options as they are now.
pub(crate) fn options() -> Options {
    // SAFETY: the variable is always initialised, and one thread at a time uses the library (crate head).
    unsafe { (&raw const pagewright_memblock_options).read() }
}

/// The kernel configuration that the options describe. Page sizes that no kernel has count as 4 KiB.
fn config(options: &Options) -> Config {
    let page_shift = match options.page_shift {
        14 => PageShift::SHIFT_16K,
        16 => PageShift::SHIFT_64K,
        _ => PageShift::SHIFT_4K,
    };
    Config {
        width: AddrWidth::Bits64,
        page_shift,
        cache_line: u64::from(options.cache_line),
        numa: options.numa,
        keep_physmem: false,
    }
}

/// The slots of a grown array are the memory itself, at its kernel address.
struct DirectMap {
    virt_offset: c_ulong,
}

impl<'a> RegionMemory<'a> for DirectMap {
    fn claim(&mut self, at: PhysRange, slots: usize) -> Option<&'a mut [Region]> {
        let first = core::ptr::with_exposed_provenance_mut::<Region>(self.pointer(at.start)?);
        if first.is_null() || !first.is_aligned() || at.len() < (slots * size_of::<Region>()) as u64 {
            return None;
        }
        for i in 0..slots {
            // SAFETY: `at` is free memory of C's `memblock.memory`, which C makes accessible at this address
            // below the current limit (header: `virt_offset`), page aligned, and large enough.
            unsafe { first.add(i).write(EMPTY) };
        }
        // SAFETY: initialised just now. Memblock reserves the memory before anyone else can be given it, and
        // refuses to free it while the array is in use, so the slots are this array's alone.
        Some(unsafe { core::slice::from_raw_parts_mut(first, slots) })
    }
}

impl DirectMap {
    fn pointer(&self, at: PhysAddr) -> Option<usize> {
        usize::try_from(at.get()).ok().map(|a| a.wrapping_add(self.virt_offset as usize))
    }
}

/// One of C's arrays as memblock takes it.
///
/// # Safety
/// `t.regions` must point to `t.max` initialised regions that nothing else uses while the result lives.
unsafe fn parts<'a>(t: &memblock_type, first: *const Region, options: &Options) -> ArrayParts<'a> {
    let regions: &mut [Region] = if t.regions.is_null() {
        &mut []
    } else {
        // SAFETY: the caller's contract.
        unsafe { core::slice::from_raw_parts_mut(t.regions, t.max as usize) }
    };
    let page = config(options).page_shift.bytes();
    let grown = !t.regions.is_null() && !core::ptr::eq(t.regions, first);
    let block = grown.then(|| {
        let base = t.regions.expose_provenance().wrapping_sub(options.virt_offset as usize) as u64;
        let size = t.max.saturating_mul(size_of::<Region>() as u64).next_multiple_of(page);
        PhysRange::from_len(PhysAddr::new(base), size)
    });
    ArrayParts { regions, cnt: t.cnt as usize, total_size: t.total_size, block }
}

fn write_back(t: &mut memblock_type, parts: ArrayParts<'_>) {
    t.cnt = parts.cnt as c_ulong;
    t.max = parts.regions.len() as c_ulong;
    t.total_size = parts.total_size;
    if !parts.regions.is_empty() {
        t.regions = parts.regions.as_mut_ptr();
    }
}

/// Runs one operation on C's variable.
pub(crate) fn with<R>(operation: impl FnOnce(&mut Memblock<'_>) -> Result<R, Error>) -> Result<R, Error> {
    let options = options();
    let printer = Printer::new(&options);
    let mut direct_map = DirectMap { virt_offset: options.virt_offset };
    // SAFETY: one thread at a time uses the library and hooks do not call back (crate head), so nobody else
    // touches these variables until this function returns. All are initialised.
    let (mut global, can_resize, has_mirror, movable_node, mirrored) = unsafe {
        (
            (&raw const memblock).read(),
            (&raw const CAN_RESIZE).read(),
            (&raw const HAS_MIRROR).read(),
            (&raw const movable_node_enabled).read(),
            (&raw const mirrored_kernelcore).read(),
        )
    };
    // SAFETY: C keeps each set's array at `regions`, with room for `max` initialised regions, apart from each
    // other (header); as above nobody else uses them meanwhile.
    let (memory, reserved) = unsafe {
        (
            parts(&global.memory, (&raw const MEMORY_REGIONS).cast(), &options),
            parts(&global.reserved, (&raw const RESERVED_REGIONS).cast(), &options),
        )
    };
    let view = Parts {
        memory,
        reserved,
        current_limit: PhysAddr::new(global.current_limit),
        bottom_up: global.bottom_up,
        can_resize,
        has_mirror,
        movable_node,
        max_numnodes: options.max_numnodes,
    };
    let mut m = Memblock::from_parts(view, config(&options), &printer)?;
    m.set_caller("(C)");
    m.set_mirrored_kernelcore(mirrored);
    m.set_region_memory(&mut direct_map);
    let result = operation(&mut m);
    let after = m.into_parts();
    global.current_limit = after.current_limit.get();
    global.bottom_up = after.bottom_up;
    let (can_resize, has_mirror) = (after.can_resize, after.has_mirror);
    write_back(&mut global.memory, after.memory);
    write_back(&mut global.reserved, after.reserved);
    // SAFETY: as for reading; the slices made above are not used any more.
    unsafe {
        (&raw mut memblock).write(global);
        (&raw mut CAN_RESIZE).write(can_resize);
        (&raw mut HAS_MIRROR).write(has_mirror);
    }
    result
}

/// Asks one question of C's variable; `otherwise` if its arrays make no sense.
pub(crate) fn peek<R>(otherwise: R, question: impl FnOnce(&Memblock<'_>) -> R) -> R {
    with(|m| Ok(question(m))).unwrap_or(otherwise)
}

/// Which set a pointer to a `struct memblock_type` means.
pub(crate) fn set_of(t: *const memblock_type) -> Option<Set> {
    // SAFETY: takes addresses only.
    let (memory, reserved) = unsafe { (&raw const memblock.memory, &raw const memblock.reserved) };
    if core::ptr::eq(t, memory) {
        Some(Set::Memory)
    } else if core::ptr::eq(t, reserved) {
        Some(Set::Reserved)
    } else {
        None
    }
}

/// `max_low_pfn` as it is now.
pub(crate) fn low_end() -> u64 {
    // SAFETY: always initialised; one thread at a time (crate head).
    unsafe { (&raw const max_low_pfn).read() }
}

/// The page shift that the options name.
pub(crate) fn page_shift() -> PageShift {
    config(&options()).page_shift
}

/// The largest block that goes to the page allocator at once.
pub(crate) fn largest_order(options: &Options) -> c_uint {
    options.max_order.clamp(1, 32) - 1
}

/// Goes back to the arrays of the start, both empty; returns where grown ones lay, reserved first.
pub(crate) fn forget_arrays() -> [Option<PhysRange>; 2] {
    let options = options();
    // SAFETY: one thread at a time uses the library (crate head), and the arrays are C's as in `with`.
    unsafe {
        let mut global = (&raw const memblock).read();
        let forget = |t: &mut memblock_type, first: *mut Region| {
            let block = parts(t, first, &options).block;
            first.write(EMPTY);
            (t.regions, t.cnt, t.total_size) = (first, 1, 0);
            t.max = INIT_MEMBLOCK_REGIONS as c_ulong;
            block
        };
        let reserved = forget(&mut global.reserved, (&raw mut RESERVED_REGIONS).cast());
        let memory = forget(&mut global.memory, (&raw mut MEMORY_REGIONS).cast());
        (&raw mut memblock).write(global);
        [reserved, memory]
    }
}
