//! Tables of a shipped machine compared with themselves, changed as a running kernel changes them and as a mistake would.

use super::*;
use crate::machine::description::shipped;
use crate::run;

const LINEAR: u64 = 0xffff_8880_0000_0000;
const MODULES: u64 = 0xffff_ffff_c000_0000;

/// Compares the machine's own tables after `change`.
fn compared(change: impl FnOnce(&mut Vec<Mapped>)) -> Outcome {
    compared_on("x86_64-q35", change)
}

fn compared_on(machine: &str, change: impl FnOnce(&mut Vec<Mapped>)) -> Outcome {
    let machine = shipped(machine).unwrap().machine().unwrap();
    let outcome = run::boot(
        &machine,
        |booted| {
            let tables = booted.tables().unwrap();
            let mut captured = PageTables { runs: runs(booted.boot.machine, tables) };
            change(&mut captured.runs);
            captured.runs.sort_by_key(|r| r.range.start);
            compare(&captured, booted, tables)
        },
        |_| (),
    );
    outcome.unwrap()
}

/// The run around an address of the linear map, cut into three so that the middle one can be changed.
fn cut_out(runs: &mut Vec<Mapped>, at: u64, len: u64, size: u64, attributes: &str) {
    let n = runs.iter().position(|r| r.range.contains(VirtAddr::new(at))).unwrap();
    let run = runs.remove(n);
    let part = |start: u64, end: u64| Mapped {
        range: VirtRange { start: VirtAddr::new(start), len: end - start },
        phys: PhysAddr::new(run.phys.get() + (start - run.range.start.get())),
        ..run.clone()
    };
    let (start, end) = (run.range.start.get(), run.range.last().get() + 1);
    runs.extend((start < at).then(|| part(start, at)));
    runs.push(Mapped { size, attributes: attributes.to_owned(), ..part(at, at + len) });
    runs.extend((at + len < end).then(|| part(at + len, end)));
}

fn module(phys: u64, len: u64) -> Mapped {
    Mapped {
        range: VirtRange { start: VirtAddr::new(MODULES), len },
        phys: PhysAddr::new(phys),
        size: 4096,
        attributes: "--xG--".to_owned(),
    }
}

#[test]
fn equal_tables_are_equal_and_every_line_of_the_four_ranges_is_a_fact() {
    let outcome = compared(|_| ());
    assert_eq!(outcome.tally.open(), 0, "{:#?}", outcome.tally);
    assert!(outcome.tally.facts > 30);
    assert_eq!(outcome.excluded, [0; RULES.len()]);
}

#[test]
fn a_page_with_other_rights_is_a_difference() {
    let outcome = compared(|runs| cut_out(runs, LINEAR + (8 << 20), 2 << 20, 2 << 20, "---G--"));
    let [difference] = &outcome.tally.differences[..] else { panic!("{:#?}", outcome.tally) };
    assert_eq!(difference.key, "linear map ffff888000800000-ffff8880009fffff");
    assert_eq!(difference.captured.as_deref(), Some("000000800000     2048K ---G--"));
    assert_eq!(difference.ours.as_deref(), Some("000000800000     2048K w--G--"));
}

#[test]
fn the_linear_maps_view_of_code_outside_the_image_is_left_out_with_the_split_that_it_causes() {
    let at = LINEAR + (128 << 20);
    let outcome = compared(|runs| {
        cut_out(runs, at, 2 << 20, 4096, "w--G--");
        cut_out(runs, at + 0x3000, 0x5000, 4096, "---G--");
        runs.push(module((128 << 20) + 0x3000, 0x5000));
    });
    assert_eq!(outcome.tally.open(), 0, "{:#?}", outcome.tally);
    assert_eq!(outcome.excluded[..2], [0x5000, 2 << 20]);
}

#[test]
fn code_elsewhere_excuses_no_other_page() {
    let at = LINEAR + (128 << 20);
    let outcome = compared(|runs| {
        cut_out(runs, at, 2 << 20, 4096, "---G--");
        runs.push(module((128 << 20) + 0x3000, 0x1000));
    });
    // The page itself is left out, its neighbours in the same block are not.
    assert_eq!(outcome.tally.open(), 2, "{:#?}", outcome.tally);
    assert_eq!(outcome.excluded[0], 0x1000);
    // A block split for nothing is a difference too.
    let outcome = compared(|runs| cut_out(runs, at, 2 << 20, 4096, "w--G--"));
    assert_eq!(outcome.tally.open(), 1);
}

