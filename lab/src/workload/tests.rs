use super::*;
use crate::machine::OwnedMachine;
use crate::machine::description::shipped;
use crate::run;
use pagewright_slab::objects::Design;
use pagewright_view::Views;

fn machine(name: &str) -> OwnedMachine {
    shipped(name).unwrap().machine().unwrap()
}

fn short(text: &str, operations: u64) -> Workload {
    let mut workload = Workload::parse(text).unwrap();
    workload.phases.iter_mut().for_each(|phase| phase.operations = operations);
    workload
}

fn account(machine_name: &str, workload: &Workload) -> Account {
    drive(&machine(machine_name), workload, Some(Design::Slub), &Views::default(), &Watch::default()).unwrap()
}

fn counter(account: &Account, name: &str) -> (u64, u64) {
    account.changed().find(|(n, ..)| *n == name).map_or((0, 0), |(_, before, after)| (before, after))
}

#[test]
fn a_text_says_everything_part_by_part() {
    let text = "seed = 7; cpus=2\nthreads = yes # all at once\n[fill]\nops=10\nfill = 80%; orders=0:9, 9:1\n\n[drain]\nfill=5%\ngfp=GFP_ATOMIC|__GFP_COMP:2 GFP_USER\nlifetime = oldest\npinned=2%;stay = 1\nperiod=9; swing = 4%";
    let workload = Workload::parse(text).unwrap();
    assert_eq!((workload.seed, workload.cpus, workload.threads), (7, Some(2), true));
    let [fill, drain] = &workload.phases[..] else { panic!("{workload:?}") };
    let order = |n| Order::new(n).unwrap();
    assert_eq!((fill.name.as_str(), fill.operations, fill.fill), ("fill", 10, 80));
    assert_eq!(fill.orders.0, [(order(0), 9), (order(9), 1)]);
    assert_eq!((drain.name.as_str(), drain.operations, drain.fill), ("drain", 10, 5));
    assert_eq!(drain.orders, fill.orders);
    assert_eq!(drain.masks.0, [(Gfp::GFP_ATOMIC | Gfp::COMP, 2), (Gfp::GFP_USER, 1)]);
    assert_eq!((drain.lifetime, drain.pinned, drain.stay), (Lifetime::Oldest, 2, 1));
    assert_eq!((drain.period, drain.swing), (9, 4));
    let sizes = Workload::parse("sizes = 1:1 4K:2 5K:3 64K:4 2M:5").unwrap();
    assert_eq!(sizes.phases[0].orders.0.iter().map(|(o, _)| o.get()).collect::<Vec<_>>(), [0, 0, 1, 4, 9]);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, line, column, what) in [
        ("fill = 101%", 1, 8, "`101%`"),
        ("\n  foo = 1", 2, 3, "`foo`"),
        ("fill=5; orders=0:1 11:1", 1, 20, "`11`"),
        ("orders=0:1 1:-1", 1, 14, "`-1`"),
        ("é=1", 1, 1, "`é`"),
        ("fill=1 ;é", 1, 9, "`é`"),
        ("gfp=GFP_KERNEL | __GFP_ZERO", 1, 16, "nothing"),
        ("gfp=GFP_KERNEL|__GFP_FOO", 1, 16, "`__GFP_FOO`"),
        ("gfp=__GFP_NOFAIL", 1, 5, "`__GFP_NOFAIL`"),
        ("gfp=__GFP_MOVABLE|__GFP_RECLAIMABLE", 1, 5, "`__GFP_MOVABLE|__GFP_RECLAIMABLE`"),
        ("gfp=GFP_DMA|__GFP_DMA32", 1, 5, "`GFP_DMA|__GFP_DMA32`"),
        ("[a\nb=1", 1, 1, "`[a`"),
        ("[a]\n[b]\ncpus=1", 3, 1, "`cpus`"),
        ("cpus=0", 1, 6, "`0`"),
        ("orders=", 1, 8, "nothing"),
        ("orders=0:0", 1, 8, "`0:0`"),
        ("period=1", 1, 8, "`1`"),
        ("sizes=8M", 1, 7, "`8M`"),
        ("steady", 1, 1, "`steady`"),
    ] {
        let e = Workload::parse(text).expect_err(text);
        assert_eq!((e.line, e.column, e.what.as_str()), (line, column, what), "{text}: {e}");
        assert_eq!(e.to_string().lines().count(), 1);
    }
    let long = "#".repeat(1 << 17);
    assert!(Workload::parse(&long).is_err());
    let many: String = (0..40).map(|n| format!("[{n}]\n")).collect();
    assert!(Workload::parse(&many).unwrap_err().to_string().contains("at most 32 parts"));
}

