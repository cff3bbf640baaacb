//! `show`: files that other people's parsers read.

use crate::{pagewright, scratch, text};
use procfs_core::{FromBufRead, Iomem, Meminfo, VmStat};

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
    let machines = [("x86_64-q35", 13), ("x86_64-numa4", 13), ("arm64-virt", 7), ("arm64-numa2", 7)];
    // Words of 4 bytes.
    let narrow = [("i386-pc", 13), ("arm-virt", 9), ("arm-lpae-virt", 9)];
    for (machine, sizes) in machines.into_iter().chain(narrow) {
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
    // The link behind the object has 4 bytes, which no object of this host's could be linked by; nobody asks for one.
    let poisoned = text(&["show", "slabinfo", "--machine", "arm-virt", "--cmdline", "slub_debug=P"]);
    let row = poisoned.lines().find(|line| line.starts_with("kmalloc-1k ")).unwrap();
    assert_eq!(
        row.split_whitespace().skip(3).take(3).collect::<Vec<_>>(),
        ["2048", "16", "8"],
        "as objects of 2 KiB: {row}"
    );
}

#[test]
fn slab_has_the_attributes_of_every_cache_and_traces_of_those_that_keep_records() {
    for machine in ["x86_64-q35", "x86_64-numa4", "arm64-virt", "arm64-numa2", "arm-virt"] {
        let show = |more: &[&str]| text(&[&["show", "slab"][..], more, &["--machine", machine]].concat());
        let all = show(&[]);
        let caches: std::collections::BTreeSet<_> =
            all.lines().map(|line| line.split_once('/').unwrap().0).collect();
        let slabinfo = text(&["show", "slabinfo", "--machine", machine]);
        let named = slabinfo.lines().skip(2).map(|line| line.split_whitespace().next().unwrap());
        assert_eq!(caches, named.collect(), "{machine}: the caches of slabinfo");
        let one = show(&["kmalloc-512"]);
        let own: Vec<_> = all.lines().filter(|line| line.starts_with("kmalloc-512/")).collect();
        assert_eq!(one.lines().collect::<Vec<_>>(), own, "{machine}");
        for line in ["kmalloc-512/object_size:512", "kmalloc-512/align:512", "kmalloc-512/trace:0"] {
            assert!(own.contains(&line), "{machine}: {line}\n{one}");
        }
        assert!(!one.contains("_traces") && !one.contains("/shrink"), "{one}");
        let watched = show(&["kmalloc-512", "--cmdline", "slub_debug=UT,kmalloc-512"]);
        for line in
            ["store_user:1", "trace:1", "cpu_partial:0", "alloc_traces:No data", "free_traces:No data"]
        {
            assert!(watched.contains(&format!("kmalloc-512/{line}\n")), "{machine}: {line}\n{watched}");
        }
    }
    let both = text(&["show", "slab,slabinfo", "kmalloc-8", "--machine", "x86_64-q35"]);
    assert!(
        both.starts_with("==> slab <==\nkmalloc-8/aliases:0\n") && both.contains("\nkmalloc-8k "),
        "{both}"
    );
    for (args, expected) in [
        (&["show", "slab", "kmalloc-7", "--machine", "x86_64-q35"][..], "no cache of that name"),
        (&["show", "meminfo", "kmalloc-8"], "after `show slab` only"),
        (&["show", "cache", "kmalloc-8"], "after `show slab` only"),
    ] {
        let refused = pagewright(args);
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(told.contains(expected) && told.lines().count() == 1, "{args:?}: {told}");
    }
}

