//! Hand-written tables, by Arm ARM D8.

use super::super::arm64::{sctlr, tcr};
use super::*;

const ROOT: u64 = 0x1_0000;
/// Index 0 Normal, 1 Tagged, 2 Normal Non-cacheable, 3 Device-nGnRnE, 4 Device-nGnRE.
const MAIR: u64 = 0x04_0044_f0ff;
const AF: u64 = 1 << 10;
const PAGE: u64 = 3 | AF;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
const EL0: u64 = 1 << 6;
const RO: u64 = 1 << 7;

/// 39-bit addresses in both halves, one tree of 4 KiB granules for both; the page at 0x1000 is `entry`.
fn three_levels(entry: u64) -> (PhysMemory, Arm64Registers) {
    let memory = memory(EntryWidth::Bits64);
    for level in 0..2 {
        put64(&memory, ROOT + level * 0x1000, (ROOT + (level + 1) * 0x1000) | 3);
    }
    put64(&memory, ROOT + 0x2008, entry);
    let tcr = tcr::sizes(39) | tcr::TG1_4K | tcr::ips(48);
    (memory, Arm64Registers::new(ROOT, ROOT, tcr, MAIR))
}

#[test]
fn rights_follow_ap_uxn_and_pxn() {
    for (bits, plain, wxn) in [
        (0u64, "rwx--x", "rw---x"),
        (UXN, "rwx---", "rw----"),
        (PXN, "rw---x", "rw---x"),
        (EL0, "rw-rwx", "rw-rw-"),
        (EL0 | UXN, "rw-rw-", "rw-rw-"),
        (RO, "r-x--x", "r-x--x"),
        (RO | UXN | PXN, "r-----", "r-----"),
        (EL0 | RO, "r-xr-x", "r-xr-x"),
        (EL0 | RO | PXN, "r--r-x", "r--r-x"),
    ] {
        let (memory, mut r) = three_levels(0x5000 | PAGE | bits);
        assert_eq!(rights(&Registers::Arm64(r), &memory, 0x1000), plain, "{bits:#x}");
        r.sctlr |= sctlr::WXN;
        assert_eq!(rights(&Registers::Arm64(r), &memory, 0x1000), wxn, "{bits:#x}");
    }
}

#[test]
fn pan_keeps_the_kernel_from_what_user_code_may_use() {
    let (memory, mut r) = three_levels(0x5000 | PAGE | EL0 | RO);
    r.pan = true;
    let on = Registers::Arm64(r);
    assert_eq!(rights(&on, &memory, 0x1000), "--xr-x");
    let f = fault(&on, &memory, 0x1000, Access::READ);
    assert_eq!((f.kind, f.code), (FaultKind::Permission(Denied::UserPage), 0b001111));
    put64(&memory, ROOT, (ROOT + 0x1000) | 3 | 1 << 61);
    assert_eq!(rights(&on, &memory, 0x1000), "r-x--x");
}

#[test]
fn tables_take_rights_away_unless_hierarchy_is_off() {
    for (limit, expected) in
        [(1 << 62, "r-xr-x"), (1 << 61, "rwx--x"), (1u64 << 60, "rw-rw-"), (1 << 59, "rw-rwx")]
    {
        for level in 0..2 {
            let (memory, mut r) = three_levels(0x5000 | PAGE | EL0);
            put64(&memory, ROOT + level * 0x1000, (ROOT + (level + 1) * 0x1000) | 3 | limit);
            assert_eq!(rights(&Registers::Arm64(r), &memory, 0x1000), expected, "{limit:#x}");
            r.tcr |= tcr::HPD0;
            assert_eq!(rights(&Registers::Arm64(r), &memory, 0x1000), "rw-rwx");
        }
    }
}

