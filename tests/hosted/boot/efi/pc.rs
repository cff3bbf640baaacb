//! PCs: the e820 map is the authority, EFI's map stands beside it.

use crate::support::efi::descriptor;
use crate::support::spec::{pc, pc_of, range};
use crate::support::{Facts, MIB, Spec};
use EfiKind::{BootServicesCode, BootServicesData, Conventional, LoaderData, RuntimeServicesData};
use pagewright_firmware::config::Flavour;
use pagewright_firmware::e820::{E820Entry, E820Kind};
use pagewright_firmware::efi::{EfiEntry, EfiKind, attribute};
use pagewright_memblock::Event;

const PAGE: u64 = 4096;

/// A PC of 256 MiB with boot services in two MiB at 64 MiB, and 16 KiB at 96 MiB.
fn machine() -> Spec {
    with_map(vec![
        descriptor(Conventional, MIB, 63 * MIB),
        descriptor(BootServicesCode, 64 * MIB, MIB),
        descriptor(BootServicesData, 65 * MIB, MIB),
        descriptor(Conventional, 66 * MIB, 30 * MIB),
        descriptor(BootServicesData, 96 * MIB, 16 * 1024),
        descriptor(LoaderData, 96 * MIB + 16 * 1024, 160 * MIB - 16 * 1024),
    ])
}

fn with_map(map: Vec<EfiEntry>) -> Spec {
    pc(256).tables(|t| t.efi.map = map)
}

fn managed(facts: &Facts) -> u64 {
    facts.after.managed.iter().map(|(.., pages)| pages).sum()
}

/// The sizes of the copies of EFI's map.
fn map_copies(facts: &Facts) -> Vec<u64> {
    let size = |e: &Event| match e {
        Event::PhysAllocRange { size, caller: "efi_memmap_alloc", .. } => Some(*size),
        _ => None,
    };
    facts.events.iter().filter_map(size).collect()
}

fn kinds_at(facts: &Facts, at: u64) -> Vec<E820Kind> {
    let here = |e: &&E820Entry| (e.start.get()..e.end().get()).contains(&at);
    facts.e820.iter().filter(here).map(|e| e.kind).collect()
}

#[test]
fn the_map_and_the_tables_stay_where_the_firmware_put_them() {
    let (map_at, attributes) = (range(200 * MIB + 0x40, 0x1b00), range(201 * MIB + 0x18, 0x430));
    let logs = [range(202 * MIB + 0x18, 0x12d7), range(203 * MIB, 0x1cd)];
    let kept = [range(204 * MIB, 16), range(205 * MIB, PAGE)];
    let spec = machine().tables(|t| {
        t.efi.map_at = Some(map_at);
        t.efi.memory_attributes = Some(attributes);
        t.efi.tpm_logs = logs.to_vec();
        t.efi.mem_reserve = kept.to_vec();
    });
    let facts = spec.boot();
    for range in [map_at, attributes].into_iter().chain(logs).chain(kept) {
        assert!(facts.is_reserved(range), "{range:?}");
    }
    // To the byte: nothing around them is.
    assert!(facts.is_free(range(200 * MIB, 0x40)) && facts.is_free(range(200 * MIB + 0x1b40, 0x100)));
}

#[test]
fn i386_does_not_read_the_memory_attributes() {
    let table = range(100 * MIB, 0x430);
    let tables = |spec: Spec| spec.tables(|t| t.efi.memory_attributes = Some(table));
    assert!(tables(pc(256)).boot().is_reserved(table));
    assert!(!tables(pc_of(Flavour::I686, 256)).boot().is_reserved(table));
}

#[test]
fn setup_data_is_memory_of_its_own_and_reserved() {
    let data = range(80 * MIB + 0x18, 0x9c40);
    let facts = pc(256).tables(|t| t.setup_data = vec![data]).boot();
    // Once for the kernel's map, once for the one that kexec hands on.
    let lines = facts.lines("e820: update [mem 0x05000018-0x05009c57] usable ==> usable");
    assert_eq!(lines.len(), 2);
    facts.expect("reserve setup_data: [mem 0x0000000005000018-0x0000000005009c57] usable");
    assert_eq!(kinds_at(&facts, data.start.get()), [E820Kind::ReservedKern]);
    assert!(facts.is_reserved(data));
    assert_eq!(facts.ram(), pc(256).boot().ram(), "it is memory all the same");
}

#[test]
fn mem_cuts_before_setup_data_is_marked() {
    let data = range(80 * MIB, PAGE);
    let facts = pc(256).tables(|t| t.setup_data = vec![data]).cmdline("mem=64M").boot();
    assert_eq!(kinds_at(&facts, data.start.get()), []);
    assert_eq!(facts.ram_mib().last(), Some(&(1, 64)));
}

#[test]
fn the_map_enters_the_e820_map_if_asked_to() {
    let more = descriptor(Conventional, 256 * MIB, 64 * MIB);
    assert_eq!(with_map(vec![more]).boot().ram_mib().last(), Some(&(1, 256)));
    let facts = with_map(vec![more]).cmdline("add_efi_memmap").boot();
    assert_eq!(facts.ram_mib().last(), Some(&(1, 320)));
}

#[test]
fn memory_for_a_specific_purpose_enters_it_unasked() {
    let special = EfiEntry {
        attributes: attribute::WB | attribute::SP,
        ..descriptor(Conventional, 128 * MIB, 64 * MIB)
    };
    let facts = with_map(vec![special]).boot();
    assert_eq!(kinds_at(&facts, 128 * MIB), [E820Kind::SoftReserved]);
    assert_eq!(facts.ram_mib(), [(0, 0), (1, 128), (192, 256)]);
    let ordinary = with_map(vec![special]).cmdline("efi=nosoftreserve").boot();
    assert_eq!(kinds_at(&ordinary, 128 * MIB), [E820Kind::Ram]);
}

