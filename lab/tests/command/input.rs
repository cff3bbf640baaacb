//! Where a machine comes from, and the one line that bad input gets.

use crate::{pagewright, scratch, text};
use std::process::{Command, Stdio};

#[test]
fn a_kernel_configuration_tells_the_architecture_where_nothing_else_does() {
    let folder = scratch("config");
    let config = folder.join("config");
    let arch = |text: &str, more: &[&str]| {
        std::fs::write(&config, text).unwrap();
        let args = ["boot", "--json", "--quiet", "--kernel-config", config.to_str().unwrap()];
        let out = pagewright(&[&args[..], more].concat());
        let json: Option<serde_json::Value> = serde_json::from_slice(&out.stdout).ok();
        json.map(|j| j["architecture"].as_str().unwrap().to_owned())
            .ok_or(String::from_utf8_lossy(&out.stderr).into_owned())
    };
    assert_eq!(arch("CONFIG_X86_64=y\n", &[]).unwrap(), "x86_64");
    assert_eq!(arch("# CONFIG_ARM_LPAE is not set\nCONFIG_HIGHMEM=y\n", &[]).unwrap(), "arm");
    let refused = arch("CONFIG_ARM_LPAE=y\nCONFIG_HIGHMEM=y\n", &["--machine", "arm64-virt"]).unwrap_err();
    assert!(refused.contains("a kernel for arm; expected one for the machine's architecture"), "{refused}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn bad_input_ends_with_2_and_one_line() {
    let folder = scratch("bad");
    let garbage = folder.join("garbage");
    std::fs::write(&garbage, "not a device tree").unwrap();
    let garbage = garbage.to_str().unwrap();
    let hollow = scratch("hollow");
    std::fs::write(hollow.join("dmesg.txt"), "").unwrap();
    for args in [
        &["boot", "--machine", "no-such-machine"][..],
        &["boot", "--dtb", "/no/such/file.dtb"],
        &["boot", "--dtb", garbage],
        &["boot", "--dmesg", garbage],
        &["boot", "--kernel-config", garbage],
        &["boot", "--acpi", folder.to_str().unwrap(), "--machine", "x86_64-q35"],
        &["show", "zoneinfo", "--machine", "no-such-machine"],
        &["conform", "/no/such/folder"],
        &["conform", folder.to_str().unwrap()],
        &["conform", hollow.to_str().unwrap()],
        &["conform", "--allow", "/no/such/file", "/"],
        &["boot", "--memory", "1M", "--machine", "arm64-virt"],
        &["boot", "--memory", "lots"],
        &["boot", "--memory"],
        &["boot", "--cpus", "0"],
        &["boot", "--no-such-option"],
        &["show"],
        &["show", "no-such-file"],
        &["no-such-command"],
    ] {
        let out = pagewright(args);
        let complaint = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{args:?}: {complaint}");
        assert!(complaint.starts_with("pagewright: "), "{complaint}");
        assert!(complaint.matches("expected ").count() <= 1, "{complaint}");
    }
    let unknown = String::from_utf8(pagewright(&["show", "no-such-file"]).stderr).unwrap();
    assert!(unknown.contains("expected one of zoneinfo, buddyinfo"), "{unknown}");
    // Without anything to do the help is printed.
    assert_eq!(pagewright(&[]).status.code(), Some(2));
    std::fs::remove_dir_all(hollow).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn sizes_that_no_machine_can_have_are_told_with_what_would_do() {
    for (args, what, expected) in [
        ("--memory 1", "--memory: 1 B are smaller than one page", "at least 4096 B"),
        ("--memory 1G --memory 2G", "several times without an address", "SIZE@ADDRESS"),
        ("--memory 1G@0xffffffffffffff00", "ends above 2^64", "SIZE[@ADDRESS]"),
        (
            "--arch x86_64 --memory 4M",
            "kernel image, [mem 0x1000000-0x43fffff]",
            "53248 KiB of it (--memory)",
        ),
        ("--arch i386 --memory 4M", "kernel image, [mem 0x1000000-", "(--memory)"),
        ("--arch arm --memory 4M", "kernel image, [mem 0x40208000-", "(--memory)"),
        ("--arch arm64 --memory 1M", "kernel image, [mem 0x40200000-", "(--memory)"),
        ("--arch arm64 --memory 1G@1P", "the firmware describes no memory", "(--memory)"),
        ("--arch arm64 --memory 2P", "page frames of RAM", "less than 16 TiB"),
        ("--arch arm-lpae --memory 4T", "for memmap_alloc", "more RAM"),
        ("--arch arm --machine x86_64-q35", "--arch for x86_64-q35: arm", "x86_64"),
        ("--initrd /etc", "--initrd /etc: not a file", "a file, or SIZE"),
        ("--cpus many", "invalid value 'many' for '--cpus <N>'", "a number from 1"),
        ("--kernel-config /etc/passwd", "/etc/passwd: line 1: `root:", "CONFIG_NAME=value"),
    ] {
        let words: Vec<_> = ["boot", "--quiet"].into_iter().chain(args.split(' ')).collect();
        let out = pagewright(&words);
        let complaint = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{args}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{args}: {complaint}");
        let parts = complaint.split_once("; expected ");
        let (told, wanted) = parts.unwrap_or_else(|| panic!("{args}: {complaint}"));
        assert!(told.contains(what) && wanted.contains(expected), "{args}: {complaint}");
        assert_eq!(complaint.matches("expected").count(), 1, "{args}: {complaint}");
    }
}

#[test]
fn a_size_on_an_address_has_suffixes_too() {
    let json = text(&["boot", "--json", "--quiet", "--arch", "arm64", "--memory", "1G@2G"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["memory"][0]["start"].as_u64(), Some(2 << 30));
    assert_eq!(json["ram_bytes"].as_u64(), Some(1 << 30));
}

#[test]
fn a_board_whose_boot_loader_fills_in_the_memory_names_the_option() {
    let folder = scratch("board");
    let machine = pagewright_lab::machine::dts::compile(
        "/ { #address-cells = <1>; #size-cells = <1>; cpus { cpu@0 { compatible = \"arm,cortex-a9\"; }; };
             memory@10000000 { device_type = \"memory\"; reg = <0x10000000 0>; }; };",
        1,
    )
    .unwrap();
    let dtb = folder.join("board.dtb");
    std::fs::write(&dtb, machine).unwrap();
    let dtb = dtb.to_str().unwrap();
    let out = pagewright(&["boot", "--dtb", dtb]);
    let complaint = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2));
    assert!(complaint.contains("--memory"), "{complaint}");
    // PCs are described by other tables.
    for arch in ["i386", "i386-pae", "x86_64"] {
        let out = pagewright(&["boot", "--dtb", dtb, "--arch", arch]);
        let complaint = String::from_utf8_lossy(&out.stderr);
        assert_eq!((out.status.code(), complaint.lines().count()), (Some(2), 1), "{complaint}");
        assert!(complaint.contains("board.dtb: a device tree for "), "{complaint}");
        assert!(complaint.contains("expected arm, arm-lpae or arm64 (--arch)"), "{complaint}");
    }
    let json = text(&["boot", "--json", "--quiet", "--dtb", dtb, "--memory", "512M"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["memory"][0]["start"].as_u64(), Some(0x1000_0000));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_list_of_atags_is_an_arm_machine() {
    use pagewright_addr::{PhysAddr, PhysRange};
    use pagewright_firmware::atags::{AtagInitrd, Atags};
    let range = |start, len| PhysRange::from_len(PhysAddr::new(start), len);
    let tags = Atags {
        memory: [range(0x8000_0000, 256 << 20), range(0xa000_0000, 128 << 20)].into_iter().collect(),
        initrd: Some(AtagInitrd::Physical(range(0x8800_0000, 1 << 20))),
        cmdline: Some("console=ttyS0 memblock=debug"),
        ..Atags::default()
    };
    let mut bytes = [0; 256];
    let len = tags.write(&mut bytes).unwrap();
    let folder = scratch("atags");
    let file = folder.join("board.atags");
    std::fs::write(&file, &bytes[..len]).unwrap();
    let file = file.to_str().unwrap();
    let boot = |more: &[&str]| -> serde_json::Value {
        let args = [&["boot", "--json", "--atags", file][..], more].concat();
        serde_json::from_str(&text(&args)).unwrap()
    };
    let json = boot(&[]);
    assert_eq!(
        (&json["architecture"], &json["cmdline"]),
        (&"arm".into(), &"console=ttyS0 memblock=debug".into())
    );
    let banks: Vec<_> =
        json["memory"].as_array().unwrap().iter().map(|m| m["start"].as_u64().unwrap()).collect();
    assert_eq!(banks, [0x8000_0000, 0xa000_0000]);
    assert_eq!(json["ram_by_purpose"]["initrd"], 1 << 20);
    let asked =
        boot(&["--memory", "64M", "--memory", "32M@0x90000000", "--cmdline", "quiet", "--initrd", "2M"]);
    assert_eq!((&asked["ram_bytes"], &asked["cmdline"]), (&(96 << 20).into(), &"quiet".into()));
    assert_eq!(asked["ram_by_purpose"]["initrd"], 2 << 20);
    for (args, expected) in [
        (["--atags", file, "--arch", "arm64"], "expected arm or arm-lpae (--arch)"),
        (["--atags", "/etc/passwd", "--cpus", "1"], "/etc/passwd: ATAGs begin with tag"),
        (["--atags", "/no/such/list", "--cpus", "1"], "expected a list of ATAGs"),
        (["--atags", file, "--memory", "1G@4G"], "32-bit"),
        (["--atags", file, "--machine", "arm-virt"], "cannot be used with"),
    ] {
        let out = pagewright(&[&["boot"][..], &args].concat());
        let complaint = String::from_utf8_lossy(&out.stderr);
        assert_eq!((out.status.code(), complaint.lines().count()), (Some(2), 1), "{args:?}: {complaint}");
        assert!(complaint.contains(expected), "{args:?}: {complaint}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_pasted_log_is_a_machine() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagewright"));
    let mut child = command
        .args(["boot", "--dmesg", "-", "--json", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let log = "[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable\n\
               BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable\n";
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), log.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(json["architecture"], "x86_64");
}