#[test]
fn slab_tells_of_a_workloads_objects_by_node_by_processor_and_by_who_took_them() {
    // Many objects come first, then most of them go.
    let workload = "ops=4000; fill=5%; object-share=90; object-fill=1; objects=512:3 dentry/192:2\n\
                    [fewer]\nops=2500; fill=5%; object-share=90; object-fill=0; objects=512:3 dentry/192:2";
    let run = |slabs: &str, cmdline: &str| {
        let args = ["run", workload, "--slabs", slabs, "--show", "slab", "--machine", "x86_64-numa4"];
        pagewright(&[&args[..], &["--cmdline", cmdline]].concat())
    };
    let told = |slabs: &str, cmdline: &str, file: &str| {
        let ran = run(slabs, cmdline);
        let text = String::from_utf8(ran.stdout).unwrap();
        assert!(ran.status.success(), "{text}");
        let value = text.lines().rev().find_map(|line| line.strip_prefix(file)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("{file}: {text}")).to_owned()
    };
    let parts = |value: &str, kind: char| -> u64 {
        let part =
            |word: &str| word.strip_prefix(kind)?.split_once('=')?.1.split('(').next()?.parse::<u64>().ok();
        value.split(' ').filter_map(part).sum()
    };
    for file in ["kmalloc-512/objects", "dentry/total_objects", "dentry/slabs"] {
        let value = told("slub", "", file);
        let all: u64 = value.split(' ').next().unwrap().parse().unwrap();
        assert!(all > 0 && value.split(' ').count() > 2 && parts(&value, 'N') == all, "{file}: {value}");
    }
    assert_eq!(told("slub", "", "dentry/cpu_slabs"), "0", "processors have rows");
    let cpu_slabs = told("slub-cpu-slabs", "", "kmalloc-512/cpu_slabs");
    assert!(parts(&cpu_slabs, 'N') > 3 && cpu_slabs.starts_with(&parts(&cpu_slabs, 'N').to_string()));
    let partial = told("slub-cpu-slabs", "", "kmalloc-512/slabs_cpu_partial");
    assert!(
        partial.contains(" C0=") && partial.starts_with(&format!("{}(", parts(&partial, 'C'))),
        "{partial}"
    );
    let traces = told("slub", "slub_debug=U", "dentry/alloc_traces");
    assert!(
        traces.contains("store.rs:") && traces.contains(" cpus=0-") && traces.contains(" nodes=0-"),
        "{traces}"
    );
    for design in ["slab", "slob"] {
        let refused = run(design, "");
        let why = String::from_utf8(refused.stderr).unwrap();
        assert!(
            refused.status.code() == Some(2) && why.contains("only SLUB's caches have attributes"),
            "{why}"
        );
    }
}

#[test]
fn slabinfo_is_of_the_design_that_the_kernel_has() {
    let folder = scratch("designs");
    let config = folder.join("config");
    let show = |text: &str| {
        std::fs::write(&config, text).unwrap();
        pagewright(&["show", "slabinfo", "--kernel-config", config.to_str().unwrap(), "--memory", "256M"])
    };
    let out = show("CONFIG_X86_64=y\nCONFIG_SLAB=y\n");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let rows = String::from_utf8(out.stdout).unwrap();
    let row = |text: &str, name: &str| -> Option<Vec<String>> {
        let mut rows = text.lines().map(|line| line.split_whitespace().map(String::from).collect::<Vec<_>>());
        rows.find(|row| row[0] == name)
    };
    assert!(row(&rows, "kmalloc-8").is_none() && row(&rows, "kmalloc-32").is_some(), "{rows}");
    // Objects that begin at lines, no slab of more than two pages unless it must be, arrays.
    let known = row(&rows, "kmalloc-96").unwrap();
    assert_eq!(known[3..6], ["128", "32", "1"], "{rows}");
    assert_ne!(known[8], "0", "{rows}");
    let last = rows.lines().last().unwrap();
    assert!(last.starts_with("alien_cache "), "{rows}");
    let refused = show("CONFIG_X86_64=y\nCONFIG_SLOB=y\n");
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && why.contains("SLOB"), "{why}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn vmallocinfo_has_what_the_boot_mapped_and_the_map_shows_the_gaps_between() {
    let show = |machine: &str, files: &str| text(&["show", files, "--machine", machine]);
    let image = show("arm64-virt", "vmallocinfo");
    let (stacks, parts): (Vec<_>, Vec<_>) = image.lines().partition(|line| line.contains("irq_stacks.rs:"));
    assert_eq!((stacks.len(), parts.len()), (2, 5), "{image}");
    assert!(parts.iter().all(|line| line.contains(" paging_init phys=0x") && line.ends_with(" vmap")));
    // One for each processor, below the image.
    assert!(stacks.iter().all(|line| line.contains(" 20480 ") && line.ends_with(" pages=4 vmalloc N0=4")));
    // The snoop control unit, which the board's description maps.
    let board = show("sabrelite", "vmallocinfo");
    assert!(
        board.contains("0xf4000000-0xf4001000    4096 iotable_init phys=0x00a00000 ioremap\n"),
        "{board}"
    );
    let both = show("sabrelite", "vmalloc-map");
    // The modules' region comes first, as its addresses do.
    let (modules, map) = both.split_at(both.find("0xf0800000-").unwrap());
    assert_eq!(modules.lines().next(), Some("0xbf000000-0xbfe00000 14680064 free"), "{both}");
    assert!(modules.lines().nth(1).unwrap().starts_with("modules: 1 gaps, 14336 KiB free"), "{both}");
    let ends: Vec<_> = map.lines().filter_map(|line| line.split([' ', '-']).nth(1)).collect();
    let starts: Vec<_> = map.lines().filter_map(|line| line.split('-').next()).collect();
    let lines = map.lines().count() - 1;
    assert_eq!(starts[1..lines], ends[..lines - 1], "no address is left out: {map}");
    assert!(map.contains("0xf4001000-0xfee00000 182448128 free\n"), "{map}");
    // Three of them between four stacks for interrupts, which begin at multiples of twice their size.
    assert!(map.lines().last().unwrap().starts_with("vmalloc: 6 gaps, "), "{map}");
    let pc = show("x86_64-q35", "vmallocinfo");
    assert_eq!(pc.lines().count(), 2, "a PC's image lies elsewhere: {pc}");
    assert!(pc.lines().all(|line| line.contains("   20480 ") && line.ends_with(" vmap")), "{pc}");
    // Beside others, and with slabs.
    let both = show("arm64-virt", "slabinfo,meminfo,vmallocinfo");
    assert!(both.contains("VmallocUsed:          32 kB") && both.contains(" paging_init "), "{both}");
}

