//! Boots that build page tables, with an allocation that fails: the n-th of memblock's, then the n-th page for a table once the
//! page allocator serves. The error is one that says so, every tree is sound, what was mapped stays mapped to the
//! same memory, and a page that was taken for a table is in a tree or back where it came from.

use crate::support::GIB;
use crate::support::facts::Hooks;
use crate::support::spec::{RAM, Spec, arm, arm64, pc, pc_of, range};
use pagewright::pgtable::KernelTables;
use pagewright::{Boot, Running};
use pagewright_addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_firmware::config::Flavour;
use pagewright_pagetable::RunKind;
use pagewright_sim::{EntryWidth, PhysMemory};
use pagewright_zone::buddy::BuddyZone;

/// More tables than any of these machines has.
const MOST: u64 = 1 << 16;

/// Machines of every architecture that builds tables.
pub(crate) fn machines() -> Vec<(&'static str, Spec)> {
    let mut five = pc(256);
    five.cpus.la57 = true;
    let mut isolated = pc(256);
    isolated.cpus.meltdown = true;
    // The trampoline's tree takes tables when everything else is over.
    let mut trampoline = arm64(64).cmdline("rodata=on cma=8M").config(|c| c.page_table_isolation = true);
    let text = trampoline.image.text_start.get() + 0x1000;
    trampoline.image.arm64.entry_tramp_text = range(text, 0x1000);
    let no_blocks = arm64(96).cmdline("rodata=full crashkernel=8M");
    let lpae = arm(Flavour::ArmmpLpae, 64).cmdline("cma=8M");
    vec![
        ("x86_64", pc(256)),
        ("5 levels", five),
        ("isolated", isolated),
        ("i386", pc_of(Flavour::I686, 128)),
        ("i386 with PAE", pc_of(Flavour::I686Pae, 128)),
        ("arm64", trampoline),
        ("arm64 by pages", no_blocks),
        ("arm", arm(Flavour::Armmp, 64).cmdline("cma=8M")),
        ("LPAE", lpae),
    ]
}

/// RAM for one boot, for as long as the tests run: what is not written costs nothing.
pub(crate) fn ram(spec: &Spec) -> &'static PhysMemory {
    let arch = spec.config.arch;
    let short = matches!(arch, Arch::Arm | Arch::I386) && !spec.config.lpae;
    let width = if short { EntryWidth::Bits32 } else { EntryWidth::Bits64 };
    let start = if matches!(arch, Arch::X86_64 | Arch::I386) { 0 } else { RAM };
    Box::leak(Box::new(PhysMemory::new([PhysRange::from_len(PhysAddr::new(start), GIB)], width)))
}

/// Where every mapped byte is: virtual address, length, physical address; joined, whatever the leaves' sizes.
pub(crate) fn flat(tables: &KernelTables<'_>) -> Vec<(u64, u64, u64)> {
    let mut all: Vec<(u64, u64, u64)> = Vec::new();
    tables.with(|tree| {
        let whole = VirtRange { start: VirtAddr::ZERO, len: u64::MAX };
        let walked = tree.walk(whole, &mut |run| {
            let RunKind::Leaf(leaf) = run.kind else { panic!("{run:?}") };
            let (start, phys) = (run.range.start.get(), leaf.phys.get());
            match all.last_mut() {
                Some(last) if last.0.wrapping_add(last.1) == start && last.2 + last.1 == phys => {
                    last.1 += run.range.len;
                }
                _ => all.push((start, run.range.len, phys)),
            }
        });
        walked.expect("a tree that can be walked");
    });
    all
}

/// Whether all of `part` is mapped in `whole`, to the same memory.
fn contains(whole: &[(u64, u64, u64)], part: &[(u64, u64, u64)]) -> bool {
    part.iter().all(|&(start, len, phys)| {
        whole.iter().any(|&(s, l, p)| s <= start && start - s + len <= l && p.wrapping_add(start - s) == phys)
    })
}

/// What the tables are like once a boot is over.
struct End {
    mapped: Vec<(u64, u64, u64)>,
    /// What was mapped before the page allocator served.
    early: Vec<(u64, u64, u64)>,
    tables: u64,
    free_pages: u64,
    error: Option<String>,
    /// Tables that late steps took.
    late: u64,
}

