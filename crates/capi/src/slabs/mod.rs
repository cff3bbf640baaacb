//! Small objects for C: `include/pagewright/slab.h`.
//!
//! A `struct kmem_cache *` is no pointer but a handle, so a stale one is recognised, until 511 caches later its place has the same number again. What is wrong with objects is printed as SLUB
//! prints it, counted ([`pagewright_slab_findings`]), and contained.
//!
//! [`slabs`] is the one place that touches the global value.

mod caches;
mod callers;
mod designs;
mod ending;
mod kmalloc;
mod memory;
mod readers;

pub use caches::*;
pub use callers::pagewright_slab_from;
pub use kmalloc::*;
pub use readers::*;

use crate::global::options;
use crate::pages::machine;
use crate::print::Text;
use core::ffi::{CStr, c_char, c_int, c_uint, c_ulong};
use core::ptr::NonNull;
use designs::Sizes;
use memory::LinearMemory;
use pagewright_addr::{NodeId, Order};
use pagewright_platform::{Carve, NoInterrupts};
use pagewright_slab::SlabPages;
use pagewright_slab::kmalloc::{Classes, KmallocKind};
use pagewright_slab::memory::{PagesFor, SlabMemory};
use pagewright_slab::objects::{Design, ObjectAllocator, Objects, SlabInfo};
use pagewright_slab::slabs::{DebugOptions, Report, Reports, Site, SlabContext, SlabCpu, Traced};
use pagewright_zone::Gfp;

const ENOMEM: c_int = 12;
const EBUSY: c_int = 16;
const EINVAL: c_int = 22;

/// `struct pagewright_slab_options`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SlabOptions {
    /// How many caches there can be at once, those of `kmalloc` included; 256 at first.
    pub caches: c_uint,
    /// The least size that `kmalloc` has a cache for, and the alignment of every object (`ARCH_KMALLOC_MINALIGN`); 8 at first.
    pub min_size: c_uint,
    /// Whether there are caches for `__GFP_ACCOUNT`; false at first.
    pub accounted: bool,
    /// What stands behind `slub_debug=`, or null, as at first.
    pub debug: *const c_char,
    /// What free pointers and the order of free objects are mixed with; any number but 0.
    pub seed: u64,
    /// Which design serves (`enum pagewright_slab_design`): 0 is SLUB, as at first, 1 SLAB, 2 SLOB.
    pub design: c_uint,
}

/// See [`SlabOptions`]. Set it before [`pagewright_slab_init`].
#[unsafe(no_mangle)]
pub static mut pagewright_slab_options: SlabOptions = SlabOptions {
    caches: 256,
    min_size: 8,
    accounted: false,
    debug: core::ptr::null(),
    seed: 0x9e37_79b9_7f4a_7c15,
    design: 0,
};

/// Whichever design serves.
type Allocator<'s> = dyn ObjectAllocator<'static, 'static> + 's;
type At<'c> = SlabContext<'c, 'static, 'static>;

/// The slabs in service, and their one processor.
struct Service {
    objects: Objects<'static, 'static, NoInterrupts, LinearMemory>,
    cpus: &'static [SlabCpu<'static>],
    ending: &'static ending::Ending,
}

static mut SERVICE: Option<Service> = None;

/// The slabs, once they are in service.
fn slabs() -> Option<&'static Service> {
    // SAFETY: one thread at a time uses the library (crate head); the variable is written once, before anybody has a reference to what
    // is in it.
    unsafe { (&raw const SERVICE).as_ref() }?.as_ref()
}

/// Pages of a node that objects take, for reports of the page allocator's failures: counters alone are read, whatever the slabs are at.
pub(crate) fn slab_pages(nid: NodeId) -> SlabPages {
    slabs().map_or(SlabPages::default(), |s| s.allocator().slab_pages(nid))
}

impl Service {
    fn allocator(&self) -> &Allocator<'_> {
        self.objects.allocator()
    }

    /// Runs an operation on the machine's processor.
    fn run<R>(&self, f: impl FnOnce(&Allocator<'_>, &At<'_>) -> R) -> Option<R> {
        let machine = machine()?;
        let done = machine.run(|allocator, context| {
            let pages = PagesFor { allocator, context };
            // SAFETY: one thread at a time uses the library (crate head), and what it did before happened before.
            let here = unsafe { self.cpus[0].here() };
            f(self.allocator(), &SlabContext::new(here, machine.node, &pages))
        });
        callers::CALLER.forget();
        Some(done)
    }
}

/// Prints what is found to be wrong.
struct Printed;

impl Reports for Printed {
    fn report(&self, report: &Report) {
        Text::new(&options()).line(format_args!("{report}"));
    }

    fn traced(&self, traced: &Traced) {
        Text::new(&options()).line(format_args!("{traced}"));
    }

    fn caller(&self) -> Option<Site> {
        callers::CALLER.site()
    }
}