#[test]
fn weights_are_the_shares_of_values() {
    let values = Weighted(vec![('a', 3), ('b', 0), ('c', 1)]);
    let drawn: String = (0..8).filter_map(|n| values.at(n)).collect();
    assert_eq!(drawn, "aaacaaac");
    assert_eq!(Weighted::<u8>(Vec::new()).at(1), None);
}

#[test]
fn all_memory_comes_back_from_every_workload_that_ships() {
    for (name, text) in BUILTIN {
        for machine in ["arm64-virt", "x86_64-numa4"] {
            let account = account(machine, &short(text, 15_000));
            assert!(account.all_back(), "{name} on {machine}: {:?}", account.violation);
            assert!(account.same_blocks(), "{name} on {machine}");
            assert!(account.phases.iter().all(|phase| !phase.orders.is_empty()), "{name} does nothing");
            assert_ne!(account.before, account.after, "{name}");
        }
    }
}

#[test]
fn the_same_seed_does_the_same_and_another_one_does_not() {
    let workload = short(BUILTIN[0].1, 5_000);
    let first = account("arm64-virt", &workload);
    assert_eq!(first, account("arm64-virt", &workload));
    let other = account("arm64-virt", &Workload { seed: 2, ..workload });
    assert_ne!(first.after, other.after);
}

#[test]
fn counters_tell_what_was_served() {
    for machine in ["arm64-virt", "x86_64-numa4", "arm-virt"] {
        let workload = short("orders=0:90 1:5 3:4 4:3 9:1; fill=3%; swing=2%; period=2000", 30_000);
        let account = account(machine, &workload);
        let orders = &account.phases[0].orders;
        let served: u64 = orders.iter().map(|(_, asked)| asked.asked - asked.failed).sum();
        let pages: u64 =
            orders.iter().map(|(order, asked)| (asked.asked - asked.failed) * order.pages()).sum();
        let all = |prefix: &str| -> u64 {
            account.changed().filter(|(name, ..)| name.starts_with(prefix)).map(|(_, a, b)| b - a).sum()
        };
        assert_eq!(all("pgalloc_"), pages, "{machine}");
        let held = account.samples.last().unwrap().held;
        let (freed_before, freed) = counter(&account, "pgfree");
        assert_eq!(freed - freed_before, pages - held, "{machine}");
        if machine != "arm-virt" {
            assert_eq!(all("numa_hit") + all("numa_miss"), served, "{machine}");
        }
        let (free, _) = counter(&account, "nr_free_pages");
        assert_eq!(free, account.before.iter().map(|zone| zone.free).sum::<u64>());
    }
}

#[test]
fn an_allocator_in_service_shows_what_the_boot_showed() {
    let names =
        "zoneinfo,buddyinfo,pagetypeinfo,meminfo,vmstat,extfrag/extfrag_index,extfrag/unusable_index,cma";
    let views = Views::parse(names).unwrap();
    for name in ["arm64-virt", "x86_64-q35", "x86_64-numa4", "arm-lpae-virt", "i386-pc"] {
        let machine = machine(name);
        let booted = run::boot(&machine, |booted| booted.show_all(&views), |_| ()).unwrap().unwrap();
        let live =
            drive(&machine, &short("fill=1%", 1_000), Some(Design::Slub), &views, &Watch::default()).unwrap();
        assert_eq!(live.views[0], booted, "{name}");
        assert_ne!(live.views[1], booted, "{name}");
    }
}

#[test]
fn threads_share_the_machine_and_give_everything_back() {
    let workload = Workload { threads: true, ..short(BUILTIN[1].1, 20_000) };
    let account = account("arm64-virt", &workload);
    assert!(account.all_back() && account.same_blocks(), "{:?}", account.violation);
}

