//! `/reserved-memory` and `/memreserve/`: one verdict for each node, and what it means for the memory.

use crate::support::facts::Facts;
use crate::support::spec::{RAM, Spec, arm, arm64, range};
use crate::support::tree::{N, node, reserved_memory};
use crate::support::{GIB, KIB, MIB};
use pagewright::reserved_mem::{MAX_RESERVED_REGIONS, Outcome};
use pagewright_addr::PhysRange;
use pagewright_firmware::config::Flavour;
use pagewright_memblock::Flags;

/// A range in MiB above the start of RAM.
fn at(start: u64, len: u64) -> PhysRange {
    range(RAM + start * MIB, len * MIB)
}

fn fixed(name: &str, r: PhysRange) -> N {
    node(name).reg(r.start.get(), r.len())
}

fn sized(name: &str, bytes: u64) -> N {
    node(name).wide("size", &[bytes])
}

fn pool(n: N) -> N {
    n.text("compatible", "shared-dma-pool")
}

/// 256 MiB of an arm64 machine without a CMA area of its own, with these regions.
fn with(children: impl IntoIterator<Item = N>) -> Spec {
    arm64(256).cmdline("cma=0").with(reserved_memory(children))
}

fn verdict(facts: &Facts, name: &str) -> (Outcome, PhysRange) {
    let found = facts.verdicts.iter().find(|v| v.name.as_str() == name);
    found.map(|v| (v.outcome, v.range)).unwrap_or_else(|| panic!("no verdict on {name}"))
}

fn is_nomap(facts: &Facts, r: PhysRange) -> bool {
    facts.memory.iter().any(|b| b.range.contains_range(&r) && b.flags.contains(Flags::NOMAP))
}

#[test]
fn a_static_region_is_reserved_where_it_says() {
    let facts = with([fixed("fw@48000000", at(128, 2))]).boot();
    assert_eq!(verdict(&facts, "fw@48000000"), (Outcome::Reserved, at(128, 2)));
    assert!(facts.is_reserved(at(128, 2)) && !is_nomap(&facts, at(128, 2)));
    facts.expect(
        "OF: fdt: Reserved memory: reserved region for node 'fw@48000000': base 0x0000000048000000, size 2 MiB",
    );
}

#[test]
fn a_region_without_a_mapping_leaves_the_linear_map() {
    let facts = with([fixed("fw@48000000", at(128, 2)).flag("no-map")]).boot();
    assert_eq!(verdict(&facts, "fw@48000000"), (Outcome::Reserved, at(128, 2)));
    assert!(is_nomap(&facts, at(128, 2)));
    let managed = |f: &Facts| f.after.managed.iter().map(|(.., pages)| pages).sum::<u64>();
    let gone = managed(&with([]).boot()) - managed(&facts);
    assert!((505..520).contains(&gone), "{gone} pages are gone");
}

#[test]
fn a_region_in_use_cannot_lose_its_mapping() {
    let spec = with([]);
    let image = spec.image;
    let in_use = PhysRange::new(image.text_start, image.text_start.saturating_add(MIB));
    let facts = with([fixed("fw@0", in_use).flag("no-map")]).boot();
    assert_eq!(verdict(&facts, "fw@0").0, Outcome::StaticRefused);
    facts.expect("OF: fdt: Reserved memory: failed to reserve memory for node 'fw@0'");
    // With its mapping it may be reserved twice.
    assert_eq!(verdict(&with([fixed("fw@0", in_use)]).boot(), "fw@0").0, Outcome::Reserved);
}

#[test]
fn a_region_outside_memory_is_reserved_all_the_same() {
    let facts = with([fixed("sram@0", range(0x1000, 0x1000))]).boot();
    assert_eq!(verdict(&facts, "sram@0"), (Outcome::Reserved, range(0x1000, 0x1000)));
}

