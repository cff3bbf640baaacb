//! The page tables of whole x86_64 boots, seen by the software MMU.

use crate::support::facts::{Depth, Facts};
use crate::support::spec::{Spec, affinity, pc, pc_map, pc_map_with, range};
use crate::support::tables::{Run, rights_to, runs};
use crate::support::{GIB, KIB, MIB};
use pagewright::{Boot, BootError};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr};
use pagewright_firmware::e820::{E820Entry, E820Kind};
use pagewright_pagetable::{AttrFlags, Level};
use pagewright_sim::mmu::{Access, Registers, X86Registers};
use pagewright_sim::{EntryWidth, PhysMemory};
use proptest::prelude::*;
use std::cell::RefCell;

/// RAM that lasts as long as the tests.
fn ram(bytes: u64) -> &'static PhysMemory {
    let all = [PhysRange::from_len(PhysAddr::ZERO, bytes)];
    Box::leak(Box::new(PhysMemory::new(all, EntryWidth::Bits64)))
}

/// What a boot left behind.
struct Built {
    ram: &'static PhysMemory,
    root: PhysAddr,
    spec: Spec,
    facts: Facts,
    runs: Vec<Run>,
    /// Where the direct map begins.
    base: u64,
}

/// Boots to the end with memory for tables. As many must be built as are counted.
#[track_caller]
fn build(spec: Spec) -> Built {
    let ram = ram(64 * GIB);
    let seen = RefCell::new(None);
    let (result, log) = spec.boot_to_the_end(
        |b| b.set_table_memory(ram),
        |boot: &Boot<'_>| {
            assert_eq!(boot.table_counts.mismatch(), None);
            assert_eq!(boot.table_error, None);
            let tables = boot.pgtable.expect("there is memory for tables");
            let base = boot.linear_map().virt(PhysAddr::ZERO).get();
            *seen.borrow_mut() = Some((tables.root, runs(&tables, u64::MAX), base));
        },
    );
    let facts = result.unwrap_or_else(|e| panic!("{e}\n{:#?}", log.lines.borrow()));
    let (root, runs, base) = seen.into_inner().expect("the boot came to its end");
    Built { ram, root, spec, facts, runs, base }
}

impl Built {
    fn registers(&self) -> Registers {
        let mut registers = X86Registers::long(self.root.get(), self.spec.cpus.la57);
        registers.phys_bits = 52;
        registers.encryption_mask = self.spec.cpus.encryption_mask;
        Registers::X86(registers)
    }

    /// Where an access leads.
    fn probe(&self, va: u64, access: Access) -> Option<u64> {
        self.registers().probe(self.ram, VirtAddr::new(va), access).ok().map(PhysAddr::get)
    }

    /// The rights at an address of the direct map.
    fn direct(&self, phys: u64) -> String {
        self.rights(self.base + phys, phys)
    }

    /// The rights at an address of the image's mapping.
    fn image(&self, phys: u64) -> String {
        self.rights(0xffff_ffff_8000_0000 + phys, phys)
    }

    #[track_caller]
    fn rights(&self, va: u64, phys: u64) -> String {
        rights_to(self.ram, &self.registers(), va, phys)
    }

    /// Bytes of the direct map in leaves of each level.
    fn direct_bytes(&self) -> [u64; 3] {
        let mut out = [0; 3];
        for (range, _, level, _) in &self.runs {
            if (self.base..self.base + (64 << 40)).contains(&range.start.get()) {
                out[level.index()] += range.len;
            }
        }
        out
    }
}

