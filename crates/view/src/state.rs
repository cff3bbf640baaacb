//! The machine that is shown.

use crate::slab::SlabFiles;
use crate::vmallocinfo::VmallocShown;
use core::fmt;
use core::ops::Add;
use pagewright::slab::SlabPages;
use pagewright::{Boot, Running};
use pagewright_addr::{NodeId, Order};
use pagewright_kspace::resource::Resources;
use pagewright_zone::ZoneKind;
use pagewright_zone::alloc::cma::CmaFigures;
use pagewright_zone::buddy::ZoneId;
use pagewright_zone::figures::{Given, ListFigures, Served, ZoneCounts, ZoneSource};
use pagewright_zone::layout::NodeLayout;

/// A machine whose page allocator serves.
///
/// [`State::new`] shows it right after its initcalls, when nothing runs on it yet; [`State::live`] as its CPUs use the allocator. What
/// else a running system would count (cache, faults, page-table pages) is shown as zero.
#[derive(Clone, Copy)]
pub struct State<'b, 'z, 's, 'p, 'a> {
    /// The state that the boot built.
    pub boot: &'b Boot<'a>,
    /// What the boot handed over, with the watermarks.
    pub running: &'b Running<'z, 's, 'p>,
    pub(crate) zones: &'b dyn ZoneSource,
    pub(crate) live: Option<Live<'b>>,
    pub(crate) slabs: Option<&'b dyn fmt::Display>,
    pub(crate) slab_files: Option<(&'b dyn SlabFiles, Option<&'b str>)>,
    pub(crate) slab_pages: Option<&'b dyn Fn(NodeId) -> SlabPages>,
    pub(crate) vmalloc: Option<&'b dyn VmallocShown>,
    pub(crate) resources: Option<&'b Resources<'b, 'static>>,
}

/// What the CPUs of an allocator in service say.
#[derive(Clone, Copy)]
pub struct Live<'b> {
    /// A CPU's lists of a zone, as that CPU had them when it was asked; `None` for a CPU that does not run.
    pub lists: &'b dyn Fn(u32, ZoneId) -> Option<ListFigures>,
    /// What area number so many of [`Boot::cma`] has and did; `None` for one that does not serve.
    pub areas: &'b dyn Fn(usize) -> Option<CmaFigures>,
}

impl fmt::Debug for Live<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl<'b, 'z, 's, 'p, 'a> State<'b, 'z, 's, 'p, 'a> {
    /// A machine right after its initcalls.
    pub fn new(boot: &'b Boot<'a>, running: &'b Running<'z, 's, 'p>) -> Self {
        Self {
            boot,
            running,
            zones: &running.buddy,
            live: None,
            slabs: None,
            slab_files: None,
            slab_pages: None,
            vmalloc: None,
            resources: None,
        }
    }

    /// A machine whose zones are in service with an allocator, `zones`.
    pub fn live(
        boot: &'b Boot<'a>,
        running: &'b Running<'z, 's, 'p>,
        zones: &'b dyn ZoneSource,
        live: Live<'b>,
    ) -> Self {
        Self { zones, live: Some(live), ..Self::new(boot, running) }
    }

    /// The same machine with the tree of its resources, in which drivers' requests are: what `iomem` shows from then on.
    #[must_use]
    pub fn with_resources(self, resources: &'b Resources<'b, 'static>) -> Self {
        Self { resources: Some(resources), ..self }
    }

    /// The same machine with its slabs, which show themselves
    /// ([`Slabs::slabinfo`](pagewright::slab::Slabs::slabinfo)).
    #[must_use]
    pub fn with_slabs(self, slabinfo: &'b dyn fmt::Display) -> Self {
        Self { slabs: Some(slabinfo), ..self }
    }

    /// The same machine with the attributes of its caches ([`crate::slab`]): of all, or of the one of that name.
    #[must_use]
    pub fn with_slab_files(self, files: &'b dyn SlabFiles, cache: Option<&'b str>) -> Self {
        Self { slab_files: Some((files, cache)), ..self }
    }

    /// The same machine with the pages of a node that its slabs have
    /// ([`ObjectAllocator::slab_pages`](pagewright::slab::objects::ObjectAllocator::slab_pages)): what vmstat, meminfo and zoneinfo count.
    #[must_use]
    pub fn with_slab_pages(self, pages: &'b dyn Fn(NodeId) -> SlabPages) -> Self {
        Self { slab_pages: Some(pages), ..self }
    }

    /// The same machine with its vmalloc area, which shows itself ([`crate::vmallocinfo::Shown`]).
    #[must_use]
    pub fn with_vmalloc(self, vmalloc: &'b dyn VmallocShown) -> Self {
        Self { vmalloc: Some(vmalloc), ..self }
    }
}

impl<'b> State<'b, '_, '_, '_, '_> {
    /// Its vmalloc area, if that is in service.
    pub const fn vmalloc(&self) -> Option<&'b dyn VmallocShown> {
        self.vmalloc
    }

    /// The online nodes in order.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &'b NodeLayout> + use<'b> {
        let (nodes, online) =
            (self.boot.layout.as_ref().map_or(&[][..], |l| l.nodes()), self.boot.nodes_online);
        nodes.iter().filter(move |n| n.possible && online.contains(n.nid))
    }

    /// The kernel's zone kinds in order.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = ZoneKind> + use<> {
        self.running.watermarks.tunables.zones.iter()
    }

    pub(crate) fn page_kib(&self) -> u64 {
        self.boot.page_bytes() >> 10
    }

    pub(crate) fn orders(&self) -> impl Iterator<Item = Order> + use<> {
        self.zones.orders()
    }

    /// A CPU's lists of a zone. Before the allocator is in service they are empty, with the sizes that they will have.
    pub(crate) fn lists(&self, cpu: u32, nid: NodeId, kind: ZoneKind) -> Option<ListFigures> {
        match &self.live {
            Some(live) => (live.lists)(cpu, self.zones.find(nid, kind)?.zone),
            None => {
                let pageset = self.running.watermarks.zone(nid, kind)?.pageset;
                let (high, batch) = (pageset.high, pageset.batch);
                Some(ListFigures { high, batch, ..ListFigures::default() })
            }
        }
    }

    /// What CPUs' lists of a zone gave out, all CPUs together.
    pub(crate) fn served(&self, zone: &ZoneCounts) -> Served {
        let lists = self.boot.online_cpus().filter_map(|cpu| self.lists(cpu, zone.nid, zone.kind));
        lists.fold(Served::default(), |all, lists| all.plus(&lists))
    }

    /// What a zone gave out.
    pub(crate) fn given(&self, zone: &ZoneCounts) -> Given {
        self.zones.given(zone.zone, &self.served(zone))
    }

    /// What slabs have of a node.
    pub(crate) fn slab_pages(&self, nid: NodeId) -> SlabPages {
        self.slab_pages.map_or(SlabPages::default(), |pages| pages(nid))
    }

    /// What they have of all nodes.
    pub(crate) fn all_slab_pages(&self) -> SlabPages {
        self.nodes().map(|node| self.slab_pages(node.nid)).fold(SlabPages::default(), SlabPages::add)
    }

    /// A sum over all zones.
    pub(crate) fn sum(&self, count: impl Fn(&ZoneCounts) -> u64) -> u64 {
        self.zones.zones().map(|zone| count(&zone)).sum()
    }

    /// A sum over all zones of one kind.
    pub(crate) fn sum_of(&self, kind: ZoneKind, count: impl Fn(&ZoneCounts) -> u64) -> u64 {
        self.zones.zones().filter(|zone| zone.kind == kind).map(|zone| count(&zone)).sum()
    }
}
