//! Contiguous areas: the files of `/sys/kernel/debug/cma` and `/sys/kernel/mm/cma`, each with its name before it, as `grep -r .` prints them.

use crate::State;
use core::fmt::{self, Write};
use pagewright_zone::alloc::cma::CmaFigures;

/// Writes what each area has and did. An area that could not be activated has no pages.
///
/// # Errors
/// The writer's.
pub fn write(w: &mut dyn Write, state: &State<'_, '_, '_, '_, '_>) -> fmt::Result {
    let shift = state.boot.machine.config.page_shift;
    for (at, area) in state.boot.cma.iter().enumerate() {
        let unused = || {
            let count = if area.given_back { 0 } else { area.range.frames_inside(shift).len() };
            CmaFigures { count, max_chunk: count, ..CmaFigures::default() }
        };
        let figures = state.live.and_then(|live| (live.areas)(at)).unwrap_or_else(unused);
        let values = [
            ("base_pfn", area.range.start.pfn(shift).get()),
            ("count", figures.count),
            // A bit for each page, in all areas that a boot declares.
            ("order_per_bit", 0),
            ("used", figures.used),
            ("maxchunk", figures.max_chunk),
            ("alloc_pages_success", figures.alloc_pages_success),
            ("alloc_pages_fail", figures.alloc_pages_fail),
        ];
        values.into_iter().try_for_each(|(name, value)| writeln!(w, "{}/{name}:{value}", area.name))?;
    }
    Ok(())
}
