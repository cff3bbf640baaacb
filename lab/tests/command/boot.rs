//! `boot` and `machines`: what they print, and that they end well.

use crate::text;
use std::process::{Command, Stdio};

#[test]
fn boot_prints_the_log_the_picture_and_the_accounts_without_colour() {
    let out = text(&["boot"]);
    for part in
        ["Zone ranges:", "Memory: ", "Physical memory, ", "kernel image", "of it managed", "page tables"]
    {
        assert!(out.contains(part), "{part}");
    }
    assert!(!out.contains('\u{1b}'));
    let quiet = text(&["boot", "--quiet"]);
    assert!(!quiet.contains("Zone ranges:") && quiet.contains("Physical memory, "));
}

#[test]
fn boot_has_colour_when_it_is_asked_for() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagewright"));
    // The surroundings of the test must not decide: NO_COLOR would win.
    let asked = command.env_remove("NO_COLOR").env("TERM", "xterm").env("CLICOLOR_FORCE", "1");
    let out = asked.args(["boot", "--quiet"]).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains('\u{1b}'));
}

#[test]
fn log_levels_go_from_warnings_to_every_memblock_call() {
    let debug = text(&["boot", "--log-level", "debug"]);
    assert!(debug.contains("memblock_reserve: [") && debug.contains("mminit::pageflags_layout_widths"));
    assert!(!text(&["boot", "--log-level", "warning"]).contains("Zone ranges:"));
    let asked = text(&["boot", "--cmdline", "memblock=debug"]);
    assert!(asked.contains("memblock_reserve: [") && !asked.contains("mminit::"));
}

#[test]
fn json_tells_everything_and_its_purposes_add_up() {
    let json: serde_json::Value = serde_json::from_str(&text(&["boot", "--json", "--quiet"])).unwrap();
    assert!(json["log"].is_null());
    let purposes = json["ram_by_purpose"].as_object().unwrap();
    let sum: u64 = purposes.values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(Some(sum), json["ram_bytes"].as_u64());
    assert_eq!(sum, 2 << 30);
    let with_log: serde_json::Value = serde_json::from_str(&text(&["boot", "--json"])).unwrap();
    assert!(with_log["log"].as_array().unwrap().iter().any(|l| l == "Zone ranges:"));
}

#[test]
fn every_reserved_memory_node_has_a_verdict() {
    let json: serde_json::Value =
        serde_json::from_str(&text(&["boot", "--json", "--quiet", "--machine", "raspberrypi-3b"])).unwrap();
    let nodes = json["reserved_memory"].as_array().unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0]["name"], "linux,cma");
    assert_eq!(nodes[0]["outcome"], "cma");
    assert_eq!(nodes[0]["default"], true);
}

#[test]
fn a_node_of_three_megabytes_is_a_node() {
    let log = text(&["boot", "--machine", "x86_64-numa4", "--cmdline", "mem=1027M"]);
    assert!(log.contains("NODE_DATA(1) allocated [mem "));
    assert!(log.contains("Initmem setup node 1 [mem 0x0000000040000000-0x00000000402fffff]"));
}

#[test]
fn memory_that_ends_with_the_last_address_can_be_drawn() {
    let out = text(&["boot", "--arch", "arm-lpae", "--quiet", "--memory", "1023M@0xffffffffc0000000"]);
    assert!(out.contains("Physical memory, "));
}

#[test]
fn low_memory_of_arm_may_end_within_a_page() {
    let out = text(&["boot", "--arch", "arm", "--quiet", "--memory", "1G", "--cmdline", "vmalloc=246403K"]);
    assert!(out.contains("Physical memory, "));
}

#[test]
fn machines_are_listed() {
    let list = text(&["machines"]);
    assert!(list.lines().count() >= 8 && list.contains("arm64-virt"));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagewright"));
    let mut child = command.args(["boot", "--log-level", "debug"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
