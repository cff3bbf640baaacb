//! What is refused in builds that leave architectures out.

use super::{Built, machine, machine_in};
use crate::error::BootError;
use pagewright_addr::PageShift;
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_firmware::{Arch, BuildFacts, Cpus, Firmware, KernelImage, Machine, Pc};
use std::string::ToString;

const NOTHING: Built =
    Built { x86_64: false, i386: false, arm: false, arm64: false, arm64_16k: false, arm64_64k: false };

fn of(flavour: Flavour) -> Machine<'static> {
    let config = KernelConfig::debian(flavour);
    Machine {
        arch: config.arch,
        config,
        image: KernelImage::default(),
        build: BuildFacts::for_config(&config),
        firmware: Firmware::Pc(Pc::default()),
        initrd: None,
        cmdline: None,
        cpus: Cpus::default(),
        seed: None,
    }
}

/// Whether the machine is refused because its architecture is left out, and not for something that is looked at later.
fn left_out(m: &Machine<'_>, built: Built) -> bool {
    machine_in(m, built) == Err(BootError::NotBuilt(m.arch))
}

#[test]
fn an_architecture_that_is_left_out_is_refused_by_name() {
    let alone = [
        (Flavour::Amd64, Built { x86_64: true, ..NOTHING }),
        (Flavour::I686, Built { i386: true, ..NOTHING }),
        (Flavour::Armmp, Built { arm: true, ..NOTHING }),
        (Flavour::Arm64, Built { arm64: true, ..NOTHING }),
    ];
    for (flavour, _) in alone {
        let m = of(flavour);
        assert!(left_out(&m, NOTHING), "{:?}", m.arch);
        for (other, built) in alone {
            assert_eq!(left_out(&m, built), flavour != other, "{:?} in {built:?}", m.arch);
        }
        assert!(!left_out(&m, Built::THIS), "tests have everything");
    }
    assert_eq!(BootError::NotBuilt(Arch::Arm).to_string(), "Arm, or its page size, is not built in");
}

#[test]
fn a_page_size_of_arm64_is_a_feature_of_its_own() {
    let small = Built { arm64: true, ..NOTHING };
    for (shift, built) in [
        (PageShift::SHIFT_16K, Built { arm64_16k: true, ..small }),
        (PageShift::SHIFT_64K, Built { arm64_64k: true, ..small }),
    ] {
        let mut m = of(Flavour::Arm64);
        m.config.page_shift = shift;
        assert!(left_out(&m, small), "{shift:?}");
        assert!(!left_out(&m, built), "{shift:?}");
        assert!(!left_out(&m, Built::THIS));
        assert_ne!(machine(&m), Err(BootError::NotBuilt(Arch::Arm64)));
    }
}
