//! Every format against a map of single pages: random operations, the same answers.
//!
//! `PAGEWRIGHT_OPS` sets how many operations each format gets (default 4,000; 8 under Miri),
//! `PAGEWRIGHT_SEED` which ones. `cargo xtask soak` takes a million of each.

mod machine;

use machine::Machine;
use pagewright_pagetable::Format;
use pagewright_pagetable::format::arm64::*;
use pagewright_pagetable::format::x86::{X86Config, X86Level4, X86Level5};

fn ops() -> u64 {
    let default = if cfg!(miri) { 8 } else { 4_000 };
    std::env::var("PAGEWRIGHT_OPS").ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn seed() -> u64 {
    std::env::var("PAGEWRIGHT_SEED").ok().and_then(|v| v.parse().ok()).unwrap_or(0x9e37_79b9_7f4a_7c15)
}

/// Runs the operations on an area in the middle of the format's window, and on one at its very end.
fn agrees<F: Format>(format: F) {
    // Under Miri a page is what costs: large granules, whose blocks have thousands, are left to the native run.
    if cfg!(miri) && F::SHAPE.page_bytes() > 4096 {
        return;
    }
    for end in [false, true] {
        let words = Machine::<F>::words(if cfg!(miri) { 16 } else { 600 });
        let mut machine = Machine::new(format, &words, end, seed());
        for n in 0..ops() / 2 {
            machine.step();
            if n % 64 == 63 && !cfg!(miri) {
                machine.compare_all();
            }
        }
        machine.finish();
    }
}

macro_rules! formats {
    ($($name:ident: $format:expr;)*) => {
        $(
            #[test]
            fn $name() {
                agrees($format);
            }
        )*
    };
}

formats! {
    arm64_4k_39_bits: Arm64Page4kVa39::default();
    arm64_4k_48_bits: Arm64Page4kVa48::default();
    arm64_16k_36_bits: Arm64Page16kVa36::default();
    arm64_16k_47_bits: Arm64Page16kVa47::default();
    arm64_16k_48_bits: Arm64Page16kVa48::default();
    arm64_64k_42_bits: Arm64Page64kVa42::default();
    arm64_64k_48_bits: Arm64Page64kVa48::default();
    arm64_64k_52_bits: Arm64Page64kVa52::default();
    x86_64_with_four_levels: X86Level4::default();
    x86_64_with_five_levels: X86Level5::default();
    x86_64_without_gigabyte_pages: X86Level4 { config: X86Config { gigabyte_pages: false, ..X86Config::default() } };
    x86_64_with_memory_encryption: X86Level4 { config: X86Config { encryption_mask: 1 << 51, phys_bits: 48, ..X86Config::default() } };
}
