//! Making policies, following a task into other cpusets, whose turn it is, and policies as text.

extern crate std;

use super::*;
use std::borrow::ToOwned;
use std::string::ToString;
use std::vec::Vec;

fn node(n: u16) -> NodeId {
    NodeId::new(n).unwrap()
}

fn mask(text: &str) -> NodeMask {
    if text.is_empty() { NodeMask::EMPTY } else { NodeMask::parse_list(text).unwrap() }
}

fn made(mode: Mode, flags: ModeFlags, nodes: &str, usable: &str) -> Result<Mempolicy, PolicyError> {
    Mempolicy::new(mode, flags, &mask(nodes), &mask(usable))
}

#[test]
fn lists_of_nodes_are_written_in_runs_and_read_back() {
    for text in ["0", "0-3", "0-1,3", "1,3,5-7,1023", "8-9"] {
        assert_eq!(mask(text).list().to_string(), text);
    }
    assert_eq!(mask("3,1-2").list().to_string(), "1-3");
    assert_eq!(mask("").list().to_string(), "");
    for (text, at, len) in
        [("0-", 0, 2), ("0,x", 2, 1), ("3-1", 0, 3), ("1024", 0, 4), ("", 0, 0), ("0,,1", 2, 0), ("+1", 0, 2)]
    {
        assert_eq!(NodeMask::parse_list(text), Err(crate::NodeListError { at, len }), "{text:?}");
    }
}

#[test]
fn each_mode_takes_the_nodes_that_it_can_use() {
    use Mode::{Bind, Default, Interleave, Local, Preferred, PreferredMany, WeightedInterleave};
    let none = ModeFlags::empty();
    let table = [
        (Bind, none, "1-4", "0-2", Ok("1-2")),
        (Bind, none, "3", "0-2", Err(PolicyError::NoNodes(Bind))),
        (Bind, none, "", "0-2", Err(PolicyError::NoNodes(Bind))),
        (Bind, ModeFlags::STATIC, "1-4", "0-2", Ok("1-2")),
        (Bind, ModeFlags::RELATIVE, "0,2", "4-6", Ok("4,6")),
        (Bind, ModeFlags::RELATIVE, "1,4", "4-6", Ok("5")),
        (Bind, ModeFlags::RELATIVE | ModeFlags::STATIC, "1", "0-2", Err(PolicyError::Flags)),
        (Preferred, none, "1-2", "0-2", Ok("1")),
        (Preferred, none, "", "0-2", Ok("")),
        (Preferred, ModeFlags::STATIC, "", "0-2", Err(PolicyError::NodesGiven(Local))),
        (PreferredMany, none, "1-2", "0-2", Ok("1-2")),
        (Interleave, none, "0-9", "0-2", Ok("0-2")),
        (WeightedInterleave, none, "", "0-2", Err(PolicyError::NoNodes(WeightedInterleave))),
        (Local, none, "", "0-2", Ok("")),
        (Local, none, "1", "0-2", Err(PolicyError::NodesGiven(Local))),
        (Default, none, "1", "0-2", Err(PolicyError::NodesGiven(Default))),
        (Default, none, "", "0-2", Ok("")),
    ];
    for (mode, flags, nodes, usable, expected) in table {
        let policy = made(mode, flags, nodes, usable);
        let found = policy.map(|p| p.nodes().list().to_string());
        assert_eq!(found, expected.map(str::to_owned), "{mode:?} {flags:?} {nodes} of {usable}");
    }
    assert_eq!(made(Preferred, none, "", "0").unwrap().mode(), Local);
    assert!(PolicyError::NoNodes(Bind).to_string().contains("bind"));
}

