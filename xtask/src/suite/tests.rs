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

#[test]
fn what_an_image_prints_is_its_log_and_its_files() {
    let text = "banner\r\n[    0.1] Zone ranges:\r\n==> zoneinfo <==\r\nNode 0, zone DMA\r\n==> page-tables/runs <==\r\n\
                ==> end <==\r\n[    0.2] pagewright: 0 tests passed\r\n[    0.3] Later\r\npagewright: end: passed (0)\r\n";
    let (log, files) = same::parts(text);
    assert_eq!(log, "[    0.1] Zone ranges:\n[    0.3] Later\n");
    assert_eq!(files[0], ("zoneinfo".into(), "Node 0, zone DMA\n".into()));
    assert_eq!((files.len(), files[1].1.as_str()), (3, ""));
}

#[test]
fn an_images_runs_are_worded_as_captured_ones() {
    let run = |word| same::run_of_x86(&format!("f0-ff 1000 4K {word}")).unwrap();
    assert_eq!(run("8000000000000163"), "f0-ff 1000        4K w--G--");
    assert_eq!(run("000000000000001d"), "f0-ff 1000        4K -ux-CW");
    assert_eq!(same::run_of_x86("f0-ff 1000 4K"), None);
}

#[test]
fn a_dumped_tree_has_its_bytes_back() {
    let tree = same::device_tree("bytes 43\n0 00d0\n40 000007\n").unwrap();
    assert_eq!((tree.len(), tree[1], tree[0x42]), (0x43, 0xd0, 7));
    assert!(tree.iter().filter(|b| **b != 0).count() == 2);
    for damaged in ["", "0 00", "bytes 1\n1 00", "bytes 1\n0 zz"] {
        assert!(same::device_tree(damaged).is_none(), "{damaged}");
    }
}

#[test]
fn the_first_line_that_differs_is_told() {
    assert_eq!(same::difference("a\nb\n", "a\nb"), None);
    let told = same::difference("a\nb", "a\nc\nd").unwrap();
    assert_eq!(told, "line 2: the image has `b`, the hosted boot `c`");
    assert!(same::difference("a", "a\nb").unwrap().contains("has `nothing`"));
}

#[test]
fn a_comparison_of_nothing_is_seen() {
    let json = r#"{"machines": [{"groups": {"zones": {"facts": 3}}}, {"groups": {"zones": {"facts": 4}}}]}"#;
    let facts = same::facts(json).unwrap();
    assert_eq!(facts.iter().find(|(group, _)| *group == "zones"), Some(&("zones", 7)));
    assert_eq!(facts.iter().find(|(group, _)| *group == "replay"), Some(&("replay", 0)));
    assert!(same::facts("no JSON").is_none());
}
