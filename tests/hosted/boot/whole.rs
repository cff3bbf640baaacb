//! What holds of every boot, whatever the machine: the order of its phases, and sums that must come out.

use crate::support::MIB;
use crate::support::facts::Facts;
use crate::support::spec::{Fw, RAM, Spec, arm, arm64, larger_pages, pc, pc_of, range};
use pagewright::{BootError, Phase};
use pagewright_addr::PageShift;
use pagewright_firmware::atags::Atags;
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_zone::ZoneKind;

/// One machine for each of Debian's kernels, and one that hands over ATAGs.
fn machines() -> Vec<Spec> {
    let mut tags = Atags::default();
    tags.memory.push(range(RAM, 256 * MIB));
    let mut bytes = vec![0; 256];
    let len = tags.write(&mut bytes).expect("the list fits");
    bytes.truncate(len);
    let mut all: Vec<Spec> = [Flavour::Armmp, Flavour::ArmmpLpae].map(|f| arm(f, 1024)).into();
    all.push(Spec::new(KernelConfig::debian(Flavour::Armmp), RAM + 2 * MIB, Fw::Atags(bytes)));
    all.extend([Flavour::Amd64, Flavour::I686, Flavour::I686Pae].map(|f| pc_of(f, 1024)));
    all.push(arm64(1024));
    all
}

fn present(facts: &Facts) -> u64 {
    facts.nodes.iter().map(|n| n.present).sum()
}

fn managed(facts: &Facts) -> u64 {
    facts.after.managed.iter().map(|(.., pages)| pages).sum()
}

#[test]
fn every_boot_goes_through_all_phases_in_order() {
    for spec in machines() {
        assert_eq!(spec.boot().phases, Phase::ALL, "{:?}", spec.config.arch);
    }
}

#[test]
fn pages_are_free_at_the_hand_over_or_reserved_and_some_come_later() {
    for spec in machines() {
        let facts = spec.cmdline("cma=0").boot();
        let free_now = facts.after.total_at_init;
        assert!(free_now < managed(&facts), "the init sections come later");
        assert!(managed(&facts) < present(&facts));
        let reserved: u64 = facts.reserved.iter().map(|r| r.frames_touched(PageShift::SHIFT_4K).len()).sum();
        // Ranges that meet within a frame count it twice.
        let slack = facts.reserved.len() as u64;
        assert!(
            present(&facts) - free_now <= reserved && reserved <= present(&facts) - free_now + slack + 256
        );
    }
}

#[test]
fn a_boot_is_taken_once() {
    let (result, _) = arm64(64).boot_with(crate::support::facts::Depth::Memblock, |boot| {
        boot.run().expect("the first goes through");
    });
    assert!(matches!(result, Err(BootError::Unsupported { .. })));
}

#[test]
fn pages_are_grouped_by_mobility_unless_there_are_too_few() {
    assert!(arm64(256).boot().mobility);
    // Six kinds of pages of which each should have a block of 512 MiB.
    let large = |mib| {
        let spec = arm64(mib).config(|c| larger_pages(c, PageShift::SHIFT_64K, 48)).cmdline("cma=0");
        spec.boot().mobility
    };
    assert!(!large(2048) && large(4096));
}

#[test]
fn min_free_kbytes_grows_with_the_root_of_memory_and_by_huge_pages() {
    let min = |mib: u64, words: &str| arm(Flavour::Armmp, mib).cmdline(words).boot().after.min_free_kbytes;
    // 4 * sqrt(low memory in KiB); without transparent huge pages nothing raises it.
    let (small, large) = (min(128, ""), min(512, ""));
    assert!((1300..1450).contains(&small) && (2700..2900).contains(&large), "{small} {large}");
    let thp = |words| pc(1024).cmdline(words).boot().after.min_free_kbytes;
    // Two pageblocks for each kind and zone, and some: 45056 KiB for two zones.
    assert_eq!(thp(""), 45_056);
    assert!(thp("transparent_hugepage=never") < 5000);
}

#[test]
fn dma_ends_where_the_architecture_says() {
    assert_eq!(arm64(1024).boot().dma_limit.get(), 0x8000_0000, "no memory above");
    assert_eq!(arm(Flavour::Armmp, 256).boot().dma_limit.get(), 1 << 32);
    let zone = pc(256).boot();
    assert_eq!(zone.zone(0, ZoneKind::Dma).map(|z| z.pfns.end.get()), Some(4096));
}
