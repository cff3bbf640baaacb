//! What a BIOS leaves in the first megabyte: its data area, and the tables of the MultiProcessor Specification 1.4.

use super::{Reader, field, number, sums_up};
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::MpTable;

/// The start of the extended BIOS data area, as the BIOS data area says.
pub fn ebda(read: Reader<'_>) -> Option<PhysAddr> {
    let segment = number(read(PhysAddr::new(0x40e), 2)?);
    Some(PhysAddr::new(segment << 4)).filter(|at| *at != PhysAddr::ZERO)
}

/// The MP tables: looked for in the first KiB, the last of conventional memory, and the BIOS.
pub fn mp_table(read: Reader<'_>) -> Option<MpTable> {
    const KIB: u64 = 1 << 10;
    let areas = [(0, KIB), (639 * KIB, KIB), (0xf_0000, 0x1_0000)];
    let ebda = ebda(read).map(|at| (at.get(), KIB));
    areas.into_iter().chain(ebda).find_map(|(start, len)| find(read, PhysAddr::new(start), len))
}

fn find(read: Reader<'_>, start: PhysAddr, len: u64) -> Option<MpTable> {
    const POINTER: usize = 16;
    let area = read(start, len)?;
    let right = |p: &[u8]| p.starts_with(b"_MP_") && p[8] == 1 && sums_up(p) && matches!(p[9], 1 | 4);
    let (n, pointer) = area.chunks_exact(POINTER).enumerate().find(|(_, p)| right(p))?;
    let floating_pointer = PhysRange::from_len(start.saturating_add((n * POINTER) as u64), POINTER as u64);
    let at = PhysAddr::new(field(pointer, 4, 4));
    let header = read(at, 8).filter(|h| at != PhysAddr::ZERO && h.starts_with(b"PCMP"));
    let table = header.map(|h| PhysRange::from_len(at, field(h, 4, 2)));
    Some(MpTable { floating_pointer, table })
}
