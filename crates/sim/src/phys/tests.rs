use super::*;

fn range(start: u64, len: u64) -> PhysRange {
    PhysRange::from_len(PhysAddr::new(start), len)
}

fn at(a: u64) -> PhysAddr {
    PhysAddr::new(a)
}

const BOTH: [EntryWidth; 2] = [EntryWidth::Bits32, EntryWidth::Bits64];

#[test]
fn bytes_keep_their_place_whatever_the_alignment() {
    for width in BOTH {
        let memory = PhysMemory::new([range(0x1000, 0x100)], width);
        let bytes: Vec<u8> = (1..=23).collect();
        for start in 0x10a0..0x10a9 {
            memory.zero(at(0x1000), 0x100).unwrap();
            memory.write(at(start), &bytes).unwrap();
            let mut all = [0xee; 0x100];
            memory.read(at(0x1000), &mut all).unwrap();
            let first = (start - 0x1000) as usize;
            assert_eq!(all[first..first + 23], bytes[..]);
            assert!(all[..first].iter().chain(&all[first + 23..]).all(|&b| b == 0));
        }
    }
}

#[test]
fn words_and_bytes_are_the_same_memory_in_little_endian_order() {
    let memory = PhysMemory::new([range(0, 4 << 20)], EntryWidth::Bits64);
    memory.write(at(0x20_0010), &[0x11, 0x22, 0, 0, 0, 0, 0, 0x88]).unwrap();
    let words = memory.words64(at(0x20_0000), 512).unwrap();
    assert_eq!(words[2].load(Ordering::Relaxed), 0x8800_0000_0000_2211);
    words[3].store(0x0102, Ordering::Relaxed);
    let mut byte = [0; 1];
    memory.read(at(0x20_0019), &mut byte).unwrap();
    assert_eq!(byte, [1]);

    let memory = PhysMemory::new([range(0, 4 << 20)], EntryWidth::Bits32);
    memory.write(at(6), &[0x77, 0x66]).unwrap();
    assert_eq!(memory.words32(at(4), 1).unwrap()[0].load(Ordering::Relaxed), 0x6677_0000);
}

#[test]
fn memory_is_asked_for_by_block_and_reading_asks_for_none() {
    // Miri looks at each of the gigabytes in turn.
    let len = 1 << if cfg!(miri) { 34 } else { 40 };
    let memory = PhysMemory::new([range(1 << 40, len)], EntryWidth::Bits64);
    let mut seen = [1; 64];
    memory.read(at((1 << 40) + 77), &mut seen).unwrap();
    memory.zero(at(1 << 40), len).unwrap();
    assert_eq!((seen, memory.resident_bytes()), ([0; 64], 0));
    memory.write(at((1 << 40) + 5), &[1]).unwrap();
    memory.write(at((1 << 40) + len - 1), &[1]).unwrap();
    assert!(memory.words64(at((1 << 40) + 0x1000), 512).is_some());
    assert_eq!(memory.resident_bytes(), 4 << 20);
}

#[test]
fn what_is_no_ram_is_named_by_its_first_address() {
    let memory = PhysMemory::new(
        [range(0x10_0000, 0x1000), range(0, 0x9_fc00), range(0x10_1000, 0x1000)],
        EntryWidth::Bits64,
    );
    assert_eq!(memory.ranges(), [range(0, 0x9_fc00), range(0x10_0000, 0x2000)]);
    let mut two = [0; 2];
    assert_eq!(memory.read(at(0x9_fbff), &mut two), Err(PhysError::NoRam(at(0x9_fc00))));
    assert_eq!(memory.write(at(0xf_ffff), &two), Err(PhysError::NoRam(at(0xf_ffff))));
    assert_eq!(memory.read(at(0x10_0fff), &mut two), Ok(()));
    assert_eq!(memory.read(at(u64::MAX), &mut two), Err(PhysError::NoRam(at(u64::MAX))));
    assert_eq!(memory.read(at(u64::MAX), &mut []), Ok(()));
}

#[test]
fn words_outside_ram_misaligned_or_of_the_other_width_are_refused() {
    let memory = PhysMemory::new([range(0x1000, 0x3000)], EntryWidth::Bits64);
    assert!(memory.words64(at(0x1000), 3 * 512).is_some());
    assert!(memory.words64(at(0x1000), 3 * 512 + 1).is_none());
    assert!(memory.words64(at(0xff8), 2).is_none());
    assert!(memory.words64(at(0x1004), 1).is_none());
    assert!(memory.words32(at(0x1000), 1).is_none());
    assert!(memory.words64(at(0x1000), usize::MAX).is_none());
    let memory = PhysMemory::new([range(0, 8 << 20)], EntryWidth::Bits32);
    assert!(memory.words64(at(0x1000), 1).is_none());
    assert!(memory.words32(at(0x1ff_ffc), 1).is_some());
    // A table never lies across blocks: it is aligned to its size.
    assert!(memory.words32(at(0x1f_fffc), 2).is_none());
}

#[test]
fn chunks_with_holes_between_them_are_found() {
    let memory = PhysMemory::new(
        [range(0x4000_0000, 1 << 30), range(0x4000_0000_0000, 1 << 30), range(0x8000_0000, 0x1000)],
        EntryWidth::Bits64,
    );
    for start in [0x4000_0000, 0x8000_0000u64, 0x4000_0000_0000] {
        memory.write(at(start), &start.to_le_bytes()).unwrap();
    }
    for start in [0x4000_0000, 0x8000_0000u64, 0x4000_0000_0000] {
        let mut word = [0; 8];
        memory.read(at(start), &mut word).unwrap();
        assert_eq!(u64::from_le_bytes(word), start);
    }
    assert_eq!(memory.resident_bytes(), 3 * BLOCK_BYTES);
}

#[test]
fn cpus_that_write_bytes_of_one_word_lose_none() {
    for width in BOTH {
        let memory = PhysMemory::new([range(0, 0x1000)], width);
        std::thread::scope(|s| {
            for byte in 0..8u8 {
                let memory = &memory;
                s.spawn(move || memory.write(at(u64::from(byte)), &[byte + 1]).unwrap());
            }
        });
        let mut all = [0; 8];
        memory.read(at(0), &mut all).unwrap();
        assert_eq!(all, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
