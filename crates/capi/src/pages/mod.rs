//! The page allocator for C: `include/pagewright/pages.h`.
//!
//! C goes by `struct page` pointers and addresses, so every way back is checked; what must not be freed is printed as Linux prints a
//! bad page state, counted in [`pagewright_bad_frees`], and stays as it is.
//!
//! [`machine`] is the one place that touches the global allocator.

mod address;
mod hooks;
mod number;
mod start;

pub use address::*;
pub use number::*;

use crate::global::{options, with};
use crate::print::Text;
use core::ffi::{c_int, c_uint, c_ulong};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use hooks::CHooks;
use pagewright_addr::{NodeId, Order, PageShift, Pfn};
use pagewright_page::PageMeta;
use pagewright_page::model::PhysToVirt;
use pagewright_platform::NoInterrupts;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{Context, Cpu, LinearPages, PageAllocator, ZoneCell};
use pagewright_zone::buddy::Base;
use pagewright_zone::debug::BadFree;
use start::StartError;

const ENOMEM: c_int = 12;
const EBUSY: c_int = 16;
const EINVAL: c_int = 22;

/// `gfp_t`.
pub type gfp_t = c_uint;

/// `struct page`: opaque to C, which may only compute with pointers to it inside one block.
#[repr(C, align(32))]
#[derive(Debug)]
pub struct page {
    opaque: [u64; 4],
}

const _: () = assert!(size_of::<page>() == size_of::<PageMeta>());

/// `struct pagewright_page_options`: what decides the zones, beside the options that memblock has.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PageOptions {
    /// Physical addresses below this one are ZONE_DMA; 0 is a kernel without it.
    pub dma_limit: u64,
    /// Addresses below this one and not in ZONE_DMA are ZONE_DMA32; 0 is a kernel without it.
    pub dma32_limit: u64,
    /// `pageblock_order`, at most `max_order - 1`.
    pub pageblock_order: c_uint,
}

/// See [`PageOptions`]. Set it before [`pagewright_page_alloc_init`].
#[unsafe(no_mangle)]
pub static mut pagewright_page_options: PageOptions =
    PageOptions { dma_limit: 0, dma32_limit: 0, pageblock_order: 9 };

/// How often something was to be freed, split or referred to that must not be.
#[unsafe(no_mangle)]
pub static mut pagewright_bad_frees: c_ulong = 0;

type Allocator = PageAllocator<'static, 'static, 'static, 'static, NoInterrupts, CHooks>;
type At<'c> = Context<'c, 'static, 'static>;

/// The allocator, and how C names pages.
pub(crate) struct Machine {
    pub(crate) allocator: Allocator,
    pub(crate) base: Base<'static>,
    cpus: &'static [Cpu<'static, 'static>],
    pub(crate) node: NodeId,
    /// Where `struct page` number 0 is.
    first_slot: usize,
    pub(crate) linear: PhysToVirt,
    pub(crate) shift: PageShift,
    /// How often this call could not be served and must not fail.
    rounds: AtomicU32,
}

static mut MACHINE: Option<Machine> = None;

/// The allocator, once it is in service.
pub(crate) fn machine() -> Option<&'static Machine> {
    // SAFETY: one thread at a time uses the library (crate head); the variable is written once, before anybody has a reference to what
    // is in it.
    unsafe { (&raw const MACHINE).as_ref() }?.as_ref()
}

impl Machine {
    /// Runs an operation on the machine's CPU.
    pub(crate) fn run<R>(&self, f: impl FnOnce(&Allocator, &At<'_>) -> R) -> R {
        self.rounds.store(0, Relaxed);
        // SAFETY: one thread at a time uses the library (crate head), and what it did before happened before.
        let here = unsafe { self.cpus[0].here() };
        f(&self.allocator, &Context::new(here, self.node))
    }

    fn by_address(&self) -> LinearPages<'_, 'static, 'static, 'static, 'static, NoInterrupts, CHooks> {
        self.allocator.by_address(self.linear, self.shift)
    }