#[test]
fn fragmented_memory_is_compacted_for_huge_pages() {
    let text = "fill=90%; stay=2%; orders=0; operations=60000\n[leave]\nfill=40%;operations=60000\n[seek]\nfill=80%;orders=9;gfp=GFP_TRANSHUGE;operations=40";
    let mut machine = machine("arm64-virt");
    machine.cmdline = Some("mem=256M".to_owned());
    let account = drive(
        &machine,
        &Workload::parse(text).unwrap(),
        Some(Design::Slub),
        &Views::default(),
        &Watch::default(),
    )
    .unwrap();
    assert!(counter(&account, "pgmigrate_success").1 > 0, "{:?}", account.vmstat);
    assert!(account.steals().fallbacks > 0);
    assert!(account.all_back() && account.same_blocks(), "{:?}", account.violation);
}

#[test]
fn kcompactd_is_woken_where_the_mask_lets_kswapd_be() {
    let seek = |gfp| {
        let text = format!(
            "fill=90%; stay=3%; mobility=movable:65 unmovable:20 reclaimable:15\n[leave]\nfill=45%; stay=0%\n[seek]\nfill=70%; orders=9; gfp={gfp}"
        );
        let mut workload = Workload::parse(&text).unwrap();
        for (phase, operations) in workload.phases.iter_mut().zip([60_000, 30_000, 4_000]) {
            phase.operations = operations;
        }
        let mut machine = machine("arm64-virt");
        machine.cmdline = Some("mem=256M".to_owned());
        let account =
            drive(&machine, &workload, Some(Design::Slub), &Views::default(), &Watch::default()).unwrap();
        (counter(&account, "compact_stall").1, counter(&account, "compact_daemon_wake").1)
    };
    let (stalls, wakes) = seek("GFP_HIGHUSER_MOVABLE");
    assert!(stalls > 0 && wakes > 0, "{stalls} stalls, {wakes} wakes");
    let (stalls, wakes) = seek("GFP_TRANSHUGE");
    assert!(stalls > 0 && wakes == 0, "{stalls} stalls, {wakes} wakes: that mask wakes nobody");
}

#[test]
fn the_picture_has_every_page_once() {
    let account = account("arm64-virt", &short(BUILTIN[0].1, 20_000));
    let marks = || account.picture.zones.iter().flat_map(|(.., marks)| marks);
    let free: u64 = account.after.iter().map(|zone| zone.free).sum();
    let unused: u64 = marks().map(|mark| mark.pages - mark.used).sum();
    assert_eq!(unused, free);
    let text = account.picture.to_string();
    assert!(["U", "M", "."].iter().all(|letter| text.contains(letter)), "{text}");
}

#[test]
fn the_documents_name_every_key_and_every_word() {
    let keys = include_str!("../../../docs/json.md").split("## `run --json`").nth(1).expect("a chapter");
    let value = document("x", "m", &account("x86_64-numa4", &short("fill=1%", 500)));
    for key in value.as_object().unwrap().keys() {
        assert!(keys.contains(&format!("`{key}")), "{key} is not in docs/json.md");
    }
    let words = include_str!("../../../docs/workloads.md");
    for word in
        "operations fill swing period orders sizes mobility gfp lifetime stay pinned objects object-share object-fill areas area-share area-fill seed cpus threads"
            .split(' ')
    {
        assert!(words.contains(&format!("| `{word}` |")), "{word} is not in docs/workloads.md");
    }
    assert!(BUILTIN.iter().all(|(name, _)| words.contains(&format!("`{name}`"))));
}

