//! `memtest=`: the early test of free memory.
//!
//! Simulated RAM has no bad bits, so that nothing is ever reserved; what remains is the log. On real machines the
//! embedder tests its own RAM and reserves what fails before it hands memory over.

use crate::boot::{Boot, info};
use crate::error::BootError;
use pagewright_addr::PhysRange;
use pagewright_memblock::Flags;

/// Seventeen patterns are known; `memtest=N` runs the first N of them, over and over when there are more.
const PATTERNS: [u64; 17] = [
    0,
    0xffff_ffff_ffff_ffff,
    0x5555_5555_5555_5555,
    0xaaaa_aaaa_aaaa_aaaa,
    0x1111_1111_1111_1111,
    0x2222_2222_2222_2222,
    0x4444_4444_4444_4444,
    0x8888_8888_8888_8888,
    0x3333_3333_3333_3333,
    0x6666_6666_6666_6666,
    0x9999_9999_9999_9999,
    0xcccc_cccc_cccc_cccc,
    0x7777_7777_7777_7777,
    0xbbbb_bbbb_bbbb_bbbb,
    0xdddd_dddd_dddd_dddd,
    0xeeee_eeee_eeee_eeee,
    0x7a6c_7258_5546_4954,
];

/// The most passes that are gone through: each prints a line for every free range.
const MAX_PASSES: u32 = 1000;

/// `early_memtest`: walks the free ranges once for each pattern, from the last to the first.
///
/// # Errors
/// [`BootError::TooMany`] for so many passes that Linux would never come to an end of them.
pub(crate) fn early_memtest(b: &mut Boot<'_>) -> Result<(), BootError> {
    let Some(count) = b.params.memtest.filter(|n| *n > 0 && b.machine.config.memtest) else { return Ok(()) };
    if count > MAX_PASSES {
        return Err(BootError::TooMany { what: "passes of memtest=", limit: MAX_PASSES.into() });
    }
    info!(b, "early_memtest: # of tests: {count}");
    for i in (0..count).rev() {
        let pattern = PATTERNS[i as usize % PATTERNS.len()];
        // What is mapped so far: on 32-bit arm, low memory.
        let limit = b.mb.current_limit();
        for (range, _) in b.mb.free_ranges(None, Flags::empty()) {
            let range = PhysRange::new(range.start, range.end.min(limit));
            if range.is_empty() {
                break;
            }
            info!(b, "  {} - {} pattern {:016x}", b.pa(range.start), b.pa(range.end), pattern.to_be());
        }
    }
    Ok(())
}
