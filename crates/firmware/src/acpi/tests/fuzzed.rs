//! Tables with arbitrary contents: errors, never panics.

use super::*;
use proptest::prelude::*;

fn every_parser(bytes: &[u8]) {
    let _ = Table::parse(bytes).map(|t| t.checksum_ok());
    let _ = parse_srat(bytes, &mut |_| {});
    let _ = parse_madt(bytes, &mut |_| {});
    if let Ok(slit) = Slit::parse(bytes) {
        let n = slit.localities();
        assert_eq!(slit.distance(n, 0), None);
        assert!(n == 0 || slit.distance(n - 1, n - 1).is_some());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_without_panic(
        signature in prop::sample::select(Vec::from([*b"SRAT", *b"SLIT", *b"APIC", *b"XXXX"])),
        revision in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 0..200),
        cut in 0usize..240,
    ) {
        let bytes = table(&signature, revision, &body);
        every_parser(&bytes);
        every_parser(&bytes[..cut.min(bytes.len())]);
    }

    #[test]
    fn entries_survive_writing_and_reading(
        memory in prop::collection::vec((any::<u32>(), 0..1u64 << 52, 0..1u64 << 40, 0u32..8), 0..12),
    ) {
        let entries: Vec<_> = memory.iter().map(|(d, b, l, f)| memory_entry(*d, *b, *l, *f)).collect();
        let read = read_srat(&srat(3, &entries)).unwrap();
        prop_assert_eq!(read.len(), memory.len());
        for (entry, (domain, base, len, flags)) in read.iter().zip(&memory) {
            let expected = SratMemory {
                pxm: *domain,
                range: range(*base, *len),
                enabled: flags & 1 != 0,
                hotpluggable: flags & 2 != 0,
                non_volatile: flags & 4 != 0,
            };
            prop_assert_eq!(entry, &SratEntry::Memory(expected));
        }
    }

    #[test]
    fn arbitrary_lines_are_read_without_panic(line in "(ACPI: )?SRAT: (Node |PXM )[-0-9a-fx> PXMAICNode\\[\\]mé]{0,40}") {
        let _ = parse_srat_line(&line);
    }
}
