//! The page tables of whole i386 boots, with two levels and with PAE, seen by the software MMU.

mod fixed;
mod refused;

use crate::support::facts::{Depth, Facts};
use crate::support::spec::{Spec, pc_map_with, pc_of};
use crate::support::tables::{Run, rights_to, runs};
use crate::support::{GIB, KIB, MIB};
use pagewright::pgtable::Count;
use pagewright::pgtable::i386::Places;
use pagewright::{Boot, BootError};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr};
use pagewright_firmware::config::Flavour;
use pagewright_firmware::e820::{E820Entry, E820Kind};
use pagewright_kspace::I386Areas;
use pagewright_pagetable::AttrFlags;
use pagewright_sim::mmu::x86::{cr4, efer};
use pagewright_sim::mmu::{Access, Registers, X86Registers};
use pagewright_sim::{EntryWidth, PhysMemory};
use proptest::prelude::*;
use std::cell::RefCell;

const BOTH: [Flavour; 2] = [Flavour::I686, Flavour::I686Pae];

/// RAM that lasts as long as the tests.
fn ram(pae: bool, bytes: u64) -> &'static PhysMemory {
    let width = if pae { EntryWidth::Bits64 } else { EntryWidth::Bits32 };
    Box::leak(Box::new(PhysMemory::new([PhysRange::from_len(PhysAddr::ZERO, bytes)], width)))
}

/// What a boot left behind.
struct Built {
    ram: &'static PhysMemory,
    root: PhysAddr,
    /// The table for processors that start.
    initial: PhysAddr,
    spec: Spec,
    facts: Facts,
    runs: Vec<Run>,
    counts: Vec<Count>,
    areas: I386Areas,
    /// Where low memory ends.
    low: u64,
    /// Where low memory is mapped.
    base: u64,
    /// Where the head's mapping ends.
    head: u64,
}

/// Boots to the end with memory for tables. As many must be built as are counted.
#[track_caller]
fn build(spec: Spec) -> Built {
    let ram = ram(spec.config.lpae, 4 * GIB);
    let seen = RefCell::new(None);
    let (result, log) = spec.boot_to_the_end(
        |b| b.set_table_memory(ram),
        |boot: &Boot<'_>| {
            assert_eq!(boot.table_counts.mismatch(), None);
            assert_eq!(boot.table_error, None);
            let tables = boot.pgtable.expect("there is memory for tables");
            let initial = Places::of(boot.machine).initial;
            let counts = boot.table_counts.steps().to_vec();
            let areas = boot.i386_areas().unwrap();
            *seen.borrow_mut() =
                Some((tables.root, initial, runs(&tables, 1 << 32), counts, areas, boot.high_memory.get()));
        },
    );
    let facts = result.unwrap_or_else(|e| panic!("{e}\n{:#?}", log.lines.borrow()));
    let (root, initial, runs, counts, areas, low) = seen.into_inner().expect("the boot came to its end");
    let base = u64::from(spec.config.page_offset);
    let early = counts.iter().find(|c| c.step == "mk_early_pgtbl_32").map_or(0, |c| c.counted);
    let head = early * areas.pmd_bytes;
    Built { head, ram, root, initial, spec, facts, runs, counts, areas, low, base }
}

impl Built {
    fn registers(&self, root: PhysAddr) -> Registers {
        let new = if self.spec.config.lpae { X86Registers::pae } else { X86Registers::two_level };
        let mut registers = new(root.get());
        registers.phys_bits = 52;
        let has = self.spec.cpus.i386;
        for (there, bit) in [(has.pse, cr4::PSE), (has.pge, cr4::PGE)] {
            registers.cr4 &= if there { u64::MAX } else { !bit };
        }
        registers.efer &= if has.nx { u64::MAX } else { !efer::NXE };
        Registers::X86(registers)
    }

