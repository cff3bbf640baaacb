//! The command as its users run it: exit codes, single lines of complaint, no colour in a pipe, files that other
//! people's parsers read.

use procfs_core::{FromBufRead, Iomem, Meminfo, VmStat};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn pagewright(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pagewright")).args(args).output().expect("the command starts")
}

fn text(args: &[&str]) -> String {
    let out = pagewright(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("pagewright-test-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

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
fn iomem_lists_the_ram_disk_of_arm64_although_it_is_freed_later() {
    let args = ["--arch", "arm64", "--initrd", "1M@0x48000000"];
    let show = |file: &str| text(&[&["show", file][..], &args].concat());
    assert!(!show("memblock/reserved").contains("0x0000000048000000"));
    assert!(show("iomem").contains("  48000000-480fffff : reserved\n"));
    let plain = text(&["show", "iomem", "--arch", "arm64"]);
    assert!(!plain.contains("48000000-480fffff : reserved"));
}

#[test]
fn iomem_of_a_pc_leaves_out_what_a_physical_address_without_pae_cannot_name() {
    let above = |arch| text(&["show", "iomem", "--arch", arch, "--memory", "5G"]).contains("100000000-");
    assert!(!above("i386"));
    assert!(above("i386-pae") && above("x86_64"));
}

#[test]
fn a_node_of_three_megabytes_is_a_node() {
    let log = text(&["boot", "--machine", "x86_64-numa4", "--cmdline", "mem=1027M"]);
    assert!(log.contains("NODE_DATA(1) allocated [mem "));
    assert!(log.contains("Initmem setup node 1 [mem 0x0000000040000000-0x00000000402fffff]"));
}

#[test]
fn huge_pages_of_nodes_fail_by_node_and_named_sizes_are_registered_first() {
    let asks = "hugepagesz=1G hugepages=0:1,1:9 hugepagesz=64K hugepages=1:40 hugepages=0:99999,1:2";
    let asks = asks.replace("hugepages=0:99999", "default_hugepagesz=2M hugepages=0:99999");
    let log = text(&["boot", "--machine", "arm64-numa2", "--cmdline", &asks]);
    assert!(log.contains("allocating 9 of page size 1.00 GiB failed node1.  Only allocated "));
    assert!(log.contains("allocating 99999 of page size 2.00 MiB failed node0.  Only allocated "));
    let sizes: Vec<&str> =
        log.lines().filter_map(|l| l.split_once("registered ")?.1.split(" page").next()).collect();
    assert_eq!(sizes, ["1.00 GiB", "64.0 KiB", "2.00 MiB", "32.0 MiB"]);
}

#[test]
fn a_number_of_huge_pages_that_follows_another_without_a_size_is_ignored() {
    let boot = |cmdline: &str| text(&["boot", "--machine", "x86_64-q35", "--cmdline", cmdline]);
    let pools = |cmdline: &str| text(&["show", "meminfo", "--machine", "x86_64-q35", "--cmdline", cmdline]);
    let twice = "HugeTLB: hugepages= specified twice without interleaving hugepagesz=, ignoring hugepages=";
    assert!(boot("hugepages=3 hugepages=5").contains(&format!("{twice}5")));
    assert!(boot("hugepagesz=2M hugepages=3 hugepages=5").contains(&format!("{twice}5")));
    assert!(pools("hugepages=3 hugepages=5").contains("HugePages_Total:       3"));
    // With a size in between, each counts.
    let fine = "hugepagesz=2M hugepages=3 hugepagesz=1G hugepages=1";
    assert!(!boot(fine).contains(twice));
    assert!(!boot("hugepages=3 default_hugepagesz=2M hugepages=5").contains(twice));
}

#[test]
fn huge_pages_come_from_all_nodes_in_turn() {
    let show = |cmdline: &str| text(&["show", "zoneinfo", "--machine", "arm64-numa2", "--cmdline", cmdline]);
    let free = |info: &str| -> Vec<u64> {
        let lines = info.lines().filter_map(|l| l.trim().strip_prefix("nr_free_pages"));
        lines.map(|n| n.trim().parse().unwrap()).filter(|n| *n > 100_000).collect()
    };
    let (without, with) = (free(&show("")), free(&show("hugepages=100")));
    let taken: Vec<u64> = without.iter().zip(&with).map(|(a, b)| a - b).collect();
    assert_eq!((taken.iter().sum::<u64>(), taken.last().copied()), (51_200, Some(25_600)), "{taken:?}");
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

#[test]
fn procfs_reads_what_show_prints() {
    for machine in ["arm64-virt", "arm-virt", "x86_64-numa4", "i386-pc"] {
        let show = |file: &str| text(&["show", file, "--machine", machine]);
        let meminfo = Meminfo::from_buf_read(show("meminfo").as_bytes()).unwrap();
        assert!(meminfo.mem_free > 0 && meminfo.mem_free <= meminfo.mem_total, "{machine}");
        let iomem = Iomem::from_buf_read(show("iomem").as_bytes()).unwrap();
        assert!(iomem.0.iter().any(|(depth, map)| *depth == 1 && map.name == "Kernel code"), "{machine}");
        let vmstat = VmStat::from_buf_read(show("vmstat").as_bytes()).unwrap();
        let free = vmstat.0["nr_free_pages"];
        assert_eq!(free as u64 * 4096, meminfo.mem_free, "{machine}");
    }
}

#[test]
fn show_is_read_back_by_the_reader_of_captured_files() {
    use pagewright_lab::show::{buddyinfo, iomem, memblock, meminfo, pagetypeinfo, vmstat, zoneinfo};
    for machine in ["arm64-numa2", "arm-lpae-virt", "x86_64-numa4", "i386-pc"] {
        let show = |file: &str| text(&["show", file, "--machine", machine]);
        let (z, b, p) = (show("zoneinfo"), show("buddyinfo"), show("pagetypeinfo"));
        assert_eq!(zoneinfo::ZoneInfo::parse(&z).unwrap().to_string(), z);
        assert_eq!(buddyinfo::BuddyInfo::parse(&b).unwrap().to_string(), b);
        assert_eq!(pagetypeinfo::PageTypeInfo::parse(&p).unwrap().to_string(), p);
        let (m, i, v) = (show("meminfo"), show("iomem"), show("vmstat"));
        assert_eq!(meminfo::MemInfo::parse(&m).unwrap().to_string(), m);
        assert_eq!(iomem::IoMem::parse(&i).unwrap().to_string(), i);
        assert_eq!(vmstat::VmStat::parse(&v).unwrap().to_string(), v);
        for set in ["memblock/memory", "memblock/reserved"] {
            let text = show(set);
            assert_eq!(memblock::Regions::parse(&text).unwrap().to_string(), text);
        }
        // The files tell of the same pages.
        let free = |order: usize, blocks: u64| blocks << order;
        let zones = zoneinfo::ZoneInfo::parse(&z).unwrap();
        for zone in buddyinfo::BuddyInfo::parse(&b).unwrap().zones {
            let pages: u64 = zone.free.iter().enumerate().map(|(o, n)| free(o, *n)).sum();
            assert_eq!(zones.zone(zone.node, &zone.name).unwrap().pages.free, pages, "{machine}");
        }
    }
}

#[test]
fn slabinfo_has_kmallocs_caches_and_only_those_watched_that_the_command_line_names() {
    for (machine, sizes) in [("x86_64-q35", 13), ("x86_64-numa4", 13), ("arm64-virt", 7), ("arm64-numa2", 7)]
    {
        let rows = |cmdline: &str| {
            let shown = text(&["show", "slabinfo", "--machine", machine, "--cmdline", cmdline]);
            assert!(shown.starts_with("slabinfo - version: 2.1\n# name  "), "{shown}");
            let rows = shown.lines().skip(2).map(|row| row.split_whitespace().map(str::to_owned).collect());
            rows.collect::<Vec<Vec<String>>>()
        };
        let plain = rows("");
        let normal = plain.iter().filter(|row| row[0].starts_with("kmalloc-") && !row[0].contains("-rcl-"));
        assert_eq!(normal.filter(|row| !row[0].contains("-cg-")).count(), sizes, "{machine}");
        let column = |rows: &[Vec<String>], name: &str, at: usize| {
            rows.iter().find(|row| row[0] == name).unwrap()[at].clone()
        };
        // Object size, objects and pages of a slab, as the captured machines have them.
        assert_eq!([3, 4, 5].map(|at| column(&plain, "kmalloc-4k", at)), ["4096", "8", "8"], "{machine}");
        let watched = rows("slub_debug=Z,kmalloc-256");
        assert_eq!(column(&watched, "kmalloc-4k", 3), "4096");
        assert!(column(&watched, "kmalloc-256", 3).parse::<u32>().unwrap() > 256, "{machine}");
    }
    let refused = pagewright(&["show", "slabinfo", "--machine", "arm-virt"]);
    let why = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(why.contains("words of 4 bytes"), "{why}");
}

#[test]
fn vmallocinfo_has_what_the_boot_mapped_and_the_map_shows_the_gaps_between() {
    let show = |machine: &str, files: &str| text(&["show", files, "--machine", machine]);
    let image = show("arm64-virt", "vmallocinfo");
    assert_eq!(image.lines().count(), 5, "{image}");
    assert!(image.lines().all(|line| line.contains(" paging_init phys=0x") && line.ends_with(" vmap")));
    // The snoop control unit, which the board's description maps.
    let board = show("sabrelite", "vmallocinfo");
    assert!(
        board.contains("0xf4000000-0xf4001000    4096 iotable_init phys=0x00a00000 ioremap\n"),
        "{board}"
    );
    let map = show("sabrelite", "vmalloc-map");
    let ends: Vec<_> = map.lines().filter_map(|line| line.split([' ', '-']).nth(1)).collect();
    let starts: Vec<_> = map.lines().filter_map(|line| line.split('-').next()).collect();
    let lines = map.lines().count() - 1;
    assert_eq!(starts[1..lines], ends[..lines - 1], "no address is left out: {map}");
    assert!(map.contains("0xf4001000-0xfee00000 182448128 free\n"), "{map}");
    assert!(map.lines().last().unwrap().starts_with("3 gaps, "), "{map}");
    assert_eq!(show("x86_64-q35", "vmallocinfo"), "", "a PC's image lies elsewhere");
    // Beside others, and with slabs.
    let both = show("arm64-virt", "slabinfo,meminfo,vmallocinfo");
    assert!(both.contains("VmallocUsed:           0 kB") && both.contains(" paging_init "), "{both}");
}

#[test]
fn meminfo_shows_the_pools_of_huge_pages() {
    for (arch, cmdline, lines) in [
        ("x86_64", "", ["Total:       0", "Hugepagesize:       2048 kB", "Hugetlb:               0 kB"]),
        (
            "x86_64",
            "hugepages=64",
            ["Total:      64", "Hugepagesize:       2048 kB", "Hugetlb:          131072 kB"],
        ),
        (
            "x86_64",
            "hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=8",
            ["Total:       8", "Hugepagesize:       2048 kB", "Hugetlb:         1064960 kB"],
        ),
        (
            "x86_64",
            "default_hugepagesz=1G hugepages=1",
            ["Total:       1", "Hugepagesize:    1048576 kB", "Hugetlb:         1048576 kB"],
        ),
        (
            "arm64",
            "hugepagesz=64K hugepages=100 hugepagesz=2M hugepages=3 hugepagesz=32M hugepages=2",
            ["Total:       3", "Hugepagesize:       2048 kB", "Hugetlb:           78080 kB"],
        ),
        (
            "i386-pae",
            "hugepages=4",
            ["Total:       4", "Hugepagesize:       2048 kB", "Hugetlb:            8192 kB"],
        ),
    ] {
        let show = |cmdline: &str| {
            text(&["show", "meminfo", "--arch", arch, "--memory", "4G", "--cmdline", cmdline])
        };
        let shown = show(cmdline);
        let [total, size, all] = lines;
        let free = total.replace("Total:", "Free: ");
        let block = format!(
            "HugePages_{total}\nHugePages_{free}\nHugePages_Rsvd:        0\nHugePages_Surp:        0\n{size}\n{all}\n"
        );
        assert!(shown.contains(&block), "{arch} {cmdline}:\n{block}\n{shown}");
        // Huge pages are RAM that the kernel manages, and none of it is free.
        let value = |text: &str, name: &str| -> u64 {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let hugetlb = value(&shown, "Hugetlb:");
        let (total, free) = (value(&shown, "MemTotal:"), value(&shown, "MemFree:"));
        assert!(total - free >= hugetlb, "{arch} {cmdline}: {total} {free}");
        assert!(value(&show(""), "MemTotal:").abs_diff(total) < 64, "{arch} {cmdline}");
        assert_eq!(value(&shown, "CommitLimit:"), (total / 4 - hugetlb / 4) / 2 * 4, "{arch} {cmdline}");
    }
}

#[test]
fn more_huge_pages_than_there_is_memory_are_as_many_as_fit() {
    let shown =
        text(&["show", "meminfo", "--arch", "x86_64", "--memory", "1G", "--cmdline", "hugepages=9999"]);
    let meminfo = pagewright_lab::show::meminfo::MemInfo::parse(&shown).unwrap();
    let (count, free) = (meminfo.get("HugePages_Total").unwrap(), meminfo.get("MemFree").unwrap());
    assert!(count > 400 && count * 2048 + free <= meminfo.get("MemTotal").unwrap(), "{shown}");
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

#[test]
fn show_cache_tells_whether_a_cache_aliases_and_which_colours_mappings_need() {
    let arm1136 = text(&["show", "cache", "--dcache", "vipt,32K,4,32", "--arch", "arm"]);
    for line in [
        "data cache:  VIPT 32 KiB, 4 ways, lines of 32 bytes",
        "             256 sets, 8 KiB in a way, pages of 4 KiB",
        "aliases:     yes, addresses of different colours: a way is larger than a page, so bit 12 of a virtual address chooses the set",
        "colours:     2",
        "             page 3 of an object: 0x03000, 0x07000, 0x0b000, ...",
    ] {
        assert!(arm1136.lines().any(|shown| shown == line), "{line}\n{arm1136}");
    }
    let small = text(&["show", "cache", "--dcache", "vipt,16K,4,32", "--arch", "arm"]);
    assert!(small.contains("aliases:     no, a way is no larger than a page\ncolours:     1\n"), "{small}");
    let large = text(&["show", "cache", "--dcache", "vipt,64K,2,32", "--arch", "arm"]);
    assert!(
        large.contains("bits 14 to 12") && large.contains("not enough: this cache has 8 colours"),
        "{large}"
    );
    assert!(
        text(&["show", "cache", "--dcache", "vivt,8K,64,32", "--arch", "arm"]).contains("no colour helps")
    );
    assert!(
        text(&["show", "cache", "--dcache", "pipt,64K,4,64", "--arch", "arm64"]).contains("aliases:     no")
    );
    for (args, expected) in [
        (&["show", "cache"][..], "--dcache"),
        (&["show", "cache", "--dcache", "vipt,32K,4,48"], "a line of 48 bytes"),
        (&["show", "cache", "--dcache", "vipt,32K,4,32", "--json"], "--json"),
        (&["show", "meminfo", "--dcache", "vipt,32K,4,32"], "--dcache"),
    ] {
        let refused = pagewright(args);
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(told.contains(expected) && told.lines().count() == 1, "{args:?}: {told}");
    }
}