#[test]
fn areas_of_all_sizes_come_and_go_and_what_is_refused_says_why() {
    let text = "ops=2000; fill=1%; orders=0; area-share=90; area-fill=4; stay=5; areas=3000:50 16K:30 300K:19 2M:1\n[large]\nops=64; areas=230M; area-fill=90";
    for name in ["x86_64-q35", "arm64-virt", "arm-virt", "arm-lpae-virt", "i386-pc"] {
        let (workload, views) =
            (Workload::parse(text).unwrap(), Views::parse("vmallocinfo,meminfo").unwrap());
        let mut machine = machine(name);
        let memory = if name.starts_with("arm-") { "mem=1G" } else { "mem=192M" };
        machine.cmdline = Some(memory.to_owned());
        let account = drive(&machine, &workload, Some(Design::Slub), &views, &Watch::default()).unwrap();
        assert!(account.all_back(), "{name}: {:?}", account.violation);
        let [before, after] = account.vmalloc.unwrap();
        // Interrupts have their stacks there, which on x86_64 are no pages of vmalloc's.
        assert_eq!((before.areas, before.pages > 0), (0, name.starts_with("arm")), "{name}");
        let lines = |text: &str| text.lines().filter(|line| line.contains("areas.rs:")).count() as u64;
        assert_eq!(lines(&account.views[0]), 0, "{name}");
        assert!(after.areas > 20 && after.pages > after.areas, "{name}: {after:?}");
        assert_eq!(lines(&account.views[1]), after.areas, "{name}");
        let used = format!("VmallocUsed:    {:>8} kB\n", after.pages * 4);
        assert!(account.views[1].contains(&used), "{name}: {used}");
        let [small, large] = &account.phases[..] else { panic!("two parts") };
        let asked: u64 = small.areas.iter().map(|(_, asked)| asked.asked).sum();
        assert!(small.areas.len() == 4 && (500..1800).contains(&asked), "{name}: {small:?}");
        assert!(
            small.areas_freed > 100 && small.areas.iter().all(|(_, asked)| asked.failed == 0),
            "{name}: {small:?}"
        );
        assert_eq!(large.areas[0].0, 230 << 20, "{name}");
        let report = Report { account: &account, name: "areas", machine: name, colour: false }.to_string();
        assert!(report.contains("area, 3000 bytes") && report.contains("area, 16 KiB"), "{report}");
        let json = document("areas", name, &account);
        assert_eq!(json["vmalloc"]["after"]["areas"], after.areas, "{name}");
        if name.starts_with("arm-") {
            // Its area is smaller than its memory.
            let why = account.refused.unwrap();
            assert!(why.contains(" has no room for 241176576 bytes: the largest gap has "), "{name}: {why}");
            assert!(
                large.areas[0].1.failed > 0
                    && report.contains("The last area that was refused: the vmalloc area")
            );
        }
    }
    let threads = Workload { threads: true, ..Workload::parse(text).unwrap() };
    let refused =
        drive(&machine("arm64-virt"), &threads, Some(Design::Slub), &Views::default(), &Watch::default());
    assert!(refused.unwrap_err().to_string().contains("areas with threads"));
    assert_eq!(Workload::parse("areas=2G").unwrap_err().column, 7);
}

#[test]
fn areas_are_as_many_as_the_work_wants() {
    let workload = Workload::parse("ops=22000; fill=0%; area-share=100; area-fill=45; areas=4K").unwrap();
    let mut machine = machine("x86_64-q35");
    machine.cmdline = Some("mem=256M".to_owned());
    let account = drive(&machine, &workload, None, &Views::default(), &Watch::default()).unwrap();
    let [_, after] = account.vmalloc.unwrap();
    assert!(account.refused.is_none() && after.areas > 20_000, "{after:?} {:?}", account.refused);
    assert!(account.all_back(), "{:?}", account.violation);
}

const OBJECTS: &str = "ops=6000; fill=20%; object-share=60; object-fill=1; \
                       objects=64:40 1K:10 100K:30 dentry/192:30 inode/600:20; stay=5";

