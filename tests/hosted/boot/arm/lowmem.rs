//! Where low memory ends, and what becomes of the rest.

use super::{asked, at, banks, banks_of, no_map, with_ram};
use crate::support::MIB;
use crate::support::facts::Facts;
use crate::support::spec::RAM;
use pagewright::BootError;
use pagewright_firmware::config::Flavour;
use pagewright_memblock::{Event, Flags};
use pagewright_zone::ZoneKind;

/// How much memory is low, in MiB.
fn low_mib(facts: &Facts) -> u64 {
    (facts.high_memory.get() - RAM) / MIB
}

/// Present pages of a zone, in MiB.
fn zone_mib(facts: &Facts, kind: ZoneKind) -> u64 {
    facts.zone(0, kind).map_or(0, |z| z.present * 4096 / MIB)
}

/// The limits of allocations in the order in which they were set.
fn limits(facts: &Facts) -> Vec<u64> {
    let of = |e: &Event| match e {
        Event::CurrentLimit { limit, .. } => Some(limit.get()),
        _ => None,
    };
    facts.events.iter().filter_map(of).collect()
}

#[test]
fn all_of_a_small_machine_is_low_and_in_the_dma_zone() {
    let facts = with_ram(256).boot();
    assert_eq!(low_mib(&facts), 256);
    assert_eq!(zone_mib(&facts, ZoneKind::Dma), 256);
    assert_eq!(facts.zone(0, ZoneKind::Normal), None);
    assert_eq!(facts.zone(0, ZoneKind::HighMem), None);
}

#[test]
fn low_memory_ends_below_the_default_vmalloc_space() {
    for flavour in [Flavour::Armmp, Flavour::ArmmpLpae] {
        let facts = banks_of(flavour, &[(0, 1024)]).boot();
        assert_eq!(low_mib(&facts), 768);
        assert_eq!(zone_mib(&facts, ZoneKind::HighMem), 256);
    }
}

#[test]
fn each_split_of_the_address_space_leaves_another_amount_of_low_memory() {
    for (page_offset, low) in
        [(0xc000_0000, 768), (0xb000_0000, 1024), (0x8000_0000, 1792), (0x4000_0000, 2816)]
    {
        let facts = with_ram(2900).config(|c| c.page_offset = page_offset).boot();
        assert_eq!(low_mib(&facts), low, "PAGE_OFFSET {page_offset:#x}");
        assert_eq!(zone_mib(&facts, ZoneKind::HighMem), 2900 - low);
    }
}

#[test]
fn vmalloc_moves_the_end_of_low_memory() {
    let facts = with_ram(1024).cmdline("vmalloc=512M").boot();
    assert_eq!(low_mib(&facts), 496);
    assert!(!facts.said("vmalloc area"));
}

#[test]
fn a_vmalloc_space_that_is_too_small_becomes_the_smallest() {
    let facts = with_ram(1024).cmdline("vmalloc=8M").boot();
    facts.expect("vmalloc area is too small, limiting to 16MiB");
    assert_eq!(low_mib(&facts), 992);
}

#[test]
fn a_vmalloc_space_that_is_too_big_leaves_32_mib_of_low_memory() {
    let facts = with_ram(128).cmdline("vmalloc=2000M cma=0 log_buf_len=128K").boot();
    facts.expect("vmalloc area is too big, limiting to 976MiB");
    assert_eq!(low_mib(&facts), 32);
}

#[test]
fn a_kernel_without_highmem_drops_what_it_cannot_map() {
    let facts = with_ram(1024).no_highmem().boot();
    facts.expect("Ignoring RAM at 0x70000000-0x80000000");
    facts.expect("Consider using a HIGHMEM enabled kernel.");
    assert_eq!(facts.lines("Ignoring RAM").len(), 1);
    assert_eq!(facts.ram_mib(), [(1024, 1792)]);
    assert_eq!(facts.zone(0, ZoneKind::HighMem), None);
}

