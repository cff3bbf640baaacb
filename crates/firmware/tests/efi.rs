//! EFI memory maps: the kernel's lines, and what the boot path makes of a descriptor.

use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::e820::E820Kind;
use pagewright_firmware::efi::{Efi, EfiEntry, EfiKind, EfiLineError, attribute, parse_dmesg_line};
use proptest::prelude::*;

const CACHED: u64 = attribute::WB | attribute::WT | attribute::WC | attribute::UC;

fn entry(kind: EfiKind, attributes: u64, start: u64, end: u64) -> EfiEntry {
    EfiEntry { kind, attributes, range: PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)) }
}

fn read(line: &str) -> EfiEntry {
    parse_dmesg_line(line).expect("a line about a descriptor").unwrap()
}

#[test]
fn the_numbered_form_of_x86_is_read_with_and_without_timestamp() {
    let line = "efi: mem00: [Conventional|   |  |  |  |  |  |  |  |  |   |WB|WT|WC|UC] \
                range=[0x0000000000000000-0x000000000009ffff] (0MB)";
    let expected = entry(EfiKind::Conventional, CACHED, 0, 0xa_0000);
    assert_eq!(read(line), expected);
    assert_eq!(read(&format!("[    0.000000] {line}")), expected);
    assert_eq!(read(&format!("<6>[    0.000000] {line}\n")), expected);
}

#[test]
fn the_plain_form_of_arm64_is_read() {
    let line = "[    0.000000] efi:   0x000040000000-0x00004000ffff [Boot Data   |   |  |  |  |  |  |  |  |  |   |WB|WT|WC|UC]";
    assert_eq!(read(line), entry(EfiKind::BootServicesData, CACHED, 0x4000_0000, 0x4001_0000));
    let reserved = format!("{line}*");
    assert_eq!(read(&reserved), read(line));
}

#[test]
fn the_older_numeric_form_ends_outside_its_range() {
    let line =
        "EFI: mem05: type=7, attr=0x800000000000000f, range=[0x0000000000100000-0x0000000000200000) (1MB)";
    assert_eq!(read(line), entry(EfiKind::Conventional, CACHED | attribute::RUNTIME, 0x10_0000, 0x20_0000));
}

#[test]
fn attributes_are_read_by_their_words() {
    let line =
        "efi: mem01: [Persistent  |RUN|MR|CC|SP|NV|XP|RP|WP|RO|UCE|WB|WT|WC|UC] range=[0x0-0xfff] (0MB)";
    let expected = [
        attribute::RUNTIME,
        attribute::MORE_RELIABLE,
        attribute::CPU_CRYPTO,
        attribute::SP,
        attribute::NV,
        attribute::XP,
        attribute::RP,
        attribute::WP,
        attribute::RO,
        attribute::UCE,
        CACHED,
    ];
    assert_eq!(read(line).attributes, expected.iter().fold(0, |all, bit| all | bit));
    let unknown = "efi: mem01: [type=4660|attr=0x0000000400000008] range=[0x1000-0x1fff] (0MB)";
    assert_eq!(read(unknown), entry(EfiKind::Other(4660), 0x4_0000_0008, 0x1000, 0x2000));
}

#[test]
fn every_word_for_a_type_means_its_number() {
    let words = [
        "Reserved",
        "Loader Code",
        "Loader Data",
        "Boot Code",
        "Boot Data",
        "Runtime Code",
        "Runtime Data",
        "Conventional",
        "Unusable",
        "ACPI Reclaim",
        "ACPI Mem NVS",
        "MMIO",
        "MMIO Port",
        "PAL Code",
        "Persistent",
        "Unaccepted",
    ];
    for (number, word) in words.iter().enumerate() {
        let kind = read(&format!("efi: mem1: [{word:<12}|WB] range=[0x0-0xfff] (0MB)")).kind;
        assert_eq!(kind, EfiKind::from_number(number as u32), "{word}");
        assert_eq!(kind.number(), number as u32);
        assert!(!matches!(kind, EfiKind::Other(_)));
    }
    let older = read("efi: mem12: [Conventional Memory|   |  |WB] range=[0x0-0xfff] (0MB)").kind;
    assert_eq!(older, EfiKind::Conventional);
    assert_eq!(EfiKind::from_number(16), EfiKind::Other(16));
}

#[test]
fn other_lines_are_not_about_descriptors() {
    for line in [
        "",
        "[    0.000000] efi: UEFI not found.",
        "[    0.000000] efi: EFI v2.70 by EDK II",
        "efi: mem: x",
        "efi: memattr: Entry attributes invalid",
        "efi: memx1: [Reserved] range=[0x0-0x1]",
        "efi: 0x1234",
        "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable",
    ] {
        assert_eq!(parse_dmesg_line(line), None, "{line}");
    }
}

#[test]
fn faulty_lines_are_refused_with_what_stands_there() {
    let error = |line: &'static str| parse_dmesg_line(line).unwrap().unwrap_err();
    assert_eq!(error("efi: mem0: [Magic|WB] range=[0x0-0xfff] (0MB)"), EfiLineError::UnknownKind("Magic"));
    assert_eq!(error("efi: mem0: [MMIO|ZZ] range=[0x0-0xfff] (0MB)"), EfiLineError::UnknownAttribute("ZZ"));
    assert_eq!(error("efi: mem0: [MMIO|UC] range=[0x0-fff] (0MB)"), EfiLineError::BadRange("0x0-fff] (0MB)"));
    assert_eq!(error("efi: mem0: [MMIO|UC]"), EfiLineError::BadRange("[MMIO|UC]"));
    let inverted = EfiLineError::Inverted { start: 0x2000, end: 0xfff };
    assert_eq!(error("efi: mem0: [MMIO|UC] range=[0x2000-0xfff] (0MB)"), inverted);
    assert_eq!(inverted.to_string(), "EFI memory range ends at 0xfff, before its start 0x2000");
    assert_eq!(error("efi:   0x1000 [MMIO|UC]"), EfiLineError::BadRange("0x1000"));
}