/// Machines of many shapes.
fn machines() -> Vec<Spec> {
    let mut odd = pc(256);
    odd.pc_mut().e820 = vec![
        E820Entry::new(0, 0x9_fc00, E820Kind::Ram),
        E820Entry::new(MIB, 300 * MIB - 12 * KIB, E820Kind::Ram),
        E820Entry::new(320 * MIB + 4 * KIB, 77 * MIB, E820Kind::Ram),
        E820Entry::new(4 * GIB + 3 * MIB, 5 * GIB, E820Kind::Ram),
    ];
    let mut five = pc(512);
    five.cpus.la57 = true;
    let mut huge = pc(9 * 1024);
    huge.cpus.gbpages = true;
    let mut encrypted = pc(512);
    encrypted.cpus.encryption_mask = 1 << 47;
    let numa = pc(2048).tables(|pc| {
        pc.srat = vec![affinity(0, 0, GIB), affinity(1, GIB, GIB)];
    });
    let mut wide = huge.clone();
    wide.cpus.la57 = true;
    let upward = pc(2048).cmdline("movable_node");
    vec![pc(128), pc(3000), upward, pc(5 * 1024), odd, five, huge, wide, encrypted, numa, pc(256).cpus(64)]
}

#[test]
fn all_memory_can_be_read_and_written_through_the_direct_map_but_for_what_is_protected() {
    for spec in machines() {
        let built = build(spec);
        let image = built.spec.image;
        for zone in &built.facts.zones {
            let (start, end) = (zone.pfns.start.get() << 12, zone.pfns.end.get() << 12);
            for phys in [start, start + (end - start) / 3 / 4096 * 4096, end - 1] {
                let inside = built.facts.memory.iter().any(|m| m.range.contains(PhysAddr::new(phys)));
                let read_only =
                    (image.text_start..image.rodata_end).contains(&PhysAddr::new(phys)) || phys < MIB;
                if inside && !read_only {
                    assert_eq!(built.direct(phys), "rw-", "{phys:#x}");
                }
            }
        }
        // Nothing is mapped that is no memory.
        let holes = [built.base + (60 << 30), built.base - 1];
        assert!(holes.iter().all(|va| built.probe(*va, Access::READ).is_none()));
    }
}

#[test]
fn nothing_is_both_written_and_executed_once_the_kernel_runs() {
    for spec in machines() {
        let built = build(spec);
        let both = AttrFlags::WRITE | AttrFlags::EXEC;
        let bad = built.runs.iter().find(|(.., flags)| flags.contains(both));
        assert_eq!(bad, None);
        // Text is what may be executed, and the trampoline of other processors.
        let code: u64 = built.runs.iter().filter(|r| r.3.contains(AttrFlags::EXEC)).map(|r| r.0.len).sum();
        let text = built.spec.image.text_end.get() - built.spec.image.text_start.get();
        assert_eq!(code, text + 8 * KIB);
    }
}

#[test]
fn both_views_of_the_image_agree_on_what_may_be_written() {
    let built = build(pc(256));
    let image = built.spec.image;
    for (phys, in_image, in_direct) in [
        (image.text_start, "r-x", "r--"),
        (image.rodata_start, "r--", "r--"),
        (image.rodata_end.saturating_sub(1), "r--", "r--"),
        (image.data_start, "rw-", "rw-"),
        (image.init_begin, "rw-", "rw-"),
        (image.end.saturating_sub(1), "rw-", "rw-"),
    ] {
        assert_eq!(built.image(phys.get()), in_image, "{phys:?}");
        assert_eq!(built.direct(phys.get()), in_direct, "{phys:?}");
    }
    // Before and after the image the blocks of its mapping are gone.
    for phys in [image.text_start.get() - 1, (image.end.get() + image.brk_used).next_multiple_of(2 * MIB)] {
        assert_eq!(built.image(phys), "---", "{phys:#x}");
    }
}

#[test]
fn gaps_between_sections_are_ordinary_memory_again() {
    let mut spec = pc(256);
    spec.image.text_end = spec.image.text_end.saturating_sub(64 * KIB);
    let gap = spec.image.text_end.get();
    let built = build(spec);
    assert_eq!((built.image(gap - 1).as_str(), built.direct(gap - 1).as_str()), ("r-x", "r--"));
    assert_eq!((built.image(gap).as_str(), built.direct(gap).as_str()), ("rw-", "rw-"));
}