#[test]
fn policies_follow_their_task_into_other_cpusets() {
    let none = ModeFlags::empty();
    let table = [
        // The same places among the new nodes, counted round.
        (Mode::Bind, none, "1-2", "0-3", "4-7", "5-6"),
        (Mode::Interleave, none, "0-3", "0-3", "4-5", "4-5"),
        (Mode::Bind, none, "3", "0-3", "8-9", "9"),
        // The same nodes, or all if none is left.
        (Mode::Bind, ModeFlags::STATIC, "1-4", "0-3", "2-6", "2-4"),
        (Mode::Bind, ModeFlags::STATIC, "1-2", "0-3", "5-6", "5-6"),
        // The same numbers among the new nodes.
        (Mode::Interleave, ModeFlags::RELATIVE, "0,3", "0-3", "4-7", "4,7"),
        (Mode::Interleave, ModeFlags::RELATIVE, "0,3", "0-3", "4-5", "4-5"),
        // What is only preferred stays: where it cannot be had, other nodes serve.
        (Mode::Preferred, none, "1", "0-3", "4-7", "1"),
        (Mode::PreferredMany, none, "1-2", "0-3", "4-7", "1-2"),
        (Mode::PreferredMany, ModeFlags::STATIC, "1-2", "0-3", "2-6", "1-2"),
        (Mode::PreferredMany, ModeFlags::RELATIVE, "0-1", "0-3", "4-7", "0-1"),
    ];
    for (mode, flags, nodes, old, new, expected) in table {
        let mut policy = made(mode, flags, nodes, old).unwrap();
        policy.rebind(&mask(new));
        assert_eq!(policy.nodes().list().to_string(), expected, "{mode:?} {flags:?} {nodes} {old} {new}");
    }
    // And back: what was asked for is not forgotten.
    let mut policy = made(Mode::Bind, ModeFlags::STATIC, "1-4", "0-7").unwrap();
    policy.rebind(&mask("4-7"));
    policy.rebind(&mask("0-7"));
    assert_eq!(policy.nodes().list().to_string(), "1-4");
}

#[test]
fn turns_go_round_by_counter_and_by_place() {
    let policy = made(Mode::Interleave, ModeFlags::empty(), "1,3-4", "0-7").unwrap();
    let task = TaskPolicy::new(policy);
    let turns: Vec<_> = (0..7).map(|_| task.next().unwrap().get()).collect();
    assert_eq!(turns, [1, 3, 4, 1, 3, 4, 1]);
    let placed: Vec<_> = (0..7).map(|n| policy.interleave_nid(n).unwrap().get()).collect();
    assert_eq!(placed, turns);
    assert_eq!(Mempolicy::LOCAL.interleave_nid(3), None);
}

#[test]
fn weights_give_each_node_its_share_in_a_row() {
    let policy = made(Mode::WeightedInterleave, ModeFlags::empty(), "0-2", "0-7").unwrap();
    let weights = Weights::new();
    weights.set(node(0), 3);
    weights.set(node(1), 0);
    weights.set(node(2), 2);
    assert_eq!(weights.get(node(1)), 1, "nobody is left out");
    let expected = [0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 2, 2, 0];
    let task = TaskPolicy::new(policy);
    let turns: Vec<_> = (0..13).map(|_| task.next_weighted(&weights).unwrap().get()).collect();
    assert_eq!(turns, expected);
    let placed: Vec<_> =
        (0..13).map(|n| policy.weighted_interleave_nid(n, &weights).unwrap().get()).collect();
    assert_eq!(placed, expected);
}

#[test]
fn policies_are_written_as_numa_maps_shows_them_and_read_as_tmpfs_takes_them() {
    let memory = mask("0-3");
    let same = [
        "default",
        "local",
        "bind:0-3",
        "bind:1",
        "prefer:2",
        "prefer (many):0,2",
        "interleave:0-3",
        "interleave=static:0,2-3",
        "bind=relative:1",
        "weighted interleave:1-2",
    ];
    for text in same {
        assert_eq!(Mempolicy::parse(text, &memory).unwrap().to_string(), text);
    }
    assert_eq!(Mempolicy::parse("interleave", &memory).unwrap().to_string(), "interleave:0-3");
    assert_eq!(Mempolicy::parse("prefer", &memory).unwrap().to_string(), "local");
    let wrong = [
        ("", PolicyTextError::Mode),
        ("binder:0", PolicyTextError::Mode),
        ("bind=firm:0", PolicyTextError::Flag),
        ("bind", PolicyTextError::Policy(PolicyError::NoNodes(Mode::Bind))),
        ("bind:", PolicyTextError::Nodes(crate::NodeListError { at: 0, len: 0 })),
        ("bind:4", PolicyTextError::NoMemory),
        ("prefer:0-1", PolicyTextError::OneNode),
        ("local:0", PolicyTextError::Policy(PolicyError::NodesGiven(Mode::Local))),
        ("default:0", PolicyTextError::Policy(PolicyError::NodesGiven(Mode::Default))),
        ("prefer=static", PolicyTextError::Policy(PolicyError::NoNodes(Mode::Preferred))),
    ];
    for (text, expected) in wrong {
        assert_eq!(Mempolicy::parse(text, &memory), Err(expected), "{text}");
        assert!(!expected.to_string().is_empty());
    }
}