#[test]
fn what_one_side_lacks_or_maps_elsewhere_is_a_difference() {
    let lacks = compared(|runs| runs.retain(|r| r.phys.get() != 0xfee0_0000));
    let [difference] = &lacks.tally.differences[..] else { panic!("{:#?}", lacks.tally) };
    assert_eq!((difference.captured.as_deref(), difference.key.starts_with("fixmap")), (None, true));
    let more = compared(|runs| {
        runs.push(Mapped {
            range: VirtRange { start: VirtAddr::new(LINEAR + (32 << 30)), len: 4096 },
            ..module(0, 0)
        });
    });
    assert_eq!((more.tally.open(), more.tally.differences[0].ours.as_deref()), (1, None));
    let elsewhere = compared(|runs| {
        let run = runs.iter_mut().find(|r| r.range.start.get() == 0xffff_ea00_0000_0000).unwrap();
        run.phys = PhysAddr::new(run.phys.get() + (2 << 20));
    });
    assert_eq!(elsewhere.tally.open(), 1);
}

#[test]
fn what_lies_outside_the_four_ranges_is_not_compared() {
    let outcome = compared(|runs| {
        let range = VirtRange { start: VirtAddr::new(0xffff_c900_0000_0000), len: 0x4000 };
        runs.push(Mapped { range, attributes: "w--G--".to_owned(), ..module(0x1234_5000, 0) });
    });
    assert_eq!(outcome.tally.open(), 0, "{:#?}", outcome.tally);
}

/// Where the BeagleBone's contiguous area begins in the linear map, and how its tables show a page there.
const CMA: u64 = 0xdf00_0000;
const CMA_PAGE: &str = "page ap1 xn1 tex0 c1 b1 s0 ng0 dom0";

#[test]
fn pages_of_a_contiguous_area_may_have_become_uncached() {
    let outcome = compared_on("beaglebone-black", |runs| {
        let run = runs.iter().find(|r| r.range.start.get() == CMA).unwrap();
        assert_eq!((run.attributes.as_str(), run.size), (CMA_PAGE, 4096));
        cut_out(runs, CMA + 0x4000, 0x2000, 4096, &CMA_PAGE.replace("tex0 c1 b1", "tex0 c0 b1"));
    });
    assert_eq!(outcome.tally.open(), 0, "{:#?}", outcome.tally);
    assert_eq!(outcome.excluded, [0, 0, 0x2000, 0]);
}

#[test]
fn neither_other_rights_there_nor_uncached_pages_elsewhere_are_left_out() {
    let executable = CMA_PAGE.replace("tex0 c1 b1", "tex0 c0 b1").replace("xn1", "xn0");
    let outcome = compared_on("beaglebone-black", |runs| cut_out(runs, CMA, 0x1000, 4096, &executable));
    assert_eq!((outcome.tally.open(), outcome.excluded), (1, [0; RULES.len()]));
    let uncached = "sect ap1 xn1 tex0 c0 b1 s0 ng0 dom0";
    let outcome =
        compared_on("beaglebone-black", |runs| cut_out(runs, 0xd000_0000, 1 << 20, 1 << 20, uncached));
    assert_eq!((outcome.tally.open(), outcome.excluded), (1, [0; RULES.len()]));
}

#[test]
fn the_domain_of_arms_vectors_is_that_of_their_table() {
    let outcome = compared_on("beaglebone-black", |runs| {
        let of = |runs: &[Mapped], va: u64| {
            let run = runs.iter().find(|r| r.range.contains(VirtAddr::new(va))).unwrap();
            run.attributes.clone()
        };
        assert!(of(runs, 0xffff_0000).ends_with("dom3"));
        assert!(of(runs, 0xc000_0000).ends_with("dom0"));
        runs.iter_mut().filter(|r| r.range.start.get() == 0xffff_0000).for_each(|r| {
            r.attributes = r.attributes.replace("dom3", "dom0");
        });
    });
    assert_eq!(outcome.tally.open(), 1, "{:#?}", outcome.tally);
}

#[test]
fn i386s_window_to_configuration_space_may_lead_anywhere_and_its_neighbours_may_not() {
    let window = |pages: u64| {
        compared_on("i386-pc", |runs| {
            let range = VirtRange { start: VirtAddr::new(0xffdb_b000), len: pages << 12 };
            runs.push(Mapped { range, attributes: "w-xGCW".to_owned(), ..module(0xb000_0000, 0) });
        })
    };
    let one = window(1);
    assert_eq!((one.tally.open(), one.excluded), (0, [0, 0, 0, 0x1000]), "{:#?}", one.tally);
    let more = window(2);
    assert_eq!((more.tally.open(), more.excluded[3]), (1, 0x1000), "{:#?}", more.tally);
}
