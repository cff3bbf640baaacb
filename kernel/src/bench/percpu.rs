//! `bench=percpu`: per-CPU memory, as the image's own code calls it.

use super::clock::Value;
use super::{Bench, Failed};
use crate::dynamic::with_percpu;
use pagewright_hot::pairs;
use pagewright_percpu::How;

/// Pairs of an allocation and a free, measured together.
const PAIRS: usize = 4096;

/// The group.
pub(super) fn run(bench: &Bench<'_>) -> Result<(), Failed> {
    let pages = bench.subject.pages;
    let units = bench.subject.units.ok_or(Failed::NoUnits)?;
    let measured = with_percpu(pages, units, Some(bench.subject.space), |percpu| {
        // As on a running machine, the chunk is not empty.
        let some = [8, 64, 24, 8, 256, 16].map(|size| percpu.alloc(size, 8, How::Atomic));
        for size in [8, 64, 1024] {
            let mut failed = 0;
            let ticks = pages.undisturbed(|| bench.clock.ticks(|| failed = pairs(percpu, size, PAIRS)));
            if failed > 0 {
                return Err(Failed::NoUnits);
            }
            bench.value(format_args!("percpu.{size}"), Value::quotient(ticks, PAIRS as u64));
        }
        for bytes in some.into_iter().flatten() {
            percpu.free(bytes).map_err(|_| Failed::NoUnits)?;
        }
        Ok(())
    });
    measured.ok_or(Failed::NoUnits)?
}