#[test]
fn every_pair_of_a_node_is_reserved_and_the_first_is_its_region() {
    let two = node("two@0").wide("reg", &[RAM + 128 * MIB, MIB, RAM + 136 * MIB, MIB]);
    let facts = with([two]).boot();
    assert_eq!(verdict(&facts, "two@0"), (Outcome::Reserved, at(128, 1)));
    assert!(facts.is_reserved(at(128, 1)) && facts.is_reserved(at(136, 1)) && facts.is_free(at(129, 7)));
}

#[test]
fn a_dynamic_region_lies_as_high_as_its_alignment_lets_it() {
    let facts = with([sized("dyn", 3 * MIB).wide("alignment", &[16 * MIB])]).boot();
    let (outcome, place) = verdict(&facts, "dyn");
    assert_eq!((outcome, place), (Outcome::Reserved, at(240, 3)));
    assert!(facts.is_reserved(place));
}

#[test]
fn a_dynamic_region_without_a_mapping_is_taken_out_of_it() {
    let facts = with([sized("dyn", 2 * MIB).wide("alignment", &[2 * MIB]).flag("no-map")]).boot();
    assert_eq!(verdict(&facts, "dyn"), (Outcome::Reserved, at(254, 2)));
    assert!(is_nomap(&facts, at(254, 2)));
}

#[test]
fn ranges_are_tried_in_their_order_and_bound_the_place() {
    let ranges = [RAM + 64 * MIB, MIB, RAM + 96 * MIB, 8 * MIB, RAM + 32 * MIB, 64 * MIB];
    let dynamic = |size| sized("dyn", size).wide("alignment", &[MIB]).wide("alloc-ranges", &ranges);
    assert_eq!(verdict(&with([dynamic(MIB)]).boot(), "dyn"), (Outcome::Reserved, at(64, 1)));
    assert_eq!(verdict(&with([dynamic(4 * MIB)]).boot(), "dyn"), (Outcome::Reserved, at(100, 4)));
    assert_eq!(verdict(&with([dynamic(32 * MIB)]).boot(), "dyn"), (Outcome::Reserved, at(64, 32)));
    let facts = with([dynamic(65 * MIB)]).boot();
    assert_eq!(verdict(&facts, "dyn").0, Outcome::NoMemory { size: 65 * MIB });
}

#[test]
fn impossible_sizes_are_refused_by_name() {
    for bytes in [257 * MIB, GIB, 1 << 40, 0xffff_ffff_ffff_f000] {
        let facts = with([sized("huge", bytes)]).boot();
        assert_eq!(verdict(&facts, "huge").0, Outcome::NoMemory { size: bytes });
        let mib = bytes >> 20;
        facts.expect(&format!("OF: reserved mem: failed to allocate memory for node 'huge': size {mib} MiB"));
    }
}

#[test]
fn an_alignment_of_no_power_of_two_finds_nothing() {
    let facts = with([sized("odd", MIB).wide("alignment", &[3 * MIB])]).boot();
    assert_eq!(verdict(&facts, "odd").0, Outcome::NoMemory { size: MIB });
}

#[test]
fn malformed_properties_are_told_in_linux_s_words() {
    let facts = with([
        node("reg@1").cells("reg", &[0, 1, 2]),
        node("size").cells("size", &[1]),
        sized("ranges", MIB).cells("alloc-ranges", &[1, 2, 3]),
        node("nothing"),
    ])
    .boot();
    for name in ["reg@1", "size", "ranges", "nothing"] {
        assert_eq!(verdict(&facts, name).0, Outcome::Malformed, "{name}");
    }
    facts.expect("OF: fdt: Reserved memory: invalid reg property in 'reg@1', skipping node.");
    facts.expect("OF: reserved mem: invalid size property in 'size' node.");
    facts.expect("OF: reserved mem: invalid alloc-ranges property in 'ranges', skipping node.");
}

#[test]
fn a_disabled_node_takes_nothing() {
    let facts = with([fixed("off@48000000", at(128, 2)).text("status", "disabled")]).boot();
    assert_eq!(verdict(&facts, "off@48000000").0, Outcome::Disabled);
    assert!(facts.is_free(at(128, 2)));
}

