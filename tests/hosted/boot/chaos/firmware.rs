//! Firmware that claims anything: device trees, memory maps, affinities.

use super::twist::{apply, twist};
use super::words::{cmdline, extent, place, size, word};
use crate::support::efi::EfiSpec;
use crate::support::spec::{Fw, PcSpec, RAM, arm, arm64_banks, pc_map, pc_of, range};
use crate::support::tree::{N, cpus, memory, node, reserved_memory, root};
use crate::support::{MIB, Spec};
use pagewright_addr::PhysAddr;
use pagewright_firmware::acpi::{SratCpu, SratCpuKind, SratMemory};
use pagewright_firmware::config::Flavour;
use pagewright_firmware::e820::{E820Entry, E820Kind};
use proptest::collection::vec;
use proptest::prelude::*;

/// A node under /reserved-memory.
fn reserved_node(index: usize) -> impl Strategy<Value = N> {
    let base = (place(), size(), word(), 0_u32..256);
    base.prop_map(move |(place, size, other, bits)| {
        let has = |bit: u32| bits & (1 << bit) != 0;
        let mut n = node(&format!("r{index}"));
        if has(0) {
            n = n.wide("reg", &[place, size]);
        } else {
            n = n.wide("size", &[size]);
            if has(1) {
                n = n.wide("alignment", &[other]);
            }
            if has(2) {
                n = n.wide("alloc-ranges", &[place, other]);
            }
        }
        if has(3) {
            n = n.text("compatible", "shared-dma-pool");
        }
        for (bit, name) in [(4, "reusable"), (5, "no-map"), (6, "linux,cma-default")] {
            if has(bit) {
                n = n.flag(name);
            }
        }
        n
    })
}

/// A device tree.
pub(super) fn tree() -> impl Strategy<Value = (N, Vec<(u64, u64)>)> {
    let banks = vec((place(), size(), 0_u32..24), 0..5);
    let nodes = vec(Just(()), 0..5)
        .prop_flat_map(|n| n.iter().enumerate().map(|(i, ())| reserved_node(i)).collect::<Vec<_>>());
    let chosen = (0_u32..16, word(), word(), place(), size());
    let matrix = vec((0_u32..20, 0_u32..20, 0_u32..300), 0..6);
    let reservations = vec((place(), size()), 0..3);
    (banks, nodes, chosen, matrix, reservations, any::<bool>()).prop_map(
        |(banks, nodes, (bits, a, b, start, len), matrix, reservations, plain)| {
            let mut tree = root().with(cpus(2));
            if plain {
                tree = tree.with(memory(RAM, 256 * MIB).cells("numa-node-id", &[0]));
            }
            for (base, size, nid) in banks {
                let bank = memory(base, size);
                tree = tree.with(if nid < 20 { bank.cells("numa-node-id", &[nid]) } else { bank });
            }
            if !matrix.is_empty() {
                let cells: Vec<u32> = matrix.iter().flat_map(|(a, b, d)| [*a, *b, *d]).collect();
                let map = node("distance-map").text("compatible", "numa-distance-map-v1");
                tree = tree.with(map.cells("distance-matrix", &cells));
            }
            let mut chosen = node("chosen");
            if bits & 1 != 0 {
                chosen = chosen.wide("linux,usable-memory-range", &[start, len, a, b]);
            }
            if bits & 2 != 0 {
                chosen = chosen.wide("linux,elfcorehdr", &[b, len]);
            }
            if bits & 4 != 0 {
                chosen = chosen.wide("linux,initrd-start", &[start]).wide("linux,initrd-end", &[a]);
            }
            if bits & 8 != 0 {
                let bus = node("bus").cells("#address-cells", &[2]).cells("#size-cells", &[2]);
                tree = tree.with(bus.wide("dma-ranges", &[a, start, b]).with(node("dev")));
            }
            (tree.with(chosen).with(reserved_memory(nodes)), reservations)
        },
    )
}

pub(super) fn board() -> impl Strategy<Value = Spec> {
    let kind = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Flavour::Armmp)),
        1 => Just(Some(Flavour::ArmmpLpae)),
    ];
    (kind, tree(), cmdline(), vec(twist(), 0..3)).prop_map(|(kind, (root, reservations), line, twists)| {
        let mut spec = match kind {
            None => arm64_banks(&[(RAM, 256 * MIB)]),
            Some(flavour) => arm(flavour, 256),
        };
        spec.fw = Fw::Tree { root, reservations, efi: EfiSpec::default(), acpi: None };
        spec.cmdline = line;
        spec.record = false;
        twists.iter().for_each(|t| apply(&mut spec, t));
        spec
    })
}

fn pc_tables() -> impl Strategy<Value = PcSpec> {
    let kinds = prop::sample::select(vec![
        E820Kind::Ram,
        E820Kind::Ram,
        E820Kind::Reserved,
        E820Kind::Acpi,
        E820Kind::SoftReserved,
        E820Kind::ReservedKern,
    ]);
    let entry = (place(), size(), kinds).prop_map(|(start, size, kind)| E820Entry::new(start, size, kind));
    let affinity = (0_u32..80, place(), size(), 0_u32..8).prop_map(|(pxm, start, len, bits)| SratMemory {
        pxm,
        range: range(start, len),
        hotpluggable: bits & 1 != 0,
        non_volatile: bits & 2 != 0,
        enabled: bits & 4 == 0,
    });
    let cpu = (0_u32..80, any::<u32>(), any::<bool>()).prop_map(|(pxm, apic_id, enabled)| SratCpu {
        pxm,
        apic_id,
        enabled,
        kind: SratCpuKind::LocalApic,
    });
    let whole = vec((0_u32..4, 1_u64..5), 0..4);
    (
        vec(entry, 0..5),
        vec(affinity, 0..4),
        vec(cpu, 0..4),
        vec(extent(), 0..2),
        proptest::option::of(word()),
        prop::option::weighted(0.8, 64_u64..3000),
        whole,
        proptest::option::of(vec(0_u8..40, 16)),
    )
        .prop_map(|(extra, srat, srat_cpus, ranges, ebda, plain, whole, slit)| {
            let mut e820 = plain.map_or_else(Vec::new, |mib| pc_map(mib * MIB));
            e820.extend(extra);
            let mut srat = srat;
            if !whole.is_empty() {
                // Domains that cover memory without gaps, as a sound table does.
                let mut at = 0;
                srat = whole
                    .iter()
                    .map(|(pxm, quarters)| {
                        let len = quarters * 768 * MIB;
                        at += len;
                        crate::support::spec::affinity(*pxm, at - len, len)
                    })
                    .collect();
            }
            PcSpec {
                e820,
                srat,
                srat_cpus,
                slit: slit.map(|matrix| (4, matrix)),
                acpi_tables: ranges.clone(),
                setup_data: ranges,
                efi: EfiSpec::default(),
                ebda: ebda.map(PhysAddr::new),
                hotplug_cpus: 0,
            }
        })
}

pub(super) fn pc() -> impl Strategy<Value = Spec> {
    let flavour = prop::sample::select(vec![Flavour::Amd64, Flavour::Amd64, Flavour::I686, Flavour::I686Pae]);
    (flavour, pc_tables(), cmdline(), vec(twist(), 0..3)).prop_map(|(flavour, tables, line, twists)| {
        let mut spec = pc_of(flavour, 256);
        spec.fw = Fw::Pc(tables);
        spec.cmdline = line;
        spec.record = false;
        twists.iter().for_each(|t| apply(&mut spec, t));
        spec
    })
}
