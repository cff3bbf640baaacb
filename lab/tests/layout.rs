//! `show layout` as its users run it.

use std::process::{Command, Output};

fn show(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagewright"));
    command.arg("show").args(args).output().expect("the command starts")
}

fn text(args: &[&str]) -> String {
    let out = show(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

fn complaint(args: &[&str]) -> String {
    let out = show(args);
    assert_eq!(out.status.code(), Some(2), "{args:?}");
    String::from_utf8(out.stderr).expect("text")
}

#[test]
fn low_memory_and_vmalloc_space_are_those_of_the_boot() {
    let small = text(&["layout", "--machine", "arm-virt", "--memory", "256M"]);
    assert!(small.contains("    lowmem  : 0xc0000000 - 0xd0000000   ( 256 MB)\n"), "{small}");
    assert!(small.contains("    vmalloc : 0xd0800000 - 0xff800000   ( 752 MB)\n"), "{small}");
    let asked = text(&["layout", "--machine", "arm-virt", "--memory", "2G", "--cmdline", "vmalloc=512M"]);
    assert!(asked.contains("    vmalloc : 0xdf800000 - 0xff800000   ( 512 MB)\n"), "{asked}");
    assert!(text(&["layout", "--machine", "arm64-virt"]).contains("      .text : 0xffff800008000000 - "));
}

#[test]
fn older_layouts_can_be_asked_for() {
    let old = text(&["layout", "--machine", "arm64-virt", "--linux", "5.3"]);
    assert!(old.contains("    modules : 0xffff000008000000 - 0xffff000010000000   (   128 MB)\n"), "{old}");
    assert!(old.contains("    memory  : 0xffff800000000000 - "), "{old}");
    assert!(old.contains("      .text : 0xffff000010000000 - "), "{old}");
    let refused = complaint(&["layout", "--machine", "i386-pc", "--linux", "4.4"]);
    assert_eq!(refused.lines().count(), 1);
    assert!(
        refused.contains("the layout of I386 in 4.4 is not modelled, expected 5.11 or later"),
        "{refused}"
    );
    assert!(complaint(&["layout", "--linux", "old"]).contains("expected a version such as 5.3 or 6.1"));
}

#[test]
fn the_document_is_json_and_only_the_layout_has_one() {
    let json: serde_json::Value = serde_json::from_str(&text(&["layout", "--json"])).unwrap();
    assert_eq!(json["regions"][0]["start"], "0x0");
    assert_eq!(json["linux"], "6.1");
    for args in [["meminfo", "--json"], ["iomem", "--linux=6.1"]] {
        assert!(complaint(&args).contains("`show layout`"), "{args:?}");
    }
}
