//! The kernel's vmalloc area in service for all of an image's processors, and what stands on it: devices' mappings, kvmalloc's fallback, chunks
//! of per-CPU memory.

use crate::direct_map::DirectMap;
use crate::metal::Metal;
use crate::objects::memory;
use crate::pages::Pages;
use crate::service::MAX_CPUS;
use crate::stack::{IO_WINDOWS, io_range, own_range};
use arrayvec::ArrayVec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::panic::Location;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicU32, AtomicU64};
use pagewright::Boot;
use pagewright::pgtable::{KernelTables, KernelTree};
use pagewright::vmalloc::ioremap::RamMap;
use pagewright::vmalloc::{OnPages, Refused, VmFlags, VmRequest};
use pagewright_addr::{NodeId, PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_hot::{KernelSpace, On, SpaceError, SpaceSetup, WithSpace};
use pagewright_pagetable::{FlushScope, MapOptions, TableMemory, TlbFlush};
use pagewright_slab::kv::VirtSpace;
use pagewright_zone::Gfp;

/// Ranges of RAM that devices are told from, at most; where there are more, nothing is known to be a device's.
const RANGES: usize = 128;
/// Pages of RAM for each area that there is room for, and how many areas there are at least and at most.
const PAGES_FOR_AREA: u64 = 16;
const AREAS: [u64; 2] = [128, 8 << 10];

/// All processors' translations.
pub struct Everywhere<'m>(pub &'m dyn Metal);

impl fmt::Debug for Everywhere<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Everywhere")
    }
}

impl TlbFlush for Everywhere<'_> {
    fn flush(&mut self, _: &FlushScope) {
        self.0.flush_tlb();
    }

    fn publish(&mut self) {
        self.0.publish();
    }
}

/// The machine's RAM, whether the direct map has it or not.
struct Ram {
    ranges: ArrayVec<PhysRange, RANGES>,
    all: bool,
}

impl Ram {
    fn of(boot: &Boot<'_>) -> Self {
        let mut ram = Self { ranges: ArrayVec::new(), all: true };
        for range in boot.mb.mem_ranges() {
            ram.all &= ram.ranges.try_push(range).is_ok();
        }
        ram
    }
}

impl RamMap for Ram {
    fn next_ram(&self, range: PhysRange) -> Option<PhysRange> {
        if !self.all {
            return Some(range);
        }
        self.ranges.iter().map(|ram| ram.intersection(&range)).find(|part| !part.is_empty())
    }
}

/// Does something as the processor that this runs on, with all processors to be told of what is unmapped. `None`, and it is not done, if the processor has no number.
pub fn on<R>(pages: &Pages, metal: &dyn Metal, work: impl FnOnce(&mut On<'_, '_>) -> R) -> Option<R> {
    pages.here_as(|cpu, context| {
        let tlb = &mut Everywhere(metal);
        work(&mut OnPages { allocator: pages.allocator(), context, cpu, tlb })
    })
}

/// The memory of tables whose root is written through a window (Linux opens one for each write).
///
/// # Invariants
/// `window` maps the page at `root` as data that may be written, for good. Established by [`open`].
struct Windowed<'r> {
    ram: &'r DirectMap,
    root: PhysAddr,
    window: VirtAddr,
    page: u64,
}

impl TableMemory for Windowed<'_> {
    fn words32(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU32]> {
        // Of the formats whose root is sealed none has such entries.
        self.ram.words32(at, count).filter(|_| at.align_down(self.page) != self.root)
    }

    fn words64(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU64]> {
        if at.align_down(self.page) != self.root {
            return self.ram.words64(at, count);
        }
        let offset = at.get() - self.root.get();
        let end = offset.checked_add((count as u64).checked_mul(8)?)?;
        if !offset.is_multiple_of(8) || end > self.page {
            return None;
        }
        let first = with_exposed_provenance::<AtomicU64>((self.window.get() + offset) as usize);
        // SAFETY: inside the window's page (the invariant), aligned; any bytes are integers, and whoever else reaches a table does so by atomics or is the
        // hardware.
        Some(unsafe { core::slice::from_raw_parts(first, count) })
    }
}

/// Opens a window to the root; `None` if there is no room or no memory for it.
fn open<'r>(
    metal: &dyn Metal,
    boot: &Boot<'_>,
    pages: &'r Pages,
    tables: &KernelTables<'_>,
) -> Option<Windowed<'r>> {
    let page = pages.page_shift().bytes();
    let window = io_range(boot, IO_WINDOWS - 1).ok()?.start;
    let (range, attr) = (VirtRange::from_len(window, page), boot.page_kernel()?);
    let map = |tree: &mut dyn KernelTree| {
        tree.map(range, tables.root, attr, &MapOptions::PAGES, &mut pages.tables()).is_ok()
    };
    let mapped = tables.with(map);
    metal.publish();
    mapped.then(|| Windowed { ram: pages.ram(), root: tables.root, window, page })
}