#[test]
fn overlapping_regions_are_reserved_both_and_told() {
    let facts = with([fixed("b@48100000", at(129, 4)), fixed("a@48000000", at(128, 2))]).boot();
    assert_eq!(verdict(&facts, "a@48000000").0, Outcome::Reserved);
    assert_eq!(verdict(&facts, "b@48100000").0, Outcome::Reserved);
    assert!(facts.is_reserved(at(128, 5)));
    let told = facts.lines("OVERLAP DETECTED!");
    assert_eq!(told.len(), 1);
    let text = told[0];
    assert!(text.contains("a@48000000 (0x0000000048000000--0x0000000048200000) overlaps with"), "{text}");
    assert!(text.contains("b@48100000 (0x0000000048100000--0x0000000048500000)"), "{text}");
    // Neighbours do not overlap.
    let facts = with([fixed("a@0", at(128, 2)), fixed("b@0", at(130, 2))]).boot();
    assert!(!facts.said("OVERLAP"));
}

#[test]
fn reusable_pools_become_contiguous_areas() {
    let facts = with([
        pool(fixed("here@48000000", at(128, 4))).flag("reusable"),
        pool(sized("anywhere", 3 * MIB)).flag("reusable"),
    ])
    .boot();
    assert_eq!(verdict(&facts, "here@48000000"), (Outcome::Cma(false), at(128, 4)));
    // The pageblock's alignment holds also for a region that asks for none; its size must be right by itself.
    assert_eq!(verdict(&facts, "anywhere").0, Outcome::NotClaimed);
    facts.expect("Reserved memory: incorrect alignment of CMA region");
    facts.expect("OF: reserved mem: initialized node here@48000000, compatible id shared-dma-pool");
    assert_eq!(facts.after.cma_pages, 4 * MIB / 4096);
    assert!(facts.cma.iter().all(|a| !a.default));
    let facts = with([pool(sized("anywhere", 4 * MIB)).flag("reusable")]).boot();
    assert_eq!(verdict(&facts, "anywhere"), (Outcome::Cma(false), at(252, 4)));
}

#[test]
fn a_misaligned_contiguous_area_goes_back_to_memory() {
    let r = range(RAM + 128 * MIB + 64 * KIB, 4 * MIB);
    let facts = with([pool(fixed("odd@0", r)).flag("reusable")]).boot();
    assert_eq!(verdict(&facts, "odd@0").0, Outcome::NotClaimed);
    assert!(facts.is_free(r) && facts.cma.is_empty());
    facts.expect("OF: reserved mem: node odd@0 compatible matching fail");
}

#[test]
fn the_default_area_can_be_a_node_unless_the_command_line_has_one() {
    let tree = || pool(fixed("cma@48000000", at(128, 16))).flag("reusable").flag("linux,cma-default");
    let facts = arm64(256).with(reserved_memory([tree()])).boot();
    assert_eq!(verdict(&facts, "cma@48000000"), (Outcome::Cma(true), at(128, 16)));
    assert_eq!(facts.cma.len(), 1, "the configuration's own area is not made beside it");
    assert!(facts.cma[0].default && facts.cma[0].name.as_str() == "cma@48000000");
    let facts = arm64(256).cmdline("cma=8M").with(reserved_memory([tree()])).boot();
    assert_eq!(verdict(&facts, "cma@48000000").0, Outcome::NotClaimed);
    facts.expect("Reserved memory: bypass cma@48000000 node, using cmdline CMA params instead");
    assert_eq!(facts.cma.iter().map(|a| a.range.len()).collect::<Vec<_>>(), [8 * MIB]);
    assert!(facts.is_free(at(128, 16)));
}

#[test]
fn a_reusable_region_without_a_mapping_is_nobodys() {
    let facts = with([pool(fixed("odd@0", at(128, 4))).flag("reusable").flag("no-map")]).boot();
    assert_eq!(verdict(&facts, "odd@0").0, Outcome::NotClaimed);
    assert!(!is_nomap(&facts, at(128, 4)), "it is mapped again");
}

