//! Tables of a boot that are too large for a stack.
//!
//! A caller brings one [`Tables`] with its [`Workspace`](crate::Workspace): as a `static` on the metal, on the heap where
//! there is one. What it holds is emptied when a boot begins and stays readable through [`Boot`](crate::Boot) for as
//! long as that lives.

use crate::census::Census;
use crate::cma::CmaArea;
use crate::numa::Distances;
use crate::percpu::AllocInfo;
use crate::reserved_mem::Verdicts;
use arrayvec::ArrayVec;
use pagewright_addr::{NodeId, PhysRange};
use pagewright_firmware::e820::E820Table;
use pagewright_kspace::vmalloc::EarlyAreas;
use pagewright_zone::ZoneKind;

/// Where memory maps were placed.
pub type MemmapAreas = ArrayVec<PhysRange, 256>;
/// Contiguous areas.
pub type CmaAreas = ArrayVec<CmaArea, 64>;
/// Frames of gigantic pages by the zone that they lie in.
pub type GiganticPages = ArrayVec<(NodeId, ZoneKind, u64), 384>;

/// Room for what a boot counts and decides; some 80 KiB.
#[derive(Clone, Debug)]
pub struct Tables {
    pub(crate) census: Census,
    pub(crate) verdicts: Verdicts,
    pub(crate) distances: Distances,
    pub(crate) memmap_areas: MemmapAreas,
    pub(crate) gigantic_pages: GiganticPages,
    pub(crate) cma: CmaAreas,
    pub(crate) percpu: Option<AllocInfo>,
    pub(crate) e820: Option<E820Table>,
    pub(crate) x86_mapped: Option<crate::x86::Mapped>,
    pub(crate) early_areas: EarlyAreas,
}

impl Tables {
    /// Empty tables.
    pub const fn new() -> Self {
        Self {
            census: Census::EMPTY,
            verdicts: Verdicts::EMPTY,
            distances: Distances::UNKNOWN,
            memmap_areas: ArrayVec::new_const(),
            gigantic_pages: ArrayVec::new_const(),
            cma: ArrayVec::new_const(),
            percpu: None,
            e820: None,
            x86_mapped: None,
            early_areas: EarlyAreas::new(),
        }
    }

    /// Forgets an earlier boot.
    pub(crate) fn clear(&mut self) {
        self.census.reset(0, 0, 0);
        self.verdicts.clear();
        self.distances.clear();
        self.memmap_areas.clear();
        self.gigantic_pages.clear();
        self.cma.clear();
        self.percpu = None;
        self.e820 = None;
        self.x86_mapped = None;
        self.early_areas.clear();
    }
}

impl Default for Tables {
    fn default() -> Self {
        Self::new()
    }
}
