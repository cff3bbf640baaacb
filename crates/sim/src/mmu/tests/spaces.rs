//! Address spaces, PDPTEs, bytes, and CPUs in threads.

use super::super::arm64::tcr;
use super::super::x86::{CR3_NOFLUSH, cr4};
use super::machine::{Machine, X86, memory_for, scope};
use super::*;
use pagewright_addr::VirtRange;
use pagewright_pagetable::format::FormatKind;
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_pagetable::format::x86::i386::I386Pae;
use pagewright_pagetable::{Attr, AttrFlags, FlushScope, MapOptions, NotLive, TlbFlush};

/// One page at 0x1000 for user code, of one address space, below this root; returns the entry's place.
fn user_page(memory: &PhysMemory, root: u64, phys: u64) -> u64 {
    for level in 0..3 {
        put64(memory, root + level * 0x1000, (root + (level + 1) * 0x1000) | 0x27);
    }
    put64(memory, root + 0x3008, phys | 0x67);
    root + 0x3008
}

#[test]
fn cr3_flushes_what_is_not_global_unless_pcids_keep_it() {
    let memory = memory(EntryWidth::Bits64);
    user_page(&memory, 0x1_0000, 0x5000);
    user_page(&memory, 0x2_0000, 0x6000);
    let at = |cr3| X86Registers::long(cr3, false);
    let mmu = Mmu::new(&memory, 1, Registers::X86(at(0x1_0000)), Strictness::STRICT).unwrap();
    let touch = |expected: u64| {
        let hit = mmu.access(0, va(0x1000), Access::USER_READ).unwrap();
        assert_eq!(hit.phys, PhysAddr::new(expected));
        hit.from_tlb
    };
    assert!(!touch(0x5000) && touch(0x5000));
    mmu.set_registers(0, Registers::X86(at(0x2_0000))).unwrap();
    assert!(!touch(0x6000));
    // With PCIDs both stay.
    let with = |cr3| {
        let plain = at(cr3);
        Registers::X86(X86Registers { cr4: plain.cr4 | cr4::PCIDE, ..plain })
    };
    mmu.set_registers(0, with(0x1_0001)).unwrap();
    assert!(!touch(0x5000));
    mmu.set_registers(0, with(0x2_0002)).unwrap();
    assert!(!touch(0x6000));
    mmu.set_registers(0, with(0x1_0001 | CR3_NOFLUSH)).unwrap();
    assert!(touch(0x5000));
    mmu.set_registers(0, with(0x2_0002)).unwrap();
    assert!(!touch(0x6000));
    // A PCID that is used for other tables without a flush brings the old ones' translations back.
    mmu.set_registers(0, with(0x2_0001 | CR3_NOFLUSH)).unwrap();
    let error = mmu.access(0, va(0x1000), Access::USER_READ).unwrap_err().to_string();
    assert!(error.ends_with("Missing: a flush of the address after its entry was changed"), "{error}");
}

#[test]
fn an_asid_flush_takes_one_address_space_and_on_arm_what_is_global() {
    let memory = memory(EntryWidth::Bits64);
    for (root, phys) in [(0x1_0000, 0x5000u64), (0x2_0000, 0x6000)] {
        for level in 0..2 {
            put64(&memory, root + level * 0x1000, (root + (level + 1) * 0x1000) | 3);
        }
        // A page of its own at 0x1000 (nG), and one that is global at 0x2000.
        put64(&memory, root + 0x2008, phys | 0xc43);
        put64(&memory, root + 0x2010, 0x7000 | 0x443);
    }
    let with = |root: u64, asid: u64| {
        let tcr = tcr::sizes(39) | tcr::TG1_4K | tcr::ips(48) | tcr::AS;
        Registers::Arm64(Arm64Registers::new(root | asid << 48, root, tcr, 0xff))
    };
    let strict = Strictness { check: true, speculate: false };
    let mmu = Mmu::new(&memory, 1, with(0x1_0000, 0x101), strict).unwrap();
    let from_tlb = |at: u64| mmu.access(0, va(at), Access::USER_READ).unwrap().from_tlb;
    assert!(!from_tlb(0x1000) && !from_tlb(0x2000));
    mmu.set_registers(0, with(0x2_0000, 0x202)).unwrap();
    assert!(!from_tlb(0x1000) && from_tlb(0x2000));
    mmu.all_cpus().flush(&FlushScope { asid: Some(0x202), ..scope(0x1000, 0x1000, 0x1000) });
    assert!(!from_tlb(0x1000));
    mmu.all_cpus().flush(&FlushScope { asid: Some(0x101), ..scope(0x2000, 0x1000, 0x1000) });
    assert!(!from_tlb(0x2000));
    mmu.set_registers(0, with(0x1_0000, 0x101)).unwrap();
    assert!(from_tlb(0x1000));
    // The other space's entry goes stale unseen, and is found when everything is looked through.
    mmu.set_registers(0, with(0x2_0000, 0x202)).unwrap();
    put64(&memory, 0x1_2008, 0);
    from_tlb(0x1000);
    let violation = mmu.check().unwrap_err();
    assert!(matches!(*violation, Violation::StaleTranslation { va: at, .. } if at == va(0x1000)));
    mmu.all_cpus().flush(&FlushScope { asid: Some(0x101), ..scope(0, 1 << 20, 0x1000) });
    mmu.check().unwrap();
}

