//! Debugging: finding those who write to memory that is not theirs, who never give it back, or who map it wrongly.
//!
//! All of it is off until [`PageAllocator::set_debugging`](crate::alloc::PageAllocator::set_debugging) posts a reason in every CPU's attention word;
//! the fast path tests that word anyway, so what is off costs nothing. What is on is a set of [`Switches`] over one
//! [`Debugging`], which the embedder makes from side arrays that it brings (`page_ext` in Linux) and from what it knows: who runs, what time it is,
//! how memory is reached.
//!
//! - Poisoning fills free pages with a pattern and looks at it before they are used again ([`Switches::POISON`]).
//! - `init_on_alloc`, `init_on_free` leave nothing of the last user.
//! - `debug_pagealloc` unmaps free pages, so that who touches one faults.
//! - [`owner`] remembers who allocated each page, as `page_owner` does.
//! - [`table_check`] counts how each page is mapped, and refuses what would share memory by mistake.
//! - [`fault`] makes allocations fail, by Linux's `fail_page_alloc` attributes.

pub(crate) mod bad_free;
pub mod fault;
mod hooks;
pub mod owner;
pub mod table_check;

pub use bad_free::BadFree;
pub use fault::{FaultAttr, FaultAttrError};
pub use owner::{Record, TaskName};
pub use table_check::{MappedAs, TableCheck, TableCheckError};

use bitflags::bitflags;
use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};
use pagewright_addr::Pfn;
use pagewright_page::{FrameIdx, Frames, PageMap};
use pagewright_platform::Mutex;

/// What free memory is filled with (PAGE_POISON).
pub const PAGE_POISON: u8 = 0xaa;

bitflags! {
    /// What is watched.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Switches: u32 {
        /// Fill free pages with [`PAGE_POISON`] and check it (`page_poison=on`). It takes precedence over the next two.
        const POISON = 1;
        /// Zero pages when they are allocated (`init_on_alloc=1`).
        const INIT_ON_ALLOC = 2;
        /// Zero pages when they are freed (`init_on_free=1`).
        const INIT_ON_FREE = 4;
        /// Unmap free pages (`debug_pagealloc=on`).
        const PAGEALLOC = 8;
        /// Remember owners (`page_owner=on`).
        const OWNER = 0x10;
        /// Watch mappings (`page_table_check=on`).
        const TABLE_CHECK = 0x20;
        /// Let allocations fail (`fail_page_alloc=`).
        const FAULT = 0x40;
    }
}

/// How debugging reaches memory. Without a direct map of all memory, what is not mapped is left alone.
pub trait DebugMemory {
    /// Fills frames with a byte.
    fn fill(&self, frames: &mut Frames<'_>, byte: u8);

    /// Finds where the `len` frames from the `first` of these on differ from the byte that they were filled with.
    fn differs(&self, frames: &Frames<'_>, first: u64, len: u64, byte: u8) -> Option<Damage>;

    /// Maps frames in the kernel's linear map, or takes them out of it (`__kernel_map_pages`).
    fn map(&self, start: Pfn, pages: u64, mapped: bool) {
        let _ = (start, pages, mapped);
    }
}

/// Where memory differs from what it was filled with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The first byte that differs, from the start of the first frame looked at.
    pub offset: u64,
    /// Up to and with the last one that does.
    pub len: u64,
    /// What is there, sixteen bytes from `offset` on or fewer.
    pub found: [u8; 16],
}

impl Damage {
    /// Compares bytes with a pattern.
    pub fn of(bytes: &[u8], pattern: u8) -> Option<Self> {
        let first = bytes.iter().position(|&b| b != pattern)?;
        let last = bytes.iter().rposition(|&b| b != pattern)?;
        let mut found = [pattern; 16];
        for (to, from) in found.iter_mut().zip(&bytes[first..=last]) {
            *to = *from;
        }
        Some(Self { offset: first as u64, len: (last - first + 1) as u64, found })
    }

    /// Whether one bit is all that differs: rather a fault of the memory than of a program (`single_bit_flip`).
    pub fn is_single_bit(&self, pattern: u8) -> bool {
        self.len == 1 && (self.found[0] ^ pattern).count_ones() == 1
    }
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Somebody wrote to free memory.
    Poison {
        /// The block's first frame.
        pfn: Pfn,
        /// Where, and what is there.
        damage: Damage,
    },
    /// Pages are still mapped, or mapped wrongly.
    Mapped(TableCheckError),
    /// A page must not be freed.
    BadFree(BadFree),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poison { pfn, damage } => {
                let what =
                    if damage.is_single_bit(PAGE_POISON) { "single bit error" } else { "memory corruption" };
                write!(f, "pagealloc: {what} in pfn {:#x} at offset {:#x}:", pfn.get(), damage.offset)?;
                let shown = damage.len.min(16) as usize;
                damage.found[..shown].iter().try_for_each(|byte| write!(f, " {byte:02x}"))
            }
            Self::Mapped(e) => e.fmt(f),
            Self::BadFree(e) => e.fmt(f),
        }
    }
}

/// Who knows what happens around the allocator, and is told what is wrong. Called with interrupts as they are and no lock held.
pub trait Observer {
    /// Nanoseconds since the boot (`local_clock`).
    fn now_ns(&self) -> u64 {
        0
    }

