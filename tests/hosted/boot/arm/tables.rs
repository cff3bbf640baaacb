//! Which page tables the kernel's mappings take: what `paging_init` asks of memblock, in order.

use super::{asked, banks, banks_of, with_ram};
use crate::support::facts::Facts;
use crate::support::spec::RAM;
use crate::support::tree::{cpus, memory, root};
use crate::support::{MIB, Spec};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_memblock::Event;

const TABLE: (u64, u64) = (4096, 4096);
const VECTORS: (u64, u64) = (8192, 8192);
/// A descriptor of a mapping that stays.
const DESCRIPTOR: (u64, u64) = (40, 4);

/// Everything that the three functions of `paging_init` that allocate asked for.
fn paging(facts: &Facts) -> Vec<(u64, u64)> {
    let of = |e: &Event| match e {
        Event::AllocTryNid {
            size,
            align,
            caller: "early_alloc" | "iotable_init" | "vm_reserve_area_early",
            ..
        } => Some((*size, *align)),
        _ => None,
    };
    facts.events.iter().filter_map(of).collect()
}

/// Vectors with their table, the PCI window, tables of the persistent kmaps and the fixmap, the zero page.
const PLAIN: [(u64, u64); 6] = [VECTORS, TABLE, DESCRIPTOR, TABLE, TABLE, TABLE];

fn board(compatible: &str) -> Spec {
    let root = root().text("compatible", compatible).with(cpus(1)).with(memory(RAM, 1024 * MIB));
    Spec::tree(KernelConfig::debian(Flavour::Armmp), root, RAM + 3 * MIB)
}

#[test]
fn low_memory_in_whole_sections_takes_no_table() {
    assert_eq!(paging(&with_ram(1024).boot()), PLAIN);
    // An odd number of sections is no less whole.
    assert_eq!(paging(&with_ram(255).cmdline("cma=0").boot()), PLAIN);
}

#[test]
fn lpae_has_larger_sections_and_descriptors() {
    let plain = [VECTORS, TABLE, (48, 8), TABLE, TABLE, TABLE];
    assert_eq!(paging(&banks_of(Flavour::ArmmpLpae, &[(0, 1024)]).boot()), plain);
    let odd = paging(&banks_of(Flavour::ArmmpLpae, &[(0, 255)]).cmdline("cma=0").boot());
    assert_eq!(odd[0], TABLE);
    assert_eq!(odd[1..], plain);
}

#[test]
fn each_ragged_end_of_a_bank_takes_a_table() {
    let facts = with_ram(1024).cmdline("cma=0 mem=100500K mem=100500K@0x4c080000").boot();
    let all = paging(&facts);
    assert_eq!(all[..3], [TABLE; 3]);
    assert_eq!(all[3..], PLAIN);
}

#[test]
fn banks_that_meet_within_two_mebibytes_share_a_table() {
    // 64 MiB + 512 KiB, a page missing, then the rest.
    let facts = with_ram(1024).cmdline("cma=0 mem=66048K mem=66044K@0x44081000").boot();
    let all = paging(&facts);
    assert_eq!(all[0], TABLE);
    assert_eq!(all[1..], PLAIN);
}

#[test]
fn contiguous_areas_in_low_memory_are_mapped_by_pages() {
    let facts = with_ram(256).cmdline("cma=32M").boot();
    let all = paging(&facts);
    assert_eq!(all[0], DESCRIPTOR);
    assert_eq!(all[1..17], [TABLE; 16]);
    assert_eq!(all[17..], PLAIN);
}

#[test]
fn of_a_contiguous_area_only_the_part_in_low_memory_is() {
    let area = super::node("area@6f800000").reg(RAM + 760 * MIB, 16 * MIB);
    let area = area.text("compatible", "shared-dma-pool").flag("reusable");
    let facts = with_ram(1024).reserved([area]).cmdline("cma=0").boot();
    assert_eq!(facts.cma.len(), 1);
    let all = paging(&facts);
    assert_eq!(all[0], DESCRIPTOR);
    assert_eq!(all[1..5], [TABLE; 4]);
    assert_eq!(all[5..], PLAIN);
}

#[test]
fn without_highmem_there_are_no_persistent_kmaps() {
    let facts = with_ram(256).no_highmem().cmdline("cma=0").boot();
    assert_eq!(paging(&facts), [VECTORS, TABLE, DESCRIPTOR, TABLE, TABLE]);
}

#[test]
fn registers_that_a_board_maps_come_after_the_vectors() {
    let all = paging(&board("fsl,imx6q").boot());
    assert_eq!(all[..4], [VECTORS, TABLE, DESCRIPTOR, TABLE]);
    assert_eq!(all[4..], PLAIN[2..]);
}

#[test]
fn the_most_specific_compatible_that_is_known_selects_the_board() {
    let compatible = "vendor,board\0fsl,imx6q\0brcm,bcm2836";
    assert_eq!(asked(&board(compatible).boot(), "iotable_init"), [DESCRIPTOR]);
}

#[test]
fn a_lone_section_keeps_the_other_half_of_its_pair() {
    // Two sections that stand alone and two small windows in one table.
    let all = paging(&board("nvidia,tegra124").boot());
    assert_eq!(all[..4], [VECTORS, TABLE, (4 * 40, 4), TABLE]);
    assert_eq!(all[4..7], [DESCRIPTOR; 3]);
    assert_eq!(all[7..], PLAIN[3..]);
}

#[test]
fn tables_come_from_mapped_memory_below_the_first_ragged_bank() {
    let facts = banks(&[(0, 64), (65, 63)]).cmdline("mem=66048K mem=60M@0x46000000 cma=0").boot();
    let first = facts.events.iter().skip_while(|e| !matches!(e, Event::AllocTryNid { .. })).nth(1);
    let Some(Event::Reserve { range, .. }) = first else { panic!("{first:?}") };
    assert_eq!(range.end.get(), RAM + 64 * MIB);
}
