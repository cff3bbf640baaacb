//! Hand-written tables, by the tables of Intel SDM volume 3A, chapter 4.

use super::super::x86::{cr0, cr4, efer};
use super::*;

const ROOT: u64 = 0x1_0000;

/// Four tables, one after the other; the page at 0x1000 is `entry`, everything above allows everything.
fn long(entry: u64) -> (PhysMemory, X86Registers) {
    let memory = memory(EntryWidth::Bits64);
    for level in 0..3 {
        put64(&memory, ROOT + level * 0x1000, (ROOT + (level + 1) * 0x1000) | 7);
    }
    put64(&memory, ROOT + 0x3008, entry);
    (memory, X86Registers::long(ROOT, false))
}

#[test]
fn rights_follow_the_table_of_4_6() {
    // R/W, U/S, XD -> WP set, WP clear.
    for (bits, wp, no_wp) in [
        (0u64, "r-x---", "rwx---"),
        (2, "rwx---", "rwx---"),
        (4, "r-xr-x", "rwxr-x"),
        (6, "rwxrwx", "rwxrwx"),
        (1 << 63, "r-----", "rw----"),
        (1 << 63 | 2, "rw----", "rw----"),
        (1 << 63 | 4, "r--r--", "rw-r--"),
        (1 << 63 | 6, "rw-rw-", "rw-rw-"),
    ] {
        let (memory, mut r) = long(0x5001 | bits);
        assert_eq!(rights(&Registers::X86(r), &memory, 0x1000), wp, "{bits:#x}");
        r.cr0 &= !cr0::WP;
        assert_eq!(rights(&Registers::X86(r), &memory, 0x1000), no_wp, "{bits:#x}");
    }
}

#[test]
fn every_level_takes_rights_away() {
    for level in 0..3 {
        for (bits, expected) in [(5u64, "r-xr-x"), (3, "rwx---"), (1 << 63 | 7, "rw-rw-")] {
            let (memory, r) = long(0x5007);
            put64(&memory, ROOT + level * 0x1000, (ROOT + (level + 1) * 0x1000) | bits);
            assert_eq!(rights(&Registers::X86(r), &memory, 0x1000), expected, "level {level}");
        }
    }
}

#[test]
fn smep_and_smap_keep_the_kernel_from_user_pages() {
    let (memory, mut r) = long(0x5007);
    r.cr4 |= cr4::SMEP;
    assert_eq!(rights(&Registers::X86(r), &memory, 0x1000), "rw-rwx");
    r.cr4 |= cr4::SMAP;
    assert_eq!(rights(&Registers::X86(r), &memory, 0x1000), "---rwx");
    let f = fault(&Registers::X86(r), &memory, 0x1000, Access::WRITE);
    assert_eq!((f.kind, f.code), (FaultKind::Permission(Denied::UserPage), 0b00011));
    let f = fault(&Registers::X86(r), &memory, 0x1000, Access::EXECUTE);
    assert_eq!((f.kind, f.code), (FaultKind::Permission(Denied::UserCode), 0b10001));
    r.ac = true;
    assert_eq!(rights(&Registers::X86(r), &memory, 0x1000), "rw-rwx");
    let (memory, _) = long(0x5003);
    r.ac = false;
    assert_eq!(rights(&Registers::X86(r), &memory, 0x1000), "rwx---");
}

#[test]
fn protection_keys_forbid_data_accesses_to_user_pages() {
    let (memory, mut r) = long(0x5007 | (5 << 59));
    r.cr4 |= cr4::PKE;
    r.pkru = 0b10 << 10;
    assert_eq!(rights(&Registers::X86(r), &memory, 0x1000), "r-xr-x");
    let f = fault(&Registers::X86(r), &memory, 0x1000, Access::USER_WRITE);
    assert_eq!((f.kind, f.code), (FaultKind::Permission(Denied::Key(5)), 0b10_0111));
    r.cr0 &= !cr0::WP;
    assert_eq!(rights(&Registers::X86(r), &memory, 0x1000), "rwxr-x");
    r.pkru = 0b01 << 10;
    assert_eq!(rights(&Registers::X86(r), &memory, 0x1000), "--x--x");
    r.pkru = !(0b11 << 10);
    assert_eq!(rights(&Registers::X86(r), &memory, 0x1000), "rwxrwx");
    let (memory, _) = long(0x5003 | (5 << 59));
    r.pkru = 0b11 << 10;
    assert_eq!(rights(&Registers::X86(r), &memory, 0x1000), "rwx---");
}