#[test]
fn isolated_page_tables_show_nothing_freed_in_the_image_and_are_not_global() {
    let isolated = |line: &str, meltdown: bool| {
        let mut spec = pc(256).cmdline(line);
        spec.cpus.meltdown = meltdown;
        spec.image.text_end = spec.image.text_end.saturating_sub(64 * KIB);
        build(spec)
    };
    for (line, meltdown, is) in [
        ("", false, false),
        ("", true, true),
        ("nopti", true, false),
        ("pti=on", false, true),
        ("pti=auto", true, true),
    ] {
        let built = isolated(line, meltdown);
        let image = built.spec.image;
        for freed in [image.init_begin.get(), image.init_end.get() - 1, image.text_end.get()] {
            assert_eq!(built.image(freed), if is { "---" } else { "rw-" }, "{line} {freed:#x}");
            assert_eq!(built.direct(freed), "rw-", "{line} {freed:#x}");
        }
        // What is not freed stays where it is.
        assert_eq!(built.image(image.text_end.get() - 1), "r-x");
        assert_eq!(built.image(image.data_start.get()), "rw-");
        let global = built.runs.iter().filter(|r| r.3.contains(AttrFlags::GLOBAL)).count();
        assert_eq!(global == 0, is, "{line}");
    }
}

#[test]
fn rodata_off_leaves_text_and_constants_writable() {
    let built = build(pc(256).cmdline("rodata=off"));
    assert_eq!(built.image(built.spec.image.text_start.get()), "rwx");
    assert_eq!(built.image(built.spec.image.rodata_start.get()), "rwx");
    // Init memory is freed all the same, and must not be executed.
    assert_eq!(built.image(built.spec.image.init_begin.get()), "rw-");
}

#[test]
fn the_idt_is_read_only_in_all_its_three_views() {
    let mut spec = pc(256);
    let idt = spec.image.bss_start.align_up(4 * KIB);
    spec.image.x86.idt_table = idt;
    let built = build(spec);
    assert_eq!(built.image(idt.get()), "r--");
    assert_eq!(built.direct(idt.get()), "r--");
    assert_eq!(built.rights(0xffff_fe00_0000_0000, idt.get()), "r--");
    // Its neighbours are not.
    assert_eq!(built.direct(idt.get() + 4096), "rw-");
}

#[test]
fn the_trampoline_of_other_processors_is_code_below_one_mebibyte() {
    let built = build(pc(256));
    let at = built.runs.iter().find(|r| r.3.contains(AttrFlags::EXEC) && r.0.start.get() < built.base + MIB);
    let (range, phys, level, flags) = at.expect("there is room for it");
    assert_eq!((range.len, *level, flags.contains(AttrFlags::WRITE)), (8 * KIB, Level::PTE, false));
    // Its header is before it, its data after it.
    assert_eq!(built.direct(phys - 1), "r--");
    assert_eq!(built.direct(phys + range.len), "rw-");
}

#[test]
fn gigabyte_pages_are_used_where_processor_and_command_line_have_them() {
    let with = |gbpages, line: &str| {
        let mut spec = pc(9 * 1024).cmdline(line);
        spec.cpus.gbpages = gbpages;
        build(spec).direct_bytes()
    };
    assert_eq!(with(false, "")[2], 0);
    assert_eq!(with(true, "nogbpages")[2], 0);
    // 6 GiB above 4 GiB and, below, all but the first and what the image's permissions split.
    assert_eq!(with(true, "")[2], 8 * GIB);
    assert_eq!(with(true, "").iter().sum::<u64>(), with(false, "").iter().sum::<u64>());
}

#[test]
fn tables_are_taken_at_the_same_calls_whether_they_are_built_or_counted() {
    for spec in machines() {
        let counted = spec.boot();
        let built = build(spec);
        assert_eq!(counted.events, built.facts.events);
        assert_eq!(counted.reserved, built.facts.reserved);
    }
}

