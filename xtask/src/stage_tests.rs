//! Facts about stages.

use super::*;

const fn stage(name: &'static str, run: fn(&mut u32, Limit) -> Outcome) -> Stage<u32> {
    Stage { name, shows: "a fact", budget_seconds: 5, run }
}

const GOOD: Stage<u32> = stage("good", |count, _| {
    *count += 1;
    Outcome::Passed("1 thing".into())
});
const BAD: Stage<u32> = stage("bad", |count, _| {
    *count += 1;
    Outcome::Failed("it broke\nin two lines".into())
});
const ABSENT: Stage<u32> = stage("absent", |_, _| Outcome::Missing("no such tool: install it".into()));

#[test]
fn a_failed_stage_does_not_stop_the_next() {
    let mut count = 0;
    let rows = run_all(&[&BAD, &GOOD], &mut count);
    assert_eq!(count, 2);
    assert_eq!(not_passed(&rows), (vec!["bad"], vec![]));
}

#[test]
fn what_is_missing_is_named_in_the_table() {
    let rows = run_all(&[&GOOD, &ABSENT], &mut 0);
    let table = table(&rows);
    assert!(table.contains("MISSING absent: no such tool: install it"), "{table}");
    assert_eq!(not_passed(&rows), (vec![], vec!["absent"]));
}

#[test]
fn a_stage_over_its_budget_is_marked() {
    let row = |took| Row {
        name: "slow",
        budget_seconds: 1,
        took: Duration::from_millis(took),
        outcome: Outcome::Passed(String::new()),
    };
    assert!(table(&[row(1500)]).contains("passed (over budget)"));
    assert!(!table(&[row(900)]).contains("over budget"));
}
