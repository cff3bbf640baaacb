//! `conform` on captures that this test makes: a machine of ours whose own log stands in for Linux's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PARAMS: &str = "memblock=debug mminit_loglevel=4";

/// Where the sections of the shipped PC's kernel lie.
const SYMBOLS: &str = "\
ffffffff81000000 T _text
ffffffff83044000 D __init_begin
ffffffff830e7c04 T _einittext
ffffffff83306000 R __init_end
ffffffff84400000 B __end_of_kernel_reserve
";

fn pagewright(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pagewright")).args(args).output().expect("the command starts")
}

fn show(file: &str) -> String {
    let out = pagewright(&["show", file, "--arch", "x86_64", "--initrd", "1M", "--cmdline", PARAMS]);
    String::from_utf8(out.stdout).unwrap()
}

/// Writes a capture of the shipped PC, as if a kernel had been booted there.
fn capture(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("pagewright-conform-{}-{name}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let args = ["boot", "--arch", "x86_64", "--initrd", "1M", "--cmdline", PARAMS, "--json"];
    let json: serde_json::Value = serde_json::from_slice(&pagewright(&args).stdout).unwrap();
    let log: Vec<&str> = json["log"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    let e820 = pagewright_lab::machine::description::shipped("x86_64-q35").unwrap();
    assert!(!e820.has_tree);
    let firmware = include_str!("../../machines/x86_64-q35.machine").split("---\n").nth(1).unwrap();
    let mut dmesg = String::from("Linux version 6.1.0-1-amd64 (nobody) #1 SMP\n");
    dmesg += &format!("Command line: {PARAMS}\n");
    // The firmware's lines that our log does not have; the others are in it.
    dmesg += &firmware.lines().filter(|l| !log.contains(l)).map(|l| format!("{l}\n")).collect::<String>();
    if !log.iter().any(|l| l.starts_with("RAMDISK:")) {
        let initrd = json["ram_by_purpose"]["initrd"].as_u64().unwrap();
        assert_eq!(initrd, 1 << 20);
    }
    dmesg += &log.iter().map(|l| format!("[    0.000000] {l}\n")).collect::<String>();
    fs::write(dir.join("dmesg.txt"), dmesg).unwrap();
    fs::write(dir.join("kernel_symbols.txt"), SYMBOLS).unwrap();
    for (file, as_file) in [("iomem", "iomem.txt"), ("zoneinfo", "zoneinfo.txt")] {
        fs::write(dir.join(as_file), show(file)).unwrap();
    }
    dir
}

fn conform(args: &[&str]) -> (Option<i32>, String) {
    let mut all = vec!["conform"];
    all.extend(args);
    let out = pagewright(&all);
    (
        out.status.code(),
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr),
    )
}

fn path(dir: &Path) -> &str {
    dir.to_str().unwrap()
}

#[test]
fn a_capture_that_cannot_be_read_is_reported_and_the_others_are_compared() {
    let (good, bad) = (capture("beside-bad"), capture("bad"));
    fs::write(bad.join("zoneinfo.txt"), "no zones at all").unwrap();
    let (code, text) = conform(&[path(&bad), path(&good)]);
    assert_eq!(code, Some(2), "{text}");
    let name = good.file_name().unwrap().to_str().unwrap();
    assert!(text.contains(name), "the table has the other machine: {text}");
    assert!(
        text.contains("zoneinfo.txt") && text.contains("1 of 2 captures could not be compared"),
        "{text}"
    );
    // Alone it is the one line that it always was.
    let (code, text) = conform(&[path(&bad)]);
    assert_eq!((code, text.lines().count()), (Some(2), 1), "{text}");
}

#[test]
fn a_machine_conforms_to_its_own_log() {
    let dir = capture("self");
    let (code, text) = conform(&[path(&dir)]);
    assert_eq!(code, Some(0), "{text}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_release_that_names_no_architecture_needs_no_option_on_a_pc_and_takes_one() {
    let dir = capture("nameless");
    let log = fs::read_to_string(dir.join("dmesg.txt")).unwrap();
    fs::write(dir.join("dmesg.txt"), log.replace("6.1.0-1-amd64", "6.1.0-custom")).unwrap();
    assert_eq!(conform(&[path(&dir)]).0, Some(0));
    assert_eq!(conform(&["--arch", "x86_64", path(&dir)]).0, Some(0));
    let (code, text) = conform(&["--arch", "i386", path(&dir)]);
    assert_ne!(code, Some(0), "{text}");
    fs::write(dir.join("dmesg.txt"), "Linux version 6.1.0 (x)\n").unwrap();
    fs::remove_file(dir.join("kernel_symbols.txt")).unwrap();
    let (code, text) = conform(&[path(&dir)]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("expected --arch"), "{text}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_changed_fact_is_shown_with_both_values_and_can_be_allowed() {
    let dir = capture("changed");
    let log = fs::read_to_string(dir.join("dmesg.txt")).unwrap();
    let slub = "SLUB: HWalign=64, Order=0-3, MinObjects=0, CPUs=";
    assert!(log.contains(slub) && log.contains("Policy zone: Normal"), "{log}");
    let changed = log.replace("Policy zone: Normal", "Policy zone: DMA32").replace("Order=0-3", "Order=1-3");
    fs::write(dir.join("dmesg.txt"), changed).unwrap();
    let (code, text) = conform(&[path(&dir)]);
    assert_eq!(code, Some(1), "{text}");
    for part in ["zones: policy zone", "linux      DMA32", "pagewright Normal", "slub: SLUB: HWalign=#"] {
        assert!(text.contains(part), "{text}");
    }
    let allow = dir.join("allow");
    let entries =
        ["* zones policy zone -- made up for a test", "* zones nothing -- unused", "* slub SLUB: * -- too"];
    fs::write(&allow, entries.join("\n")).unwrap();
    let (code, text) = conform(&["--allow", path(&allow), path(&dir)]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("allowed but equal: line 2"), "{text}");
    let (_, json) = conform(&["--json", path(&dir)]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let zones = &json["machines"][0]["groups"]["zones"];
    assert_eq!(zones["differences"][0]["captured"], "DMA32");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_moved_allocation_is_a_difference_of_the_replay() {
    let dir = capture("moved");
    let log = fs::read_to_string(dir.join("dmesg.txt")).unwrap();
    let mut lines: Vec<String> = log.lines().map(str::to_owned).collect();
    let at = lines.iter().position(|l| l.contains("alloc_low_pages")).unwrap() + 1;
    let range = lines[at].split(['[', ']']).nth(3).unwrap().to_owned();
    let (start, _) = range.split_once('-').unwrap();
    let start = u64::from_str_radix(&start[2..], 16).unwrap() - 0x10_0000;
    lines[at] = lines[at].replace(&range, &format!("{start:#018x}-{:#018x}", start + 0xfff));
    fs::write(dir.join("dmesg.txt"), lines.join("\n")).unwrap();
    let (code, text) = conform(&[path(&dir)]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("replay: line"), "{text}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_missing_file_leaves_its_group_out_and_a_broken_one_is_refused() {
    let dir = capture("files");
    fs::remove_file(dir.join("zoneinfo.txt")).unwrap();
    let (code, text) = conform(&["--verbose", path(&dir)]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("watermarks: left out, no zoneinfo.txt"), "{text}");
    fs::write(dir.join("zoneinfo.txt"), "Node 0, zone\n").unwrap();
    let (code, text) = conform(&[path(&dir)]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("zoneinfo.txt: last line"), "{text}");
    fs::remove_dir_all(dir).unwrap();
}

/// A copy of a captured machine of the project, without some of its files.
fn copy_without(machine: &str, name: &str, left_out: impl Fn(&str) -> bool) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures").join(machine);
    let dir = std::env::temp_dir().join(format!("pagewright-conform-{}-{name}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let file = entry.file_name().into_string().unwrap();
        if !left_out(&file) {
            fs::copy(entry.path(), dir.join(file)).unwrap();
        }
    }
    dir
}

/// What is left out, but for the files that all of these captures lack.
fn left_out(text: &str) -> impl Iterator<Item = &str> {
    let lacked = |l: &str| {
        l.contains("no kernel_page_tables.txt")
            || l.contains("no slabinfo.txt")
            || l.contains("no vmallocinfo.txt")
    };
    text.lines().filter(move |l| l.contains("left out") && !lacked(l))
}

#[test]
fn the_nodes_of_a_pc_are_known_from_its_log_alone() {
    let table = |file: &str| matches!(file, "SRAT" | "SLIT" | "APIC");
    let dir = copy_without("x86_64-numa3", "no-acpi", table);
    let (code, text) = conform(&["-v", path(&dir)]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!left_out(&text).any(|_| true), "{text}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_processor_on_another_node_is_a_difference() {
    let dir = copy_without("x86_64-percpu-page", "other-node", |_| false);
    assert_eq!(conform(&[path(&dir)]).0, Some(0));
    fs::write(dir.join("node0_cpulist.txt"), "0-2\n").unwrap();
    fs::write(dir.join("node1_cpulist.txt"), "3\n").unwrap();
    let (code, text) = conform(&[path(&dir)]);
    assert_eq!(code, Some(1), "{text}");
    for part in ["zones: node 0 cpus", "linux      0, 1, 2", "pagewright 0, 1\n", "zones: node 1 cpus"] {
        assert!(text.contains(part), "{text}");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn without_any_file_of_nodes_only_their_order_by_distance_is_left_out() {
    let dir = copy_without("x86_64-numa3", "no-nodes", |file| {
        matches!(file, "SRAT" | "SLIT" | "APIC") || file.starts_with("node")
    });
    let (code, text) = conform(&["-v", path(&dir)]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("zones: left out, orders of nodes"), "{text}");
    assert_eq!(left_out(&text).count(), 1, "{text}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_json_document_has_the_documented_keys() {
    let dir = capture("json");
    let log = fs::read_to_string(dir.join("dmesg.txt")).unwrap();
    fs::write(dir.join("dmesg.txt"), log.replace("Policy zone: Normal", "Policy zone: DMA32")).unwrap();
    let out = pagewright(&["conform", "--json", path(&dir)]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let doc = include_str!("../../docs/json.md");
    let documented = |key: &str| assert!(doc.contains(&format!("`{key}`")), "{key}");
    json.as_object().unwrap().keys().for_each(|key| documented(&format!("{key}[]")));
    let machine = json["machines"][0].as_object().unwrap();
    for (key, value) in machine {
        let suffix = if value.is_object() { ".*" } else { "" };
        documented(&format!("machines[].{key}{suffix}"));
    }
    let zones = json["machines"][0]["groups"]["zones"].as_object().unwrap();
    for key in zones.keys() {
        let suffix = if key == "differences" { "[]" } else { "" };
        documented(&format!("machines[].groups.*.{key}{suffix}"));
    }
    let difference = zones["differences"][0].as_object().unwrap();
    assert_eq!((&difference["group"], &difference["ours"]), (&"zones".into(), &"Normal".into()));
    difference.keys().for_each(|key| documented(&format!("machines[].groups.*.differences[].{key}")));
    fs::remove_dir_all(dir).unwrap();
}
