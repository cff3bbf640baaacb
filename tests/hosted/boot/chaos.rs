//! Whatever a machine claims to be, its boot ends with a page allocator or with an error: it never panics, and
//! memblock holds its invariants either way.

mod efi;
mod firmware;
mod twist;
mod words;

use crate::support::efi::EfiSpec;
use crate::support::facts::Depth;
use crate::support::spec::{Fw, RAM, arm, arm64_banks};
use crate::support::tree::memory;
use crate::support::{MIB, Spec};
use efi::{efi_board, efi_pc};
use firmware::{board, pc, tree};
use pagewright_firmware::config::Flavour;
use proptest::collection::vec;
use proptest::prelude::*;
use twist::{Twist, any_model, apply};
use words::cmdline;

/// A boot that may end in any way but a panic.
fn ends(spec: &Spec) {
    if let (Err(e), _) = spec.boot_with(Depth::UseIfSmall, |_| ()) {
        assert!(!e.to_string().is_empty());
    }
}

/// How many machines are tried; `PROPTEST_CASES` says otherwise.
fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_board_makes_a_boot_panic(spec in board()) {
        ends(&spec);
    }

    #[test]
    fn no_board_with_its_image_above_4_gib_makes_a_boot_panic(
        (root, reservations) in tree(),
        (place, mib, image) in (16_u64..64, 1_u64..2048, 0_u64..128),
        line in cmdline(),
        model in any_model(),
    ) {
        let mut spec = arm(Flavour::ArmmpLpae, 256);
        let root = root.with(memory(place << 28, mib * MIB));
        spec.fw = Fw::Tree { root, reservations, efi: EfiSpec::default(), acpi: None };
        spec.cmdline = line;
        spec.record = false;
        apply(&mut spec, &Twist::Model(model));
        apply(&mut spec, &Twist::ImageAt((place << 28) + image * MIB));
        ends(&spec);
    }

    #[test]
    fn no_pc_makes_a_boot_panic(spec in pc()) {
        ends(&spec);
    }

    #[test]
    fn no_efi_of_a_pc_makes_a_boot_panic(spec in efi_pc()) {
        ends(&spec);
    }

    #[test]
    fn no_efi_of_a_board_makes_a_boot_panic(spec in efi_board()) {
        ends(&spec);
    }

    #[test]
    fn no_damaged_tree_makes_a_boot_panic(
        (root, reservations) in tree(),
        changes in vec((any::<usize>(), prop_oneof![any::<u32>(), 0_u32..20, Just(u32::MAX)]), 1..6),
        lpae in any::<bool>(),
    ) {
        let mut blob = root.blob(&reservations);
        for (at, cell) in changes {
            let at = at % (blob.len() / 4) * 4;
            blob[at..at + 4].copy_from_slice(&cell.to_be_bytes());
        }
        let mut spec = if lpae { arm(Flavour::ArmmpLpae, 256) } else { arm64_banks(&[(RAM, 256 * MIB)]) };
        spec.fw = Fw::Blob(blob);
        spec.record = false;
        // A tree that cannot be read is refused before there is a machine.
        if spec.lend(|_| ()).is_some() {
            ends(&spec);
        }
    }
}
