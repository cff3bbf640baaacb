//! A booted machine with its allocators in service: pages, and above them small objects and the kernel's virtual memory.

use super::Booted;
use crate::fault::Fault;
use crate::machine::OwnedMachine;
use pagewright::Boot;
use pagewright_pagetable::{Format, NotLive};
use pagewright_sim::designs::with_booted_layouts;
use pagewright_sim::pages::{NoContents, Pages, with_service};
use pagewright_sim::vmalloc::{BootedVmalloc, BootedVmallocError, WithVmalloc, with_booted_vmalloc};
use pagewright_slab::objects::{Design, Objects, SlabInfo};
use pagewright_slab::slabs::TraceSite;
use pagewright_view::slab::Shown as SlabsShown;
use pagewright_view::vmallocinfo::{Areas, Looked as ByCpu, Shown, VmallocShown};
use pagewright_view::{Live, State, View, Views};
use pagewright_zone::alloc::Hooks;
use pagewright_zone::buddy::ZoneId;
use std::fmt;

/// Shows a machine whose page allocator is in service: what only its processors know is asked of them.
pub(crate) fn with_state<'s, 'a, H: Hooks, R>(
    booted: &Booted<'_, '_, 's, 'a, '_>,
    pages: &Pages<'_, '_, 's, 'a, H>,
    then: impl FnOnce(&State<'_, '_, 's, 'a, '_>) -> R,
) -> R {
    let online = pages.cpus();
    let lists = |cpu: u32, zone: ZoneId| {
        let asked = (cpu as usize) < online;
        asked.then(|| pages.on_cpu(cpu as usize, |cx| pages.allocator.list_figures(cx, zone))).flatten()
    };
    let areas = |at: usize| Some(pages.allocator.cma_figures(pages.cma?.get(at)?));
    let live = Live { lists: &lists, areas: &areas };
    then(&State::live(booted.boot, booted.running, &pages.allocator, live))
}

/// Lines that `alloc_traces` of a cache has at most: as many as places in the code are kept, some of them with several sizes.
pub(crate) const TRACE_SITES: usize = 512;

/// Whether a view shows what serves only where it was asked for.
pub(crate) const fn needs_service(view: View) -> bool {
    matches!(view, View::Slabinfo | View::Slab | View::Vmallocinfo | View::VmallocMap)
}

/// A vmalloc area that is looked at by the machine's first CPU, whenever somebody looks.
struct Looked<'r, 'b, 'p, 'v, 'x, 'm, 's, 'a, F: Format, H> {
    boot: &'r Boot<'b>,
    machine: &'r BootedVmalloc<'p, 'v, 'x, 'm, 's, 'a, F, H>,
}

impl<F: Format, H: Hooks> Looked<'_, '_, '_, '_, '_, '_, '_, '_, F, H> {
    fn look(&self, see: &mut dyn FnMut(&dyn VmallocShown) -> fmt::Result) -> fmt::Result {
        let Self { boot, machine } = self;
        machine.on_cpu(0, &mut NotLive, |on| {
            let on = &*on;
            let vmalloc = ByCpu { region: &machine.vmalloc, on };
            let modules = machine.modules.as_ref().map(|region| ByCpu { region, on });
            let mut regions: Vec<&dyn Areas> = modules.iter().map(|region| region as _).collect();
            regions.push(&vmalloc);
            regions.sort_by_key(|region| region.range().start);
            see(&Shown::new(boot, &regions))
        })
    }
}

impl<F: Format, H: Hooks> VmallocShown for Looked<'_, '_, '_, '_, '_, '_, '_, '_, F, H> {
    fn nr_pages(&self) -> u64 {
        let modules = self.machine.modules.as_ref().map_or(0, |modules| modules.nr_pages());
        self.machine.vmalloc.nr_pages() + modules
    }

    fn vmallocinfo(&self, w: &mut dyn fmt::Write) -> fmt::Result {
        self.look(&mut |shown| shown.vmallocinfo(w))
    }

    fn map(&self, w: &mut dyn fmt::Write) -> fmt::Result {
        self.look(&mut |shown| shown.map(w))
    }

    fn regions(&self, see: &mut dyn FnMut(&dyn Areas)) {
        // Looking fails nowhere: only writers do.
        let _ = self.look(&mut |shown| {
            shown.regions(see);
            Ok(())
        });
    }
}

/// What is done once vmalloc serves, in whichever format the tables are.
pub(crate) trait WithShown<'s, 'a, H> {
    /// What comes of it.
    type Out;

    /// Does it; `shown` shows the machine's regions.
    fn run<F: Format>(
        self,
        machine: &BootedVmalloc<'_, '_, '_, '_, 's, 'a, F, H>,
        shown: &dyn VmallocShown,
    ) -> Self::Out;
}

/// Shows, and nothing else.
struct Show<W>(W);

impl<'s, 'a, H: Hooks, R, W: FnOnce(&dyn VmallocShown) -> R> WithShown<'s, 'a, H> for Show<W> {
    type Out = R;

    fn run<F: Format>(self, _: &BootedVmalloc<'_, '_, '_, '_, 's, 'a, F, H>, shown: &dyn VmallocShown) -> R {
        (self.0)(shown)
    }
}

/// What comes when vmalloc serves.
struct Then<'r, 'b, W> {
    boot: &'r Boot<'b>,
    work: W,
}

impl<'s, 'a, H: Hooks, W: WithShown<'s, 'a, H>> WithVmalloc<'s, 'a, H> for Then<'_, '_, W> {
    type Out = W::Out;

    fn run<F: Format>(self, machine: &BootedVmalloc<'_, '_, '_, '_, 's, 'a, F, H>) -> W::Out {
        self.work.run(machine, &Looked { boot: self.boot, machine })
    }
}

/// Puts the machine's vmalloc in service, and does something with it.
///
/// # Errors
/// A [`Fault`] for a machine whose page tables were only counted, or whose area does not come into service.
pub(crate) fn with_vmalloc<'s, 'a, H: Hooks, W: WithShown<'s, 'a, H>>(
    boot: &Boot<'_>,
    pages: &Pages<'_, '_, 's, 'a, H>,
    work: W,
) -> Result<W::Out, Fault> {
    with_booted_vmalloc(boot, pages, &mut NotLive, Then { boot, work }).map_err(|e| {
        let expected = match e {
            BootedVmallocError::NoTables => "a machine whose page tables are built: at most 64 GiB of RAM",
            BootedVmallocError::Init(_) | BootedVmallocError::IrqStacks(_) => "",
        };
        Fault::caused(e, "vmalloc", expected)
    })
}

/// Boots the machine, puts its page allocator in service and what else the views ask for (slabs, vmalloc), and hands that to `then`: the machine, and what
/// its views show. Of slabs' attributes those of `cache` are shown, if one is named.
///
/// # Errors
/// A [`Fault`] for a machine that does not boot, whose kernel has no such file, or whose tables were only counted.
pub fn serve<R>(
    machine: &OwnedMachine,
    views: &Views,
    cache: Option<&str>,
    then: impl FnOnce(&Booted<'_, '_, '_, '_, '_>, &State<'_, '_, '_, '_, '_>) -> R,
) -> Result<R, Fault> {
    let asks = |view: View| views.iter().any(|other| other == view);
    super::boot_to(
        machine,
        |boot, running, record, ram| {
            with_service(boot, running, NoContents, |pages, running| {
                let booted = Booted { boot, running, record, ram };
                let shown = |state: &State<'_, '_, '_, '_, '_>| {
                    if !asks(View::Vmallocinfo) && !asks(View::VmallocMap) {
                        return Ok(then(&booted, state));
                    }
                    let show = |vmalloc: &dyn VmallocShown| then(&booted, &state.with_vmalloc(vmalloc));
                    with_vmalloc(boot, pages, Show(show))
                };
                if !asks(View::Slabinfo) && !asks(View::Slab) {
                    return with_state(&booted, pages, shown);
                }
                let missing = match boot.slab_design() {
                    Design::Slob => Some("CONFIG_SLOB=y"),
                    Design::Slub if !boot.machine.config.slub_debug && asks(View::Slabinfo) => {
                        Some("# CONFIG_SLUB_DEBUG is not set")
                    }
                    Design::Slub | Design::SlubCpuSlabs | Design::Slab => None,
                };
                if let Some(symbol) = missing {
                    let expected =
                        "a kernel with SLAB, or with SLUB and CONFIG_SLUB_DEBUG: else there is no such file";
                    return Err(Fault::new(symbol, "slabinfo", expected));
                }
                // Nobody has asked for an object yet, so no memory is needed.
                with_booted_layouts(boot, pages, |objects| {
                    let allocator = objects.allocator();
                    let slabinfo = SlabInfo(allocator);
                    let slab_pages = |nid| allocator.slab_pages(nid);
                    let mut sites = [TraceSite::EMPTY; TRACE_SITES];
                    let files = match objects {
                        Objects::Slub(slabs) => {
                            Some(SlabsShown::new(slabs, boot.slab_attributes(), &mut sites))
                        }
                        Objects::Slab(_) | Objects::Slob(_) => None,
                    };
                    with_state(&booted, pages, |state| {
                        let state = state.with_slabs(&slabinfo).with_slab_pages(&slab_pages);
                        shown(&match &files {
                            Some(files) => state.with_slab_files(files, cache),
                            None => state,
                        })
                    })
                })
                .map_err(|e| Fault::caused(e, "slabs", ""))?
            })
            .map_err(|e| Fault::caused(e, "the page allocator", ""))?
        },
        |_| (),
    )?
}