#[test]
fn faults_say_level_entry_and_error_code() {
    let (memory, r) = long(0);
    let f = fault(&Registers::X86(r), &memory, 0x1234, Access::USER_WRITE);
    assert_eq!((f.kind, f.level_name(), f.code), (FaultKind::Translation, "PT", 0b00110));
    assert_eq!((f.entry, f.entry_at), (0, PhysAddr::new(ROOT + 0x3008)));
    let f = fault(&Registers::X86(r), &memory, 0x1000 + (1 << 39), Access::EXECUTE);
    assert_eq!((f.kind, f.level_name(), f.code), (FaultKind::Translation, "PML4", 0b10000));
    assert_eq!(
        f.to_string(),
        "kernel execute at 0x8000001000: not present, PML4 (entry 0x0 at 0x10008), error code 0x10"
    );
    let f = fault(&Registers::X86(r), &memory, 1 << 47, Access::READ);
    assert_eq!(f.kind, FaultKind::NonCanonical);
    put64(&memory, ROOT, 0x7000_0007);
    let f = fault(&Registers::X86(r), &memory, 0x1000, Access::READ);
    assert_eq!((f.kind, f.level_name()), (FaultKind::ExternalAbort, "PDPT"));
}

#[test]
fn reserved_bits_are_those_of_tables_4_14_to_4_20() {
    let (_, mut r) = long(0);
    r.phys_bits = 40;
    // The level of the entry, the entry, whether it is reserved.
    for (level, entry, reserved) in [
        (0u64, (ROOT + 0x1000) | 7 | 1 << 7, true),
        (0, (ROOT + 0x1000) | 7 | 1 << 40, true),
        (1, 1 << 30 | 0x87, false),
        (1, 1 << 30 | 0x87 | 1 << 12, false),
        (1, 1 << 30 | 0x87 | 1 << 13, true),
        (1, 1 << 30 | 0x87 | 1 << 29, true),
        (2, 2 << 20 | 0x87 | 1 << 12, false),
        (2, 2 << 20 | 0x87 | 1 << 13, true),
        (2, 2 << 20 | 0x87 | 1 << 20, true),
        (3, 0x5007 | 1 << 39, false),
        (3, 0x5007 | 1 << 51, true),
        (3, 0x5007 | 0x7ff << 52, false),
    ] {
        let (memory, _) = long(0x5007);
        let slot = ROOT + level * 0x1000 + if level == 3 { 8 } else { 0 };
        put64(&memory, slot, entry);
        let found = Registers::X86(r).probe(&memory, va(0x1000), Access::READ);
        let expected = |f: &Fault| f.kind == FaultKind::Reserved && f.code == 0b1001;
        assert_eq!(found.as_ref().is_err_and(expected), reserved, "{level} {entry:#x}: {found:?}");
        assert_eq!(found.is_ok(), !reserved);
    }
    let (memory, mut r) = long(0x5007 | 1 << 63);
    r.efer &= !efer::NXE;
    assert_eq!(fault(&Registers::X86(r), &memory, 0x1000, Access::READ).kind, FaultKind::Reserved);
    let (memory, _) = long(0x5007);
    put64(&memory, ROOT + 0x1000, 1 << 30 | 0x87);
    r.gigabyte_pages = false;
    assert_eq!(fault(&Registers::X86(r), &memory, 0x1000, Access::READ).kind, FaultKind::Reserved);
}

