//! `/proc/vmstat`: one counter a line.

use crate::State;
use crate::names::{self, Event};
use core::fmt::{self, Display, Write};
use pagewright_zone::ZoneKind;
use pagewright_zone::alloc::NumaStat;
use pagewright_zone::figures::Events;

/// Writes a counter's line.
///
/// # Errors
/// The writer's.
pub fn counter(w: &mut dyn Write, name: impl Display, value: u64) -> fmt::Result {
    writeln!(w, "{name} {value}")
}

/// Writes the file.
///
/// # Errors
/// The writer's.
pub fn write(w: &mut dyn Write, state: &State<'_, '_, '_, '_, '_>) -> fmt::Result {
    let config = &state.boot.machine.config;
    let (free, free_cma) = (state.sum(|zone| zone.free), state.sum(|zone| zone.free_cma));
    names::zone_counters(free, free_cma).try_for_each(|(name, value)| counter(w, name, value))?;
    if config.numa {
        let all = state.zones.zones().map(|zone| state.given(&zone).numa);
        let values = names::numa(&all.fold(NumaStat::default(), NumaStat::plus));
        names::NUMA.iter().zip(values).try_for_each(|(name, value)| counter(w, name, value))?;
    }
    names::node_counters(config, state.all_slab_pages())
        .try_for_each(|(name, value)| counter(w, name, value))?;
    // Writeback starts at 10 and 20 % of what may be dirty, which is what is free and not held back.
    let high = match config.highmem {
        true => state.sum_of(ZoneKind::HighMem, |zone| zone.free),
        false => 0,
    };
    let reserve = state.running.watermarks.totalreserve_pages();
    let dirtyable = free.saturating_sub(reserve).saturating_sub(high);
    counter(w, "nr_dirty_threshold", dirtyable / 5)?;
    counter(w, "nr_dirty_background_threshold", dirtyable / 10)?;
    let happened = state.zones.events();
    names::events(config, state.running.watermarks.tunables.zones, &mut |event| {
        counter(w, event, value(state, &happened, event))
    })
}

/// A counter of events. What the library has nothing to count for is 0.
fn value(state: &State<'_, '_, '_, '_, '_>, happened: &Events, event: Event) -> u64 {
    let allocated = |of: &dyn Fn(ZoneKind) -> bool| {
        state.zones.zones().filter(|zone| of(zone.kind)).map(|zone| state.given(&zone).pages).sum::<u64>()
    };
    match event {
        Event::OfZone("pgalloc", kind) => allocated(&|of| of == kind),
        Event::OfZone("allocstall", kind) => happened.stalls[kind.index()],
        // What is free was freed and not allocated since; the boot freed all of it first.
        Event::Machine("pgfree") => {
            allocated(&|_| true) + state.sum(|zone| zone.free + state.served(zone).listed)
        }
        Event::Machine("pgmigrate_success") => happened.migrated.0,
        Event::Machine("pgmigrate_fail") => happened.migrated.1,
        Event::Machine("cma_alloc_success") => happened.cma.0,
        Event::Machine("cma_alloc_fail") => happened.cma.1,
        Event::Machine(name) => happened.compact.iter().find(|(n, _)| *n == name).map_or(0, |(_, n)| *n),
        Event::OfZone(..) => 0,
    }
}