#[test]
fn objects_of_every_design_come_and_go_beside_pages() {
    for design in Design::ALL {
        let mut workload = Workload::parse(OBJECTS).unwrap();
        for threads in [false, true] {
            workload.threads = threads;
            let views = Views::parse("slabinfo,vmstat,meminfo").unwrap();
            let account =
                drive(&machine("x86_64-q35"), &workload, Some(design), &views, &Watch::default()).unwrap();
            assert!(account.all_back() && account.damaged == 0, "{design}");
            assert_eq!(account.design, Some(design));
            let [before, after] = &account.caches;
            let named = |list: &[CacheAccount], name: &str| list.iter().find(|c| c.name == name).cloned();
            assert!(named(before, "dentry").is_none_or(|cache| cache.active == 0), "{design}");
            let dentry = named(after, "dentry").unwrap();
            assert!(
                dentry.active > 0 && dentry.active <= dentry.objects && dentry.unused() < 1000,
                "{design}"
            );
            assert!(account.views[1].contains("\ndentry "), "{design}");
            let count = |name: &str| -> u64 {
                let line = account.views[1].lines().find(|line| line.split([' ', ':']).next() == Some(name));
                line.unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
            };
            let (pages, kib) = (count("nr_slab_unreclaimable"), count("SUnreclaim"));
            assert!(
                pages > 100 && kib == 4 * pages && kib + count("SReclaimable") == count("Slab"),
                "{design}"
            );
            let phase = &account.phases[0];
            let (asked, failed) =
                phase.objects.iter().fold((0, 0), |(a, f), (_, one)| (a + one.asked, f + one.failed));
            assert!(
                (1000..3600).contains(&asked) && failed == 0 && phase.objects_freed > 100,
                "{design}: {asked} asked for, {failed} failed, {} freed",
                phase.objects_freed
            );
            let report =
                Report { account: &account, name: "objects", machine: "pc", colour: false }.to_string();
            assert!(report.contains(&format!("Objects by {design}:")) && report.contains("objects freed"));
            let json = document("objects", "pc", &account);
            assert_eq!(json["slabs"], design.to_string());
            assert!(json["caches"]["after"].as_array().unwrap().iter().any(|cache| cache["name"] == "inode"));
        }
    }
}

#[test]
fn objects_are_cut_as_the_machines_kernel_cuts_them() {
    let mut workload = Workload::parse(OBJECTS).unwrap();
    workload.phases.iter_mut().for_each(|phase| phase.operations = 300);
    let slabinfo = |name: &str, config: &str, cmdline: &str| {
        let mut machine = machine(name);
        machine.config.apply(config).unwrap();
        machine.cmdline = Some(cmdline.to_owned());
        let views = Views::parse("slabinfo").unwrap();
        let account = drive(&machine, &workload, None, &views, &Watch::default()).unwrap();
        assert!(account.all_back() && account.damaged == 0, "{name}");
        (account.design.unwrap(), account.views[1].clone())
    };
    // Pages of a slab.
    let pages = |text: &str, cache: &str| {
        let row = text.lines().find(|row| row.split(' ').next() == Some(cache));
        row.map(|row| row.split_whitespace().nth(5).unwrap().parse::<u32>().unwrap())
    };
    let (design, arm64) = slabinfo("arm64-virt", "", "");
    assert_eq!(design, Design::Slub);
    assert_eq!(
        ["kmalloc-64", "kmalloc-128", "kmalloc-8k"].map(|c| pages(&arm64, c)),
        [None, Some(1), Some(8)]
    );
    let (_, small) = slabinfo("arm64-virt", "", "slub_max_order=0");
    assert_eq!(["kmalloc-2k", "kmalloc-8k"].map(|c| pages(&small, c)), [Some(1), Some(2)]);
    let (_, large) = slabinfo("arm64-virt", "CONFIG_ARM64_16K_PAGES=y\nCONFIG_ARM64_VA_BITS_48=y", "");
    assert_eq!(["kmalloc-8k", "kmalloc-32k"].map(|c| pages(&large, c).is_some()), [true; 2], "{large}");
    assert!(pages(&slabinfo("arm-virt", "", "").1, "kmalloc-64").is_some());
    let (design, slab) = slabinfo("x86_64-q35", "# CONFIG_SLUB is not set\nCONFIG_SLAB=y", "");
    assert_eq!(
        (design, pages(&slab, "kmalloc-16"), pages(&slab, "kmalloc-32")),
        (Design::Slab, None, Some(1))
    );
}

#[test]
fn the_same_seed_does_the_same_to_objects() {
    let run = || {
        let workload = Workload::parse(OBJECTS).unwrap();
        let account = drive(
            &machine("x86_64-q35"),
            &workload,
            Some(Design::Slub),
            &Views::default(),
            &Watch::default(),
        )
        .unwrap();
        (account.caches, account.phases)
    };
    assert_eq!(run(), run());
}

