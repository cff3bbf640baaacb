use super::allow::Allow;
use super::compare::{Tally, compare};
use super::report::{Differences, MachineReport, Report};
use crate::facts::{Facts, Group};

const LINUX: &str =
    "Zone ranges:\n  DMA      [mem 0x1-0x2]\n  Normal   empty\nPolicy zone: DMA\nMemory: 1K/2K\n";

fn tally(ours: &str) -> Tally {
    compare(Group::Zones, &Facts::from_log(LINUX), &Facts::from_log(ours))
}

#[test]
fn equal_logs_have_no_differences() {
    let t = tally(LINUX);
    assert_eq!((t.facts, t.open()), (3, 0));
}

#[test]
fn a_changed_a_missing_and_an_extra_fact_are_three_differences() {
    let ours = "Zone ranges:\n  DMA      [mem 0x1-0x3]\n  Normal   empty\nFallback order for Node 0: 0 \n";
    let t = tally(ours);
    let found: Vec<_> =
        t.differences.iter().map(|d| (d.key.as_str(), d.captured.as_deref(), d.ours.as_deref())).collect();
    assert_eq!(
        found,
        [
            ("zone DMA range", Some("[mem 0x1-0x2]"), Some("[mem 0x1-0x3]")),
            ("policy zone", Some("DMA"), None),
            ("fallback order of node 0", None, Some("0")),
        ]
    );
}

#[test]
fn what_only_we_say_below_the_command_line_counts_for_a_complete_capture_only() {
    let ours = format!("{LINUX}Kernel command line: x\nsoftware IO TLB: area num 1.\n");
    let whole = Facts::from_log(LINUX);
    let cut = Facts::from_log(&LINUX.replace("Memory:", "Mammary:"));
    let ours = Facts::from_log(&ours);
    assert_eq!(compare(Group::Placements, &whole, &ours).open(), 1);
    assert_eq!(compare(Group::Placements, &cut, &ours).open(), 0);
}

fn report(ours: &str) -> Report {
    let machine = MachineReport {
        machine: "board-1".to_owned(),
        groups: [(Group::Zones, tally(ours))].into(),
        ..MachineReport::default()
    };
    Report { machines: vec![machine], ..Report::default() }
}

#[test]
fn an_allowance_accepts_its_difference_and_unused_ones_are_told() {
    let allow = Allow::parse("# why\nboard-* zones policy* -- not modelled\nother zones x -- y\n").unwrap();
    let mut r = report("Zone ranges:\n  DMA      [mem 0x1-0x2]\n  Normal   empty\n");
    assert!(r.differs());
    r.judge(&allow);
    assert!(!r.differs());
    assert_eq!(r.unused_allowances, ["line 3: other zones x"]);
    let text = Differences { report: &r, verbose: true }.to_string();
    assert!(text.contains("because    not modelled"), "{text}");
    assert!(!Differences { report: &r, verbose: false }.to_string().contains("policy zone"));
}

#[test]
fn wildcards_stand_for_anything_and_the_rest_is_exact() {
    let accepts = |pattern: &str, machine: &str| {
        let allow = Allow::parse(&format!("{pattern} zones * -- r")).unwrap();
        let mut r = report("");
        r.machines[0].machine = machine.to_owned();
        r.judge(&allow);
        !r.differs()
    };
    assert!(accepts("arm-*", "arm-2g") && accepts("*", "x") && accepts("a*b*c", "aXbYc"));
    assert!(!accepts("arm-*", "arm64-2g") && !accepts("arm", "arm-2g") && !accepts("a*b*c", "aXc"));
    assert!(!accepts("a*bc*c", "abc"));
}

#[test]
fn an_allowance_without_a_reason_or_group_is_refused() {
    for bad in ["board zones key", "board zonez key -- r", "board zones -- r", "board"] {
        let fault = Allow::parse(bad).unwrap_err();
        assert!(fault.to_string().starts_with("line 1: "), "{fault}");
    }
}

#[test]
fn managed_pages_never_fail_a_run() {
    let mut r = report(LINUX);
    let mut managed = Tally::default();
    managed.check(Group::Managed, "node 0 zone DMA", Some("1".into()), Some("2".into()));
    r.machines[0].groups.insert(Group::Managed, managed);
    assert!(!r.differs());
}

#[test]
fn the_table_has_a_line_for_each_machine_and_no_colour_on_request() {
    let text = report("").table(false).to_string();
    assert!(text.contains("board-1") && text.contains("0/3"), "{text}");
    assert!(!text.contains('\u{1b}'));
}