/// Starts the slabs over the page allocator, and with them `kmalloc` (`kmem_cache_init`, `kmem_cache_init_late`).
///
/// Returns 0, or a negative error number: `-EBUSY` if they are in service already, `-EINVAL` for options that make no sense, or if there is no
/// page allocator yet, `-ENOMEM` if that has no room for the tables. Nothing has changed then.
#[unsafe(no_mangle)]
pub extern "C" fn pagewright_slab_init() -> c_int {
    if slabs().is_some() {
        return -EBUSY;
    }
    // SAFETY: one thread at a time uses the library (crate head); always initialised.
    let wanted = unsafe { (&raw const pagewright_slab_options).read() };
    match start(&wanted) {
        Ok(service) => {
            // SAFETY: as above; there was none, so nobody has a reference to it.
            unsafe { SERVICE = Some(service) };
            0
        }
        Err(number) => -number,
    }
}

fn start(wanted: &SlabOptions) -> Result<Service, c_int> {
    let machine = machine().ok_or(EINVAL)?;
    let design = designs::design(wanted.design).ok_or(EINVAL)?;
    let classes = Classes {
        page_shift: machine.shift,
        min_size: wanted.min_size,
        min_align: wanted.min_size,
        accounted: wanted.accounted,
        dma: machine.allocator.zones().iter().any(|z| z.kind() == pagewright_zone::ZoneKind::Dma),
    };
    let sound = wanted.min_size.is_power_of_two() && (8..=4096).contains(&wanted.min_size);
    if !sound || wanted.seed == 0 {
        return Err(EINVAL);
    }
    let classes = designs::classes(design, classes);
    let kinds = KmallocKind::ALL.iter().filter(|&&kind| classes.has(kind)).count();
    let caches = wanted.caches as usize;
    // One place more, for the slabs' own cache. SLOB has neither.
    let taken = if design == Design::Slob { 0 } else { classes.sizes().count() * kinds };
    if caches <= taken || design != Design::Slub && !wanted.debug.is_null() {
        return Err(EINVAL);
    }
    let debug = options_of(wanted)?;
    let memory = LinearMemory::new(machine).ok_or(EINVAL)?;
    let nodes = machine.allocator.zones().iter().map(|z| z.nid().index() + 1).max().unwrap_or(1);
    let sizes = Sizes::new(design, caches, nodes);
    let pages = machine.shift.pages_for(sizes.bytes()).next_power_of_two();
    let order = u8::try_from(pages.ilog2()).ok().and_then(Order::new).ok_or(ENOMEM)?;
    let block = machine.run(|all, cx| all.alloc_pages(cx, Gfp::GFP_KERNEL, order)).map_err(|_| ENOMEM)?;
    let first = memory.address(block.start()).and_then(|at| NonNull::new(memory.pointer(at)));
    let bytes = (order.pages() * machine.shift.bytes()) as usize;
    let made = first.ok_or(ENOMEM).and_then(|first| {
        // SAFETY: the block's token is here, and goes for good where the tables are used; C makes it accessible (header).
        let room = unsafe { Carve::new(first, bytes) };
        designs::build(sizes, machine, memory, room, (wanted, debug, &classes))
    });
    match made {
        // The block is the tables' for good: its token goes, the memory stays theirs.
        Ok(service) => {
            drop(block);
            Ok(service)
        }
        Err(number) => {
            machine.run(|all, cx| all.free_pages(cx, block));
            Err(number)
        }
    }
}

/// What is to be watched. Letters that mean nothing are skipped, and that is printed, as a kernel does.
fn options_of(wanted: &SlabOptions) -> Result<DebugOptions<'static>, c_int> {
    if wanted.debug.is_null() {
        return Ok(DebugOptions::NONE);
    }
    // SAFETY: a NUL-terminated text that stays for good (header).
    let text = unsafe { CStr::from_ptr(wanted.debug) }.to_str().map_err(|_| EINVAL)?;
    Ok(DebugOptions::skipping(text, |letter| {
        Text::new(&options()).line(format_args!("slub_debug option '{}' unknown. skipped", letter.0));
    }))
}

/// Whether the slabs are in service (`slab_is_available`).
#[unsafe(no_mangle)]
pub extern "C" fn slab_is_available() -> bool {
    slabs().is_some()
}

/// How often something was found to be wrong with an object.
#[unsafe(no_mangle)]
pub extern "C" fn pagewright_slab_findings() -> c_ulong {
    slabs().map_or(0, |s| s.allocator().findings())
}

/// Lets the `n`-th allocation of an object from now on fail, 1 being the next; 0 ends it.
#[unsafe(no_mangle)]
pub extern "C" fn pagewright_slab_fail_nth(n: c_uint) {
    if let Some(service) = slabs() {
        service.allocator().fail_nth(n);
    }
}

/// Gives back what slabs have kept at hand and nobody needed since the last call (`cache_reap`'s part), and what waited for readers that have left, caches that were destroyed meanwhile too. Meant to be called every two seconds.
#[unsafe(no_mangle)]
pub extern "C" fn pagewright_slab_reap() {
    if let Some(service) = slabs() {
        service.run(|slabs, cx| {
            slabs.reap(cx, 0);
            slabs.poll(cx);
            service.end_left(slabs, cx);
        });
    }
}

/// Prints `/proc/slabinfo`.
#[unsafe(no_mangle)]
pub extern "C" fn pagewright_print_slabinfo() {
    use core::fmt::Write;
    if let Some(service) = slabs() {
        let mut text = Text::new(&options());
        // Writing to this never fails.
        let _ = write!(text, "{}", SlabInfo(service.allocator()));
        text.end();
    }
}
