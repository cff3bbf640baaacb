//! The list of views, and how one asks for them by name.

use crate::{
    State, buddyinfo, cma, extfrag, iomem, layout, memblock, meminfo, page_tables, pagetypeinfo, slab,
    vmstat, zoneinfo,
};
use arrayvec::ArrayVec;
use core::fmt::{self, Write};
use pagewright::pgtable::TableError;
use pagewright_kspace::LayoutError;
use pagewright_memblock::Set;
use pagewright_pagetable::WalkError;

/// One of Linux's memory files, as Linux 6.1 prints it right after boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum View {
    /// `/proc/zoneinfo`.
    Zoneinfo,
    /// `/proc/buddyinfo`.
    Buddyinfo,
    /// `/proc/pagetypeinfo`.
    Pagetypeinfo,
    /// `/proc/meminfo`.
    Meminfo,
    /// `/proc/iomem`.
    Iomem,
    /// `/sys/kernel/debug/memblock/memory`.
    MemblockMemory,
    /// `/sys/kernel/debug/memblock/reserved`.
    MemblockReserved,
    /// `/proc/vmstat`.
    Vmstat,
    /// `/sys/kernel/debug/extfrag/extfrag_index`.
    ExtfragIndex,
    /// `/sys/kernel/debug/extfrag/unusable_index`.
    UnusableIndex,
    /// `/sys/kernel/debug/cma` and `/sys/kernel/mm/cma`, file by file.
    Cma,
    /// `/proc/slabinfo`, version 2.1.
    Slabinfo,
    /// The files of `/sys/kernel/slab`, and those of `/sys/kernel/debug/slab`, cache by cache.
    Slab,
    /// `/proc/vmallocinfo`.
    Vmallocinfo,
    /// Who has what of the vmalloc area, with its gaps.
    VmallocMap,
    /// The kernel's virtual address space, in the form of the banner that kernels printed until 5.0.
    Layout,
    /// The kernel's page tables, as debugfs shows them (ptdump).
    PageTables,
    /// The same run by run with their entries, for programs that compare two sets of tables.
    PageTableRuns,
}

impl View {
    /// All views.
    pub const ALL: [Self; 18] = [
        Self::Zoneinfo,
        Self::Buddyinfo,
        Self::Pagetypeinfo,
        Self::Meminfo,
        Self::Iomem,
        Self::MemblockMemory,
        Self::MemblockReserved,
        Self::Vmstat,
        Self::ExtfragIndex,
        Self::UnusableIndex,
        Self::Cma,
        Self::Slabinfo,
        Self::Slab,
        Self::Vmallocinfo,
        Self::VmallocMap,
        Self::Layout,
        Self::PageTables,
        Self::PageTableRuns,
    ];

    /// The name by which it is asked for.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zoneinfo => "zoneinfo",
            Self::Buddyinfo => "buddyinfo",
            Self::Pagetypeinfo => "pagetypeinfo",
            Self::Meminfo => "meminfo",
            Self::Iomem => "iomem",
            Self::MemblockMemory => "memblock/memory",
            Self::MemblockReserved => "memblock/reserved",
            Self::Vmstat => "vmstat",
            Self::ExtfragIndex => "extfrag/extfrag_index",
            Self::UnusableIndex => "extfrag/unusable_index",
            Self::Cma => "cma",
            Self::Slabinfo => "slabinfo",
            Self::Slab => "slab",
            Self::Vmallocinfo => "vmallocinfo",
            Self::VmallocMap => "vmalloc-map",
            Self::Layout => "layout",
            Self::PageTables => "page-tables",
            Self::PageTableRuns => "page-tables/runs",
        }
    }

    /// The view of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.name() == name)
    }

    /// Writes the view of a machine.
    ///
    /// # Errors
    /// [`ViewError`]; what was written before it stays written.
    pub fn write(self, w: &mut dyn Write, state: &State<'_, '_, '_, '_, '_>) -> Result<(), ViewError> {
        let written = match self {
            Self::Zoneinfo => zoneinfo::write(w, state),
            Self::Buddyinfo => buddyinfo::write(w, state.zones),
            Self::Pagetypeinfo => pagetypeinfo::write(w, state),
            Self::Meminfo => meminfo::write(w, state),
            Self::Iomem => iomem::write(w, state),
            Self::MemblockMemory => memblock::write(w, &state.boot.mb, Set::Memory),
            Self::MemblockReserved => memblock::write(w, &state.boot.mb, Set::Reserved),
            Self::Vmstat => vmstat::write(w, state),
            Self::ExtfragIndex => extfrag::index(w, state.zones),
            Self::UnusableIndex => extfrag::unusable(w, state.zones),
            Self::Cma => cma::write(w, state),
            Self::Slabinfo => write!(w, "{}", state.slabs.ok_or(ViewError::NoSlabs)?),
            Self::Slab => return slab::write(w, state),
            Self::Vmallocinfo => state.vmalloc.ok_or(ViewError::NoVmalloc)?.vmallocinfo(w),
            Self::VmallocMap => state.vmalloc.ok_or(ViewError::NoVmalloc)?.map(w),
            Self::Layout => layout::write(w, &state.layout(state.boot.version)?),
            Self::PageTables => return page_tables::write(w, state),
            Self::PageTableRuns => return page_tables::runs::write(w, state),
        };
        written.map_err(ViewError::Write)
    }

    /// Writes a line above a view that tells it from others: `==> zoneinfo <==`.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_heading(self, w: &mut dyn Write) -> fmt::Result {
        writeln!(w, "==> {} <==", self.name())
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Views in the order in which they were asked for, each once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Views {
    list: ArrayVec<View, { View::ALL.len() }>,
}