#[test]
fn coherent_pools_are_made_of_any_region_on_arm64_and_of_unmapped_ones_on_arm() {
    let plain = || pool(fixed("dma@48000000", at(128, 2)));
    let facts = with([plain()]).boot();
    assert_eq!(verdict(&facts, "dma@48000000").0, Outcome::DmaPool);
    facts.expect("Reserved memory: created DMA memory pool at 0x0000000048000000, size 2 MiB");
    let on_arm = |n: N| arm(Flavour::Armmp, 256).cmdline("cma=0").with(reserved_memory([n])).boot();
    let facts = on_arm(plain());
    assert_eq!(verdict(&facts, "dma@48000000").0, Outcome::NotClaimed);
    facts.expect("Reserved memory: regions without no-map are not yet supported");
    let facts = on_arm(plain().flag("no-map"));
    assert_eq!(verdict(&facts, "dma@48000000").0, Outcome::DmaPool);
    facts.expect("Reserved memory: created DMA memory pool at 0x48000000, size 2 MiB");
}

#[test]
fn without_cma_in_the_kernel_a_reusable_pool_goes_back() {
    let tree = pool(fixed("cma@48000000", at(128, 4))).flag("reusable");
    let spec = arm64(256).config(|c| (c.cma, c.pernuma_cma) = (None, false)).with(reserved_memory([tree]));
    let facts = spec.boot();
    assert_eq!(verdict(&facts, "cma@48000000").0, Outcome::NotClaimed);
    assert!(facts.is_free(at(128, 4)));
}

#[test]
fn areas_beyond_the_configured_number_are_refused() {
    let areas = (0..3).map(|i| pool(fixed(&format!("cma@{i}"), at(128 + 4 * i, 4))).flag("reusable"));
    let spec = with(areas).config(|c| c.cma.as_mut().expect("CMA").areas = 1);
    let facts = spec.boot();
    // CONFIG_CMA_AREAS counts those beside the default one.
    let outcomes: Vec<Outcome> = facts.verdicts.iter().map(|v| v.outcome).collect();
    assert_eq!(outcomes, [Outcome::Cma(false), Outcome::Cma(false), Outcome::NotClaimed]);
    facts.expect("cma: Not enough slots for CMA reserved regions!");
}

#[test]
fn more_regions_than_linux_keeps_track_of_are_told() {
    let count = MAX_RESERVED_REGIONS as u64 + 2;
    let facts = with((0..count).map(|i| fixed(&format!("r@{i}"), at(64 + i, 1)))).boot();
    assert_eq!(facts.verdicts.iter().filter(|v| v.outcome == Outcome::TooMany).count(), 2);
    assert_eq!(facts.lines("not enough space for all defined regions").len(), 2);
    assert!(facts.is_reserved(at(64, count)), "they are reserved all the same");
}

#[test]
fn the_reservation_block_is_reserved_without_a_verdict() {
    let facts = arm64(256).reserving(RAM + 128 * MIB, 64 * KIB).boot();
    assert!(facts.is_reserved(range(RAM + 128 * MIB, 64 * KIB)));
    assert!(facts.verdicts.is_empty());
}

#[test]
fn cells_wider_than_addresses_lose_their_upper_half_on_arm() {
    let n = node("fw@48000000").wide("reg", &[(1 << 32) + RAM + 128 * MIB, 2 * MIB]);
    let facts = arm(Flavour::Armmp, 256).with(reserved_memory([n.clone()])).boot();
    assert_eq!(verdict(&facts, "fw@48000000"), (Outcome::Reserved, at(128, 2)));
    let facts = arm(Flavour::ArmmpLpae, 256).with(reserved_memory([n])).boot();
    assert_eq!(verdict(&facts, "fw@48000000").1.start.get(), (1 << 32) + RAM + 128 * MIB);
}

#[test]
fn static_regions_come_before_dynamic_ones_whatever_their_order() {
    let facts =
        with([sized("dyn", 2 * MIB).wide("alignment", &[2 * MIB]), fixed("top@0", at(254, 2))]).boot();
    assert_eq!(verdict(&facts, "dyn"), (Outcome::Reserved, at(252, 2)));
}
