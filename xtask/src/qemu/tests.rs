//! Facts about how images are laid out, asked for and judged.

use super::*;

/// An ELF file of two segments, 64-bit or 32-bit.
fn elf(wide: bool) -> Vec<u8> {
    let (word, header, entry) = if wide { (8, 64, 56) } else { (4, 52, 32) };
    let mut file = vec![0_u8; header + 2 * entry];
    // In memory the second is four bytes longer.
    file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, 1, 1]);
    let mut put =
        |at: usize, len: usize, value: u64| file[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    let (table, size, count) = if wide { (32, 54, 56) } else { (28, 42, 44) };
    put(table, word, header as u64);
    put(size, 2, entry as u64);
    put(count, 2, 2);
    for (n, (address, len)) in [(0x1000_u64, 3_u64), (0x1008, 2)].into_iter().enumerate() {
        let at = header + n * entry;
        let fields = at + if wide { 8 } else { 4 };
        put(at, 4, 1);
        put(fields, word, (header + 2 * entry + 3 * n) as u64);
        put(fields + 2 * word, word, address);
        put(fields + 3 * word, word, len);
        put(fields + 4 * word, word, len + 4 * n as u64);
    }
    file.extend([1, 2, 3, 4, 5]);
    file
}

#[test]
fn segments_are_laid_out_by_address_with_zeroes_between_and_behind() {
    for wide in [false, true] {
        assert_eq!(elf::flatten(&elf(wide)).unwrap(), [1, 2, 3, 0, 0, 0, 0, 0, 4, 5, 0, 0, 0, 0]);
        assert_eq!(elf::first_end(&elf(wide)), Some(0x1003));
    }
}

#[test]
fn memory_that_does_not_hold_the_code_is_refused_with_what_is_missing() {
    let x86 = target("x86_64").unwrap();
    assert_eq!(code_fits(x86, 4 << 20, 4 << 20), Ok(()));
    let why = code_fits(x86, 2 << 20, (2 << 20) + 1000).unwrap_err();
    assert_eq!(why, "too little memory: the code of the x86_64 image is 1000 bytes short");
}

#[test]
fn a_file_that_is_cut_is_refused() {
    let whole = elf(true);
    assert!((0..whole.len()).all(|len| elf::flatten(&whole[..len]).is_err()));
    assert!(elf::flatten(b"#!/bin/sh\n").is_err());
}

#[test]
fn nodes_share_memory_and_processors() {
    let guest = Guest { numa: 2, ..Guest::new(512, 4) };
    let args = guest.args(Path::new("image")).unwrap().join(" ");
    assert!(args.contains("id=m1,size=256M") && args.contains("nodeid=1,memdev=m1,cpus=2-3"), "{args}");
    assert!(Guest { numa: 3, ..Guest::new(512, 4) }.args(Path::new("image")).is_err());
}

#[test]
fn only_the_closing_line_and_the_exit_code_together_pass() {
    let ended = |text: &str, code, timed_out| Ended { text: text.into(), code, timed_out }.passed();
    assert_eq!(ended("log\r\npagewright: end: passed (0)\r\n", Some(0), false), Ok(()));
    assert!(ended("pagewright: end: passed (0)\n", Some(1), false).is_err());
    assert!(ended("log\n", Some(0), false).unwrap_err().contains("no closing line"));
    assert!(ended("pagewright: end: passed (0)\n", None, true).unwrap_err().contains("time limit"));
    assert!(
        ended("pagewright: end: a test failed (2)\n", Some(2), false).unwrap_err().contains("a test failed")
    );
}

#[test]
fn an_image_has_the_tests_and_the_benchmarks_that_its_command_line_names() {
    assert_eq!(Purpose::of(""), Purpose::Tests);
    assert_eq!(Purpose::of("show=zoneinfo test=buddy,smp"), Purpose::Tests);
    assert_eq!(Purpose::of("rodata=full bench=page"), Purpose::Benchmarks);
    assert_eq!(Purpose::of("bench=page test=none"), Purpose::Benchmarks);
    assert_eq!(Purpose::of("test=buddy bench=page"), Purpose::Both);
    assert_eq!(Purpose::of("rodata=full test=buddy,designs"), Purpose::Designs);
}

#[test]
fn sizes_are_read_as_qemu_reads_them() {
    assert_eq!(["16M", "2G", "512", "0", "x"].map(mebibytes), [Some(16), Some(2048), Some(512), None, None]);
}

#[test]
fn symbols_are_read_and_a_cut_file_is_refused() {
    let mut file = vec![0_u8; 0x200];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let mut put =
        |at: usize, len: usize, value: u64| file[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    put(40, 8, 0x80);
    put(60, 2, 3);
    // Section 1 is the table of symbols, its names are in section 2.
    put(0xc0 + 4, 4, 2);
    put(0xc0 + 24, 8, 0x180);
    put(0xc0 + 32, 8, 24);
    put(0xc0 + 40, 4, 2);
    put(0x100 + 24, 8, 0x1a0);
    put(0x100 + 32, 8, 8);
    put(0x180, 4, 1);
    put(0x188, 8, 0xffff_ffff_8020_0000);
    file[0x1a1..0x1a6].copy_from_slice(b"_text");
    assert_eq!(elf::symbols(&file).unwrap(), [("_text".to_owned(), 0xffff_ffff_8020_0000)]);
    assert!((0..0x1a0).all(|len| elf::symbols(&file[..len]).is_none()));
}

#[test]
fn sizes_are_those_of_the_sections_that_are_loaded() {
    let mut file = vec![0_u8; 0x40 + 5 * 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let mut put =
        |at: usize, len: usize, value: u64| file[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    put(40, 8, 0x40);
    put(58, 2, 64);
    put(60, 2, 5);
    // Nothing; code; constants; bss; what is not loaded.
    for (n, (kind, flags, size)) in
        [(0, 0, 0), (1, 6, 1000), (1, 2, 200), (8, 3, 5000), (1, 0, 70)].into_iter().enumerate()
    {
        put(0x40 + n * 64 + 4, 4, kind);
        put(0x40 + n * 64 + 8, 8, flags);
        put(0x40 + n * 64 + 32, 8, size);
    }
    assert_eq!(elf::sizes(&file), Some(Sizes { text: 1000, data: 200 }));
    assert!((0..0x40 + 4 * 64 + 40).all(|len| elf::sizes(&file[..len]).is_none()), "a cut file is refused");
}
