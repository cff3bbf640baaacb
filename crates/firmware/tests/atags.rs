//! ATAGs: reading, writing, and every way of being wrong.

use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::atags::{AtagCore, AtagError, AtagInitrd, Atags, MAX_BANKS};
use proptest::prelude::*;

const CORE: u32 = 0x5441_0001;
const MEM: u32 = 0x5441_0002;

fn list(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn range(start: u64, len: u64) -> PhysRange {
    PhysRange::from_len(PhysAddr::new(start), len)
}

#[test]
fn a_list_of_a_real_board_is_read() {
    // As a boot loader writes it: core, two banks, initrd, command line, revision, serial number, video text, end.
    let mut bytes = list(&[5, CORE, 1, 4096, 0x1f_0000]);
    bytes.extend(list(&[4, MEM, 0x1000_0000, 0x8000_0000, 4, MEM, 0x0800_0000, 0xa000_0000]));
    bytes.extend(list(&[4, 0x5442_0005, 0x8080_0000, 0x12_3456]));
    bytes.extend(list(&[5, 0x5441_0009]));
    bytes.extend(b"mem=64M x\0\0\0");
    bytes.extend(list(&[3, 0x5441_0007, 0x20, 4, 0x5441_0006, 0x9abc_def0, 0x1234_5678]));
    bytes.extend(list(&[2, 0x5441_0003, 0, 0, 77]));
    let atags = Atags::parse(&bytes).unwrap();
    assert_eq!(atags.core, Some(AtagCore { flags: 1, page_size: 4096, root_dev: 0x1f_0000 }));
    assert_eq!(atags.memory[..], [range(0x8000_0000, 0x1000_0000), range(0xa000_0000, 0x0800_0000)]);
    assert_eq!(atags.initrd, Some(AtagInitrd::Physical(range(0x8080_0000, 0x12_3456))));
    assert_eq!(atags.cmdline, Some("mem=64M x"));
    assert_eq!((atags.revision, atags.serial), (Some(0x20), Some(0x1234_5678_9abc_def0)));
    assert_eq!(atags.others, 1);
}

#[test]
fn the_empty_core_is_a_core() {
    let bytes = list(&[2, CORE, 0, 0]);
    assert_eq!(Atags::parse(&bytes).unwrap(), Atags::default());
}

#[test]
fn a_bank_may_end_at_the_top_of_32_bits_and_beyond() {
    let bytes = list(&[2, CORE, 4, MEM, 0x8000_0000, 0x8000_0000, 4, MEM, 0xffff_ffff, 0xffff_ffff, 0, 0]);
    let ends: Vec<_> = Atags::parse(&bytes).unwrap().memory.iter().map(|r| r.end.get()).collect();
    assert_eq!(ends, [0x1_0000_0000, 0x1_ffff_fffe]);
}

#[test]
fn the_old_initrd_is_virtual() {
    let bytes = list(&[2, CORE, 4, 0x5441_0005, 0xc080_0000, 0x1000, 0, 0]);
    let expected = AtagInitrd::Virtual { start: 0xc080_0000, size: 0x1000 };
    assert_eq!(Atags::parse(&bytes).unwrap().initrd, Some(expected));
}

#[test]
fn a_list_begins_with_its_core() {
    for (words, size, tag) in [(&[4, MEM, 0, 0][..], 4, MEM), (&[3, CORE, 0][..], 3, CORE), (&[][..], 0, 0)] {
        let bytes = list(words);
        assert_eq!(Atags::parse(&bytes), Err(AtagError::NoCore { words: size, tag }));
    }
}

#[test]
fn a_list_without_end_or_with_a_tag_that_is_cut_is_refused() {
    let whole = list(&[2, CORE, 4, MEM, 0x1000, 0]);
    assert_eq!(Atags::parse(&whole), Err(AtagError::Cut { offset: 24 }));
    let cut = list(&[2, CORE, 4, MEM, 0x1000]);
    assert_eq!(Atags::parse(&cut), Err(AtagError::Cut { offset: 8 }));
    let absurd = list(&[2, CORE, u32::MAX, MEM, 0, 0]);
    assert_eq!(Atags::parse(&absurd), Err(AtagError::Cut { offset: 8 }));
}

#[test]
fn a_tag_too_short_for_its_values_is_refused() {
    let bytes = list(&[2, CORE, 3, MEM, 0x1000, 0, 0]);
    let error = AtagError::BadLength { offset: 8, tag: MEM, words: 3 };
    assert_eq!(Atags::parse(&bytes), Err(error));
    assert_eq!(error.to_string(), "ATAG 0x54410002 at offset 0x8 has 3 words, too few");
    let one = list(&[2, CORE, 1, MEM, 0, 0]);
    assert_eq!(Atags::parse(&one), Err(AtagError::BadLength { offset: 8, tag: MEM, words: 1 }));
}

#[test]
fn a_command_line_that_is_not_text_is_refused() {
    let mut bytes = list(&[2, CORE, 3, 0x5441_0009]);
    bytes.extend([0xff, 0, 0, 0]);
    bytes.extend(list(&[0, 0]));
    assert_eq!(Atags::parse(&bytes), Err(AtagError::NotText { offset: 8 }));
}

#[test]
fn one_bank_too_many_is_refused() {
    let bank = [4, MEM, 0x1000, 0];
    let with = |banks: usize| {
        let mut words = vec![2, CORE];
        (0..banks).for_each(|_| words.extend(bank));
        words.extend([0, 0]);
        list(&words)
    };
    assert!(Atags::parse(&with(MAX_BANKS)).is_ok());
    let offset = 8 + 16 * MAX_BANKS as u64;
    assert_eq!(Atags::parse(&with(MAX_BANKS + 1)), Err(AtagError::TooManyBanks { offset }));
}

#[test]
fn what_does_not_fit_is_not_written() {
    let mut atags = Atags::default();
    atags.memory.push(range(0x1_0000_0000, 0x1000));
    let error = AtagError::TooLarge { range: range(0x1_0000_0000, 0x1000) };
    assert_eq!(atags.write(&mut [0; 256]), Err(error));
    assert_eq!(Atags::default().write(&mut [0; 15]), Err(AtagError::NoRoom { len_bytes: 15 }));
    assert_eq!(Atags::default().write(&mut [0; 16]), Ok(16));
}

fn some_range() -> impl Strategy<Value = PhysRange> {
    (any::<u32>(), any::<u32>()).prop_map(|(start, len)| range(start.into(), len.into()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_written_list_is_read_back(
        banks in prop::collection::vec(some_range(), 0..=MAX_BANKS),
        initrd in prop::option::of(some_range()),
        text in prop::option::of("[ -~]{0,70}"),
        revision in any::<Option<u32>>(),
        serial in any::<Option<u64>>(),
        page_size in any::<Option<u32>>(),
    ) {
        let atags = Atags {
            core: page_size.map(|page_size| AtagCore { flags: 0, page_size, root_dev: 7 }),
            memory: banks.into_iter().collect(),
            initrd: initrd.map(AtagInitrd::Physical),
            cmdline: text.as_deref(),
            revision,
            serial,
            others: 0,
        };
        let mut buffer = [0xaa; 512];
        let len = atags.write(&mut buffer).unwrap();
        prop_assert_eq!(Atags::parse(&buffer[..len]), Ok(atags));
    }

    #[test]
    fn no_bytes_panic(words in prop::collection::vec(
        prop_oneof![0_u32..8, Just(CORE), 0x5441_0001_u32..0x5441_000a, Just(0x5442_0005), any::<u32>()], 0..40,
    ), cut in 0_usize..160) {
        let mut bytes = list(&[2, CORE]);
        bytes.extend(list(&words));
        bytes.truncate(cut);
        let _ = Atags::parse(&bytes);
    }
}