#[test]
fn boot_services_are_kept_until_runtime_services_are_set_up() {
    let facts = machine().boot();
    let (first, second) = (range(64 * MIB, 2 * MIB), range(96 * MIB, 16 * 1024));
    assert!(facts.is_reserved(first) && facts.is_reserved(second));
    facts.expect("efi: Freeing EFI boot services memory: 2064K");
    // With `efi=debug` they stay for those who want to look.
    let debug = machine().cmdline("efi=debug").boot();
    assert!(!debug.said("Freeing EFI boot services"));
    assert_eq!(managed(&facts) - managed(&debug), 2064 / 4);
}

#[test]
fn a_descriptor_with_something_reserved_in_it_stays() {
    let table = range(64 * MIB + 0x18, 0x430);
    let facts = machine().tables(|t| t.efi.memory_attributes = Some(table)).boot();
    facts.expect("efi: Freeing EFI boot services memory: 1040K");
    // The kernel reserves only what it does not find reserved: here the table, not what it lies in.
    assert!(facts.is_reserved(table) && facts.is_free(range(64 * MIB + PAGE, PAGE)));
}

#[test]
fn nothing_below_1_mib_is_given_back() {
    let facts = with_map(vec![descriptor(BootServicesData, 0x2_0000, 0x1_0000)]).boot();
    assert!(!facts.said("Freeing EFI boot services"));
    assert!(facts.is_reserved(range(0x2_0000, 0x1_0000)));
}

#[test]
fn the_boot_logo_is_cut_out_of_what_is_given_back() {
    let logo = range(65 * MIB + 0x1018, 0x839e);
    let facts = machine().tables(|t| t.efi.boot_logo = Some(logo)).boot();
    facts.expect("e820: update [mem 0x04101000-0x04109fff] usable ==> reserved");
    assert_eq!(kinds_at(&facts, logo.start.get()), [E820Kind::Reserved]);
    assert!(facts.is_reserved(logo));
    facts.expect("efi: Freeing EFI boot services memory: 2028K");
    // Six descriptors; the second of boot services falls into three parts.
    assert_eq!(map_copies(&facts), [8 * 48]);
}

#[test]
fn a_logo_elsewhere_is_ignored() {
    let logo = range(100 * MIB, PAGE);
    let facts = machine().tables(|t| t.efi.boot_logo = Some(logo)).boot();
    facts.expect("Ignoring BGRT: invalid image address");
    assert!(facts.is_free(logo));
    let off = machine().tables(|t| t.efi.boot_logo = Some(range(65 * MIB, PAGE))).cmdline("acpi=off").boot();
    assert_eq!(map_copies(&off), []);
}

#[test]
fn each_kept_table_makes_the_map_longer_and_moves_it() {
    let at = |pages: u64| range(65 * MIB + pages * PAGE, PAGE);
    let spec = machine().tables(|t| {
        t.efi.map_at = Some(range(200 * MIB, 6 * 48));
        (t.efi.esrt, t.efi.mok_variables, t.efi.boot_logo) = (Some(at(1)), Some(at(2)), Some(at(0)));
    });
    let facts = spec.boot();
    facts.expect("esrt: Reserving ESRT space from 0x0000000004101000 to 0x0000000004102000.");
    // One in the middle makes three of a descriptor; the next cuts a piece off the rest; the last fills what is left.
    assert_eq!(map_copies(&facts), [8 * 48, 9 * 48, 9 * 48]);
    // Copies that are replaced are given back.
    let freed = facts.events.iter().filter(|e| matches!(e, Event::Free { caller: "efi_memmap_install", .. }));
    assert_eq!(freed.count(), 2);
    facts.expect("efi: Freeing EFI boot services memory: 2052K");
}

#[test]
fn a_table_that_runs_past_its_descriptor_is_kept_but_not_cut_out() {
    let esrt = range(96 * MIB, 5 * PAGE);
    let facts = machine().tables(|t| t.efi.esrt = Some(esrt)).boot();
    facts.expect("efi: Region spans EFI memory descriptors, 0x0000000006000000");
    assert!(facts.is_reserved(esrt));
    assert_eq!(map_copies(&facts), []);
}

#[test]
fn a_table_in_runtime_data_needs_no_reservation() {
    let mut map = vec![descriptor(RuntimeServicesData, 128 * MIB, MIB)];
    map[0].attributes |= attribute::RUNTIME;
    let esrt = range(128 * MIB, PAGE);
    let tables = |map| with_map(map).tables(|t| t.efi.esrt = Some(esrt)).boot();
    let facts = tables(map);
    facts.expect("esrt: Reserving ESRT space");
    assert!(facts.is_free(esrt) && map_copies(&facts).is_empty());
    // In memory that is anyone's the table cannot be trusted.
    let facts = tables(vec![descriptor(Conventional, 128 * MIB, MIB)]);
    facts.expect("esrt: ESRT header is not in the memory map.");
    assert!(facts.is_free(esrt));
}

#[test]
fn mirrored_memory_is_told() {
    let mirrored = EfiEntry {
        attributes: attribute::WB | attribute::MORE_RELIABLE,
        ..descriptor(Conventional, 64 * MIB, 32 * MIB)
    };
    with_map(vec![mirrored, descriptor(Conventional, 96 * MIB, 160 * MIB)])
        .boot()
        .expect("efi: Memory: 32M/192M mirrored memory");
}
