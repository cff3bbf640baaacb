//! Hand-written tables, by ARMv7-AR B3.

use super::super::arm::{sctlr, ttbcr};
use super::*;

const ROOT: u64 = 0x1_4000;
const TABLE: u64 = 0x2_0400;

/// A section of 1 MiB at 0xc0000000, a second-level table at 0xc0100000 with one page.
fn short(section: u32, page: u32) -> (PhysMemory, ArmRegisters) {
    let memory = memory(EntryWidth::Bits32);
    put32(&memory, ROOT + 4 * 0xc00, section);
    put32(&memory, ROOT + 4 * 0xc01, TABLE as u32 | 1);
    put32(&memory, TABLE + 4 * 0x23, page);
    (memory, ArmRegisters::short(ROOT))
}

const SECTION: u64 = 0xc000_0000;
const PAGE: u64 = 0xc012_3000;

#[test]
fn rights_of_sections_and_pages_follow_ap() {
    // AP[2:0], rights without and with XN.
    for (ap, plain, xn) in [
        (0u32, "------", "------"),
        (1, "rwx---", "rw----"),
        (2, "rwxr-x", "rw-r--"),
        (3, "rwxrwx", "rw-rw-"),
        (4, "------", "------"),
        (5, "r-x---", "r-----"),
        (6, "r-xr-x", "r--r--"),
        (7, "r-xr-x", "r--r--"),
    ] {
        let section = 0x4560_0000 | 2 | (ap & 3) << 10 | (ap >> 2) << 15;
        let page = 0x4567_8000 | 2 | (ap & 3) << 4 | (ap >> 2) << 9;
        let (memory, r) = short(section, page);
        for at in [SECTION, PAGE] {
            assert_eq!(rights(&Registers::Arm(r), &memory, at), plain, "AP {ap:03b}");
        }
        let (memory, r) = short(section | 1 << 4, page | 1);
        for at in [SECTION, PAGE] {
            assert_eq!(rights(&Registers::Arm(r), &memory, at), xn, "AP {ap:03b}");
        }
    }
}

#[test]
fn pxn_wxn_and_uwxn_take_execution_away() {
    let (memory, mut r) = short(0x4560_0000 | 3 | 3 << 10, 0x4567_8000 | 2 | 3 << 4);
    assert_eq!(rights(&Registers::Arm(r), &memory, SECTION), "rw-rwx");
    put32(&memory, ROOT + 4 * 0xc01, TABLE as u32 | 1 | 1 << 2);
    assert_eq!(rights(&Registers::Arm(r), &memory, PAGE), "rw-rwx");
    put32(&memory, ROOT + 4 * 0xc01, TABLE as u32 | 1);
    r.sctlr |= sctlr::UWXN;
    assert_eq!(rights(&Registers::Arm(r), &memory, PAGE), "rw-rwx");
    r.sctlr |= sctlr::WXN;
    assert_eq!(rights(&Registers::Arm(r), &memory, PAGE), "rw-rw-");
    r.pxn = false;
    assert_eq!(fault(&Registers::Arm(r), &memory, SECTION, Access::READ).kind, FaultKind::Translation);
}

#[test]
fn the_access_flag_takes_the_place_of_ap_0() {
    for (ap, expected) in [(0b001u32, "rwx---"), (0b011, "rwxrwx"), (0b101, "r-x---"), (0b111, "r-xr-x")] {
        let (memory, mut r) = short(0x4560_0002 | (ap & 3) << 10 | (ap >> 2) << 15, 0x4567_8002);
        r.sctlr |= sctlr::AFE;
        assert_eq!(rights(&Registers::Arm(r), &memory, SECTION), expected);
        let f = fault(&Registers::Arm(r), &memory, PAGE, Access::READ);
        assert_eq!((f.kind, f.code), (FaultKind::AccessFlag, 0b00110));
        put32(&memory, ROOT + 4 * 0xc00, 0x4560_0002);
        assert_eq!(fault(&Registers::Arm(r), &memory, SECTION, Access::READ).code, 0b00011);
    }
}

