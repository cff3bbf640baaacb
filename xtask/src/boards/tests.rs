//! Facts about how a board is judged.

use super::verdict::{judge, kind, reserved_memory_nodes};
use super::*;
use crate::cmd::Output;

fn ended(code: i32, stdout: &str, stderr: &str) -> Output {
    let text = format!("{stdout}{stderr}");
    Output { code: Some(code), stdout: stdout.into(), text, timed_out: false }
}

fn nodes(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.into()).collect()
}

#[test]
fn every_reserved_memory_node_needs_its_verdict() {
    let out = ended(0, r#"{"reserved_memory": [{"name": "a@1", "outcome": "reserved"}]}"#, "");
    assert_eq!(judge(&out, Some(&nodes(&["a@1"]))), Verdict::Booted { reserved: nodes(&["reserved"]) });
    assert!(matches!(judge(&out, Some(&nodes(&["a@1", "b"]))), Verdict::Fault(why) if why.contains('b')));
    assert!(matches!(judge(&out, Some(&nodes(&[]))), Verdict::Fault(_)));
}

#[test]
fn two_verdicts_for_a_node_are_a_fault() {
    let node = r#"{"name": "a", "outcome": "reserved"}"#;
    let out = ended(0, &format!(r#"{{"reserved_memory": [{node}, {node}]}}"#), "");
    assert!(matches!(judge(&out, Some(&nodes(&["a"]))), Verdict::Fault(_)));
}

#[test]
fn a_refusal_is_one_line_and_code_2() {
    let refused = judge(&ended(2, "", "board.dtb: no memory: give --memory\n"), Some(&nodes(&[])));
    assert_eq!(refused, Verdict::Refused("board.dtb: no memory: give --memory".into()));
    assert!(matches!(judge(&ended(2, "", "two\nlines\n"), Some(&nodes(&[]))), Verdict::Fault(_)));
    assert!(matches!(judge(&ended(2, "", ""), Some(&nodes(&[]))), Verdict::Fault(_)));
}

#[test]
fn a_panic_is_a_fault() {
    assert!(matches!(judge(&ended(101, "", "panicked at x\n"), Some(&nodes(&[]))), Verdict::Fault(_)));
}

#[test]
fn refusals_are_counted_by_kind() {
    assert_eq!(kind("/a/b.dtb: memory@80000000 has no base"), "… has no base");
    assert_eq!(kind("c/d.dtb: memory@0 has no base"), "… has no base");
}

#[test]
fn the_summary_counts_every_board() {
    let board = |name: &str| Board { tree: name.into(), name: name.into(), config: None };
    let boards = [board("a"), board("b"), board("c")];
    let verdicts = [
        Verdict::Booted { reserved: nodes(&["reserved", "reserved"]) },
        Verdict::Refused("no memory".into()),
        Verdict::Fault("exit code 101".into()),
    ];
    let summary = Summary::of(&boards, &verdicts, false);
    assert_eq!(summary.faults, 1);
    assert!(summary.text.contains("FAULT c: exit code 101"), "{}", summary.text);
    assert!(summary.text.contains("1  booted, with 2 reserved-memory nodes"), "{}", summary.text);
}

#[test]
fn children_of_reserved_memory_are_found_and_no_others() {
    let tree = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/dtb/reserved")).unwrap();
    let names = ["static@90000000", "linux,cma", "impossible", "wraps@ffffffff"];
    assert_eq!(reserved_memory_nodes(&tree).unwrap(), nodes(&names));
    assert_eq!(reserved_memory_nodes(&tree[..tree.len() / 2]), None);
    assert_eq!(reserved_memory_nodes(b"no tree"), None);
}
