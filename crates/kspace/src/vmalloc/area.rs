//! Areas' records, in sections that the caller brings.

use super::VmFlags;
use crate::areas::{AreaId, Node};
use core::fmt;
use core::panic::Location;
use core::sync::atomic::AtomicU32;
use pagewright_addr::{Order, PhysAddr, VirtAddr, VirtRange};
use pagewright_page::{FrameIdx, OwnerHandle};
use pagewright_pagetable::LeafTables;
use pagewright_platform::carve::bytes_for;
use pagewright_platform::{Carve, Mutex};

/// Sections at most.
pub(super) const SECTIONS: usize = 64;
/// No area.
pub(super) const NONE: u32 = u32::MAX;

/// Where an area is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Life {
    /// The number is nobody's.
    #[default]
    Free,
    /// Its addresses are taken; it is being filled, or taken apart.
    Making,
    /// In use.
    Live,
    /// Addresses for `vm_map_ram`, of which pieces come and go.
    Block,
    /// A mapping of `vm_map_ram` that is too large for a piece.
    Ram,
    /// Unmapped, and waits for the flush.
    Lazy,
    /// Flushed, without pages: its addresses wait for the next area of this size.
    Ready,
}

/// All there is to know of an area.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    pub(super) life: Life,
    pub(super) flags: VmFlags,
    /// The guard page included.
    pub(super) range: VirtRange,
    /// How many pages it has of its own, or, of a mapping of `vm_map_ram`, of its caller's.
    pub(super) pages: u32,
    /// How many single pages are mapped from its start on, in tables that are known.
    pub(super) mapped: u32,
    /// The first of the blocks that are its own; each is linked to the next.
    pub(super) first: Option<FrameIdx>,
    /// How large these are.
    pub(super) order: u8,
    /// Counts the owners of frames that the number's areas were; it stays with the number.
    pub(super) generation: u16,
    /// Of a block: pages that were never given out.
    pub(super) free: u16,
    /// Of a block: pages that came back.
    pub(super) dirty: u16,
    /// Of a block: the row that it belongs to.
    pub(super) home: u16,
    /// Bytes of its last page that nobody asked for.
    pub(super) slack: u16,
    /// Whether its pages are single ones, as whoever makes no conditions gets them (`again`).
    pub(super) plain: bool,
    pub(super) phys: PhysAddr,
    /// The one or two tables that all of it is in. They stay until the addresses are given back.
    pub(super) tables: Option<LeafTables>,
    pub(super) caller: Option<&'static Location<'static>>,
}

impl Record {
    /// Whose its frames are in the page map.
    pub(super) fn owner(&self, area: AreaId) -> OwnerHandle {
        OwnerHandle::new(area.number(), u32::from(self.generation)).unwrap_or_default()
    }

    /// An area without pages is in use again where it lies, mapped to memory of its caller's.
    #[inline]
    pub(super) fn map_again(
        &mut self,
        flags: VmFlags,
        mapped: u32,
        phys: PhysAddr,
        caller: &'static Location<'static>,
    ) {
        // One by one: it is less than all of it. Named, so that what is added later is thought of.
        let Self {
            life,
            flags: kind,
            range: _,
            pages,
            mapped: pages_mapped,
            first: _,
            order,
            generation: _,
            free,
            dirty,
            home,
            slack,
            plain,
            phys: at,
            tables: _,
            caller: who,
        } = self;
        (*life, *kind, *pages_mapped, *at, *who) = (Life::Live, flags, mapped, phys, Some(caller));
        (*pages, *order, *free, *dirty, *home, *slack, *plain) = (0, 0, 0, 0, 0, 0, false);
    }

    /// What is to be seen of it.
    pub(super) fn view(&self, page: u64) -> VmArea {
        let guard = if self.flags.contains(VmFlags::NO_GUARD) { 0 } else { page };
        VmArea {
            addr: self.range.start,
            size: self.range.len,
            usable: self.range.len - guard.min(self.range.len),
            requested: self.range.len.saturating_sub(guard + u64::from(self.slack)),
            flags: self.flags,
            pages: if self.flags.contains(VmFlags::PERCPU) { 0 } else { self.pages },
            page_order: Order::new(self.order).unwrap_or_default(),
            phys: self.phys,
            caller: self.caller,
        }
    }
}

/// An area (`struct vm_struct`) as it was when somebody asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VmArea {
    /// Where it begins.
    pub addr: VirtAddr,
    /// Its bytes, the guard page included.
    pub size: u64,
    /// Its bytes without the guard page (`get_vm_area_size`).
    pub usable: u64,
    /// The bytes that were asked for, as far as the last page goes (a huge area counts as whole).
    pub requested: u64,
    /// Its kind.
    pub flags: VmFlags,
    /// How many pages it has of its own (`nr_pages`): none where they are its caller's, and none that are per-CPU memory, which others count.
    pub pages: u32,
    /// The blocks that its own pages are made of (`page_order`).
    pub page_order: Order,
    /// What it is mapped to, of an area that is mapped by its physical address.
    pub phys: PhysAddr,
    /// Who asked for it.
    pub caller: Option<&'static Location<'static>>,
}