/// The document has what the text has.
#[test]
fn the_vmalloc_map_is_also_a_document() {
    for machine in ["x86_64-q35", "arm64-virt", "sabrelite"] {
        let lines = text(&["show", "vmalloc-map", "--machine", machine]);
        let json: serde_json::Value =
            serde_json::from_str(&text(&["show", "vmalloc-map", "--json", "--machine", machine])).unwrap();
        let regions = json["regions"].as_array().unwrap();
        let areas: Vec<_> = regions.iter().flat_map(|region| region["areas"].as_array().unwrap()).collect();
        assert_eq!(lines.lines().count(), areas.len() + regions.len(), "{lines}");
        let mut told = lines.lines().filter(|line| line.starts_with("0x"));
        for area in areas {
            let line = told.next().unwrap();
            let number = |key: &str| u64::from_str_radix(&area[key].as_str().unwrap()[2..], 16).unwrap();
            let (start, size) = (number("start"), area["size_bytes"].as_u64().unwrap());
            assert_eq!(number("last"), start + (size - 1), "{area}");
            let from = u64::from_str_radix(&line[2..line.find('-').unwrap()], 16).unwrap();
            assert_eq!(
                (from, line.split_whitespace().nth(1)),
                (start, Some(size.to_string().as_str())),
                "{line}"
            );
            assert_eq!(line.ends_with(" free"), area["kind"] == "free", "{line}");
            for word in [&area["caller"], &area["phys"]].into_iter().chain(area["flags"].as_array().unwrap())
            {
                let word = word.as_str().unwrap_or("").trim_start_matches("0x").to_owned();
                assert!(line.contains(&word), "{line} {word}");
            }
        }
        for region in regions {
            let ended = format!(
                "{}: {} gaps, {} KiB free, the largest {} KiB; ",
                region["name"].as_str().unwrap(),
                region["gaps"],
                region["free_bytes"].as_u64().unwrap() >> 10,
                region["largest_gap_bytes"].as_u64().unwrap() >> 10
            );
            assert!(lines.contains(&ended), "{ended}\n{lines}");
        }
        // The stacks for interrupts of two processors, and of four; a PC's are only mapped there.
        let used = match machine {
            "arm64-virt" => 2 * 4,
            "sabrelite" => 4 * 2,
            _ => 0,
        };
        assert_eq!(json["used_pages"], used, "{machine}");
    }
}

