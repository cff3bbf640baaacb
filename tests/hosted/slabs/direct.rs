//! RAM by address, as a kernel has it: what lies in holes is nobody's.

use super::node;
use pagewright_addr::{PageShift, Pfn, PhysAddr, PhysRange};
use pagewright_page::FrameIdx;
use pagewright_platform::DirectMap;
use pagewright_sim::pages::{PlainMachine, with_plain_machine};
use pagewright_slab::{DirectMemory, SlabMemory};
use pagewright_zone::alloc::NoHooks;

const SHIFT: PageShift = PageShift::SHIFT_4K;
/// A block of the largest order: 4 MiB.
const BLOCK: u64 = 1 << 10;

/// Two runs of RAM with a hole of a block between them; the first begins 16 pages into its block.
fn holed() -> PlainMachine {
    let first = 0x4_0000;
    PlainMachine {
        ram: vec![(node(0), first + 16, BLOCK - 16), (node(0), first + 2 * BLOCK, 2 * BLOCK)],
        ..PlainMachine::new(1, 1)
    }
}

#[test]
fn every_frame_has_an_address_and_every_address_its_frame_with_holes_left_out() {
    let machine = holed();
    with_plain_machine(&machine, NoHooks, |pages| {
        let map = *pages.base.map();
        let bytes = (4 * BLOCK) << SHIFT.get();
        let start = PhysAddr::new(0x4_0000 << SHIFT.get());
        // Room for a start at a multiple of a block; nobody writes there, the addresses are enough.
        let arena = vec![0_u8; if cfg!(miri) { 0 } else { (bytes + (BLOCK << SHIFT.get())) as usize }];
        let base = (arena.as_ptr().expose_provenance() as u64).next_multiple_of(BLOCK << SHIFT.get());
        let ranges = machine
            .ram
            .iter()
            .map(|&(_, pfn, len)| PhysRange::from_len(Pfn::new(pfn).phys(SHIFT), len << SHIFT.get()));
        // SAFETY: the arena has all of it and outlives the map; nothing is read or written through it here.
        let ram = unsafe { DirectMap::new(ranges, base.wrapping_sub(start.get())) };
        // SAFETY: as above; the map's frames are these ranges'.
        let memory = unsafe { DirectMemory::new(map, ram, SHIFT) }.expect("aligned");
        let (mut seen, mut outside) = (0, 0);
        for frame in 0..4 * BLOCK {
            let address = (base + (frame << SHIFT.get())) as usize;
            let ram = machine.ram.iter().any(|&(_, pfn, len)| (pfn..pfn + len).contains(&(0x4_0000 + frame)));
            let idx = map.idx(Pfn::new(0x4_0000 + frame)).filter(|_| ram);
            for within in [0, 1, 4095] {
                let found = memory.frame_of(address + within);
                assert_eq!(
                    FrameIdx::from_usize(found).filter(|i| (i.index() as u64) < map.len()),
                    idx,
                    "frame {frame}"
                );
            }
            match idx {
                Some(idx) => {
                    assert_eq!(memory.address(idx), Some(address));
                    assert_eq!(memory.pointer(address).addr(), address);
                    seen += 1;
                }
                None => outside += 1,
            }
        }
        assert_eq!((seen, outside), (3 * BLOCK - 16, BLOCK + 16));
        for other in [0, 4096, base as usize - 1, (base + bytes) as usize, usize::MAX] {
            assert!(memory.frame_of(other) as u64 >= map.len(), "{other:#x}");
        }
        // A frame of the first block that is no RAM, and one past the last.
        assert_eq!(memory.address(FrameIdx::new(3)), None);
        assert_eq!(memory.address(FrameIdx::new(map.len() as u32)), None);
    });
}

#[test]
fn a_map_at_half_a_block_is_refused() {
    with_plain_machine(&holed(), NoHooks, |pages| {
        // SAFETY: no range, so nothing is reached.
        let ram = unsafe { DirectMap::new([], 2 << 20) };
        // SAFETY: as above.
        assert!(unsafe { DirectMemory::new(*pages.base.map(), ram, SHIFT) }.is_none());
    });
}

#[test]
fn no_memory_is_at_address_0() {
    // RAM from physical address 0 on, seen where it is.
    let machine = PlainMachine { ram: vec![(node(0), 0, BLOCK)], ..PlainMachine::new(1, 1) };
    with_plain_machine(&machine, NoHooks, |pages| {
        let map = *pages.base.map();
        // SAFETY: nothing is read or written through it.
        let ram = unsafe { DirectMap::new([PhysRange::from_len(PhysAddr::ZERO, BLOCK << SHIFT.get())], 0) };
        // SAFETY: as above; the map's frames are this range's.
        let memory = unsafe { DirectMemory::new(map, ram, SHIFT) }.expect("aligned");
        let [first, second, last] = [0, 1, BLOCK - 1].map(|pfn| map.idx(Pfn::new(pfn)).expect("RAM"));
        assert_eq!(memory.address(first), None);
        assert!(memory.frame_of(0) as u64 >= map.len());
        for (idx, address) in [(second, 4096), (last, (BLOCK as usize - 1) << 12)] {
            assert_eq!(memory.address(idx), Some(address));
            assert_eq!(memory.frame_of(address + 4095), idx.index());
        }
    });
}