#[test]
fn ranges_of_no_page_and_up_to_the_top_are_ranges() {
    let line = "efi: mem0: [MMIO|UC] range=[0x1000-0x0000000000000fff] (0MB)";
    assert!(read(line).range.is_empty());
    let top = read("efi: mem0: [MMIO|UC] range=[0x1000-0xffffffffffffffff] (0MB)");
    assert_eq!(top.range.end.get(), u64::MAX);
}

#[test]
fn on_arm64_memory_is_what_can_be_cached_or_combined() {
    for bit in [attribute::WB, attribute::WT, attribute::WC] {
        assert!(entry(EfiKind::Reserved, bit, 0, 0x1000).is_memory());
    }
    for bits in [attribute::UC, attribute::RUNTIME, attribute::UCE | attribute::XP, 0] {
        assert!(!entry(EfiKind::Conventional, bits, 0, 0x1000).is_memory());
    }
}

#[test]
fn on_arm64_free_types_are_usable_if_they_can_be_written_back() {
    use EfiKind::*;
    let usable =
        [LoaderCode, LoaderData, AcpiReclaim, BootServicesCode, BootServicesData, Conventional, Persistent];
    for number in 0..20 {
        let kind = EfiKind::from_number(number);
        assert_eq!(entry(kind, CACHED, 0, 0x1000).is_usable(true), usable.contains(&kind), "{kind:?}");
        assert!(!entry(kind, attribute::WT, 0, 0x1000).is_usable(true));
    }
    let special = entry(Conventional, CACHED | attribute::SP, 0, 0x1000);
    assert!(!special.is_usable(true) && special.is_usable(false));
    assert!(entry(AcpiReclaim, CACHED, 0, 0x1000).is_kept());
    assert!(!entry(Conventional, CACHED, 0, 0x1000).is_kept());
    assert!(!entry(AcpiReclaim, attribute::UC, 0, 0x1000).is_kept());
}

#[test]
fn on_x86_types_become_e820_types() {
    use EfiKind::*;
    let of = |kind, attributes| entry(kind, attributes, 0, 0x1000).e820(true);
    for kind in [LoaderCode, LoaderData, BootServicesCode, BootServicesData, Conventional] {
        assert_eq!(of(kind, CACHED), E820Kind::Ram);
        assert_eq!(of(kind, attribute::UC), E820Kind::Reserved);
        assert_eq!(of(kind, CACHED | attribute::SP), E820Kind::SoftReserved);
        assert_eq!(entry(kind, CACHED | attribute::SP, 0, 0x1000).e820(false), E820Kind::Ram);
    }
    assert_eq!(of(AcpiReclaim, CACHED), E820Kind::Acpi);
    assert_eq!(of(AcpiNvs, CACHED), E820Kind::Nvs);
    assert_eq!(of(Unusable, CACHED), E820Kind::Unusable);
    assert_eq!(of(Persistent, CACHED), E820Kind::Pmem);
    for kind in [Reserved, RuntimeServicesCode, RuntimeServicesData, Mmio, MmioPort, PalCode, Other(99)] {
        assert_eq!(of(kind, CACHED), E820Kind::Reserved);
    }
}

#[test]
fn more_reliable_memory_is_mirrored() {
    assert!(entry(EfiKind::Conventional, CACHED | attribute::MORE_RELIABLE, 0, 0x1000).is_mirrored());
    assert!(!entry(EfiKind::Conventional, CACHED, 0, 0x1000).is_mirrored());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_line_panics(line in prop_oneof![
        "efi: ?mem[0-9]{0,3}: ?[\\[a-zA-Z0-9=x|, \\-\\]\\)\\(]{0,60}",
        "(efi|EFI):[ 0-9a-fx\\-\\[\\]|A-Z]{0,60}",
        "efi: mem0: \\[MMIO\\|UC\\] range=\\[[0-9a-fx\\-]{0,40}[\\]\\)é]?",
        "\\PC{0,80}",
    ]) {
        if let Some(Err(error)) = parse_dmesg_line(&line) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn a_map_knows_its_descriptors_by_address_and_by_number() {
    let map = [
        entry(EfiKind::Conventional, CACHED, 0x1000, 0x3000),
        entry(EfiKind::BootServicesData, CACHED, 0x3000, 0x4000),
    ];
    let efi = Efi { map: &map, ..Efi::default() };
    assert_eq!(efi.descriptor(PhysAddr::new(0x3000)).map(|e| e.kind), Some(EfiKind::BootServicesData));
    assert_eq!(efi.descriptor(PhysAddr::new(0x4000)), None);
    assert_eq!(efi.descriptors(), 2);
    // Where the map lies tells of descriptors that a log lacks.
    let map_at = Some(PhysRange::from_len(PhysAddr::new(0x8000), 5 * 48));
    assert_eq!(Efi { map_at, ..efi }.descriptors(), 5);
    assert!(!efi.is_empty() && Efi::default().is_empty());
}

#[test]
fn memory_that_can_be_unplugged_is_marked() {
    let line =
        "efi: mem00: [Conventional|   |  |HP|  |  |  |  |  |  |  |   |WB|WT|WC|UC] range=[0x0-0xfff] (0MB)";
    assert_eq!(read(line).attributes, CACHED | attribute::HOT_PLUGGABLE);
}
