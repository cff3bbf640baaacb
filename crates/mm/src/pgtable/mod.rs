//! The kernel's page tables while a machine boots, in that machine's own memory.
//!
//! A boot always *counts* the table pages that Linux takes ([`crate::census`]). When its owner lends it memory
//! ([`Boot::set_table_memory`]), the tables are built there too: the head's static ones inside the kernel image, the others in
//! the pages that the boot takes from memblock and later from the page allocator, one page for each table, at Linux's places in the
//! order of calls. What is built and what is counted must agree; [`TableCounts`] keeps both numbers by phase.
//!
//! One file for each architecture says what Linux maps, with which permissions. How entries look is the business of
//! `pagewright-pagetable`; here it is a [`KernelTree`] of whichever [`KernelFormat`] the machine has.

pub mod arm;
pub mod arm64;
mod attr;
mod counts;
mod event;
pub mod i386;
mod late;
mod tree;
mod version;
pub mod x86;

pub use counts::{Count, TableCounts};
pub use event::{Switched, TableEvent};
pub(crate) use tree::map_missing;
pub use tree::{KernelTree, Path, PathEntry};
pub use version::versions;

use crate::boot::Boot;
use crate::built;
use crate::census::Leaves;
use crate::error::BootError;
use arrayvec::ArrayVec;
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::format::WithFormat;
use pagewright_pagetable::format::arm::lpae::ArmLpae;
use pagewright_pagetable::format::arm::short::ArmShort;
use pagewright_pagetable::format::x86::i386::{I386, I386Pae};
use pagewright_pagetable::format::x86::{X86Level4, X86Level5};
use pagewright_pagetable::{
    Attr, Format, Level, MapError, MapOptions, TableLimits, TableMemory, TableSource, Tables, UnmapError,
    WalkError,
};

/// The format of a kernel's tables, with what the machine chose at run time.
#[derive(Clone, Copy, Debug)]
pub enum KernelFormat {
    /// x86_64, 4 levels.
    X86Level4(X86Level4),
    /// x86_64, 5 levels.
    X86Level5(X86Level5),
    /// i386, 2 levels.
    I386(I386),
    /// i386, PAE.
    I386Pae(I386Pae),
    /// arm, short descriptors.
    ArmShort(ArmShort),
    /// arm, LPAE.
    ArmLpae(ArmLpae),
    /// arm64.
    Arm64(arm64::Arm64Format),
}

/// Where the kernel's tables are: all that is needed to walk them at any later time.
#[derive(Clone, Copy)]
pub struct KernelTables<'a> {
    /// The memory that they are in.
    pub memory: &'a dyn TableMemory,
    /// The top table.
    pub root: PhysAddr,
    /// The format of their entries.
    pub format: KernelFormat,
}

impl fmt::Debug for KernelTables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:#x}", self.format, self.root)
    }
}

impl KernelFormat {
    /// Does something with the format, compiled for it alone: what is done to many entries at once is faster so than through
    /// [`KernelTables::with`].
    ///
    /// # Panics
    /// If the format's architecture is not built in ([`crate::built`]). No boot comes that far.
    pub fn with<W: WithFormat>(self, what: W) -> W::Out {
        match self {
            Self::X86Level4(format) if built::X86_64 => what.run(format),
            Self::X86Level5(format) if built::X86_64 => what.run(format),
            Self::I386(format) if built::I386 => what.run(format),
            Self::I386Pae(format) if built::I386 => what.run(format),
            Self::ArmShort(format) if built::ARM => what.run(format),
            Self::ArmLpae(format) if built::ARM => what.run(format),
            Self::Arm64(format) => format.with(what),
            format => panic!("the architecture of {format:?} is not built in"),
        }
    }
}

/// What [`KernelTables::with`] does with the format.
struct WithTree<'a, W> {
    memory: &'a dyn TableMemory,
    root: PhysAddr,
    work: W,
}

impl<R, W: FnOnce(&mut dyn KernelTree) -> R> WithFormat for WithTree<'_, W> {
    type Out = R;

    fn run<F: Format>(self, format: F) -> R {
        (self.work)(&mut Tables::new(format, self.memory, self.root))
    }
}

impl KernelTables<'_> {
    /// Does something with the tree.
    ///
    /// # Panics
    /// If the format's architecture is not built in ([`crate::built`]). No boot comes that far.
    pub fn with<R>(&self, work: impl FnOnce(&mut dyn KernelTree) -> R) -> R {
        self.format.with(WithTree { memory: self.memory, root: self.root, work })
    }
}

/// Why tables could not be built or changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableError {
    /// A mapping was refused.
    Map(MapError),
    /// A change was refused.
    Change(UnmapError),
    /// The tables could not be walked.
    Walk(WalkError),
    /// A table that has a fixed place would lie outside the memory that was lent.
    NoMemory(PhysAddr),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(e) => e.fmt(f),
            Self::Change(e) => e.fmt(f),
            Self::Walk(e) => e.fmt(f),
            Self::NoMemory(at) => write!(f, "the page table at {at:#x} lies outside the memory for tables"),
        }
    }
}

impl core::error::Error for TableError {}

impl From<MapError> for TableError {
    fn from(e: MapError) -> Self {
        Self::Map(e)
    }
}

impl From<UnmapError> for TableError {
    fn from(e: UnmapError) -> Self {
        Self::Change(e)
    }
}

impl From<WalkError> for TableError {
    fn from(e: WalkError) -> Self {
        Self::Walk(e)
    }
}

/// One of the kernel's early mappings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping {
    /// The step that makes it.
    pub(crate) step: &'static str,
    pub(crate) virt: u64,
    pub(crate) phys: u64,
    pub(crate) len: u64,
    pub(crate) attr: Attr,
    pub(crate) leaves: Leaves,
    /// Whether contiguous groups are marked.
    pub(crate) contiguous: bool,
    /// What entries that lead to new tables take away.
    pub(crate) limits: TableLimits,
}