#[test]
fn a_kernel_without_highmem_keeps_what_it_can_map() {
    let facts = with_ram(768).no_highmem().boot();
    assert!(!facts.said("Ignoring RAM"));
    assert_eq!(facts.ram(), 768 * MIB);
}

#[test]
fn high_memory_is_dropped_where_the_data_cache_aliases() {
    let mut machine = with_ram(1024);
    machine.cpus.vipt_aliasing = true;
    let facts = machine.boot();
    facts.expect("Ignoring RAM at 0x70000000-0x80000000");
    assert_eq!(facts.ram(), 768 * MIB);
    // The zone exists in this kernel, with nothing in it.
    facts.expect("HighMem  empty");
}

#[test]
fn without_highmem_memory_from_the_limit_of_allocations_on_goes() {
    // Low memory ends in the middle of a PMD: what precedes it there goes, too.
    let facts = with_ram(1024).cmdline("vmalloc=241M").no_highmem().boot();
    facts.expect("Ignoring RAM at 0x6fe00000-0x80000000");
    assert_eq!(low_mib(&facts), 766);
    let facts = banks(&[(0, 255), (256, 768)]).cmdline("vmalloc=241M").no_highmem().boot();
    facts.expect("Ignoring RAM at 0x4fe00000-0x80000000");
    assert_eq!(facts.ram(), 254 * MIB);
}

#[test]
fn allocations_stay_out_of_a_ragged_bank_until_it_is_mapped() {
    let facts = with_ram(1024).cmdline("mem=100500K").boot();
    let end = RAM + 100_500 * 1024;
    let whole = end & !(2 * MIB - 1);
    assert_eq!(limits(&facts), [whole, whole, end]);
    // Its last PMD is mapped by pages; the table comes from the memory below.
    assert_eq!(asked(&facts, "early_alloc").first(), Some(&(4096, 4096)));
}

#[test]
fn a_ragged_bank_limits_allocations_although_more_memory_follows() {
    let facts = banks(&[(0, 101), (128, 64)]).boot();
    assert_eq!(limits(&facts), [RAM + 100 * MIB, RAM + 100 * MIB, RAM + 192 * MIB]);
    let facts = banks(&[(0, 100), (127, 65)]).boot();
    assert_eq!(limits(&facts), [RAM + 126 * MIB, RAM + 126 * MIB, RAM + 192 * MIB]);
}

#[test]
fn the_bounds_move_when_reservations_take_memory_away() {
    let hole = at(64, 1);
    let facts = with_ram(256).reserved([no_map(hole)]).boot();
    assert_eq!(limits(&facts), [RAM + 256 * MIB, RAM + 64 * MIB, RAM + 256 * MIB]);
}

#[test]
fn a_first_bank_is_used_from_its_first_whole_pmd_on() {
    let facts = with_ram(256).reserved([no_map(at(0, 1))]).boot();
    let unmapped: Vec<_> =
        facts.memory.iter().filter(|b| b.flags.contains(Flags::NOMAP)).map(|b| b.range).collect();
    assert_eq!(unmapped, [at(0, 2)]);
}

#[test]
fn memory_without_the_kernel_in_it_is_refused() {
    let error = with_ram(256).cmdline("mem=64M@0x78000000").refused();
    assert!(matches!(error, BootError::ImageOutsideMemory { missing: 1.. }), "{error:?}");
    // What is left ends 1 MiB before the image does.
    let spec = with_ram(256);
    let most = spec.image.end.get() - RAM - MIB;
    let error = spec.cmdline(&format!("mem={most}")).refused();
    assert_eq!(error, BootError::ImageOutsideMemory { missing: MIB });
}

#[test]
fn only_low_memory_is_tested() {
    let facts = with_ram(1024).config(|c| c.memtest = true).cmdline("memtest=1 cma=0").boot();
    let tested = facts.lines(" pattern ");
    assert!(tested.iter().any(|l| l.contains(" - 0x6fff")), "{tested:?}");
    assert!(!tested.iter().any(|l| l.contains(" - 0x80000000")), "{tested:?}");
}