#[test]
fn every_entry_of_an_encrypted_machine_says_so() {
    let mut spec = pc(512);
    spec.cpus.encryption_mask = 1 << 47;
    let built = build(spec);
    let mut registers = X86Registers::long(built.root.get(), false);
    registers.encryption_mask = 1 << 47;
    for (range, ..) in built.runs.iter().filter(|r| r.0.start.get() >= built.base) {
        let (found, trail) = Registers::X86(registers).look_up_trail(built.ram, range.start, Access::READ);
        assert!(found.is_ok(), "{range:?}");
        assert!(trail.iter().all(|step| step.word >> 47 & 1 == 1), "{range:?}: {trail:x?}");
    }
}

#[test]
fn a_boot_that_finds_no_page_for_a_table_stops_as_it_does_when_tables_are_counted() {
    let spec = pc(256);
    let mut stopped = 0;
    for n in 1..60 {
        let fail = |b: &mut Boot<'_>| b.mb.fail_nth(Some(n));
        let (counted, _) = spec.boot_with(Depth::Memblock, fail);
        let ram = ram(GIB);
        let (built, _) = spec.boot_with(Depth::Memblock, |b| {
            b.set_table_memory(ram);
            fail(b);
        });
        assert_eq!(counted.as_ref().err(), built.as_ref().err(), "allocation {n}");
        stopped += u32::from(built.is_err());
    }
    assert!(stopped > 10, "{stopped}");
}

#[test]
fn a_machine_without_memory_for_its_static_tables_is_refused() {
    let spec = pc(256);
    let ram: &'static PhysMemory = Box::leak(Box::new(PhysMemory::new([range(0, MIB)], EntryWidth::Bits64)));
    let (result, _) = spec.boot_with(Depth::Memblock, |b| b.set_table_memory(ram));
    assert!(matches!(result, Err(BootError::PageTables(_))), "{result:?}");
}

#[test]
fn memory_that_the_command_line_cuts_off_is_not_mapped() {
    let built = build(pc(1024).cmdline("mem=300M"));
    assert_eq!(built.direct(299 * MIB), "rw-");
    assert_eq!(built.direct(300 * MIB), "---");
    let mut spec = pc(0x400);
    spec.pc_mut().e820 = pc_map(GIB);
    assert_eq!(build(spec.cmdline("memmap=64M$0x20000000")).direct(0x2000_0000), "---");
}

/// A PC with any map: banks from the first megabyte on, of any number of pages, with gaps of any number of pages.
fn any_pc() -> impl Strategy<Value = Spec> {
    let bank = (0..2000u64, prop_oneof![1..40u64, 500..600u64, 1..300_000u64]);
    let lines: &'static [&str] =
        &["", "nogbpages", "movable_node", "mem=777M", "memmap=32M$128M", "rodata=off"];
    let line = proptest::sample::select(lines);
    (proptest::collection::vec(bank, 0..8), line, any::<[bool; 2]>()).prop_map(
        |(banks, line, [gbpages, la57])| {
            let mut spec = pc(128).cmdline(line);
            (spec.cpus.gbpages, spec.cpus.la57) = (gbpages, la57);
            spec.pc_mut().e820 = pc_map_with(128 * MIB, &banks);
            spec
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_pc_is_mapped_page_for_page_and_takes_the_tables_that_were_counted(spec in any_pc()) {
        let counted = spec.boot();
        let built = build(spec);
        prop_assert_eq!(&counted.events, &built.facts.events);
        for bank in &built.facts.memory {
            for phys in [bank.range.start.get(), bank.range.end.get() - 1] {
                prop_assert!(built.direct(phys).starts_with('r'), "{phys:#x}");
            }
        }
        // The direct map shows memory, rounded to large pages where all around it is memory, and the ISA range.
        let bytes: u64 = built.direct_bytes().iter().sum();
        let memory: u64 = built.facts.memory.iter().map(|m| m.range.len()).sum();
        prop_assert!(bytes >= memory && bytes <= memory + MIB, "{bytes:#x} for {memory:#x}");
    }
}