fn free_pages(running: &Running<'_, '_, '_>) -> u64 {
    running.buddy.zones().iter().map(BuddyZone::free_pages).sum()
}

/// Boots to the end; the `n`-th allocation from the page allocator fails.
fn late(spec: &Spec, n: u64) -> End {
    let ram = ram(spec);
    let (mut early, mut end) = (Vec::new(), None);
    let mut service = |boot: &Boot<'_>, running: &mut Running<'_, '_, '_>| {
        early = flat(&boot.pgtable.expect("tables are built"));
        running.buddy.fail_nth(n);
    };
    let mut last = |boot: &Boot<'_>, running: &Running<'_, '_, '_>| {
        let tables = boot.pgtable.expect("tables are built");
        let stats = tables.with(|tree| tree.validate(MOST)).expect("a sound tree");
        let late = ["preallocate_vmalloc_pages", "map_entry_trampoline", "mark_readonly"];
        let late =
            boot.table_counts.steps().iter().filter(|s| late.contains(&s.step)).map(|s| s.counted).sum();
        end = Some(End {
            mapped: flat(&tables),
            early: Vec::new(),
            tables: stats.table_pages(),
            free_pages: free_pages(running),
            error: boot.table_error.map(|e| e.to_string()),
            late,
        });
    };
    let hooks = Hooks { service: &mut service, last: &mut last, ..Hooks::default() };
    spec.boot_hooked(|boot| boot.set_table_memory(ram), hooks).expect("a boot that late steps do not stop");
    End { early, ..end.expect("the end") }
}

#[test]
fn late_steps_that_find_no_page_for_a_table_leave_the_mapping_as_it_was_and_lose_no_page() {
    for (name, spec) in machines() {
        let good = late(&spec, 0);
        assert_eq!(good.error, None, "{name}");
        let mut refused = 0;
        for n in 1..=good.late + 1 {
            let end = late(&spec, n);
            // Nothing is missing but what would have gone in the end, and that went whole or stayed whole.
            assert!(contains(&end.mapped, &good.early) || contains(&end.mapped, &good.mapped), "{name} {n}");
            assert!(contains(&end.early, &good.early), "{name} {n}");
            assert_eq!(
                end.free_pages - good.free_pages,
                good.late - end.late,
                "{name} {n}: a page was lost ({:?})",
                end.error
            );
            // arm64's late tables are those of the trampoline, which is a tree of its own.
            if spec.config.arch != Arch::Arm64 {
                assert_eq!(good.tables - end.tables, good.late - end.late, "{name} {n}");
            }
            refused += u64::from(end.error.is_some() || end.late < good.late);
            if let Some(error) = &end.error {
                assert!(error.contains("new tables are needed"), "{name} {n}: {error}");
            }
        }
        let none = ["arm64 by pages", "arm", "LPAE"].contains(&name);
        assert_eq!(good.late == 0, none, "{name}: {} late tables", good.late);
        assert_eq!(refused, good.late, "{name}: each of them matters, and no other allocation does");
    }
}

#[test]
fn a_boot_that_memblock_refuses_a_page_for_a_table_stops_with_sound_tables_as_it_does_when_tables_are_counted()
 {
    for (name, spec) in machines() {
        let allocations = spec.boot().events.len() as u64;
        let (mut stopped, mut with_tables) = (0, 0);
        for n in 1..=allocations + 1 {
            let ram = ram(&spec);
            let mut sound = |boot: &Boot<'_>| {
                let Some(tables) = boot.pgtable else { return };
                tables.with(|tree| tree.validate(MOST)).expect("a sound tree");
                assert_eq!(boot.table_counts.mismatch(), None, "{name} {n}");
                with_tables += 1;
            };
            let hooks = Hooks { stopped: &mut sound, ..Hooks::default() };
            let built = spec.boot_hooked(
                |boot| {
                    boot.set_table_memory(ram);
                    boot.mb.fail_nth(Some(n));
                },
                hooks,
            );
            let counted = spec.boot_hooked(|boot| boot.mb.fail_nth(Some(n)), Hooks::default());
            assert_eq!(counted.as_ref().err(), built.as_ref().err(), "{name} {n}");
            stopped += u64::from(built.is_err());
        }
        assert!(stopped > 5 && with_tables > 5, "{name}: {stopped} {with_tables}");
    }
}