#[test]
fn faults_say_level_and_status() {
    let (memory, r) = three_levels(0x5000 | 3);
    let on = Registers::Arm64(r);
    let f = fault(&on, &memory, 0x1000, Access::READ);
    assert_eq!((f.kind, f.code), (FaultKind::AccessFlag, 0b001011));
    assert_eq!(
        f.to_string(),
        "kernel read at 0x1000: access flag fault, level 3 (entry 0x5003 at 0x12008), fault status 0xb"
    );
    for (level, code) in [(2u64, 0b000111), (1, 0b000110), (0, 0b000101)] {
        put64(&memory, ROOT + level * 0x1000 + if level == 2 { 8 } else { 0 }, 0);
        let f = fault(&on, &memory, 0x1000, Access::READ);
        assert_eq!((f.kind, f.code), (FaultKind::Translation, code));
    }
    // Between the two halves, and a table that is off: level 0.
    assert_eq!(fault(&on, &memory, 1 << 39, Access::READ).code, 0b000100);
    assert_eq!(fault(&on, &memory, 0xff00_0000_0000_0000, Access::READ).code, 0b000100);
    let off = Registers::Arm64(Arm64Registers { tcr: r.tcr | tcr::EPD0, ..r });
    assert_eq!(fault(&off, &memory, 0x1000, Access::READ).code, 0b000100);
    // No page at level 3, no block at level 0 or with an address that is too large.
    put64(&memory, ROOT, 1 << 30 | 1 | AF);
    assert!(on.probe(&memory, va(0x1000), Access::READ).is_ok());
    put64(&memory, ROOT, 1 << 40 | 1 | AF);
    let small = Registers::Arm64(Arm64Registers { phys_bits: 40, ..r });
    let f = fault(&small, &memory, 0x1000, Access::READ);
    assert_eq!((f.kind, f.code), (FaultKind::AddressSize, 0b000001));
    put64(&memory, ROOT, 0x7000_0003);
    let f = fault(&on, &memory, 0x1000, Access::READ);
    assert_eq!((f.kind, f.code), (FaultKind::ExternalAbort, 0b010110));
    let (memory, r) = three_levels(0x5000 | 1 | AF);
    assert_eq!(fault(&Registers::Arm64(r), &memory, 0x1000, Access::READ).code, 0b000111);
}

#[test]
fn each_granule_has_its_levels_blocks_and_groups() {
    // Granule's shift, TG0, address bits; level of a block (0 the last), its shift; shift of a contiguous group.
    for (granule, tg, bits, level, block, group) in [
        (12u32, 0, 48, 0u8, 12u32, 16u32),
        (12, 0, 48, 1, 21, 25),
        (12, 0, 48, 2, 30, 34),
        (12, 0, 39, 1, 21, 25),
        (14, tcr::TG0_16K, 47, 0, 14, 21),
        (14, tcr::TG0_16K, 48, 1, 25, 30),
        (16, tcr::TG0_64K, 42, 0, 16, 21),
        (16, tcr::TG0_64K, 48, 1, 29, 34),
    ] {
        let memory = memory(EntryWidth::Bits64);
        let levels = (bits - granule).div_ceil(granule - 3);
        let at = 0x1_2345_6789_abcd & ((1u64 << bits) - 1);
        let mut table = 1 << 20;
        for n in (u32::from(level)..levels).rev() {
            let shift = granule + n * (granule - 3);
            let slot = table + 8 * ((at >> shift) & ((1 << (granule - 3)) - 1));
            if n == u32::from(level) {
                let phys = 0x80_0000_0000 >> block << block;
                put64(&memory, slot, phys | if n == 0 { PAGE } else { 1 | AF } | 1 << 52);
            } else {
                table += 1 << 20;
                put64(&memory, slot, table | 3);
            }
        }
        let r = Arm64Registers::new(1 << 20, 0, tcr::sizes(bits) | tg | tcr::ips(48), MAIR);
        let m = Registers::Arm64(r).look_up(&memory, va(at), Access::READ).unwrap();
        assert_eq!((m.bytes, m.level, m.group_bytes), (1 << block, level, 1 << group), "{granule} {bits}");
        assert_eq!(m.phys_of(va(at)).get(), (0x80_0000_0000 >> block << block) | at & ((1 << block) - 1));
    }
}

#[test]
fn addresses_of_52_bits_lie_in_bits_15_to_12() {
    let memory = memory(EntryWidth::Bits64);
    let mut r = Arm64Registers::new(1 << 20, 0, tcr::sizes(52) | tcr::TG0_64K | tcr::ips(52), MAIR);
    (r.phys_bits, r.large_va) = (52, true);
    put64(&memory, (1 << 20) + 8 * 1023, 2 << 20 | 3);
    put64(&memory, 2 << 20, 0xa5a5_0000_0000 | 0xf << 12 | 1 | AF);
    let at = 1023 << 42;
    let m = Registers::Arm64(r).look_up(&memory, va(at), Access::READ).unwrap();
    assert_eq!((m.phys.get(), m.bytes), (0xf_a5a5_0000_0000, 512 << 20));
    r.tcr = tcr::sizes(52) | tcr::TG0_64K | tcr::ips(48);
    assert_eq!(fault(&Registers::Arm64(r), &memory, at, Access::READ).kind, FaultKind::AddressSize);
    r.large_va = false;
    assert_eq!(fault(&Registers::Arm64(r), &memory, at, Access::READ).kind, FaultKind::Translation);
}