#[test]
fn a_cache_whose_colours_alias_costs_an_arm_machine_its_high_memory() {
    let show =
        |file: &str, cache: &str| text(&["show", file, "--arch", "arm", "--memory", "2G", "--dcache", cache]);
    let total = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let (with, without) = (show("meminfo", "pipt,32K,4,32"), show("meminfo", "vipt,32K,4,32"));
    assert!(with.contains("HighTotal:"), "{with}");
    assert!(total(&without) < 800 << 10 && total(&with) > 1900 << 10, "{without}");
    // Windows of every colour, through which pages are copied and flushed.
    assert!(!show("layout", "pipt,32K,4,32").contains("flush"));
    let windows = show("layout", "vipt,32K,4,32");
    assert!(windows.contains("flush"), "{windows}");
}

#[test]
fn without_pci_arm_keeps_no_window_for_its_ports() {
    let dir = scratch("no-pci");
    let config = dir.join("config");
    std::fs::write(&config, "# CONFIG_PCI is not set\n").unwrap();
    let show = ["show", "vmallocinfo", "--machine", "arm-virt"];
    assert!(text(&show).contains(" pci_reserve_io "));
    let without = [&show[..], &["--kernel-config", config.to_str().unwrap()]].concat();
    let areas = text(&without);
    assert!(areas.lines().all(|line| line.contains("irq_stacks.rs:")), "{areas}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_vmalloc_area_that_is_too_small_says_for_what() {
    let refused = |machine: &str, cmdline: &str| {
        let out = pagewright(&["show", "vmallocinfo", "--machine", machine, "--cmdline", cmdline]);
        assert_eq!(out.status.code(), Some(2), "{machine} {cmdline}");
        String::from_utf8(out.stderr).unwrap()
    };
    // The board's registers lie where the linear map then reaches.
    let board = refused("sabrelite", "vmalloc=100M");
    assert!(
        board.contains("devicemaps_init: 0xf4000000 is low memory, which reaches to 0xf8c00000"),
        "{board}"
    );
    for none in ["vmalloc=0", "vmalloc=16E", "vmalloc=-1"] {
        let why = refused("i386-pc", none);
        assert!(why.contains("the vmalloc area has 0 bytes, behind low memory that reaches to 0x"), "{why}");
        assert!(why.contains("as vmalloc=0 asks") && !why.contains("page tables"), "{why}");
    }
    let chunk = refused("i386-pc", "vmalloc=1");
    assert!(chunk.contains("per-CPU first chunk: the vmalloc area 0x"), "{chunk}");
    assert!(chunk.contains(" has no room for 118784 bytes: the largest gap has "), "{chunk}");
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
    // The README's own line: nothing says which kernel, so it is one that knows of colours.
    assert_eq!(text(&["show", "cache", "--dcache", "vipt,32K,4,32"]), arm1136);
    let pages_of_16k = text(&["show", "cache", "--dcache", "vipt,32K,2,32", "--page-size", "16K"]);
    assert!(pages_of_16k.contains("pages of 16 KiB\naliases:     no"), "{pages_of_16k}");
    // Where no kernel knows of colours, none are told.
    for (arch, page) in [("arm64", "SHMLBA of arm64 is a page"), ("x86_64", "SHMLBA of x86_64 is a page")] {
        let aliasing = text(&["show", "cache", "--dcache", "vipt,32K,4,32", "--arch", arch]);
        assert!(aliasing.contains(page) && aliasing.contains("aliases:     yes"), "{aliasing}");
        assert!(!aliasing.contains("page 3 of an object") && !aliasing.contains("high memory"), "{aliasing}");
    }
    for (args, expected) in [
        (&["show", "cache"][..], "--dcache"),
        (&["show", "cache", "--dcache", "vipt,32K,4,48"], "a line of 48 bytes"),
        (&["show", "cache", "--dcache", "vipt,32K,4,32", "--json"], "--json"),
        (&["show", "cache", "--dcache", "vipt,32K,4,32", "--page-size", "8K"], "4K, 16K or 64K"),
        (&["show", "meminfo", "--page-size", "4K"], "--page-size"),
        (&["show", "meminfo", "--dcache", "vipt,32K,4,32", "--arch", "arm64"], "--dcache"),
        (&["show", "iomem", "--itcm", "16K", "--arch", "arm64"], "--itcm"),
    ] {
        let refused = pagewright(args);
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(told.contains(expected) && told.lines().count() == 1, "{args:?}: {told}");
    }
}