impl VmArea {
    /// Its addresses, the guard page not among them.
    pub const fn range(&self) -> VirtRange {
        VirtRange { start: self.addr, len: self.usable }
    }
}

/// What of an area it takes to take it apart.
#[derive(Clone, Copy)]
pub(super) struct Going {
    /// The guard page included.
    pub(super) range: VirtRange,
    /// Pages that are mapped in it, if the tables are known.
    pub(super) mapped: u32,
    /// Pages that it counts as its own (`nr_vmalloc_pages`).
    pub(super) own: u32,
    pub(super) tables: Option<LeafTables>,
}

impl Record {
    /// The same as whoever takes it apart needs it.
    #[inline]
    pub(super) fn going(&self) -> Going {
        Going { range: self.range, mapped: self.mapped, own: self.own_pages(), tables: self.tables }
    }

    /// Pages that it counts as its own; an early area of vmalloc's kind has none that were counted, and per-CPU memory is not vmalloc's.
    #[inline]
    pub(super) fn own_pages(&self) -> u32 {
        let counted = self.first.is_some() && !self.flags.contains(VmFlags::PERCPU);
        if counted { self.pages } else { 0 }
    }
}

/// Memory for what is known of one area: cache lines of its own, or CPUs that have nothing to do with each other wait for each other's areas.
#[repr(align(128))]
pub struct VmSlot {
    pub(super) record: Mutex<Record>,
    /// The next in whatever list it is in, which belongs to a row.
    pub(super) next: AtomicU32,
    /// The first area of the bucket that this slot also is.
    pub(super) head: AtomicU32,
    /// The next area in the bucket that this one is in.
    pub(super) link: AtomicU32,
}

impl VmSlot {
    /// An unused one.
    pub const fn new() -> Self {
        let record = Record {
            life: Life::Free,
            flags: VmFlags::empty(),
            range: VirtRange { start: VirtAddr::ZERO, len: 0 },
            pages: 0,
            mapped: 0,
            first: None,
            order: 0,
            generation: 0,
            free: 0,
            dirty: 0,
            home: 0,
            slack: 0,
            plain: false,
            phys: PhysAddr::ZERO,
            tables: None,
            caller: None,
        };
        Self {
            record: Mutex::new(record),
            next: AtomicU32::new(NONE),
            head: AtomicU32::new(NONE),
            link: AtomicU32::new(NONE),
        }
    }
}

impl Default for VmSlot {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for VmSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VmSlot")
    }
}

/// Memory for some areas: a node of the tree and a slot for each. All sections of a region have the same length, a power of two of at least 2;
/// the first area's place in the first one is the tree's own.
#[derive(Debug)]
pub struct VmSection<'v> {
    /// Nodes of the tree.
    pub nodes: &'v mut [Node<()>],
    /// What is known of the areas.
    pub slots: &'v [VmSlot],
}

impl<'v> VmSection<'v> {
    /// Bytes of memory that [`Self::carve`] needs for so many areas.
    pub const fn bytes(areas: usize) -> u64 {
        bytes_for::<Node<()>>(areas) + bytes_for::<VmSlot>(areas)
    }

    /// A section for so many areas, carved out of `memory`; `None` if that is too small.
    pub fn carve(memory: &mut Carve<'v>, areas: usize) -> Option<Self> {
        let nodes = memory.slice(areas, Node::default)?;
        let slots = memory.slice(areas, VmSlot::new)?;
        Some(Self { nodes, slots })
    }
}

/// Where a region gets memory for more areas from, once all that it has are in use.
pub trait MoreAreas<'v>: Sync {
    /// Memory for so many areas, which is the region's from here on; `None` if there is none. None of the region's locks are held.
    fn section(&self, areas: usize) -> Option<VmSection<'v>>;
}

/// The slots by number. Everyone who looks into it has a copy, behind a lock that is taken anyway.
///
/// A plain array: what has to be dropped could not be lent for as long as it lives itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots<'v> {
    sections: [&'v [VmSlot]; SECTIONS],
    count: usize,
    shift: u32,
}

impl<'v> Slots<'v> {
    pub(super) fn new(section: &'v [VmSlot]) -> Self {
        let mut sections: [&[VmSlot]; SECTIONS] = [&[]; SECTIONS];
        sections[0] = section;
        Self { sections, count: 1, shift: section.len().trailing_zeros() }
    }

    pub(super) fn has_room(&self, section: &[VmSlot]) -> bool {
        section.len() == 1 << self.shift
            && self.count < SECTIONS
            // Numbers are positions in owners' handles, of which the last few are others'.
            && (self.count + 1) << self.shift < (1 << OwnerHandle::INDEX_BITS)
    }

    pub(super) fn add(&mut self, section: &'v [VmSlot]) {
        if let Some(place) = self.sections.get_mut(self.count) {
            *place = section;
            self.count += 1;
        }
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> &'v VmSlot {
        // Mostly it is one of the first section.
        if let Some(slot) = self.sections[0].get(number as usize) {
            return slot;
        }
        &self.sections[(number >> self.shift) as usize][number as usize & ((1 << self.shift) - 1)]
    }
}