    /// Where an access leads.
    fn probe(&self, va: u64, access: Access) -> Option<u64> {
        let registers = self.registers(self.root);
        registers.probe(self.ram, VirtAddr::new(va), access).ok().map(PhysAddr::get)
    }

    /// The rights at an address of low memory.
    #[track_caller]
    fn rights(&self, phys: u64) -> String {
        rights_to(self.ram, &self.registers(self.root), self.base + phys, phys)
    }

    /// Bytes of low memory in leaves of each level.
    fn low_bytes(&self) -> [u64; 2] {
        self.low_bytes_from(0)
    }

    /// The same from a physical address on.
    fn low_bytes_from(&self, first: u64) -> [u64; 2] {
        let (first, end) = (self.base + first, self.base + self.low);
        let mut out = [0; 2];
        for (range, _, level, _) in &self.runs {
            let (from, to) = (range.start.get().max(first), (range.last().get() + 1).min(end));
            out[level.index()] += to.saturating_sub(from);
        }
        out
    }

    fn count(&self, step: &str) -> u64 {
        self.counts.iter().find(|c| c.step == step).map_or(0, |c| c.counted)
    }

    /// The table of pages that an address has one in; `None` where a large page or nothing is.
    fn table(&self, va: u64) -> Option<PhysAddr> {
        let (_, trail) = self.registers(self.root).look_up_trail(self.ram, VirtAddr::new(va), Access::READ);
        trail.iter().find(|step| step.level == 0).map(|step| step.at.align_down(4 * KIB))
    }
}

fn pc(flavour: Flavour, mib: u64) -> Spec {
    pc_of(flavour, mib)
}

/// Machines of many shapes.
fn machines() -> Vec<Spec> {
    let mut out = Vec::new();
    for flavour in BOTH {
        let mut odd = pc(flavour, 256);
        odd.pc_mut().e820 = vec![
            E820Entry::new(0, 0x9_fc00, E820Kind::Ram),
            E820Entry::new(MIB, 300 * MIB - 12 * KIB, E820Kind::Ram),
            E820Entry::new(320 * MIB + 4 * KIB, 77 * MIB, E820Kind::Ram),
            E820Entry::new(512 * MIB, 900 * MIB, E820Kind::Ram),
        ];
        let mut old = pc(flavour, 128);
        old.cpus.i386 = pagewright_firmware::I386Features { pse: false, pge: false, nx: false };
        let mut half = pc(flavour, 3000);
        half.config.page_offset = 0x8000_0000;
        let mut quarter = pc(flavour, 3000);
        quarter.config.page_offset = 0x4000_0000;
        let pae = if flavour == Flavour::I686Pae { "y" } else { "n" };
        let none = format!("CONFIG_NOHIGHMEM=y\nCONFIG_X86_PAE={pae}");
        let lowest = pc(flavour, 64).config(|c| c.apply(&none).unwrap());
        out.extend([
            // Smaller than what the head maps; an end between large pages; one that is none; the most.
            pc(flavour, 28),
            pc(flavour, 127),
            pc(flavour, 512),
            pc(flavour, 3000),
            pc(flavour, 3000).cmdline("vmalloc=256M"),
            pc(flavour, 2000).cmdline("highmem=1500M"),
            pc(flavour, 700).cmdline("reservetop=16M"),
            pc(flavour, 300).cmdline("mem=100M"),
            pc(flavour, 256).config(|c| c.nr_cpus = 64),
            pc(flavour, 256).config(|c| c.nr_cpus = 2),
            odd,
            old,
            half,
            quarter,
            lowest,
        ]);
    }
    out
}

