//! What is set aside on small machines, and what is refused with which words.

use crate::support::spec::{arm64, pc, pc_of};
use pagewright_firmware::config::Flavour;
use pagewright_zone::ZoneKind;

const MIB: u64 = 1 << 20;

#[test]
fn a_cma_area_of_the_command_line_is_the_default_one() {
    let facts = arm64(256).cmdline("cma=32M").boot();
    assert_eq!(facts.cma.len(), 1);
    assert_eq!(facts.cma[0].range.len(), 32 * MIB);
    assert!(facts.cma[0].default);
    assert_eq!(facts.after.cma_pages, 32 * MIB / 4096);
    facts.expect("cma: Reserved 32 MiB at");
}

#[test]
fn a_cma_range_above_the_limit_is_refused_by_name() {
    let facts = arm64(256).cmdline("cma=32M@1T").boot();
    assert!(facts.cma.is_empty());
    facts.expect("exceeds limit");
    facts.expect("cma: Failed to reserve 32 MiB");
}

#[test]
fn cma_of_zero_reserves_nothing() {
    let facts = arm64(256).cmdline("cma=0").boot();
    assert!(facts.cma.is_empty() && facts.after.cma_pages == 0);
}

#[test]
fn a_crash_kernel_is_reserved_and_not_free() {
    let facts = arm64(256).cmdline("crashkernel=32M").boot();
    let range = facts.crash.main.expect("a crash kernel");
    assert_eq!(range.len(), 32 * MIB);
    assert!(range.start.is_aligned(2 * MIB) && facts.is_reserved(range));
}

#[test]
fn a_crash_kernel_larger_than_memory_is_refused_by_name() {
    let facts = pc(256).cmdline("crashkernel=200M@300M").boot();
    assert!(facts.crash.main.is_none());
    facts.expect("crashkernel reservation failed - memory is in use.");
}

#[test]
fn mem_cuts_the_top_and_keeps_the_image() {
    let facts = arm64(512).cmdline("mem=128M").boot();
    assert_eq!(facts.ram(), 128 * MIB);
    facts.expect("Memory limited to 128MB");
}

#[test]
fn movablecore_takes_its_share_from_the_end_of_memory() {
    let facts = arm64(512).cmdline("movablecore=128M").boot();
    let movable = facts.zone(0, ZoneKind::Movable).expect("a movable zone");
    assert_eq!(movable.present, 128 * MIB / 4096);
}

#[test]
fn a_pc_has_a_dma_zone_below_sixteen_mebibytes() {
    let facts = pc(256).boot();
    let dma = facts.zone(0, ZoneKind::Dma).expect("a DMA zone");
    assert_eq!(dma.pfns.end.get(), 4096);
    assert!(facts.zone(0, ZoneKind::Dma32).is_some());
}

#[test]
fn i386_keeps_what_it_cannot_map_as_high_memory() {
    let facts = pc_of(Flavour::I686, 1536).boot();
    assert!(facts.zone(0, ZoneKind::HighMem).is_some());
    facts.expect("HIGHMEM available.");
    let without = pc_of(Flavour::I686, 1536)
        .config(|c| (c.highmem, c.highpte, c.crash_dump) = (false, false, false))
        .boot();
    assert!(without.zone(0, ZoneKind::HighMem).is_none());
    without.expect("Use a HIGHMEM enabled kernel.");
}

#[test]
fn huge_pages_leave_the_free_lists() {
    let facts = pc(256).cmdline("hugepages=8").boot();
    assert_eq!(facts.after.huge_pages, 8 * 512);
}

#[test]
fn a_gigantic_page_that_does_not_fit_is_said_so() {
    let facts = pc(512).cmdline("hugepagesz=1G hugepages=1").boot();
    assert!(facts.said("HugeTLB: ") && facts.pools.iter().all(|p| p.gigantic == 0));
}
