//! Whatever the firmware and the command line say: no panic, and every promise is kept.

use super::no_map;
use super::page_tables::try_build;
use crate::support::facts::Depth;
use crate::support::spec::{RAM, image};
use crate::support::tree::{N, node, root};
use crate::support::{MIB, Spec};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_kspace::Version;
use proptest::prelude::*;

/// An address near RAM or anywhere, of any alignment.
fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..1024_u64).prop_map(|mib| RAM + mib * MIB),
        2 => (0..1_u64 << 30).prop_map(|offset| RAM + offset),
        1 => 0..1_u64 << 33,
        1 => any::<u64>(),
    ]
}

fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..512_u64).prop_map(|mib| mib * MIB),
        2 => 0..1_u64 << 29,
        1 => any::<u64>(),
    ]
}

fn parameter() -> impl Strategy<Value = String> {
    prop_oneof![
        (size(), address()).prop_map(|(s, a)| format!("mem={s}@{a}")),
        size().prop_map(|s| format!("mem={s}")),
        size().prop_map(|s| format!("vmalloc={s}")),
        size().prop_map(|s| format!("cma={s}")),
        (size(), address(), size()).prop_map(|(s, a, l)| format!("cma={s}@{a}-{l}")),
        size().prop_map(|s| format!("crashkernel={s}")),
        (size(), address()).prop_map(|(s, a)| format!("crashkernel={s}@{a}")),
        (address(), size()).prop_map(|(a, s)| format!("initrd={a},{s}")),
        (size(), address()).prop_map(|(s, a)| format!("elfcorehdr={s}@{a}")),
        size().prop_map(|s| format!("movablecore={s}")),
    ]
}

/// A region at a place of its own is never one that is given back when nobody wants it: where it overlaps others, that
/// would take from them, as it does in Linux.
fn region() -> impl Strategy<Value = N> {
    let pool = |n: N| n.text("compatible", "shared-dma-pool");
    let fixed = (address(), size(), 0..3).prop_map(move |(a, s, kind)| {
        let n = node(&format!("r@{a:x}")).reg(a, s);
        match kind {
            0 => n,
            1 => n.flag("no-map"),
            _ => pool(n.flag("no-map")),
        }
    });
    let dynamic = (size(), size(), 0..4).prop_map(move |(s, a, kind)| {
        let n = node("d").wide("size", &[s]).wide("alignment", &[a]);
        match kind {
            0 => n,
            1 => n.flag("no-map"),
            2 => pool(n.flag("reusable")),
            _ => pool(n),
        }
    });
    prop_oneof![fixed, dynamic]
}

prop_compose! {
    fn machine()(
        flavour in prop_oneof![Just(Flavour::Armmp), Just(Flavour::ArmmpLpae)],
        banks in proptest::collection::vec((0..1024_u64, 0..1024_u64), 0..4),
        ragged in 0..4096_u64,
        split in prop_oneof![3 => Just(0xc000_0000_u32), 1 => Just(0xb000_0000), 1 => Just(0x8000_0000), 1 => Just(0x4000_0000)],
        (highmem, aliasing) in any::<(bool, bool)>(),
        at in prop_oneof![3 => Just(3), 1 => 1..512_u64],
        compatible in prop_oneof![Just("a,b"), Just("fsl,imx6q"), Just("brcm,bcm2836"), Just("nvidia,tegra124")],
        parameters in proptest::collection::vec(parameter(), 0..4),
        regions in proptest::collection::vec(region(), 0..5),
        hole in 0..256_u64,
    ) -> Spec {
        let mut all = vec![(0, 256)];
        all.extend(banks);
        let root = root().text("compatible", compatible).with(super::cpus(1));
        let root = all.iter().fold(root, |r, (at, len)| r.with(super::memory(RAM + at * MIB, len * MIB)));
        let mut spec = Spec::tree(KernelConfig::debian(flavour), root, RAM);
        spec.image = image(spec.config.arch, RAM + at * MIB, 32);
        spec.cpus.vipt_aliasing = aliasing && !highmem;
        let line = parameters.join(" ");
        let ragged = super::memory(RAM + (256 + hole) * MIB + ragged, 3 * MIB + ragged);
        let regions = regions.into_iter().chain([no_map(super::at(hole, 1))]);
        let spec = spec.with(ragged).reserved(regions).cmdline(&line);
        spec.config(|c| {
            if !c.lpae || split != 0xb000_0000 {
                c.page_offset = split;
            }
            if !highmem {
                (c.highmem, c.highpte) = (false, false);
            }
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_machine_boots_or_is_refused(machine in machine()) {
        // The harness holds memblock and the placements to their invariants.
        let _ = machine.boot_with(Depth::Allocator, |_| ());
    }

    #[test]
    fn any_machine_gets_the_tables_that_are_counted(
        machine in machine(),
        (major, minor) in prop_oneof![Just((4, 14)), Just((5, 13)), Just((6, 1))],
    ) {
        let version = Version::new(major, minor);
        let counted = machine.boot_with(Depth::Allocator, |boot| boot.set_version(version)).0;
        match (counted, try_build(&machine, |boot| boot.set_version(version))) {
            (Ok(counted), Ok(built)) => {
                prop_assert_eq!(&counted.events, &built.facts.events);
                prop_assert_eq!(built.counts.mismatch(), None);
                let linear = built.linear_map();
                prop_assert!(linear.is_ok(), "{:?}", linear);
            }
            (Err(counted), Err(built)) => prop_assert_eq!(counted, built),
            (counted, built) => prop_assert!(false, "{:?} {:?}", counted.err(), built.err()),
        }
    }
}