#[test]
fn what_is_no_object_is_refused_where_it_stands() {
    let refused = |text: &str| Workload::parse(text).unwrap_err();
    for (text, column) in [
        ("objects=", 9),
        ("objects=0", 9),
        ("objects=5M", 9),
        ("objects=a/", 11),
        ("objects=/8", 9),
        ("objects=a/8 b|c/8", 13),
    ] {
        assert_eq!(refused(text).column, column, "{text}");
    }
    assert!(refused("objects=a/8 a/16").expected.contains("one size"));
    assert!(refused("object-share=101").expected.contains("percentage"));
    let two = Workload::parse("objects=64 a/8:3\n[next]\nobjects=a/8 1K").unwrap();
    assert_eq!(two.objects.len(), 3, "a kind is one in all parts");
    assert_eq!(two.phases[1].objects.0, [(1, 1), (2, 1)]);
}

const TIGHT: &str = "ops=4000; fill=100%; orders=0:9 4:1; gfp=GFP_KERNEL; stay=1";

fn watched(text: &str, watch: &Watch) -> Account {
    let workload = Workload::parse(text).unwrap();
    drive(&machine("arm64-virt"), &workload, Some(Design::Slub), &Views::default(), watch).unwrap()
}

#[test]
fn failures_are_reported_in_the_kernels_words_as_many_as_are_asked_for() {
    let text = "ops=200000; orders=10; fill=100%; gfp=GFP_NOWAIT";
    let silent = watched(text, &Watch::default());
    let told = watched(text, &Watch { failures: 2, ..Watch::default() });
    let failed = |account: &Account| account.phases[0].orders[0].1.failed;
    assert!(failed(&told) > 2 && silent.failures.is_empty());
    assert_eq!(failed(&told), failed(&silent), "who is told changes nothing");
    assert_eq!(told.failures.len(), 2);
    for report in &told.failures {
        let first = "workload: page allocation failure: order:10, mode:0x800(GFP_NOWAIT), nodemask=(null)";
        let expected = format!("{first},cpuset=/,mems_allowed=0\nMem-Info:\n");
        assert!(report.starts_with(&expected), "{report}");
        assert!(report.contains("Node 0 DMA free:") && report.ends_with('\n'), "{report}");
    }
    // The same in the report and the document.
    let report = Report { account: &told, name: "w", machine: "m", colour: false }.to_string();
    assert_eq!(report.matches("Mem-Info:").count(), 2);
    assert!(report.starts_with("w on m, "), "{report}");
    assert_eq!(document("w", "m", &told)["failure_reports"].as_array().unwrap().len(), 2);
}

