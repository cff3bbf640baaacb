//! EFI that claims anything, and ACPI of an arm64 machine that does.

use super::words::{extent, place, size};
use crate::support::efi::EfiSpec;
use crate::support::spec::{AcpiSpec, Fw, RAM, arm, arm64_banks, pc, range};
use crate::support::tree::{cpus, node, root};
use crate::support::{MIB, Spec};
use pagewright_firmware::ArmCpu;
use pagewright_firmware::acpi::{SratCpu, SratCpuKind, SratMemory};
use pagewright_firmware::config::Flavour;
use pagewright_firmware::efi::{EfiEntry, EfiKind, attribute};
use proptest::collection::vec;
use proptest::prelude::*;

/// Descriptors: the usual sizes in pages, the unusual as they come.
fn entry() -> impl Strategy<Value = EfiEntry> {
    let bits = prop::sample::select(vec![
        attribute::WB,
        attribute::WB,
        attribute::WB | attribute::RUNTIME,
        attribute::WB | attribute::SP,
        attribute::WB | attribute::MORE_RELIABLE,
        attribute::WC,
        attribute::UC,
        0,
    ]);
    let page = prop_oneof![3 => Just(!4095_u64), 1 => Just(u64::MAX)];
    (0_u32..18, bits, place(), size(), page).prop_map(|(kind, attributes, start, len, mask)| EfiEntry {
        kind: EfiKind::from_number(kind),
        attributes,
        range: range(start & mask, len & mask),
    })
}

/// A map, sometimes with sound memory in it, and tables in and outside of it.
fn efi(base: u64) -> impl Strategy<Value = EfiSpec> {
    let table = || prop::option::of(extent());
    // What lies in boot services' data is what is cut out of it.
    let inside = || prop::option::of((0_u64..64 * MIB, 0_u64..MIB));
    (
        vec(entry(), 0..10),
        any::<bool>(),
        table(),
        table(),
        vec(extent(), 0..3),
        (inside(), inside(), inside()),
    )
        .prop_map(move |(mut map, sound, map_at, memory_attributes, lists, (esrt, mok, logo))| {
            if sound {
                map.push(EfiEntry {
                    kind: EfiKind::BootServicesData,
                    attributes: attribute::WB,
                    range: range(base + 64 * MIB, 64 * MIB),
                });
                map.push(EfiEntry {
                    kind: EfiKind::Conventional,
                    attributes: attribute::WB,
                    range: range(base + 128 * MIB, 128 * MIB),
                });
            }
            let at = |t: Option<(u64, u64)>| t.map(|(start, len)| range(base + 64 * MIB + start, len));
            EfiSpec {
                map,
                map_at,
                memory_attributes,
                tpm_logs: lists.clone(),
                mem_reserve: lists,
                esrt: at(esrt),
                mok_variables: at(mok),
                boot_logo: at(logo),
            }
        })
}

fn acpi() -> impl Strategy<Value = AcpiSpec> {
    let memory = (0_u32..20, place(), size(), 0_u32..8).prop_map(|(pxm, start, len, bits)| SratMemory {
        pxm,
        range: range(start, len),
        hotpluggable: bits & 1 != 0,
        non_volatile: bits & 2 != 0,
        enabled: bits & 4 == 0,
    });
    let cpu = (0_u32..20, 0_u32..6).prop_map(|(pxm, apic_id)| SratCpu {
        pxm,
        apic_id,
        enabled: true,
        kind: SratCpuKind::Gicc,
    });
    let cpus = vec((0_u32..6, any::<u64>()).prop_map(|(uid, mpidr)| ArmCpu { uid, mpidr }), 0..4);
    (vec(memory, 0..4), vec(cpu, 0..4), prop::option::of(vec(0_u8..40, 16)), cpus).prop_map(
        |(srat, srat_cpus, slit, cpus)| AcpiSpec { srat, srat_cpus, slit: slit.map(|m| (4, m)), cpus },
    )
}

fn line() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "efi=debug",
        "efi=nosoftreserve",
        "add_efi_memmap",
        "acpi=off",
        "acpi=force",
        "mem=96M",
        "kernelcore=mirror",
        "numa=off",
    ])
}

pub(super) fn efi_pc() -> impl Strategy<Value = Spec> {
    (efi(0), vec(extent(), 0..2), line()).prop_map(|(efi, setup_data, line)| {
        let mut spec = pc(256).cmdline(line).tables(|t| (t.efi, t.setup_data) = (efi, setup_data));
        spec.record = false;
        spec
    })
}

pub(super) fn efi_board() -> impl Strategy<Value = Spec> {
    (efi(RAM), prop::option::of(acpi()), any::<bool>(), any::<bool>(), line()).prop_map(
        |(efi, acpi, stub, wide, line)| {
            let mut spec = if wide { arm64_banks(&[(RAM, 256 * MIB)]) } else { arm(Flavour::ArmmpLpae, 256) };
            let tree = if stub { root().with(node("chosen")) } else { root().with(cpus(1)) };
            spec.fw = Fw::Tree { root: tree, reservations: Vec::new(), efi, acpi };
            spec.record = false;
            spec.cmdline(line)
        },
    )
}
