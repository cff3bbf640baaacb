//! The boot's contiguous areas in service.

use super::small;
use crate::boot::Boot;
use crate::cma;
use crate::error::BootError;
use crate::reserved_mem::Verdict;
use core::fmt;
use pagewright_addr::{Order, PageShift, PfnRange};
use pagewright_platform::Carve;
use pagewright_platform::carve::bytes_for;
use pagewright_zone::alloc::cma::{CmaArea, DmaAreas};

/// Frames that one bit of an area's bitmap stands for: all of the boot's areas count single pages.
const PER_BIT: Order = Order::ZERO;

/// The areas that the boot lent to the page allocator, in the order in which they were declared. Those that could not be activated
/// have a place and no area: their pages are ordinary memory.
#[derive(Clone, Copy)]
pub struct CmaAreas<'m> {
    areas: &'m [Option<CmaArea<'m>>],
    default: Option<&'m CmaArea<'m>>,
    per_node: &'m [Option<&'m CmaArea<'m>>],
    page_shift: PageShift,
}

impl fmt::Debug for CmaAreas<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(CmaArea::name)).finish()
    }
}

fn pfns(boot: &Boot<'_>, area: &cma::CmaArea) -> PfnRange {
    area.range.frames_inside(boot.machine.config.page_shift)
}

fn words(boot: &Boot<'_>) -> usize {
    boot.cma.iter().map(|area| CmaArea::required_words(pfns(boot, area).len(), PER_BIT)).sum()
}

fn letters(boot: &Boot<'_>) -> impl Iterator<Item = u8> {
    boot.cma.iter().flat_map(|area| area.name.bytes())
}

/// How many nodes may have areas of their own: up to the last that has.
fn nodes(boot: &Boot<'_>) -> usize {
    boot.cma.iter().filter_map(|area| area.of_node).map(|nid| nid.index() + 1).max().unwrap_or(0)
}

/// The first `n` of a slice, which then has the rest. No more than there are.
fn take<'m, T>(from: &mut &'m mut [T], n: usize) -> &'m mut [T] {
    let all = core::mem::take(from);
    let (first, rest) = all.split_at_mut(n.min(all.len()));
    *from = rest;
    first
}

impl<'m> CmaAreas<'m> {
    /// Bytes for them.
    pub(super) fn bytes(boot: &Boot<'_>) -> u64 {
        bytes_for::<Option<CmaArea<'_>>>(boot.cma.len())
            + bytes_for::<u64>(words(boot))
            + bytes_for::<u8>(letters(boot).count())
            + bytes_for::<Option<&CmaArea<'_>>>(nodes(boot))
    }

    /// Makes them in that memory.
    pub(super) fn make(boot: &Boot<'_>, memory: &mut Carve<'m>) -> Result<Self, BootError> {
        let none = small("contiguous areas");
        let mut bits = memory.slice(words(boot), || 0_u64).ok_or(none)?;
        let mut text = letters(boot);
        let mut names = memory.slice(letters(boot).count(), || text.next().unwrap_or(b'?')).ok_or(none)?;
        let (mut declared, mut enough) = (boot.cma.iter(), true);
        let areas = memory.slice(boot.cma.len(), || {
            let area = declared.next()?;
            let pfns = pfns(boot, area);
            let bits = take(&mut bits, CmaArea::required_words(pfns.len(), PER_BIT));
            let name = core::str::from_utf8(take(&mut names, area.name.len())).unwrap_or_default();
            if area.given_back {
                return None;
            }
            let made = CmaArea::new(name, pfns, PER_BIT, bits).ok();
            enough &= made.is_some();
            made
        });
        let areas: &'m [_] = areas.filter(|_| enough).ok_or(none)?;
        let find = |is: &dyn Fn(&cma::CmaArea) -> bool| areas.get(boot.cma.iter().position(is)?)?.as_ref();
        let mut nid = 0;
        let per_node = memory.slice(nodes(boot), || {
            nid += 1;
            find(&|area| area.of_node.is_some_and(|of| of.index() + 1 == nid))
        });
        let default = find(&|area| area.default);
        Ok(Self {
            areas,
            default,
            per_node: per_node.ok_or(none)?,
            page_shift: boot.machine.config.page_shift,
        })
    }

    /// Those that serve.
    pub fn iter(&self) -> impl Iterator<Item = &'m CmaArea<'m>> + use<'m> {
        self.areas.iter().flatten()
    }

    /// Area number `at` of [`Boot::cma`]; none if it could not be activated.
    pub fn get(&self, at: usize) -> Option<&'m CmaArea<'m>> {
        self.areas.get(at)?.as_ref()
    }

    /// The default area (`dma_contiguous_default_area`).
    pub fn default_area(&self) -> Option<&'m CmaArea<'m>> {
        self.default
    }

    /// The area that a region of the device tree became ([`memory_region`](crate::reserved_mem::memory_region)); none if it serves
    /// otherwise.
    pub fn of_region(&self, region: &Verdict) -> Option<&'m CmaArea<'m>> {
        let pfns = region.range.frames_inside(self.page_shift);
        self.iter().find(|area| area.pfns() == pfns)
    }

    /// Where a device's memory comes from: an area of its own, if it has one, or its node's and the default one.
    pub fn for_device(&self, own: Option<&'m CmaArea<'m>>) -> DmaAreas<'m, 'm> {
        DmaAreas { device: own, per_node: self.per_node, default: self.default }
    }
}
