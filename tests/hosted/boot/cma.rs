//! Contiguous areas: where they are placed, and which of them can be lent once the page allocator serves.

use crate::support::facts::Facts;
use crate::support::spec::{RAM, Spec, arm, arm64, range};
use crate::support::tree::{N, node, reserved_memory};
use crate::support::{GIB, MIB};
use pagewright_addr::PhysRange;
use pagewright_firmware::config::Flavour;
use pagewright_zone::ZoneKind;

/// A region that the page allocator may use until a driver wants it.
fn reusable(name: &str, at: PhysRange) -> N {
    node(name).text("compatible", "shared-dma-pool").flag("reusable").reg(at.start.get(), at.len())
}

fn managed(facts: &Facts, kind: ZoneKind) -> u64 {
    facts.after.managed.iter().find(|(_, k, _)| *k == kind).map_or(0, |(.., pages)| *pages)
}

/// A machine with a CMA area at that place, and the same without.
fn with_and_without(spec: &Spec, at: PhysRange) -> (Facts, Facts) {
    let with = spec.clone().with(reserved_memory([reusable("pool@0", at)]));
    (with.boot(), spec.clone().boot())
}

#[test]
fn an_area_across_the_top_of_low_memory_is_given_back() {
    let spec = arm(Flavour::Armmp, 1024).cmdline("cma=0");
    let border = spec.boot().high_memory;
    assert!(border < spec.boot().memory[0].range.end, "no high memory");
    let at = PhysRange::new(border.saturating_sub(8 * MIB), border.saturating_add(8 * MIB));
    let (facts, without) = with_and_without(&spec, at);
    facts.expect("Reserved memory: created CMA memory pool at");
    facts.expect("cma: CMA area pool@0 could not be activated");
    assert!(facts.cma[0].given_back);
    assert_eq!((facts.after.cma_pages, facts.after.total_cma), (0, 0));
    // All high memory is there; of the low part, tables for mapping it by pages are missing.
    assert_eq!(managed(&facts, ZoneKind::HighMem), managed(&without, ZoneKind::HighMem));
    assert!(managed(&without, ZoneKind::Dma) - managed(&facts, ZoneKind::Dma) < 8);
}

#[test]
fn an_area_in_high_memory_alone_is_lent() {
    let spec = arm(Flavour::Armmp, 1024).cmdline("cma=0");
    let border = spec.boot().high_memory;
    let (facts, _) = with_and_without(&spec, PhysRange::from_len(border, 8 * MIB));
    assert!(!facts.said("could not be activated") && !facts.cma[0].given_back);
    assert_eq!((facts.after.cma_pages, facts.after.total_cma), (2048, 2048));
}

#[test]
fn an_area_across_two_zones_is_given_back() {
    let spec = arm64(4096).cmdline("cma=0");
    let (facts, without) = with_and_without(&spec, range(4 * GIB - 2 * MIB, 4 * MIB));
    facts.expect("cma: CMA area pool@0 could not be activated");
    assert_eq!(facts.after.cma_pages, 0);
    let all = |f: &Facts| f.after.managed.iter().map(|(.., pages)| pages).sum::<u64>();
    // The larger device tree takes a page more.
    assert!(all(&without) - all(&facts) < 4);
    let (facts, _) = with_and_without(&spec, range(4 * GIB, 4 * MIB));
    assert!(!facts.said("could not be activated"));
    assert_eq!(facts.after.cma_pages, 1024);
}

#[test]
fn an_area_into_the_movable_zone_is_given_back_and_the_others_are_lent() {
    let spec = arm64(512).cmdline("movablecore=128M cma=16M");
    let border = spec.boot().zone(0, ZoneKind::Movable).expect("a movable zone").pfns.start;
    let at = range(border.get() * 4096 - 2 * MIB, 4 * MIB);
    let (facts, _) = with_and_without(&spec, at);
    let lent: Vec<bool> = facts.cma.iter().map(|a| !a.given_back).collect();
    assert_eq!(lent, [false, true]);
    assert_eq!((facts.after.cma_pages, facts.after.total_cma), (4096, 4096));
    assert_eq!(facts.lines("could not be activated").len(), 1);
}

#[test]
fn the_memory_line_still_counts_an_area_that_is_given_back_later() {
    let (facts, _) = with_and_without(&arm64(4096).cmdline("cma=0"), range(4 * GIB - 2 * MIB, 4 * MIB));
    assert!(facts.lines("Memory: ")[0].contains(" 4096K cma-reserved"));
    assert!(facts.memory.iter().any(|b| b.range.start.get() == RAM));
}