#[test]
fn accessed_is_set_on_every_level_and_dirty_by_the_first_write() {
    let (memory, r) = long(0x5007);
    let mmu = Mmu::new(&memory, 1, Registers::X86(r), Strictness::STRICT).unwrap();
    mmu.access(0, va(0x1000), Access::READ).unwrap();
    for level in 0..3 {
        assert_eq!(get64(&memory, ROOT + level * 0x1000) & 0x60, 0x20);
    }
    assert_eq!(get64(&memory, ROOT + 0x3008), 0x5027);
    let hit = mmu.access(0, va(0x1000), Access::WRITE).unwrap();
    assert!(!hit.from_tlb);
    assert_eq!(get64(&memory, ROOT + 0x3008), 0x5067);
    assert!(mmu.access(0, va(0x1000), Access::WRITE).unwrap().from_tlb);
}

#[test]
fn an_access_that_faults_sets_nothing() {
    let (memory, r) = long(0x5005);
    let mmu = Mmu::new(&memory, 1, Registers::X86(r), Strictness::STRICT).unwrap();
    mmu.access(0, va(0x1000), Access::USER_WRITE).unwrap_err();
    assert_eq!((get64(&memory, ROOT), get64(&memory, ROOT + 0x3008)), ((ROOT + 0x1000) | 7, 0x5005));
}

#[test]
fn pages_of_2_mib_and_1_gib_keep_pat_in_bit_12() {
    let (memory, r) = long(0x5007);
    put64(&memory, ROOT + 0x2008, 0x20_0000 | 0x87 | 1 << 12 | 1 << 3);
    put64(&memory, ROOT + 0x1008, 0x4000_0000 | 0x83 | 1 << 8 | 1 << 4);
    let r = Registers::X86(r);
    let m = r.look_up(&memory, va(0x20_1234), Access::READ).unwrap();
    assert_eq!((m.phys_of(va(0x20_1234)).get(), m.bytes), (0x20_1234, 2 << 20));
    assert_eq!((m.memory, m.global), (MemoryKind::WriteProtect, false));
    let m = r.look_up(&memory, va(0x4abc_d123), Access::READ).unwrap();
    assert_eq!((m.phys_of(va(0x4abc_d123)).get(), m.bytes, m.level), (0x4abc_d123, 1 << 30, 2));
    assert_eq!((m.memory, m.global), (MemoryKind::UncachedMinus, true));
}

#[test]
fn five_levels_translate_57_bits() {
    let (memory, _) = long(0x5007);
    let r = X86Registers::long(0x3_0000, true);
    put64(&memory, 0x3_0000 + 8 * 0x1ff, ROOT | 7);
    let r = Registers::X86(r);
    let at = 0xffff_0000_0000_1000;
    assert_eq!(r.probe(&memory, va(at), Access::READ).unwrap(), PhysAddr::new(0x5000));
    assert_eq!(fault(&r, &memory, 0x100_0000_0000_0000, Access::READ).kind, FaultKind::NonCanonical);
    let f = fault(&r, &memory, 0x1000, Access::READ);
    assert_eq!(f.level_name(), "PML5");
}