#[test]
fn low_memory_is_mapped_page_for_page_and_nothing_beyond_it() {
    for spec in machines() {
        let built = build(spec);
        let image = built.spec.image;
        for zone in &built.facts.zones {
            let (start, end) = (zone.pfns.start.get() << 12, zone.pfns.end.get() << 12);
            for phys in [start, start + (end - start) / 3 / 4096 * 4096, end - 1] {
                let inside = built.facts.memory.iter().any(|m| m.range.contains(PhysAddr::new(phys)));
                let kept = (image.text_start.get()..image.rodata_end.get()).contains(&phys) || phys < MIB;
                if inside && phys < built.low && !kept {
                    assert!(built.rights(phys).starts_with("rw"), "{phys:#x} of {:#x}", built.low);
                }
            }
        }
        for va in [0, built.base - 1, built.base + built.low, built.base + built.low + MIB] {
            assert_eq!(built.probe(va, Access::READ), None, "{va:#x}");
        }
    }
}

#[test]
fn text_alone_is_executed_where_there_is_a_bit_for_it_and_all_of_low_memory_elsewhere() {
    for spec in machines() {
        let built = build(spec);
        let image = built.spec.image;
        let nx = built.spec.config.lpae && built.spec.cpus.i386.nx;
        let code: Vec<_> = built.runs.iter().filter(|r| r.3.contains(AttrFlags::EXEC)).collect();
        if nx {
            let bytes: u64 = code.iter().map(|r| r.0.len).sum();
            // The trampoline of other processors besides.
            assert_eq!(bytes, image.text_end.get() - image.text_start.get() + 4 * KIB);
            assert!(code.iter().all(|r| !r.3.contains(AttrFlags::WRITE)));
        } else {
            assert_eq!(code.len(), built.runs.len());
        }
        let rest = if nx { "rw-" } else { "rwx" };
        for (phys, rights) in [
            (image.text_start.get(), "r-x"),
            (image.text_end.get() - 1, "r-x"),
            (image.rodata_start.get(), if nx { "r--" } else { "r-x" }),
            (image.rodata_end.get() - 1, if nx { "r--" } else { "r-x" }),
            (image.data_start.get(), rest),
            (image.init_begin.get(), rest),
            (image.end.get() - 1, rest),
            (image.text_start.get() - 1, rest),
        ] {
            assert_eq!(built.rights(phys), rights, "{phys:#x}");
        }
    }
}

#[test]
fn rodata_off_leaves_text_and_constants_writable() {
    for flavour in BOTH {
        let built = build(pc(flavour, 256).cmdline("rodata=off"));
        let image = built.spec.image;
        assert_eq!(built.rights(image.text_start.get()), "rwx");
        assert_eq!(built.rights(image.rodata_start.get()), "rwx");
        // Init memory is freed all the same, and must not be executed.
        let init = if built.spec.config.lpae { "rw-" } else { "rwx" };
        assert_eq!(built.rights(image.init_begin.get()), init);
    }
}

#[test]
fn large_pages_are_used_where_the_processor_has_them_and_memory_is_whole() {
    for (flavour, large) in [(Flavour::I686, 4 * MIB), (Flavour::I686Pae, 2 * MIB)] {
        let built = build(pc(flavour, 127));
        let [small, blocks] = built.low_bytes();
        assert_eq!(small + blocks, 127 * MIB - (MIB - 0x9_f000 - 0x6_1000));
        assert_eq!(blocks % large, 0);
        // The first, the last, and those that permissions split: of the text's, the data's and the init sections' ends.
        assert!(small <= 6 * large, "{small:#x}");
        let mut old = pc(flavour, 127);
        old.cpus.i386.pse = false;
        assert_eq!(build(old).low_bytes(), [127 * MIB, 0]);
    }
}

