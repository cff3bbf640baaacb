use crate::build::{N, node, root};
use pagewright_firmware::devicetree::{Chosen, DeviceTree, PropertyProblem};

fn with_chosen<T>(chosen: N, read: impl FnOnce(Chosen<'_>) -> T) -> T {
    let blob = root(2, 2).with(chosen).blob();
    read(DeviceTree::parse(&blob).unwrap().chosen())
}

fn chosen() -> N {
    node("chosen")
}

#[test]
fn everything_is_read_from_a_full_node() {
    let full = chosen()
        .text("bootargs", "console=ttyAMA0 mem=1G")
        .cells("linux,initrd-start", &[0, 0x4a00_0000])
        .cells("linux,initrd-end", &[0x4a10_0010])
        .cells("linux,usable-memory-range", &[0, 0x4000_0000, 0, 0x2000_0000])
        .cells("linux,elfcorehdr", &[0, 0x5000_0000, 0, 0x1_0000])
        .cells("kaslr-seed", &[1, 2])
        .cells("rng-seed", &[1, 2, 3])
        .text("stdout-path", "serial0:115200");
    with_chosen(full, |c| {
        assert!(c.present && c.rng_seed && c.problems.is_empty());
        assert_eq!(c.bootargs, Some("console=ttyAMA0 mem=1G"));
        assert_eq!(format!("{:?}", c.initrd.unwrap()), "0x4a000000..0x4a100010");
        assert_eq!(format!("{:?}", c.elfcorehdr.unwrap()), "0x50000000..0x50010000");
        assert_eq!(c.usable_memory_ranges.len(), 1);
        assert_eq!(c.kaslr_seed, Some(0x1_0000_0002));
        assert_eq!(c.stdout_path, Some("serial0:115200"));
    });
}

#[test]
fn a_tree_without_chosen_says_so() {
    let blob = root(1, 1).blob();
    let chosen = DeviceTree::parse(&blob).unwrap().chosen();
    assert!(!chosen.present && chosen.bootargs.is_none() && chosen.problems.is_empty());
}

#[test]
fn chosen_with_a_unit_address_is_found_too() {
    with_chosen(node("chosen@0").text("bootargs", "quiet"), |c| assert_eq!(c.bootargs, Some("quiet")));
}

#[test]
fn bootargs_end_at_the_first_nul_and_lose_their_last_byte_without_one() {
    with_chosen(chosen().bytes("bootargs", b"one\0two\0"), |c| assert_eq!(c.bootargs, Some("one")));
    with_chosen(chosen().bytes("bootargs", b"panic=-12"), |c| assert_eq!(c.bootargs, Some("panic=-1")));
    with_chosen(chosen().bytes("bootargs", b"\0"), |c| assert_eq!(c.bootargs, Some("")));
    with_chosen(chosen().flag("bootargs"), |c| {
        assert_eq!(c.bootargs, None);
        assert!(c.problems.is_empty());
    });
}

#[test]
fn bootargs_that_are_not_text_are_a_problem() {
    with_chosen(chosen().bytes("bootargs", &[0xff, 0]), |c| {
        assert_eq!(c.bootargs, None);
        assert_eq!(c.problems[0].problem, PropertyProblem::NotText);
        assert_eq!(c.problems[0].to_string(), "device tree node 'chosen', property 'bootargs': not text");
    });
}

#[test]
fn an_initrd_takes_any_count_of_cells() {
    let three = chosen().cells("linux,initrd-start", &[5, 0, 0x1000]).cells("linux,initrd-end", &[1, 0]);
    with_chosen(three, |c| {
        assert_eq!(format!("{:?}", c.initrd.unwrap()), "0x1000..0x100000000");
    });
}

#[test]
fn an_initrd_without_end_or_that_ends_before_its_start_is_not_taken() {
    with_chosen(chosen().cells("linux,initrd-start", &[0x1000]), |c| {
        assert_eq!(c.initrd, None);
        assert_eq!(c.problems[0].problem, PropertyProblem::Missing);
    });
    let inverted = chosen().cells("linux,initrd-start", &[0x2000]).cells("linux,initrd-end", &[0x1000]);
    with_chosen(inverted, |c| {
        assert_eq!(c.initrd, None);
        assert_eq!(c.problems[0].problem, PropertyProblem::BadValue { value: 0x1000 });
    });
    with_chosen(chosen().cells("linux,initrd-end", &[0x1000]), |c| {
        assert!(c.initrd.is_none() && c.problems.is_empty());
    });
}

#[test]
fn linux_reads_two_usable_ranges_at_the_most() {
    let cells = [0, 0x4000_0000, 0, 0x100, 0, 0x7000_0000, 0, 0x200, 0, 0x7800_0000, 0, 0x300];
    with_chosen(chosen().cells("linux,usable-memory-range", &cells), |c| {
        let sizes: Vec<_> = c.usable_memory_ranges.iter().map(|r| r.size).collect();
        assert_eq!(sizes, [0x100, 0x200]);
    });
    with_chosen(chosen().cells("linux,usable-memory-range", &cells[..5]), |c| {
        assert!(c.usable_memory_ranges.is_empty());
        let problem = PropertyProblem::BadLength { len_bytes: 20, expected_bytes: 16 };
        assert_eq!(c.problems[0].problem, problem);
    });
    with_chosen(chosen().flag("linux,usable-memory-range"), |c| {
        assert!(c.usable_memory_ranges.is_empty() && c.problems.is_empty());
    });
}

#[test]
fn elfcorehdr_and_seed_of_other_lengths_are_problems() {
    let short = chosen().cells("linux,elfcorehdr", &[0, 1, 0]).cells("kaslr-seed", &[1]);
    with_chosen(short, |c| {
        assert_eq!((c.elfcorehdr, c.kaslr_seed), (None, None));
        let names: Vec<_> = c.problems.iter().map(|p| p.property).collect();
        assert_eq!(names, ["linux,elfcorehdr", "kaslr-seed"]);
    });
}

#[test]
fn cell_counts_without_meaning_make_problems_and_no_panic() {
    let blob = root(0, 0)
        .with(chosen().cells("linux,usable-memory-range", &[1]).cells("linux,elfcorehdr", &[1, 2, 3, 4]))
        .blob();
    let c = DeviceTree::parse(&blob).unwrap().chosen();
    assert_eq!(c.problems.len(), 2);
}
