use super::*;
use pagewright_addr::{Order, PageShift, Pfn, PfnRange};
use pagewright_page::{FrameIdx, PageMap, Section, SectionTable, State};

const K4: PageShift = PageShift::SHIFT_4K;

/// Runs `f` over a machine of `frames` frames in blocks of 2^`align`.
fn with_map<R>(frames: u64, align: u8, f: impl FnOnce(PageMap<'_>, pagewright_page::Pristine<'_>) -> R) -> R {
    let mut sections = [Section::EMPTY];
    let ram = [PfnRange::from_len(Pfn::new(0), frames)];
    let table = SectionTable::build(&mut sections, ram, Order::new(align).unwrap()).unwrap();
    let mut metadata = Metadata::new(table.frames()).unwrap();
    let (map, pristine) = PageMap::new(metadata.storage(), table).unwrap();
    f(map, pristine)
}

#[test]
fn memory_keeps_what_was_written_when_its_block_is_freed_and_taken_again() {
    with_map(32, 2, |map, mut pristine| {
        let ram = Ram::new(map, K4);
        let mut frames = pristine.take_front(4).into_frames();
        ram.bytes_mut(&mut frames).unwrap()[0x3fff] = 7;
        let idx = map.put_block(frames);
        let (low, high) = map.split_at(map.take_block(idx, Order::new(2).unwrap()), 3);
        assert_eq!(ram.bytes(&high).unwrap()[0xfff], 7);
        assert_eq!(ram.bytes(&low).unwrap().len(), 3 << 12);
        assert!(ram.bytes(&low).unwrap().iter().all(|&b| b == 0));
    });
}

#[test]
fn host_memory_is_asked_for_by_block() {
    with_map(32, 2, |map, mut pristine| {
        let ram = Ram::new(map, K4);
        assert_eq!(ram.resident_bytes(), 0);
        let frames = [0; 8].map(|_| pristine.take_front(1).into_frames());
        for frame in &frames {
            assert_eq!(ram.bytes(frame).unwrap().as_ptr().addr() % 4096, 0);
        }
        assert_eq!(ram.resident_bytes(), 2 * 4 * 4096);
    });
}

#[test]
fn frames_across_blocks_are_not_contiguous() {
    with_map(8, 2, |map, mut pristine| {
        let ram = Ram::new(map, K4);
        let _ = pristine.take_front(3);
        let frames = pristine.take_front(2).into_frames();
        assert_eq!(ram.bytes(&frames).unwrap_err(), SimError::AcrossBlocks { start: 3, frames: 2 });
    });
}

#[test]
fn another_machines_token_gives_no_memory() {
    with_map(4, 2, |one, _| {
        with_map(4, 2, |_, pristine| {
            let frames = pristine.into_frames();
            assert_eq!(Ram::new(one, K4).bytes(&frames), Err(SimError::OtherMap));
        });
    });
}

#[test]
fn metadata_is_pristine_for_every_map_made_of_it() {
    let mut metadata = Metadata::new(16).unwrap();
    for _ in 0..2 {
        let mut sections = [Section::EMPTY];
        let ram = [PfnRange::from_len(Pfn::new(0), 16)];
        let table = SectionTable::build(&mut sections, ram, Order::new(2).unwrap()).unwrap();
        let (map, pristine) = PageMap::new(metadata.storage(), table).unwrap();
        assert!((0..16).all(|i| map.state(FrameIdx::new(i)) == State::Pristine));
        drop(pristine.into_reserved());
    }
}

#[test]
#[cfg(target_pointer_width = "64")]
fn memory_no_host_has_is_an_error() {
    let error = Metadata::new(1 << 58).map(|_| ()).unwrap_err();
    assert_eq!(error, SimError::HostMemory { bytes: 1 << 63 });
}

/// Resident memory of this process in KiB, from the host's /proc.
#[cfg(all(target_os = "linux", not(miri)))]
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(miri)))]
fn a_described_terabyte_occupies_what_was_touched() {
    let before = resident_kib();
    with_map(1 << 28, 10, |map, mut pristine| {
        let ram = Ram::new(map, K4);
        let frames: Vec<_> = (0..64).map(|_| pristine.take_front(1 << 20)).collect();
        for mut part in frames {
            let mut frame = part.take_back(1).into_frames();
            ram.bytes_mut(&mut frame).unwrap()[0] = 1;
        }
        // Block entries take 12 MiB; metadata and RAM some pages for each frame used.
        let grown = resident_kib().saturating_sub(before);
        assert!(grown < 64 << 10, "{grown} KiB became resident");
    });
}
