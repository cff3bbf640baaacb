//! `/proc/vmstat`: one counter a line.

use crate::{State, names};
use core::fmt::{self, Display, Write};
use pagewright_zone::ZoneKind;

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
        names::NUMA.iter().try_for_each(|name| counter(w, name, 0))?;
    }
    names::node(config).try_for_each(|name| counter(w, name, 0))?;
    // Writeback starts at 10 and 20 % of what may be dirty, which is what is free and not held back.
    let high = match config.highmem {
        true => state.sum_of(ZoneKind::HighMem, |zone| zone.free),
        false => 0,
    };
    let reserve = state.running.watermarks.totalreserve_pages();
    let dirtyable = free.saturating_sub(reserve).saturating_sub(high);
    counter(w, "nr_dirty_threshold", dirtyable / 5)?;
    counter(w, "nr_dirty_background_threshold", dirtyable / 10)?;
    names::events(config, state.running.watermarks.tunables.zones, &mut |name| counter(w, name, 0))
}