#[test]
fn a_tag_in_the_top_byte_is_ignored_where_tcr_says_so() {
    let (memory, mut r) = three_levels(0x5000 | PAGE | EL0);
    let tagged = 0xa500_0000_0000_1000;
    assert_eq!(fault(&Registers::Arm64(r), &memory, tagged, Access::READ).code, 0b000100);
    r.tcr |= tcr::TBI0;
    assert_eq!(Registers::Arm64(r).probe(&memory, va(tagged), Access::READ).unwrap(), PhysAddr::new(0x5000));
    assert!(Registers::Arm64(r).probe(&memory, va(tagged), Access::USER_EXECUTE).is_ok());
    r.tcr |= tcr::TBID0;
    assert_eq!(fault(&Registers::Arm64(r), &memory, tagged, Access::USER_EXECUTE).code, 0b000100);
    // One entry serves every tag.
    let mmu = Mmu::new(&memory, 1, Registers::Arm64(r), Strictness::STRICT).unwrap();
    mmu.access(0, va(0x1000), Access::USER_READ).unwrap();
    assert!(mmu.access(0, va(tagged), Access::USER_READ).unwrap().from_tlb);
}

#[test]
fn the_upper_half_has_its_own_table_and_granule() {
    let (memory, mut r) = three_levels(0x5000 | PAGE);
    // 64 KiB granules and 42 bits above.
    r.tcr = (64 - 39) | (64 - 42) << 16 | tcr::TG1_64K | tcr::ips(48);
    r.ttbr1 = 1 << 20;
    put64(&memory, (1 << 20) + 8 * 8191, 2 << 20 | 3);
    put64(&memory, (2 << 20) + 8 * 8191, 0x9_0000 | PAGE | 4 << 2);
    let on = Registers::Arm64(r);
    let m = on.look_up(&memory, va(u64::MAX), Access::READ).unwrap();
    assert_eq!((m.phys_of(va(u64::MAX)).get(), m.memory), (0x9_ffff, MemoryKind::Device));
    assert_eq!(on.probe(&memory, va(0x1fff), Access::READ).unwrap(), PhysAddr::new(0x5fff));
}

#[test]
fn hardware_sets_the_access_flag_and_notes_the_first_write() {
    let dbm = 1 << 51;
    let (memory, mut r) = three_levels(0x5000 | 3 | RO | dbm);
    r.tcr |= tcr::HA;
    let mmu = Mmu::new(&memory, 1, Registers::Arm64(r), Strictness::STRICT).unwrap();
    mmu.access(0, va(0x1000), Access::READ).unwrap();
    assert_eq!(get64(&memory, ROOT + 0x2008), 0x5000 | 3 | RO | dbm | AF);
    assert!(matches!(mmu.access(0, va(0x1000), Access::WRITE), Err(AccessError::Fault(f)) if f.code == 0xf));
    r.tcr |= tcr::HD;
    let mmu = Mmu::new(&memory, 1, Registers::Arm64(r), Strictness::STRICT).unwrap();
    mmu.access(0, va(0x1000), Access::READ).unwrap();
    assert_eq!(get64(&memory, ROOT + 0x2008) & RO, RO);
    mmu.access(0, va(0x1000), Access::WRITE).unwrap();
    assert_eq!(get64(&memory, ROOT + 0x2008), 0x5000 | 3 | dbm | AF);
    assert!(mmu.access(0, va(0x1000), Access::WRITE).unwrap().from_tlb);
}

#[test]
fn mair_says_how_memory_behaves() {
    for (index, kind) in [
        (0u64, MemoryKind::WriteBack),
        (1, MemoryKind::Tagged),
        (2, MemoryKind::WriteCombine),
        (3, MemoryKind::StronglyOrdered),
        (4, MemoryKind::Device),
    ] {
        let (memory, r) = three_levels(0x5000 | PAGE | index << 2 | 3 << 8);
        let m = Registers::Arm64(r).look_up(&memory, va(0x1000), Access::READ).unwrap();
        assert_eq!((m.memory, m.sharing), (kind, Sharing::Inner));
    }
}
