//! What a TLB remembers, and what it takes to make it forget.

use super::machine::{ARM64, Machine, X86, memory_for, scope};
use super::*;
use pagewright_addr::VirtRange;
use pagewright_pagetable::format::FormatKind;
use pagewright_pagetable::format::arm64::Arm64Page4kVa39;
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_pagetable::{
    AttrChange, AttrFlags, FlushScope, Format, Level, Live, MapOptions, NotLive, TableLimits, TlbFlush,
};

#[test]
fn a_flush_that_missed_a_cpu_leaves_it_stale() {
    let memory = memory_for::<X86Level4>();
    let mut m = Machine::new(FormatKind::X86Level4, X86Level4::default(), &memory);
    m.map(X86, 0x4000, 0x5000, &MapOptions::PAGES);
    for cpu in 0..2 {
        assert_eq!(m.mmu.access(cpu, va(X86 + 0x2abc), Access::WRITE).unwrap().phys, PhysAddr::new(0x7abc));
    }
    let range = VirtRange::from_len(va(X86 + 0x2000), 0x1000);
    let pending = m.tables.cursor().unmap(range, &mut |_| ()).unwrap();
    pending.finish(&&memory, &mut m.mmu.only(0), &mut m.pages);
    let error = m.mmu.access(0, va(X86 + 0x2abc), Access::READ).unwrap_err();
    assert!(matches!(error, AccessError::Fault(Fault { kind: FaultKind::Translation, .. })));
    let told = m.violation(1, X86 + 0x2abc, Access::READ).to_string();
    assert!(told.starts_with("CPU 1 uses a stale translation of 0xffff888000002abc (kernel read)"), "{told}");
    assert!(told.contains("to 0x7000"), "{told}");
    assert!(told.ends_with("Missing: a flush of the address after its entry was taken out"), "{told}");
}

#[test]
fn a_flush_before_the_change_is_as_bad_as_none() {
    let memory = memory_for::<X86Level4>();
    let mut m = Machine::new(FormatKind::X86Level4, X86Level4::default(), &memory);
    m.map(X86, 0x4000, 0x5000, &MapOptions::PAGES);
    m.mmu.access(0, va(X86), Access::READ).unwrap();
    m.mmu.all_cpus().flush(&scope(X86, 0x1000, 0x1000));
    let pending = m.tables.cursor().unmap(VirtRange::from_len(va(X86), 0x1000), &mut |_| ()).unwrap();
    pending.finish(&&memory, &mut NotLive, &mut m.pages);
    let violation = m.violation(0, X86, Access::READ);
    assert!(matches!(violation, Violation::StaleTranslation { flushed_too_early: true, .. }));
    assert!(violation.to_string().contains("was flushed before the change, not after it"));
    assert_eq!(m.mmu.check().unwrap_err().va(), va(X86));
    // Without the second look, hardware just goes on.
    let silent = Mmu::new(&memory, 1, m.registers, Strictness::HARDWARE).unwrap();
    assert!(silent.access(0, va(X86 + 0x1000), Access::READ).is_ok());
    put64(&memory, m.tables.root().get(), 0);
    let range = VirtRange::from_len(va(X86 + 0x1000), 0x1000);
    m.tables.cursor().unmap(range, &mut |_| ()).unwrap().finish(&&memory, &mut NotLive, &mut m.pages);
    assert!(silent.access(0, va(X86 + 0x1000), Access::READ).unwrap().from_tlb);
}

#[test]
fn a_flush_meets_only_the_addresses_that_it_steps_on() {
    let memory = memory_for::<X86Level4>();
    let mut m = Machine::new(FormatKind::X86Level4, X86Level4::default(), &memory);
    m.map(X86, 4 << 20, 0x80_0000, &MapOptions::default());
    m.map(X86 + (4 << 20), 0x8000, 0x1000, &MapOptions::PAGES);
    for at in [0, 2 << 20, 4 << 20, (4 << 20) + 0x1000, (4 << 20) + 0x2000] {
        m.mmu.access(0, va(X86 + at + 0x234), Access::READ).unwrap();
    }
    let all = VirtRange::from_len(va(X86), (4 << 20) + 0x8000);
    let _ = m.tables.cursor().unmap(all, &mut |_| ()).unwrap();
    // Steps of 2 MiB meet both blocks and the first page.
    m.mmu.all_cpus().flush(&scope(X86, all.len, 2 << 20));
    let stale: Vec<u64> = m.mmu.violations().iter().map(|v| v.va().get() - X86 - (4 << 20)).collect();
    assert_eq!(stale, [0x1000, 0x2000]);
    m.mmu.all_cpus().flush(&scope(X86 + (4 << 20) + 0x1000, 0x1000, 0x1000));
    assert_eq!(m.mmu.violations().len(), 1);
    // Any address of a block is enough for all of it.
    m.map(X86, 2 << 20, 0x80_0000, &MapOptions::default());
}