#[test]
fn what_a_failure_says_of_slabs_is_what_meminfo_says() {
    // Some objects, then blocks and memory of kmalloc's of 4 MiB until there is no more: nothing changes from the last failure on.
    let text = "ops=400; fill=0%; object-share=100; object-fill=2%; objects=64 1K 100K a/40\n\
                [full]\nops=400; fill=100%; orders=10; gfp=GFP_KERNEL\n\
                object-share=50%; object-fill=100%; objects=4M";
    let workload = Workload::parse(text).unwrap();
    let views = Views::parse("meminfo").unwrap();
    let mut small = machine("x86_64-q35");
    small.cmdline = Some("mem=192M numa=fake=2".to_owned());
    for design in Design::ALL {
        let watch = Watch { failures: 1000, ..Watch::default() };
        let account = drive(&small, &workload, Some(design), &views, &watch).unwrap();
        assert!(account.all_back(), "{design}");
        let full = &account.phases[1];
        let (blocks, objects) = (full.orders[0].1.failed, full.objects[0].1.failed);
        assert!(blocks > 100 && objects > 100, "{design}: {blocks} blocks and {objects} objects failed");
        assert_eq!(account.failures.len() as u64, blocks + objects, "{design}");
        let said = account.failures.last().unwrap();
        assert!(said.contains("\nNode 1 "), "{design}: {said}");
        let pages = |name: &str| -> u64 {
            let rest = said.split([' ', '\n']).find_map(|word| word.strip_prefix(name)?.strip_prefix(':'));
            rest.unwrap().parse().unwrap()
        };
        let kib = |name: &str| -> u64 {
            let line = account.views[1].lines().find(|line| line.split(':').next() == Some(name));
            line.unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        assert!(pages("slab_unreclaimable") > 1000, "{design}: {said}");
        let told = ["slab_reclaimable", "slab_unreclaimable", "free"].map(|name| 4 * pages(name));
        assert_eq!(told, ["SReclaimable", "SUnreclaim", "MemFree"].map(kib), "{design}: {said}");
    }
}

#[test]
fn owners_of_all_that_is_held_are_shown() {
    let account = watched(TIGHT, &Watch { page_owner: true, ..Watch::default() });
    let asked: u64 = account.phases[0].orders.iter().map(|(_, asked)| asked.asked - asked.failed).sum();
    let held = asked - account.phases[0].freed;
    let lines = |text: &str| account.page_owner.lines().filter(|line| line.starts_with(text)).count() as u64;
    assert_eq!(lines("Page allocated via order "), held);
    assert_eq!(lines("PFN "), held, "{}", account.page_owner);
    assert!(account.page_owner.contains("mask 0xcc0(GFP_KERNEL), pid 1, tgid 1 (workload), ts "));
    assert!(watched(TIGHT, &Watch::default()).page_owner.is_empty());
}

#[test]
fn blocks_from_other_types_lists_are_told_of_and_watermarks_rise_for_a_while() {
    // Movable blocks fill memory; some leave, and what comes then has to lie among the others.
    let text = "ops=20000; fill=97%; orders=5; gfp=GFP_HIGHUSER_MOVABLE\n[less]\nops=3000; fill=85%\n\
                [kernel]\nops=30000; fill=96%; orders=0; gfp=GFP_KERNEL GFP_KERNEL|__GFP_RECLAIMABLE";
    let silent = watched(text, &Watch::default());
    let told = watched(text, &Watch { events: 3, ..Watch::default() });
    let steals = told.steals().fallbacks;
    assert!(steals > 3 && silent.events.is_empty(), "{steals}");
    assert_eq!((silent.steals(), silent.boosts), (told.steals(), told.boosts), "who is told changes nothing");
    assert!(told.boosts > 0, "{steals} fallbacks, {:?}", told.samples.last());
    assert!(told.all_back());
    assert_eq!(told.events.len(), 3);
    for event in &told.events {
        assert!(event.starts_with("mm_page_alloc_extfrag: pfn=0x"), "{event}");
        assert!(event.contains(" fallback_migratetype=") && event.contains(" fragmenting="), "{event}");
    }
    let report = Report { account: &told, name: "w", machine: "m", colour: false }.to_string();
    assert_eq!(report.matches("mm_page_alloc_extfrag: ").count(), 3);
    assert!(report.contains(&format!("watermarks raised: {}; ", told.boosts)), "{report}");
    let document = document("w", "m", &told);
    assert_eq!(
        (&document["events"][2], &document["boosts"]),
        (&told.events[2].clone().into(), &told.boosts.into())
    );
}

#[test]
fn pagetypeinfo_counts_mixed_pageblocks_where_owners_are_remembered() {
    let workload = Workload::parse(TIGHT).unwrap();
    let shown = |page_owner| {
        let (views, watch) =
            (Views::parse("pagetypeinfo").unwrap(), Watch { page_owner, ..Watch::default() });
        drive(&machine("arm64-virt"), &workload, Some(Design::Slub), &views, &watch).unwrap().views
    };
    for text in shown(true) {
        let mixed =
            text.split("\nNumber of mixed blocks    Unmovable      Movable ").nth(1).expect("a third part");
        assert!(mixed.contains("\nNode 0, zone      DMA "), "{text}");
    }
    assert!(shown(false).iter().all(|text| !text.contains("mixed")));
}

#[test]
fn allocations_fail_on_purpose_and_every_page_comes_back() {
    let watch = |text: &str| Watch { fail_page_alloc: Some(text.to_owned()), ..Watch::default() };
    let account = watched(TIGHT, &watch("1,10,0,-1"));
    let phase = &account.phases[0];
    let failed: u64 = phase.orders.iter().map(|(_, asked)| asked.failed).sum();
    assert!(failed > 100 && u64::from(account.injected) == failed, "{failed}, {}", account.injected);
    assert!(account.all_back());
    assert_eq!(watched(TIGHT, &watch("1,100,0,7")).injected, 7, "so many times and no more");
    let workload = Workload::parse(TIGHT).unwrap();
    let wrong =
        drive(&machine("arm64-virt"), &workload, Some(Design::Slub), &Views::default(), &watch("1,x"));
    assert!(wrong.unwrap_err().to_string().contains("--fail-page-alloc"));
}
