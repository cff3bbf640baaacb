//! A booted machine with its allocators in service: pages, and small objects above them.

use super::Booted;
use crate::fault::Fault;
use crate::machine::OwnedMachine;
use pagewright_sim::pages::{Pages, with_service};
use pagewright_sim::slabs::with_booted_slabs;
use pagewright_slab::slabs::Silent;
use pagewright_view::{Live, State};
use pagewright_zone::alloc::{Hooks, NoHooks};
use pagewright_zone::buddy::ZoneId;

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

/// Boots the machine, puts its page allocator and its slabs in service, and hands both to `then`: the machine, and what its views show.
///
/// # Errors
/// A [`Fault`] for a machine that does not boot, or whose objects the host cannot hold.
pub fn serve<R>(
    machine: &OwnedMachine,
    then: impl FnOnce(&Booted<'_, '_, '_, '_, '_>, &State<'_, '_, '_, '_, '_>) -> R,
) -> Result<R, Fault> {
    super::boot_to(
        machine,
        |boot, running, record, ram| {
            with_service(boot, running, NoHooks, |pages, running| {
                let booted = Booted { boot, running, record, ram };
                with_booted_slabs(boot, pages, 0, &Silent, |served| {
                    let slabinfo = served.slabs.slabinfo();
                    with_state(&booted, pages, |state| then(&booted, &state.with_slabs(&slabinfo)))
                })
                .map_err(|e| {
                    Fault::caused(e, "slabs", "a machine with this host's words, and RAM that it can lend")
                })
            })
            .map_err(|e| Fault::caused(e, "the page allocator", ""))?
        },
        |_| (),
    )?
}
