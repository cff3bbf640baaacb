//! The work: processors take turns at allocating and freeing, as the text says.

use super::account::{Account, Asked, PhaseAccount, Sample, ZoneAccount, counters};
use super::areas::{AreaPhase, Served, VmAreas};
use super::blocks::Blocks;
use super::daemons::daemons;
use super::numbers::Numbers;
use super::objects::{ObjectKind, ObjectPhase, Objects, Stored};
use super::picture::BlockPicture;
use super::turns::{Both, Shared, at_once, in_turns};
use super::watch::{Extfrag, Reports, Watched};
use super::{Phase, Watch, Workload};
use crate::fault::Fault;
use crate::machine::OwnedMachine;
use crate::run;
use pagewright::{Boot, Running};
use pagewright_addr::Order;
use pagewright_firmware::Arch;
use pagewright_pagetable::Format;
use pagewright_sim::designs::SlabKernel;
use pagewright_sim::pages::{Pages, Watchers, with_watched_service};
use pagewright_sim::store::with_store;
use pagewright_sim::vmalloc::BootedVmalloc;
use pagewright_slab::SlabPages;
use pagewright_slab::objects::Design;
use pagewright_view::vmallocinfo::VmallocShown;
use pagewright_view::{Live, State, View, Views};
use pagewright_zone::alloc::{Hooks, Reasons, ZoneCell};
use pagewright_zone::buddy::ZoneId;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How often memory is looked at on the way.
const SAMPLES: u64 = 16;

pub(super) type Machine<'x, 'm, 's, 'a, 'h> = Pages<'x, 'm, 's, 'a, &'h Blocks<'a>>;

/// Boots a machine, puts its allocator in service and does the work; objects are of this design, where the workload has any; of that which the kernel was configured with, if none is named. `views` are shown before and after,
/// and `watch` says what else is looked at.
///
/// # Errors
/// A [`Fault`] for a watch that makes no sense, a machine that does not boot, has fewer processors than the workload wants, or cannot have objects.
pub fn drive(
    machine: &OwnedMachine,
    workload: &Workload,
    design: Option<Design>,
    views: &Views,
    watch: &Watch,
) -> Result<Account, Fault> {
    run::boot_to(
        machine,
        |boot, running, _, _| {
            let (config, map) = (&boot.machine.config, *running.buddy.map());
            let nodes = running.buddy.zones().iter().map(|zone| zone.nid());
            let reports = Reports::new(watch.failures, config, nodes.clone().collect());
            let blocks = Blocks::new(map, nodes, reports);
            let watched = Watched::new(watch, workload.seed, map.len() as usize)?;
            let debugging = watched.debugging();
            let fault = |e: pagewright::BootError| Fault::caused(e, "the page allocator", "");
            let extfrag = Extfrag::new(watch.events, map);
            let watchers = Watchers { debugging: debugging.as_ref(), events: Some(&extfrag) };
            with_watched_service(boot, running, &blocks, watchers, |pages, running| {
                watch_fallbacks(pages, watch.events > 0);
                let mut account = with_areas(boot, pages, workload, views, |areas| {
                    if workload.objects.is_empty() {
                        work(boot, running, pages, (None, areas), workload, views)
                    } else {
                        with_objects(boot, running, pages, (design, areas), workload, views)
                    }
                })?;
                account.back = all_back(pages);
                let violation = pages.allocator.validate().err().map(|violation| violation.to_string());
                account.violation = violation.or_else(|| watched.trouble());
                account.failures = blocks.reports().take();
                account.injected = watched.injected();
                account.boosts = blocks.boosts();
                account.events = extfrag.take();
                Ok(account)
            })
            .map_err(fault)?
        },
        |_| (),
    )?
}

/// Tells of blocks that are taken from other types' lists, and of nothing else: allocations keep their fast path.
fn watch_fallbacks(pages: &Machine<'_, '_, '_, '_, '_>, on: bool) {
    if on {
        pages.allocator.set_events(true);
        (0..pages.cpus()).for_each(|cpu| _ = pages.attention(cpu).take(Reasons::EVENTS));
    }
}

/// The zones, with all processors' lists empty.
fn all_back(pages: &Machine<'_, '_, '_, '_, '_>) -> Vec<ZoneAccount> {
    (0..pages.cpus()).for_each(|cpu| pages.on_cpu(cpu, |cx| pages.allocator.drain_local_pages(cx)));
    ZoneAccount::all(&pages.allocator)
}

