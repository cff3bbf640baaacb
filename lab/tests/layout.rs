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

/// The whole command.
fn pagewright(args: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_pagewright")).args(args).output().expect("the command starts");
    let said = if out.status.success() { out.stdout } else { out.stderr };
    (out.status.code(), String::from_utf8(said).expect("text"))
}

#[test]
fn older_page_tables_are_built_shown_and_followed() {
    let arm64 = |command: &[&str], version: &str| {
        let (code, text) = pagewright(&[command, &["--machine", "arm64-virt", "--linux", version]].concat());
        assert_eq!(code, Some(0), "{text}");
        text
    };
    let boot = arm64(&["boot", "--quiet"], "5.3");
    assert!(boot.contains("__create_page_tables") && !boot.contains("create_idmap"), "{boot}");
    assert!(arm64(&["boot", "--quiet"], "6.0").contains("create_idmap (head)"));
    let dump = arm64(&["show", "page-tables"], "5.3");
    let image = "0xffff000010200000-0xffff000010c00000          10M PMD       ro x  SHD AF        BLK UXN    MEM/NORMAL\n";
    assert!(dump.contains(image), "{dump}");
    // The linear map comes last, tags are not known yet.
    let (_, linear) = dump.split_once("---[ vmemmap end ]---\n---[ Linear Mapping ]---\n").expect(&dump);
    assert!(linear.starts_with("0xffff800000000000-") && !dump.contains("TAGGED"), "{dump}");
    let (_, newer) = pagewright(&["show", "page-tables", "--linux-version", "5.12"]);
    assert!(newer.contains("MEM/NORMAL-TAGGED"), "{newer}");
    let way = arm64(&["translate", "0xffff800000001000"], "5.3");
    assert!(way.starts_with("0xffff800000001000: memory (arm64,"), "{way}");
    assert!(way.contains("AttrIndx=4") && way.contains("kernel read: 0x40001000, 4 KiB, WriteBack"), "{way}");
    assert!(arm64(&["translate", "0xffff800000001000"], "6.1").contains("translation fault"));
}

#[test]
fn older_arm_kernels_have_the_device_tree_in_the_linear_map_only() {
    let dump = |version| pagewright(&["show", "page-tables", "--machine", "arm-virt", "--linux", version]).1;
    assert!(!dump("4.14").contains("0xff800000-"));
    assert!(dump("5.11").contains("0xff800000-0xffa00000           2M KERNEL      ro NX SHD\n"));
}

#[test]
fn page_tables_of_versions_that_are_not_known_are_refused_in_one_line() {
    for (machine, version, known) in [
        ("arm64-virt", "4.19", "5.0 to 6.1"),
        ("arm64-virt", "6.2", "5.0 to 6.1"),
        ("arm-virt", "4.13", "4.14 to 6.1"),
        ("x86_64-q35", "5.10", "6.1"),
    ] {
        let (code, text) = pagewright(&["show", "page-tables", "--machine", machine, "--linux", version]);
        assert_eq!((code, text.lines().count()), (Some(2), 1), "{text}");
        assert!(text.contains(&format!("known as in Linux {known}, not {version}")), "{text}");
    }
    // Their layout is shown all the same.
    assert!(text(&["layout", "--machine", "arm64-virt", "--linux", "4.19"]).contains("modules"));
}

#[test]
fn every_page_and_address_size_shows_its_linear_map() {
    let config = std::env::temp_dir().join(format!("pagewright-test-{}-pages", std::process::id()));
    for (page, bits, linear) in [
        (4, 39, "0xffffff8000000000-"),
        (4, 48, "0xffff000000000000-"),
        (16, 36, "0xfffffff000000000-"),
        (16, 47, "0xffff800000000000-"),
        (16, 48, "0xffff000000000000-"),
        (64, 42, "0xfffffc0000000000-"),
        (64, 48, "0xffff000000000000-"),
        // The processor has 48 bits.
        (64, 52, "0xffff000000000000-"),
    ] {
        let mut text =
            format!("CONFIG_ARM64=y\nCONFIG_ARM64_VA_BITS_{bits}=y\nCONFIG_ARM64_VA_BITS={bits}\n");
        if page != 4 {
            text += "# CONFIG_ARM64_4K_PAGES is not set\n";
        }
        text += &format!("CONFIG_ARM64_{page}K_PAGES=y\n");
        if bits == 52 {
            text += "CONFIG_ARM64_PA_BITS=52\n";
        }
        std::fs::write(&config, text).unwrap();
        let args =
            ["show", "page-tables", "--machine", "arm64-virt", "--kernel-config", config.to_str().unwrap()];
        let (code, dump) = pagewright(&args);
        assert_eq!(code, Some(0), "{dump}");
        let (_, after) = dump.split_once("---[ Linear Mapping start ]---\n").expect(&dump);
        assert!(after.starts_with(linear), "{page} {bits}: {after}");
        assert!(dump.contains("---[ vmemmap end ]---"), "{page} {bits}: {dump}");
    }
    std::fs::remove_file(config).unwrap();
}