#[test]
fn pages_are_global_where_the_processor_keeps_them_and_tables_are_not_isolated() {
    let globals = |spec: Spec| {
        let built = build(spec);
        let bytes =
            |g| built.runs.iter().filter(|r| r.3.contains(AttrFlags::GLOBAL) == g).map(|r| r.0.len).sum();
        let out: (u64, u64) = (bytes(true), bytes(false));
        out
    };
    for flavour in BOTH {
        assert_eq!(globals(pc(flavour, 64)).1, 0);
        let mut old = pc(flavour, 64);
        old.cpus.i386.pge = false;
        assert_eq!(globals(old).0, 0);
    }
    // The text alone is, which user code's tables have too, and nothing when isolation is asked for.
    let mut leaky = pc(Flavour::I686Pae, 64);
    leaky.cpus.meltdown = true;
    let text = leaky.image.text_end.get() - leaky.image.text_start.get();
    assert_eq!(globals(leaky.clone()).0, text);
    assert_eq!(globals(leaky.clone().cmdline("nopti")).1, 0);
    assert_eq!(globals(leaky.cmdline("pti=on")).0, 0);
}

#[test]
fn what_the_head_mapped_beyond_the_end_of_memory_is_gone() {
    for flavour in BOTH {
        let built = build(pc(flavour, 28));
        assert_eq!(built.low, 28 * MIB);
        assert_eq!(built.rights(28 * MIB - 1).get(..2), Some("rw"));
        assert_eq!(built.rights(28 * MIB), "---");
        assert_eq!(built.rights(30 * MIB), "---");
    }
}

#[test]
fn processors_that_start_find_the_kernel_and_low_memory_one_to_one() {
    for spec in machines() {
        let built = build(spec);
        let registers = built.registers(built.initial);
        let probe =
            |va: u64, access| registers.probe(built.ram, VirtAddr::new(va), access).ok().map(PhysAddr::get);
        let text = built.spec.image.text_start.get();
        assert_eq!(probe(built.base + text, Access::EXECUTE), Some(text));
        assert_eq!(probe(text, Access::EXECUTE), Some(text));
        let last = built.low - 1;
        assert_eq!(probe(built.base + last, Access::WRITE), built.probe(built.base + last, Access::WRITE));
        // The fixed mappings came after the head.
        let apic = built.runs.iter().find(|r| r.1 == 0xfee0_0000).expect("a local APIC");
        assert_eq!(probe(apic.0.start.get(), Access::WRITE), Some(0xfee0_0000));
    }
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

/// A PC with any map: banks from the first megabyte on, of any number of pages, with gaps of any number of pages.
fn any_pc() -> impl Strategy<Value = Spec> {
    let bank = (0..2000u64, prop_oneof![1..40u64, 500..1100u64, 1..100_000u64]);
    let lines: &'static [&str] =
        &["", "vmalloc=64M", "movable_node", "mem=177M", "memmap=32M$64M", "rodata=off", "reservetop=40M"];
    let line = proptest::sample::select(lines);
    let flavour = proptest::sample::select(&BOTH[..]);
    let splits: &'static [u32] = &[0xc000_0000, 0x8000_0000, 0x4000_0000];
    let split = proptest::sample::select(splits);
    let banks = proptest::collection::vec(bank, 0..8);
    (flavour, split, banks, line, any::<[bool; 3]>(), 1..65u32, 112..136u64).prop_map(
        |(flavour, split, banks, line, [pse, pge, nx], nr_cpus, first)| {
            let mut spec = pc(flavour, 128).cmdline(line).config(|c| {
                c.page_offset = split;
                c.nr_cpus = nr_cpus;
            });
            spec.cpus.i386 = pagewright_firmware::I386Features { pse, pge, nx };
            spec.pc_mut().e820 = pc_map_with(first * 256 * KIB, &banks);
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
        let mut memory = 0;
        for bank in &built.facts.memory {
            let (start, end) = (bank.range.start.get(), bank.range.end.get().min(built.low));
            if start < end {
                memory += end.max(built.head) - start.max(built.head);
                for phys in [start, end - 1] {
                    prop_assert!(built.rights(phys).starts_with('r'), "{phys:#x}");
                }
            }
        }
        // Where the head mapped everything, holes stay mapped that no large page took; beyond, low memory and nothing else.
        let bytes: u64 = built.low_bytes_from(built.head).iter().sum();
        prop_assert_eq!(bytes, memory);
    }
}
