//! The first per-CPU chunk with an allocation that fails: whatever it took goes back, and where it cannot be embedded it is made of pages.

use crate::failing_tables::{flat, ram};
use crate::percpu_pages::two_nodes;
use crate::support::facts::{Depth, Hooks};
use crate::support::spec::{Spec, arm, arm64};
use pagewright::Boot;
use pagewright::vmalloc::VmFlags;
use pagewright_firmware::config::Flavour;
use pagewright_memblock::{Event, Set};

const PAGE: u64 = 4096;
/// What describes a chunk with a reserved part, and without.
const PIECES: u64 = 13;
const FEW_PIECES: u64 = 9;

/// Which allocation of a boot is the first for the first chunk.
fn first(spec: &Spec) -> u64 {
    let facts = spec.boot();
    let caller = |event: &Event| match event {
        Event::AllocTryNid { caller, .. }
        | Event::AllocRangeNid { caller, .. }
        | Event::PhysAllocRange { caller, .. } => Some(*caller),
        _ => None,
    };
    let before = facts.events.iter().filter_map(caller).take_while(|c| *c != "pcpu_build_alloc_info");
    before.count() as u64 + 1
}

fn reserved(boot: &Boot<'_>) -> u64 {
    boot.mb.regions(Set::Reserved).iter().map(|region| region.range().len()).sum()
}

/// Virtual address, length and physical address of what is mapped.
type Mapped = Vec<(u64, u64, u64)>;

/// Reserved bytes where the boot stopped over the first chunk, and what is mapped; `None` if it did not stop. `built` says whether tables are.
fn stopped(spec: &Spec, n: u64, built: bool) -> Option<(u64, Mapped)> {
    let memory = ram(spec);
    let mut at = None;
    let mut stopped = |boot: &Boot<'_>| {
        if boot.percpu.is_some() {
            return;
        }
        assert!(boot.early_areas.iter().all(|area| area.flags != VmFlags::ALLOC), "{n}: an area is left");
        let mapped = boot.pgtable.map(|tables| flat(&tables)).unwrap_or_default();
        at = Some((reserved(boot), mapped));
    };
    let hooks = Hooks { stopped: &mut stopped, ..Hooks::default() };
    let prepare = |boot: &mut Boot<'_>| {
        if built {
            boot.set_table_memory(memory);
        }
        boot.mb.fail_nth(Some(n));
    };
    let result = spec.boot_hooked(prepare, hooks);
    assert!(result.is_err() || at.is_none());
    at
}

#[test]
fn a_chunk_of_pages_that_fails_half_way_leaves_tables_and_nothing_else() {
    for (spec, pieces) in [(two_nodes(), PIECES), (arm64(256).cpus(2), PIECES)] {
        let mut spec = spec.cmdline("cma=0 percpu_alloc=page");
        spec.build.percpu_static = 40 << 10;
        let first = first(&spec);
        let info = spec.boot().percpu.expect("a first chunk");
        let pages = info.unit_size / PAGE * u64::from(info.units());
        for built in [false, true] {
            let (before, mapped) = stopped(&spec, first, built).expect("its description is needed");
            assert_eq!(mapped.is_empty(), !built);
            let taken = |(now, there): (u64, Mapped)| {
                assert!(there == mapped, "something is left mapped");
                now - before
            };
            let failing: Vec<u64> = (first..).map_while(|n| stopped(&spec, n, built)).map(taken).collect();
            // The description, the list and the pages; tables one after the other; and with all of them the pieces.
            let tables = failing.len() as u64 - 2 - pages - pieces;
            assert!((1..=4).contains(&tables), "{tables}");
            for (at, taken) in (0..).zip(failing) {
                let there = u64::saturating_sub(at, 2 + pages).min(tables);
                assert_eq!(taken, there * PAGE, "allocation {at} of {pages} pages and {tables} tables");
            }
        }
    }
}

#[test]
fn a_chunk_that_cannot_be_embedded_for_want_of_memory_is_made_of_pages() {
    // A word as long as the other: the command line is copied, too.
    let spec = two_nodes().cmdline("percpu_alloc=none");
    let asked = two_nodes().cmdline("percpu_alloc=page").boot();
    let first = first(&spec);
    // The description, the list of areas, and the units of each node.
    for n in first..first + 4 {
        let (facts, log) = spec.boot_with(Depth::Memblock, |boot| boot.mb.fail_nth(Some(n)));
        let facts = facts.unwrap_or_else(|e| panic!("{n}: {e}: {:#?}", log.lines.borrow()));
        facts.expect("setup_percpu: auto allocator failed (-12), falling back to page size");
        assert_eq!((&facts.percpu, &facts.reserved), (&asked.percpu, &asked.reserved), "{n}");
    }
}

#[test]
fn an_embedded_chunk_that_fails_at_last_leaves_nothing() {
    // arm has nothing else to fall back on.
    for (spec, early, pieces) in [(two_nodes(), 4, PIECES), (arm(Flavour::Armmp, 256).cpus(2), 0, FEW_PIECES)]
    {
        let first = first(&spec);
        let mut all = (first + early..).map_while(|n| stopped(&spec, n, false));
        let (before, _) = all.next().expect("it stops");
        let rest: Vec<u64> = all.map(|(now, _)| now).collect();
        assert!(rest.iter().all(|now| *now == before), "{before}: {rest:?}");
        assert!(rest.len() as u64 >= pieces - 1, "{rest:?}");
    }
}