#[test]
fn arm_keeps_tables_until_a_flush_covers_them() {
    let memory = memory_for::<Arm64Page4kVa39>();
    let mut m = Machine::new(FormatKind::Arm64Page4kVa39, Arm64Page4kVa39::default(), &memory);
    m.map(ARM64, 0x2000, 0x5000, &MapOptions::PAGES);
    m.mmu.access(0, va(ARM64), Access::READ).unwrap();
    let pending = m.tables.cursor().unmap(VirtRange::from_len(va(ARM64), 0x2000), &mut |_| ()).unwrap();
    assert!(pending.tables() > 0);
    // The leaves are flushed, the tables are not.
    m.mmu.all_cpus().flush(&FlushScope { tables_freed: false, ..*pending.scope().unwrap() });
    let mut watched = WatchedTables::new(&m.mmu, &mut m.pages, 4096);
    pending.finish(&&memory, &mut NotLive, &mut watched);
    let violation = m.violation(0, ARM64 + 0x1000, Access::READ);
    assert!(matches!(violation, Violation::StaleTable { cpu: 0, .. }), "{violation}");
    assert_eq!(violation.missing(), Missing::TableFlush);
    let freed = m.mmu.check().unwrap_err();
    assert!(matches!(*freed, Violation::TableInUse { missing: Missing::TableFlush, .. }));
    assert!(freed.to_string().starts_with("the table at 0x20"), "{freed}");
    m.mmu.all_cpus().flush(&FlushScope { tables_freed: true, ..scope(ARM64, 0x2000, 0x1000) });
    let error = m.mmu.access(0, va(ARM64), Access::READ).unwrap_err();
    assert!(matches!(error, AccessError::Fault(Fault { kind: FaultKind::Translation, .. })));
}

#[test]
fn arm_wants_a_break_before_a_page_becomes_a_block() {
    let memory = memory_for::<Arm64Page4kVa39>();
    let mut m = Machine::new(FormatKind::Arm64Page4kVa39, Arm64Page4kVa39::default(), &memory);
    m.map(ARM64, 2 << 20, 0x80_0000, &MapOptions::PAGES);
    m.mmu.access(0, va(ARM64 + 0x3000), Access::READ).unwrap();
    m.mmu.access(1, va(ARM64 + 0x5000), Access::READ).unwrap();
    let (leaf, _, _) = m.tables.leaf(va(ARM64)).unwrap();
    let block = m.tables.format().leaf_word(Level::PMD, &leaf).unwrap();
    // The PMD table is the page after the root's: its first entry becomes a block while it is live.
    let (_, trail) = m.registers.look_up_trail(&memory, va(ARM64), Access::READ);
    let pmd = trail[1].at;
    let table = trail[1].word;
    put64(&memory, pmd.get(), block);
    let violation = m.violation(0, ARM64 + 0x3000, Access::READ);
    assert_eq!((violation.va(), violation.missing()), (va(ARM64 + 0x3000), Missing::BreakBeforeMake));
    // A CPU whose walk cache was flushed, but not its TLB, gets the block beside the page.
    let leaf_only = FlushScope { tables_freed: true, ..scope(ARM64 + 0x7000, 0x1000, 0x1000) };
    m.mmu.only(1).flush(&leaf_only);
    let violation = m.violation(1, ARM64 + 0x7000, Access::READ);
    assert!(matches!(violation, Violation::ConflictingTranslations { cpu: 1, .. }), "{violation}");
    assert_eq!(violation.missing(), Missing::BreakBeforeMake);
    // Done right: invalid, flush, block.
    put64(&memory, pmd.get(), 0);
    m.mmu.all_cpus().flush(&FlushScope { tables_freed: true, ..scope(ARM64, 2 << 20, 0x1000) });
    put64(&memory, pmd.get(), block);
    assert_eq!(m.mmu.access(0, va(ARM64 + 0x3000), Access::READ).unwrap().mapping.unwrap().bytes, 2 << 20);
    m.mmu.check().unwrap();
    assert_ne!(table, block);
}

#[test]
fn x86_may_go_on_with_a_block_whose_pages_say_the_same() {
    let memory = memory_for::<X86Level4>();
    let mut m = Machine::new(FormatKind::X86Level4, X86Level4::default(), &memory);
    m.map(X86, 2 << 20, 0x80_0000, &MapOptions::default());
    m.mmu.access(0, va(X86), Access::WRITE).unwrap();
    let at = va(X86 + 0x1000);
    let (tables, pending) =
        m.tables.cursor().split(at, TableLimits::empty(), &mut m.pages, Live::Always).unwrap();
    assert_eq!(tables, 1);
    assert!(m.mmu.access(0, va(X86 + 0x5000), Access::WRITE).unwrap().from_tlb);
    m.mmu.check().unwrap();
    drop(pending);
}