#[test]
fn domains_are_client_manager_or_nothing() {
    let (memory, mut r) = short(0x4560_0002 | 5 << 5, 0x4567_8002 | 1 << 4 | 1 << 9);
    put32(&memory, ROOT + 4 * 0xc01, TABLE as u32 | 1 | 5 << 5);
    let f = fault(&Registers::Arm(r), &memory, SECTION, Access::READ);
    assert_eq!((f.kind, f.code), (FaultKind::Domain(5), 0b01001));
    assert_eq!(fault(&Registers::Arm(r), &memory, PAGE, Access::READ).code, 0b01011);
    r.dacr = 1 << 10;
    let f = fault(&Registers::Arm(r), &memory, SECTION, Access::READ);
    assert_eq!((f.kind, f.code), (FaultKind::Permission(Denied::NoAccess), 0b01101));
    assert_eq!(fault(&Registers::Arm(r), &memory, PAGE, Access::WRITE).code, 0b01111);
    r.dacr = 3 << 10;
    assert_eq!(rights(&Registers::Arm(r), &memory, SECTION), "rwxrwx");
    // The value 2 is reserved: it gives nothing.
    r.dacr = 2 << 10;
    assert_eq!(fault(&Registers::Arm(r), &memory, SECTION, Access::READ).kind, FaultKind::Domain(5));
}

#[test]
fn large_pages_and_supersections_are_sixteen_entries_each() {
    let (memory, r) = short(0, 0);
    // Address bits 39:36 in 8:5, 35:32 in 23:20.
    for n in 0..16 {
        put32(&memory, ROOT + 4 * (0xd00 + n), 0x4500_0000 | 0x6 << 20 | 0x7 << 5 | 1 << 18 | 2 | 1 << 10);
        put32(&memory, TABLE + 4 * (0x30 + n), 0x4567_0000 | 1 | 3 << 4);
    }
    let r = Registers::Arm(r);
    let m = r.look_up(&memory, va(0xd0ab_cdef), Access::READ).unwrap();
    assert_eq!(
        (m.phys_of(va(0xd0ab_cdef)).get(), m.bytes, m.group_bytes),
        (0x76_45ab_cdef, 1 << 20, 1 << 24)
    );
    let m = r.look_up(&memory, va(0xc013_abcd), Access::READ).unwrap();
    assert_eq!((m.phys_of(va(0xc013_abcd)).get(), m.bytes, m.group_bytes), (0x4567_abcd, 4096, 1 << 16));
}

#[test]
fn ttbcr_n_divides_the_addresses() {
    let (memory, mut r) = short(0x4560_0402, 0);
    // N = 2: a root of 4 KiB for the lowest gigabyte.
    (r.ttbcr, r.ttbr0) = (2, 0x3_1000 | 0x4a);
    r.ttbr1 |= 0x4a;
    put32(&memory, 0x3_1000 + 4 * 0x3ff, 0x0780_0402);
    let on = Registers::Arm(r);
    assert_eq!(on.probe(&memory, va(0x3ff1_2345), Access::READ).unwrap(), PhysAddr::new(0x0781_2345));
    assert_eq!(on.probe(&memory, va(0xc001_2345), Access::READ).unwrap(), PhysAddr::new(0x4561_2345));
    assert_eq!(fault(&on, &memory, 0x4000_0000, Access::READ).entry_at, PhysAddr::new(ROOT + 4 * 0x400));
    r.ttbcr |= ttbcr::PD0;
    let f = fault(&Registers::Arm(r), &memory, 0x3ff1_2345, Access::READ);
    assert_eq!((f.kind, f.code, f.entry), (FaultKind::Translation, 0b00101, 0));
    r.ttbcr |= ttbcr::PD1;
    assert_eq!(fault(&Registers::Arm(r), &memory, SECTION, Access::READ).code, 0b00101);
}

#[test]
fn tex_remap_reads_prrr_and_nmrr() {
    // TEX[0], C, B: Linux's indices.
    for (index, kind) in [
        (0u32, MemoryKind::StronglyOrdered),
        (1, MemoryKind::WriteCombine),
        (2, MemoryKind::WriteThrough),
        (3, MemoryKind::WriteBack),
        (4, MemoryKind::Device),
        (7, MemoryKind::WriteBack),
    ] {
        let (memory, mut r) = short(0x4560_0402 | (index & 3) << 2 | (index >> 2) << 12 | 1 << 16, 0);
        let m = Registers::Arm(r).look_up(&memory, va(SECTION), Access::READ).unwrap();
        assert_eq!((m.memory, m.sharing), (kind, Sharing::Inner), "{index}");
        // Without remap, TEX is three bits: 1 with C and B is write-back, allocating on writes.
        r.sctlr &= !sctlr::TRE;
        let m = Registers::Arm(r).look_up(&memory, va(SECTION), Access::READ).unwrap();
        let plain = match index {
            0 => MemoryKind::StronglyOrdered,
            1 => MemoryKind::Device,
            2 => MemoryKind::WriteThrough,
            4 => MemoryKind::WriteCombine,
            _ => MemoryKind::WriteBack,
        };
        assert_eq!(m.memory, plain, "{index}");
    }
}