#[test]
fn two_levels_have_32_bit_entries_and_pages_of_4_mib_reach_40_bits() {
    let memory = memory(EntryWidth::Bits32);
    let mut r = X86Registers::two_level(ROOT);
    put32(&memory, ROOT + 4 * 0x301, (ROOT + 0x1000) as u32 | 7);
    put32(&memory, ROOT + 0x1000 + 4 * 0x23, 0x5003);
    // 0x12_4040_0000: bits 39:32 are 0x12, in 20:13.
    put32(&memory, ROOT + 4, 0x4040_0000 | 0x12 << 13 | 0x87);
    let on = Registers::X86(r);
    assert_eq!(on.probe(&memory, va(0xc042_3456), Access::WRITE).unwrap(), PhysAddr::new(0x5456));
    assert_eq!(rights(&on, &memory, 0xc042_3456), "rwx---");
    assert_eq!(
        on.probe(&memory, va(0x41_2345), Access::USER_EXECUTE).unwrap(),
        PhysAddr::new(0x12_4041_2345)
    );
    let f = fault(&on, &memory, 0xc082_3456, Access::USER_READ);
    assert_eq!((f.level_name(), f.code), ("PD", 0b00100));
    put32(&memory, ROOT + 4, 0x4040_0000 | 1 << 21 | 0x87);
    assert_eq!(fault(&on, &memory, 0x40_0000, Access::READ).kind, FaultKind::Reserved);
    // Without PSE the bit means nothing: the entry leads to a table.
    r.cr4 &= !cr4::PSE;
    put32(&memory, ROOT + 4, (ROOT + 0x1000) as u32 | 0x87);
    let f = fault(&Registers::X86(r), &memory, 0x40_0000, Access::READ);
    assert_eq!((f.kind, f.level_name()), (FaultKind::Translation, "PT"));
    assert_eq!(fault(&on, &memory, 1 << 32, Access::READ).kind, FaultKind::NonCanonical);
}

#[test]
fn pae_uses_the_pdptes_that_were_loaded_with_cr3() {
    let memory = memory(EntryWidth::Bits64);
    let root = ROOT + 0x20;
    put64(&memory, root + 8 * 3, (ROOT + 0x1000) | 1);
    put64(&memory, ROOT + 0x1000, 0x20_0000 | 0x83);
    let r = Registers::X86(X86Registers::pae(root));
    let mmu = Mmu::new(&memory, 1, r, Strictness::HARDWARE).unwrap();
    assert_eq!(mmu.access(0, va(0xc000_1234), Access::WRITE).unwrap().phys, PhysAddr::new(0x20_1234));
    // A new one is seen only when CR3 is written.
    put64(&memory, root, (ROOT + 0x1000) | 1);
    let error = mmu.access(0, va(0x1234), Access::READ).unwrap_err();
    assert!(matches!(error, AccessError::Fault(f) if f.level_name() == "PDPT"));
    mmu.set_registers(0, r).unwrap();
    assert_eq!(mmu.access(0, va(0x1234), Access::WRITE).unwrap().phys, PhysAddr::new(0x20_1234));
    put64(&memory, root + 8, (ROOT + 0x1000) | 3);
    let error = mmu.set_registers(0, r).unwrap_err();
    assert!(matches!(error, LoadError::ReservedPdpte { index: 1, .. }));
    put64(&memory, root + 8, 0);
    // Bits 62:52 of the entries below are reserved, bit 63 is XD.
    put64(&memory, ROOT + 0x1000, 0x20_0000 | 0x83 | 1 << 63);
    assert_eq!(rights(&r, &memory, 0xc000_1234), "rw----");
    put64(&memory, ROOT + 0x1000, 0x20_0000 | 0x83 | 1 << 59);
    assert_eq!(fault(&r, &memory, 0xc000_1234, Access::READ).kind, FaultKind::Reserved);
}

#[test]
fn the_encryption_bit_is_no_address() {
    let c_bit = 1 << 47;
    let (memory, mut r) = long(0x5007 | c_bit);
    put64(&memory, ROOT, (ROOT + 0x1000) | 7 | c_bit);
    assert_eq!(fault(&Registers::X86(r), &memory, 0x1000, Access::READ).kind, FaultKind::Reserved);
    (r.encryption_mask, r.cr3) = (c_bit, ROOT | c_bit);
    let m = Registers::X86(r).look_up(&memory, va(0x1000), Access::READ).unwrap();
    assert_eq!((m.phys, m.special), (PhysAddr::new(0x5000), true));
}

#[test]
fn with_paging_off_addresses_are_physical() {
    let (memory, mut r) = long(0);
    r.cr0 &= !cr0::PG;
    let mmu = Mmu::new(&memory, 1, Registers::X86(r), Strictness::STRICT).unwrap();
    assert_eq!(mmu.access(0, va(0x77_0000), Access::WRITE).unwrap().phys, PhysAddr::new(0x77_0000));
}