/// The work with vmalloc in service, if there are areas in it or views ask for it.
fn with_areas<'s, 'a>(
    boot: &Boot<'_>,
    pages: &Machine<'_, '_, 's, 'a, '_>,
    workload: &Workload,
    views: &Views,
    work: impl FnOnce(Option<&dyn VmAreas>) -> Result<Account, Fault>,
) -> Result<Account, Fault> {
    let areas = workload.phases.iter().any(|phase| !phase.areas.0.is_empty());
    if areas && workload.threads {
        let expected = "processors that take turns: page tables are one thread's here";
        return Err(Fault::new("areas with threads", "the workload", expected));
    }
    if !areas && !views.iter().any(|view| matches!(view, View::Vmallocinfo | View::VmallocMap)) {
        return work(None);
    }
    run::with_vmalloc(boot, pages, WithAreas { arch: boot.machine.arch, work })?
}

/// What is done once it serves.
struct WithAreas<W> {
    arch: Arch,
    work: W,
}

impl<'s, 'a, H: Hooks, W: FnOnce(Option<&dyn VmAreas>) -> Result<Account, Fault>> run::WithShown<'s, 'a, H>
    for WithAreas<W>
{
    type Out = Result<Account, Fault>;

    fn run<F: Format>(
        self,
        machine: &BootedVmalloc<'_, '_, '_, '_, 's, 'a, F, H>,
        shown: &dyn VmallocShown,
    ) -> Self::Out {
        let served = Served::new(machine, shown, self.arch);
        let done = (self.work)(Some(&served));
        served.give_back();
        done
    }
}

/// The work with objects of a design.
fn with_objects<'s, 'a>(
    boot: &Boot<'_>,
    running: &Running<'_, '_, 'a>,
    pages: &Machine<'_, '_, 's, 'a, '_>,
    (design, areas): (Option<Design>, Option<&dyn VmAreas>),
    workload: &Workload,
    views: &Views,
) -> Result<Account, Fault> {
    let design = design.unwrap_or(boot.slab_design());
    let counters = Some(pages.allocator.hooks().reports().slabs());
    let kernel = SlabKernel { counters, ..SlabKernel::of(boot) };
    let caches = ObjectKind::caches(&workload.objects);
    // What means nothing has a line in the log of a boot that starts slabs.
    let account = with_store(design, pages, &kernel, &caches, |store| {
        let (page_bytes, built) = (boot.machine.config.page_shift.bytes(), boot.slab_attributes());
        let objects = Stored { store, page_bytes, built };
        let mut account = work(boot, running, pages, (Some(&objects), areas), workload, views)?;
        account.design = Some(design);
        Ok(account)
    });
    account.map_err(|why| Fault::caused(why, "the objects", ""))?
}

