//! Facts about the list of stages and the runners' closing lines.

use super::hosted::fenced;
use super::rust::{libtest_summary, nextest_summary};
use super::*;

#[test]
fn budgets_stay_under_25_minutes() {
    let total: u32 = stages().iter().map(|s| s.budget_seconds).sum();
    assert!(total < 25 * 60, "{total} seconds");
}

#[test]
fn stage_names_are_distinct() {
    let all = stages();
    let mut names: Vec<_> = all.iter().map(|s| s.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len());
}

#[test]
fn nextest_closing_line_is_found_behind_failures() {
    let text = "    Finished `test`\n     Summary [   0.1s] 3 tests run: 2 passed, 1 failed, 0 skipped\n        FAIL a b\n";
    let line = nextest_summary(text).unwrap();
    assert!(line.ends_with("3 tests run: 2 passed, 1 failed, 0 skipped"), "{line}");
    assert_eq!(nextest_summary("nothing ran"), None);
}

#[test]
fn cargo_test_results_add_up_to_one_line() {
    let text = "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
                test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n";
    assert_eq!(libtest_summary(text).unwrap(), "15 passed, 1 failed");
    assert_eq!(libtest_summary("running 0 tests"), None);
}

#[test]
fn accepted_differences_are_read_from_their_block() {
    let text = "Text.\n\n```conform-allow\na zones k -- why\n```\n\n```conform-allow\nlater\n```\n";
    assert_eq!(fenced(text, "conform-allow").unwrap(), "a zones k -- why\n");
    assert_eq!(fenced("\n```conform-allow\n```\n", "conform-allow").unwrap(), "");
    assert_eq!(fenced("\n```conform-allow\nnever closed", "conform-allow"), None);
}

#[test]
fn a_missing_stage_fails_where_the_environment_says_ci() {
    assert!(in_ci(Some("true")) && in_ci(Some("1")));
    assert!(!in_ci(None) && !in_ci(Some("")) && !in_ci(Some("false")) && !in_ci(Some("0")));
}