    /// The task that runs.
    fn task(&self) -> TaskName {
        TaskName::default()
    }

    /// A handle for the calls that led here, for [`Self::write_stack`] (`stack_depot_save`); 0 is none.
    fn stack(&self) -> u32 {
        0
    }

    /// Writes the calls of a handle, a line for each with a space in front.
    ///
    /// # Errors
    /// Those of `out`.
    fn write_stack(&self, handle: u32, out: &mut dyn fmt::Write) -> fmt::Result {
        let _ = (handle, out);
        Ok(())
    }

    /// Something is wrong. Whoever wants to stop the machine does so here.
    fn found(&self, trouble: &Trouble);
}

bitflags! {
    /// What is known of a frame in a list.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    struct Marks: u8 {
        /// It holds the pattern.
        const POISONED = 1;
        /// It is not mapped.
        const UNMAPPED = 2;
    }
}

/// Debugging of one machine. Every side array is optional; what lacks its array is not watched.
#[derive(Clone, Copy)]
pub struct Debugging<'z> {
    switches: Switches,
    memory: Option<&'z (dyn DebugMemory + Sync)>,
    observer: &'z (dyn Observer + Sync),
    marks: &'z [AtomicU8],
    owners: &'z [Mutex<Record>],
    tables: Option<TableCheck<'z>>,
    fault: Option<&'z FaultAttr>,
    failed: &'z AtomicU32,
}

impl fmt::Debug for Debugging<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Debugging").field(&self.switches).finish()
    }
}

impl<'z> Debugging<'z> {
    /// Watches nothing yet. `failed` counts the allocations that were made to fail.
    pub const fn new(observer: &'z (dyn Observer + Sync), failed: &'z AtomicU32) -> Self {
        Self {
            switches: Switches::empty(),
            memory: None,
            observer,
            marks: &[],
            owners: &[],
            tables: None,
            fault: None,
            failed,
        }
    }

    /// Watches the contents of free pages: any of [`Switches::POISON`], [`Switches::INIT_ON_ALLOC`],
    /// [`Switches::INIT_ON_FREE`] and [`Switches::PAGEALLOC`]. `marks` is one element for each frame, zero at first: what was free before knows
    /// nothing of patterns.
    #[must_use]
    pub const fn with_contents(
        self,
        switches: Switches,
        memory: &'z (dyn DebugMemory + Sync),
        marks: &'z [AtomicU8],
    ) -> Self {
        let contents = Switches::POISON
            .union(Switches::INIT_ON_ALLOC)
            .union(Switches::INIT_ON_FREE)
            .union(Switches::PAGEALLOC);
        let switches = self.switches.union(switches.intersection(contents));
        Self { switches, memory: Some(memory), marks, ..self }
    }

    /// Remembers owners: one element for each frame.
    #[must_use]
    pub const fn with_owners(self, owners: &'z [Mutex<Record>]) -> Self {
        Self { switches: self.switches.union(Switches::OWNER), owners, ..self }
    }

    /// Watches mappings.
    #[must_use]
    pub const fn with_tables(self, tables: TableCheck<'z>) -> Self {
        Self { switches: self.switches.union(Switches::TABLE_CHECK), tables: Some(tables), ..self }
    }

    /// Lets allocations fail.
    #[must_use]
    pub const fn with_faults(self, fault: &'z FaultAttr) -> Self {
        Self { switches: self.switches.union(Switches::FAULT), fault: Some(fault), ..self }
    }

    /// What is watched.
    pub const fn switches(&self) -> Switches {
        self.switches
    }

    /// The counts of mappings, if they are watched.
    pub const fn tables(&self) -> Option<TableCheck<'z>> {
        self.tables
    }

    /// Whether somebody is noted as each page's owner.
    pub(crate) fn keeps_owners(&self) -> bool {
        self.on(Switches::OWNER)
    }

    /// Tells of something wrong.
    pub(crate) fn tell(&self, trouble: Trouble) {
        self.observer.found(&trouble);
    }

    fn on(&self, switch: Switches) -> bool {
        self.switches.intersects(switch)
    }

    fn marks_of(&self, frames: &Frames<'_>) -> &'z [AtomicU8] {
        let first = frames.start().index();
        self.marks.get(first..first + frames.len() as usize).unwrap_or(&[])
    }

    fn owners_of(&self, frames: &Frames<'_>) -> &'z [Mutex<Record>] {
        let first = frames.start().index();
        self.owners.get(first..first + frames.len() as usize).unwrap_or(&[])
    }

    /// Forgets what is known of pages in lists, and maps those again that are not: for nobody will look from now on.
    pub(crate) fn forget(&self, map: &PageMap<'_>) {
        self.forget_some(map, 0..self.marks.len());
    }

    /// The same for some frames, by index.
    pub(crate) fn forget_some(&self, map: &PageMap<'_>, frames: core::ops::Range<usize>) {
        for (at, mark) in self.marks.get(frames.clone()).unwrap_or(&[]).iter().enumerate() {
            let marks = Marks::from_bits_truncate(mark.swap(0, Relaxed));
            if marks.contains(Marks::UNMAPPED)
                && let Some(memory) = self.memory
            {
                memory.map(map.pfn(FrameIdx::new((frames.start + at) as u32)), 1, true);
            }
        }
    }
}

#[cfg(test)]
mod tests;