fn work<'s, 'a>(
    boot: &Boot<'_>,
    running: &Running<'_, '_, 'a>,
    pages: &Machine<'_, '_, 's, 'a, '_>,
    (objects, areas): (Option<&dyn Objects>, Option<&dyn VmAreas>),
    workload: &Workload,
    views: &Views,
) -> Result<Account, Fault> {
    let online = pages.cpus();
    let cpus = workload.cpus.unwrap_or(online);
    if cpus > online {
        let expected = format!("at most the machine's {online} (--cpus)");
        return Err(Fault::new(format!("{cpus} processors"), "the workload", expected));
    }
    let lists = |cpu: u32, zone: ZoneId| {
        let asked = (cpu as usize) < online;
        asked.then(|| pages.on_cpu(cpu as usize, |cx| pages.allocator.list_figures(cx, zone))).flatten()
    };
    let cma = |at: usize| Some(pages.allocator.cma_figures(pages.cma?.get(at)?));
    let state = State::live(boot, running, &pages.allocator, Live { lists: &lists, areas: &cma });
    let show = || {
        let mut text = String::new();
        let slabinfo = objects.map(Objects::slabinfo);
        let slab_pages = |nid| objects.map_or(SlabPages::default(), |objects| objects.slab_pages(nid));
        let state = match &slabinfo {
            Some(slabinfo) => state.with_slabs(slabinfo).with_slab_pages(&slab_pages),
            None => state,
        };
        let state = match objects.and_then(Objects::files) {
            Some(files) => state.with_slab_files(files, None),
            None => state,
        };
        let state = areas.map_or(state, |areas| state.with_vmalloc(areas.shown()));
        views.write(&mut text, &state).map_err(|e| Fault::caused(e.why, e.view.name(), ""))?;
        Ok::<String, Fault>(text)
    };
    let drain = || (0..online).for_each(|cpu| pages.on_cpu(cpu, |cx| pages.allocator.drain_local_pages(cx)));

    let pageblock = pages.base.pageblocks().order();
    let (before, shown_before, counted_before) =
        (ZoneAccount::all(&pages.allocator), show()?, counters(&state));
    let memory: u64 = before.iter().map(|zone| zone.free).sum();
    let vmalloc_before = areas.map(|areas| areas.account());
    let caches = || objects.map(Objects::caches).unwrap_or_default();
    let caches_before = caches();
    let live = Mutex::new(VecDeque::new());
    let mut numbers: Vec<_> =
        (0..cpus as u64).map(|cpu| Numbers::new(workload.seed.wrapping_add(cpu << 32))).collect();
    let (mut phases, mut samples, mut done) = (Vec::new(), Vec::new(), 0);
    let total: u64 = workload.phases.iter().map(|phase| phase.operations).sum();
    let mut sample = |done| {
        let zones = ZoneAccount::all(&pages.allocator);
        let boost = pages.allocator.zones().iter().map(ZoneCell::boost_pages).sum();
        let held = pages.allocator.hooks().pages();
        samples.push(Sample { boost, ..Sample::take(done, held, &zones, pageblock) });
    };
    sample(0);
    for phase in &workload.phases {
        let zero = || [const { AtomicU64::new(0) }; Order::LIMIT];
        let shared =
            Shared { phase, memory, live: &live, asked: zero(), failed: zero(), freed: AtomicU64::new(0) };
        let stored = ObjectPhase::new(phase, &workload.objects, memory * boot.page_bytes());
        let wanted = AreaPhase::new(phase, memory * boot.page_bytes());
        let objects_too = objects.map(|objects| (objects, &stored));
        let both = Both {
            blocks: &shared,
            objects: objects_too,
            areas: areas.map(|areas| (areas, &wanted)).filter(|_| !phase.areas.0.is_empty()),
        };
        let mut at = 0;
        while at < phase.operations {
            let part = (total / SAMPLES).max(1).min(phase.operations - at);
            if workload.threads {
                at_once(pages, (&shared, objects_too), &mut numbers, at, part)
            } else {
                in_turns(pages, &both, &mut numbers, at, part)
            }
            at += part;
            pages.on_cpu(0, |cx| daemons(pages, cx, true));
            // As often as memory is looked at.
            objects.into_iter().for_each(|objects| objects.reap((done + at) * SAMPLES / total.max(1)));
            sample(done + at);
        }
        done += phase.operations;
        phases.push(account(phase, &shared, &stored, &wanted));
    }
    let (shown_after, counted_after) = (show()?, counters(&state));
    let vmalloc_after = areas.map(|areas| areas.account());
    let caches_after = caches();
    drain();
    let after = ZoneAccount::all(&pages.allocator);
    let mut page_owner = String::new();
    // Empty without owners; writing to a text does not fail.
    let _ = pages.allocator.write_page_owners(&mut page_owner);
    let picture = BlockPicture::of(boot, &pages.base, &pages.allocator);
    for number in pages.allocator.hooks().numbers() {
        let cpu = number as usize % cpus;
        if let Some(frames) = pages.allocator.hooks().give_up(number) {
            pages.on_cpu(cpu, |cx| pages.allocator.free_pages(cx, frames));
        }
    }
    Ok(Account {
        cpus,
        seed: workload.seed,
        pageblock,
        phases,
        before,
        after,
        back: vec![],
        vmstat: [counted_before, counted_after],
        views: [shown_before, shown_after],
        samples,
        picture,
        design: None,
        caches: [caches_before, caches_after],
        damaged: objects.map_or(0, Objects::damaged),
        vmalloc: vmalloc_before
            .zip(vmalloc_after)
            .filter(|_| workload.phases.iter().any(|phase| !phase.areas.0.is_empty()))
            .map(|(before, after)| [before, after]),
        refused: areas.and_then(|areas| areas.refused()),
        failures: vec![],
        injected: 0,
        boosts: 0,
        events: vec![],
        page_owner,
        violation: None,
    })
}

fn account(
    phase: &Phase,
    shared: &Shared<'_>,
    stored: &ObjectPhase<'_>,
    wanted: &AreaPhase<'_>,
) -> PhaseAccount {
    let (objects, objects_freed) = stored.account();
    let (areas, areas_freed) = wanted.account();
    let orders = (0..Order::LIMIT as u8).filter_map(Order::new).map(|order| {
        let count = |of: &[AtomicU64; Order::LIMIT]| of[order.index()].load(Relaxed);
        (order, Asked { asked: count(&shared.asked), failed: count(&shared.failed) })
    });
    PhaseAccount {
        name: phase.name.clone(),
        orders: orders.filter(|(_, asked)| asked.asked > 0).collect(),
        freed: shared.freed.load(Relaxed),
        objects,
        objects_freed,
        areas,
        areas_freed,
    }
}
