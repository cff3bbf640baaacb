//! Regions of an image's kernel addresses as views and reports look at them, and as modules are loaded into them.

use crate::vmalloc::{On, Region};
use core::fmt;
use pagewright::vmalloc::{Gaps, Seen, VmallocViolation};
use pagewright_addr::{NodeId, VirtAddr, VirtRange};
use pagewright_kspace::module::{CodeMemory, ModuleHost, ModuleWindows, OnVmalloc, PerCpuRoom};
use pagewright_kspace::vmalloc::Vmalloc;
use pagewright_pagetable::Format;

/// A region as one looks at it.
pub trait RegionView {
    /// [`Vmalloc::range`].
    fn range(&self) -> VirtRange;

    /// [`Vmalloc::name`].
    fn name(&self) -> &'static str;

    /// [`Vmalloc::nr_pages`].
    fn nr_pages(&self) -> u64;

    /// [`Vmalloc::next_area`].
    fn next_area(&self, from: VirtAddr) -> Option<Seen>;

    /// [`Vmalloc::pages_by_node`].
    fn pages_by_node(&self, on: &On<'_, '_>, at: VirtAddr, see: &mut dyn FnMut(NodeId, u64));

    /// [`Vmalloc::gaps`].
    fn gaps(&self) -> Gaps;

    /// What is wrong with an access to that byte ([`Vmalloc::try_check_access`]), in words; not told if nothing is, or somebody is about to change it.
    fn explain(&self, at: VirtAddr, tell: &mut dyn FnMut(&dyn fmt::Display));

    /// [`Vmalloc::validate`].
    ///
    /// # Errors
    /// [`VmallocViolation`].
    fn validate(&self) -> Result<(), VmallocViolation>;
}

impl<F: Format> RegionView for Region<'_, F> {
    fn range(&self) -> VirtRange {
        Vmalloc::range(self)
    }

    fn name(&self) -> &'static str {
        Vmalloc::name(self)
    }

    fn nr_pages(&self) -> u64 {
        Vmalloc::nr_pages(self)
    }

    fn next_area(&self, from: VirtAddr) -> Option<Seen> {
        Vmalloc::next_area(self, from)
    }

    fn pages_by_node(&self, on: &On<'_, '_>, at: VirtAddr, see: &mut dyn FnMut(NodeId, u64)) {
        Vmalloc::pages_by_node(self, on, at, see);
    }

    fn gaps(&self) -> Gaps {
        Vmalloc::gaps(self)
    }

    fn explain(&self, at: VirtAddr, tell: &mut dyn FnMut(&dyn fmt::Display)) {
        if let Some(Err(why)) = self.try_check_access(at, 1) {
            tell(&why);
        }
    }

    fn validate(&self) -> Result<(), VmallocViolation> {
        Vmalloc::validate(self)
    }
}

/// What modules are loaded with besides addresses.
pub struct ModuleParts<'p> {
    /// The bytes of kernel addresses.
    pub code: &'p mut dyn CodeMemory,
    /// The kernel's symbols.
    pub symbols: &'p dyn Fn(&str) -> Option<u64>,
    /// Room for per-CPU variables.
    pub per_cpu: &'p mut dyn PerCpuRoom,
}

impl fmt::Debug for ModuleParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModuleParts")
    }
}

impl ModuleParts<'_> {
    /// Does something with what loads modules into these regions, lowest first.
    pub(crate) fn host<'v, F: Format>(
        mut self,
        regions: &[&Region<'v, F>],
        windows: ModuleWindows,
        on: &mut On<'_, '_>,
        work: &mut dyn FnMut(&mut dyn ModuleHost),
    ) {
        let (code, symbols) = (&mut self.code, self.symbols);
        work(&mut OnVmalloc { regions, windows, on, code, symbols, per_cpu: Some(self.per_cpu) });
    }
}