impl Views {
    /// Reads names with commas between them. A name that is given twice counts once; nothing at all is no view.
    ///
    /// # Errors
    /// [`UnknownView`] for the first name that is none.
    pub fn parse(names: &str) -> Result<Self, UnknownView<'_>> {
        let mut out = Self::default();
        if names.is_empty() {
            return Ok(out);
        }
        for name in names.split(',') {
            let view = View::named(name).ok_or(UnknownView { name })?;
            if !out.list.contains(&view) {
                out.list.push(view);
            }
        }
        Ok(out)
    }

    /// The views.
    pub fn iter(&self) -> impl Iterator<Item = View> + '_ {
        self.list.iter().copied()
    }

    /// Takes a view out, to be written at another time; whether it was there.
    pub fn take(&mut self, view: View) -> bool {
        let before = self.list.len();
        self.list.retain(|other| *other != view);
        self.list.len() < before
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Writes all views of a machine; headings ([`View::write_heading`]) stand above them if there are several.
    ///
    /// # Errors
    /// [`NotShown`] names the first view that could not be written.
    pub fn write(&self, w: &mut dyn Write, state: &State<'_, '_, '_, '_, '_>) -> Result<(), NotShown> {
        let several = self.list.len() > 1;
        self.iter().try_for_each(|view| {
            let heading = if several { view.write_heading(w) } else { Ok(()) };
            heading
                .map_err(ViewError::Write)
                .and_then(|()| view.write(w, state))
                .map_err(|why| NotShown { view, why })
        })
    }
}

impl From<View> for Views {
    fn from(view: View) -> Self {
        Self { list: ArrayVec::from_iter([view]) }
    }
}

/// A name that is no view's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownView<'n> {
    /// The name.
    pub name: &'n str,
}

impl fmt::Display for UnknownView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no view `{}`; expected one of ", self.name)?;
        for (i, view) in View::ALL.into_iter().enumerate() {
            write!(f, "{}{view}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownView<'_> {}

/// A view that could not be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotShown {
    /// The view.
    pub view: View,
    /// What kept it from being written.
    pub why: ViewError,
}

impl fmt::Display for NotShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.view, self.why)
    }
}

impl core::error::Error for NotShown {}

/// Why a view could not be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ViewError {
    /// The writer takes no more.
    Write(fmt::Error),
    /// The kernel has no such layout.
    Layout(LayoutError),
    /// No slabs are in service.
    NoSlabs,
    /// The slabs in service have no attributes: they are not SLUB's.
    NoAttributes,
    /// No cache has that name.
    NoCache,
    /// No vmalloc is in service.
    NoVmalloc,
    /// Page tables were only counted.
    NoTables,
    /// The page tables could not be finished.
    Tables(TableError),
    /// The page tables are damaged.
    Walk(WalkError),
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(e) => e.fmt(f),
            Self::Layout(e) => e.fmt(f),
            Self::NoSlabs => f.write_str("no slabs are in service on this machine"),
            Self::NoAttributes => {
                f.write_str("only SLUB's caches have attributes, and no others are in service")
            }
            Self::NoCache => f.write_str("no cache of that name is in service"),
            Self::NoVmalloc => f.write_str("no vmalloc is in service on this machine"),
            Self::NoTables => f.write_str("no page tables, they were only counted"),
            Self::Tables(e) => e.fmt(f),
            Self::Walk(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for ViewError {}

impl From<fmt::Error> for ViewError {
    fn from(e: fmt::Error) -> Self {
        Self::Write(e)
    }
}

impl From<LayoutError> for ViewError {
    fn from(e: LayoutError) -> Self {
        Self::Layout(e)
    }
}

impl From<WalkError> for ViewError {
    fn from(e: WalkError) -> Self {
        Self::Walk(e)
    }
}

#[cfg(test)]
mod tests;