#[test]
fn pae_keeps_its_pdptes_until_cr3_is_written() {
    let memory = memory_for::<I386Pae>();
    let mut m = Machine::new(FormatKind::I386Pae, I386Pae::default(), &memory);
    m.map(0xc000_0000, 0x1000, 0x5000, &MapOptions::PAGES);
    // Loaded with what the map made of the root; nothing was ever walked.
    m.mmu.set_registers(0, m.registers).unwrap();
    let range = VirtRange::from_len(va(0xc000_0000), 0x1000);
    let pending = m.tables.cursor().unmap(range, &mut |_| ()).unwrap();
    let scope = *pending.scope().unwrap();
    let mut watched = WatchedTables::new(&m.mmu, &mut m.pages, 4096);
    pending.finish(&&memory, &mut NotLive, &mut watched);
    let freed = m.mmu.check().unwrap_err();
    assert!(matches!(*freed, Violation::TableInUse { cpu: 0, va: at, .. } if at == va(0xc000_0000)));
    assert_eq!(freed.missing(), Missing::TableFlush);
    // A flush that covers tables writes CR3.
    m.mmu.all_cpus().flush(&scope);
    let error = m.mmu.access(0, va(0xc000_0000), Access::READ).unwrap_err();
    assert!(matches!(error, AccessError::Fault(f) if f.level_name() == "PDPT" && !f.spurious));
}

#[test]
fn bytes_are_loaded_and_stored_page_by_page() {
    let memory = memory_for::<X86Level4>();
    let mut m = Machine::new(FormatKind::X86Level4, X86Level4::default(), &memory);
    m.map(X86, 0x1000, 0x9000, &MapOptions::PAGES);
    m.map(X86 + 0x1000, 0x1000, 0x5000, &MapOptions::PAGES);
    m.mmu.store(0, va(X86 + 0xffc), false, b"pagewright").unwrap();
    let mut bytes = [0; 10];
    m.mmu.load(1, va(X86 + 0xffc), false, &mut bytes).unwrap();
    assert_eq!(&bytes, b"pagewright");
    memory.read(PhysAddr::new(0x5000), &mut bytes[..6]).unwrap();
    assert_eq!(&bytes[..6], b"wright");
    let error = m.mmu.store(0, va(X86 + 0x1ffe), false, b"abc").unwrap_err();
    assert!(matches!(error, AccessError::Fault(f) if f.va == va(X86 + 0x2000)));
    assert!(m.mmu.load(0, va(X86), true, &mut bytes).is_err());
}

#[test]
fn cpus_in_threads_note_every_write_and_lose_no_store() {
    let memory = memory_for::<X86Level4>();
    let mut m = Machine::new(FormatKind::X86Level4, X86Level4::default(), &memory);
    let flags = AttrFlags::WRITE | AttrFlags::GLOBAL;
    let pages = if cfg!(miri) { 4 } else { 256 };
    let range = VirtRange::from_len(va(X86), pages << 12);
    let attr = Attr::normal(flags);
    m.tables.cursor().map(range, PhysAddr::ZERO, attr, &MapOptions::PAGES, &mut m.pages).unwrap();
    std::thread::scope(|s| {
        for cpu in 0..2u8 {
            let mmu = &m.mmu;
            s.spawn(move || {
                for page in 0..pages {
                    let at = va(X86 + (page << 12) + u64::from(cpu));
                    mmu.store(usize::from(cpu), at, false, &[cpu + 1]).unwrap();
                }
            });
        }
    });
    for page in 0..pages {
        let (leaf, _, _) = m.tables.leaf(va(X86 + (page << 12))).unwrap();
        assert!(leaf.attr.flags.contains(AttrFlags::ACCESSED | AttrFlags::DIRTY));
        let mut bytes = [0; 2];
        memory.read(PhysAddr::new(page << 12), &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2]);
    }
    m.mmu.check().unwrap();
}
