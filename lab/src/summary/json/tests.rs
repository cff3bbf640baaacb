use super::*;
use crate::machine::dts;
use crate::machine::{OwnedMachine, description};
use crate::run;
use pagewright_firmware::config::Flavour;
use std::collections::BTreeSet;

/// Nodes of every kind that a tree can hold.
const BOARD: &str = r#"
/ { #address-cells = <2>; #size-cells = <2>;
    cpus { #address-cells = <1>; #size-cells = <0>; cpu@0 { compatible = "arm,cortex-a53"; reg = <0>; }; };
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x40000000>; };
    reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;
        static@50000000 { reg = <0 0x50000000 0 0x100000>; };
        secret@51000000 { reg = <0 0x51000000 0 0x100000>; no-map; };
        pool@52000000 { compatible = "shared-dma-pool"; reg = <0 0x52000000 0 0x100000>; no-map; };
        area { compatible = "shared-dma-pool"; reusable; size = <0 0x4000000>; linux,cma-default; };
        giant { size = <0x10 0>; };
        off@53000000 { reg = <0 0x53000000 0 0x100000>; status = "disabled"; };
    };
};"#;

fn board(cmdline: &str) -> OwnedMachine {
    let tree = dts::compile(BOARD, 1).unwrap();
    description::from_tree("board", tree, Flavour::Arm64, Some(cmdline)).unwrap()
}

fn of(machine: &OwnedMachine) -> Value {
    let print = |booted: &Booted<'_, '_, '_, '_, '_>| {
        document(booted, &Ledger::of(booted), Some("a line"), Instant::now()).unwrap()
    };
    run::boot(machine, print, |_| ()).unwrap_or_else(|e| panic!("{e}"))
}

/// All keys of a document, `a[].b`, and all texts that stand under a key.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>, texts: &mut BTreeSet<(String, String)>) {
    if !path.is_empty() {
        found.insert(path.to_owned());
    }
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let dot = if path.is_empty() { "" } else { "." };
                let name = if path == "ram_by_purpose" { "*" } else { key };
                if name == "*" {
                    texts.insert((format!("{path}.*"), key.clone()));
                }
                keys(inner, &format!("{path}{dot}{name}"), found, texts);
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| keys(inner, &format!("{path}[]"), found, texts)),
        Value::String(text) => _ = texts.insert((path.to_owned(), text.clone())),
        _ => {}
    }
}

/// The keys that `docs/json.md` lists for `boot`, each with the other words of its row in backticks.
fn documented() -> Vec<(String, Vec<String>)> {
    let text = include_str!("../../../../docs/json.md");
    let boot = text.split("## `conform --json`").next().unwrap_or("");
    let ticked =
        |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows = boot.lines().filter(|l| l.starts_with("| `"));
    rows.flat_map(|row| {
        let (names, what) = row[2..].split_once(" | ").unwrap_or((row, ""));
        let kinds = ticked(what);
        ticked(names).into_iter().map(move |name| (name, kinds.clone()))
    })
    .collect()
}

fn documents() -> Vec<Value> {
    let mut all: Vec<Value> = description::SHIPPED
        .iter()
        .map(|(name, _)| of(&description::shipped(name).unwrap().machine().unwrap()))
        .collect();
    all.push(of(&board("crashkernel=64M")));
    let mut pc = description::shipped("x86_64-q35").unwrap().machine().unwrap();
    pc.cmdline = Some("crashkernel=64M,high crashkernel=32M,low".to_owned());
    all.push(of(&pc));
    all
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    let (mut found, mut texts) = (BTreeSet::new(), BTreeSet::new());
    documents().iter().for_each(|d| keys(d, "", &mut found, &mut texts));
    let documented: BTreeSet<String> = documented().into_iter().map(|(name, _)| name).collect();
    // An object or a list stands for what is in it.
    let outer = |key: &str| {
        documented.iter().any(|k| k.starts_with(&format!("{key}.")) || k.starts_with(&format!("{key}[]")))
    };
    for key in found.iter().filter(|k| !documented.contains(*k)) {
        assert!(outer(key), "{key} is not in docs/json.md");
    }
    // No machine here has a flag on a reservation.
    for key in documented.iter().filter(|k| !k.contains("reserved[].flags[]")) {
        assert!(found.contains(key), "{key} is in docs/json.md only");
    }
}

#[test]
fn kinds_are_lower_case_words_of_the_documented_lists() {
    let (mut found, mut texts) = (BTreeSet::new(), BTreeSet::new());
    documents().iter().for_each(|d| keys(d, "", &mut found, &mut texts));
    let mut checked = 0;
    for (name, kinds) in documented() {
        let listed = [
            "architecture",
            "memory[].flags[]",
            "reserved_memory[].outcome",
            "ram_by_purpose.*",
            "phases[].phase",
        ];
        for (_, text) in texts.iter().filter(|(path, _)| *path == name && listed.contains(&name.as_str())) {
            assert!(kinds.contains(text), "{name}: {text} is not listed");
            assert!(text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{text}");
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn what_became_of_a_reserved_memory_node_is_told_in_fields() {
    let document = of(&board(""));
    let node = |name: &str| {
        let nodes = document["reserved_memory"].as_array().unwrap();
        nodes.iter().find(|n| n["name"] == name).unwrap_or_else(|| panic!("{name}: {nodes:?}")).clone()
    };
    assert_eq!(node("static@50000000")["outcome"], "reserved");
    assert_eq!(node("static@50000000")["range"]["end"], 0x5010_0000);
    assert_eq!(node("secret@51000000")["nomap"], true);
    assert_eq!(node("pool@52000000")["outcome"], "dma_pool");
    assert_eq!((&node("area")["outcome"], &node("area")["default"]), (&json!("cma"), &json!(true)));
    let giant = node("giant");
    assert_eq!(
        (&giant["outcome"], &giant["wanted_bytes"]),
        (&json!("no_memory"), &json!(0x10_0000_0000_u64))
    );
    assert!(giant["range"].is_null());
    assert_eq!(node("off@53000000")["outcome"], "disabled");
}

#[test]
fn times_are_whole_nanoseconds() {
    let document = of(&board(""));
    for phase in document["phases"].as_array().unwrap() {
        assert!(phase["took_ns"].is_u64(), "{phase}");
    }
    assert_eq!(document["phases"].as_array().unwrap().len(), Phase::ALL.len());
}
