//! Every format against a map of single pages: random operations, the same answers.
//!
//! `PAGEWRIGHT_OPS` sets how many operations each format gets (default 4,000; 8 under Miri),
//! `PAGEWRIGHT_SEED` which ones. `cargo xtask soak` takes a million of each.

mod machine;

use machine::Machine;
use pagewright_pagetable::Format;
use pagewright_pagetable::format::arm::short::{ArmShort, ArmShortConfig};
use pagewright_pagetable::format::x86::{X86Config, X86Level4};

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
    ($($name:ident: $format:ty,)*) => {
        $(
            #[test]
            #[allow(non_snake_case)]
            fn $name() {
                agrees(<$format>::default());
            }
        )*
    };
}

pagewright_pagetable::for_each_format!(formats);

#[test]
fn x86_64_without_gigabyte_pages() {
    agrees(X86Level4 { config: X86Config { gigabyte_pages: false, ..X86Config::default() } });
}

#[test]
fn x86_64_with_memory_encryption() {
    agrees(X86Level4 {
        config: X86Config { encryption_mask: 1 << 51, phys_bits: 48, ..X86Config::default() },
    });
}

#[test]
fn arm_with_supersections() {
    agrees(ArmShort { config: ArmShortConfig { supersections: true, ..ArmShortConfig::default() } });
}