impl Mapping {
    /// The whole pages that it touches, and where they lie.
    fn pages(&self, page: u64) -> (VirtRange, PhysAddr) {
        let (start, last) = (self.virt & !(page - 1), self.virt.saturating_add(self.len - 1) | (page - 1));
        let range = VirtRange { start: VirtAddr::new(start), len: (last - start).saturating_add(1) };
        (range, PhysAddr::new(self.phys & !(page - 1)))
    }

    fn options(&self) -> MapOptions {
        let level = match self.leaves {
            Leaves::Pages => Level::PTE,
            Leaves::Blocks(n) => Level::new(n.into()),
        };
        MapOptions { max_leaf: level, contiguous: self.contiguous, limits: self.limits }
    }
}

/// Gives a boot's table pages one by one, as the boot takes them.
struct Source<'s, 'a> {
    boot: &'s mut Boot<'a>,
    take: &'s mut dyn FnMut(&mut Boot<'a>) -> Result<PhysAddr, BootError>,
    refused: Option<BootError>,
    taken: u64,
}

impl TableSource for Source<'_, '_> {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        match (self.take)(self.boot) {
            Ok(page) => {
                self.taken += 1;
                Some(page)
            }
            Err(e) => {
                self.refused = Some(e);
                None
            }
        }
    }

    // Linux panics when it finds no page for a table; here the boot ends, and memblock stays as it is for inspection.
    fn free_table(&mut self, _: PhysAddr) {}
}

/// Pages that were taken for tables before it was known where what they map lies.
#[derive(Debug, Default)]
pub(crate) struct Stash {
    pages: ArrayVec<PhysAddr, 16>,
}

impl Stash {
    /// Keeps a page. One step never takes more than there is room for; one that is lost fails the mapping.
    pub(crate) fn put(&mut self, page: PhysAddr) {
        let _ = self.pages.try_push(page);
    }
}

impl TableSource for Stash {
    fn alloc_table(&mut self) -> Option<PhysAddr> {
        self.pages.pop()
    }

    fn free_table(&mut self, page: PhysAddr) {
        self.put(page);
    }
}

impl<'a> Boot<'a> {
    /// Lends memory in which the kernel's page tables are built: RAM as the machine has it, by physical address. Without
    /// it they are only counted. To be called before [`Self::run`].
    pub fn set_table_memory(&mut self, memory: &'a dyn TableMemory) {
        self.table_memory = Some(memory);
    }

    /// arm64 on the metal: the head has filled its tables already ([`arm64::head::build`]) and runs on them, so they are taken
    /// as they are instead of filled anew. They lie in the memory of [`Self::set_table_memory`], which has to be lent too.
    pub fn set_arm64_head(&mut self, head: arm64::head::Head<'a>) {
        self.arm64_head = Some(head);
    }

    /// Makes a mapping: counts the tables that it takes and, where there is memory for them, builds them. `take` gets a
    /// page for one table.
    pub(crate) fn map(
        &mut self,
        mapping: &Mapping,
        take: &mut dyn FnMut(&mut Self) -> Result<PhysAddr, BootError>,
    ) -> Result<(), BootError> {
        if mapping.len == 0 {
            return Ok(());
        }
        let counted = self.tables.map(mapping.virt, mapping.phys, mapping.len, mapping.leaves)?;
        self.map_in(self.pgtable, counted, mapping, take)
    }

    /// The same in any tree: `counted` tables, in `tables` if they are built.
    pub(crate) fn map_in(
        &mut self,
        tables: Option<KernelTables<'a>>,
        counted: u64,
        mapping: &Mapping,
        take: &mut dyn FnMut(&mut Self) -> Result<PhysAddr, BootError>,
    ) -> Result<(), BootError> {
        let Some(tables) = tables else {
            for _ in 0..counted {
                take(self)?;
            }
            self.table_counts.add(mapping.step, counted, None);
            return Ok(());
        };
        let (range, phys) = mapping.pages(self.page_bytes());
        let mut source = Source { boot: self, take, refused: None, taken: 0 };
        let done =
            tables.with(|tree| map_missing(tree, range, phys, mapping.attr, &mapping.options(), &mut source));
        let (refused, taken) = (source.refused, source.taken);
        if let Some(refused) = refused {
            return Err(refused);
        }
        done.map_err(BootError::PageTables)?;
        self.table_counts.add(mapping.step, counted, Some(taken));
        Ok(())
    }

    /// Maps a part of the virtually contiguous memory map, if tables are built: with those in `stash`.
    pub(crate) fn map_vmemmap(
        &mut self,
        virt: u64,
        phys: PhysAddr,
        len: u64,
        stash: &mut Option<Stash>,
    ) -> Result<(), BootError> {
        let (Some(tables), Some(stash)) = (self.pgtable, stash) else { return Ok(()) };
        let range = VirtRange::from_len(VirtAddr::new(virt), len);
        let (attr, limits) = match tables.format {
            KernelFormat::X86Level4(_) | KernelFormat::X86Level5(_) if built::X86_64 => {
                (x86::page_kernel(self), TableLimits::empty())
            }
            KernelFormat::Arm64(_) if built::ARM64 => {
                (arm64::prot(self, arm64::PAGE_KERNEL), arm64::table_limits(self))
            }
            // There is no such memory map.
            _ => return Ok(()),
        };
        let options = MapOptions { contiguous: false, limits, ..MapOptions::default() };
        tables
            .with(|tree| tree.map(range, phys, attr, &options, stash))
            .map_err(|e| BootError::PageTables(e.into()))?;
        Ok(())
    }
}