#[test]
fn a_group_with_a_leaf_that_leads_elsewhere_is_no_group() {
    let memory = memory_for::<Arm64Page4kVa39>();
    let mut m = Machine::new(FormatKind::Arm64Page4kVa39, Arm64Page4kVa39::default(), &memory);
    m.map(ARM64, 0x1_0000, 0x8_0000, &MapOptions::default());
    let first = m.mmu.access(0, va(ARM64), Access::READ).unwrap().mapping.unwrap();
    assert_eq!(first.group_bytes, 0x1_0000);
    assert!(m.mmu.access(0, va(ARM64 + 0xf000), Access::READ).unwrap().from_tlb);
    let fourth = first.entry_at.get() + 3 * 8;
    put64(&memory, fourth, get64(&memory, fourth) + 0x10_0000);
    let violation = m.violation(0, ARM64 + 0x3000, Access::READ);
    assert_eq!((violation.va(), violation.missing()), (va(ARM64 + 0x3000), Missing::WholeGroup));
}

#[test]
fn a_wrong_level_hint_flushes_nothing_on_arm64() {
    let memory = memory_for::<Arm64Page4kVa39>();
    let mut m = Machine::new(FormatKind::Arm64Page4kVa39, Arm64Page4kVa39::default(), &memory);
    // The second block keeps the table.
    m.map(ARM64, 4 << 20, 0x80_0000, &MapOptions::default());
    m.mmu.access(0, va(ARM64), Access::READ).unwrap();
    let _ = m.tables.cursor().unmap(VirtRange::from_len(va(ARM64), 2 << 20), &mut |_| ()).unwrap();
    let hint = |level| FlushScope { level: Some(level), ..scope(ARM64, 2 << 20, 0x1000) };
    m.mmu.all_cpus().flush(&hint(Level::PTE));
    assert_eq!(m.violation(0, ARM64, Access::READ).missing(), Missing::UnmapFlush);
    m.mmu.all_cpus().flush(&hint(Level::PMD));
    assert!(matches!(m.mmu.access(0, va(ARM64), Access::READ), Err(AccessError::Fault(_))));
}

#[test]
fn rights_that_go_need_a_flush_and_rights_that_come_do_not() {
    let memory = memory_for::<X86Level4>();
    let mut m = Machine::new(FormatKind::X86Level4, X86Level4::default(), &memory);
    m.map(X86, 0x1000, 0x5000, &MapOptions::PAGES);
    m.mmu.access(0, va(X86), Access::WRITE).unwrap();
    let range = VirtRange::from_len(va(X86), 0x1000);
    let less = AttrChange::flags(AttrFlags::empty(), AttrFlags::WRITE);
    let (_, pending) = m.tables.cursor().protect(range, &less, Live::Always).unwrap();
    m.mmu.access(0, va(X86), Access::READ).unwrap();
    assert_eq!(m.violation(0, X86, Access::WRITE).missing(), Missing::ProtectFlush);
    assert_eq!(m.mmu.check().unwrap_err().missing(), Missing::ProtectFlush);
    pending.finish(&&memory, &mut m.mmu.all_cpus(), &mut m.pages);
    m.mmu.check().unwrap();
    let fault = m.mmu.access(0, va(X86), Access::WRITE).unwrap_err();
    assert!(matches!(fault, AccessError::Fault(Fault { spurious: false, .. })));
    // The read-only entry is cached again; then the page becomes writable.
    m.mmu.access(0, va(X86), Access::READ).unwrap();
    let more = AttrChange::flags(AttrFlags::WRITE, AttrFlags::empty());
    let _ = m.tables.cursor().protect(range, &more, Live::Always).unwrap();
    m.mmu.check().unwrap();
    let fault = m.mmu.access(0, va(X86), Access::WRITE).unwrap_err();
    assert!(matches!(fault, AccessError::Fault(Fault { spurious: true, .. })), "{fault}");
    // x86 forgets the address when it faults.
    m.mmu.access(0, va(X86), Access::WRITE).unwrap();
}

#[test]
fn a_page_marked_clean_without_a_flush_would_lose_writes() {
    let memory = memory_for::<X86Level4>();
    let mut m = Machine::new(FormatKind::X86Level4, X86Level4::default(), &memory);
    m.map(X86, 0x1000, 0x5000, &MapOptions::PAGES);
    m.mmu.access(0, va(X86), Access::WRITE).unwrap();
    let noted = AttrFlags::DIRTY | AttrFlags::ACCESSED;
    let (had, pending) = m.tables.cursor().test_and_clear(va(X86), noted).unwrap();
    assert_eq!(had, noted);
    // That the page looks old is harmless.
    m.mmu.access(0, va(X86), Access::READ).unwrap();
    assert_eq!(m.violation(0, X86, Access::WRITE).missing(), Missing::CleanFlush);
    pending.finish(&&memory, &mut m.mmu.all_cpus(), &mut m.pages);
    m.mmu.access(0, va(X86), Access::WRITE).unwrap();
    assert_eq!(m.tables.cursor().test_and_clear(va(X86), noted).unwrap().0, noted);
}
