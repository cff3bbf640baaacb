//! Every format against a map of single pages: random operations, the same answers.
//!
//! `PAGEWRIGHT_OPS` sets how many operations each format gets (default 4,000; under Miri 30 of a few formats),
//! `PAGEWRIGHT_SEED` which ones. `cargo xtask soak` takes a million of each, `cargo xtask soak --miri` a thousand under Miri.

mod effort;
mod machine;
mod parts;

use effort::Effort;
use machine::Machine;
use pagewright_pagetable::Format;
use pagewright_pagetable::format::arm::short::{ArmShort, ArmShortConfig};
use pagewright_pagetable::format::x86::{X86Config, X86Level4};

fn seed() -> u64 {
    std::env::var("PAGEWRIGHT_SEED").ok().and_then(|v| v.parse().ok()).unwrap_or(0x9e37_79b9_7f4a_7c15)
}

/// Runs the operations on an area in the middle of the format's window, and on one at its very end.
fn agrees<F: Format>(name: &str, format: F) {
    let Some(effort) = Effort::of::<F>(name) else { return };
    for end in [false, true] {
        let words = Machine::<F>::words(effort.table_pages);
        let pool = Machine::<F>::pool_of(&words);
        let mut machine = Machine::new(format, &pool, end, seed(), effort);
        for n in 1..=effort.ops / 2 {
            machine.step();
            if n % effort.compare_every == 0 {
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
                agrees(stringify!($name), <$format>::default());
            }
        )*
    };
}

pagewright_pagetable::for_each_format!(formats);

#[test]
fn x86_64_without_gigabyte_pages() {
    agrees("", X86Level4 { config: X86Config { gigabyte_pages: false, ..X86Config::default() } });
}

#[test]
fn x86_64_with_memory_encryption() {
    let config = X86Config { encryption_mask: 1 << 51, phys_bits: 48, ..X86Config::default() };
    agrees("", X86Level4 { config });
}

#[test]
fn arm_with_supersections() {
    agrees("", ArmShort { config: ArmShortConfig { supersections: true, ..ArmShortConfig::default() } });
}