    /// C's pointer for a page.
    fn pointer(&self, pfn: Pfn) -> *mut page {
        match self.base.map().idx(pfn) {
            Some(idx) => core::ptr::without_provenance_mut(self.first_slot + idx.index() * size_of::<page>()),
            None => core::ptr::null_mut(),
        }
    }

    /// The page that a pointer means, if any.
    fn page_of(&self, at: *const page) -> Option<Pfn> {
        let offset = at.addr().checked_sub(self.first_slot)?;
        let (idx, rest) = (offset / size_of::<page>(), offset % size_of::<page>());
        if rest != 0 || idx as u64 >= self.base.map().len() {
            return None;
        }
        Some(self.base.map().pfn(pagewright_page::FrameIdx::new(idx as u32)))
    }
}

/// What C calls an order; none that is too large for anything.
fn order(n: c_uint) -> Option<Order> {
    u8::try_from(n).ok().and_then(Order::new)
}

/// The node that C names, `None` for that of the CPU (a negative one). A node that the machine does not have is told, and an error.
fn node(nid: c_int) -> Result<Option<NodeId>, ()> {
    if nid < 0 {
        return Ok(None);
    }
    match u16::try_from(nid).ok().and_then(NodeId::new).filter(|&nid| hooks::nodes().contains(nid)) {
        Some(nid) => Ok(Some(nid)),
        None => {
            Text::new(&options()).line(format_args!("page allocation failure: there is no node {nid}"));
            Err(())
        }
    }
}

/// C's mask; bits that 6.1 does not have mean nothing.
fn mask(gfp: gfp_t) -> Gfp {
    Gfp::from_bits_truncate(gfp)
}

/// Notes and prints what must not be done.
fn bad(e: Result<impl Sized, BadFree>) {
    if let Err(e) = e {
        complain(format_args!("{e}"));
    }
}

fn complain(what: core::fmt::Arguments<'_>) {
    // SAFETY: one thread at a time uses the library (crate head), and the variable is always initialised.
    unsafe { pagewright_bad_frees += 1 };
    Text::new(&options()).line(what);
}

/// Ends memblock's time and starts the page allocator with all of its free memory, for one CPU (`mem_init`). The allocator's tables are
/// taken from memblock.
///
/// Returns 0, or a negative error number: `-EBUSY` if it is in service already, `-EINVAL` for options or memory that make no sense,
/// `-ENOMEM` if memblock has no room for the tables. Nothing was given away then.
#[unsafe(no_mangle)]
pub extern "C" fn pagewright_page_alloc_init() -> c_int {
    if machine().is_some() {
        return -EBUSY;
    }
    // SAFETY: one thread at a time uses the library (crate head); always initialised.
    let wanted = unsafe { (&raw const pagewright_page_options).read() };
    match with(|m| Ok(start::start(m, &wanted))) {
        Ok(Ok(machine)) => {
            // SAFETY: as above; there was none, so nobody has a reference to it.
            unsafe { MACHINE = Some(machine) };
            0
        }
        Ok(Err(StartError::NoMemory)) => -ENOMEM,
        Ok(Err(StartError::Invalid)) | Err(_) => -EINVAL,
    }
}

/// Lets the `n`-th allocation from now on fail, 1 being the next; 0 ends it.
#[unsafe(no_mangle)]
pub extern "C" fn pagewright_page_alloc_fail_nth(n: c_uint) {
    if let Some(machine) = machine() {
        machine.allocator.fail_nth(n);
    }
}

/// Free pages, those of the CPU's lists included.
#[unsafe(no_mangle)]
pub extern "C" fn nr_free_pages() -> c_ulong {
    machine().map_or(0, |machine| {
        let zones = machine.allocator.zones();
        let listed = machine.run(|_, cx| {
            cx.cpu.enter().map_or(0, |own| zones.iter().map(|z| u64::from(own.count(z.id()))).sum::<u64>())
        });
        zones.iter().map(ZoneCell::free_pages).sum::<u64>() + listed
    })
}

/// Gives what is in the CPU's lists back to the zones (`drain_all_pages`).
#[unsafe(no_mangle)]
pub extern "C" fn drain_all_pages() {
    if let Some(machine) = machine() {
        machine.run(|pages, cx| pages.drain_local_pages(cx));
    }
}
