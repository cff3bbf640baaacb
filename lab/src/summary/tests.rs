use super::*;
use crate::machine::description::{SHIPPED, shipped};
use crate::run;
use pagewright_addr::{PhysAddr, PhysRange};

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), PhysAddr::new(end))
}

#[test]
fn painting_splits_and_replaces_and_never_leaves_ram() {
    let mut ledger = Ledger::default();
    ledger.add(range(0x1000, 0x5000), Purpose::Free);
    ledger.add(range(0x8000, 0x9000), Purpose::Free);
    ledger.paint(range(0x2000, 0x8800), Purpose::Kernel);
    ledger.paint(range(0x2800, 0x3000), Purpose::Initrd);
    ledger.paint(range(0x4000, 0x4000), Purpose::Cma);
    assert_eq!(ledger.total(), 0x5000);
    assert_eq!(ledger.bytes(Purpose::Kernel), 0x3000 - 0x800 + 0x800);
    assert_eq!(ledger.bytes(Purpose::Initrd), 0x800);
    assert_eq!(ledger.bytes(Purpose::Free), 0x1000 + 0x800);
    assert_eq!(ledger.bytes(Purpose::Cma), 0);
}

#[test]
fn every_byte_of_every_shipped_machine_has_one_purpose_and_the_allocator_has_what_is_managed() {
    for (name, _) in SHIPPED {
        let mut machine = shipped(name).unwrap().machine().unwrap();
        machine.initrd = None;
        let page = machine.config.page_shift.bytes();
        run::boot(
            &machine,
            |booted| {
                let ledger = Ledger::of(booted);
                // Linux's own sum does not follow the trimming of memory to whole pages.
                let regions = booted.boot.mb.regions(pagewright_memblock::Set::Memory);
                assert_eq!(ledger.total(), regions.iter().map(|r| r.size()).sum::<u64>(), "{name}");
                let by_purpose: u64 = Purpose::ALL.into_iter().map(|p| ledger.bytes(p)).sum();
                assert_eq!(by_purpose, ledger.total(), "{name}");
                let managed: u64 =
                    Purpose::ALL.into_iter().filter(|p| p.is_managed()).map(|p| ledger.bytes(p)).sum();
                assert_eq!(managed, booted.state().managed_pages() * page, "{name}");
                let picture = Picture::of(booted, &ledger).to_string();
                assert!(picture.contains("node 0"), "{name}");
            },
            |_| (),
        )
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn huge_pages_have_their_purpose_whoever_gave_them() {
    for cmdline in ["hugepages=64", "hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=3"] {
        let mut machine = shipped("x86_64-numa4").unwrap().machine().unwrap();
        machine.cmdline = Some(cmdline.to_owned());
        run::boot(
            &machine,
            |booted| {
                let ledger = Ledger::of(booted);
                let huge: u64 = booted.state().huge_pools().map(|p| p.size * p.count).sum();
                assert!(huge > 0, "{cmdline}");
                assert_eq!(ledger.bytes(Purpose::HugePages), huge, "{cmdline}");
                let by_purpose = |managed: bool| -> u64 {
                    let all = Purpose::ALL.into_iter().filter(|p| p.is_managed() || !managed);
                    all.map(|p| ledger.bytes(p)).sum()
                };
                assert_eq!(by_purpose(false), ledger.total(), "{cmdline}");
                assert_eq!(by_purpose(true), booted.state().managed_pages() * 4096, "{cmdline}");
            },
            |_| (),
        )
        .unwrap();
    }
}

#[test]
fn purposes_are_listed_once_each() {
    let mut titles: Vec<_> = Purpose::ALL.iter().map(|p| p.title()).collect();
    titles.sort_unstable();
    titles.dedup();
    assert_eq!(titles.len(), Purpose::ALL.len());
}

#[test]
fn sizes_are_exact_where_they_can_be() {
    for (bytes, text) in [(4096, "4 KiB"), (1 << 30, "1 GiB"), (1536 << 20, "1.5 GiB"), (7, "7 B")] {
        assert_eq!(super::picture::human(bytes), text);
    }
}
