//! Tests of this module. Tables are built here, byte by byte as the specification lays them out.

mod fuzzed;

use super::*;
use pagewright_addr::{NodeId, PhysAddr, PhysRange};
use std::string::ToString;
use std::vec::Vec;

/// A table with a valid header around `body`.
fn table(signature: &[u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from(*signature);
    bytes.extend((36 + body.len() as u32).to_le_bytes());
    bytes.push(revision);
    bytes.push(0);
    bytes.extend(*b"PAGEWRTESTTABL");
    bytes.extend([0; 12]);
    bytes.extend(body);
    let sum = bytes.iter().fold(0u8, |sum, b| sum.wrapping_add(*b));
    bytes[9] = 0u8.wrapping_sub(sum);
    bytes
}

fn srat(revision: u8, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::from([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    entries.iter().for_each(|e| body.extend(e));
    table(b"SRAT", revision, &body)
}

fn memory_entry(domain: u32, base: u64, len: u64, flags: u32) -> Vec<u8> {
    let mut e = Vec::from([1, 40]);
    e.extend(domain.to_le_bytes());
    e.extend([0, 0]);
    e.extend(base.to_le_bytes());
    e.extend(len.to_le_bytes());
    e.extend([0; 4]);
    e.extend(flags.to_le_bytes());
    e.extend([0; 8]);
    e
}

fn cpu_entry(domain: u32, apic_id: u8, flags: u32) -> Vec<u8> {
    let [d0, d1, d2, d3] = domain.to_le_bytes();
    let mut e = Vec::from([0, 16, d0, apic_id]);
    e.extend(flags.to_le_bytes());
    e.extend([0, d1, d2, d3, 0, 0, 0, 0]);
    e
}

fn x2apic_entry(domain: u32, apic_id: u32, flags: u32) -> Vec<u8> {
    let mut e = Vec::from([2, 24, 0, 0]);
    for word in [domain, apic_id, flags, 0, 0] {
        e.extend(word.to_le_bytes());
    }
    e
}

fn gicc_entry(domain: u32, uid: u32, flags: u32) -> Vec<u8> {
    let mut e = Vec::from([3, 18]);
    for word in [domain, uid, flags, 0] {
        e.extend(word.to_le_bytes());
    }
    e
}

fn read_srat(bytes: &[u8]) -> Result<Vec<SratEntry>, AcpiError> {
    let mut entries = Vec::new();
    parse_srat(bytes, &mut |e| entries.push(e))?;
    Ok(entries)
}

fn range(start: u64, len: u64) -> PhysRange {
    PhysRange::from_len(PhysAddr::new(start), len)
}

#[test]
fn an_srat_yields_its_entries_in_table_order() {
    let bytes = srat(
        3,
        &[
            cpu_entry(1, 4, 1),
            memory_entry(1, 0x1_0000_0000, 0x4000_0000, 1),
            memory_entry(0, 0, 0xa0000, 3),
            x2apic_entry(7, 0x1234, 1),
            Vec::from([5, 4, 0, 0]),
        ],
    );
    let entries = read_srat(&bytes).unwrap();
    let cpu = SratCpu { pxm: 1, apic_id: 4, enabled: true, kind: SratCpuKind::LocalApic };
    let plain = SratMemory {
        pxm: 1,
        range: range(0x1_0000_0000, 0x4000_0000),
        hotpluggable: false,
        non_volatile: false,
        enabled: true,
    };
    assert_eq!(entries[0], SratEntry::Cpu(cpu));
    assert_eq!(entries[1], SratEntry::Memory(plain));
    let hot = SratMemory { pxm: 0, range: range(0, 0xa0000), hotpluggable: true, ..plain };
    assert_eq!(entries[2], SratEntry::Memory(hot));
    let x2 = SratCpu { pxm: 7, apic_id: 0x1234, enabled: true, kind: SratCpuKind::X2Apic };
    assert_eq!(entries[3], SratEntry::Cpu(x2));
    assert_eq!(entries[4], SratEntry::Other(5));
}

#[test]
fn disabled_and_non_volatile_entries_say_so() {
    let bytes = srat(3, &[memory_entry(2, 0, 0, 0), memory_entry(2, 0x1000, 0x1000, 5), cpu_entry(0, 0, 0)]);
    let entries = read_srat(&bytes).unwrap();
    assert!(matches!(entries[0], SratEntry::Memory(SratMemory { enabled: false, .. })));
    assert!(matches!(entries[1], SratEntry::Memory(SratMemory { non_volatile: true, enabled: true, .. })));
    assert!(matches!(entries[2], SratEntry::Cpu(SratCpu { enabled: false, .. })));
}

#[test]
fn old_tables_have_eight_bits_of_proximity_domain() {
    let entries = [memory_entry(0x1234_5601, 0, 0x1000, 1), cpu_entry(0x1234_5602, 0, 1)];
    let domains = |revision| -> Vec<u32> {
        read_srat(&srat(revision, &entries))
            .unwrap()
            .iter()
            .map(|e| match e {
                SratEntry::Memory(m) => m.pxm,
                SratEntry::Cpu(c) => c.pxm,
                SratEntry::Other(_) => unreachable!(),
            })
            .collect()
    };
    assert_eq!(domains(1), [1, 2]);
    assert_eq!(domains(2), [0x1234_5601, 0x1234_5602]);
}

#[test]
fn arm64_processors_are_named_by_their_uid() {
    let entries = read_srat(&srat(3, &[gicc_entry(1, 9, 1)])).unwrap();
    let cpu = SratCpu { pxm: 1, apic_id: 9, enabled: true, kind: SratCpuKind::Gicc };
    assert_eq!(entries, [SratEntry::Cpu(cpu)]);
}

#[test]
fn memory_past_the_address_space_is_cut() {
    let entries = read_srat(&srat(3, &[memory_entry(0, u64::MAX - 0xfff, u64::MAX, 1)])).unwrap();
    let SratEntry::Memory(m) = entries[0] else { panic!("{entries:?}") };
    assert_eq!(m.range.end, PhysAddr::MAX);
}

#[test]
fn a_wrong_checksum_is_reported_and_the_table_read_all_the_same() {
    let mut bytes = srat(3, &[memory_entry(0, 0, 0x1000, 1)]);
    assert!(Table::parse(&bytes).unwrap().checksum_ok());
    bytes[9] ^= 1;
    assert!(!Table::parse(&bytes).unwrap().checksum_ok());
    assert_eq!(read_srat(&bytes).unwrap().len(), 1);
}

#[test]
fn tables_that_do_not_add_up_are_errors_that_say_where() {
    let good = srat(3, &[memory_entry(0, 0, 0x1000, 1)]);
    assert_eq!(read_srat(&good[..20]), Err(AcpiError::NoHeader { len: 20 }));
    assert_eq!(
        read_srat(&good[..60]),
        Err(AcpiError::Length { signature: *b"SRAT", claimed: 88, available: 60, minimum: 36 })
    );
    assert_eq!(
        read_srat(&table(b"SLIT", 1, &[0; 60])),
        Err(AcpiError::Signature { found: *b"SLIT", expected: *b"SRAT" })
    );
    assert_eq!(
        read_srat(&table(b"SRAT", 1, &[0; 4])),
        Err(AcpiError::Length { signature: *b"SRAT", claimed: 40, available: 40, minimum: 48 })
    );
    // An entry shorter than its type needs, one that runs out of the table, one without length.
    let entry = |length| Err(AcpiError::Entry { signature: *b"SRAT", offset: 48, kind: 1, length });
    let broken = |length, bytes: usize| {
        let mut e = Vec::from([1, length]);
        e.resize(bytes, 0);
        read_srat(&srat(3, &[e]))
    };
    assert_eq!(broken(20, 20), entry(20));
    assert_eq!(broken(60, 40), entry(60));
    assert_eq!(broken(0, 40), entry(0));
    assert_eq!(broken(1, 40), entry(1));
}

#[test]
fn errors_read_as_sentences() {
    let error = read_srat(&table(b"SLIT", 1, &[0; 60])).unwrap_err();
    assert_eq!(error.to_string(), "table SLIT where SRAT was expected");
    let error = AcpiError::Signature { found: [0, b'A', 0xff, b' '], expected: *b"APIC" };
    assert_eq!(error.to_string(), "table .A.. where APIC was expected");
}

fn slit(count: u64, matrix: &[u8]) -> Vec<u8> {
    let mut body = Vec::from(count.to_le_bytes());
    body.extend(matrix);
    table(b"SLIT", 1, &body)
}

#[test]
fn distances_go_from_row_to_column() {
    let bytes = slit(3, &[10, 21, 31, 20, 10, 22, 30, 23, 10]);
    let slit = Slit::parse(&bytes).unwrap();
    assert_eq!(slit.localities(), 3);
    assert_eq!(slit.distance(0, 2), Some(31));
    assert_eq!(slit.distance(2, 0), Some(30));
    assert_eq!((slit.distance(0, 3), slit.distance(3, 0)), (None, None));
}

#[test]
fn a_distance_table_is_used_only_if_ten_is_on_the_diagonal_and_more_elsewhere() {
    let valid = |matrix: &[u8]| Slit::from_matrix(2, matrix).unwrap().is_valid();
    assert!(valid(&[10, 20, 20, 10]));
    assert!(valid(&[10, 20, 21, 10]), "farther in one direction");
    assert!(!valid(&[10, 20, 20, 11]), "far from itself");
    assert!(!valid(&[10, 10, 10, 10]), "as near as itself");
    assert!(!valid(&[10, 9, 9, 10]), "nearer than itself");
}

#[test]
fn a_distance_matrix_must_fit_its_table() {
    let error = Slit::parse(&slit(3, &[10; 8])).unwrap_err();
    assert_eq!(error, AcpiError::Localities { count: 3, available: 8 });
    for count in [1 << 32, 1 << 62, u64::MAX] {
        assert_eq!(Slit::parse(&slit(count, &[10; 4])), Err(AcpiError::Localities { count, available: 4 }));
    }
    // Later bytes are padding.
    assert_eq!(Slit::parse(&slit(1, &[10, 0, 0])).unwrap().localities(), 1);
}

fn madt(revision: u8, entries: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::from([0, 0, 0xe0, 0xfe, 1, 0, 0, 0]);
    entries.iter().for_each(|e| body.extend(*e));
    table(b"APIC", revision, &body)
}

fn count(bytes: &[u8]) -> Madt {
    parse_madt(bytes, &mut |_| {}).unwrap()
}

#[test]
fn a_madt_counts_processors_that_are_there_and_that_may_come() {
    let present = [0, 8, 0, 0, 1, 0, 0, 0];
    let absent = [0, 8, 1, 1, 0, 0, 0, 0];
    let capable = [0, 8, 2, 2, 2, 0, 0, 0];
    let nobody = [0, 8, 3, 0xff, 0, 0, 0, 0];
    let entries: [&[u8]; 4] = [&present, &absent, &capable, &nobody];
    // Only new tables have a flag for processors that may come.
    assert_eq!(count(&madt(3, &entries)), Madt { enabled: 1, hotplug: 2 });
    assert_eq!(count(&madt(5, &entries)), Madt { enabled: 1, hotplug: 1 });
    assert_eq!(count(&madt(3, &entries)).possible(), 3);
}

#[test]
fn a_madt_yields_interrupt_controllers_and_wide_ids() {
    let ioapic = [1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 24, 0, 0, 0];
    let x2apic = [9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0];
    let mut gicc = Vec::from([11, 80]);
    gicc.resize(80, 0);
    (gicc[8], gicc[12], gicc[68]) = (5, 1, 3);
    let mut entries = Vec::new();
    let bytes = madt(5, &[&ioapic, &x2apic, &gicc, &[2, 10, 0, 0, 0, 0, 0, 0, 0, 0]]);
    let counts = parse_madt(&bytes, &mut |e| entries.push(e)).unwrap();
    let cpu = MadtCpu { uid: 7, apic_id: 0x100, enabled: true, online_capable: false };
    let gicc = MadtCpu { uid: 5, apic_id: 3, ..cpu };
    assert_eq!(entries[0], MadtEntry::IoApic { id: 2, address: 0xfec0_0000, gsi_base: 24 });
    assert_eq!(entries[1], MadtEntry::X2Apic(cpu));
    assert_eq!(entries[2], MadtEntry::Gicc { cpu: gicc, mpidr: 3 });
    assert_eq!(entries[3], MadtEntry::Other(2));
    assert_eq!(counts.enabled, 2);
}

#[test]
fn domains_become_nodes_in_order_of_first_mention() {
    let mut map = PxmMap::new();
    assert_eq!(map.map(40, 4), Some(NodeId::ZERO));
    assert_eq!(map.map(7, 4), NodeId::new(1));
    assert_eq!(map.map(40, 4), Some(NodeId::ZERO));
    assert_eq!(map.node(7), NodeId::new(1));
    assert_eq!(map.pxm(NodeId::ZERO), Some(40));
    assert_eq!(map.node(8), None);
}

#[test]
fn more_domains_than_nodes_are_refused_and_known_ones_stay() {
    let mut map = PxmMap::new();
    for pxm in 0..1024 {
        assert!(map.map(pxm * 3, 1024).is_some());
    }
    assert_eq!(map.map(1, 1024), None);
    assert_eq!(map.map(1, usize::MAX), None);
    assert_eq!(map.map(3, 1024), NodeId::new(1));
    assert_eq!(PxmMap::new().map(0, 0), None);
}

#[test]
fn logged_affinities_are_read() {
    let line =
        parse_srat_line("[    0.048388] ACPI: SRAT: Node 1 PXM 8 [mem 0x100000000-0x17fffffff] hotplug");
    let memory = SratMemory {
        pxm: 8,
        range: range(0x1_0000_0000, 0x8000_0000),
        hotpluggable: true,
        non_volatile: false,
        enabled: true,
    };
    assert_eq!(line, Some(Ok(SratLine::Memory { memory, node: 1 })));
    let line = parse_srat_line("SRAT: Node 0 PXM 0 [mem 0x00000000-0x0009ffff] hotplug non-volatile");
    let Some(Ok(SratLine::Memory { memory, .. })) = line else { panic!("{line:?}") };
    assert!(memory.hotpluggable && memory.non_volatile);
    let cpu = |kind, apic_id| SratCpu { pxm: 2, apic_id, enabled: true, kind };
    assert_eq!(
        parse_srat_line("[    0.048251] SRAT: PXM 2 -> APIC 0x0c -> Node 1"),
        Some(Ok(SratLine::Cpu { cpu: cpu(SratCpuKind::LocalApic, 12), node: 1 }))
    );
    assert_eq!(
        parse_srat_line("ACPI: SRAT: PXM 2 -> APIC 0x0123 -> Node 1"),
        Some(Ok(SratLine::Cpu { cpu: cpu(SratCpuKind::X2Apic, 0x123), node: 1 }))
    );
}

#[test]
fn truncated_affinity_lines_say_what_was_expected() {
    assert_eq!(parse_srat_line("ACPI: SRAT: Node 0 PXM 0 [mem 0x0-"), Some(Err(SratLineError::Memory)));
    assert_eq!(
        parse_srat_line("ACPI: SRAT: Node 0 PXM 0 [mem 0x0-0xfff] warm"),
        Some(Err(SratLineError::Memory))
    );
    assert_eq!(parse_srat_line("SRAT: PXM 0 -> APIC"), Some(Err(SratLineError::Cpu)));
    assert_eq!(parse_srat_line("ACPI: SRAT 0x000000007FFE23AE 000160 (v01 X)"), None);
    assert_eq!(parse_srat_line("ACPI: SRAT: something else"), None);
}