/// Linux's MAIR1 and MAIR0.
const MAIR: u64 = 0xff00_0004_eeaa_4400;
const AF: u64 = 1 << 10;

#[test]
fn long_descriptors_start_where_the_sizes_say() {
    let memory = memory(EntryWidth::Bits64);
    // One root of four entries for everything.
    let root = 0x3_0020;
    put64(&memory, root + 24, 0x3_1000 | 3);
    put64(&memory, 0x3_1000 + 8, 0x12_3460_0000 | 1 | AF | 3 << 2);
    let whole = Registers::Arm(ArmRegisters::long(root, 0, 0, MAIR));
    let m = whole.look_up(&memory, va(0xc03a_bcde), Access::READ).unwrap();
    assert_eq!((m.phys_of(va(0xc03a_bcde)).get(), m.bytes), (0x12_347a_bcde, 2 << 20));
    assert_eq!(m.memory, MemoryKind::WriteBack);
    assert_eq!(fault(&whole, &memory, 0x4000_0000, Access::READ).code, 0b000101);
    // T1SZ = 2: the top gigabyte starts at the second level, in the table that Linux puts there.
    let split = Registers::Arm(ArmRegisters::long(0x4_0000, 0x3_1000, 2 << 16, MAIR));
    let m = split.look_up(&memory, va(0xc03a_bcde), Access::READ).unwrap();
    assert_eq!(m.phys_of(va(0xc03a_bcde)).get(), 0x12_347a_bcde);
    put64(&memory, 0x4_0000 + 16, 0x8000_0000 | 1 | AF);
    assert_eq!(split.probe(&memory, va(0xbfff_ffff), Access::READ).unwrap(), PhysAddr::new(0xbfff_ffff));
    // Both with a size: between them there is nothing.
    let both = Registers::Arm(ArmRegisters::long(0x4_0000, 0x3_1000, 2 << 16 | 1, MAIR));
    assert_eq!(fault(&both, &memory, 0xbfff_ffff, Access::READ).code, 0b000101);
    // Only T0SZ: TTBR1 has the rest, with a root for 32 bits.
    let low = Registers::Arm(ArmRegisters::long(0x4_0000, root, 1, MAIR));
    assert_eq!(low.look_up(&memory, va(0xc03a_bcde), Access::READ).unwrap().bytes, 2 << 20);
    let off = ArmRegisters::long(0x4_0000, root, 1 | ttbcr::EPD1, MAIR);
    assert_eq!(fault(&Registers::Arm(off), &memory, 0xc03a_bcde, Access::READ).kind, FaultKind::Translation);
}

#[test]
fn rights_of_long_descriptors_follow_ap_xn_and_pxn() {
    let memory = memory(EntryWidth::Bits64);
    let mut r = ArmRegisters::long(0x3_0000, 0, 0, MAIR);
    for (bits, plain, wxn) in [
        (0u64, "rwx---", "rw----"),
        (1 << 6, "rwxrwx", "rw-rw-"),
        (1 << 7, "r-x---", "r-x---"),
        (1 << 6 | 1 << 7, "r-xr-x", "r-xr-x"),
        (1 << 6 | 1 << 53, "rw-rwx", "rw-rw-"),
        (1 << 6 | 1 << 54, "rw-rw-", "rw-rw-"),
    ] {
        put64(&memory, 0x3_0000, 0x4000_0000 | 1 | AF | bits);
        r.sctlr &= !sctlr::WXN;
        assert_eq!(rights(&Registers::Arm(r), &memory, 0x1000), plain, "{bits:#x}");
        r.sctlr |= sctlr::WXN;
        assert_eq!(rights(&Registers::Arm(r), &memory, 0x1000), wxn, "{bits:#x}");
    }
    put64(&memory, 0x3_0000, 0x4000_0000 | 1);
    let f = fault(&Registers::Arm(r), &memory, 0x1000, Access::READ);
    assert_eq!((f.kind, f.code), (FaultKind::AccessFlag, 0b001001));
    put64(&memory, 0x3_0000, 0x3_1003 | 1 << 61 | 1 << 60);
    put64(&memory, 0x3_1000, 0x4000_0000 | 1 | AF | 1 << 6);
    r.sctlr &= !sctlr::WXN;
    assert_eq!(rights(&Registers::Arm(r), &memory, 0x1000), "rw----");
}