/// Puts the boot's vmalloc area in service, over the boot's tables, and does something with it. What lies in it already is kept: the boot's early areas, and the
/// image's stacks and windows.
///
/// # Errors
/// [`SpaceError`]; nothing is done then.
pub fn with_space(
    metal: &dyn Metal,
    boot: &Boot<'_>,
    pages: &Pages,
    tables: KernelTables<'_>,
    work: &mut WithSpace<'_>,
) -> Result<(), SpaceError> {
    let ram_map = Ram::of(boot);
    let windowed = if metal.root_is_sealed() {
        Some(open(metal, boot, pages, &tables).ok_or(SpaceError::Memory)?)
    } else {
        None
    };
    let tables = match &windowed {
        Some(memory) => KernelTables { memory, ..tables },
        None => tables,
    };
    let frames: u64 = pages.map().len();
    let [least, most] = AREAS;
    let setup = SpaceSetup {
        boot,
        tables,
        map: *pages.map(),
        ram_map: &ram_map,
        own: own_range(boot),
        memory: &|bytes| memory(pages, bytes),
        areas: (frames / PAGES_FOR_AREA).next_power_of_two().clamp(least, most) as usize,
        cpus: pages.service().cpus().len().min(MAX_CPUS),
        here: &|work| _ = on(pages, metal, |on| work(on)),
    };
    metal.serve_space(&setup, work)
}

/// Sees to it that there is room for so many areas more, for good. Returns whether there is.
pub fn add_areas(space: &dyn KernelSpace, pages: &Pages, areas: usize) -> bool {
    let sections = areas.div_ceil(space.section());
    (0..sections)
        .all(|_| memory(pages, space.section_bytes()).is_some_and(|mut room| space.add_section(&mut room)))
}

/// vmalloc on behalf of one task on one processor, for [`Kv`](pagewright_slab::kv::Kv): memory is what the processor sees there.
pub struct SpaceFor<'r, 'c, 'z> {
    space: &'r dyn KernelSpace,
    on: RefCell<&'r mut On<'c, 'z>>,
    refused: Cell<Option<Refused>>,
}

impl fmt::Debug for SpaceFor<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpaceFor").finish_non_exhaustive()
    }
}

impl<'r, 'c, 'z> SpaceFor<'r, 'c, 'z> {
    /// The area in that context.
    pub const fn new(space: &'r dyn KernelSpace, on: &'r mut On<'c, 'z>) -> Self {
        Self { space, on: RefCell::new(on), refused: Cell::new(None) }
    }

    /// What was refused last, if anything was since somebody asked: kvmalloc says only that there is no memory.
    pub fn take_refused(&self) -> Option<Refused> {
        self.refused.take()
    }

    /// Whether all of it is memory of one area of vmalloc's that is in use.
    fn has(&self, at: VirtAddr, bytes: usize) -> bool {
        self.space.holds(VirtRange::from_len(at, bytes as u64))
    }
}

impl VirtSpace for SpaceFor<'_, '_, '_> {
    fn contains(&self, at: VirtAddr) -> bool {
        self.space.range().contains(at)
    }

    fn alloc(
        &self,
        bytes: u64,
        gfp: Gfp,
        node: Option<NodeId>,
        caller: &'static Location<'static>,
    ) -> Option<VirtAddr> {
        let flags = VmFlags::ALLOW_HUGE_VMAP;
        let request = VmRequest { gfp, node, flags, caller, ..VmRequest::new(bytes) };
        let had = self.space.vmalloc(&mut self.on.borrow_mut(), &request);
        had.inspect_err(|why| self.refused.set(Some(Refused { caller, bytes, why: *why }))).ok()
    }

    fn free(&self, at: VirtAddr) -> bool {
        self.space.vfree(&mut self.on.borrow_mut(), at).is_ok()
    }

    fn read(&self, at: VirtAddr, into: &mut [u8]) -> bool {
        let there = self.has(at, into.len());
        if there {
            let from = with_exposed_provenance::<u8>(at.get() as usize);
            // SAFETY: an area in use maps all of it (`has`); whoever asks has the memory, and his array is none of vmalloc's.
            unsafe { from.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
        }
        there
    }

    fn write(&self, at: VirtAddr, bytes: &[u8]) -> bool {
        let there = self.has(at, bytes.len());
        if there {
            let to = with_exposed_provenance_mut::<u8>(at.get() as usize);
            for (n, byte) in bytes.iter().enumerate() {
                // SAFETY: as in `read`; volatile, so that what is overwritten before it is freed is overwritten.
                unsafe { to.add(n).write_volatile(*byte) };
            }
        }
        there
    }
}
